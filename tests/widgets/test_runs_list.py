"""The list of runs in the Fine-tune dock, and runs that outlive the viewer."""

from __future__ import annotations

from pathlib import Path

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QTreeWidgetItem

from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.jobs.registry import RunRegistry
from napari_phenldiff.runs.events import Failed, Step, Warned
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.parts.data_source import FOLDER


@pytest.fixture
def opened(qtbot, home: Path):
    """Open the dock in a viewer, as if napari had just been started."""

    def open_dock(viewer: ViewerModel) -> FineTuneWidget:
        dock = FineTuneWidget(viewer)
        qtbot.addWidget(dock)
        dock.show()
        qtbot.waitUntil(lambda: dock._attached)
        return dock

    return open_dock


def rows(dock: FineTuneWidget) -> list[QTreeWidgetItem]:
    table = dock.runs.table
    return [table.topLevelItem(i) for i in range(table.topLevelItemCount())]


def test_a_run_is_listed_once_it_was_started(
    opened, model: ViewerModel, child, until_ended, qtbot, tmp_path: Path
):
    dock = opened(model)
    dock.out.set_path(tmp_path / "mine")
    dock.steps.setValue(4)
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(lambda: bool(rows(dock)) and rows(dock)[0].text(1) == "Finished")
    assert rows(dock)[0].text(0) == "mine"
    assert RunRegistry().registered() == (tmp_path / "mine",)


def test_a_run_that_has_stopped_is_shown_and_resumed(
    opened, model: ViewerModel, child, until_ended, qtbot, run_folder: Path
):
    run = Run.open(run_folder)
    for event in (Warned("few images"), Step(1, 5, 0.5), Failed("the disk was full")):
        run.append(event)
    RunRegistry().register(run_folder)
    dock = opened(model)
    suggested = dock.out.path()

    rows(dock)[0].setSelected(True)

    assert dock.job_foot.button.text() == "Resume"
    assert dock.out.path() == run_folder
    assert "the disk was full" in dock.job_foot.status.text()
    assert "few images" in dock.job_foot.warnings.text()
    assert "untreated → treated · DNA, marker · bundled base" in dock.runs.details.text()

    dock.runs.new.click()
    assert dock.out.path() == suggested
    assert dock.job_foot.job is None
    assert dock.job_foot.button.text() == "Start fine-tuning"

    rows(dock)[0].setSelected(True)
    child.plan(steps=5)
    dock.job_foot.button.click()
    assert until_ended(dock).state is JobState.FINISHED


def test_a_finished_run_is_shown_and_not_overwritten(
    opened, model: ViewerModel, child, qtbot, run_folder: Path
):
    from napari_phenldiff.runs.events import Finished

    Run.open(run_folder).append(Step(5, 5, 0.5))
    Run.open(run_folder).append(Finished(5))
    RunRegistry().register(run_folder)
    dock = opened(model)
    rows(dock)[0].setSelected(True)
    assert "finished" in dock.job_foot.status.text()
    assert dock.out.path() != run_folder
    assert dock.job_foot.button.text() == "Start fine-tuning"
    assert dock.job_foot.button.isEnabled()


def test_notes_are_written_into_the_run(opened, model: ViewerModel, qtbot, run_folder: Path):
    RunRegistry().register(run_folder)
    dock = opened(model)
    assert not dock.runs.note.isEnabled()
    rows(dock)[0].setSelected(True)
    dock.runs.note.setText("the good one")
    dock.runs.note.editingFinished.emit()
    assert Run.open(run_folder).note == "the good one"
    qtbot.waitUntil(lambda: rows(dock)[0].text(3) == "the good one")

    rows(dock)[0].setText(3, "no, bad")
    assert Run.open(run_folder).note == "no, bad"
    assert dock.runs.note.text() == "no, bad"


def test_forgetting_deletes_nothing(opened, model: ViewerModel, qtbot, run_folder: Path):
    RunRegistry().register(run_folder)
    dock = opened(model)
    rows(dock)[0].setSelected(True)
    dock.runs.forget.click()
    assert rows(dock) == []
    assert (run_folder / "config.json").is_file()
    dock.runs.refresh()
    qtbot.wait(100)
    assert rows(dock) == []


