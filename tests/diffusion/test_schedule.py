from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion.schedule import Schedule
from napari_phenldiff.errors import InputError

ALPHAS = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def network(prediction_type: str):
    """A smooth non-linear stand-in for a UNet that depends on the time step."""
    torch.manual_seed(0)
    mix = torch.randn(6, 6, dtype=torch.float64) / 6**0.5

    def predict(x: torch.Tensor, t: int, numbers: object = None) -> torch.Tensor:
        return torch.sin(torch.einsum("ij,njyx->niyx", mix, x) + t / 300)

    return predict


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("depth", [1.0, 0.6])
def test_more_iterations_invert_more_exactly(prediction_type, depth):
    schedule = Schedule.from_alphas(ALPHAS, prediction_type, steps=50, depth=depth)
    latents = torch.randn(3, 6, 4, 4, dtype=torch.float64)
    predict = network(prediction_type)
    errors = []
    for iterations in (1, 3, 8):
        inversion = schedule.invert(latents, predict, iterations=iterations)
        back = schedule.generate(inversion.code, predict)
        errors.append(float((back - latents).square().mean().sqrt()))
        assert len(inversion.path) == len(schedule.timesteps) + 1
        assert inversion.residual.shape == (3,)
        assert bool(inversion.residual.isnan().all()) == (iterations == 1)
    assert errors[0] > 20 * errors[1] > 400 * errors[2]
    assert errors[2] < 1e-4


def test_each_sample_is_iterated_until_it_has_converged():
    schedule = Schedule.from_alphas(ALPHAS, "v_prediction", steps=25, depth=0.8)
    latents = torch.randn(3, 6, 4, 4, dtype=torch.float64)
    latents[1] *= 1e-3  # the stand-in is nearly linear there, and easily inverted
    predict, asked = network("v_prediction"), []

    def counted(x: torch.Tensor, t: int, numbers: torch.Tensor) -> torch.Tensor:
        assert len(x) == len(numbers)
        asked.extend(numbers.tolist())
        return predict(x, t)

    exact = schedule.invert(latents, counted, iterations=6)
    assert [asked.count(k) for k in range(3)] == [120] * 3
    asked.clear()
    steps = []
    found = schedule.invert(
        latents, counted, iterations=6, tolerance=1e-3, on_step=lambda: steps.append(1)
    )
    assert len(steps) == 20
    each = [asked.count(k) for k in range(3)]
    assert all(20 <= n < 60 for n in each)
    assert found.residual.max() <= 1e-3
    difference = (found.code - exact.code).flatten(1).norm(dim=1)
    assert bool((difference < 0.01 * exact.code.flatten(1).norm(dim=1)).all())
    # what the others in its batch do makes no difference to a sample
    alone = schedule.invert(latents[:1], predict, iterations=6, tolerance=1e-3)
    assert torch.allclose(alone.code, found.code[:1], atol=1e-12)


def test_a_step_starts_where_the_two_before_lead():
    """One evaluation a step is then nearly as exact as several from where the step begins."""
    schedule = Schedule.from_alphas(ALPHAS, "v_prediction", steps=25, depth=0.8)
    latents = torch.randn(3, 6, 4, 4, dtype=torch.float64)
    predict = network("v_prediction")

    def error(**settings: float) -> float:
        code = schedule.invert(latents, predict, **settings).code
        return float((schedule.generate(code, predict) - latents).square().mean().sqrt())

    # the first step has none before it, and is iterated
    assert error(iterations=4, tolerance=5e-3) < 0.2 * error(iterations=1)


