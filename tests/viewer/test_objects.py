from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.viewer.flip import flip
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.measuring import (
    Measured,
    MeasuringRequest,
    run_measurement,
    translations,
)
from napari_phenldiff.viewer.objects import (
    ObjectRows,
    add_objects,
    make_layers,
    object_layers,
    outdated_labels,
    show_image,
    show_object,
)
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.shown_strength import show_at
from napari_phenldiff.viewer.side_by_side import (
    latest_translation,
    side_by_side,
    translation_panes,
)

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")


def measure_in(viewer: ViewerModel, profile: str = "translocation", **more: Any) -> Measured:
    source, target = group_layers(viewer.layers)
    measured = run_measurement(MeasuringRequest(profile, source, target, **more).snapshot())
    add_objects(viewer, make_layers(object_layers(measured, visible=[measured.source])))
    return measured.without_pixels()


@pytest.fixture
def measured(viewer: ViewerModel) -> Measured:
    """Two conditions of images of two sizes, measured."""
    pairs = list(simulate_pairs("translocation", 6, size=96))
    small = [
        Image(pair.source.data[:, :64, :80], pair.source.channel_names, None, f"small{i}")
        for i, pair in enumerate(pairs[4:])
    ]
    conditions = {
        "untreated": [*(pair.source for pair in pairs[:2]), *small],
        "treated": [pair.target for pair in pairs[2:4]],
    }
    for data, arguments, _ in experiment_layers(conditions):
        viewer.add_image(data, **arguments)
    return measure_in(viewer)


def test_images_of_two_sizes_get_two_layers(measured: Measured, viewer: ViewerModel):
    names = [layer.name for layer in viewer.layers if isinstance(layer, Labels)]
    assert names == [
        "untreated: objects (96 × 96)",
        "untreated: objects (80 × 64)",
        "treated: objects",
    ]
    measure_in(viewer)
    assert [layer.name for layer in viewer.layers if isinstance(layer, Labels)] == names


def test_every_row_is_an_object_and_back(measured: Measured, viewer: ViewerModel):
    cells = measured.measurement.cells
    assert cells is not None
    rows = ObjectRows(measured, viewer.layers)
    assert len(rows.layers) == 3
    for row in range(len(cells)):
        found = rows.place_of(row)
        assert found is not None
        plane = found.layer.data[found.place]
        assert np.sum(plane == found.number) == cells["area_px"].iloc[row]
        assert rows.row_of(found.layer, found.number) == row
        assert found.layer.features["image"].iloc[found.number] == cells["image"].iloc[row]
    assert rows.place_of(len(cells)) is None
    layer = rows.layers[0]
    assert rows.row_of(layer, 0) is None
    assert rows.row_of(layer, 10**6) is None
    assert rows.row_of(viewer.layers[0], 1) is None


def test_an_object_is_brought_into_view(measured: Measured, viewer: ViewerModel):
    rows = ObjectRows(measured, viewer.layers)
    cells = measured.measurement.cells
    assert cells is not None
    row = int(np.flatnonzero(cells["condition"] == "treated")[-1])
    found = rows.place_of(row)
    assert found is not None
    viewer.scene.camera.zoom = 100
    viewer.scene.camera.center = (0, 0, 0)
    side_by_side(viewer).on([[viewer.layers[0]], [viewer.layers[2]]])

    show_object(viewer, measured, found)

    assert not side_by_side(viewer).is_on
    assert found.layer.visible
    assert found.layer.selected_label == found.number
    assert viewer.layers.selection.active is found.layer
    assert viewer.dims.current_step[0] == found.place
    centre = np.array(viewer.scene.camera.center[-2:]) / found.layer.scale[-2:]
    np.testing.assert_allclose(centre, cells[["y", "x"]].iloc[row], atol=3)
    assert not rows.layers[0].visible
    assert viewer.layers["treated: DNA"].visible
    assert not viewer.layers["untreated: DNA (96 × 96)"].visible

    viewer.scene.camera.zoom = 0.5
    viewer.scene.camera.center = (0, 1, 1)
    show_object(viewer, measured, found)
    assert viewer.scene.camera.center == (0, 1, 1), "what is in view stays where it is"


