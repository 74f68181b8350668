from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.images.tiles import TileGrid

SHAPES = [
    (128, 128),
    (640, 640),
    (510, 1024),
    (137, 147),
    (129, 300),
    (100, 90),
    (100, 500),
    (1, 5),
]


def ramp(shape):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (0.01 * y - 0.02 * x + 3).astype(np.float32)


@pytest.mark.parametrize("overlap", [0, 1, 32, 63, 96])
@pytest.mark.parametrize("shape", SHAPES)
def test_what_was_cut_comes_back(shape, overlap):
    grid = TileGrid.cover(shape, 128, overlap, multiple=32)
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    data = np.stack([np.ones(shape, np.float32), ramp(shape), noise])
    tiles = grid.cut(data)
    assert tiles.shape == (len(grid), 3, *grid.tile_shape)
    blended = grid.blend(tiles)
    assert blended.dtype == np.float32
    np.testing.assert_allclose(blended, data, atol=1e-5)


@pytest.mark.parametrize("shape", [(640, 640), (137, 147), (129, 300)])
def test_tiles_that_disagree_fade_without_a_step(shape):
    """Each tile is a constant of its own: the steepest slope is that of one cross-fade."""
    overlap = 32
    grid = TileGrid.cover(shape, 128, overlap)
    levels = np.random.default_rng(1).uniform(-1, 1, len(grid)).astype(np.float32)
    tiles = np.broadcast_to(levels[:, None, None, None], (len(grid), 1, *grid.tile_shape))
    blended = grid.blend(tiles)[0]
    # A raised cosine over w pixels is nowhere steeper than pi / (2 w) of its height.
    steepest = np.ptp(levels) * np.pi / (2 * overlap) * 1.01
    assert np.abs(np.diff(blended, axis=0)).max() <= steepest
    assert np.abs(np.diff(blended, axis=1)).max() <= steepest
    assert blended.min() >= levels.min() - 1e-6
    assert blended.max() <= levels.max() + 1e-6


def test_borders_of_a_tile_do_not_count_where_another_tile_sees_more():
    grid = TileGrid.cover((128, 200), 128, 32)
    tiles = np.zeros((2, 1, 128, 128), np.float32)
    tiles[0, :, :, -10:] = 1e6
    tiles[1, :, :, :10] = 1e6
    assert np.abs(grid.blend(tiles)).max() == 0


def test_small_field_becomes_one_tile_of_the_next_multiple():
    grid = TileGrid.cover((100, 90), 128, 32, multiple=32)
    assert (len(grid), grid.tile_shape, grid.padding) == (1, (128, 96), (28, 6))
    data = np.random.default_rng(2).integers(0, 255, (2, 100, 90)).astype(np.uint8)
    (tile,) = grid.cut(data)
    assert tile.dtype == np.uint8
    np.testing.assert_array_equal(tile[:, :100, :90], data)
    np.testing.assert_array_equal(tile[:, 100, :90], data[:, 98])
    np.testing.assert_array_equal(tile[:, :100, 90], data[:, :, 88])


def test_field_of_the_tile_size_is_not_touched():
    grid = TileGrid.cover((128, 128), 128, 32, multiple=32)
    assert (grid.origins, grid.padding) == (((0, 0),), (0, 0))


@pytest.mark.parametrize("shape", SHAPES)
def test_neighbours_share_at_least_the_overlap_and_no_tile_is_needless(shape):
    grid = TileGrid.cover(shape, 128, 32)
    for axis, size in enumerate(shape):
        starts = sorted({origin[axis] for origin in grid.origins})
        assert starts[0] == 0
        assert starts[-1] == max(0, size - 128)
        assert all(step <= 96 for step in np.diff(starts))
        assert (len(starts) - 1) * 96 + 32 < max(size, 33)


def test_channels_may_change_between_cutting_and_blending():
    grid = TileGrid.cover((200, 128), 128, 32)
    assert grid.blend(np.zeros((len(grid), 5, 128, 128))).shape == (5, 200, 128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 10), 128, 32), "shape"),
        (((10, 10), 0, 0), "tile"),
        (((10, 10), 100, 0, 32), "multiple of 32"),
        (((10, 10), 128, 128), "overlap"),
        (((10, 10), 128, -1), "overlap"),
    ],
)
def test_contradicting_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TileGrid.cover(*arguments)


def test_wrong_shapes_are_refused():
    grid = TileGrid.cover((200, 128), 128, 32)
    with pytest.raises(ValueError, match="data of shape"):
        grid.cut(np.zeros((1, 128, 200)))
    with pytest.raises(ValueError, match="tiles of shape"):
        grid.blend(np.zeros((len(grid) + 1, 1, 128, 128)))
