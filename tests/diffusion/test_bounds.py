"""Guided predictions stay within what the network expects of the target nearby."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.bounds import IntensityBounds, _running_maximum
from napari_phenldiff.diffusion.references import given_latents
from napari_phenldiff.diffusion.schedule import Schedule

NAMES = ("DNA", "marker")


@pytest.fixture(scope="module")
def base(tiny_base) -> BaseModel:
    return BaseModel.load(str(tiny_base), device="cpu")


def encoded(base: BaseModel, dna: np.ndarray, marker: np.ndarray) -> torch.Tensor:
    return base.encode(np.stack([dna, marker])[None].astype(np.float32))


def spot(size: int, height: float, where: tuple[int, int] = (16, 16)) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return -1 + height * np.exp(-((y - where[0]) ** 2 + (x - where[1]) ** 2) / 18)


def test_pixels_stay_within_what_is_expected_nearby(base):
    bounds = IntensityBounds(base, given_latents(base, NAMES), 4)
    expected = encoded(base, spot(32, 0.5), spot(32, 0.8))
    guided = encoded(base, spot(32, 0.5), spot(32, 1.6))
    marker = base.decode(bounds(guided, expected), 2)[0, 1]
    # up to what 16 of 64 coefficients make of the edge
    assert marker.max() < spot(32, 0.8).max() + 0.08
    assert base.decode(guided, 2)[0, 1].max() > 0.5


def test_the_effect_may_move_within_the_radius_only(base):
    expected = encoded(base, spot(32, 0.5), spot(32, 0.8))
    guided = encoded(base, spot(32, 0.5), spot(32, 0.8, (16, 19)))
    near = IntensityBounds(base, given_latents(base, NAMES), 6)(guided, expected)
    torch.testing.assert_close(near, guided, atol=0.02, rtol=0)
    far = encoded(base, spot(32, 0.5), spot(32, 0.8, (6, 28)))
    stopped = IntensityBounds(base, given_latents(base, NAMES), 3)(far, expected)
    assert base.decode(stopped, 2)[0, 1, 6, 28] < -0.8


def test_darkness_is_bounded_as_well(base):
    flat = np.full((32, 32), -0.5)
    expected = encoded(base, flat, flat)
    guided = encoded(base, flat, flat - 0.4)
    bounded = IntensityBounds(base, given_latents(base, NAMES), 2)(guided, expected)
    np.testing.assert_allclose(base.decode(bounded, 2)[0, 1], flat, atol=2e-3)


def test_what_is_given_and_what_is_in_bounds_is_left_alone(base):
    given = given_latents(base, NAMES, ("DNA",))
    # above black, where the autoencoder's undershoot is cut
    expected = encoded(base, spot(32, 0.5), spot(32, 0.8) + 0.1)
    guided = encoded(base, spot(32, 1.9), spot(32, 0.8) + 0.1)
    bounded = IntensityBounds(base, given, 4)(guided, expected)
    torch.testing.assert_close(bounded, guided, atol=1e-5, rtol=0)


def test_where_all_is_given_nothing_is_bounded(base):
    given = given_latents(base, NAMES, NAMES)
    expected = encoded(base, spot(32, 0.5), spot(32, 0.8))
    guided = encoded(base, spot(32, 1.9), spot(32, 1.9))
    assert IntensityBounds(base, given, 4)(guided, expected) is guided


def test_without_separate_channels_there_are_no_bounds(tiny_stable_diffusion):
    base = BaseModel.load(str(tiny_stable_diffusion), device="cpu")
    with pytest.raises(ValueError, match="mixes"):
        IntensityBounds(base, given_latents(base, NAMES), 4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_an_output_and_the_clean_latents_it_means(prediction_type):
    alphas = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    schedule = Schedule.from_alphas(alphas, prediction_type, steps=20, depth=0.8)
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 6, 4, 4, dtype=torch.float64, generator=generator)
    for k in (0, 5, 15):
        t, phi = schedule.timesteps[k], schedule.angles[k + 1]
        x = np.cos(phi) * clean + np.sin(phi) * noise
        told = noise if prediction_type == "epsilon" else np.cos(phi) * noise - np.sin(phi) * clean
        torch.testing.assert_close(schedule.clean_from(x, told, t), clean)
        torch.testing.assert_close(schedule.output_for(x, clean, t), told)


def test_a_translation_is_bounded_and_a_reconstruction_is_not(tiny_base):
    from napari_phenldiff.diffusion.conditioning import ConditionTokens
    from napari_phenldiff.diffusion.guidance import LatentTranslator
    from napari_phenldiff.images.intensity import IntensityScaling
    from napari_phenldiff.runs.config import TranslationConfig

    model = BaseModel.load(str(tiny_base), device="cpu")
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 4, model.token_width, generator=generator)
    tokens = ConditionTokens(("a", "b"), values, torch.zeros(4, model.token_width))
    scaling = IntensityScaling(NAMES, (0.0, 0.0), (255.0, 255.0), (0.0, 0.0))
    translator = LatentTranslator(model, tokens, scaling, NAMES, precision="float32")
    latents = encoded(model, spot(32, 0.5), spot(32, 1.2))
    config = TranslationConfig(
        source="a", target="b", inference_steps=8, guidance=6.0, bound_radius=1
    )
    free = config.model_copy(update={"bound_radius": 0})
    inversion = translator.invert(latents, config)
    made, unbounded = (translator.generate(inversion, c) for c in (config, free))
    assert (made - unbounded).abs().max() > 0.01
    same = [translator.generate(inversion, c, strength=0.0) for c in (config, free)]
    torch.testing.assert_close(*same, atol=0, rtol=0)
    plain = [
        translator.generate(inversion, c.model_copy(update={"guidance": 1.0}))
        for c in (config, free)
    ]
    torch.testing.assert_close(*plain, atol=0, rtol=0)


@pytest.mark.parametrize("radius", [1, 2, 4, 7, 20])
def test_the_range_is_that_of_the_square_around_each_pixel(radius):
    pixels = torch.randn(2, 3, 17, 30, generator=torch.Generator().manual_seed(radius))
    size = 2 * radius + 1
    found = _running_maximum(_running_maximum(pixels, 2, size), 3, size)
    padded = torch.nn.functional.pad(pixels, (radius,) * 4, value=float("-inf"))
    squares = padded.unfold(2, size, 1).unfold(3, size, 1)
    assert torch.equal(found, squares.amax((-2, -1)))
