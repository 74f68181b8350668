"""Structure of a channel, independent of its brightness."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.separation import separation, tile_wells
from napari_phenldiff.diffusion.structure import describe_arrangement, describe_structure

N = 24


@pytest.fixture(scope="module")
def base():
    return BaseModel.load("bundled")


def planes(n: int, *, seed: int, cells: int = 6, blur: float = 1.0) -> np.ndarray:
    """Textured discs on black, (N, 1, 64, 64) in [0, 1]; each tile has a brightness of its own."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    made = np.zeros((n, 1, 64, 64), np.float32)
    for plane in made[:, 0]:
        texture = ndi.gaussian_filter(rng.normal(size=(64, 64)), blur)
        texture = 0.5 + 0.15 * texture / texture.std()
        for cy, cx in rng.uniform(0, 64, (rng.poisson(cells), 2)):
            disc = (y - cy) ** 2 + (x - cx) ** 2 < 36
            plane[disc] = texture[disc] * rng.uniform(0.8, 1.1)
    return ndi.gaussian_filter(made, (0, 0, 0.7, 0.7)) + rng.normal(0, 0.005, made.shape)


def encode(base: BaseModel, tiles: np.ndarray):
    return base.encode(np.float32(2 * tiles - 1)).cpu()[:, : base.coefficients]


def separate(base: BaseModel, first: np.ndarray, second: np.ndarray, wells=None):
    latents = [encode(base, x) for x in (first, second)]
    return separation(
        latents,
        [np.arange(len(first)), np.arange(len(second))],
        coefficients=base.coefficients,
        channels=1,
        wells=wells,
    )


def test_gain_and_offset_cancel(base):
    tiles = planes(8, seed=0)
    shapes = [describe_structure(encode(base, x), np.arange(8)) for x in (tiles, 0.4 * tiles + 0.1)]
    np.testing.assert_allclose(shapes[0].shape, shapes[1].shape, atol=0.03)
    np.testing.assert_allclose(shapes[0].occupied, shapes[1].occupied, atol=0.01)


def test_brightness_alone_is_told_from_structure(base):
    a = planes(N, seed=0)
    dim = separate(base, a, 0.4 * planes(N, seed=1))
    assert dim.channels[0] > 0.9
    assert dim.structure[0] < dim.limit
    fine = separate(base, a, planes(N, seed=1, blur=3.0))
    assert fine.structure[0] > 0.8


def test_fewer_cells_are_another_occupation_and_not_another_shape(base):
    latents = [encode(base, x) for x in (planes(N, seed=0), planes(N, seed=1, cells=2))]
    many, few = (describe_structure(z, np.arange(N)) for z in latents)
    assert np.median(few.occupied) < 0.5 * np.median(many.occupied)
    thinned = separation(latents, [np.arange(N)] * 2, coefficients=16, channels=1)
    # where cells are lost altogether, that is a difference, and the channel no reference
    assert thinned.structure[0] > 0.8


def test_a_dim_well_is_no_structure(base):
    """One well of each condition is dim: taken together its cells would fill less of the field."""
    first, second = planes(N, seed=0), planes(N, seed=1)
    second[: N // 2] *= 0.3
    wells = [np.zeros(N, int), np.repeat([0, 1], N // 2)]
    assert separate(base, first, second, wells).structure[0] < 0.75
    assert separate(base, first, second).structure[0] > 0.75
    many = separate(base, first, second, wells)
    assert many.structure[0] < separate(base, first, second).structure[0]


def test_wells_are_taken_where_names_tell_them_and_images_are_enough():
    names = [["A01_0", "A01_1", "A01_2", "A01_3"], [f"B{w}_{k}" for w in (1, 2) for k in range(4)]]
    index = [np.repeat(np.arange(4), 2), np.arange(8)]
    found = tile_wells(names, index)
    assert found is not None
    assert [x.tolist() for x in found] == [[0] * 8, [0] * 4 + [1] * 4]
    assert tile_wells([names[0], names[1][:-1]], [index[0], np.arange(7)]) is None
    assert tile_wells([names[0], ["field"] * 8], index) is None


def test_an_empty_image_shows_no_structure(base):
    tiles = planes(8, seed=0)
    tiles[3] = 0.0
    found = describe_structure(encode(base, tiles), np.arange(8))
    assert len(found.shape) == 7
    assert len(found.occupied) == 8
    assert found.occupied[3] == 0


def test_how_channels_lie_together_does_not_depend_on_brightness(base):
    a, b = planes(8, seed=0), planes(8, seed=1)
    first, second, dim = (encode(base, x) for x in (a, b, 0.3 * b + 0.1))
    index = np.arange(8)
    apart = describe_arrangement(first, second, index)
    np.testing.assert_allclose(describe_arrangement(first, dim, index), apart, atol=0.02)
    together = describe_arrangement(first, first, index)
    assert together[:, 0].min() > 0.95
    assert np.abs(apart[:, 0]).mean() < 0.6
    nothing = encode(base, np.zeros_like(a))
    assert (describe_arrangement(nothing, nothing, index) == 0).all()
