"""Sample images of a condition from noise.

Sampling is not part of a translation. It is used to evaluate a model: how close its images are to
real ones, whether it repeats its training images, and whether two models agree (paper, sections 4.2
and 4.4).
"""

from __future__ import annotations

import numpy as np
import torch

from napari_phenldiff.diffusion.references import given_latents
from napari_phenldiff.diffusion.schedule import Schedule
from napari_phenldiff.diffusion.streams import stream
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError


def sample(
    translator: Translator,
    condition: str,
    n: int,
    *,
    seed: int,
    inference_steps: int = 50,
    guidance: float = 1.0,
    batch_size: int = 16,
) -> np.ndarray:
    """Generate images of a condition by deterministic DDIM from seeded noise.

    Parameters
    ----------
    translator : Translator
        A fine-tuned model.
    condition : str
        A condition that it was trained on.
    n : int
        Number of images.
    seed : int
        Seed of the noise. Every image has its own stream, so image `i` starts from the same noise
        whatever `n`, `batch_size` and device, and in every model with latents of the same shape.
    inference_steps : int
        Steps over the whole noise schedule.
    guidance : float
        Classifier-free guidance scale, away from the null tokens; 1 is no guidance.
    batch_size : int
        Images that go through the network at once.

    Returns
    -------
    numpy.ndarray
        ``(n, C, tile, tile)`` float32 in [-1, 1], with the channels of the run, in the native size
        of the base. ``translator.scaling.of(condition).invert`` converts them to grey values.

    Raises
    ------
    InputError
        If the condition was not trained, or the number of steps cannot be used.
    """
    base, tokens = translator.base, translator.tokens
    if condition not in tokens.conditions:
        raise InputError(
            f"The run knows no condition {condition!r}; it was trained on "
            f"{', '.join(tokens.conditions)}."
        )
    schedule = Schedule.from_alphas(
        base.alphas_cumprod, base.prediction_type, steps=inference_steps
    )
    wanted = tokens.mixed(condition, condition, 0.0)
    # reference channels are sampled like the others; only missing channels are given
    channels = len(translator.channel_names)
    missing = given_latents(base, translator.channel_names)
    black = base.encode(np.full((1, channels, base.tile, base.tile), -1, np.float32))

    def predict(x: torch.Tensor, t: int) -> torch.Tensor:
        if guidance == 1:
            return translator.evaluate(x, t, wanted, clean=black, given=missing)[0]
        away, towards = translator.evaluate(x, t, tokens.null, wanted, clean=black, given=missing)
        return away + guidance * (towards - away)

    side = base.tile // base.factor
    shape = (base.autoencoder.latent_channels, side, side)
    images = np.empty((n, channels, base.tile, base.tile), np.float32)
    for start in range(0, n, batch_size):
        noise = [_noise(seed, i, shape) for i in range(start, min(start + batch_size, n))]
        latents = schedule.generate(torch.stack(noise).to(base.device), predict)
        images[start : start + len(noise)] = base.decode(latents, channels)
    return images


def _noise(seed: int, number: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw the standard normal noise of one image on the CPU, so that it is the same everywhere."""
    return torch.randn(shape, generator=stream(seed, number))
