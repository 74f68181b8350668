from __future__ import annotations

import gc
import shutil
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.jobs import estimate, registry
from napari_phenldiff.jobs.job import Job, JobState, jobs
from napari_phenldiff.jobs.registry import RunRegistry
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers
from napari_phenldiff.viewer.model_session import session_of
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.side_by_side import side_by_side
from napari_phenldiff.viewer.turns import in_turns
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.parts import preload, tasks
from napari_phenldiff.widgets.parts.run_choice import OTHER
from napari_phenldiff.widgets.parts.turning import turning_of
from napari_phenldiff.widgets.translate_dock import ALL_FIELDS, CURRENT_VIEW, TranslateWidget


@pytest.fixture
def dock(qtbot, model: ViewerModel, run_folder: Path) -> TranslateWidget:
    widget = TranslateWidget(model)
    qtbot.addWidget(widget)
    widget.run_field.set_path(run_folder)
    widget.show()
    return widget


def added(model: ViewerModel) -> list[str]:
    return [layer.name for layer in model.layers][4:]


def translated_marker(model: ViewerModel):
    return next(layer for layer in model.layers if layer.name.startswith("→ treated: marker"))


def test_the_model_is_loaded_while_the_user_still_chooses(
    qtbot, model: ViewerModel, run_folder: Path, child, until_ended, monkeypatch
):
    monkeypatch.setattr(preload, "WAIT_MS", 1)
    monkeypatch.setattr(estimate, "KNOWN", {})
    widget = TranslateWidget(model)
    qtbot.addWidget(widget)
    widget.run_field.set_path(run_folder)
    qtbot.wait(50)
    assert not child.requests  # nobody looks at the dock

    widget.show()
    widget.refresh()
    qtbot.waitUntil(lambda: bool(child.processes))
    (request,) = child.requests
    assert request.run == run_folder
    qtbot.waitUntil(lambda: widget.job_foot.forecast.text().startswith("About "))
    assert "CPU, 2 cores" in widget.job_foot.forecast.text()
    widget.job_foot.button.click()
    assert until_ended(widget).state is JobState.FINISHED
    assert len(child.requests) == 1  # the process that was there already


def test_a_run_says_what_it_knows(dock: TranslateWidget):
    assert dock.run_choice.note.text() == "untreated → treated · DNA, marker · 5 steps · created"
    assert dock.source.currentText() == "untreated"
    assert dock.target.currentText() == "treated"
    assert dock.images.currentText() == "untreated (4 images)"
    assert dock.validation_error() is None
    assert dock.job_foot.button.text() == "Translate"
    assert not dock.compare.isEnabled()


def test_a_run_says_what_it_leaves_as_it_is(dock: TranslateWidget, run_folder: Path):
    Run.open(run_folder).save_adapter({"adapter.json": b'{"reference_channels": ["DNA"]}'})
    dock.run_field.set_path(None)
    dock.run_field.set_path(run_folder)
    assert dock.run_choice.note.text().endswith("reference, left as it is: DNA")


def test_the_source_is_the_condition_of_the_images(dock: TranslateWidget):
    dock.images.setCurrentIndex(dock.images.findText("treated (4 images)"))

    assert dock.source.currentText() == "treated"
    assert dock.target.currentText() == "untreated"


def test_aimed_at_a_run_it_goes_the_way_of_the_run_whatever_is_shown(
    dock: TranslateWidget, model: ViewerModel, run_folder: Path
):
    for layer in model.layers:
        layer.visible = layer.name.startswith("treated")
    dock.images.setCurrentIndex(dock.images.findText("treated (4 images)"))
    dock.aim(run_folder)
    assert dock.images.currentText() == "untreated (4 images)"
    assert (dock.source.currentText(), dock.target.currentText()) == ("untreated", "treated")
    model.add_image(np.zeros((16, 16)), name="another")
    assert dock.images.currentText() == "untreated (4 images)"
    assert dock.source.currentText() == "untreated"


