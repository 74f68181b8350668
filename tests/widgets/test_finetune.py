from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images.image import Image
from napari_phenldiff.jobs.job import JobState, jobs
from napari_phenldiff.jobs.requests import ResumeRequest, TrainRequest
from napari_phenldiff.runs import contents
from napari_phenldiff.runs.events import Step
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.widgets.finetune_dock import BASE_FOLDER, HUB, FineTuneWidget
from napari_phenldiff.widgets.parts import tasks
from napari_phenldiff.widgets.parts.data_source import FOLDER
from napari_phenldiff.widgets.parts.folder_field import short_path


@pytest.fixture
def dock(qtbot, model: ViewerModel, tmp_path: Path) -> FineTuneWidget:
    widget = FineTuneWidget(model)
    qtbot.addWidget(widget)
    widget.out.set_path(tmp_path / "run")
    widget.steps.setValue(4)
    widget.show()
    return widget


def test_the_open_conditions_can_be_chosen_and_the_control_is_the_source(dock: FineTuneWidget):
    assert dock.data.source.currentText() == "untreated (4 images)"
    assert dock.data.target.currentText() == "treated (4 images)"
    summary = dock.data.summary.text().replace("\N{NO-BREAK SPACE}", " ")
    assert summary == "Channels: DNA, marker · 96 × 96 px · 8 bit"
    assert dock.validation_error() is None
    assert dock.job_foot.button.isEnabled()
    assert dock.job_foot.button.text() == "Start fine-tuning"


def test_a_run_folder_is_suggested_until_one_is_named(qtbot, model: ViewerModel, home: Path):
    dock = FineTuneWidget(model)
    qtbot.addWidget(dock)
    assert dock.out.path() == home / "phenldiff-runs" / "untreated-to-treated-001"

    dock.data.source.setCurrentIndex(0)
    dock.data.target.setCurrentIndex(1)
    assert dock.out.path() == home / "phenldiff-runs" / "treated-to-untreated-001"

    dock.out.set_path(home / "mine")
    dock.data.target.setCurrentIndex(0)
    assert dock.out.path() == home / "mine"


def test_the_second_condition_to_come_is_the_target(qtbot, home: Path, open_simulated):
    everything = ViewerModel()
    open_simulated(everything)
    model = ViewerModel()
    made = FineTuneWidget(model)
    qtbot.addWidget(made)
    made.show()

    def add(condition: str) -> None:
        for layer in everything.layers:
            if layer.name.startswith(condition):
                model.add_image(layer.data, name=layer.name, metadata=layer.metadata)

    add("treated")
    qtbot.waitUntil(lambda: made.data.source.count() == 1)
    message = made.job_foot.message.text()
    assert message.startswith("A second condition is missing beside treated: drop a folder")
    assert "both" not in made.data.summary.text() + made.job_foot.warnings.text()
    add("untreated")
    qtbot.waitUntil(lambda: made.data.source.count() == 2)
    assert [choice.name for choice in made.data.choices()] == ["untreated", "treated"]
    assert made.out.path().name == "untreated-to-treated-001"


def test_why_it_cannot_start_stands_beside_the_button(qtbot, dock: FineTuneWidget, model):
    dock.data.target.setCurrentIndex(dock.data.source.currentIndex())

    assert not dock.job_foot.button.isEnabled()
    assert dock.job_foot.message.isVisible()
    assert "same condition" in dock.job_foot.message.text()

    model.layers.clear()
    qtbot.waitUntil(lambda: dock.data.source.count() == 0)
    assert "Open images of two conditions" in dock.job_foot.message.text()
    assert "Drop TIFFs" in dock.data.summary.text()


def test_layers_are_followed_as_they_come_and_go(qtbot, dock: FineTuneWidget, model: ViewerModel):
    model.add_image(np.zeros((5, 8, 8)), name="drug: DNA")
    qtbot.waitUntil(lambda: dock.data.source.findText("drug (5 images)") >= 0)
    assert dock.data.source.currentText() == "untreated (4 images)"

    model.layers["drug: DNA"].name = "other: DNA"
    qtbot.waitUntil(lambda: dock.data.source.findText("other (5 images)") >= 0)


