"""The whole way through the docks, on real images, with the real child processes.

Few images and steps: this shows that the pieces fit, not that the phenotype is learned. What is
learned is shown by ``docs/screenshots.py`` and on the command line.
"""

from __future__ import annotations

import os
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels

from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers
from napari_phenldiff.viewer.side_by_side import side_by_side
from napari_phenldiff.widgets.finetune_dock import BASE_FOLDER
from napari_phenldiff.widgets.parts.data_source import FOLDER
from napari_phenldiff.widgets.translate_dock import ALL_FIELDS

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")

NAME = "napari-phenldiff"
MINUTES = 60_000


@pytest.fixture(scope="module")
def base() -> str:
    """The bundled base, or the folder that ``PHENLDIFF_TEST_BASE`` names."""
    base = os.environ.get("PHENLDIFF_TEST_BASE", "bundled")
    bundled = Path(str(files("napari_phenldiff") / "diffusion" / "bundled"))
    if base == "bundled" and not (bundled / "unet").is_dir():
        pytest.skip("the bundled base is not in this source tree")
    return base


@pytest.fixture
def some_wells(shared_data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Tiles of one well per condition to train on, and of another well to translate."""
    source = shared_data / "bbbc013_translocation"
    split = {
        "train": {"untreated": "A01", "treated": "A11"},
        "held_out": {"untreated": "B02", "treated": "B12"},
    }
    for part, wells in split.items():
        for condition, well in wells.items():
            folder = tmp_path / part / condition
            folder.mkdir(parents=True)
            for file in sorted((source / condition).glob(f"{well}_*.tif"))[:4]:
                shutil.copy(file, folder)
    return tmp_path / "train", tmp_path / "held_out"


def choose_base(dock, base: str) -> None:
    if base != "bundled":
        dock.base_kind.setCurrentText(BASE_FOLDER)
        dock.base_folder.set_path(Path(base))


@pytest.mark.slow
def test_fine_tune_translate_measure(
    make_napari_viewer, qtbot, until_ended, some_wells, base: str, tmp_path: Path
):
    train, held_out = some_wells
    viewer = make_napari_viewer(show=True)
    viewer.open(str(train), plugin=NAME)

    # Fine-tune on the open layers.
    _, tuning = viewer.window.add_plugin_dock_widget(NAME, "Fine-tune")
    choose_base(tuning, base)
    tuning.out.set_path(tmp_path / "run")
    tuning.steps.setValue(3)
    tuning.batch_size.setValue(2)
    assert tuning.data.source.currentText() == "untreated (4 images)"
    tuning.job_foot.button.click()
    job = until_ended(tuning, 8 * MINUTES)
    assert job.state is JobState.FINISHED, job.message
    assert [step for step, _ in job.losses] == [1, 2, 3]
    run = Run.open(tmp_path / "run")
    assert run.state == "finished"
    assert run.has_adapter
    assert run.channel_names == ("DNA (DRAQ)", "FKHR-GFP")

    # Translate images that were not trained on.
    viewer.layers.clear()
    viewer.open(str(held_out), plugin=NAME)
    _, translating = viewer.window.add_plugin_dock_widget(NAME, "Translate")
    assert translating.run_field.path() == run.path
    qtbot.waitUntil(lambda: translating.images.count() == 2)
    translating.fields.setCurrentText(ALL_FIELDS)
    translating.inference_steps.setValue(20)  # with fewer the inversion is not exact
    translating.job_foot.button.click()
    job = until_ended(translating, 8 * MINUTES)
    assert job.state is JobState.FINISHED, job.message
    assert not any("was trained on" in text for text in job.warnings)

    real = viewer.layers["untreated: FKHR-GFP"]
    reconstructed = viewer.layers["reconstructed: FKHR-GFP"]
    translated = viewer.layers["→ treated: FKHR-GFP"]
    for layer in (reconstructed, translated):
        assert layer.data.shape == real.data.shape == (4, 128, 128)
        assert layer.data.dtype == real.data.dtype == np.uint8
    assert (reconstructed.data != translated.data).any()
    same = np.corrcoef(real.data.ravel(), reconstructed.data.ravel())[0, 1]
    assert same > 0.9, "the reconstruction shows the same cells"
    record = LayerInfo.of(translated).provenance["record"]
    assert len(record["images"]) == 4
    assert all(image["residual"] is not None for image in record["images"])

    # Compare.
    qtbot.waitUntil(translating.compare.isEnabled)
    translating.compare.click()
    rows, columns = viewer.canvas.grid.actual_shape(viewer.layers)
    assert (rows, columns) == (3, 2), "real, reconstructed, translated, difference, real target"
    translating.compare.click()
    assert not side_by_side(viewer).is_on

    # Measure.
    _, measuring = viewer.window.add_plugin_dock_widget(NAME, "Measure")
    assert "untreated → treated" in measuring.translation.currentText()
    measuring.job_foot.button.click()
    job = until_ended(measuring, 2 * MINUTES)
    assert job.state is JobState.FINISHED, job.message
    values = job.result.measurement.values
    assert np.nanmedian(values("treated")) > 2 > 0 > np.nanmedian(values("untreated"))
    assert job.result.measurement.conditions[2:] == ("reconstructed", "translated")
    objects = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    assert len(objects) == 4
    assert all(len(layer.features) == layer.data.max() + 1 for layer in objects)
    qtbot.waitUntil(lambda: measuring.results.figure.figure is not None, timeout=MINUTES)
    assert len(measuring.write_table(tmp_path / "table.csv")) == 3


@pytest.mark.slow
def test_a_folder_is_fine_tuned_stopped_and_resumed(
    make_napari_viewer, qtbot, until_ended, some_wells, base: str, tmp_path: Path
):
    train, _ = some_wells
    viewer = make_napari_viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget(NAME, "Fine-tune")
    choose_base(dock, base)
    dock.data.kind.setCurrentText(FOLDER)
    dock.data.folder.set_path(train)
    dock.out.set_path(tmp_path / "run")
    dock.steps.setValue(10_000)
    dock.batch_size.setValue(2)
    dock.job_foot.button.click()
    job = dock.job_foot.job
    qtbot.waitUntil(lambda: job.done >= 2 or not job.state.live, timeout=8 * MINUTES)
    assert job.state is JobState.RUNNING, job.message
    dock.job_foot.button.click()
    assert until_ended(dock, 2 * MINUTES).state is JobState.STOPPED

    run = Run.open(tmp_path / "run")
    assert run.state == "stopped"
    assert run.has_adapter, "a run that was stopped can be used"
    assert run.latest_checkpoint() is not None
    done = job.done
    assert dock.job_foot.button.text() == "Resume"
    dock.job_foot.button.click()
    resumed = dock.job_foot.job
    qtbot.waitUntil(lambda: resumed.done > done or not resumed.state.live, timeout=8 * MINUTES)
    assert resumed.state is JobState.RUNNING, resumed.message
    dock.job_foot.button.click()
    assert until_ended(dock, 2 * MINUTES).state is JobState.STOPPED


def test_real_fields_are_opened_with_their_channels(make_napari_viewer, shared_data: Path):
    viewer = make_napari_viewer()

    viewer.open(str(shared_data / "hela_sirna_fields"), plugin=NAME)
    viewer.open(str(shared_data / "golgi_bfa"), plugin=NAME)

    groups = {group.name: group for group in group_layers(viewer.layers)}
    assert groups["RLUC_siRNA"].channel_names == (
        "DNA (Hoechst)",
        "tubulin (FITC)",
        "F-actin (TRITC)",
    )
    assert [layer.colormap.name for layer in groups["UBC_siRNA"].layers] == [
        "bop blue",
        "green",
        "magenta",
    ]
    assert groups["kinase_siRNA"].layers[0].data.shape == (4, 510, 1024)
    golgi = groups["before_bfa"].layers[0]
    assert golgi.data.dtype == np.float32
    np.testing.assert_allclose(golgi.scale, (1, 0.3514, 0.3514), rtol=1e-3)
    assert golgi.colormap.name == "gray"
