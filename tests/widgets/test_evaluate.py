from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QUrl

from napari_phenldiff.evaluation.wording import NO_WELLS, ONE_WELL
from napari_phenldiff.jobs.job import JobState, jobs
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.evaluations import folder_of
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.parts import evaluation_view
from napari_phenldiff.widgets.parts.data_source import FOLDER


@pytest.fixture
def dock(qtbot, model: ViewerModel, run_folder: Path) -> EvaluateWidget:
    """The dock on open layers, with a run."""
    dock = EvaluateWidget(model)
    qtbot.addWidget(dock)
    dock.run_field.set_path(run_folder)
    dock.profile.setCurrentIndex(dock.profile.findData("area"))
    return dock


def drawn(dock: EvaluateWidget, qtbot) -> None:
    """Wait for the thread that draws."""
    qtbot.waitUntil(lambda: dock.view.figure.figure is not None)


def test_what_is_missing_is_said_beside_the_button(qtbot, dock: EvaluateWidget, run_folder: Path):
    assert dock.validation_error() is None
    assert dock.job_foot.button.isEnabled()
    assert dock.no_result.isVisibleTo(dock)
    qtbot.waitUntil(lambda: "about" in dock.job_foot.forecast.text())
    told = dock.job_foot.forecast.text()
    assert "2 times" in told
    assert "0 of untreated were not trained on" in told
    assert " on CPU, 2 cores." in told
    dock.choices.cycle.setChecked(False)
    assert "once" in dock.job_foot.forecast.text()

    dock.run_field.set_path(None)
    assert dock.job_foot.message.text().startswith("Choose a run")
    assert not dock.job_foot.button.isEnabled()
    dock.run_field.set_path(run_folder)
    dock.choices.wells.setText("(")
    assert "regular expression" in dock.job_foot.message.text()
    dock.choices.wells.setText("")
    dock.data.target.setCurrentIndex(dock.data.source.currentIndex())
    assert "same condition" in dock.job_foot.message.text()


def test_the_conditions_are_those_of_the_run_until_others_are_chosen(qtbot, dock, data_folder):
    assert [c.name for c in dock.data.choices()] == ["untreated", "treated"]
    dock.data.source.setCurrentIndex(dock.data.names().index("treated"))
    dock.data.target.setCurrentIndex(dock.data.names().index("untreated"))
    dock.choices.images.setValue(5)
    assert [c.name for c in dock.data.choices()] == ["treated", "untreated"]
    assert not dock.data.others.isVisibleTo(dock)


def test_layers_are_evaluated_in_a_child_process(
    qtbot, dock: EvaluateWidget, child, until_ended: Callable, run_folder: Path
):
    dock.choices.images.setValue(4)
    dock.choices.wells.setText("^.")
    dock.choices.keep.item(0).setCheckState(dock.choices.keep.item(0).checkState().Checked)
    dock.translation.rows["guidance"].setValue(5)
    assert dock.choices.name.text() == "area-001"

    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    (request,) = child.requests
    assert (request.run, request.profile) == (run_folder, "area")
    assert (request.config.images, request.config.wells) == (4, "^.")
    assert request.config.keep == ("DNA",)
    assert request.translation == {"source": "untreated", "target": "treated", "guidance": 5.0}
    # The images that were written aside are deleted.
    qtbot.waitUntil(lambda: not request.data.parent.exists())
    assert request.out == folder_of(run_folder, "area-001")
    # The verdict is there, in words, and the next evaluation has a name of its own.
    assert dock.view.verdict.text() == "✓ Supported"
    assert dock.results.currentText() == "area-001"
    assert dock.choices.name.text() == "area-002"
    drawn(dock, qtbot)


def test_the_verdict_is_scrolled_to_and_a_name_of_ones_own_is_used_once(
    qtbot, dock, child, until_ended
):
    dock.resize(380, 500)
    with qtbot.waitExposed(dock):
        dock.show()
    dock.choices.name.setText("mine")
    dock.start()
    until_ended(dock)
    drawn(dock, qtbot)
    verdict = dock.view.verdict
    qtbot.waitUntil(lambda: 0 <= verdict.mapTo(dock, verdict.rect().topLeft()).y() < 60)
    assert dock.choices.name.text() == "area-001"
    assert dock.job_foot.button.isEnabled()


def test_a_folder_is_evaluated_where_it_lies(qtbot, dock, child, until_ended, data_folder: Path):
    dock.data.kind.setCurrentText(FOLDER)
    dock.data.folder.set_path(data_folder)
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED
    assert child.requests[0].data == data_folder
    drawn(dock, qtbot)


def test_the_verdict_stands_above_its_reasons(qtbot, dock, run_folder: Path, write_evaluation):
    write_evaluation(folder_of(run_folder, "bad"), null=1.0)
    dock.run_field.set_path(None)
    dock.run_field.set_path(run_folder)

    view = dock.view
    assert view.isVisibleTo(dock)
    assert view.verdict.text() == "✗ Not supported"
    assert "Translating to the own condition changes it" in view.reason.text()
    assert "</b>: against it" in view.rules.text()
    assert "</b>: not tried" in view.rules.text()
    assert "Recovery" in view.numbers.text()
    assert view.notes.text() == "To know: Numbers <made up>."
    drawn(dock, qtbot)
    dock.resize(400, 3000)
    dock.show()
    qtbot.waitExposed(dock)
    places = [w.y() for w in (view.verdict, view.reason, view.rules, view.numbers)]
    assert places == sorted(places)


