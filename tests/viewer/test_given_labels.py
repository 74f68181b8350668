from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.measurement.profiles.neurons import NeuronsSettings
from napari_phenldiff.viewer.given_labels import LabelPlanes, label_layers, suggested
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.measuring import MeasuringRequest, run_measurement, translations
from napari_phenldiff.viewer.object_preview import outline, preview_target
from napari_phenldiff.viewer.objects import ObjectRows, make_layers, object_layers
from napari_phenldiff.viewer.reader import experiment_layers


@pytest.fixture
def request_of(viewer: ViewerModel) -> Callable[..., MeasuringRequest]:
    """Open two simulated images of each of two conditions and ask for a measurement of them."""
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


@pytest.fixture
def squares() -> np.ndarray:
    """Three squares in the first image and one in the second, with numbers that have gaps."""
    data = np.zeros((2, 96, 96), np.int64)
    data[0, 10:20, 10:20], data[0, 40:50, 40:50], data[0, 70:80, 20:30] = 7, 900, 12
    data[1, 30:40, 60:70] = 5
    return data


def test_the_objects_are_those_of_the_layers(request_of, viewer, squares):
    labels = {"untreated": Labels(squares, name="a"), "treated": Labels(squares[::-1], name="b")}
    request = request_of(labels=labels)
    assert request.validation_error() is None
    measured = run_measurement(request.snapshot())

    table = measured.measurement.images.set_index(["condition", "image"])
    assert list(table.loc["untreated", "n_cells"]) == [3, 1]
    assert list(table.loc["treated", "n_cells"]) == [1, 3]
    assert table["threshold"].isna().all()
    assert measured.measurement.thresholds == {}
    for group, given in zip(measured.groups, labels.values(), strict=True):
        for found, wanted in zip(group.objects, given.data, strict=True):
            np.testing.assert_array_equal(found > 0, wanted > 0)
    entry = object_layers(measured)[0][1]["metadata"]["napari-phenldiff-measurement"]
    assert entry["labels"] == {"untreated": "a", "treated": "b"}


def test_the_preview_shows_them(request_of, viewer, squares):
    labels = dict.fromkeys(("untreated", "treated"), Labels(squares, name="by hand"))
    request = request_of(labels=labels)
    viewer.dims.set_current_step(0, 1)
    for layer in viewer.layers:
        layer.visible = layer.name.startswith("treated")
    preview = outline(preview_target(viewer, request))
    np.testing.assert_array_equal(preview.labels == 1, squares[1] > 0)
    assert 'nuclei from the labels layer "by hand"' in preview.text
    assert "grey values" not in preview.text


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({}, "Choose a labels layer for untreated, or use thresholds"),
        ({"untreated": (2, 96, 96)}, "Choose a labels layer for treated"),
        ({"untreated": (3, 96, 96)}, "does not fit untreated: it has 3 × 96 × 96 pixels"),
        ({"untreated": (2, 96, 95)}, "there are 2 images of 96 × 96"),
        ({"untreated": (96, 96)}, "does not fit untreated"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(request_of, labels, sentence: str):
    layers = {name: Labels(np.zeros(shape, int), name="x") for name, shape in labels.items()}
    request = request_of(labels=layers)
    assert sentence in request.validation_error()
    with pytest.raises(InputError, match="Choose"):
        run_measurement(request)


def test_labels_of_what_is_not_measured_are_refused(request_of, squares):
    labels = dict.fromkeys(("untreated", "treated"), Labels(squares))
    assert (
        "Choose a channel for the nuclei" in request_of("golgi", labels=labels).validation_error()
    )
    settings = NeuronsSettings(channel=1, nuclei_channel=0)
    assert request_of("neurons", settings=settings, labels=labels).validation_error() is None


def test_a_model_s_images_may_have_the_labels_of_the_source(
    request_of, viewer, add_translated, squares
):
    source = group_layers(viewer.layers)[0]
    image = list(FieldImages(source))[1:]
    add_translated(viewer, image, image, field=1)
    (made,) = translations(viewer.layers).values()
    layer = Labels(squares, name="untreated masks")
    for group in made.values():
        planes = LabelPlanes(layer, group, source)
        np.testing.assert_array_equal(planes.plane(image[0].name), squares[1])
        with pytest.raises(InputError, match="does not fit"):
            LabelPlanes(layer, group)
    names = ("untreated", "treated", "reconstructed", "translated")
    measured = run_measurement(request_of(labels=dict.fromkeys(names, layer), **made))
    images = measured.measurement.images
    assert list(images["n_cells"]) == [3, 1, 3, 1, 1, 1]


def test_labels_over_layers_with_channels(viewer, squares):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (2, 3, 96, 96), dtype=np.uint8)
    for name in ("a", "b"):
        viewer.add_image(data, name=name, axis_labels=("field", "channel", "y", "x"))
    group = group_layers(viewer.layers)[0]
    (name, second) = (image.name for image in list(FieldImages(group)))
    repeated = np.broadcast_to(squares[:, None], data.shape)
    for given in (squares, repeated):
        planes = LabelPlanes(Labels(given), group)
        np.testing.assert_array_equal(planes.plane(name), squares[0])
        np.testing.assert_array_equal(planes.plane(second), squares[1])


