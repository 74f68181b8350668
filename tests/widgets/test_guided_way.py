"""From open images to a measured and judged result, each dock leading to the next one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDockWidget, QWidget

from napari_phenldiff.jobs.job import JobState, jobs
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.side_by_side import latest_translation
from napari_phenldiff.widgets.parts import next_step

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")

NAME = "napari-phenldiff"

OPENING = 2
"""Clicks that open the first dock: Plugins, and Fine-tune, whose submenu unfolds by itself."""

MOST_CLICKS = 6


@pytest.fixture
def viewer(make_napari_viewer, open_simulated, monkeypatch: pytest.MonkeyPatch):
    viewer = make_napari_viewer(show=True)
    open_simulated(viewer)
    # napari's fixtures put a stand-in in the place of its commands; see test_menus.
    for title in next_step._OPEN:
        monkeypatch.setitem(next_step._OPEN, title, opener(title))
    return viewer


def opener(title: str) -> Callable[[Any], None]:
    def open_it(viewer: Any) -> None:
        viewer.window.add_plugin_dock_widget(NAME, title)

    return open_it


def panel(viewer: Any, title: str) -> Any:
    found = [w for w in viewer.window.dock_widgets.values() if getattr(w, "title", "") == title]
    return found[0] if found else None


class Mouse:
    """Clicks what can be seen and pressed, and counts."""

    def __init__(self, qtbot: Any) -> None:
        self._qtbot = qtbot
        self.clicks = 0

    def click(self, button: QWidget) -> None:
        self._qtbot.waitUntil(lambda: button.isVisible() and button.isEnabled())
        assert not button.visibleRegion().isEmpty()
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        self.clicks += 1


def test_six_clicks_lead_from_open_images_to_a_verdict(
    qtbot, viewer, child, until_ended, home: Path
):
    mouse = Mouse(qtbot)
    _, tuning = viewer.window.add_plugin_dock_widget(NAME, "Fine-tune")
    mouse.clicks += OPENING
    mouse.click(tuning.job_foot.button)
    assert until_ended(tuning).state is JobState.FINISHED

    window = viewer.window._qt_window
    window.resize(1280, 720)
    mouse.click(tuning.next.go)
    translating = panel(viewer, "Translate")
    assert until_ended(translating).state is JobState.FINISHED
    run = tuning.job_foot.job.path
    assert translating.run_choice.path() == run
    assert (translating.source.currentText(), translating.target.currentText()) == (
        "untreated",
        "treated",
    )
    qtbot.waitUntil(lambda: latest_translation(viewer.layers) is not None)
    (made,) = group_layers(viewer.layers, "translated")
    assert made.n_images == 4

    qtbot.waitUntil(lambda: latest_translation(viewer.layers) is not None)
    mouse.click(translating.next.go)
    measuring = panel(viewer, "Measure")
    job = until_ended(measuring)
    assert job.state is JobState.FINISHED, job.message
    assert set(job.result.measurement.images["condition"]) == {
        "untreated",
        "treated",
        "reconstructed",
        "translated",
    }

    mouse.click(measuring.next.go)
    judging = panel(viewer, "Evaluate")
    job = until_ended(judging)
    assert job.state is JobState.FINISHED, job.message
    qtbot.waitUntil(lambda: judging.view.isVisible())
    assert judging.run_choice.path() == run
    assert mouse.clicks <= MOST_CLICKS
    tuning.job_foot.set_forecast("\n".join(["⚠ There is much to say before a start."] * 20))
    qtbot.wait(200)
    assert window.height() == 720, "docks lie behind tabs and do not make the window higher"


def test_the_next_dock_can_be_set_up_before_it_starts(
    qtbot, viewer, child, until_ended, home: Path
):
    mouse = Mouse(qtbot)
    _, tuning = viewer.window.add_plugin_dock_widget(NAME, "Fine-tune")
    viewer.window.add_plugin_dock_widget(NAME, "Translate")
    qtbot.wait(50)
    assert not tuning.next.go.isEnabled()
    tuning.start()
    until_ended(tuning)
    tuning.next.set_up.click()
    translating = panel(viewer, "Translate")
    qtbot.waitUntil(lambda: not translating.visibleRegion().isEmpty())
    assert translating.run_choice.path() == tuning.job_foot.job.path
    assert translating.fields.currentText() == "All images"
    assert jobs.latest("translate", viewer) is None
    translating.guidance.setValue(2.5)
    mouse.click(translating.job_foot.button)
    until_ended(translating)
    qtbot.waitUntil(lambda: latest_translation(viewer.layers) is not None)
    (made,) = group_layers(viewer.layers, "translated")
    assert made.infos[0][0].provenance["guidance"] == 2.5


def test_tabs_have_short_names_of_their_own(qtbot, viewer):
    titles = ["Fine-tune", "Translate", "Measure", "Evaluate"]
    docks: list[QDockWidget] = []
    for title in titles:
        docks.append(viewer.window.add_plugin_dock_widget(NAME, title)[0])
    qtbot.waitUntil(lambda: [dock.windowTitle() for dock in docks] == titles)


def test_the_walk_finds_what_can_be_pressed(qtbot, viewer):
    """`benchmarks/walk.py` clicks where this says that things are."""
    path = Path(__file__).parents[2] / "benchmarks" / "walk.py"
    spec = spec_from_file_location("walk", path)
    walk = module_from_spec(spec)
    sys.modules["walk"] = walk  # its dataclasses look there
    try:
        spec.loader.exec_module(walk)
    finally:
        del sys.modules["walk"]
    viewer.window.resize(1280, 960)
    _, tuning = viewer.window.add_plugin_dock_widget(NAME, "Fine-tune")
    button = tuning.job_foot.button
    qtbot.waitUntil(lambda: not button.visibleRegion().isEmpty())

    def is_where_it_is_said() -> bool:
        found = {one["name"]: one["rect"] for one in walk.seen(viewer)}
        left, top, width, height = found["Start fine-tuning"]
        return QApplication.widgetAt(QPoint(left + width // 2, top + height // 2)) is button

    # a window manager may still be at it, and move things
    qtbot.waitUntil(is_where_it_is_said)
    seen = list(walk.seen(viewer))
    shown = {one["name"]: one for one in seen}
    assert shown["Start fine-tuning"]["enabled"]
    assert "Plugins" in shown
    assert not shown["Translate with it"]["enabled"], "there is no run yet"
    assert ("Steps", "field") in {(one["name"], one["kind"]) for one in seen}
