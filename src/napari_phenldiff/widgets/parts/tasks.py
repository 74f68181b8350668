"""Start what the docks ask for: prepared in a thread, done in a process, shown when it is there.

Functions and not methods of the docks, because the work goes on when its dock is closed.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtWidgets import QMainWindow, QWidget

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.background import Answered, BackgroundJob, Launch, launcher
from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.process import follow
from napari_phenldiff.jobs.registry import so_far
from napari_phenldiff.jobs.requests import ResumeRequest
from napari_phenldiff.jobs.session import EVENTS_NAME, IMAGES_NAME, TranslateRequest
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.runs.events import Event, Finished, Loading, Progress
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.viewer.evaluation_request import EvaluationRequest
from napari_phenldiff.viewer.growing import GrowingTranslation
from napari_phenldiff.viewer.layer_groups import LayerGroup
from napari_phenldiff.viewer.model_session import KeptTranslation, session_of
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.training_request import TrainingRequest
from napari_phenldiff.viewer.translation_request import (
    TranslationRequest,
    TranslationResult,
    read_output,
    record_of,
    translation_to_come,
)
from napari_phenldiff.widgets.parts.background import (
    Partial,
    Result,
    ShouldStop,
    run_in_background,
    when_finished,
)
from napari_phenldiff.widgets.parts.idle import later_in

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer


def launch() -> Launch:
    """Return what starts processes, with the user's preferences as they are now."""
    return launcher(preferences().environment())


def start_training(viewer: Viewer, request: TrainingRequest) -> Job:
    """Fine-tune in a child process, which goes on even when napari is closed.

    Raises
    ------
    InputError
        If what is asked for can't be trained.
    """
    config = request.config()
    out = request.out
    assert out is not None

    def ask_to_stop() -> bool:
        if is_run(out):
            Run.open(out).request_stop()
            return True
        return False

    work = BackgroundJob(launch(), ask_to_stop=ask_to_stop)
    source, target = config.conditions[:2]
    job = Job("train", f"Fine-tuning {source} → {target}", on_stop=work.stop, path=out)
    taken = request.snapshot()

    def prepare(aside: Path) -> Answered:
        asked = taken.in_files()
        if not asked.needs_preparing:
            return Answered(asked.job_request(), out / EVENTS_NAME)
        asked.prepare()
        run = Run.open(out)
        return Answered(ResumeRequest(run=run.path), run.events_path, run.log_path)

    # A GPU has hardly room for a model that learns beside one that translates.
    session_of(viewer).free_memory()
    jobs.add(job, viewer)
    run_in_background(
        job,
        lambda should_stop: work.carry_out(
            prepare,
            preparing="reading the images" if taken.needs_preparing else "",
            should_stop=should_stop,
        ),
    )
    return job


def resume_training(viewer: Viewer, path: Path) -> Job:
    """Go on with a run from its last checkpoint, or follow it if somebody trains it already.

    Raises
    ------
    InputError
        If there is no run.
    """
    run = Run.open(path)

    def ask_to_stop() -> bool:
        run.request_stop()
        return True

    background = BackgroundJob(launch(), ask_to_stop=ask_to_stop)
    source, target = run.conditions[:2]
    job = Job("train", f"Fine-tuning {source} → {target}", on_stop=background.stop, path=path)
    running = run.state == "running"
    # A process that somebody else has started is asked, and not killed.
    job.can_kill = not running
    if not running:
        session_of(viewer).free_memory()

    def work(should_stop: ShouldStop) -> Iterator[Event]:
        events, start = run.events()
        # The curve goes on where it was; how an earlier process ended is not how this one does.
        yield from so_far(events)
        if running:
            yield from background.join(run.events_path, start=start, should_stop=should_stop)
            return
        asked = Answered(ResumeRequest(run=path), run.events_path, run.log_path, start)
        yield from background.carry_out(lambda aside: asked, should_stop=should_stop)

    jobs.add(job, viewer)
    run_in_background(job, work)
    return job


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
    # It has nothing to save on its way, and writes its results all at once.
    work = BackgroundJob(launch())
    title = f"Evaluating {request.run.name} by {PROFILES[request.profile].title}"
    job = Job("evaluate", title, on_stop=work.stop, path=request.out, asked=request)
    # A GPU has hardly room for a second model beside the one that translates.
    session_of(viewer).free_memory()
    taken = request.snapshot()
    preparing = "writing the images for the background process" if taken.needs_images else ""
    jobs.add(job, viewer)
    run_in_background(
        job,
        lambda should_stop: work.carry_out(
            lambda aside: Answered(taken.in_files().prepare(aside)),
            preparing=preparing,
            should_stop=should_stop,
        ),
    )
    return job


