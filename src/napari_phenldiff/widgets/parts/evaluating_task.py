"""Judge a run in a child process: write down what it reads, start it, follow what it writes.

Functions and not methods of the dock, because an evaluation goes on when its dock is closed.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.process import ChildProcess, follow
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading
from napari_phenldiff.viewer.evaluating import (
    EvaluationRequest,
    events_in,
    in_words_of_the_dock,
)
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.widgets.parts.background import ShouldStop, run_in_background
from napari_phenldiff.widgets.parts.translating_task import session_of

if TYPE_CHECKING:
    from napari.viewer import Viewer

_PATIENCE = 30.0
"""Seconds that a process has for going away after its last word."""


def launch(arguments: Sequence[str], log: Path) -> ChildProcess:
    """Start ``phenldiff`` with these arguments in a process of its own."""
    return ChildProcess.start(
        arguments, log=log, environment=preferences().environment(), low_priority=True
    )


def start_evaluation(viewer: Viewer, request: EvaluationRequest) -> Job:
    """Judge a run in a child process; `Job.path` is the folder of the results.

    Raises
    ------
    InputError
        If what is asked for can't be evaluated.
    """
    error = request.validation_error()
    if error is not None or request.run is None:
        raise InputError(error or "Choose a run.")
    started: list[ChildProcess] = []
    asked: list[bool] = []

    def stop() -> None:
        # It has nothing to save on its way, and writes its results all at once.
        for process in started:
            if process.poll() is None:
                process.kill() if asked else process.terminate()
        asked.append(True)

    job = Job("evaluate", f"Evaluating {request.run.name}", on_stop=stop, path=request.out)
    # A GPU has hardly room for a second model beside the one that translates.
    session_of(viewer).free_memory()
    prepared = request.snapshot()

    def work(should_stop: ShouldStop) -> Iterator[Event]:
        aside = Path(tempfile.mkdtemp(prefix="phenldiff-evaluate-"))
        try:
            if prepared.needs_images:
                yield Loading("writing the images for the background process")
            arguments = prepared.prepare(aside)
            if not asked:
                yield Loading("starting the background process")
            if asked:
                yield Finished(0, stopped=True)
                return
            process = launch(arguments, aside / "evaluate.log")
            started.append(process)
            if asked:
                process.terminate()
            for event in follow(events_in(aside), process, should_stop=should_stop):
                if isinstance(event, (Finished, Failed)):
                    # The folder is deleted next, which the process may still write into.
                    with suppress(TimeoutError):
                        process.wait(_PATIENCE)
                if isinstance(event, Failed):
                    event = replace(event, message=in_words_of_the_dock(event.message))
                yield event
        finally:
            # When the viewer is closed the process goes on: its results are found again.
            if not any(process.poll() is None for process in started):
                shutil.rmtree(aside, ignore_errors=True)

    jobs.add(job, viewer)
    run_in_background(job, work)
    return job
