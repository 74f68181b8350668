from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.profiles.translocation import TranslocationSettings
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.measuring import MeasuringRequest, run_measurement
from napari_phenldiff.viewer.object_preview import (
    SupersededError,
    outline,
    preview_layer,
    preview_target,
    remove_preview,
    show_preview,
)
from napari_phenldiff.viewer.reader import experiment_layers

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")

MakeRequest = Callable[..., MeasuringRequest]


@pytest.fixture
def request_of(viewer: ViewerModel) -> MakeRequest:
    pairs = list(simulate_pairs("translocation", 4, size=96))
    conditions = {
        "untreated": [pair.source for pair in pairs[:2]],
        "treated": [pair.target for pair in pairs[2:]],
    }
    for data, arguments, _ in experiment_layers(conditions):
        viewer.add_image(data, **arguments)

    def make(profile: str = "translocation", **more) -> MeasuringRequest:
        source, target = group_layers(viewer.layers)
        return MeasuringRequest(profile, source, target, **more)

    return make


def test_the_preview_shows_what_a_measurement_finds(request_of, viewer: ViewerModel):
    viewer.dims.set_current_step(0, 1)
    preview = outline(preview_target(viewer, request_of()))
    measured = run_measurement(request_of())

    objects = np.where(preview.labels % 2 == 1, (preview.labels + 1) // 2, 0)
    np.testing.assert_array_equal(objects, measured.groups[0].objects[1])
    assert preview.place == 1
    rings = preview.labels[(preview.labels > 0) & (preview.labels % 2 == 0)] // 2
    assert set(rings) == set(objects[objects > 0])
    assert preview.thresholds == measured.measurement.thresholds
    assert f"{objects.max()} objects" in preview.text
    assert "for all images" in preview.text


def test_thresholds_are_fitted_once_for_the_same_images_and_settings(
    request_of, viewer: ViewerModel
):
    told: list[str] = []
    target = preview_target(viewer, request_of())
    outline(target, told.append)
    assert told[0] == "Finding the threshold over 4 images …"
    told.clear()
    smoother = ThresholdSettings(method="otsu", smoothing=2.0)
    for settings, is_new in (
        (AreaSettings(), True),
        (AreaSettings(segmentation=SegmentationSettings(min_size=9)), False),
        (AreaSettings(segmentation=SegmentationSettings(threshold=smoother)), False),
        (AreaSettings(segmentation=SegmentationSettings(background_radius=5)), True),
        (AreaSettings(channel=1), False),  # which is what it is by default: the marker
        (AreaSettings(channel=0), True),
    ):
        told.clear()
        outline(preview_target(viewer, request_of("area", settings=settings)), told.append)
        assert any(told) == is_new, settings
    layer = viewer.layers["treated: DNA"]
    layer.data = layer.data // 2
    outline(target, told.append)
    told.clear()
    outline(preview_target(viewer, request_of()), told.append)
    assert any(told), "other pixels have other thresholds"


def test_the_layer_is_changed_in_place_and_the_selection_kept(request_of, viewer: ViewerModel):
    viewer.layers.selection.active = viewer.layers["treated: DNA"]
    viewer.dims.set_current_step(0, 0)
    show_preview(viewer, outline(preview_target(viewer, request_of())))
    layer = preview_layer(viewer)
    assert layer is not None
    assert viewer.layers.selection.active is viewer.layers["treated: DNA"]
    assert layer.data.shape == (1, 96, 96)
    assert layer.contour == 1
    np.testing.assert_allclose(layer.scale, viewer.layers[0].scale)

    viewer.dims.set_current_step(0, 1)
    settings = AreaSettings(channel=1)
    show_preview(viewer, outline(preview_target(viewer, request_of("area", settings=settings))))
    assert preview_layer(viewer) is layer
    assert layer.translate[0] == 1
    remove_preview(viewer)
    assert preview_layer(viewer) is None


def test_what_is_seen_is_previewed(request_of, viewer: ViewerModel):
    assert preview_target(viewer, request_of()).group == "untreated"
    for layer in request_of().target.layers:
        layer.visible = True
    top = preview_target(viewer, request_of()).group
    assert top == list(viewer.layers)[-1].name.split(":")[0]
    for layer in viewer.layers:
        layer.visible = False
    with pytest.raises(InputError, match="visible"):
        preview_target(viewer, request_of())


def test_there_is_none_side_by_side_and_beyond_the_stack(request_of, viewer: ViewerModel):
    viewer.add_image(np.zeros((9, 4, 4)), name="other: DNA")
    viewer.dims.set_current_step(0, 8)
    with pytest.raises(InputError, match="no image of untreated"):
        preview_target(viewer, request_of_two(request_of, viewer))
    viewer.dims.set_current_step(0, 0)
    viewer.canvas.grid.enabled = True
    with pytest.raises(InputError, match="side by side"):
        preview_target(viewer, request_of_two(request_of, viewer))


def request_of_two(request_of: MakeRequest, viewer: ViewerModel) -> MeasuringRequest:
    source, target, *_ = group_layers(viewer.layers)
    return MeasuringRequest("translocation", source, target)


def test_constant_images_are_told_in_words(viewer: ViewerModel):
    for name in ("a", "b"):
        viewer.add_image(np.full((2, 16, 16), 7, np.uint8), name=f"{name}: DNA")
        viewer.add_image(np.full((2, 16, 16), 7, np.uint8), name=f"{name}: GFP")
    source, target = group_layers(viewer.layers)
    for profile in ("translocation", "area"):
        request = MeasuringRequest(profile, source, target)
        preview = outline(preview_target(viewer, request))
        assert not preview.labels.any()
        assert "nothing can be measured" in preview.text
        assert "constant" in preview.text


def test_what_the_listener_raises_ends_it(request_of, viewer: ViewerModel):
    def superseded(doing: str) -> None:
        raise SupersededError

    with pytest.raises(SupersededError):
        outline(preview_target(viewer, request_of()), superseded)


def test_layers_with_a_channel_axis_are_outlined_on_every_channel(viewer: ViewerModel):
    pairs = list(simulate_pairs("translocation", 4, size=64))
    for name, images in (
        ("a", [pair.source for pair in pairs]),
        ("b", [pair.target for pair in pairs]),
    ):
        data = np.stack([image.data for image in images])
        viewer.add_image(data, name=name, axis_labels=("field", "channel", "y", "x"))
    source, target = group_layers(viewer.layers)
    settings = TranslocationSettings(nuclei_channel=0, marker_channel=1)
    request = MeasuringRequest("translocation", source, target, settings=settings)
    viewer.dims.set_current_step(0, 2)
    preview = outline(preview_target(viewer, request))
    assert preview.labels.any()
    show_preview(viewer, preview)
    layer = preview_layer(viewer)
    assert layer is not None
    assert layer.data.shape == (1, 2, 64, 64)
    np.testing.assert_array_equal(layer.data[0, 0], layer.data[0, 1])
    assert layer.translate[0] == 2
