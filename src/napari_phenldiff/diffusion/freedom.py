"""Freedom: replace a part of an image's code by noise, the finest frequencies first.

The code of a deterministic inversion is not pure noise. It still holds structures of the image,
which are generated again under any tokens (the map from images to codes is close to optimal
transport: Khrulkov and Oseledets 2022, *Understanding DDPM latent codes through optimal
transport*). A filament in the code remains a filament. For a structure to change into another one,
the part of the code that holds it has to be replaced by noise, while the part that holds the layout
is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_phenldiff.diffusion.autoencoder import frequencies

_SOFT = 1.0
"""Width of the transition from kept to replaced frequencies, in units of frequency."""


def noise_shares(latent_channels: int, coefficients: int | None, freedom: float) -> torch.Tensor:
    """Return the fraction of noise in the code of each latent channel.

    Parameters
    ----------
    latent_channels : int
        Number of channels of the latents.
    coefficients : int or None
        Latent channels per image channel, lowest frequencies first; None if the autoencoder does
        not separate frequencies.
    freedom : float
        In [0, 1].

    Returns
    -------
    torch.Tensor
        ``(latent_channels,)`` float32 in [0, 1]: 0 at freedom 0, 1 at freedom 1. In between,
        higher frequencies are replaced before lower ones; without `coefficients` all channels
        have the same fraction.
    """
    if coefficients is None:
        return torch.full((latent_channels,), float(freedom))
    radius = torch.from_numpy(frequencies(coefficients)).float()
    limit = (1 - freedom) * (float(radius.max()) + _SOFT) - _SOFT
    share = ((radius - limit) / _SOFT).clamp(0, 1)
    return share.repeat(latent_channels // coefficients)


def mix_in_noise(code: torch.Tensor, noise: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Mix a code ``(N, L, Y, X)`` with noise of the same shape, preserving the variance.

    `shares` ``(L,)`` is the fraction of noise in each channel.
    """
    part = shares.to(code).view(1, -1, 1, 1)
    return (1 - part.square()).clamp_min(0).sqrt() * code + part * noise.to(code)


def field_noise(
    origins: Sequence[tuple[int, int]],
    shape: tuple[int, int, int],
    *,
    factor: int,
    seed: int,
) -> torch.Tensor:
    """Draw noise for the tiles of one field; overlapping tiles share it where they overlap.

    Parameters
    ----------
    origins : sequence of (int, int)
        Upper left corner (y, x) of each tile in the field, in pixels.
    shape : tuple of int
        ``(L, y, x)`` of a tile's latents.
    factor : int
        Pixels per latent along one axis.
    seed : int
        Equal seeds give equal noise at equal positions of a field, independent of the batch.

    Returns
    -------
    torch.Tensor
        ``(N, L, y, x)`` float32, standard normal.
    """
    return FieldNoise(origins, shape, factor=factor, seed=seed).tiles(0, len(origins))


class FieldNoise:
    """Noise for the tiles of one field, some at a time; parameters as of `field_noise`."""

    def __init__(
        self,
        origins: Sequence[tuple[int, int]],
        shape: tuple[int, int, int],
        *,
        factor: int,
        seed: int,
    ) -> None:
        self._shape = shape
        self._places = np.array(origins).reshape(-1, 2) // factor
        height, width = (int(n) for n in self._places.max(0) + shape[1:])
        # drawn row by row, so that a wider field begins with the noise of a narrower one
        whole = np.empty((height, width, shape[0]), np.float32)
        for row in range(height):
            rng = np.random.default_rng([seed, row])
            whole[row] = rng.standard_normal((width, shape[0]), np.float32)
        self._whole = torch.from_numpy(whole).permute(2, 0, 1)

    def tiles(self, first: int, last: int) -> torch.Tensor:
        """Return the noise ``(n, L, y, x)`` of tiles `first` to `last`, without the last."""
        _, height, width = self._shape
        return torch.stack(
            [
                self._whole[:, y : y + height, x : x + width]
                for y, x in self._places[first:last].tolist()
            ]
        )


def code_statistics(
    code: torch.Tensor, clean: torch.Tensor, given: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Measure how much of an image its code still holds.

    Parameters
    ----------
    code, clean : torch.Tensor
        ``(N, L, Y, X)``.
    given : torch.Tensor
        Bool, broadcastable to the shape of `clean`: given latents, which have no code.

    Returns
    -------
    correlation, spread : torch.Tensor
        ``(N,)``: Pearson correlation of code and clean latents, and standard deviation of the code;
        about 0 and 1 for pure noise. NaN if all latents are given.
    """
    asked = ~given.expand_as(clean)
    found = [
        (_correlation(z[mask], x[mask]), z[mask].std())
        for z, x, mask in zip(code.float(), clean.float(), asked, strict=True)
    ]
    correlation, spread = (torch.stack(values) for values in zip(*found, strict=True))
    return correlation.cpu(), spread.cpu()


def _correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / (a.norm() * b.norm())
