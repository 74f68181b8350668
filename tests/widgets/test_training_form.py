"""What the Fine-tune dock says before it starts, and its settings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs import estimate
from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.registry import RunRegistry
from napari_phenldiff.runs.config import LEARNING_RATES, TrainingConfig
from napari_phenldiff.runs.events import Finished, Noted, Preview, Started, Step, Validated, Warned
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.hardware import Hardware
from napari_phenldiff.viewer.previews import show_previews
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.parts.training_form import CHOSEN, HUB, NO_CHANNELS, PHENOTYPE


@pytest.fixture
def dock(qtbot, model: ViewerModel, tmp_path: Path) -> FineTuneWidget:
    widget = FineTuneWidget(model)
    qtbot.addWidget(widget)
    widget.out.set_path(tmp_path / "new")
    widget.show()
    qtbot.waitUntil(lambda: "Looking" not in widget.job_foot.forecast.text())
    return widget


def test_device_time_and_memory_are_said_before_the_start(dock: FineTuneWidget):
    told = dock.job_foot.forecast.text()
    assert dock.job_foot.forecast.isVisible()
    assert told.startswith("Runs on CPU, 2 cores: no NVIDIA GPU was found.")
    assert "About 5 to 14 min" in told
    assert "GB of memory" in told
    assert '⚠ Condition "treated" has only 4 images' in told
    dock.steps.setValue(9000)
    assert "About 5 to 14 min" not in dock.job_foot.forecast.text()


def test_until_it_is_known_a_gpu_is_looked_for(qtbot, model: ViewerModel, monkeypatch):
    import threading

    go = threading.Event()
    asked: list[tuple[str, str]] = []

    def slow(device: str, precision: str) -> str:
        asked.append((device, precision))
        go.wait(10)
        return "It is not known what computes here."

    monkeypatch.setattr(estimate, "ask_hardware", slow)
    dock = FineTuneWidget(model)
    qtbot.addWidget(dock)
    assert dock.job_foot.forecast.text().startswith("Looking for a GPU …")
    go.set()
    qtbot.waitUntil(lambda: "not known" in dock.job_foot.forecast.text())
    second = FineTuneWidget(model)
    qtbot.addWidget(second)
    qtbot.waitUntil(lambda: "not known" in second.job_foot.forecast.text())
    # Asked once for the whole session, not once for every dock or keystroke.
    assert asked == [("auto", "auto")]


def test_another_device_is_asked_about(qtbot, dock: FineTuneWidget, monkeypatch):
    gpu = Hardware("cuda", "NVIDIA RTX", memory=24 * 10**9, free=20 * 10**9, seconds=0.001)
    monkeypatch.setattr(estimate, "ask_hardware", lambda device, precision: gpu)
    dock.settings.device.setCurrentText("cuda")
    qtbot.waitUntil(lambda: "NVIDIA RTX." in dock.job_foot.forecast.text())
    dock.settings.device.setCurrentText("cud")
    assert "Unknown device" in dock.job_foot.forecast.text()


def test_what_does_not_fit_is_told(dock: FineTuneWidget, monkeypatch):
    monkeypatch.setattr(
        "psutil.virtual_memory", lambda: SimpleNamespace(available=4 * 10**9, total=8 * 10**9)
    )
    dock.batch_size.setValue(512)
    assert "⚠ This will hardly fit" in dock.job_foot.forecast.text()


def test_settings_reach_the_run(dock: FineTuneWidget, child, until_ended):
    settings = dock.settings
    settings.strategy.setCurrentIndex(settings.strategy.findData("lora"))  # shows the rank
    settings.learning_rate.setValue(2e-4)
    settings.rank.setValue(4)
    settings.watched.setValue(1)
    settings.preview_every.setValue(20)
    settings.precision.setCurrentText("float32")
    settings.references.setCurrentText(CHOSEN)
    items = [settings.channels.item(i) for i in range(settings.channels.count())]
    assert [item.text() for item in items] == ["DNA", "marker"]
    items[0].setCheckState(Qt.CheckState.Checked)
    assert dock.validation_error() is None
    dock.start()
    until_ended(dock)
    config = Run.open(dock.job_foot.job.path).config
    assert (config.learning_rate, config.rank, config.precision) == (2e-4, 4, "float32")
    assert (config.reference_channels, config.preview_every) == (("DNA",), 20)
    assert config.validation_images == 1


def test_the_defaults_are_those_of_the_command_line(dock: FineTuneWidget):
    config = dock.request().config()
    assert config == TrainingConfig(conditions=config.conditions, preview_every=50)
    strategy = TrainingConfig.model_fields["strategy"].annotation
    assert dock.settings.strategy.count() == len(get_args(strategy))


def test_brightness_may_be_the_phenotype(dock: FineTuneWidget):
    assert dock.request().setting("normalised_channels") == "auto"
    dock.settings.brightness.setCurrentText(PHENOTYPE)
    assert dock.request().setting("normalised_channels") == ()
    assert dock.request().config().normalised_channels == ()


def test_not_all_channels_can_be_kept(dock: FineTuneWidget):
    dock.settings.references.setCurrentText(NO_CHANNELS)
    assert dock.request().setting("reference_channels") == ()
    assert not dock.settings.channels.isVisibleTo(dock)
    dock.settings.references.setCurrentText(CHOSEN)
    for row in range(2):
        dock.settings.channels.item(row).setCheckState(Qt.CheckState.Checked)
    assert "none is left to translate" in dock.job_foot.message.text()


def test_a_download_is_announced(dock: FineTuneWidget):
    assert not dock.settings.hub_note.isVisible()
    dock.base_kind.setCurrentText(HUB)
    assert dock.settings.hub_note.isVisible()
    assert "downloads" in dock.settings.hub_note.text()
    dock.base_hub.setText("owner/name")
    assert "unknown until" in dock.job_foot.forecast.text()


def make_job(folder: Path, viewer: ViewerModel) -> Job:
    run = Run.open(folder)
    data = np.zeros((4, 16, 16), np.float32)
    names = ("real DNA", "real marker", "translated DNA", "translated marker")
    write_tiff(folder / "previews" / "a.tif", Image(data, names, None, "a"))
    job = Job("train", "Fine-tuning untreated → treated", path=run.path)
    jobs.add(job, viewer)
    return job


def test_findings_and_warnings_stay_on_the_screen(
    dock: FineTuneWidget, model: ViewerModel, run_folder: Path
):
    job = make_job(run_folder, model)
    dock._watch(job)
    for event in (
        Started("CPU, 2 cores", "here"),
        Noted("How well the conditions are separated: marker 0.98"),
        Noted("Left as it is: DNA"),
        Step(25, 300, 0.4, 10.0),
        Validated(25, 0.5, 0.4),
        Warned("From about step 25 on the model memorises its images."),
        Step(26, 300, 0.4, 10.0),
    ):
        job.apply(event)
    dock.job_foot.refresh()
    foot = dock.job_foot
    assert "on CPU, 2 cores" in foot.status.text()
    assert "marker 0.98" in foot.notes.text()
    assert "Left as it is: DNA." in foot.notes.text()
    assert "memorises" in foot.warnings.text()
    assert foot.curve._watched == [job.validations[0]]
    assert not foot.forecast.isVisible()
    job.apply(Finished(26, stopped=True))
    assert "Left as it is: DNA." in foot.notes.text()
    assert "memorises" in foot.warnings.text()
    assert foot.forecast.isVisible()


def test_nothing_is_said_twice(dock: FineTuneWidget, model: ViewerModel, run_folder: Path):
    warning = next(x for x in dock.job_foot.forecast.text().splitlines() if "treated" in x)
    job = make_job(run_folder, model)
    dock._watch(job)
    job.apply(Warned(warning.removeprefix("⚠ ")))
    job.apply(Finished(0, stopped=True))
    assert warning in dock.job_foot.warnings.text()
    assert warning not in dock.job_foot.forecast.text()


def test_findings_are_told_of_a_former_run(qtbot, model: ViewerModel, run_folder: Path):
    run = Run.open(run_folder)
    for event in (Noted("Left as it is: DNA"), Step(1, 5, 0.5), Finished(1, stopped=True)):
        run.append(event)
    RunRegistry().register(run_folder)
    dock = FineTuneWidget(model)
    qtbot.addWidget(dock)
    qtbot.waitUntil(lambda: dock.runs.table.topLevelItemCount() == 1)
    dock.runs.table.topLevelItem(0).setSelected(True)
    assert "Left as it is: DNA" in dock.runs.details.text()
    assert "Left as it is: DNA" in dock.job_foot.notes.text()


def test_previews_are_shown_hidden_and_found_again(
    qtbot, dock: FineTuneWidget, model: ViewerModel, run_folder: Path
):
    before = len(model.layers)
    job = make_job(run_folder, model)
    dock._watch(job)
    job.apply(Step(50, 300, 0.4))
    job.apply(Preview(50, "previews/a.tif", "untreated", "treated"))
    # One at a time, so that the window answers in between.
    assert len(model.layers) <= before + 1
    qtbot.waitUntil(lambda: len(model.layers) == before + 4)
    assert dock.data.source.count() == 2  # a preview is no condition

    dock.settings.show_previews.setChecked(False)
    assert len(model.layers) == before
    reopened = FineTuneWidget(model)
    qtbot.addWidget(reopened)
    assert not reopened.settings.show_previews.isChecked()
    reopened.settings.show_previews.setChecked(True)
    qtbot.waitUntil(lambda: len(model.layers) == before + 4)
    reopened.settings.go_to_previews.click()
    assert model.scene.camera.center[-1] > model.layers[0].extent.world[1, -1]
    job.apply(Finished(50))


def test_unwanted_previews_are_not_added(dock: FineTuneWidget, model: ViewerModel, run_folder):
    dock.settings.show_previews.setChecked(False)
    job = make_job(run_folder, model)
    before = len(model.layers)
    previews = show_previews(job, model, wanted=False)
    job.apply(Preview(50, "previews/a.tif", "untreated", "treated"))
    assert len(model.layers) == before
    assert previews.step == 50
    job.apply(Finished(50))


def test_a_rank_that_is_not_shown_is_not_asked_for(dock: FineTuneWidget):
    settings = dock.settings
    settings.strategy.setCurrentIndex(settings.strategy.findData("lora"))
    settings.rank.setValue(8)
    assert (dock.request().config().strategy, dock.request().config().rank) == ("lora", 8)
    settings.strategy.setCurrentIndex(settings.strategy.findData("full"))
    rank = TrainingConfig.model_fields["rank"].default
    assert (dock.request().config().strategy, dock.request().config().rank) == ("full", rank)


def test_each_strategy_has_a_word_on_it_and_its_own_learning_rate(dock: FineTuneWidget):
    strategy = dock.settings.strategy
    for name in get_args(TrainingConfig.model_fields["strategy"].annotation):
        place = strategy.findData(name)
        assert strategy.itemData(place, Qt.ItemDataRole.ToolTipRole)
        assert strategy.itemText(place) in strategy.toolTip()
        strategy.setCurrentIndex(place)
        config = dock.request().config()
        chosen = "lora" if name == "auto" else name
        assert (config.strategy, config.learning_rate) == (chosen, LEARNING_RATES[chosen])
        shown = dock.settings.rank.isVisibleTo(dock.settings.rank.parentWidget())
        assert shown == (chosen == "lora")
    assert "automatic" in dock.settings.learning_rate.text()