def test_earlier_evaluations_can_be_chosen_again(
    qtbot, dock, run_folder: Path, write_evaluation, monkeypatch
):
    for age, (name, null) in enumerate({"new": 0.01, "old": 1.0}.items()):
        write_evaluation(folder_of(run_folder, name), null=null)
        metrics = folder_of(run_folder, name) / "metrics.json"
        os.utime(metrics, (1e9 - age, 1e9 - age))
    dock.run_field.set_path(None)
    dock.run_field.set_path(run_folder)
    assert dock.view.verdict.text() == "✓ Supported"

    dock.results.setCurrentIndex(1)
    assert dock.view.verdict.text() == "✗ Not supported"
    drawn(dock, qtbot)

    opened: list[QUrl] = []
    monkeypatch.setattr(evaluation_view, "open_url", lambda url: opened.append(url) or True)
    dock.view.report_button.click()
    dock.view.folder_button.click()
    old = folder_of(run_folder, "old")
    assert [Path(url.toLocalFile()) for url in opened] == [old / "report.html", old]

    (old / "report.html").unlink()
    dock.view.report_button.click()
    assert "is gone" in dock.view.notes.text()
    assert len(opened) == 2


def test_one_that_cannot_be_read_says_so(qtbot, dock, run_folder: Path, write_evaluation):
    write_evaluation(folder_of(run_folder, "broken"))
    (folder_of(run_folder, "broken") / "metrics.json").write_text("{}")
    dock.run_field.set_path(None)
    dock.run_field.set_path(run_folder)
    assert "evaluate again" in dock.view.reason.text()
    assert not dock.view.report_button.isEnabled()


def test_an_evaluation_is_stopped(qtbot, dock, child, until_ended, run_folder: Path):
    child.plan(steps=1000, delay=0.05)
    dock.start()
    job = dock.job_foot.job
    qtbot.waitUntil(lambda: job.done >= 1)
    assert "translating" in job.message
    dock.job_foot.button.click()

    assert until_ended(dock).state is JobState.STOPPED
    assert child.processes[0].poll() is not None
    assert not folder_of(run_folder, "area-001").exists()


def test_a_stop_before_the_child_has_begun_starts_none(qtbot, dock, child, until_ended):
    dock.start()
    dock.job_foot.job.stop()
    assert until_ended(dock).state is JobState.STOPPED
    assert all(process.poll() is not None for process in child.processes)


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("refuse", "not to my taste"),
        ("crash", "CUDA error"),
        ("fail", "take these as well with “Images it knows”"),
    ],
)
def test_a_failure_is_told(qtbot, dock, child, until_ended, end: str, told: str):
    child.plan(end=end)
    dock.start()
    job = until_ended(dock)
    assert job.state is JobState.FAILED
    assert told in job.message


def test_a_dock_that_is_opened_again_shows_what_goes_on(
    qtbot, dock, model, child, until_ended, run_folder: Path
):
    child.plan(steps=20, delay=0.05)
    dock.profile.setCurrentIndex(dock.profile.findData("translocation"))
    dock.choices.images.setValue(7)
    dock.choices.wells.setText("image")
    dock.start()
    again = EvaluateWidget(model)
    qtbot.addWidget(again)
    assert again.run_choice.path() == run_folder
    asked = again.request()
    assert (asked.profile, asked.evaluation["images"], asked.evaluation["wells"]) == (
        "translocation",
        7,
        "image",
    )
    assert "Translocation" in again.job_foot.status.text()
    assert again.job_foot.job is dock.job_foot.job is jobs.latest("evaluate", model)
    until_ended(again)
    assert again.view.verdict.text() == "✓ Supported"
    drawn(again, qtbot)
    drawn(dock, qtbot)


def test_settings_follow_the_profile_and_the_run(qtbot, dock: EvaluateWidget):
    settings = dock.request().settings
    assert settings is not None
    assert type(settings).__name__ == "AreaSettings"
    dock.profile.setCurrentIndex(dock.profile.findData("translocation"))
    assert type(dock.request().settings).__name__ == "TranslocationSettings"
    assert dock.choices.name.text() == "translocation-001"
    dock.choices.name.setText("mine")
    dock.profile.setCurrentIndex(dock.profile.findData("area"))
    assert dock.choices.name.text() == "mine"
    assert dock.request().settings == settings


def test_the_channels_to_keep_are_those_of_the_run(qtbot, dock, run_folder: Path):
    run = Run.open(run_folder)
    assert [dock.choices.keep.item(i).text() for i in range(2)] == list(run.channel_names)
    assert dock.request().evaluation["keep"] is None
    item = dock.choices.keep.item(1)
    item.setCheckState(item.checkState().Checked)
    assert dock.request().evaluation["keep"] == ("marker",)


def test_the_modules_of_the_dock_load_neither_torch_nor_matplotlib():
    code = (
        "import sys, napari_phenldiff.widgets.evaluate_dock\n"
        "import napari_phenldiff.evaluation.schema\n"
        "heavy = {'torch', 'diffusers', 'peft', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_how_far_images_are_repeats_is_said_beside_the_verdict(
    qtbot, dock: EvaluateWidget, run_folder: Path, write_evaluation
):
    out = folder_of(run_folder, "area-001")
    write_evaluation(out)
    path = out / "metrics.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["notes"] = ["Numbers.", f"{ONE_WELL}: they say too much.", f"{NO_WELLS}. Name them."]
    path.write_text(json.dumps(told), encoding="utf-8")

    dock.run_field.set_path(None)
    dock.run_field.set_path(run_folder)

    view = dock.view
    assert view.caution.text().splitlines() == told["notes"][1:]
    assert view.notes.text() == "To know: Numbers."
    layout = view.layout()
    places = [layout.indexOf(widget) for widget in (view.verdict, view.caution, view.rules)]
    assert places == sorted(places)
    drawn(dock, qtbot)
