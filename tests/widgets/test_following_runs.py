"""Open docks know of runs as they come and change, wherever they were started."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.runs.events import Step
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.translate_dock import TranslateWidget


@pytest.fixture(params=[TranslateWidget, EvaluateWidget])
def dock(request, qtbot, model: ViewerModel, home: Path):
    """A dock that lies behind a tab: Qt shows and hides nothing when it comes to the front."""
    widget = request.param(model)
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def tuning(qtbot, model: ViewerModel, home: Path, tmp_path: Path) -> FineTuneWidget:
    widget = FineTuneWidget(model)
    qtbot.addWidget(widget)
    widget.out.set_path(tmp_path / "new")
    widget.steps.setValue(4)
    return widget


def test_a_run_that_a_command_line_makes_is_taken_as_soon_as_it_has_a_result(
    qtbot, dock, child, data_folder: Path, home: Path
):
    assert dock.run_choice.path() is None
    path = home / "phenldiff-runs" / "theirs"
    child.plan(steps=4)
    child.train_elsewhere(data_folder, path)

    qtbot.waitUntil(lambda: dock.run_choice.path() == path)
    assert dock.validation_error() is None
    assert dock.job_foot.button.isEnabled()


def test_a_run_that_is_trained_elsewhere_is_listed_before_it_has_a_result(
    qtbot, dock, child, data_folder: Path, home: Path
):
    path = home / "phenldiff-runs" / "theirs"
    child.plan(steps=1000, delay=0.02)
    child.train_elsewhere(data_folder, path)
    qtbot.waitUntil(lambda: dock.run_choice.known.findText("theirs (being trained)") >= 0)
    dock.run_choice.known.setCurrentText("theirs (being trained)")
    qtbot.waitUntil(lambda: "is being trained, at step" in dock.job_foot.message.text())
    step = dock.job_foot.message.text()
    qtbot.waitUntil(lambda: dock.job_foot.message.text() != step)

    Run.open(path).request_stop()
    qtbot.waitUntil(lambda: dock.job_foot.button.isEnabled())


def test_a_run_that_has_just_been_started_is_being_prepared(
    qtbot, dock, tuning: FineTuneWidget, child, until_ended
):
    tuning.start()
    assert dock.run_choice.path() is not None, "the training that has begun is meant"
    assert "new is being prepared" in dock.job_foot.message.text()
    until_ended(tuning)
    qtbot.waitUntil(lambda: dock.job_foot.button.isEnabled())
    assert dock.run_choice.path() == tuning.job_foot.job.path


def test_the_run_that_was_trained_takes_the_place_of_an_older_one(
    qtbot, dock, tuning: FineTuneWidget, child, until_ended, run_folder: Path, tmp_path: Path
):
    dock.run_field.set_path(run_folder)
    child.plan(steps=1000, delay=0.01)
    tuning.start()
    qtbot.waitUntil(lambda: tuning.job_foot.job.done >= 2)
    assert dock.run_choice.path() == run_folder, "it has no result yet"
    qtbot.waitUntil(lambda: "Being trained: new" in dock.run_choice.note.text())
    tuning.job_foot.button.click()
    assert until_ended(tuning).state is JobState.STOPPED

    assert dock.run_choice.path() == tmp_path / "new"
    assert dock.validation_error() is None


def test_what_was_chosen_while_a_training_went_on_stays(
    qtbot, dock, tuning: FineTuneWidget, child, until_ended, run_folder: Path
):
    child.plan(steps=8, delay=0.05)
    tuning.start()
    dock.run_field.set_path(run_folder)
    until_ended(tuning)
    qtbot.waitUntil(lambda: "Newer than this one: new." in dock.run_choice.note.text())
    assert dock.run_choice.path() == run_folder


def test_news_of_a_run_leave_what_is_filled_in(qtbot, model, home: Path, run_folder: Path):
    dock = TranslateWidget(model)
    qtbot.addWidget(dock)
    dock.run_field.set_path(run_folder)
    dock.guidance.setValue(3.5)
    dock.target.setCurrentText("untreated")
    news = []
    dock.run_choice.updated.connect(lambda: news.append(1))
    Run.open(run_folder).append(Step(1, 5, 0.5))
    dock.run_choice.list_runs()
    assert news
    assert (dock.guidance.value(), dock.target.currentText()) == (3.5, "untreated")


# ---- direction and strength ---------------------------------------------------------------------


@pytest.fixture
def empty(qtbot, home: Path, run_folder: Path) -> TranslateWidget:
    """A dock that is open before any images are."""
    dock = TranslateWidget(ViewerModel())
    qtbot.addWidget(dock)
    dock.run_field.set_path(run_folder)
    return dock


def direction(dock: TranslateWidget) -> tuple[str, str, str]:
    images = dock.images.currentData()
    name = "" if images is None else images.name
    return name, dock.source.currentText(), dock.target.currentText()


def test_images_that_come_later_are_translated_in_the_direction_of_the_run(
    qtbot, empty: TranslateWidget, open_simulated
):
    open_simulated(empty.viewer)
    assert next(x.name for x in empty.viewer.layers if x.visible).startswith("untreated")
    qtbot.waitUntil(lambda: empty.images.count() == 2)
    assert direction(empty) == ("untreated", "untreated", "treated")


def test_what_the_canvas_shows_is_translated_until_something_else_is_chosen(
    qtbot, empty: TranslateWidget, open_simulated
):
    open_simulated(empty.viewer)
    qtbot.waitUntil(lambda: empty.images.count() == 2)
    for layer in empty.viewer.layers:
        layer.visible = layer.name.startswith("treated")
    qtbot.waitUntil(lambda: direction(empty) == ("treated", "treated", "untreated"))

    empty.images.setCurrentIndex(empty.images.findText("untreated (4 images)"))
    assert direction(empty) == ("untreated", "untreated", "treated")
    for layer in empty.viewer.layers:
        layer.visible = not layer.visible
        layer.visible = layer.name.startswith("treated")
    qtbot.wait(50)
    assert direction(empty) == ("untreated", "untreated", "treated"), "the user has chosen"


def test_the_strength_is_not_that_of_other_images(qtbot, empty: TranslateWidget, open_simulated):
    open_simulated(empty.viewer)
    qtbot.waitUntil(lambda: empty.images.count() == 2)
    empty.strength.setValue(0.4)
    empty.viewer.add_image(np.zeros((4, 4)), name="something else: GFP")
    qtbot.waitUntil(lambda: empty.images.count() == 3)
    assert empty.strength.value() == 0.4, "these images are the same"

    empty.viewer.layers.clear()
    open_simulated(empty.viewer)
    qtbot.waitUntil(lambda: empty.images.count() == 2)
    assert empty.strength.value() == 1.0
