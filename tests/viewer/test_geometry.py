"""What is shown and where it lies: axes, starts, steps, orders and transforms at random."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.viewer.geometry import Geometry
from napari_phenldiff.viewer.image_places import FieldImages, Lot, image_shown, move_sliders
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers
from napari_phenldiff.viewer.object_preview import ObjectPreview, make_preview_layer, show_preview
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.shown_strength import show_at
from napari_phenldiff.viewer.unclear_axes import plane_of_slider

_HEIGHT, _WIDTH = 12, 16


def random_rotation(rng: np.random.Generator, n: int) -> np.ndarray:
    rotation, _ = np.linalg.qr(rng.normal(size=(n, n)))
    if np.linalg.det(rotation) < 0:
        rotation[:, 0] *= -1
    return rotation


def in_plane(matrix: np.ndarray, n: int) -> np.ndarray:
    whole = np.eye(n)
    whole[-2:, -2:] = matrix
    return whole


def random_place(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Transforms that leave the sliders straight, as napari shows them, y and x as they may be."""
    place: dict[str, Any] = {}
    if rng.random() < 0.7:
        place["scale"] = rng.choice([0.25, 0.5, 1, 2, 3.5], n) * rng.choice([1, 1, -1], n)
    if rng.random() < 0.7:
        place["translate"] = np.round(rng.uniform(-5, 5, n), 2)
    if rng.random() < 0.5:
        place["rotate"] = in_plane(random_rotation(rng, 2), n)
    if rng.random() < 0.4:
        shear = np.zeros(n * (n - 1) // 2)
        shear[-1] = rng.uniform(-0.5, 0.5)
        place["shear"] = shear
    if rng.random() < 0.5:
        affine = np.eye(n + 1)
        affine[:n, :n] = in_plane(np.eye(2) + rng.uniform(-0.3, 0.3, (2, 2)), n)
        affine[:n, n] = rng.uniform(-3, 3, n)
        affine[np.arange(n - 2), np.arange(n - 2)] = rng.choice([0.5, 1, 2], n - 2)
        place["affine"] = affine
    return place


def random_layer(rng: np.random.Generator, kinds: tuple[str, ...]) -> ImageLayer:
    """A layer in whose planes every pixel is the number of the image."""
    lengths = tuple(int(rng.integers(1, 5)) for _ in kinds)
    fields = [n for n, kind in zip(lengths, kinds, strict=True) if kind == "field"]
    numbers = np.arange(int(np.prod(fields, dtype=int))).reshape(
        [n if kind == "field" else 1 for n, kind in zip(lengths, kinds, strict=True)]
    )
    numbers = np.broadcast_to(numbers, lengths)
    data = np.broadcast_to(numbers[..., None, None], (*lengths, _HEIGHT, _WIDTH))
    names = {"field": iter(("well", "time", "position")), "channel": iter("c"), "z": iter("z")}
    labels = (*(next(names[kind]) for kind in kinds), "y", "x")
    n = len(labels)
    return ImageLayer(
        data.astype(np.uint16), name="cells", axis_labels=labels, **random_place(rng, n)
    )


def random_kinds(rng: np.random.Generator, *, z: bool = True) -> tuple[str, ...]:
    kinds = ["field"] * int(rng.integers(0, 3))
    for kind in ("channel", "z") if z else ("channel",):
        if rng.random() < 0.4:
            kinds.insert(int(rng.integers(0, len(kinds) + 1)), kind)
    return tuple(kinds)


def turn_randomly(rng: np.random.Generator, viewer: ViewerModel) -> None:
    n = viewer.dims.ndim
    for axis in range(n):
        low, high, _ = viewer.dims.range[axis]
        viewer.dims.set_point(axis, rng.uniform(low, high))
    if rng.random() < 0.3:
        viewer.dims.order = tuple(int(axis) for axis in rng.permutation(n))


@pytest.fixture(autouse=True)
def _tilted():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Non-orthogonal slicing")
        yield


@pytest.mark.parametrize("seed", range(24))
def test_the_image_that_is_meant_is_the_one_that_is_shown(seed: int):
    rng = np.random.default_rng(seed)
    viewer = ViewerModel()
    layer = viewer.add_layer(random_layer(rng, random_kinds(rng)))
    # Others make the sliders longer, and start them elsewhere.
    for _ in range(int(rng.integers(0, 3))):
        viewer.add_layer(random_layer(rng, random_kinds(rng)))
    (group, *_) = group_layers([layer])
    for _ in range(5):
        turn_randomly(rng, viewer)
        seen = set(np.unique(layer._data_view).tolist())
        whole = set(layer._slice_input.displayed[-2:]) == {layer.ndim - 2, layer.ndim - 1}
        there = not layer._slice.empty and whole and len(seen) == 1
        if there:
            assert seen == {image_shown(viewer, group)}
        else:
            with pytest.raises(InputError, match=r"no image of cells at|image by image"):
                image_shown(viewer, group)


@pytest.mark.parametrize("seed", range(16))
def test_the_sliders_go_to_the_image_that_they_are_sent_to(seed: int):
    rng = np.random.default_rng([1, seed])
    viewer = ViewerModel()
    layer = viewer.add_layer(random_layer(rng, random_kinds(rng, z=False)))
    viewer.add_layer(random_layer(rng, random_kinds(rng)))
    lot = Lot.of(layer, LayerInfo.of(layer))
    kinds = lot.axes.kinds
    if "channel" in kinds:  # this slider stays where it is: put it upon the layer
        axis = kinds.index("channel")
        point = lot.geometry.to_points([0], [axis], viewer.dims.units)[0]
        viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, point)
    for place in rng.permutation(len(lot.names)):
        move_sliders(viewer, lot, int(place))
        assert lot.place_shown(viewer) == place
        assert set(np.unique(layer._data_view).tolist()) == {place}