def test_only_what_belongs_to_the_base_model_is_shown(dock: FineTuneWidget, tmp_path: Path):
    assert not dock.base_folder.isVisible()
    assert not dock.base_hub.isVisible()

    dock.base_kind.setCurrentText(BASE_FOLDER)
    assert dock.base_folder.isVisible()
    assert "base model" in (dock.validation_error() or "")
    dock.base_folder.set_path(tmp_path / "base")
    assert dock.request().setting("base") == str(tmp_path / "base")

    dock.base_kind.setCurrentText(HUB)
    dock.base_hub.setText(" owner/name ")
    assert dock.base_hub.isVisible()
    assert not dock.base_folder.isVisible()
    assert dock.request().setting("base") == "owner/name"


def test_layers_are_trained_on_in_a_child_process(
    dock: FineTuneWidget, child, until_ended, tmp_path: Path
):
    dock.per_condition.setValue(3)
    dock.seed.setValue(5)
    dock.job_foot.button.click()
    assert dock.job_foot.button.text() == "Stop"
    assert not dock.job_foot.curve.isHidden()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED
    assert job.losses == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.25)]
    assert dock.job_foot.status.text().startswith("Fine-tuning untreated → treated: finished.")
    run = Run.open(tmp_path / "run")
    assert child.requests == [ResumeRequest(run=run.path)]
    assert run.config.images_per_condition == 3
    assert run.config.seed == 5
    assert len(run.trained_images) == 6
    # What is there now is finished: the next one has a folder of its own, and nothing is amiss.
    assert dock.out.path() not in (None, run.path)
    assert not dock.job_foot.message.isVisibleTo(dock)
    dock.out.set_path(run.path)
    assert not dock.job_foot.button.isEnabled()
    assert "is a run already" in dock.job_foot.message.text()
    assert not dock.job_foot.forecast.isVisibleTo(dock), "nothing can be started there"


def test_a_folder_is_trained_on_in_a_child_process(
    dock: FineTuneWidget, child, until_ended, data_folder: Path, tmp_path: Path
):
    dock.data.kind.setCurrentText(FOLDER)
    assert "in this folder" not in (dock.validation_error() or "")
    dock.data.folder.set_path(data_folder)
    assert dock.data.source.currentText() == "untreated (4 images)"
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    (request,) = child.requests
    assert isinstance(request, TrainRequest)
    assert (request.data, request.out) == (data_folder, tmp_path / "run")
    assert Run.open(tmp_path / "run").state == "finished"


def test_typing_does_not_read_what_has_happened_in_a_run_again(
    dock: FineTuneWidget, run_folder: Path, monkeypatch
):
    Run.open(run_folder).append(Step(1, 10, 0.5))
    reads: list[Path] = []
    read = contents.read_events
    monkeypatch.setattr(
        contents, "read_events", lambda path, start: reads.append(path) or read(path, start)
    )
    dock.out.set_path(run_folder)
    assert dock.job_foot.button.text() == "Resume"
    for steps in (11, 12, 13):
        dock.steps.setValue(steps)
    assert len(reads) <= 1


def test_stop_keeps_a_run_that_can_be_resumed(
    qtbot, dock: FineTuneWidget, child, until_ended, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    dock.job_foot.button.click()
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 2, timeout=20_000)
    qtbot.waitUntil(lambda: "left" in dock.job_foot.status.text())
    assert "Step" in dock.job_foot.status.text()
    assert dock.job_foot.bar.maximum() == 1000
    dock.job_foot.button.click()
    assert dock.job_foot.button.text() == "Stop now"
    job = until_ended(dock)

    assert job.state is JobState.STOPPED
    assert Run.open(tmp_path / "run").state == "stopped"
    qtbot.waitUntil(lambda: dock.job_foot.button.text() == "Resume")
    assert dock.job_foot.button.isEnabled()

    child.plan(steps=len(job.losses) + 2)
    dock.job_foot.button.click()
    resumed = until_ended(dock)
    assert resumed.state is JobState.FINISHED
    # The curve goes on where it was.
    assert len(resumed.losses) == len(job.losses) + 2
    assert resumed.losses[: len(job.losses)] == job.losses


def test_stop_insists_when_the_child_does_not_listen(
    qtbot, dock: FineTuneWidget, child, until_ended
):
    child.plan(steps=2, delay=60)
    dock.job_foot.button.click()
    qtbot.waitUntil(lambda: dock.job_foot.job.message == "Loading the base model", timeout=20_000)
    dock.job_foot.button.click()
    dock.job_foot.button.click()

    assert until_ended(dock).state is JobState.STOPPED
    assert child.processes[0].poll() is not None


