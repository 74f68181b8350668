from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion.freedom import (
    code_statistics,
    field_noise,
    mix_in_noise,
    noise_shares,
)
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.runs.config import TranslationConfig, validated

RAMP = np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8)


@pytest.fixture
def tiny_translator(tiny_base):
    from napari_phenldiff.diffusion.base import BaseModel
    from napari_phenldiff.diffusion.conditioning import ConditionTokens
    from napari_phenldiff.diffusion.translate import Translator
    from napari_phenldiff.images.intensity import IntensityScaling

    base = BaseModel.load(str(tiny_base))
    images = [Image(np.stack([RAMP, RAMP]), ("DNA", "marker"), None, "ramp")]
    tokens = torch.randn(2, 4, base.token_width, generator=torch.Generator().manual_seed(0))
    return Translator(
        base,
        ConditionTokens(("a", "b"), tokens, tokens[0]),
        IntensityScaling.fit(images),
        ("DNA", "marker"),
        precision="float32",
    )


def test_a_translation_is_drawn_anew_from_its_seed(tiny_translator):
    image = Image(
        np.random.default_rng(0).integers(0, 255, (2, 48, 48), np.uint8),
        ("DNA", "marker"),
        None,
        "x",
    )
    results = {}
    for freedom, seed in ((0.0, 0), (0.5, 0), (0.5, 1), (1.0, 0)):
        config = TranslationConfig(
            source="a", target="b", freedom=freedom, seed=seed, inference_steps=10, detail=0.0
        )
        results[freedom, seed] = next(iter(tiny_translator.translate([image], config)))
        again = next(iter(tiny_translator.translate([image], config)))
        assert np.array_equal(again.translated.data, results[freedom, seed].translated.data)
    kept, half, other, free = results.values()
    assert kept.code_correlation > half.code_correlation > free.code_correlation
    assert abs(free.code_correlation) < 0.1
    assert free.code_spread == pytest.approx(1, abs=0.1)
    assert not np.array_equal(half.reconstructed.data, other.reconstructed.data)
    error = [
        np.abs(r.reconstructed.data.astype(int) - image.data).mean() for r in (kept, half, free)
    ]
    assert error[0] < error[1] < error[2]


def test_the_finest_structures_are_freed_first():
    assert not noise_shares(48, 16, 0.0).any()
    assert (noise_shares(48, 16, 1.0) == 1).all()
    before = torch.zeros(16)
    for freedom in (0.2, 0.4, 0.6, 0.8):
        shares = noise_shares(48, 16, freedom)
        assert torch.equal(shares[:16], shares[16:32])
        assert (shares[:16].diff() >= -1e-6).all()  # lower frequencies come first
        assert (shares[:16] >= before).all()
        before = shares[:16]
    assert noise_shares(48, 16, 0.6)[0] == 0 < noise_shares(48, 16, 0.6)[15]
    assert (noise_shares(4, None, 0.3) == 0.3).all()


def test_a_redrawn_code_keeps_its_variance_and_what_is_not_freed():
    generator = torch.Generator().manual_seed(0)
    code, noise = (torch.randn(2, 3, 40, 40, generator=generator) for _ in range(2))
    mixed = mix_in_noise(code, noise, torch.tensor([0.0, 0.6, 1.0]))
    assert torch.equal(mixed[:, 0], code[:, 0])
    assert torch.equal(mixed[:, 2], noise[:, 2])
    assert mixed.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=0.05)
    correlation, spread = code_statistics(mixed, code, torch.zeros(1, 3, 1, 1, dtype=torch.bool))
    assert correlation.tolist() == pytest.approx([0.6, 0.6], abs=0.05)
    assert spread.tolist() == pytest.approx([1, 1], abs=0.05)
    given = torch.tensor([True, True, False]).view(1, 3, 1, 1)
    assert code_statistics(mixed, code, given)[0].abs().max() < 0.1


def test_noise_belongs_to_a_place_of_the_field():
    origins = [(0, 0), (0, 32), (32, 32)]
    noise = field_noise(origins, (5, 8, 8), factor=8, seed=3)
    assert torch.equal(noise[0][:, :, 4:], noise[1][:, :, :4])
    assert torch.equal(noise[1][:, 4:], noise[2][:, :4])
    assert torch.equal(field_noise(origins[:1], (5, 8, 8), factor=8, seed=3)[0], noise[0])
    assert not torch.equal(field_noise(origins, (5, 8, 8), factor=8, seed=4), noise)
    assert abs(float(noise.mean())) < 0.1
    assert float(noise.std()) == pytest.approx(1, abs=0.1)


def test_an_anchor_and_freedom_contradict_each_other():
    values = {"source": "a", "target": "b", "anchor": 0.5, "freedom": 0.5}
    with pytest.raises(InputError, match="an anchor holds on to what freedom replaces"):
        validated(TranslationConfig, values, where="translate")


def test_unstructured_detail_is_as_strong_and_carried_by_no_latent(tiny_translator):
    from napari_phenldiff.images.tiles import TileGrid

    rng = np.random.default_rng(0)
    base = tiny_translator.base
    field = np.clip(rng.normal(0, 0.1, (2, 64, 64)), -0.5, 0.5).astype(np.float32)
    grid = TileGrid.cover((64, 64), base.tile, base.tile // 4, multiple=base.multiple)

    def projected(x: np.ndarray) -> np.ndarray:
        tiles = grid.cut(x)
        seen = base.decode(base.encode(tiles), 2) - base.decode(base.encode(0 * tiles), 2)
        return grid.blend(seen)

    lost = field - projected(field)
    config = TranslationConfig(source="a", target="b", freedom=1.0)
    scrambled = tiny_translator._unstructured(lost, grid, config)
    assert scrambled.std() == pytest.approx(lost.std(), rel=0.3)
    assert abs(np.corrcoef(scrambled.ravel(), lost.ravel())[0, 1]) < 0.1
    assert np.abs(projected(scrambled)).mean() < 0.2 * np.abs(scrambled).mean()
    half = tiny_translator._unstructured(lost, grid, config.model_copy(update={"freedom": 0.5}))
    assert np.corrcoef(half.ravel(), lost.ravel())[0, 1] > 0.7
