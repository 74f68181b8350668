from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.measuring import MeasuringRequest, run_measurement, translations
from napari_phenldiff.viewer.objects import object_layers
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.shown_strength import show_at


@pytest.fixture
def request_of(viewer: ViewerModel) -> Callable[..., MeasuringRequest]:
    """Open simulated images of two conditions and ask for a measurement of them."""
    pairs = list(simulate_pairs("translocation", 4, size=96))
    conditions = {
        "untreated": [pair.source for pair in pairs[:2]],
        "treated": [pair.target for pair in pairs[2:]],
    }
    for data, arguments, _ in experiment_layers(conditions):
        viewer.add_image(data, **arguments)

    def make(profile: str, **more) -> MeasuringRequest:
        source, target = group_layers(viewer.layers)
        return MeasuringRequest(profile, source, target, **more)

    return make


def test_areas_become_labels_with_features(request_of):
    request = request_of("area", settings=AreaSettings(channel=1)).snapshot()
    told: list[tuple[int, int, str]] = []

    measured = run_measurement(request, lambda *now: told.append(now))
    untreated, treated = object_layers(measured, visible=["treated"])

    assert list(measured.measurement.images["channel"].unique()) == ["marker"]
    assert told[0] == (0, 4, "finding the threshold over 4 images")
    assert told[-1] == (4, 4, "")
    data, arguments, kind = untreated
    assert kind == "labels"
    assert data.shape == (2, 96, 96)
    assert arguments["name"] == "untreated: objects"
    assert not arguments["visible"]
    assert treated[1]["visible"]
    features = arguments["features"]
    assert list(features.columns) == ["label", "image"]
    assert len(features) == data.max() + 1
    metadata = arguments["metadata"]["napari-phenldiff-measurement"]
    assert metadata["profile"] == "area"
    assert metadata["settings"]["channel"] == "marker"


