from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.jobs import Job, JobState, jobs
from napari_phenldiff.viewer.layers import LayerInfo
from napari_phenldiff.viewer.side_by_side import side_by_side
from napari_phenldiff.widgets.parts import tasks
from napari_phenldiff.widgets.translate import ALL_FIELDS, TranslateWidget


@pytest.fixture
def dock(qtbot, model: ViewerModel, run_folder: Path) -> TranslateWidget:
    widget = TranslateWidget(model)
    qtbot.addWidget(widget)
    widget.run_field.set_path(run_folder)
    widget.show()
    return widget


def added(model: ViewerModel) -> list[str]:
    return [layer.name for layer in model.layers][4:]


def test_a_run_says_what_it_knows(dock: TranslateWidget):
    assert dock.run_note.text() == "untreated → treated · DNA, marker · 5 steps · created"
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
    assert dock.run_note.text().endswith("left as it is: DNA")


def test_the_source_is_the_condition_of_the_images(dock: TranslateWidget):
    dock.images.setCurrentIndex(dock.images.findText("treated (4 images)"))

    assert dock.source.currentText() == "treated"
    assert dock.target.currentText() == "untreated"


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
    dock.strength.setValue(0.5)
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
    ]
    real, translated = model.layers["untreated: marker"], model.layers[-1]
    np.testing.assert_array_equal(translated.data[0], 255 - real.data[2])
    np.testing.assert_allclose(translated.translate, (2, 0, 0))
    info = LayerInfo.of(translated)
    assert info.provenance["run"] == str(run_folder)
    assert info.provenance["strength"] == 0.5
    assert info.provenance["seed"] == 9
    assert info.provenance["source_images"] == list(LayerInfo.of(real).images[2:3])
    assert info.provenance["record"]["images"][0]["residual"] == 1e-6
    options = dict(zip(child.calls[0][3::2], child.calls[0][4::2], strict=True))
    assert options["--guidance"] == "3.0"
    assert options["--strength"] == "0.5"


def test_all_images_are_translated_in_their_order(
    dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    dock.fields.setCurrentText(ALL_FIELDS)
    assert dock.job_foot.button.text() == "Translate 4 images"
    dock.start()
    until_ended(dock)

    real, translated = model.layers["untreated: marker"], model.layers[-1]
    np.testing.assert_array_equal(translated.data, 255 - real.data)
    assert LayerInfo.of(translated).images == LayerInfo.of(real).images


def test_the_command_line_understands_what_is_filled_in(dock: TranslateWidget, tmp_path: Path):
    from napari_phenldiff.cli import _parser

    arguments = dock.request().arguments(tmp_path / "in", tmp_path / "out")
    args = _parser().parse_args(arguments)

    assert (args.source, args.target) == ("untreated", "treated")
    assert args.inference_steps == dock.inference_steps.value()
    assert args.depth == dock.schedule_depth.value()


def test_compare_shows_three_panes_and_goes_back(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(dock.compare.isEnabled)
    order = [layer.name for layer in model.layers]

    dock.compare.click()
    assert model.canvas.grid.enabled
    assert model.canvas.grid.actual_shape(model.layers) == (1, 3)
    assert dock.compare.isChecked()

    model.canvas.grid.enabled = False  # napari's own button
    assert not dock.compare.isChecked()
    assert [layer.name for layer in model.layers] == order

    dock.compare.click()
    dock.compare.click()
    assert not side_by_side(model).is_on
    assert [layer.name for layer in model.layers] == order


def test_a_second_translation_while_comparing_is_added_to_the_plain_view(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(dock.compare.isEnabled)
    dock.compare.click()
    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED
    assert len(model.layers) == 12
    assert not model.canvas.grid.enabled


def test_stop_ends_the_child_at_once_and_adds_nothing(
    qtbot, dock: TranslateWidget, model: ViewerModel, child, until_ended
):
    child.plan(delay=60)
    dock.start()
    qtbot.waitUntil(lambda: dock.job_foot.job.message == "Loading the model", timeout=20_000)
    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.STOPPED
    assert child.processes[0].poll() is not None
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
    assert model.canvas.grid.actual_shape(model.layers) == (1, 3)


def test_the_result_arrives_when_the_dock_is_closed(
    qtbot, model: ViewerModel, child, run_folder: Path
):
    dock = TranslateWidget(model)
    dock.run_field.set_path(run_folder)
    dock.start()
    dock.close()
    dock.deleteLater()
    del dock
    qtbot.waitUntil(lambda: len(model.layers) == 8, timeout=20_000)

    reopened = TranslateWidget(model)
    qtbot.addWidget(reopened)
    assert reopened.job_foot.job.state is JobState.FINISHED
    assert reopened.compare.isEnabled()


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
