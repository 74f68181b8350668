from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.conditioning import describe, initial_tokens
from napari_phenldiff.diffusion.pool import ImagePool, compose_tiles, simulated_fields
from napari_phenldiff.diffusion.pretrain import PretrainingConfig, pretrain
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.events import Finished, Saved, Step

TINY = PretrainingConfig(
    widths=(32, 32), heads=(1, 1), token_width=16, tile=32, steps=6, batch_size=2, device="cpu"
)


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    rng = np.random.default_rng(0)
    tiles = (rng.random((6, 32, 32)) ** 4 * 255).astype(np.uint8)
    return ImagePool(compose_tiles(tiles, np.array([0, 0, 0, 1, 1, 1]), 24))


def test_a_stopped_pretraining_goes_on_and_makes_a_base(pool, tmp_path):
    asked = iter([False, False, True])
    first = list(pretrain(pool, TINY, tmp_path, should_stop=lambda: next(asked)))
    assert first[-1].stopped
    second = list(pretrain(pool, TINY, tmp_path))
    assert [e.step for e in second if isinstance(e, Step)] == [4, 5, 6]
    assert isinstance(second[-2], Saved)
    assert second[-1] == Finished(6, time=second[-1].time)

    with pytest.raises(InputError, match="6 steps already"):
        list(pretrain(pool, TINY, tmp_path))
    wider = TINY.model_copy(update={"widths": (64, 64), "steps": 9})
    with pytest.raises(InputError, match="other settings"):
        list(pretrain(pool, wider, tmp_path))

    base = BaseModel.load(str(tmp_path))
    assert (base.tile, base.image_channels, base.prediction_type) == (32, 3, "v_prediction")
    latents = base.encode(pool(np.random.default_rng(0), 16))
    assert float(latents.std()) == pytest.approx(1, abs=0.4)


def test_pool_draws_within_range_and_repeats_with_its_seed(pool):
    first, again, other = (pool(np.random.default_rng(seed), 8) for seed in (0, 0, 1))
    assert first.shape == (8, 3, 32, 32)
    assert first.dtype == np.float32
    assert first.min() >= -1
    assert first.max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_simulated_fields_use_all_phenotypes():
    fields = simulated_fields(12, size=48)
    assert fields.shape == (12, 3, 48, 48)
    # translocation and neurons have two channels, golgi three
    lit = (fields.max((2, 3)) > 0).reshape(4, 3, 3).any(0).sum(1)
    assert lit.tolist() == [2, 3, 2]


def test_descriptors_know_nothing_of_places():
    latents = torch.randn(2, 48, 6, 6)
    shuffled = latents.flatten(2)[:, :, torch.randperm(36)].unflatten(2, (6, 6))
    assert torch.allclose(describe(latents, 16), describe(shuffled, 16), atol=1e-4)
    assert not torch.allclose(describe(latents, 16), describe(2 * latents, 16), atol=0.1)


def test_tokens_of_different_images_start_differently(pool, tmp_path):
    list(pretrain(pool, TINY, tmp_path))
    encoder = BaseModel.load(str(tmp_path)).encoder
    generator = torch.Generator().manual_seed(0)
    dark, bright = torch.full((4, 48, 4, 4), -1.0), torch.randn(4, 48, 4, 4)
    values, null = initial_tokens([dark, bright], encoder, tokens=9, width=9, generator=generator)
    assert values.shape == (2, 4, 16)
    assert null.shape == (4, 16)
    assert float((values[0] - values[1]).abs().max()) > 0.1
    values, null = initial_tokens([dark, bright], None, tokens=5, width=8, generator=generator)
    assert values.shape == (2, 5, 8)
    assert not null.any()
