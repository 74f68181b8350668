"""Whatever happens while a job runs: the viewer lives, one sentence tells it, nothing is lost."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images import tiff
from napari_phenldiff.jobs.job import Job, JobState, jobs
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.translate_dock import TranslateWidget

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")

KINDS = ("train", "translate", "measure")
DOCKS: dict[str, Any] = {
    "train": FineTuneWidget,
    "translate": TranslateWidget,
    "measure": MeasureWidget,
}
NAMES = {"train": "Fine-tune", "translate": "Translate", "measure": "Measure"}

OpenDock = Callable[..., Any]


@pytest.fixture
def make_dock(qtbot, run_folder: Path, tmp_path: Path) -> OpenDock:
    """Make the dock of a kind of job, filled in and ready to start."""

    def make(kind: str, viewer: Any, out: str = "new") -> Any:
        dock = DOCKS[kind](viewer)
        qtbot.addWidget(dock)
        return fill_in(dock, kind, run_folder, tmp_path / out)

    return make


def fill_in(dock: Any, kind: str, run_folder: Path, out: Path) -> Any:
    if kind == "train":
        dock.out.set_path(out)
    if kind == "translate":
        dock.run_field.set_path(run_folder)
    dock.show()
    assert dock.validation_error() is None
    return dock


def start(dock: Any) -> Job:
    dock.start()
    assert dock.job_foot.job is not None
    return dock.job_foot.job


# ---- layers change ------------------------------------------------------------------------------


def remove(model: ViewerModel) -> None:
    model.layers.clear()


def rename(model: ViewerModel) -> None:
    for number, layer in enumerate(model.layers):
        layer.name = f"nothing {number}"


def reorder(model: ViewerModel) -> None:
    model.layers.move_multiple([3, 2, 1], 0)


def edit(model: ViewerModel) -> None:
    for layer in model.layers:
        layer.data = np.zeros((2, 5, 7), np.uint16)


@pytest.mark.parametrize("change", [remove, rename, reorder, edit])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_change_during_a_job(
    kind, change, make_dock, model, child, until_ended, simulated, tmp_path: Path
):
    model.dims.set_current_step(0, 0)
    dock = make_dock(kind, model)
    job = start(dock)
    change(model)
    until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    if kind == "train":
        # What is trained on is what the layers held when the button was pressed.
        trained = Run.open(tmp_path / "new").load_experiment().select(("untreated", "treated"))
        there = [*simulated["untreated"], *simulated["treated"]]
        for image, other in zip(there, trained.images, strict=True):
            np.testing.assert_array_equal(other.data, image.data)
    if kind == "translate":
        translated = [layer for layer in model.layers if "→ treated" in layer.name]
        assert len(translated) == 2
        np.testing.assert_array_equal(
            translated[1].data.squeeze()[:96, :96], 255 - simulated["untreated"][0].data[1]
        )


# ---- docks and viewers are closed ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_dock_is_closed_during_a_job_and_opened_again(
    kind, make_napari_viewer, open_simulated, qtbot, child, until_ended, run_folder, tmp_path
):
    viewer = make_napari_viewer()
    open_simulated(viewer)
    child.plan(steps=10, delay=0.1)
    holder, dock = viewer.window.add_plugin_dock_widget("napari-phenldiff", NAMES[kind])
    job = start(fill_in(dock, kind, run_folder, tmp_path / "new"))
    viewer.window.remove_dock_widget(holder)
    qtbot.wait(50)
    assert job.state.live

    _, again = viewer.window.add_plugin_dock_widget("napari-phenldiff", NAMES[kind])

    assert again.job_foot.job is job
    assert until_ended(again).state is JobState.FINISHED, job.message
    assert again.job_foot.button.text() != "Stop"


@pytest.mark.parametrize("kind", KINDS)
def test_the_viewer_is_closed_during_a_job(
    kind, make_napari_viewer, open_simulated, qtbot, child, run_folder, tmp_path
):
    viewer = make_napari_viewer()
    open_simulated(viewer)
    child.plan(steps=30, delay=0.1)
    _, dock = viewer.window.add_plugin_dock_widget("napari-phenldiff", NAMES[kind])
    job = start(fill_in(dock, kind, run_folder, tmp_path / "new"))
    if kind != "measure":
        qtbot.waitUntil(lambda: len(child.processes) > 0, timeout=20_000)

    viewer.close()

    qtbot.waitUntil(lambda: not job.state.live, timeout=20_000)
    if kind == "train":
        # It goes on without a viewer, and to the end.
        assert child.processes[0].wait(20) == 0
        assert Run.open(tmp_path / "new").state == "finished"
    elif kind == "translate":
        qtbot.waitUntil(lambda: child.processes[0].poll() is not None, timeout=10_000)


def test_a_model_in_memory_goes_when_the_viewer_is_closed(
    make_napari_viewer, open_simulated, qtbot, child, run_folder, tmp_path, until_ended
):
    viewer = make_napari_viewer()
    open_simulated(viewer)
    _, dock = viewer.window.add_plugin_dock_widget("napari-phenldiff", NAMES["translate"])
    start(fill_in(dock, "translate", run_folder, tmp_path))
    assert until_ended(dock).state is JobState.FINISHED
    assert child.processes[0].poll() is None

    viewer.close()

    qtbot.waitUntil(lambda: child.processes[0].poll() is not None, timeout=10_000)


@pytest.mark.parametrize("kind", KINDS)
def test_two_viewers_have_a_job_of_the_same_kind_each(
    kind, make_dock, model, simulated, child, until_ended
):
    other = ViewerModel()
    for data, arguments, _ in experiment_layers(simulated):
        other.add_image(data, **arguments)
    child.plan(steps=4, delay=0.1)
    first, second = make_dock(kind, model, "one"), make_dock(kind, other, "two")
    one, two = start(first), start(second)

    assert one is not two
    assert jobs.latest(kind, model) is one
    assert jobs.latest(kind, other) is two
    for dock, job in ((first, one), (second, two)):
        until_ended(dock)
        assert job.state is JobState.FINISHED, job.message
    assert len(model.layers) == len(other.layers)


# ---- the process goes wrong ---------------------------------------------------------------------


def one_sentence(dock: Any) -> str:
    """What the dock tells of the failure, checked to be short."""
    text = dock.job_foot.status.text().splitlines()[0]
    assert dock.job_foot.job.state is JobState.FAILED, text
    assert len(text) < 400
    assert "Traceback" not in text
    assert dock.job_foot.button.text() != "Stop"
    return text


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
@pytest.mark.parametrize("kind", ["train", "translate"])
def test_the_process_is_killed(kind, make_dock, model, child, qtbot, until_ended, tmp_path):
    before = [layer.name for layer in model.layers]
    child.plan(steps=1000, delay=0.1)
    dock = make_dock(kind, model)
    job = start(dock)
    qtbot.waitUntil(lambda: len(child.processes) > 0, timeout=20_000)
    if kind == "train":
        qtbot.waitUntil(lambda: job.done > 0, timeout=20_000)
    os.kill(child.processes[0].pid, signal.SIGKILL)
    until_ended(dock)

    assert "memory of the computer ran out" in one_sentence(dock)
    assert [layer.name for layer in model.layers] == before
    if kind == "train":
        # Nothing is lost: the same folder is gone on with.
        assert dock.job_foot.button.text() == "Resume"
    child.plan()
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED, dock.job_foot.job.message


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("memory", "not enough memory"),
        ("disk", "disk is full"),
        ("crash", "illegal memory access"),
        ("refuse", "not to my taste"),
    ],
)
@pytest.mark.parametrize("kind", ["train", "translate"])
def test_the_process_fails(kind, end, words, make_dock, model, child, until_ended):
    before = [layer.name for layer in model.layers]
    child.plan(end=end)
    dock = make_dock(kind, model)
    start(dock)
    until_ended(dock)

    told = one_sentence(dock)
    assert words in told or words in dock.job_foot.details.toPlainText()
    if end == "disk":
        assert "make room" in told
    assert [layer.name for layer in model.layers] == before

    child.plan()
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED, dock.job_foot.job.message


# ---- no room for the viewer itself --------------------------------------------------------------


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let every TIFF that this process writes meet a full disk; returns what makes room again."""

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tiff.tifffile, "imwrite", full)
    monkeypatch.setattr(tiff.tifffile, "TiffWriter", full)
    return monkeypatch.undo


@pytest.mark.parametrize("kind", ["train", "translate"])
def test_the_disk_is_full_when_the_layers_are_written(
    kind, make_dock, model, child, full_disk, until_ended, tmp_path
):
    before = [layer.name for layer in model.layers]
    dock = make_dock(kind, model)
    start(dock)
    until_ended(dock)

    told = one_sentence(dock)
    assert "disk is full" in told
    assert "make room" in told
    assert os.sep in told  # says where
    assert child.requests == []
    assert [layer.name for layer in model.layers] == before
    # Nothing half is left that would be in the way of the next try.
    assert dock.validation_error() is None
    assert not list(tmp_path.glob(".*"))
