"""Layers may be replaced under an open dock at any time: its state follows from those there are."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QComboBox, QWidget

from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.translate_dock import TranslateWidget

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")

STEPS = 10


def open_golgi(viewer: ViewerModel) -> None:
    pairs = list(simulate_pairs("golgi", 4, size=96))
    images = {"control": [p.source for p in pairs[:2]], "drug": [p.target for p in pairs[2:]]}
    for data, arguments, _ in experiment_layers(images):
        viewer.add_image(data, **arguments)


def test_another_profile_after_the_layers_of_the_first_one_were_replaced(qtbot, home: Path):
    viewer = ViewerModel()
    open_golgi(viewer)
    dock = MeasureWidget(viewer)
    qtbot.addWidget(dock)
    with qtbot.waitSignal(dock.preview.shown, timeout=20_000):
        dock.profile.setCurrentIndex(dock.profile.findData("golgi"))
    assert "golgi" in dock.preview.thresholds

    viewer.layers.clear()
    for condition in ("wild type", "mutant"):
        for channel in ("A", "B"):
            viewer.add_image(np.zeros((2, 32, 32), np.uint8), name=f"{condition}: {channel}")
    qtbot.waitUntil(lambda: dock.source.count() == 2)
    dock.profile.setCurrentIndex(dock.profile.findData("neurons"))
    qtbot.waitUntil(lambda: dock.preview.note.text() == dock.job_foot.message.text() != "")
    assert dock.preview.thresholds == {}
    assert dock.preview.box.isChecked()


def test_a_figure_says_what_it_is_of_when_other_images_are_open(
    qtbot, model: ViewerModel, until_ended, open_simulated, home: Path
):
    dock = MeasureWidget(model)
    qtbot.addWidget(dock)
    dock.show()
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED
    qtbot.waitUntil(dock.measured_of.isVisible)
    assert (
        dock.measured_of.text()
        == "Measured: Translocation into the nucleus, untreated and treated."
    )

    model.layers["treated: marker"].data = model.layers["treated: marker"].data.copy()
    qtbot.waitUntil(lambda: "measure again" in dock.measured_of.text())
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(lambda: "measure again" not in dock.measured_of.text())

    model.layers.clear()
    open_simulated(model)  # images of the same names
    qtbot.waitUntil(lambda: "measure again" in dock.measured_of.text())
    assert dock.results.isVisible()


# ---- at random ----------------------------------------------------------------------------------


class User:
    """Replaces layers, and turns controls of a dock, at random."""

    def __init__(self, seed: int, dock: QWidget) -> None:
        self.random = random.Random(seed)
        self.dock, self.viewer = dock, dock.viewer
        self.did: list[str] = []

    def act(self) -> None:
        name = self.random.choice(
            ["clear", "add", "add", "replace", "remove one", "rename", "hide", "slide", "choose",
             "choose", "choose"]
        )  # fmt: skip
        self.did.append(name)
        getattr(self, name.replace(" ", "_"))()

    def clear(self) -> None:
        self.viewer.layers.clear()

    def add(self) -> None:
        channels = self.random.choice(
            [("DNA", "marker"), ("DNA", "Golgi"), ("neurites",), ("A", "B")]
        )
        shape = self.random.choice([(32, 32), (3, 32, 32), (2, 40, 24), (1, 3, 3)])
        noise = np.random.default_rng(self.random.randrange(1000))
        names = ("untreated", "treated", "control", "drug")
        for condition in self.random.sample(names, self.random.choice([1, 2, 2])):
            for channel in channels:
                data = noise.integers(0, 255, shape).astype(np.uint8)
                self.viewer.add_image(data, name=f"{condition}: {channel}")
        if self.random.random() < 0.3:
            self.viewer.add_labels(np.zeros(shape, np.int32), name="objects of untreated")

    def replace(self) -> None:
        self.clear()
        self.add()

    def remove_one(self) -> None:
        if self.viewer.layers:
            self.viewer.layers.remove(self.random.choice(list(self.viewer.layers)))

    def rename(self) -> None:
        if self.viewer.layers:
            layer = self.random.choice(list(self.viewer.layers))
            layer.name = f"renamed: {self.random.choice(['DNA', 'marker', 'GFP'])}"

    def hide(self) -> None:
        for layer in self.viewer.layers:
            layer.visible = self.random.random() < 0.5

    def slide(self) -> None:
        if self.viewer.dims.ndim > 2:
            self.viewer.dims.set_current_step(0, self.random.randrange(3))

    def choose(self) -> None:
        boxes = [b for b in self.dock.findChildren(QComboBox) if b.count() and b.isEnabled()]
        box = self.random.choice(boxes)
        index = self.random.randrange(box.count())
        self.did.append(f"  {box.accessibleName()}: {box.itemText(index)}")
        box.setCurrentIndex(index)
        box.activated.emit(index)


def groups_in(data: object) -> list[LayerGroup]:
    """Return the groups of layers that an entry of a list stands for."""
    if isinstance(data, dict):
        return [group for value in data.values() for group in groups_in(value)]
    if isinstance(data, LayerGroup):
        return [data]
    return groups_in(getattr(data, "group", None)) if hasattr(data, "group") else []


def check(dock: QWidget) -> None:
    """What can be chosen is there, and what the dock says is what it would say if asked now."""
    layers = list(dock.viewer.layers)
    for box in dock.findChildren(QComboBox):
        for index in range(box.count()):
            for group in groups_in(box.itemData(index)):
                assert all(layer in layers for layer in group.layers), box.accessibleName()
    error = dock.validation_error()
    assert dock.job_foot.message.text() == (error or "")
    assert dock.job_foot.button.isEnabled() == (error is None)
    if isinstance(dock, MeasureWidget):
        source = dock.source.currentData()
        assert dock.choices.channel_names() == (() if source is None else source.channel_names)
        assert (source is None) == (not group_layers(layers))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", [FineTuneWidget, TranslateWidget, MeasureWidget, EvaluateWidget])
def test_a_dock_follows_layers_that_are_replaced_at_random(
    qtbot, kind: type[QWidget], seed: int, home: Path, run_folder: Path
):
    viewer = ViewerModel()
    dock = kind(viewer)
    qtbot.addWidget(dock)
    dock.show()
    if isinstance(dock, TranslateWidget | EvaluateWidget):
        dock.run_field.set_path(run_folder)
    user = User(seed, dock)
    for _ in range(STEPS):
        user.act()
        # An error in a slot fails the test, which then shows what was done so far.
        sys.stdout.write(f"seed {seed}: {user.did[-1]}\n")
        qtbot.wait(user.random.choice([0, 5, 30]))
    preview = getattr(dock, "preview", None)
    if preview is not None:
        qtbot.waitUntil(lambda: preview._task is None and not preview._timer.isActive())
    qtbot.wait(30)
    check(dock)