def test_a_crash_is_told_with_the_last_words_of_the_child(dock: FineTuneWidget, child, until_ended):
    child.plan(end="crash")
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert dock.job_foot.details.isVisible()
    assert "illegal memory access" in dock.job_foot.details.toPlainText()
    assert "has failed" in dock.job_foot.status.text()
    # It died in the middle of a run: that can go on.
    assert dock.job_foot.button.text() == "Resume"


@pytest.mark.parametrize(
    ("end", "words"),
    [("refuse", "The images are not to my taste; give others."), ("fail", "not enough memory")],
)
def test_what_the_child_says_is_what_is_shown(
    dock: FineTuneWidget, child, until_ended, end: str, words: str
):
    child.plan(end=end)
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert words in dock.job_foot.status.text()
    assert not dock.job_foot.details.isVisible()


def test_bad_images_are_told_in_a_sentence(dock: FineTuneWidget, model, until_ended, tmp_path):
    for name in ("treated: marker", "untreated: marker"):
        model.layers[name].data = np.zeros_like(model.layers[name].data)
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert '"marker" has the same value' in job.message or "marker" in job.message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError, "RuntimeError: out of something"),
        (MemoryError, "not enough memory"),
        (OSError, "OSError: out of something"),
    ],
)
def test_whatever_is_raised_in_the_thread_is_told(
    dock: FineTuneWidget, monkeypatch: pytest.MonkeyPatch, until_ended, error, words: str
):
    def launch(request, path, log):
        raise error("out of something")

    monkeypatch.setattr(tasks, "launch", lambda: launch)
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert words in job.message


def test_a_dock_opened_again_finds_the_job(
    qtbot, model: ViewerModel, child, until_ended, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    dock = FineTuneWidget(model)
    dock.out.set_path(tmp_path / "run")
    dock.seed.setValue(7)
    dock.settings.references.setCurrentText("None")
    dock.start()
    job = dock.job_foot.job
    qtbot.waitUntil(lambda: job.done >= 1, timeout=20_000)
    dock.close()
    dock.deleteLater()
    del dock
    qtbot.wait(50)

    reopened = FineTuneWidget(model)
    qtbot.addWidget(reopened)

    assert reopened.job_foot.job is job
    assert jobs.latest("train", model) is job
    assert reopened.job_foot.button.text() == "Stop"
    done = job.done
    qtbot.waitUntil(lambda: job.done > done)
    reopened.job_foot.button.click()
    assert until_ended(reopened).state is JobState.STOPPED
    assert reopened.job_foot.button.text() == "Resume"
    assert reopened.out.path() == job.path
    assert reopened.seed.value() == 7
    assert reopened.settings.references.currentText() == "None"
    assert "own settings" not in reopened.job_foot.forecast.text(), "those are what is shown"


def test_a_run_of_somebody_else_can_be_watched_and_stopped(
    qtbot, dock: FineTuneWidget, child, until_ended, data_folder: Path, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    child.train_elsewhere(data_folder, tmp_path / "run")
    qtbot.waitUntil(lambda: (tmp_path / "run" / "run.lock").exists(), timeout=20_000)
    dock.refresh()
    assert dock.job_foot.button.text() == "Watch"

    dock.start()
    assert len(child.requests) == 1
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 1, timeout=20_000)
    dock.job_foot.button.click()

    assert until_ended(dock).state is JobState.STOPPED


def test_progress_is_shown_at_most_five_times_a_second(
    qtbot, dock: FineTuneWidget, child, until_ended, monkeypatch
):
    shown: list[int] = []
    monkeypatch.setattr(dock.job_foot.curve, "set_losses", lambda *_: shown.append(1))
    child.plan(steps=300, delay=0.0)
    dock.start()
    job = until_ended(dock)

    assert len(job.losses) == 300
    assert len(shown) < 60


# ---- after a stop -------------------------------------------------------------------------------


@pytest.fixture
def stopped(qtbot, model: ViewerModel, child, until_ended, home: Path) -> FineTuneWidget:
    """A dock with a training that was stopped, in the folder that was suggested."""
    dock = FineTuneWidget(model)
    qtbot.addWidget(dock)
    dock.show()
    child.plan(steps=1000, delay=0.02)
    dock.start()
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 2)
    dock.job_foot.button.click()
    assert until_ended(dock).state is JobState.STOPPED
    qtbot.waitUntil(lambda: dock.job_foot.button.text() == "Resume")
    return dock