def test_images_of_several_sizes(viewer, squares):
    images = [
        replace(next(iter(simulate_pairs("translocation", 1, size=size))).source, name=f"{size}")
        for size in (96, 64)
    ]
    for data, arguments, _ in experiment_layers({"a": images}):
        viewer.add_image(data, **arguments)
    (group,) = group_layers(viewer.layers)
    with pytest.raises(InputError, match="2 different sizes"):
        LabelPlanes(Labels(squares), group)


def test_a_layer_called_like_the_group_is_suggested(request_of, squares):
    request = request_of()
    a, b, c = (Labels(squares, name=n) for n in ("untreated_cellpose", "Treated [1]", "masks"))
    assert suggested([a, b, c], request.source) is a
    assert suggested([a, b, c], request.target) is b
    assert suggested([a, c], request.target) is None
    assert suggested([a, c], request.target, a, known_as="translated") is a
    assert label_layers([a, request.source.layers[0]]) == [a]


@pytest.mark.parametrize("seed", range(6))
def test_rows_objects_and_layers_have_the_numbers_of_the_labels(request_of, viewer, seed: int):
    rng = np.random.default_rng(seed)
    most = 3_000_000_000 if seed == 0 else 40_000 if seed < 4 else 9
    stacks = {}
    for name in ("untreated", "treated"):
        data = np.zeros((2, 96, 96), np.int64)
        for plane in data:
            for k, number in enumerate(rng.choice(most, 4, replace=False) + 1):
                y, x = 10 + 40 * (k // 2), 10 + 40 * (k % 2)
                plane[y : y + 12, x : x + 12] = number
        stacks[name] = data
    labels = {name: Labels(data, name=name) for name, data in stacks.items()}
    measured = run_measurement(request_of(labels=labels).snapshot())
    cells = measured.measurement.cells
    for name, data in stacks.items():
        mine = cells[cells["condition"] == name]
        own = [set(np.unique(plane)) - {0} for plane in data]
        assert [set(rows["label"]) for _, rows in mine.groupby("image", sort=False)] == own
    layers = make_layers(object_layers(measured))
    rows = ObjectRows(measured, layers)
    for row, cell in enumerate(cells.itertuples()):
        found = rows.place_of(row)
        assert found is not None
        assert rows.row_of(found.layer, found.number) == row
        y, x = round(cell.y), round(cell.x)
        assert found.layer.data[found.place, y, x] == found.number
        features = found.layer.features
        at = features["index"] if "index" in features else features["label"]
        mean = features.loc[at == found.number, "nucleus_mean"]
        assert mean.tolist() == [cell.nucleus_mean]
        data = stacks[cell.condition]
        if len(np.unique(data)) == 9:  # no number twice: those in the layer are the user's
            assert found.number == cell.label
