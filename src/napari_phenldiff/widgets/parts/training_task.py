"""Fine-tune in a child process: prepare in a thread, start it, follow what it writes.

Functions and not methods of the dock, because a training goes on when its dock is closed.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.process import ChildProcess, follow
from napari_phenldiff.jobs.registry import so_far
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.viewer.training import TrainingRequest
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


class _Child:
    """The process of a job, which may not have been started yet when the user wants it to stop."""

    def __init__(self) -> None:
        self.process: ChildProcess | None = None
        self.cancelled = False

    def start(self, arguments: Sequence[str], log: Path) -> ChildProcess:
        self.process = launch(arguments, log)
        return self.process

    def kill(self) -> None:
        self.cancelled = True
        if self.process is not None and self.process.poll() is None:
            self.process.kill()


def start_training(viewer: Viewer, request: TrainingRequest) -> Job:
    """Fine-tune in a child process, which goes on even when napari is closed."""
    config = request.config()
    out = request.out
    assert out is not None
    child = _Child()
    asked: list[bool] = []

    def stop() -> None:
        child.cancelled = True
        if not asked and is_run(out):
            Run.open(out).request_stop()
        else:
            child.kill()
        asked.append(True)

    job = Job(
        "train",
        f"Fine-tuning {config.conditions[0]} → {config.conditions[1]}",
        on_stop=stop,
        path=out,
    )
    # A GPU has hardly room for a model that learns beside one that translates.
    session_of(viewer).free_memory()
    prepared = request.snapshot()
    is_prepared_here = prepared.needs_preparing

    def work(should_stop: ShouldStop) -> Iterator[Event]:
        if is_prepared_here:
            yield Loading("reading the images")
            prepared.prepare()
            arguments, log = ["train", "--resume", str(out)], Run.open(out).log_path
        else:
            arguments, log = prepared.arguments(), _new_log()
        if child.cancelled:
            yield Finished(0, stopped=True)
            return
        yield Loading("starting the background process")
        process = child.start(arguments, log)
        for event in follow(out / "events.jsonl", process, should_stop=should_stop):
            yield _when_released(event, out)
        if not should_stop():
            # It has said its last word. Who does not wait for it leaves a dead process behind.
            with suppress(TimeoutError):
                process.wait(_PATIENCE)
        if not is_prepared_here and process.poll() is not None:
            log.unlink(missing_ok=True)

    jobs.add(job, viewer)
    run_in_background(job, work)
    return job


def resume_training(viewer: Viewer, path: Path) -> Job:
    """Go on with a run from its last checkpoint, or look on if somebody is at it already."""
    run = Run.open(path)
    child = _Child()
    asked: list[bool] = []

    def stop() -> None:
        child.cancelled = True
        if asked:
            child.kill()
        else:
            run.request_stop()
        asked.append(True)

    source, target = run.conditions[:2]
    job = Job("train", f"Fine-tuning {source} → {target}", on_stop=stop, path=path)
    running = run.state == "running"
    if not running:
        session_of(viewer).free_memory()
    # A process that somebody else has started is asked, and not killed.
    job.can_insist = not running

    def work(should_stop: ShouldStop) -> Iterator[Event]:
        events, offset = run.events()
        # The curve goes on where it was; the last word of the run was not that of this job.
        yield from so_far(events)
        process = None
        if not running:
            yield Loading("starting the background process")
            process = child.start(["train", "--resume", str(path)], run.log_path)
        for event in follow(run.events_path, process, should_stop=should_stop, start=offset):
            yield _when_released(event, path)

    jobs.add(job, viewer)
    run_in_background(job, work)
    return job


def _when_released(event: Event, path: Path) -> Event:
    """Return an event; the last one only when the run is free for whoever resumes it then.

    The process still holds its lock for a moment after it has written its last word.
    """
    if isinstance(event, (Failed, Finished)) and is_run(path):
        run, until = Run.open(path), time.monotonic() + _PATIENCE
        while run.state == "running" and time.monotonic() < until:
            time.sleep(0.05)
    return event


def _new_log() -> Path:
    """Make a file for what a process prints that outlives this one; its run is not there yet."""
    handle, name = tempfile.mkstemp(prefix="phenldiff-train-", suffix=".log")
    os.close(handle)
    return Path(name)