def test_why_it_cannot_start_stands_beside_the_button(
    qtbot, dock: TranslateWidget, model: ViewerModel, run_folder: Path, tmp_path: Path
):
    dock.run_field.set_path(None)
    assert "Choose a run" in dock.job_foot.message.text()
    dock.run_field.set_path(tmp_path)
    assert "is not a run" in dock.job_foot.message.text()
    dock.run_field.set_path(run_folder)
    assert dock.job_foot.button.isEnabled()

    (run_folder / "adapter" / "adapter.safetensors").unlink()
    for file in (run_folder / "adapter").iterdir():
        file.unlink()
    (run_folder / "adapter").rmdir()
    dock.refresh()
    assert "no result yet" in dock.job_foot.message.text()

    Run.open(run_folder).save_adapter({"adapter.safetensors": b"weights"})
    model.layers.clear()
    model.add_image(np.zeros((2, 8, 8)), name="other: GFP")
    qtbot.waitUntil(lambda: dock.images.currentText() == "other (2 images)")
    assert "has the channels GFP" in dock.job_foot.message.text()
    model.layers.clear()
    qtbot.waitUntil(lambda: "Open the images" in dock.job_foot.message.text())


def test_the_image_under_the_slider_is_translated_and_appears_there(
    dock: TranslateWidget, model: ViewerModel, child, until_ended, run_folder: Path
):
    model.dims.set_current_step(0, 2)
    dock.strength.setValue(1.0)
    dock.guidance.setValue(3.0)
    dock.seed.setValue(9)
    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    assert added(model) == [
        "reconstructed: DNA",
        "reconstructed: marker",
        "→ treated: DNA",
        "→ treated: marker",
        "difference: DNA",
        "difference: marker",
    ]
    real, translated = model.layers["untreated: marker"], translated_marker(model)
    np.testing.assert_array_equal(translated.data[0], 255 - real.data[2])
    np.testing.assert_allclose(translated.translate, (2, 0, 0))
    info = LayerInfo.of(translated)
    assert info.provenance["run"] == str(run_folder)
    assert info.provenance["strengths"] == [1.0]
    assert info.provenance["source_files"] == [None]
    assert info.provenance["seed"] == 9
    assert info.provenance["source_images"] == list(LayerInfo.of(real).images[2:3])
    assert info.provenance["record"]["images"][0]["residual"] == 1e-6
    assert info.provenance["guidance"] == 3.0
    (request,) = child.requests
    assert request.run == run_folder
    assert (request.device, request.precision, request.base_at) == ("auto", "auto", None)


