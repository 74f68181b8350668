from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.viewer.samples import golgi_scatter
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.parts.profile_choice import ProfileChoice


@pytest.fixture
def empty() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def dock(qtbot, empty: ViewerModel) -> MeasureWidget:
    widget = MeasureWidget(empty)
    qtbot.addWidget(widget)
    widget.show()
    return widget


def open_golgi(viewer: ViewerModel) -> None:
    for data, arguments, _ in golgi_scatter():
        viewer.add_image(data, **arguments)


def open_one_channel(viewer: ViewerModel) -> None:
    pixels = np.random.default_rng(0).random((3, 32, 32)).astype("float32")
    for condition in ("untreated", "treated"):
        viewer.add_image(pixels, name=condition)


def test_measure_proposes_what_the_channels_show(qtbot, dock: MeasureWidget, empty: ViewerModel):
    open_golgi(empty)
    qtbot.waitUntil(lambda: dock.profile.currentData() == "golgi")
    assert dock.settings.values()["channel"] == "Golgi"

    empty.layers.clear()
    open_one_channel(empty)
    qtbot.waitUntil(lambda: dock.profile.currentData() == "area")
    assert dock.validation_error() is None


@pytest.mark.parametrize("chosen", ["neurons", "golgi"])
def test_what_the_user_chose_stays(qtbot, dock: MeasureWidget, empty: ViewerModel, chosen: str):
    open_golgi(empty)
    qtbot.waitUntil(lambda: dock.profile.currentData() == "golgi")
    # As a click on an entry does, also on the one that was proposed.
    dock.profile.setCurrentIndex(dock.profile.findData(chosen))
    dock.profile.activated.emit(dock.profile.currentIndex())

    empty.layers.clear()
    open_one_channel(empty)
    qtbot.waitUntil(lambda: dock.choices.channel_names() == ("channel 0",))
    assert dock.profile.currentData() == chosen

    again = MeasureWidget(empty)
    qtbot.addWidget(again)
    assert again.profile.currentData() == chosen


def test_what_was_only_proposed_is_proposed_anew(qtbot, dock: MeasureWidget, empty: ViewerModel):
    open_golgi(empty)
    qtbot.waitUntil(lambda: dock.profile.currentData() == "golgi")
    empty.layers.clear()
    open_one_channel(empty)
    again = MeasureWidget(empty)
    qtbot.addWidget(again)
    assert again.profile.currentData() == "area"


def test_with_settings_of_ones_own_the_profile_stays(
    qtbot, dock: MeasureWidget, empty: ViewerModel
):
    open_golgi(empty)
    qtbot.waitUntil(lambda: dock.profile.currentData() == "golgi")
    dock.settings.field("segmentation", "min_size").native.setValue(33)
    empty.layers.clear()
    open_one_channel(empty)
    qtbot.waitUntil(lambda: dock.choices.channel_names() == ("channel 0",))
    assert dock.profile.currentData() == "golgi"


def test_evaluate_proposes_what_the_run_was_trained_on(qtbot, model: ViewerModel, run_folder):
    dock = EvaluateWidget(model)
    qtbot.addWidget(dock)
    dock.profile.suggest(["channel 1"])
    assert dock.profile.currentData() == "area"
    dock.run_field.set_path(run_folder)
    assert dock.profile.currentData() == "translocation"
    assert dock.choices.name.text() == "translocation-001"


def test_nothing_is_proposed_without_channels(qtbot):
    choice = ProfileChoice()
    qtbot.addWidget(choice)
    choice.suggest(["MAP2"])
    choice.suggest([])
    assert choice.currentData() == "neurons"
    assert not choice.kept
