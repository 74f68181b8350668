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
    z = latents.double().cpu().numpy()
    groups = np.zeros(len(z), int) if groups is None else groups
    light = np.empty_like(z)
    for group in np.unique(groups):
        part = groups == group
        light[part] = _in_units_of_light(z[part])
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


def _in_units_of_light(z: np.ndarray) -> np.ndarray:
    """Subtract the background from the local mean, and divide all by the contrast."""
    found = levels_of(z[:, 0])
    scaled = z.copy()
    scaled[:, 0] -= found.background
    return scaled / max(found.contrast, 1e-6)
