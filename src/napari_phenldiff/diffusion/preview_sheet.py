"""Preview sheets of a pre-training: generated images below real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler

from napari_phenldiff.diffusion.network import Networks
from napari_phenldiff.images.files import write_atomic

PREVIEW_IMAGES = 8
_STEPS = 20
_GAP = 2
# Colours of the channels: blue, green, red, then mixtures. Channels are added.
_COLORS = np.array(
    [(0.2, 0.45, 1), (0, 1, 0.1), (1, 0, 0.25), (1, 1, 0), (0, 1, 1), (1, 0, 1)], np.float32
)


@torch.no_grad()
def generate(networks: Networks, images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Generate images from noise, conditioned on the descriptors of other images.

    Parameters
    ----------
    networks : Networks
        The base.
    images : torch.Tensor
        ``(N, C, Y, X)`` in [-1, 1] that descriptors are taken from.
    noise : torch.Tensor
        ``(N, L, y, x)`` initial noise.

    Returns
    -------
    torch.Tensor
        ``(N, C, Y, X)``, not clipped.
    """
    encoder = networks.encoder
    clean = networks.autoencoder.encode(images)
    tokens = encoder(encoder.standardise(clean))
    # missing channels are given, as in the training
    absent = (images == -1).flatten(2).all(2).repeat_interleave(encoder.config.coefficients, 1)
    absent = absent[..., None, None]
    # a copy, because set_timesteps changes the scheduler
    scheduler = DDIMScheduler.from_config(networks.scheduler.config)
    scheduler.set_timesteps(_STEPS)
    latents = noise
    for t in scheduler.timesteps:
        latents = torch.where(absent, clean, latents)
        output = networks.unet(latents, t.to(noise.device), encoder_hidden_states=tokens).sample
        latents = scheduler.step(output, t, latents).prev_sample
    return networks.autoencoder.decode(torch.where(absent, clean, latents))


def write_sheet(path: Path, real: np.ndarray, generated: np.ndarray) -> None:
    """Write a PNG with real images, and below each the one generated from its descriptor.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    real, generated : numpy.ndarray
        ``(N, C, Y, X)`` in [-1, 1]; values outside are clipped. A single channel is shown in grey,
        several as a sum of colours.
    """
    from matplotlib.image import imsave

    rows = [np.concatenate([_in_colour(image) for image in row], 1) for row in (real, generated)]
    with write_atomic(path) as temporary:
        imsave(temporary, np.concatenate(rows), format="png")


def _in_colour(image: np.ndarray) -> np.ndarray:
    """Return an RGB image ``(Y, X, 3)`` uint8 with a dark border."""
    grey = np.clip((image + 1) / 2, 0, 1)
    colours = _COLORS[np.arange(len(grey)) % len(_COLORS)] if len(grey) > 1 else np.ones((1, 3))
    mixed = np.clip(np.einsum("cyx,cr->yxr", grey, colours), 0, 1)
    padded = np.pad(mixed, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)))
    return np.rint(padded * 255).astype(np.uint8)