def test_a_run_keeps_its_folder_while_layers_come_and_go(
    qtbot, model: ViewerModel, child, until_ended, home: Path
):
    dock = FineTuneWidget(model)
    qtbot.addWidget(dock)
    dock.show()
    child.plan(steps=1000, delay=0.02)
    dock.start()
    run = dock.job_foot.job.path
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 2)
    measured = model.add_labels(np.zeros((4, 16, 16), int), name="treated: objects")
    assert dock.out.path() == run
    dock.job_foot.button.click()
    assert until_ended(dock).state is JobState.STOPPED
    model.layers.remove(measured)
    model.add_image(np.zeros((4, 16, 16)), name="other: marker")
    qtbot.waitUntil(lambda: dock.job_foot.button.text() == "Resume")
    assert dock.out.path() == run
    dock.data.choose("treated", "untreated")
    assert dock.out.path().name == "treated-to-untreated-001"


def test_a_new_run_is_one_click_away_after_a_stop(stopped: FineTuneWidget, child, until_ended):
    first = stopped.out.path()
    assert first.name == "untreated-to-treated-001"
    assert stopped.new_run.isVisible()
    stopped.new_run.click()
    assert stopped.out.path().name == "untreated-to-treated-002"
    assert stopped.job_foot.button.text() == "Start fine-tuning"
    assert not stopped.new_run.isVisible()
    child.plan(steps=4)
    stopped.job_foot.button.click()
    assert until_ended(stopped).state is JobState.FINISHED
    assert Run.open(first).state == "stopped"
    # What was suggested is a run by now: the next one is suggested.
    assert stopped.out.path().name == "untreated-to-treated-003"
    assert stopped.job_foot.button.isEnabled()


def test_resume_says_which_settings_it_does_not_take(stopped: FineTuneWidget):
    assert "Resume goes on" not in stopped.job_foot.forecast.text()
    stopped.steps.setValue(77)
    stopped.seed.setValue(5)
    told = stopped.job_foot.forecast.text()
    assert "Resume goes on with the run's own settings: steps 1000 (here 77)" in told
    assert "seed 0 (here 5)" in told
    stopped.steps.setValue(1000)
    stopped.seed.setValue(0)
    stopped.settings.preview_every.setValue(50)
    assert "Resume goes on" not in stopped.job_foot.forecast.text()


def test_the_folder_of_a_training_is_named_while_it_runs_and_after(
    qtbot, dock: FineTuneWidget, child, until_ended, tmp_path: Path
):
    child.plan(steps=1000, delay=0.02)
    dock.start()
    place = f"Run folder: {short_path(tmp_path / 'run')}"
    assert place in dock.job_foot.status.text()
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 2)
    qtbot.waitUntil(lambda: "Step" in dock.job_foot.status.text())
    assert place in dock.job_foot.status.text()
    dock.job_foot.button.click()
    until_ended(dock)
    assert place in dock.job_foot.status.text()


def test_the_list_of_runs_unfolds_where_it_is_seen(qtbot, dock: FineTuneWidget):
    from superqt import QCollapsible

    dock.resize(380, 400)
    fold = next(f for f in dock.findChildren(QCollapsible) if f.text() == "Runs")
    fold.toggleButton().click()
    qtbot.waitUntil(lambda: dock.runs.table.visibleRegion().boundingRect().height() > 60)


# ---- a folder that cannot be made, and messages that go with their cause ------------------------


def test_a_folder_that_cannot_be_made_is_told_before_the_start(dock: FineTuneWidget, tmp_path):
    (tmp_path / "file.txt").write_text("no folder")
    for path, words in (
        (tmp_path / "file.txt" / "run", "file.txt is a file, so no folder can be made there"),
        (tmp_path / ("long" * 80), "is too long (320 bytes"),
    ):
        dock.out.set_path(path)
        assert words in dock.job_foot.message.text()
        assert not dock.job_foot.button.isEnabled()