def test_an_image_is_shown_with_the_channels_that_are_looked_at(
    measured: Measured, viewer: ViewerModel
):
    for layer in viewer.layers:
        layer.visible = layer.name.startswith("untreated: marker")
    show_image(viewer, measured, 5)
    assert viewer.dims.current_step[0] == 1
    shown = [layer.name for layer in viewer.layers if layer.visible]
    assert shown == ["treated: marker", "treated: objects"]
    show_image(viewer, measured, 2)
    assert viewer.dims.current_step[0] == 0
    with pytest.raises(IndexError):
        show_image(viewer, measured, 6)


@pytest.fixture
def some_translated(viewer: ViewerModel) -> ViewerModel:
    """Four images and four of another condition, measured; then the second is translated."""
    pairs = list(simulate_pairs("translocation", 8, size=64))
    conditions = {
        "untreated": [pair.source for pair in pairs[:4]],
        "treated": [pair.target for pair in pairs[4:]],
    }
    for data, arguments, _ in experiment_layers(conditions):
        viewer.add_image(data, **arguments)
    viewer.dims.set_point(0, 1)
    measure_in(viewer)
    images = conditions["untreated"][1:2]
    real = [viewer.layers["untreated: DNA"], viewer.layers["untreated: marker"]]
    add_translation(viewer, real, NewTranslation(images, images, "untreated", "treated", field=1))
    return viewer


def objects_shown(viewer: ViewerModel) -> list[str]:
    return [x.name for x in viewer.layers if isinstance(x, Labels) and x.visible]


def test_objects_go_when_their_images_are_covered_or_hidden_and_come_back_with_them(
    some_translated: ViewerModel,
):
    viewer = some_translated
    assert objects_shown(viewer) == [], "a translated image lies over the image"
    viewer.dims.set_point(0, 3)
    assert objects_shown(viewer) == ["untreated: objects"], "this one was not translated"
    viewer.dims.set_point(0, 1)
    assert objects_shown(viewer) == []
    flip(viewer)
    assert objects_shown(viewer) == ["untreated: objects"]

    for layer in viewer.layers:
        if layer.name.startswith(("treated: DNA", "untreated: DNA", "untreated: marker")):
            layer.visible = layer.name == "treated: DNA"
    assert objects_shown(viewer) == []
    viewer.layers["untreated: marker"].visible = True
    assert objects_shown(viewer) == ["untreated: objects"]


def test_objects_that_the_user_hides_or_shows_stay_so(some_translated: ViewerModel):
    viewer = some_translated
    viewer.layers["untreated: objects"].visible = True
    assert objects_shown(viewer) == ["untreated: objects"]
    viewer.dims.set_point(0, 3)
    viewer.layers["untreated: objects"].visible = False
    viewer.dims.set_point(0, 1)
    viewer.dims.set_point(0, 3)
    assert objects_shown(viewer) == []


def test_comparing_leaves_the_objects_as_they_were(some_translated: ViewerModel):
    viewer = some_translated
    translation = latest_translation(viewer.layers)
    for place, expected in ((1, []), (3, ["untreated: objects"])):
        viewer.dims.set_point(0, place)
        side_by_side(viewer).on(translation_panes(viewer.layers, translation))
        assert objects_shown(viewer) == []
        side_by_side(viewer).off()
        assert objects_shown(viewer) == expected
    viewer.dims.set_point(0, 1)
    viewer.dims.set_point(0, 3)
    assert objects_shown(viewer) == ["untreated: objects"]


def test_objects_measured_again_are_shown_with_their_images_alone(some_translated: ViewerModel):
    viewer = some_translated
    measure_in(viewer)
    assert objects_shown(viewer) == []
    viewer.dims.set_point(0, 3)
    assert objects_shown(viewer) == ["untreated: objects"]


def test_renamed_and_foreign_layers_are_kept(measured: Measured, viewer: ViewerModel):
    kept = viewer.layers["treated: objects"]
    kept.name = "mine"
    foreign = viewer.add_labels(np.zeros((4, 4), int), name="treated: objects")
    again = measure_in(viewer)
    assert kept in viewer.layers
    assert foreign in viewer.layers
    rows = ObjectRows(again, viewer.layers)
    assert kept not in rows.layers
    assert len(rows.layers) == 3


