"""The docks in the real viewer, opened as napari opens them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import npe2
import numpy as np
import pytest
from napari.layers import Image

from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.viewer.side_by_side import side_by_side
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.translate_dock import TranslateWidget

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")

NAME = "napari-phenldiff"
DOCKS = {
    "Fine-tune": FineTuneWidget,
    "Translate": TranslateWidget,
    "Measure": MeasureWidget,
    "Evaluate": EvaluateWidget,
}


@pytest.fixture
def viewer(make_napari_viewer, open_simulated):
    viewer = make_napari_viewer(show=True)
    open_simulated(viewer)
    return viewer


def test_the_manifest_is_valid_and_all_it_names_exists():
    manifest = npe2.PluginManifest.from_distribution(NAME)
    manifest.validate_imports()

    contributions = manifest.contributions
    assert [widget.display_name for widget in contributions.widgets] == list(DOCKS)
    assert len(contributions.sample_data) == 3
    assert set(contributions.menus) <= {
        "napari/layers/transform",
        "napari/layers/visualize",
        "napari/layers/measure",
    }


_OPEN_ALL = """
import sys, napari
viewer = napari.Viewer(show=False)
for name in {names}:
    viewer.window.add_plugin_dock_widget("napari-phenldiff", name)
    heavy = {{"torch", "diffusers", "peft", "accelerate", "transformers", "matplotlib.pyplot"}}
    if found := heavy & set(sys.modules):
        sys.exit(name + " imports " + ", ".join(sorted(found)))
"""


def test_opening_a_dock_imports_no_model_library(display: str):
    code = _OPEN_ALL.format(names=list(DOCKS))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr


def test_docks_open_close_and_open_again(viewer, qtbot):
    for name, kind in DOCKS.items():
        for _ in range(2):
            dock, widget = viewer.window.add_plugin_dock_widget(NAME, name)
            assert isinstance(widget, kind)
            assert widget.viewer is viewer
            qtbot.waitUntil(widget.isVisible)
            viewer.window.remove_dock_widget(dock)
    # Nothing of the closed docks may listen to the viewer any more.
    viewer.theme = "light"
    viewer.add_image(np.zeros((4, 4)))
    qtbot.wait(50)


def test_a_dock_is_no_wider_than_it_has_to_be(viewer, qtbot):
    for name in DOCKS:
        _, widget = viewer.window.add_plugin_dock_widget(NAME, name)
        qtbot.waitUntil(widget.isVisible)
        assert widget.minimumSizeHint().width() <= 330
        assert widget.width() <= 420


def test_dropped_folders_are_opened_by_this_plugin_as_one_experiment(
    make_napari_viewer, data_folder: Path, drop
):
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget(NAME, "Fine-tune")

    assert drop(widget, data_folder / "untreated", data_folder / "treated").isAccepted()

    assert [layer.name for layer in viewer.layers] == [
        "untreated: DNA",
        "untreated: marker",
        "treated: DNA",
        "treated: marker",
    ]
    first, _, second, _ = viewer.layers
    assert first.contrast_limits == second.contrast_limits
    assert not drop(widget, data_folder / "nothing.png").isAccepted()


def test_a_file_is_opened_through_napari(make_napari_viewer, data_folder: Path):
    viewer = make_napari_viewer()
    file = sorted((data_folder / "treated").iterdir())[0]
    (data_folder / "UPPER.TIF").write_bytes(file.read_bytes())

    viewer.open(str(file), plugin=NAME)
    viewer.open(str(data_folder / "UPPER.TIF"), plugin=NAME)

    assert len(viewer.layers) == 4
    assert viewer.layers[0].name == f"{file.stem}: DNA"
    assert all(isinstance(layer, Image) for layer in viewer.layers)


def test_a_sample_is_opened_through_napari(make_napari_viewer, monkeypatch):
    monkeypatch.setattr("napari_phenldiff.viewer.samples.N_IMAGES", 2)
    viewer = make_napari_viewer()

    layers = viewer.open_sample(NAME, "translocation")

    assert [layer.name for layer in layers if layer.visible] == [
        "untreated: DNA",
        "untreated: marker",
    ]


def test_panes_are_drawn_side_by_side(viewer, qtbot, child, until_ended, run_folder: Path):
    _, dock = viewer.window.add_plugin_dock_widget(NAME, "Translate")
    dock.run_field.set_path(run_folder)
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED
    qtbot.waitUntil(dock.compare.isEnabled)
    dock.compare.click()
    viewer.layers["untreated: DNA"].contrast_limits = (0, 1000)  # linked: dark in all panes
    # real, reconstructed, translated, difference, real target
    assert viewer.canvas.grid.actual_shape(viewer.layers) == (3, 2)

    def are_drawn() -> None:
        picture = viewer.screenshot(canvas_only=True, flash=False).astype(int)
        rows = np.array_split(picture, 3)
        panes = [pane for row in rows for pane in np.array_split(row, 2, axis=1)]
        real, _, translated, difference, *_ = (pane[10:-10, 10:-10] for pane in panes)
        # The marker is inverted by the stand-in: where the real one is dark, the translated is
        # green.
        assert translated[..., 1].mean() > 2 * real[..., 1].mean()
        # More is orange.
        assert difference[..., 0].mean() > 2 * difference[..., 2].mean()

    qtbot.waitUntil(are_drawn, timeout=20_000)
    assert side_by_side(viewer).is_on
    dock.compare.click()
    assert not viewer.canvas.grid.enabled


def test_closing_the_viewer_ends_the_translation_and_not_the_training(
    viewer, qtbot, child, run_folder: Path, tmp_path: Path
):
    _, tuning = viewer.window.add_plugin_dock_widget(NAME, "Fine-tune")
    _, translating = viewer.window.add_plugin_dock_widget(NAME, "Translate")
    child.plan(steps=1000, delay=0.05)
    tuning.out.set_path(tmp_path / "new")
    tuning.start()
    training = tuning.job_foot.job
    qtbot.waitUntil(lambda: training.done >= 1, timeout=20_000)
    child.plan(delay=60)
    translating.run_field.set_path(run_folder)
    translating.start()
    translation = translating.job_foot.job
    qtbot.waitUntil(lambda: len(child.processes) == 2, timeout=20_000)

    viewer.close()

    qtbot.waitUntil(lambda: not any(job.state.live for job in (training, translation)))
    qtbot.waitUntil(lambda: child.processes[1].poll() is not None, timeout=10_000)
    assert child.processes[0].poll() is None


def test_a_result_for_a_closed_viewer_is_dropped(viewer, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget(NAME, "Measure")
    dock.start()
    job = dock.job_foot.job

    viewer.close()

    qtbot.waitUntil(lambda: not job.state.live, timeout=20_000)


def test_docks_opened_from_the_menu_lie_behind_tabs(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    docks = [viewer.window.add_plugin_dock_widget(NAME, name)[0] for name in DOCKS]
    window = docks[0].parentWidget()
    qtbot.waitUntil(lambda: len(window.tabifiedDockWidgets(docks[0])) == len(docks) - 1)
    # As tall as the window, and not a third of it.
    qtbot.waitUntil(lambda: docks[-1].height() > 0.7 * window.height())