def test_a_slider_in_other_units_shows_the_same_image(viewer: ViewerModel):
    near = viewer.add_image(
        np.arange(4)[:, None, None] * np.ones((4, 8, 8)),
        scale=(500, 100, 100),
        units=("nm", "nm", "nm"),
        name="near",
    )
    viewer.add_image(np.zeros((4, 8, 8)), scale=(0.5, 0.1, 0.1), units=("um", "um", "um"))
    (group,) = group_layers([near])
    for place in range(4):
        viewer.dims.set_current_step(0, place)
        assert set(np.unique(near._data_view)) == {image_shown(viewer, group)}
        assert image_shown(viewer, group) == place


@pytest.mark.parametrize("seed", range(8))
def test_the_plane_of_the_slider_is_the_one_that_is_shown(seed: int):
    rng = np.random.default_rng([2, seed])
    viewer = ViewerModel()
    depth = int(rng.integers(2, 6))
    stack = np.arange(depth)[:, None, None] * np.ones((depth, _HEIGHT, _WIDTH))
    layer = viewer.add_image(stack, axis_labels=("z", "y", "x"), **random_place(rng, 3))
    (group,) = group_layers([layer])
    low, high, _ = viewer.dims.range[0]
    for point in rng.uniform(low, high, 5):
        viewer.dims.set_point(0, point)
        assert set(np.unique(layer._data_view)) == {plane_of_slider(viewer, group)}


def corners_in_world(layer: Any, height: int, width: int, top: int = 0, left: int = 0):
    """Where four corners of a part of a layer's image lie, in the last two axes of the world."""
    lead = [0] * (layer.ndim - 2)
    return [
        np.array(layer.data_to_world([*lead, top + y, left + x]))[-2:]
        for y in (0, height - 1)
        for x in (0, width - 1)
    ]


@pytest.mark.parametrize("seed", range(24))
def test_results_lie_upon_what_they_were_made_from(seed: int):
    rng = np.random.default_rng([3, seed])
    viewer = ViewerModel()
    kinds = random_kinds(rng, z=False)
    layer = viewer.add_layer(random_layer(rng, kinds))
    (group,) = group_layers([layer])
    lot = Lot.of(layer, LayerInfo.of(layer))
    images = list(FieldImages(group))
    alone = rng.random() < 0.5 and len(images) > 1
    field = int(rng.integers(len(images))) if alone else None
    chosen = images if field is None else [images[field]]
    corner = (int(rng.integers(0, 5)), int(rng.integers(0, 5))) if rng.random() < 0.5 else (0, 0)
    rows, columns = slice(corner[0], corner[0] + 6), slice(corner[1], corner[1] + 7)
    if corner == (0, 0):
        rows = columns = slice(None)
    parts = [Image(i.data[:, rows, columns], i.channel_names, None, i.name) for i in chosen]
    new = NewTranslation(
        parts,
        parts,
        source="cells",
        target="treated",
        field=field,
        corner=corner,
        originals=() if group.one_layer_per_channel else parts,
    )
    add_translation(viewer, group.layers, new)
    height, width = parts[0].shape
    here = corners_in_world(layer, height, width, *corner)
    made = [x for x in viewer.layers if x is not layer]
    assert made
    for result in made:
        np.testing.assert_allclose(corners_in_world(result, height, width), here, atol=1e-6)
    # Wherever the sliders stand, the same image is seen, or none.
    n_planes = group.infos[0][0].channel_names
    for place in range(len(images)):
        for step in range(len(n_planes) if "channel" in kinds else 1):
            move_sliders(viewer, lot, place)
            if "channel" in kinds:
                axis = kinds.index("channel")
                point = lot.geometry.to_points([step], [axis], viewer.dims.units)[0]
                viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, point)
            for result in made:
                if result.name.startswith("difference"):
                    continue
                if field is not None and place != field:
                    assert result._slice.empty
                else:
                    assert set(np.unique(result._data_view).tolist()) == {place}
                    assert image_shown(viewer, group) == place