def test_steps_match_diffusers_ddim():
    """The angles are another way to write DDIM, not another method."""
    from diffusers import DDIMScheduler

    for prediction_type in ("epsilon", "v_prediction"):
        scheduler = DDIMScheduler(
            beta_schedule="linear",
            beta_start=1e-4,
            beta_end=0.02,
            prediction_type=prediction_type,
            clip_sample=False,
            timestep_spacing="trailing",
        )
        scheduler.set_timesteps(20)
        schedule = Schedule.from_alphas(
            scheduler.alphas_cumprod.double().numpy(), prediction_type, steps=20
        )
        assert list(schedule.timesteps[::-1]) == scheduler.timesteps.tolist()
        predict = network(prediction_type)
        ours = theirs = torch.randn(1, 6, 4, 4, dtype=torch.float64)
        ours = schedule.generate(ours, predict)
        for t in scheduler.timesteps:
            theirs = scheduler.step(predict(theirs, int(t)), t, theirs).prev_sample
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_following_the_path_leads_back_exactly(prediction_type):
    """Also where the inversion itself was rough."""
    schedule = Schedule.from_alphas(ALPHAS, prediction_type, steps=10, depth=0.7)
    latents = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    inversion = schedule.invert(latents, network(prediction_type), iterations=1)
    back = schedule.generate(inversion.code, lambda _, t: schedule.output_along(inversion.path, t))
    assert torch.allclose(back, latents, atol=1e-9)


def test_depth_is_the_part_that_is_inverted():
    half = Schedule.from_alphas(ALPHAS, "epsilon", steps=50, depth=0.5)
    assert len(half.timesteps) == 25
    assert half.timesteps[-1] == 499


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"depth": 0.0}, "depth"),
        ({"depth": 1.5}, "depth"),
        ({"steps": 0}, "steps"),
        ({"prediction_type": "sample"}, "sample"),
    ],
)
def test_bad_settings_are_told(change, word):
    settings = {"prediction_type": "epsilon", "steps": 10, "depth": 1.0} | change
    with pytest.raises(InputError, match=word):
        Schedule.from_alphas(ALPHAS, **settings)


def zero_terminal(alphas: np.ndarray) -> np.ndarray:
    """Shift and scale a schedule so that it ends in noise alone, as diffusers does."""
    root = np.sqrt(alphas)
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def test_epsilon_cannot_be_inverted_up_to_noise_that_tells_nothing():
    alphas = zero_terminal(ALPHAS)
    with pytest.raises(InputError, match=r"depth of at most 0\.\d+") as error:
        Schedule.from_alphas(alphas, "epsilon", steps=50)
    depth = float(str(error.value).rsplit(" ", 1)[1].rstrip("."))
    assert 0.8 < depth < 1
    Schedule.from_alphas(alphas, "epsilon", steps=50, depth=depth)
    Schedule.from_alphas(alphas, "v_prediction", steps=50)
    with pytest.raises(InputError, match="too few to invert"):
        Schedule.from_alphas(alphas, "v_prediction", steps=1)


@pytest.mark.parametrize("seed", range(60))
def test_any_schedule_leads_back_or_is_refused(seed):
    """A network that always means the same clean image is inverted to it, whatever the schedule."""
    rng = np.random.default_rng(seed)
    total = int(rng.choice([20, 100, 1000]))
    kinds = (
        np.linspace(1e-4, 0.02, total) * 1000 / total,
        np.linspace(0.00085**0.5, 0.012**0.5, total) ** 2 * 1000 / total,
        rng.uniform(1e-4, 0.5, total),
    )
    alphas = np.cumprod(1 - np.clip(kinds[seed % 3], 0, 0.999))
    if rng.random() < 0.5:
        alphas = zero_terminal(alphas)
    prediction_type = str(rng.choice(["epsilon", "v_prediction"]))
    steps = int(rng.choice([1, 2, 7, 20]))
    depth = float(rng.choice([1.0, rng.uniform(0.05, 1)]))
    try:
        schedule = Schedule.from_alphas(alphas, prediction_type, steps=steps, depth=depth)
    except InputError:
        return
    generator = torch.Generator().manual_seed(seed)
    clean = torch.randn(2, 3, 4, 4, generator=generator)

    def predict(x: torch.Tensor, t: int, numbers: object = None) -> torch.Tensor:
        # What networks are asked for is never infinite.
        assert x.isfinite().all()
        return schedule.output_for(x, clean, t)

    noise = torch.randn(clean.shape, generator=generator)
    torch.testing.assert_close(schedule.generate(noise, predict), clean, atol=0.02, rtol=0.02)
    code = schedule.invert(clean, predict, iterations=1).code
    assert code.isfinite().all()
    assert code.abs().max() < 1e4
