"""Describe a channel by its structure and by the fraction of the field it fills.

Staining changes the brightness of a channel as a whole, and the number of cells changes the
fraction of the field that is bright; neither changes what cells look like. So structure is
described by ratios in which gain and offset cancel, and the number of cells nearly cancels: the
energy of each spatial frequency over that of the local mean, weighted by intensity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from napari_phenldiff.images.brightness import levels_of

_LAGS = (1, 2, 4)
"""Distances in latent pixels at which the autocorrelation is taken; it reflects object size."""
_FLOOR, _LAG_FLOOR = 1e-3, 1e-2
_FAINT = 1e-2
"""Fraction of the spread of the local mean; frequencies that vary less count as noise."""
_EMPTY = 0.05
"""Images with less than this fraction of the median energy are left out as empty."""


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """Structure of one channel in the images of one condition.

    Attributes
    ----------
    shape : numpy.ndarray of shape (M, D)
        Descriptors of the images that are not empty.
    occupied : numpy.ndarray of shape (N,)
        Fraction of each image that is brighter than half the foreground; it grows with the number
        of cells.
    known : numpy.ndarray of shape (N,), bool
        Which images are not empty.
    """

    shape: np.ndarray
    occupied: np.ndarray
    known: np.ndarray

    def table(self) -> np.ndarray:
        """Return ``(N, D + 1)``: shape, NaN for empty images, and the fraction occupied."""
        table = np.full((len(self.occupied), self.shape.shape[1] + 1), np.nan)
        table[self.known, :-1] = self.shape
        table[:, -1] = self.occupied
        return table


def describe_structure(
    latents: torch.Tensor, images: np.ndarray, groups: np.ndarray | None = None
) -> Structure:
    """Describe one channel of one condition.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, coefficients, Y, X)`` of tiles; the first coefficient is the local mean.
    images : numpy.ndarray
        ``(N,)`` integers: the image that each tile was cut from.
    groups : numpy.ndarray, optional
        ``(N,)``: groups of tiles that share a gain and an offset, such as wells. By default all
        tiles are one group.

    Returns
    -------
    Structure
        One row per image, in the order of the image numbers.
    """
    light = _light(latents, groups)
    mean = light[:, 0].clip(min=0)
    weight = mean.clip(max=1)

    def energy(values: np.ndarray) -> np.ndarray:
        return np.asarray(values.sum((-2, -1)))

    columns = [
        energy(mean**2 * weight),
        energy(mean * weight),
        energy(mean**3 * weight),
        *energy(light[:, 1:] ** 2 * weight[:, None]).T,
        *(
            energy(mean[:, lag:] * mean[:, :-lag]) + energy(mean[..., lag:] * mean[..., :-lag])
            for lag in _LAGS
        ),
    ]
    numbers = np.unique(images)
    sums = np.stack([np.stack(columns, 1)[images == n].sum(0) for n in numbers])
    occupied = np.array([(mean[images == n] > 0.5).mean() for n in numbers])
    total = sums[:, 0]
    known = total > _EMPTY * np.median(total)
    told = sums[known]
    first, second, third, finer = told[:, :1], told[:, 1:2], told[:, 2:3], told[:, 3:]
    ratios = finer / first
    floor = np.full(ratios.shape[1], _FLOOR)
    floor[-len(_LAGS) :] = _LAG_FLOOR
    shape = np.log(np.concatenate([ratios + floor, third * second / first**2], 1))
    return Structure(shape, occupied, known)


def describe_arrangement(
    first: torch.Tensor,
    second: torch.Tensor,
    images: np.ndarray,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Describe the spatial correlation of two channels, independent of their brightness.

    Parameters
    ----------
    first, second : torch.Tensor
        ``(N, coefficients, Y, X)`` of tiles, as in `describe_structure`.
    images, groups : numpy.ndarray
        As in `describe_structure`.

    Returns
    -------
    numpy.ndarray of shape (images, coefficients)
        Correlation at each spatial frequency, weighted by the brighter of the two channels.
    """
    a, b = _light(first, groups), _light(second, groups)
    weight = np.maximum(a[:, :1], b[:, :1]).clip(0, 1)
    total = weight.sum((-2, -1), keepdims=True) + 1e-9
    a, b = (x - (weight * x).sum((-2, -1), keepdims=True) / total for x in (a, b))
    moments = np.stack([(weight * product).sum((-2, -1)) for product in (a * b, a * a, b * b)])
    shared, one, other = (
        np.stack([moment[images == n].sum(0) for n in np.unique(images)]) for moment in moments
    )
    spread = np.sqrt(one * other)
    spread += _FAINT * spread[:, :1]
    return np.divide(shared, spread, out=np.zeros_like(shared), where=spread > 0)


def dark_noise(latents: torch.Tensor) -> torch.Tensor:
    """Estimate the noise of a channel in its dark regions.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, coefficients, Y, X)`` of tiles, as in `describe_structure`.

    Returns
    -------
    torch.Tensor of shape (coefficients,)
        Robust standard deviation of each coefficient in the darkest quarter of each tile; median
        over tiles.
    """
    z = latents.float().flatten(2)
    mean = z[:, :1]
    dark = (mean <= mean.quantile(0.25, dim=-1, keepdim=True)).expand_as(z)
    inside = z.masked_fill(~dark, float("nan"))
    centred = (inside - inside.nanmedian(-1, keepdim=True).values).abs()
    return centred.nanmedian(-1).values.median(0).values * 1.4826


def _light(latents: torch.Tensor, groups: np.ndarray | None) -> np.ndarray:
    """Remove gain and offset of each group of tiles."""
    z = latents.double().cpu().numpy()
    groups = np.zeros(len(z), int) if groups is None else groups
    light = np.empty_like(z)
    for group in np.unique(groups):
        part = groups == group
        light[part] = _in_units_of_light(z[part])
    return light


def _in_units_of_light(z: np.ndarray) -> np.ndarray:
    """Subtract the background from the local mean, and divide all coefficients by the contrast."""
    found = levels_of(z[:, 0])
    scaled = z.copy()
    scaled[:, 0] -= found.background
    return scaled / max(found.contrast, 1e-6)