@pytest.mark.parametrize("seed", range(10))
def test_the_dial_changes_the_image_that_is_shown_and_no_other(seed: int):
    rng = np.random.default_rng([4, seed])
    viewer = ViewerModel()
    layer = viewer.add_layer(random_layer(rng, random_kinds(rng, z=False)))
    (group,) = group_layers([layer])
    images = list(FieldImages(group))
    new = NewTranslation(
        images,
        images,
        source="cells",
        target="treated",
        originals=() if group.one_layer_per_channel else images,
    )
    identity = add_translation(viewer, group.layers, new)
    turned = next(x for x in viewer.layers if x.name.startswith("→"))
    place = int(rng.integers(len(images)))
    image = images[place]
    brighter = Image(image.data + 100, image.channel_names, None, image.name)
    show_at(viewer.layers, identity, place, brighter, 0.5)
    lot = Lot.of(turned, LayerInfo.of(turned))
    for other in range(len(images)):
        plane = np.unique(turned.data[lot.index(other)])
        assert plane.tolist() == [other + 100 * (other == place)]


@pytest.mark.parametrize("seed", range(10))
def test_outlines_lie_upon_their_image(seed: int):
    rng = np.random.default_rng([5, seed])
    viewer = ViewerModel()
    layer = viewer.add_layer(random_layer(rng, random_kinds(rng, z=False)))
    lot = Lot.of(layer, LayerInfo.of(layer))
    labels = np.ones((_HEIGHT, _WIDTH), np.int32)
    for place in rng.permutation(len(lot.names))[:2]:
        preview = ObjectPreview(labels, lot, int(place), "", {})
        show_preview(viewer, preview, make_preview_layer(preview))
        shown = viewer.layers[-1]
        start = [cut.start or 0 for cut in lot.index(int(place))]
        for corner in ((0, 0), (_HEIGHT, 0), (3, _WIDTH)):
            there = shown.data_to_world([*(0 for _ in start), *corner])
            np.testing.assert_allclose(there, layer.data_to_world([*start, *corner]), atol=1e-9)
    moved = Geometry.of(viewer.add_layer(random_layer(rng, ())))
    assert len(moved.translate) == 2


@pytest.mark.parametrize("seed", range(16))
def test_a_geometry_is_that_of_its_layer_whatever_its_transforms(seed: int):
    rng = np.random.default_rng([6, seed])
    n = int(rng.integers(2, 5))
    arguments: dict[str, Any] = {
        "scale": rng.uniform(0.1, 3, n) * rng.choice([1, -1], n),
        "translate": rng.uniform(-5, 5, n),
        "rotate": random_rotation(rng, n),
        "shear": rng.uniform(-0.5, 0.5, n * (n - 1) // 2)
        if rng.random() < 0.5
        else np.tril(rng.uniform(-0.5, 0.5, (n, n)), -1) + np.eye(n),
        "affine": np.vstack([rng.normal(size=(n, n + 1)), [*[0] * n, 1]]),
    }
    kept = {name: value for name, value in arguments.items() if rng.random() < 0.6}
    layer = ImageLayer(np.zeros((4,) * n), **kept)
    geometry = Geometry.of(layer)
    place, start = rng.normal(size=n), rng.uniform(0, 3, n)
    np.testing.assert_allclose(geometry.to_world(place), layer.data_to_world(place), atol=1e-9)
    np.testing.assert_allclose(geometry.to_data(place), layer.world_to_data(place), atol=1e-7)
    cut = ImageLayer(np.zeros((4,) * n), **geometry.starting_at(start).arguments())
    there = layer.data_to_world(place + start)
    np.testing.assert_allclose(cut.data_to_world(place), there, atol=1e-9)
    moved = ImageLayer(np.zeros((4,) * n), scale=rng.uniform(1, 2, n))
    geometry.move(moved)
    np.testing.assert_allclose(moved.data_to_world(place), layer.data_to_world(place), atol=1e-9)


def test_a_stretched_layer_has_the_pixels_that_it_is_shown_with(viewer: ViewerModel):
    turned = [[0, -1], [1, 0]]
    arguments = {"units": ("um", "um"), "name": "a"}
    plane = np.zeros((8, 8))
    for layer, size in (
        (ImageLayer(plane, scale=(0.5, 0.25), **arguments), (0.5, 0.25)),
        (ImageLayer(plane, scale=(0.5, 0.25), rotate=turned, **arguments), (0.5, 0.25)),
        (ImageLayer(plane, affine=np.diag([2.0, 4.0, 1.0]), **arguments), (2.0, 4.0)),
        (ImageLayer(plane, scale=(0.5, 0.5), affine=np.diag([2, 2, 1]), **arguments), (1.0, 1.0)),
    ):
        (group,) = group_layers([layer])
        assert next(iter(FieldImages(group))).pixel_size == pytest.approx(size)
    sheared = ImageLayer(plane, shear=[0.4], **arguments)
    (group,) = group_layers([sheared])
    assert next(iter(FieldImages(group))).pixel_size is None
