"""Measure in a thread of this process: no torch is needed, and it takes seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.runs.events import Event, Finished, Loading, Progress, Warned
from napari_phenldiff.viewer.line_layers import line_layers
from napari_phenldiff.viewer.measuring import Measured, MeasuringRequest, run_measurement
from napari_phenldiff.viewer.object_preview import remove_preview
from napari_phenldiff.viewer.objects import (
    add_objects,
    make_layers,
    object_layers,
    outdated_labels,
)
from napari_phenldiff.widgets.parts.background import (
    Result,
    ShouldStop,
    run_in_background,
    when_finished,
)
from napari_phenldiff.widgets.parts.idle import later_in

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_LOOK_EVERY = 0.2
"""Seconds between two looks at how far the measurement is."""


class _StoppedError(Exception):
    """Raised inside of the measurement when the user wants it to end."""


def start_measuring(viewer: Viewer, request: MeasuringRequest) -> Job:
    """Measure open layers; the objects are added as labels layers when it is done."""
    cancelled: list[bool] = []
    job = Job("measure", "Measuring", on_stop=lambda: cancelled.append(True))
    taken = request.snapshot()
    shown = _visible(viewer, request)
    outdated = outdated_labels(request)
    progress = [(0, 0, "")]

    def on_image(done: int, total: int, what: str) -> None:
        progress[0] = done, total, what
        if cancelled:
            raise _StoppedError

    def work(should_stop: ShouldStop) -> Iterator[Event | Result]:
        yield Loading("reading the layers")
        if taken.strength() != 1:
            yield Warned(
                f"The translated images are shown at strength {taken.strength():g}: recovery is "
                "meant for strength 1."
            )
        for text in outdated:
            yield Warned(text)
        # The measurement runs beside this generator, which can then tell how far it is.
        with ThreadPoolExecutor(1, "phenldiff-measure") as executor:
            future = executor.submit(run_measurement, taken, on_image)
            while not future.done():
                if should_stop():
                    cancelled.append(True)
                time.sleep(_LOOK_EVERY)
                done, total, what = progress[0]
                if done:
                    yield Progress(done, total, what)
                elif what:
                    yield Loading(what)
            try:
                measured = future.result()
            except _StoppedError:
                yield Finished(progress[0][0], stopped=True)
                return
        for text in measured.warnings():
            yield Warned(text)
        tuples = object_layers(measured, visible=shown) + line_layers(measured, visible=shown)
        layers = make_layers(tuples)
        yield Result((measured, layers))
        yield Finished(progress[0][1])

    def show(viewer: Viewer, result: tuple[Measured, list[Labels]]) -> Measured:
        given = [layer for layer in (request.labels or {}).values() if layer is not None]
        return _show_objects(viewer, result, given).of_layers(request.groups().values())

    when_finished(job, viewer, show)
    jobs.add(job, viewer)
    run_in_background(job, work)
    return job


def _show_objects(
    viewer: Viewer, result: tuple[Measured, list[Labels]], given: list[Any]
) -> Measured:
    measured, layers = result
    remove_preview(viewer)
    add_objects(viewer, layers, later_in(viewer), keep=given)
    return measured.without_pixels()


def _visible(viewer: Viewer, request: MeasuringRequest) -> list[str]:
    """Return the names of the groups with visible layers.

    Where one of them lies over another, the objects of the lower one wait until it is seen.
    """
    return [
        name
        for name, group in request.groups().items()
        if any(layer.visible for layer in group.layers)
    ]