def test_all_images_are_translated_in_their_order(
    dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    dock.fields.setCurrentText(ALL_FIELDS)
    assert dock.job_foot.button.text() == "Translate 4 images"
    dock.start()
    until_ended(dock)

    real, translated = model.layers["untreated: marker"], translated_marker(model)
    np.testing.assert_array_equal(translated.data, 255 - real.data)
    assert LayerInfo.of(translated).images == LayerInfo.of(real).images


def test_images_are_shown_as_they_come_and_stay_when_it_is_stopped(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    child.plan(delay=6.0)
    dock.fields.setCurrentText(ALL_FIELDS)
    dock.start()
    job = dock.job_foot.job
    qtbot.waitUntil(lambda: len(added(model)) == 6, timeout=60_000)
    assert job.state is JobState.RUNNING
    n_shown = translated_marker(model).data.shape[0]
    assert n_shown < 4
    assert not dock.next.go.isEnabled()
    job.stop()
    until_ended(dock)

    assert job.state is JobState.STOPPED
    real, translated = model.layers["untreated: marker"], translated_marker(model)
    n_shown = translated.data.shape[0]
    assert 0 < n_shown < 4
    np.testing.assert_array_equal(translated.data, 255 - real.data[:n_shown])
    assert LayerInfo.of(translated).images == LayerInfo.of(real).images[:n_shown]
    # What is there can be compared and measured.
    assert dock.compare.isEnabled()
    assert dock.next.go.isEnabled()


def test_there_is_nothing_to_compare_or_measure_before_all_layers_are_there(
    dock: TranslateWidget, model: ViewerModel, add_translated
):
    later: list = []
    in_turns(model, iter([None]), later.append)
    _, untreated = group_layers(model.layers)
    images = list(FieldImages(untreated))
    add_translated(model, images, images)
    dock.refresh()
    assert not dock.compare.isEnabled()
    assert not dock.next.go.isEnabled()
    dock.resize(dock.sizeHint())
    dock.show()
    QApplication.processEvents()
    place = dock.compare.mapTo(dock, QPoint(0, 0))
    while later:
        later.pop(0)()
    assert dock.compare.isEnabled()
    assert dock.next.go.isEnabled()
    QApplication.processEvents()
    assert dock.compare.mapTo(dock, QPoint(0, 0)) == place, "nothing moves under the mouse"


def test_compare_shows_five_panes_and_goes_back(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(dock.compare.isEnabled)
    order = [layer.name for layer in model.layers]

    dock.compare.click()
    assert model.canvas.grid.enabled
    assert model.canvas.grid.actual_shape(model.layers) == (3, 2)  # with the real target
    assert dock.compare.isChecked()

    model.canvas.grid.enabled = False  # napari's own button
    assert not dock.compare.isChecked()
    assert [layer.name for layer in model.layers] == order

    dock.compare.click()
    dock.compare.click()
    assert not side_by_side(model).is_on
    assert [layer.name for layer in model.layers] == order


def test_comparing_leaves_images_and_direction_as_they_were(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    for layer in model.layers:
        layer.visible = layer.name.startswith("treated")
    qtbot.waitUntil(lambda: dock.source.currentText() == "treated")
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(dock.compare.isEnabled)

    def chosen() -> list[str]:
        return [box.currentText() for box in (dock.images, dock.source, dock.target)]

    before = chosen()
    assert before[1:] == ["treated", "untreated"]
    for _ in range(2):
        dock.compare.click()
        qtbot.wait(20)
        assert chosen() == before


def test_a_second_translation_while_comparing_is_added_to_the_plain_view(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(dock.compare.isEnabled)
    dock.compare.click()
    dock.seed.setValue(1)
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED
    assert len(model.layers) == 16
    assert not model.canvas.grid.enabled


def test_a_second_translation_is_named_by_what_is_different_or_takes_the_place_of_the_first(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    def translate() -> list[str]:
        dock.start()
        assert until_ended(dock).state is JobState.FINISHED
        return added(model)

    first = translate()
    before = list(model.layers)
    assert translate() == first, "the same again has no second name"
    assert not set(before[4:]) & set(model.layers)

    dock.guidance.setValue(3.5)
    assert translate()[len(first) :] == [
        "reconstructed · guidance 3.5: DNA",
        "reconstructed · guidance 3.5: marker",
        "→ treated · guidance 3.5: DNA",
        "→ treated · guidance 3.5: marker",
        "difference · guidance 3.5: DNA",
        "difference · guidance 3.5: marker",
    ]
    model.dims.set_current_step(0, 3)
    image = LayerInfo.of(model.layers["untreated: DNA"]).images[3]
    assert f"→ treated · guidance 3.5, {image}: DNA" in translate()
    assert not any("[1]" in name for name in added(model))


def test_stop_is_obeyed_at_once_adds_nothing_and_keeps_the_model(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    child.plan(delay=60)
    dock.start()
    qtbot.waitUntil(lambda: dock.job_foot.job.message == "Loading the model", timeout=20_000)
    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.STOPPED
    assert child.processes[0].poll() is None
    assert added(model) == []
    assert dock.job_foot.button.text() == "Translate"


@pytest.mark.parametrize(
    ("end", "words"), [("crash", "illegal memory access"), ("refuse", "not to my taste")]
)
def test_a_child_that_fails_is_told(
    dock: TranslateWidget, model: ViewerModel, child, until_ended, end: str, words: str
):
    child.plan(end=end)
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert words in job.message
    assert added(model) == []


def test_layers_may_be_renamed_moved_and_removed_meanwhile(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    child.plan(delay=0.3)
    dock.start()
    model.layers["untreated: marker"].name = "renamed"
    model.layers.reverse()
    model.layers.remove("untreated: DNA")
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    translated = model.layers["→ treated: marker"]
    translated.gamma = 0.7
    assert model.layers["renamed"].gamma == 0.7
    qtbot.waitUntil(dock.compare.isEnabled)
    dock.compare.click()
    assert model.canvas.grid.actual_shape(model.layers) == (3, 2)  # five panes of one channel


def test_the_result_arrives_when_the_dock_is_closed(
    qtbot, model: ViewerModel, child, run_folder: Path
):
    dock = TranslateWidget(model)
    dock.run_field.set_path(run_folder)
    dock.start()
    dock.close()
    dock.deleteLater()
    del dock
    qtbot.waitUntil(lambda: len(model.layers) == 10, timeout=20_000)

    reopened = TranslateWidget(model)
    qtbot.addWidget(reopened)
    assert reopened.job_foot.job.state is JobState.FINISHED
    assert reopened.compare.isEnabled()
    assert reopened.strength.live.isEnabled()


def test_the_run_that_was_just_trained_is_suggested(qtbot, model: ViewerModel, run_folder: Path):
    jobs.add(Job("train", "Fine-tuning", path=run_folder), model)
    dock = TranslateWidget(model)
    qtbot.addWidget(dock)

    assert dock.run_field.path() == run_folder
    jobs.latest("train", model).stop()


def test_a_file_that_is_missing_is_told(
    dock: TranslateWidget, child, until_ended, monkeypatch: pytest.MonkeyPatch
):
    def read_output(*_):
        raise RuntimeError("no such file")

    monkeypatch.setattr(tasks, "read_output", read_output)
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert "no such file" in job.message


def test_a_viewer_that_takes_no_layers_any_more_is_told(
    dock: TranslateWidget, child, until_ended, monkeypatch: pytest.MonkeyPatch
):
    def add_translation(*_, **__):
        raise RuntimeError("the canvas has been deleted")

    monkeypatch.setattr(tasks, "add_translation", add_translation)
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert "the canvas has been deleted" in dock.job_foot.status.text()


def test_runs_with_a_result_can_be_chosen_from_a_list(
    qtbot, model: ViewerModel, run_folder: Path, simulated
):
    RunRegistry().register(run_folder)
    dock = TranslateWidget(model)
    qtbot.addWidget(dock)
    dock.show()
    choice = dock.run_choice
    assert choice.known.currentText() == "run"
    assert choice.path() == run_folder
    assert not choice.folder.isVisible()

    newer = shutil.copytree(run_folder, run_folder.with_name("newer"))
    dock.target.setCurrentText("untreated")
    dock.hide()
    dock.show()
    assert choice.known.findText("newer") >= 0
    assert choice.path() == run_folder, "what was chosen stays"
    assert dock.target.currentText() == "untreated"
    choice.known.setCurrentText("newer")
    assert choice.path() == newer
    choice.known.setCurrentText(OTHER)
    assert choice.folder.isVisible()


def test_runs_that_have_not_changed_are_not_opened_again_for_the_list(
    qtbot, model: ViewerModel, run_folder: Path, monkeypatch
):
    dock = TranslateWidget(model)
    qtbot.addWidget(dock)
    RunRegistry().register(run_folder)
    opened: list[Path] = []

    class Counted(Run):
        @classmethod
        def open(cls, path, **options):
            opened.append(path)
            return Run.open(path, **options)

    monkeypatch.setattr(registry, "Run", Counted)
    for _ in range(3):
        dock.run_choice.list_runs()
    assert dock.run_choice.known.findText("run") >= 0
    assert opened == [run_folder]


# ---- the dial --------------------------------------------------------------------------------


@pytest.fixture
def turned(qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended):
    """Translate a stack, and give back what turns the dial and waits."""
    dock.fields.setCurrentText(ALL_FIELDS)
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED
    told: list[str] = []
    turning_of(model).told.connect(told.append)

    def turn(strength: float) -> list[str]:
        told.clear()
        dock.strength.slider.setValue(strength)
        qtbot.waitUntil(lambda: not turning_of(model).busy and bool(told), timeout=20_000)
        return told

    return turn


def test_the_dial_turns_the_image_under_the_slider_in_the_session_that_is_there(
    dock: TranslateWidget, model: ViewerModel, child, turned
):
    real = model.layers["untreated: marker"].data.astype(float)
    model.dims.set_current_step(0, 2)
    told = turned(0.5)

    assert told[-1] == "Shown at 0.50"
    assert any(words.startswith("Rough look") for words in told)
    layer = model.layers["→ treated × various: marker"]
    expected = np.rint(real[2] + 0.5 * (255 - 2 * real[2]))
    np.testing.assert_array_equal(layer.data[2], expected)
    np.testing.assert_array_equal(layer.data[[0, 1, 3]], 255 - real[[0, 1, 3]])
    assert LayerInfo.of(layer).provenance["strengths"] == [1.0, 1.0, 0.5, 1.0]
    assert len(child.requests) == 1, "no other process was started"
    assert len(model.layers) == 10


def test_the_slider_shows_the_strength_of_the_image_that_is_seen(
    qtbot, dock: TranslateWidget, model: ViewerModel, turned
):
    model.dims.set_current_step(0, 1)
    turned(0.25)
    model.dims.set_current_step(0, 0)
    assert dock.strength.value() == 1.0
    assert dock.strength.words.text() == "Shown at 1.00; the other images at various strengths."
    model.dims.set_current_step(0, 1)
    assert dock.strength.value() == 0.25
    assert dock.strength.words.text() == "Shown at 0.25; the other images at 1.00."


def test_the_newest_turn_counts(qtbot, dock: TranslateWidget, model: ViewerModel, child, turned):
    model.dims.set_current_step(0, 0)
    for strength in (0.1, 0.3, 0.9, 0.6):
        dock.strength.slider.setValue(strength)
        qtbot.wait(45)
    qtbot.waitUntil(lambda: not turning_of(model).busy, timeout=20_000)

    strengths = LayerInfo.of(model.layers["→ treated × various: marker"]).provenance["strengths"]
    assert strengths == [0.6, 1.0, 1.0, 1.0]


def test_a_dial_that_is_not_live_turns_nothing(
    qtbot, dock: TranslateWidget, model: ViewerModel, turned
):
    dock.strength.live.setChecked(False)
    dock.strength.slider.setValue(0.3)
    qtbot.wait(150)
    assert not turning_of(model).busy
    assert translated_marker(model) is not None
    assert dock.request().config().strength == 0.3


def test_a_session_that_was_killed_is_replaced_when_the_dial_is_turned(
    model: ViewerModel, child, turned
):
    child.processes[0].kill()
    child.processes[0].wait(10)
    told = turned(0.5)

    assert told[0] == "Loading the model again …"
    assert told[-1] == "Shown at 0.50"
    assert len(child.requests) == 2


def test_a_crash_while_the_dial_is_turned_is_told(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, turned
):
    child.plan(delay=30)
    child.processes[0].kill()
    child.processes[0].wait(10)
    dock.strength.slider.setValue(0.5)
    qtbot.waitUntil(lambda: len(child.processes) == 2, timeout=20_000)
    child.processes[1].kill()
    qtbot.waitUntil(lambda: not turning_of(model).busy, timeout=20_000)
    assert "ended" in dock.strength.words.text()
    assert dock.strength.words.isVisible()


def test_layers_that_are_removed_meanwhile_are_told(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, turned
):
    child.plan(delay=0.2)
    dock.strength.slider.setValue(0.5)
    qtbot.waitUntil(lambda: turning_of(model).words.startswith("Looking"))
    for layer in [x for x in model.layers if x.name.startswith("→")]:
        model.layers.remove(layer)
    qtbot.waitUntil(lambda: not turning_of(model).busy, timeout=20_000)
    assert "have been removed" in turning_of(model).words


def test_another_run_has_a_session_of_its_own(
    dock: TranslateWidget, model: ViewerModel, child, turned, until_ended, run_folder: Path
):
    shutil.copytree(run_folder, run_folder.with_name("other"))
    dock.run_field.set_path(run_folder.with_name("other"))
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED

    assert [request.run.name for request in child.requests] == ["run", "other"]
    assert child.processes[0].wait(10) == 0, "one model in memory at a time"


def test_training_takes_the_memory_of_the_session(
    dock: TranslateWidget, model: ViewerModel, child, turned, until_ended, qtbot, tmp_path: Path
):
    tuning = FineTuneWidget(model)
    qtbot.addWidget(tuning)
    tuning.out.set_path(tmp_path / "new")
    tuning.start()
    assert child.processes[0].wait(10) == 0
    until_ended(tuning)
    assert turned(0.5)[-1] == "Shown at 0.50"


def test_the_session_ends_with_its_viewer(
    qtbot, open_simulated, child, run_folder: Path, until_ended
):
    viewer = ViewerModel()
    open_simulated(viewer)
    dock = TranslateWidget(viewer)
    dock.run_field.set_path(run_folder)
    dock.start()
    until_ended(dock)
    folder = child.requests[0].folder
    assert folder.is_dir()
    dock.close()
    dock.deleteLater()
    del dock, viewer
    qtbot.waitUntil(lambda: gc.collect() >= 0 and not folder.exists(), timeout=5_000)
    assert child.processes[0].wait(10) == 0


# ---- a part of a field -----------------------------------------------------------------------


def test_what_is_in_view_is_translated_and_lies_upon_its_place(
    qtbot, child, until_ended, run_folder: Path
):
    model = ViewerModel()
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (2, 3, 300, 400), dtype=np.uint8)
    for name, plane in zip(("DNA", "marker"), data, strict=True):
        model.add_image(plane, name=f"untreated: {name}", scale=(1, 0.5, 0.5))
    dock = TranslateWidget(model)
    qtbot.addWidget(dock)
    dock.run_field.set_path(run_folder)
    dock.fields.setCurrentText(CURRENT_VIEW)
    model.dims.set_current_step(0, 1)
    for layer in model.layers:
        layer.corner_pixels = np.array([[1, 100, 150], [1, 259, 349]])
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED

    layer = translated_marker(model)
    np.testing.assert_array_equal(layer.data[0], 255 - data[1, 1, 100:260, 150:350])
    np.testing.assert_allclose(layer.translate, (1, 50, 75))
    region = LayerInfo.of(layer).provenance["region"]
    assert region == {"top": 100, "bottom": 260, "left": 150, "right": 350}


def test_images_that_were_trained_on_are_told(dock: TranslateWidget, child, until_ended):
    child.plan(trained_on=True)
    dock.start()
    job = until_ended(dock)
    assert "The run was trained on 1 of these images." in dock.job_foot.warnings.text()
    assert job.state is JobState.FINISHED


def test_the_key_flips(dock: TranslateWidget, model: ViewerModel, child, until_ended):
    dock.start()
    until_ended(dock)
    dock.refresh()
    assert dock.flip.isEnabled()
    dock.flip.click()
    assert not translated_marker(model).visible
    assert model.layers["untreated: marker"].visible


def test_the_dial_of_a_single_image_turns_while_the_slider_is_there(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    model.dims.set_current_step(0, 2)
    for strength in (0.5, 0.25):
        dock.start()
        assert until_ended(dock).state is JobState.FINISHED
        qtbot.waitUntil(dock.strength.live.isEnabled)
        dock.strength.slider.setValue(strength)
        qtbot.waitUntil(lambda: not turning_of(model).busy)
        layer = [layer for layer in model.layers if layer.name.startswith("→")][-1]
        assert LayerInfo.of(layer).provenance["strengths"] == [strength]

    model.dims.set_current_step(0, 0)
    assert not dock.strength.live.isEnabled()
    assert dock.strength.words.text() == "Move the slider to image field_0002 to turn the dial."


@pytest.mark.parametrize("seed", range(8))
def test_the_current_image_is_the_one_that_is_shown(
    qtbot, dock: TranslateWidget, model: ViewerModel, seed: int
):
    """Over axes, starts, steps and orders at random, beside what is open already."""
    rng = np.random.default_rng(seed)
    lengths = tuple(int(n) for n in rng.integers(2, 5, int(rng.integers(1, 3))))
    numbers = np.arange(np.prod(lengths)).reshape(*lengths, 1, 1)
    data = np.broadcast_to(numbers, (*lengths, 24, 32)).astype(np.uint8)
    n = data.ndim
    place = {
        "scale": (*rng.choice([0.5, 1, 2], n - 2), 0.5, 0.25),
        "translate": (*np.round(rng.uniform(-4, 4, n - 2)), 3, -2),
        "axis_labels": (*("well", "time")[: n - 2], "y", "x"),
    }
    layers = [model.add_image(data, name=f"cells: {c}", **place) for c in ("DNA", "marker")]
    label = f"cells ({numbers.size} images)"
    qtbot.waitUntil(lambda: dock.images.findText(label) >= 0)
    dock.images.setCurrentIndex(dock.images.findText(label))
    for _ in range(6):
        for axis in range(model.dims.ndim):
            low, high, _ = model.dims.range[axis]
            model.dims.set_point(axis, rng.uniform(low, high))
        if layers[0]._slice.empty:
            assert "no image of cells at this place" in (dock.validation_error() or "")
        else:
            assert set(np.unique(layers[0]._data_view)) == {dock.request().field}
    model.dims.ndisplay = 3
    assert "image by image" in (dock.validation_error() or "")
    dock.fields.setCurrentText(ALL_FIELDS)
    assert dock.request().field is None


@pytest.mark.parametrize("seed", range(6))
def test_the_dial_is_that_of_the_image_that_is_shown(
    dock: TranslateWidget, model: ViewerModel, monkeypatch: pytest.MonkeyPatch, seed: int
):
    rng = np.random.default_rng(seed)
    lengths = (int(rng.integers(2, 4)), int(rng.integers(2, 4)))
    numbers = np.arange(np.prod(lengths)).reshape(*lengths, 1, 1)
    data = np.broadcast_to(numbers, (*lengths, 24, 32)).astype(np.uint8)
    layer = model.add_image(
        data,
        name="cells: DNA",
        scale=(0.5, 2, 1, 1),
        translate=(*np.round(rng.uniform(-4, 4, 2)), 0, 0),
        axis_labels=("well", "time", "y", "x"),
    )
    group = next(g for g in group_layers(model.layers) if g.name == "cells")
    images = list(FieldImages(group))
    new = NewTranslation(images, images, source="cells", target="treated")
    identity = add_translation(model, group.layers, new)
    monkeypatch.setattr(session_of(model), "kept", lambda translation: object())
    turned = next(x for x in model.layers if x.name.startswith("→"))
    for _ in range(5):
        for axis in range(2):
            low, high, _ = model.dims.range[axis]
            model.dims.set_point(axis, rng.uniform(low, high))
        turn = dock.strength._turn(0.5)
        if layer._slice.empty:
            assert turn is None
        else:
            assert turn is not None
            assert turn.translation == identity
            assert set(np.unique(turned._data_view)) == {turn.place}


def test_the_dock_says_so_as_soon_as_no_image_is_shown(
    qtbot, dock: TranslateWidget, model: ViewerModel
):
    model.add_image(np.zeros((9, 24, 32)), translate=(20, 0, 0), name="elsewhere")
    assert dock.job_foot.button.isEnabled()
    model.dims.set_point(0, 25)
    qtbot.waitUntil(lambda: not dock.job_foot.button.isEnabled())
    dock.refresh()
    model.dims.set_point(0, 1)
    qtbot.waitUntil(dock.job_foot.button.isEnabled)


def test_a_translation_is_laid_out_as_a_figure_and_saved(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended, tmp_path: Path
):
    assert not dock.figure.isEnabled()
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(dock.figure.isEnabled)
    window = dock.open_figure()
    with qtbot.waitSignal(window.view.painted, timeout=20_000):
        pass
    seen, room = window.view.grab().size(), window.screen().availableGeometry()
    assert seen.height() < window.height() <= room.height(), "the window has room for all of it"
    titles = [axes.get_title() for axes in window.view.figure.axes]
    assert {"real\nuntreated", "translated\nto treated", "real\ntreated"} <= set(titles)

    before = window.view.figure
    window.single.setChecked(True)
    qtbot.waitUntil(lambda: window.view.figure is not None and window.view.figure is not before)
    assert len(window.view.figure.axes) > len(before.axes)
    path = tmp_path / "figure.svg"
    window.write(path)
    qtbot.waitUntil(lambda: window.said.text() == f"Saved as {path}")
    assert path.is_file()
    window.write(tmp_path / "figure.gif")
    qtbot.waitUntil(lambda: ".svg, .png, .pdf" in window.said.text())
    window.close()


def test_only_what_was_not_trained_on_is_translated(
    qtbot, model: ViewerModel, simulated, tmp_path: Path, child, until_ended
):
    some = {name: images[:2] for name, images in simulated.items()}
    experiment = Experiment.from_images(some).select(("untreated", "treated"))
    run = Run.from_experiment(
        tmp_path / "on_some",
        TrainingConfig(conditions=("untreated", "treated"), steps=5),
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )
    run.save_adapter({"adapter.safetensors": b"weights"})
    dock = TranslateWidget(model)
    qtbot.addWidget(dock)
    dock.run_field.set_path(run.path)
    assert not dock.unseen.isVisibleTo(dock)
    dock.fields.setCurrentText(ALL_FIELDS)
    assert dock.unseen.isVisibleTo(dock)
    dock.unseen.setChecked(True)
    assert dock.job_foot.button.text() == "Translate 2 new images"

    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    names = [image.name for image in simulated["untreated"][2:]]
    layer = translated_marker(model)
    info = LayerInfo.of(layer)
    assert list(info.images) == names
    assert layer.data.shape == (2, 96, 96)
    # Their originals lie beside them, since the layers of all images have them elsewhere.
    originals = [layer for layer in model.layers if LayerInfo.of(layer).role == "original"]
    np.testing.assert_array_equal(originals[1].data[1], simulated["untreated"][3].data[1])

    dock.unseen.setChecked(False)
    assert dock.job_foot.button.text() == "Translate 4 images"


def test_what_was_all_trained_on_leaves_nothing(dock: TranslateWidget, child, until_ended):
    dock.fields.setCurrentText(ALL_FIELDS)
    dock.unseen.setChecked(True)

    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.FAILED
    assert "trained on all of these images" in job.message


def test_channels_that_the_run_does_not_know_are_left_out(
    qtbot, dock: TranslateWidget, model: ViewerModel, simulated, child, until_ended
):
    model.layers.clear()
    more = {
        name: [
            Image(
                np.concatenate([np.full_like(image.data[:1], 9), image.data]),
                ("ER", *image.channel_names),
                image.pixel_size,
                image.name,
            )
            for image in images
        ]
        for name, images in simulated.items()
    }
    for data, arguments, _ in experiment_layers(more):
        model.add_image(data, **arguments)
    qtbot.waitUntil(lambda: "ER" in dock.images.currentData().channel_names)
    assert dock.validation_error() is None

    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    made = [layer for layer in model.layers if LayerInfo.of(layer).role == "translated"]
    assert [LayerInfo.of(layer).channel for layer in made] == ["DNA", "marker"]
    real = {str(layer.unique_id): layer for layer in model.layers}
    linked = [LayerInfo.of(real[LayerInfo.of(layer).real_layer or ""]).channel for layer in made]
    assert linked == ["DNA", "marker"]


def test_images_of_a_condition_that_the_run_does_not_know_keep_its_name(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    rng = np.random.default_rng(3)
    group = [Image(rng.random((2, 16, 16)), ("DNA", "marker"), None, f"k{i}") for i in range(2)]
    for data, arguments, _ in experiment_layers({"kinase": group}):
        model.add_image(data, **arguments)
    assert "⚠" not in dock.job_foot.forecast.text()
    qtbot.waitUntil(lambda: dock.images.findText("kinase (2 images)") >= 0)
    dock.images.setCurrentIndex(dock.images.findText("kinase (2 images)"))
    assert dock.validation_error() is None
    said = dock.job_foot.forecast.text()
    assert said.startswith("⚠ The run does not know kinase: these images are translated as if they")
    assert "were of untreated." in said
    dock.job_foot.button.click()
    assert until_ended(dock).state is JobState.FINISHED
    (made,) = group_layers(model.layers, "translated")
    assert made.infos[0][0].provenance["source"] == "kinase"
    assert made.infos[0][0].provenance["taken_for"] == "untreated"
    dock.images.setCurrentIndex(dock.images.findText("treated (4 images)"))
    dock.source.setCurrentText("untreated")
    dock.target.setCurrentText("treated")
    assert dock.job_foot.forecast.text().startswith("⚠ treated is not untreated: these images")