def test_a_folder_without_permission_is_told_before_the_start(
    dock: FineTuneWidget, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    from napari_phenldiff.images import files

    monkeypatch.setattr(files.os, "access", lambda place, mode: place != tmp_path)
    dock.out.set_path(tmp_path / "elsewhere" / "run")
    assert dock.job_foot.message.text() == (
        f"There is no permission to write in {tmp_path}; name a folder in another place."
    )


def test_a_failure_is_no_longer_red_when_something_else_is_filled_in(
    dock: FineTuneWidget, child, until_ended, tmp_path: Path
):
    child.plan(end="fail")
    dock.start()
    assert until_ended(dock).state is JobState.FAILED
    red = dock.job_foot.status.styleSheet()
    assert "has failed" in dock.job_foot.status.text()

    dock.batch_size.setValue(2)
    assert dock.job_foot.status.styleSheet() != red
    assert dock.job_foot.status.text().startswith("Before: ")
    child.plan(end="finish")
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED
    assert "failed" not in dock.job_foot.status.text()


def test_there_is_no_estimate_without_images(qtbot, dock: FineTuneWidget, model: ViewerModel):
    from napari_phenldiff.jobs import estimate

    dock._forecast._lookup._thread.join(20)
    qtbot.waitUntil(lambda: ("auto", "auto") in estimate.KNOWN)
    dock.refresh()
    told = dock.job_foot.forecast.text()
    model.layers.clear()
    qtbot.waitUntil(lambda: dock.data.source.count() == 0)
    assert len(dock.job_foot.forecast.text()) < len(told)
    assert " min" not in dock.job_foot.forecast.text()
    assert "GB" not in dock.job_foot.forecast.text().partition("\n")[2]


@pytest.mark.parametrize(("steps", "every"), [(40, 20), (4, 2), (100, 50), (1000, 50)])
def test_short_trainings_have_previews_too(dock: FineTuneWidget, steps: int, every: int):
    dock.steps.setValue(steps)
    assert dock.settings.preview_every.value() == every
    dock.settings.preview_every.setValue(7)
    dock.steps.setValue(steps + 10)
    assert dock.settings.preview_every.value() == 7, "somebody has filled it in"


def test_a_flat_loss_is_explained_in_words(dock: FineTuneWidget, model: ViewerModel):
    from napari_phenldiff.jobs.job import Job
    from napari_phenldiff.runs.events import Validated

    flat = Job("train", "Fine-tuning")
    for step in range(1, 61):
        flat.apply(Step(step, 100, 0.5 + 0.01 * (step % 2)))
    flat.apply(Validated(20, 0.51, 0.5))
    flat.apply(Validated(60, 0.505, 0.5))
    dock.job_foot.set_job(flat)
    told = dock.job_foot.about_curve
    assert not told.isHidden()
    assert "Look at the previews and at the watched loss (orange dots): 0.5100 at step 20" in (
        told.text()
    )
    falling = Job("train", "Fine-tuning")
    for step in range(1, 61):
        falling.apply(Step(step, 100, 1 / step))
    dock.job_foot.set_job(falling)
    assert told.isHidden()


def test_napari_says_on_closing_that_a_training_goes_on(dock: FineTuneWidget, child, until_ended):
    from napari_phenldiff.widgets.parts import background

    names: list[str] = []
    make = background.create_worker

    def spy(function, **options):
        names.append(function.__qualname__)
        return make(function, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(background, "create_worker", spy)
        dock.start()
    until_ended(dock)
    assert names == [
        "Fine-tuning untreated → treated (goes on when napari is closed; Fine-tune shows it again)"
    ]


def test_that_no_verdict_will_be_possible_is_told_before_the_start(qtbot, home: Path):
    rng = np.random.default_rng(0)
    model = ViewerModel()

    def images(names: list[str]) -> list[Image]:
        return [Image(rng.random((1, 16, 16)), ("marker",), None, name) for name in names]

    tiles = [f"y{y:04d}_x{x:04d}" for y in (0, 128) for x in (0, 128)]
    for data, arguments, _ in experiment_layers({"a": images(tiles), "b": images(tiles)}):
        model.add_image(data, **arguments)
    dock = FineTuneWidget(model)
    qtbot.addWidget(dock)
    told = "⚠ With these images: The verdict can only be that one cannot tell: all images of a"
    assert told in dock.job_foot.forecast.text()
    several = [f"B{i:02d}_f1" for i in range(1, 9)]
    more = {"c": images(several), "d": images([name.replace("B", "C") for name in several])}
    for data, arguments, _ in experiment_layers(more):
        model.add_image(data, **arguments)
    qtbot.waitUntil(lambda: dock.data.source.count() > 2)
    dock.data.choose("c", "d")
    assert "cannot tell" not in dock.job_foot.forecast.text()