def test_thresholds_come_from_the_real_images_alone(
    request_of, viewer: ViewerModel, add_translated
):
    real = run_measurement(request_of("translocation")).measurement.thresholds
    source = group_layers(viewer.layers)[0]
    dark = [
        Image(image.data // 4, image.channel_names, image.pixel_size, image.name)
        for image in list(FieldImages(source))
    ]
    add_translated(viewer, dark, dark)
    (groups,) = translations(viewer.layers).values()

    measured = run_measurement(request_of("translocation", **groups))

    assert measured.measurement.thresholds == real
    assert {group.name for group in measured.groups} == {
        "untreated",
        "treated",
        "reconstructed",
        "translated",
    }


def test_objects_of_one_translated_image_lie_at_its_place(
    request_of, viewer: ViewerModel, add_translated
):
    source = group_layers(viewer.layers)[0]
    image = list(FieldImages(source))[1:]
    add_translated(viewer, image, image, field=1)
    (groups,) = translations(viewer.layers).values()

    request = request_of("translocation", **groups).snapshot()
    layers = object_layers(run_measurement(request))

    data, arguments, _ = layers[-1]
    assert data.shape == (1, 96, 96)
    assert arguments["translate"] == (1.0, 0.0, 0.0)
    np.testing.assert_array_equal(data[0] > 0, layers[0][0][1] > 0)


def test_the_latest_translation_comes_first(request_of, viewer: ViewerModel, add_translated):
    source = group_layers(viewer.layers)[0]
    images = list(FieldImages(source))
    for identity in ("first", "second"):
        add_translated(viewer, images, images, identity=identity)

    assert list(translations(viewer.layers)) == ["second", "first"]


def test_a_gallery_says_which_layer_it_lacks(request_of, viewer: ViewerModel, add_translated):
    source = group_layers(viewer.layers)[0]
    images = list(FieldImages(source))
    add_translated(viewer, images, images)
    viewer.layers.remove("reconstructed: DNA")
    request = request_of(
        "area", settings=AreaSettings(channel="marker"), **translations(viewer.layers)["t1"]
    )
    measured = run_measurement(request.snapshot())
    assert measured.gallery is None
    assert measured.no_gallery == 'The layer "reconstructed: DNA" was removed: translate again.'


def test_what_is_wrong_is_told(request_of, viewer: ViewerModel):
    request = request_of("area")
    twice = MeasuringRequest("area", request.source, request.source)
    assert "same condition" in (twice.validation_error() or "")
    assert "two conditions" in (MeasuringRequest("area", None, None).validation_error() or "")
    viewer.add_image(np.zeros((2, 8, 8)), name="other: GFP")
    other = MeasuringRequest("area", request.source, group_layers(viewer.layers)[2])
    with pytest.raises(InputError, match="other has GFP"):
        run_measurement(other)


def test_what_the_listener_raises_ends_the_measurement(request_of):
    def enough(done: int, total: int, what: str) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        run_measurement(request_of("translocation"), enough)


def test_z_planes_are_projected_or_one_is_taken(viewer: ViewerModel):
    pairs = list(simulate_pairs("translocation", 2, size=64))
    for name, images in (
        ("a", [pair.source for pair in pairs]),
        ("b", [pair.target for pair in pairs]),
    ):
        sharp = np.stack([image.data for image in images])
        data = np.stack([np.zeros_like(sharp), sharp, sharp // 2], axis=2)
        for c, channel in enumerate(images[0].channel_names):
            labels = ("field", "z", "y", "x")
            viewer.add_image(data[:, c], name=f"{name}: {channel}", axis_labels=labels)
    source, target = group_layers(viewer.layers)

    def measured(z):
        return run_measurement(MeasuringRequest("translocation", source, target, z=z).snapshot())

    with pytest.raises(InputError, match="3 z planes"):
        measured(None)
    projected, middle, below = measured("max"), measured(1), measured(2)
    np.testing.assert_array_equal(projected.measurement.values("a"), middle.measurement.values("a"))
    assert below.measurement.thresholds["nuclei"] < 0.6 * middle.measurement.thresholds["nuclei"]
    data, arguments, _ = object_layers(projected)[0]
    assert data.shape == (2, 3, 64, 64)
    np.testing.assert_array_equal(data[:, 0], data[:, 2])
    assert arguments["axis_labels"] == ("field", "z", "y", "x")


def test_images_at_different_strengths_are_not_measured_together(request_of, viewer: ViewerModel):
    source = group_layers(viewer.layers)[0]
    images = list(FieldImages(source))
    new = NewTranslation(images, images, "untreated", "treated")
    translation = add_translation(viewer, source.layers, new)
    show_at(viewer.layers, translation, 0, images[0], 0.5)
    (groups,) = translations(viewer.layers).values()
    assert "strengths from 0.50 to 1.00" in request_of("area", **groups).validation_error()

    show_at(viewer.layers, translation, 1, images[1], 0.5)
    (groups,) = translations(viewer.layers).values()
    assert request_of("area", **groups).validation_error() is None


def layers_of(viewer: ViewerModel, **conditions: list[Image]) -> MeasuringRequest:
    for data, arguments, _ in experiment_layers(conditions):
        viewer.add_image(data, **arguments)
    source, target = group_layers(viewer.layers)
    return MeasuringRequest("area", source, target, settings=AreaSettings(channel=0))


def noisy(name: str, seed: int, dtype=np.uint16) -> Image:
    data = np.random.default_rng(seed).integers(0, 200, (1, 32, 32)).astype(dtype)
    return Image(data, ("marker",), None, name)


def test_what_differs_between_images_is_told_as_on_the_command_line(viewer: ViewerModel):
    request = layers_of(viewer, x=[noisy("a", 0)], y=[noisy("b", 1, np.uint8)])
    (told,) = run_measurement(request).warnings()
    assert told.startswith("The data types differ between images (uint16, uint8)")


def test_a_hot_pixel_that_decides_the_threshold_is_told_each_time(viewer: ViewerModel):
    images = [noisy(name, seed) for seed, name in enumerate("ab")]
    for image in images:
        image.data[..., :8] += 300
    images[1].data[0, 20, 20] = 65_535
    request = layers_of(viewer, x=images[:1], y=images[1:])
    for _ in range(2):
        told = [text for text in run_measurement(request).warnings() if "decide it" in text]
        assert len(told) == 1
        assert "is in b" in told[0]


def test_images_that_could_not_be_measured_are_told(viewer: ViewerModel):
    broken = noisy("c", 2)
    broken.data[:] = 7
    request = layers_of(viewer, x=[noisy("a", 0), broken], y=[noisy("b", 1)])
    told = run_measurement(request).warnings()
    assert told == ("x: 1 of 2 images could not be measured (the first is c): marker: constant.",)


def test_a_measurement_of_nothing_is_refused(viewer: ViewerModel):
    broken = [noisy("a", 0, np.float32), noisy("b", 1, np.float32)]
    for image in broken:
        image.data[:] = np.nan
    with pytest.raises(InputError, match="Nothing could be measured in 2 images"):
        run_measurement(layers_of(viewer, x=broken[:1], y=broken[1:]))


def test_translated_images_that_the_run_knows_are_told(request_of, viewer: ViewerModel):
    source = group_layers(viewer.layers)[0]
    images = tuple(FieldImages(source))
    said = ["The run was trained on all of these images.", "Something else."]
    made = NewTranslation(images, images, "untreated", "treated", provenance={"warnings": said})
    add_translation(viewer, source.parts[0], made)
    (groups,) = translations(viewer.layers).values()
    told = run_measurement(request_of("translocation", **groups)).warnings()
    assert "translated: The run was trained on all of these images." in told
    assert not any("Something else" in text for text in told)


def test_inversions_that_failed_are_told(request_of, viewer: ViewerModel):
    source = group_layers(viewer.layers)[0]
    images = tuple(FieldImages(source))
    record = {"images": [{"image": images[0].name, "residual": 0.8}, {"residual": 0.01}]}
    made = NewTranslation(
        images, images, source="untreated", target="treated", strength=1.0,
        provenance={"record": record},
    )  # fmt: skip
    add_translation(viewer, source.parts[0], made)
    (groups,) = translations(viewer.layers).values()
    measured = run_measurement(request_of("translocation", **groups))
    assert any("The inversion of 1 of 2 translated images" in text for text in measured.warnings())