def test_a_running_run_is_found_again_after_napari_was_restarted(
    opened, child, until_ended, qtbot, data_folder: Path, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    first = opened(ViewerModel())
    first.data.kind.setCurrentText(FOLDER)
    first.data.folder.set_path(data_folder)
    first.out.set_path(tmp_path / "run")
    first.start()
    qtbot.waitUntil(lambda: first.job_foot.job.done >= 2, timeout=20_000)

    # Another viewer knows nothing of the jobs of the first one, like a new process.
    restarted = opened(ViewerModel())

    job = restarted.job_foot.job
    assert job is not None
    assert job is not first.job_foot.job
    assert len(child.requests) == 1
    qtbot.waitUntil(lambda: job.done >= 2)
    assert job.losses[0] == (1, 1.0)
    assert restarted.job_foot.button.text() == "Stop"
    restarted.job_foot.button.click()
    assert until_ended(restarted).state is JobState.STOPPED
    assert Run.open(tmp_path / "run").state == "stopped"
    until_ended(first)


def test_a_child_killed_while_nobody_looked_leaves_a_run_to_resume(
    opened, child, until_ended, qtbot, data_folder: Path, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    process = child.train_elsewhere(data_folder, tmp_path / "run")
    events = tmp_path / "run" / "events.jsonl"
    qtbot.waitUntil(lambda: events.exists() and "step" in events.read_text(), timeout=20_000)
    process.kill()
    process.wait(10)
    assert (tmp_path / "run" / "run.lock").exists()
    RunRegistry().register(tmp_path / "run")

    dock = opened(ViewerModel())

    assert dock.job_foot.job is None
    assert rows(dock)[0].text(1).startswith("Interrupted ")
    rows(dock)[0].setSelected(True)
    assert dock.job_foot.button.text() == "Resume"
    assert "went away" in dock.job_foot.status.text()


def test_a_child_killed_before_our_eyes_leaves_a_run_to_resume(
    opened, model: ViewerModel, child, until_ended, qtbot, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    dock = opened(model)
    dock.out.set_path(tmp_path / "run")
    dock.start()
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 2, timeout=20_000)
    # The images are few, and the child was told so by the dock that prepared the run.
    few = [text for text in dock.job_foot.job.warnings if "only 4 images" in text]
    assert len(few) == 2
    child.processes[0].kill()
    job = until_ended(dock)
    assert job.state is JobState.FAILED
    assert dock.job_foot.button.text() == "Resume"
    child.plan(steps=job.done + 2)
    dock.job_foot.button.click()
    assert until_ended(dock).state is JobState.FINISHED


def test_a_run_of_somebody_else_is_watched_only_when_asked(
    opened, child, qtbot, until_ended, data_folder: Path, home: Path, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    path = home / "phenldiff-runs" / "theirs"
    child.train_elsewhere(data_folder, path)
    qtbot.waitUntil(lambda: (path / "run.lock").exists(), timeout=20_000)
    dock = opened(ViewerModel())
    assert dock.job_foot.job is None
    rows(dock)[0].setSelected(True)
    assert dock.job_foot.job is None
    assert dock.job_foot.button.text() == "Watch"
    dock.job_foot.button.click()
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 1, timeout=20_000)
    dock.job_foot.button.click()
    assert until_ended(dock).state is JobState.STOPPED


def test_a_live_job_is_not_pushed_aside_by_looking_at_another_run(
    opened, model: ViewerModel, child, qtbot, run_folder: Path, tmp_path: Path
):
    RunRegistry().register(run_folder)
    dock = opened(model)
    child.plan(steps=1000, delay=0.02)
    dock.out.set_path(tmp_path / "new")
    dock.start()
    job = dock.job_foot.job
    item = next(row for row in rows(dock) if row.text(0) == "run")
    item.setSelected(True)
    assert dock.job_foot.job is job
    assert dock.out.path() == tmp_path / "new"


def test_a_list_out_of_sight_is_not_looked_up(opened, model: ViewerModel, qtbot, monkeypatch):
    from superqt import QCollapsible

    dock = opened(model)
    dock.resize(400, 1500)
    looks: list[int] = []
    monkeypatch.setattr(dock.runs, "refresh", lambda: looks.append(1))
    dock.runs._timer.timeout.emit()
    assert looks == []
    fold = dock.runs
    while not isinstance(fold, QCollapsible):
        fold = fold.parentWidget()
    fold.expand()
    qtbot.waitUntil(lambda: not dock.runs.visibleRegion().isEmpty())
    dock.runs._timer.timeout.emit()
    assert looks
    dock.hide()
    assert not dock.runs._timer.isActive()