def end_with_window(viewer: Viewer, dock: QWidget) -> None:
    """End the session of a viewer when the window that a dock lies in is closed.

    A dock alone may be closed: the model stays in memory for when it is opened again.
    """
    host = session_of(viewer)
    window: QWidget | None = dock
    while window is not None and not isinstance(window, QMainWindow):
        window = window.parentWidget()
    if window is not None and window not in host.windows:
        host.windows.add(window)
        window.destroyed.connect(host.close)


def _layers_of(group: LayerGroup, channels: Sequence[str]) -> Sequence[Layer]:
    """Return the layers of some channels, all where there are no others."""
    found = dict(zip(group.channel_names, group.parts[0], strict=False))
    some = len(channels) < len(group.parts[0]) and all(name in found for name in channels)
    return [found[name] for name in channels] if some else group.parts[0]


def start_translation(viewer: Viewer, request: TranslationRequest) -> Job:
    """Translate in the viewer's session, and add the result to the viewer when it is there.

    Raises
    ------
    InputError
        If what is asked for can't be translated.
    """
    error = request.validation_error()
    if error is not None or request.group is None or request.run is None:
        raise InputError(error or "Choose the images to translate.")
    real = request.group
    host = session_of(viewer)
    session = host.get(Run.open(request.run), request.base_at)
    asked_to_stop: list[bool] = []

    def stop() -> None:
        if asked_to_stop:
            session.kill()
        else:
            session.cancel()
        asked_to_stop.append(True)

    title = f"Translating {real.name} → {request.target}"
    job = Job("translate", title, on_stop=stop, path=request.run)
    taken = replace(request, group=real.snapshot())

    def work(should_stop: ShouldStop) -> Iterator[Event | Result | Partial]:
        number, folder = session.new_folder()
        done = False
        try:
            yield Loading("writing the images for the background process")
            names = taken.write_input(folder / IMAGES_NAME)
            if asked_to_stop:
                yield Finished(0, stopped=True)
                return
            yield Loading("asking the background process")
            several = taken.field is None and len(names) > 1
            coming = translation_to_come(taken, names, folder) if several else None
            stack, shown = None if coming is None else coming.stack, 0
            process = session.ask(TranslateRequest(number=number, config=taken.config()))
            for event in follow(folder / EVENTS_NAME, process, should_stop=should_stop):
                if isinstance(event, Finished) and not event.stopped:
                    if stack is not None:
                        stack.complete()
                    result = coming or read_output(taken, names, folder)
                    told = record_of(folder)
                    for kind in ("translated", "reconstructed"):
                        shutil.rmtree(folder / kind, ignore_errors=True)
                    yield Result((number, result, told))
                    done = True
                yield event
                if stack is not None and isinstance(event, Progress) and stack.take() > shown:
                    shown = stack.count
                    yield Partial((coming, shown))
        finally:
            if not done:
                session.cancel()
                session.delete_request(number)

    growing: list[GrowingTranslation] = []

    def grown(viewer: Viewer, coming: NewTranslation) -> GrowingTranslation:
        """Return the layers of images that come one at a time, new for the first of them."""
        if not growing:
            layers = _layers_of(real, coming.channel_names)
            growing.append(GrowingTranslation(viewer, layers, coming, later_in(viewer)))
        return growing[0]

    def show(
        viewer: Viewer, result: tuple[int, NewTranslation | TranslationResult, dict[str, Any]]
    ) -> str:
        number, images, told = result
        if isinstance(images, NewTranslation):
            translation = grown(viewer, images).finish(told)
        else:
            translation = _add(viewer, request, real, images)
        host.remember(translation, KeptTranslation(session, number))
        return translation

    viewer_ref = ref(viewer)

    def show_partial(value: tuple[NewTranslation, int]) -> None:
        there = viewer_ref()
        if there is not None:
            grown(there, value[0]).show(value[1])

    def after() -> None:
        # The viewer has been closed in the middle: nobody will ask for anything any more.
        if job.state.live:
            host.close()

    when_finished(job, viewer, show)
    jobs.add(job, viewer)
    run_in_background(job, work, after=after, on_partial=show_partial)
    return job


def _add(
    viewer: Viewer, request: TranslationRequest, real: LayerGroup, images: TranslationResult
) -> str:
    """Add what was translated as a whole."""
    region = request.region
    return add_translation(
        viewer,
        _layers_of(real, images.translated[0].channel_names),
        NewTranslation(
            images.translated,
            images.reconstructed,
            source=request.condition,
            target=request.target,
            strength=request.config().strength,
            provenance=images.provenance,
            field=request.field,
            corner=(0, 0) if region is None else (region.top, region.left),
            originals=images.originals,
        ),
        later_in(viewer),
    )