def test_objects_of_before_go_with_one_pass_of_the_collector(
    measured: Measured, viewer: ViewerModel
):
    frozen: list[bool] = []
    viewer.layers.events.removed.connect(lambda: frozen.append(gc.get_freeze_count() > 0))
    before = len(viewer.layers)
    measure_in(viewer)
    assert len(viewer.layers) == before
    assert frozen == [True, True, False]


def test_objects_lie_on_their_images_wherever_these_are(viewer: ViewerModel):
    for name, seed in (("a", 0), ("b", 1)):
        data = np.random.default_rng(seed).integers(0, 255, (3, 2, 16, 16), dtype=np.uint8)
        viewer.add_image(
            data,
            name=name,
            axis_labels=("field", "channel", "y", "x"),
            scale=(1, 1, 2, 2),
            translate=(5, 0, 10, 20),
        )
    measured = measure_in(viewer, "area", settings=AreaSettings(channel=0))
    layer = viewer.layers["a: objects"]
    assert layer.data.shape == (3, 2, 16, 16)
    np.testing.assert_array_equal(layer.scale, (1, 1, 2, 2))
    np.testing.assert_array_equal(layer.translate, (5, 0, 10, 20))
    show_image(viewer, measured, 4)
    assert viewer.dims.point[0] == 6


def test_what_was_painted_or_given_is_kept_and_the_new_lies_beside_it(
    measured: Measured, viewer: ViewerModel
):
    painted, given = (
        viewer.layers["treated: objects"],
        viewer.layers["untreated: objects (96 × 96)"],
    )
    painted.paint((0, 5, 5), 77)
    for _ in range(2):
        again = run_measurement(
            MeasuringRequest("translocation", *group_layers(viewer.layers)[::-1])
        )
        add_objects(viewer, make_layers(object_layers(again)), keep=[given])
        assert painted in viewer.layers
        assert painted.data[0, 5, 5] == 77
        assert given in viewer.layers
        rows = ObjectRows(again, viewer.layers)
        assert len(rows.layers) == 3
        assert not {painted, given} & set(rows.layers)
        # those of the second measurement take the place of those of the first
        assert sum(isinstance(layer, Labels) for layer in viewer.layers) == 5


def test_labels_of_another_strength_or_translation_are_told(viewer: ViewerModel):
    pairs = list(simulate_pairs("translocation", 4, size=64))
    conditions = {
        "untreated": [pair.source for pair in pairs[:2]],
        "treated": [pair.target for pair in pairs[2:]],
    }
    for data, arguments, _ in experiment_layers(conditions):
        viewer.add_image(data, **arguments)
    source, target = sorted(group_layers(viewer.layers), key=lambda group: group.name)[::-1]
    images = list(FieldImages(source))
    made = NewTranslation(images, images, source="untreated", target="treated")
    translation = add_translation(viewer, source.layers, made)

    def request(labels: dict[str, Any] | None = None) -> MeasuringRequest:
        (made,) = translations(viewer.layers).values()
        return MeasuringRequest("translocation", source, target, **made, labels=labels)

    measured = run_measurement(request().snapshot())
    add_objects(viewer, make_layers(object_layers(measured)))
    names = ("untreated", "treated", "reconstructed", "translated")
    labels = {name: viewer.layers[f"{name}: objects"] for name in names}
    assert outdated_labels(request(labels)) == ()
    assert outdated_labels(request({**labels, "translated": labels["untreated"]})) == ()

    for place, image in enumerate(images):
        show_at(viewer.layers, translation, place, image, 1.8)
    (told,) = outdated_labels(request(labels))
    assert '"translated: objects" is older than its images' in told
    assert "strength 1, and strength 1.8 is shown" in told

    for name in ("reconstructed", "translated"):
        labels[name].metadata["napari-phenldiff-measurement"]["translation"] = "t0"
    assert ["another translation" in text for text in outdated_labels(request(labels))] == [
        True
    ] * 2
