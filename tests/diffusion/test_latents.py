from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion import latents as latents_module
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.latents import (
    CachedLatents,
    TrainingTiles,
    number_of_tiles,
    too_small,
    training_tiles,
)
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling


@pytest.fixture
def images() -> list[Image]:
    rng = np.random.default_rng(0)
    sizes = [(40, 70), (32, 32), (64, 64), (20, 90)]
    return [
        Image(rng.integers(0, 255, (2, *size), dtype=np.uint8), ("a", "b"), None, f"{k}")
        for k, size in enumerate(sizes)
    ]


def test_of_many_tiles_those_that_are_kept_are_the_ones_there_would_be(images):
    scaling = IntensityScaling.fit(images)
    every, index = training_tiles(images, scaling, 32)
    assert len(every) == len(index) == number_of_tiles(images, 32)
    some, kept = training_tiles(images, scaling, 32, limit=5, seed=3)
    assert some.shape == (5, 2, 32, 32)
    for tile, image in zip(some, kept, strict=True):
        assert any(np.array_equal(tile, other) for other in every[index == image])


@pytest.mark.parametrize("kind", ["tiny_base", "tiny_stable_diffusion"])
def test_kept_latents_are_those_of_the_eight_views(kind, images, request):
    base = BaseModel.load(str(request.getfixturevalue(kind)))
    tiles, _ = training_tiles(images, IntensityScaling.fit(images), 32)
    cached = CachedLatents(base, tiles)
    assert len(cached) == len(tiles)
    for view in range(8):
        turned = tiles[1, ..., ::-1] if view > 3 else tiles[1]
        turned = np.ascontiguousarray(np.rot90(turned, view % 4, axes=(1, 2)))
        expected = base.encode(turned[None])[0]
        torch.testing.assert_close(cached.view(view, 1), expected, rtol=1e-3, atol=2e-3)
    torch.testing.assert_close(cached.upright(), base.encode(tiles), rtol=1e-3, atol=2e-3)
    some = np.array([0, 2])
    assert torch.equal(cached.upright(some), cached.upright()[[0, 2]])


def test_channels_that_images_do_not_have_take_no_memory(tiny_base, images):
    base = BaseModel.load(str(tiny_base))
    tiles, _ = training_tiles(images, IntensityScaling.fit(images), 32)
    cached = CachedLatents(base, tiles)
    whole = 8 * base.encode(tiles).nbytes
    assert cached.nbytes * 3 == whole  # two channels of three, in half precision


@pytest.mark.parametrize("size", [1, 3, 64])
def test_tiles_come_some_at_a_time_and_are_the_same(images, size):
    scaling = IntensityScaling.fit(images)
    every, index = training_tiles(images, scaling, 32, limit=7, seed=2)
    tiles = TrainingTiles(images, scaling, 32, limit=7, seed=2)
    batches = list(tiles.batches(size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert np.array_equal(np.concatenate(batches), every)
    assert np.array_equal(tiles.index, index)


def test_many_latents_are_kept_in_a_file_without_a_name(tiny_base, images, tmp_path, monkeypatch):
    base = BaseModel.load(str(tiny_base))
    tiles, _ = training_tiles(images, IntensityScaling.fit(images), 32)
    kept = CachedLatents(base, tiles)
    assert kept.in_memory
    monkeypatch.setattr(latents_module, "MOST_IN_MEMORY", 0)
    monkeypatch.setattr(latents_module, "_AT_ONCE", 4)
    stored = CachedLatents(base, tiles, tmp_path)
    assert not stored.in_memory
    assert list(tmp_path.iterdir()) == []
    assert stored.nbytes == kept.nbytes
    for view in range(8):
        for tile in range(len(tiles)):
            torch.testing.assert_close(stored.view(view, tile), kept.view(view, tile))
    torch.testing.assert_close(stored.upright(), kept.upright())
    part = stored.upright_part(1, 3)
    torch.testing.assert_close(part, kept.upright()[:, 1:3])


def test_a_trained_autoencoder_may_compute_in_half_precision(
    tiny_stable_diffusion, tiny_base, images
):
    side = 32
    for place, rounded in ((tiny_stable_diffusion, True), (tiny_base, False)):
        base = BaseModel.load(str(place))
        tiles, _ = training_tiles(images, IntensityScaling.fit(images), side)
        exact = base.encode(tiles)
        half = base.encode(tiles, dtype=torch.bfloat16)
        assert half.dtype == torch.float32
        assert torch.equal(half, exact) != rounded
        assert float((half - exact).norm() / exact.norm()) < 0.03
        kept = CachedLatents(base, tiles, dtype=torch.bfloat16).upright()
        torch.testing.assert_close(kept, half, atol=2e-3, rtol=2e-3)


def test_images_much_smaller_than_the_pictures_of_the_base_are_told(tiny_base):
    base = BaseModel.load(str(tiny_base))
    side = base.tile
    small, large = (
        Image(np.zeros((1, n, side), np.uint8), ("DNA",), None, f"of {n}")
        for n in (side // 2 - 1, side // 2)
    )
    assert too_small([large, large], base) == []
    (told,) = too_small([large, small], base)
    assert told.startswith(f"1 of 2 images are small, the smallest {side} × {side // 2 - 1} px")
    assert f"{side} × {side} px" in told
