from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs.job import Job
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Preview, Step
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers
from napari_phenldiff.viewer.previews import PreviewLayers, previews_of, show_previews

NAMES = ["preview: real DNA", "preview: real GFP", "preview: → drug DNA", "preview: → drug GFP"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run", ("dmso", "drug"))


def make_run(path: Path, conditions: tuple[str, ...]) -> Run:
    scaling = IntensityScaling(("DNA", "GFP"), (0.0, 10.0), (200.0, 250.0), (0.0, 0.0))
    config = TrainingConfig(conditions=conditions)
    return Run.create(path, config, scaling=scaling, channel_names=["DNA", "GFP"], versions={})


def preview(run: Run, step: int, source: str = "dmso", side: int = 16) -> Preview:
    data = np.arange(4, dtype=np.float32)[:, None, None] + np.full((4, side, side), step)
    names = ("real DNA", "real GFP", "translated DNA", "translated GFP")
    path = f"previews/step_{step:06d}_{source}.tif"
    write_tiff(run.path / path, Image(data.astype(np.float32), names, (0.5, 0.5), "x"))
    return Preview(step, path, source, "drug")


@pytest.fixture
def viewer() -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(
        np.zeros((3, 40, 60)), name="dmso: GFP", colormap="magenta", contrast_limits=(3, 77)
    )
    viewer.add_image(np.zeros((3, 40, 60)), name="drug: GFP", colormap="magenta")
    return viewer


def test_resetting_the_view_shows_the_images_as_without_previews(viewer: ViewerModel, run: Run):
    viewer.reset_view()
    before = viewer.scene.camera.zoom, tuple(viewer.scene.camera.center)
    previews = PreviewLayers(viewer, run.path)
    previews.show(preview(run, 1))
    viewer.scene.camera.zoom = 0.1

    viewer.reset_view()
    assert viewer.scene.camera.zoom == pytest.approx(before[0])
    assert tuple(viewer.scene.camera.center) == pytest.approx(before[1])

    # Previews that are asked for are shown, and so is what a script asks for.
    previews.look_at()
    wanted = tuple(viewer.scene.camera.center)
    assert wanted[-1] > before[1][-1]
    viewer.fit_to_view(layers=[viewer.layers[0]])
    assert tuple(viewer.scene.camera.center) == pytest.approx(before[1])
    for layer in list(viewer.layers)[:2]:
        viewer.layers.remove(layer)
    viewer.reset_view()
    assert tuple(viewer.scene.camera.center) == pytest.approx(wanted)


def test_previews_lie_beside_the_other_layers_and_disturb_nothing(viewer: ViewerModel, run: Run):
    viewer.scene.camera.zoom = 3.25
    viewer.scene.camera.center = (0, 7, 9)
    viewer.dims.set_current_step(0, 2)
    viewer.layers.selection = {viewer.layers[0], viewer.layers[1]}
    viewer.layers.selection.active = viewer.layers[0]
    selected = set(viewer.layers.selection)

    PreviewLayers(viewer, run.path).show(preview(run, 50))

    assert [layer.name for layer in viewer.layers][2:] == NAMES
    real, other, translated, _ = viewer.layers[2:]
    assert viewer.scene.camera.zoom == 3.25
    assert tuple(viewer.scene.camera.center) == (0, 7, 9)
    assert viewer.dims.current_step[0] == 2
    assert set(viewer.layers.selection) == selected
    assert real.extent.world[0, 1] > 59
    assert translated.extent.world[0, 1] > real.extent.world[1, 1]
    assert real.extent.world[1, 0] == translated.extent.world[1, 0]
    assert tuple(real.scale) == (0.5, 0.5)
    # On a white canvas what is only added could not be seen.
    assert [x.blending for x in viewer.layers[2:]] == ["opaque", "additive"] * 2
    # Colours and contrast as they are shown already, or else as they are trained.
    assert (other.colormap.name, list(other.contrast_limits)) == ("magenta", [3, 77])
    assert list(real.contrast_limits) == [0, 200]


@pytest.mark.parametrize("given_up", [False, True])
def test_no_pass_of_the_collector_falls_into_the_adding(
    viewer: ViewerModel, run: Run, given_up: bool
):
    later: list = []
    previews = PreviewLayers(viewer, run.path, later.append)
    for _ in range(2):
        previews.show(preview(run, 50))
    collecting = []
    while later:
        collecting.append(gc.isenabled())
        later.pop(0)()
        if given_up:
            previews.set_wanted(False)
    assert not any(collecting)
    assert gc.isenabled()
    assert len(viewer.layers) == (2 if given_up else 6)


def test_previews_make_room_for_images_that_are_opened_later(run: Run):
    viewer = ViewerModel()
    previews = PreviewLayers(viewer, run.path)
    previews.show(preview(run, 50))
    before = [np.subtract(x.translate, viewer.layers[0].translate) for x in viewer.layers]
    images = viewer.add_image(np.zeros((3, 40, 60)), name="dmso: GFP")
    assert all(x.extent.world[0, 1] > images.extent.world[1, -1] for x in previews.layers)
    after = [np.subtract(x.translate, previews.layers[0].translate) for x in previews.layers]
    np.testing.assert_allclose(before, after)
    again = viewer.add_image(np.zeros((3, 40, 60)), name="drug: GFP")
    viewer.add_labels(np.zeros((3, 40, 60), int), name="objects")
    assert all(x.extent.world[0, 1] > again.extent.world[1, -1] for x in previews.layers)


def test_an_active_layer_stays_active(viewer: ViewerModel, run: Run):
    viewer.layers.selection.active = viewer.layers[0]
    PreviewLayers(viewer, run.path).show(preview(run, 50))
    assert viewer.layers.selection.active is viewer.layers[0]
    assert set(viewer.layers.selection) == {viewer.layers[0]}


def test_later_previews_change_the_layers_in_place(viewer: ViewerModel, run: Run):
    previews = PreviewLayers(viewer, run.path)
    previews.show(preview(run, 50))
    before = list(viewer.layers)
    before[2].contrast_limits = (1, 9)
    before[3].visible = False

    previews.show(preview(run, 100))

    assert list(viewer.layers) == before
    assert [float(layer.data.max()) for layer in before[2:]] == [100, 101, 102, 103]
    assert list(before[4].contrast_limits) == [1, 9]  # linked channel by channel
    assert before[5].visible
    assert not before[3].visible
    assert LayerInfo.of(before[4]).provenance["step"] == previews.step == 100
    assert LayerInfo.of(before[4]).condition == "drug"


def test_a_preview_is_no_condition(viewer: ViewerModel, run: Run):
    PreviewLayers(viewer, run.path).show(preview(run, 50))
    assert [group.name for group in group_layers(viewer.layers)] == ["dmso", "drug"]


def test_what_the_user_deletes_stays_away_until_it_is_asked_for(viewer: ViewerModel, run: Run):
    previews = PreviewLayers(viewer, run.path)
    previews.show(preview(run, 50))
    viewer.layers.remove(NAMES[3])
    viewer.layers.remove(NAMES[0])
    previews.show(preview(run, 100))
    assert [layer.name for layer in viewer.layers][2:] == NAMES[1:3]
    assert viewer.layers[NAMES[1]].data.max() == 101

    previews.set_wanted(False)
    assert len(viewer.layers) == 2
    previews.show(preview(run, 150))
    assert len(viewer.layers) == 2
    previews.set_wanted(True)
    assert [layer.name for layer in viewer.layers][2:] == NAMES
    assert viewer.layers[NAMES[0]].data.max() == 150


def test_several_sources_lie_below_each_other(tmp_path: Path):
    run = make_run(tmp_path / "three", ("dmso", "drug", "other"))
    viewer = ViewerModel()
    previews = PreviewLayers(viewer, run.path)
    for source in ("dmso", "other"):
        previews.show(preview(run, 50, source))
    assert len(viewer.layers) == 8
    first, second = viewer.layers["preview: real DNA (dmso)"], viewer.layers[4]
    assert second.name == "preview: real DNA (other)"
    assert second.extent.world[0, 0] > first.extent.world[1, 0]
    first.contrast_limits = (0, 5)
    assert list(second.contrast_limits) == [0, 5]


def test_the_next_training_takes_over_what_the_last_one_has_left(viewer: ViewerModel, run: Run):
    PreviewLayers(viewer, run.path).show(preview(run, 50))
    layers = list(viewer.layers)
    PreviewLayers(viewer, run.path).show(preview(run, 200))
    assert list(viewer.layers) == layers
    assert layers[2].data.max() == 200


def test_the_camera_goes_there_when_asked(viewer: ViewerModel, run: Run):
    previews = PreviewLayers(viewer, run.path)
    previews.look_at()
    previews.show(preview(run, 50))
    previews.look_at()
    assert viewer.scene.camera.center[-1] > 60


@pytest.mark.parametrize("damage", ["missing", "damaged", "other channels"])
def test_a_preview_that_cannot_be_read_is_passed_over(viewer, run: Run, damage: str):
    event = preview(run, 50)
    path = run.path / event.path
    if damage == "missing":
        path.unlink()
    elif damage == "damaged":
        path.write_bytes(path.read_bytes()[:60])
    else:
        write_tiff(path, Image(np.zeros((3, 8, 8), np.uint8), ("a", "b", "c"), None, "x"))
    PreviewLayers(viewer, run.path).show(event)
    assert len(viewer.layers) == 2


def test_a_job_shows_its_previews_and_keeps_no_viewer_alive(run: Run):
    viewer = ViewerModel()
    job = Job("train", "", path=run.path)
    assert previews_of(job) is None
    previews = show_previews(job, viewer)
    job.apply(Step(50, 300, 0.1))
    job.apply(preview(run, 50))
    assert previews_of(job) is previews
    assert len(viewer.layers) == 4

    viewer.layers.clear()
    gone = weakref.ref(viewer)
    del viewer
    gc.collect()
    if gone() is None:
        job.apply(preview(run, 100))
    assert previews.layers == []
