"""What a channel shows apart from its brightness: structure, and how much of the field it fills.

A stain of another day is brighter or dimmer all over; fewer cells leave more of the field dark.
What the cells look like is in neither. So structure is described by ratios in which gain and offset
of the channel cancel, and the number of cells nearly so: the energy of each spatial frequency over
that of the local mean, weighted with light.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from napari_phenldiff.images.brightness import levels_of

_LAGS = (1, 2, 4)
"""In latent pixels: how far apart places are that are alike, the size of objects."""
_FLOOR, _LAG_FLOOR = 1e-3, 1e-2
_FAINT = 1e-2
"""Of the spread of the local mean: what varies less is noise, and correlates with nothing."""
_EMPTY = 0.05
"""An image with so much less light than the others shows no structure."""


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One channel of the images of one condition.

    Attributes
    ----------
    shape : numpy.ndarray of shape (M, D)
        What structure looks like, of the images that have any.
    occupied : numpy.ndarray of shape (N,)
        Fraction of each image that is brighter than half the foreground: more with more cells.
    """

    shape: np.ndarray
    occupied: np.ndarray


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
        ``(N,)``: which tiles share a gain and an offset, for example those of one well. By
        default all.

    Returns
    -------
    Structure
        Of images, in the order of their numbers.
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
    known = sums[total > _EMPTY * np.median(total)]
    first, second, third, finer = known[:, :1], known[:, 1:2], known[:, 2:3], known[:, 3:]
    ratios = finer / first
    floor = np.full(ratios.shape[1], _FLOOR)
    floor[-len(_LAGS) :] = _LAG_FLOOR
    shape = np.log(np.concatenate([ratios + floor, third * second / first**2], 1))
    return Structure(shape, occupied)


def describe_arrangement(
    first: torch.Tensor,
    second: torch.Tensor,
    images: np.ndarray,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Describe how two channels of one condition lie together, whatever their brightness.

    Parameters
    ----------
    first, second : torch.Tensor
        ``(N, coefficients, Y, X)`` of tiles, as in `describe_structure`.
    images, groups : numpy.ndarray
        As in `describe_structure`.

    Returns
    -------
    numpy.ndarray of shape (images, coefficients)
        Their correlation at each spatial frequency where there is light in either.
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
    """Tell how noisy a channel is where it is dark.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, coefficients, Y, X)`` of tiles, as in `describe_structure`.

    Returns
    -------
    torch.Tensor of shape (coefficients,)
        Standard deviation of each coefficient in the darkest quarter of each tile, robust against
        what is faint there; median over tiles.
    """
    z = latents.float().flatten(2)
    mean = z[:, :1]
    dark = (mean <= mean.quantile(0.25, dim=-1, keepdim=True)).expand_as(z)
    inside = z.masked_fill(~dark, float("nan"))
    centred = (inside - inside.nanmedian(-1, keepdim=True).values).abs()
    return centred.nanmedian(-1).values.median(0).values * 1.4826


def _light(latents: torch.Tensor, groups: np.ndarray | None) -> np.ndarray:
    """Take out gain and offset of each group of tiles."""
    z = latents.double().cpu().numpy()
    groups = np.zeros(len(z), int) if groups is None else groups
    light = np.empty_like(z)
    for group in np.unique(groups):
        part = groups == group
        light[part] = _in_units_of_light(z[part])
    return light


def _in_units_of_light(z: np.ndarray) -> np.ndarray:
    """Subtract the background from the local mean, and divide all by the contrast."""
    found = levels_of(z[:, 0])
    scaled = z.copy()
    scaled[:, 0] -= found.background
    return scaled / max(found.contrast, 1e-6)
