"""Images that a base makes while it is being trained, beside real ones."""

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
# Of the channels, one after the other: blue, green, red, then mixtures. They are added up.
_COLORS = np.array(
    [(0.2, 0.45, 1), (0, 1, 0.1), (1, 0, 0.25), (1, 1, 0), (0, 1, 1), (1, 0, 1)], np.float32
)


@torch.no_grad()
def generate(networks: Networks, images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Make images from noise, being told the descriptors of others.

    Parameters
    ----------
    networks : Networks
        The base.
    images : torch.Tensor
        ``(N, C, Y, X)`` in [-1, 1] whose descriptors are told.
    noise : torch.Tensor
        ``(N, L, y, x)`` to start from.

    Returns
    -------
    torch.Tensor
        ``(N, C, Y, X)``, not clipped.
    """
    encoder = networks.encoder
    clean = networks.autoencoder.encode(images)
    tokens = encoder(encoder.standardise(clean))
    # as in the training: channels that an image does not have are given
    absent = (images == -1).flatten(2).all(2).repeat_interleave(encoder.config.coefficients, 1)
    absent = absent[..., None, None]
    # a copy: a scheduler keeps the steps it was asked for
    scheduler = DDIMScheduler.from_config(networks.scheduler.config)
    scheduler.set_timesteps(_STEPS)
    latents = noise
    for t in scheduler.timesteps:
        latents = torch.where(absent, clean, latents)
        output = networks.unet(latents, t.to(noise.device), encoder_hidden_states=tokens).sample
        latents = scheduler.step(output, t, latents).prev_sample
    return networks.autoencoder.decode(torch.where(absent, clean, latents))


def write_sheet(path: Path, real: np.ndarray, generated: np.ndarray) -> None:
    """Write real images, and below each the one made under its descriptor, as PNG.

    Parameters
    ----------
    path : pathlib.Path
        File to write.
    real, generated : numpy.ndarray
        ``(N, C, Y, X)`` in [-1, 1]; what lies outside is clipped. One channel is shown grey,
        several in colours that add up.
    """
    from matplotlib.image import imsave

    rows = [np.concatenate([_in_colour(image) for image in row], 1) for row in (real, generated)]
    with write_atomic(path) as temporary:
        imsave(temporary, np.concatenate(rows), format="png")


def _in_colour(image: np.ndarray) -> np.ndarray:
    """``(Y, X, 3)`` uint8, with a dark border."""
    grey = np.clip((image + 1) / 2, 0, 1)
    colours = _COLORS[np.arange(len(grey)) % len(_COLORS)] if len(grey) > 1 else np.ones((1, 3))
    mixed = np.clip(np.einsum("cyx,cr->yxr", grey, colours), 0, 1)
    padded = np.pad(mixed, ((_GAP, _GAP), (_GAP, _GAP), (0, 0)))
    return np.rint(padded * 255).astype(np.uint8)
