"""How well images of the conditions can be told apart: by a channel, by its structure, by all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from scipy.stats import norm, rankdata

from napari_phenldiff.diffusion.conditioning import describe
from napari_phenldiff.diffusion.structure import describe_arrangement, describe_structure
from napari_phenldiff.images.wells import wells_in

_THRESHOLD, _DEVIATIONS = 0.7, 2.5
_CLEAR = 0.95
"""A channel that separates better than this is no further ahead of the others."""
_CLEAR_STRUCTURE = 0.8
"""Wells separate by up to 0.79: with less structure than this, brightness may be the phenotype."""
_FEWEST_OF_WELL = 4
"""Images, to tell background and foreground of a well."""
_FOLDS, _REPEATS, _RIDGE = 5, 4, 0.25
_FEWEST = 8
"""Images per condition; with fewer nothing can be said, and no channel is given unasked."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How well images of the conditions can be told apart.

    Each is the area under the ROC curve of a cross-validated linear discriminant, of more than two
    conditions that of the pair that is separated best: 0.5 is not at all, 1 is fully.

    Attributes
    ----------
    channels : tuple of float
        By each channel alone; empty where the base mixes channels.
    together : float
        By all channels and how they correlate.
    limit : float
        What counts as separated, see `highest_without_phenotype`.
    structure : tuple of float
        By each channel without its brightness: by what its structure looks like, or by how much of
        the field it fills, whichever separates more. Empty where that is not known.
    arrangement : float
        By how channels lie together, whatever their brightness.
    """

    channels: tuple[float, ...] = ()
    together: float = 1.0
    limit: float = _THRESHOLD
    structure: tuple[float, ...] = ()
    arrangement: float = 0.5

    @property
    def found(self) -> bool:
        """Whether anything separates the conditions."""
        return max((*self.channels, self.together)) >= self.limit

    @property
    def references(self) -> tuple[bool, ...]:
        """Whether each channel differs so little that it can be a reference.

        One that separates less than `limit`, or less than half as far (in standard deviations, d')
        as the best one, at 0.79 at most: wells differ in every channel, and 100 images of few
        wells show it.
        """
        return self._differ_little(self.channels)

    @property
    def brightness_alone(self) -> tuple[bool, ...]:
        """Whether each channel separates the conditions, but not by its structure.

        Of no channel if neither structure nor arrangement separates clearly: the difference in
        brightness is all the phenotype there is then. Nor of the channel whose structure
        separates most: it carries the phenotype, if only in how it lies beside another one.
        """
        if not self.structure or self._by_structure < max(self.limit, _CLEAR_STRUCTURE):
            return (False,) * len(self.channels)
        carrier = int(np.argmax(self.structure))
        little = self._differ_little(self.structure)
        return tuple(
            little[k] and not self.references[k] and k != carrier for k in range(len(self.channels))
        )

    @property
    def only_brightness(self) -> bool:
        """Whether channels differ between the conditions, but nothing does by its structure."""
        return (
            bool(self.structure)
            and max(self.channels) >= self.limit
            and self._by_structure < self.limit
        )

    @property
    def _by_structure(self) -> float:
        return max(*self.structure, self.arrangement)

    def normalised(self, which: Sequence[bool]) -> Separation:
        """Return the separation once these channels are equally bright in all conditions."""
        values = (
            structure if is_normalised else value
            for value, structure, is_normalised in zip(
                self.channels, self.structure, which, strict=True
            )
        )
        return replace(self, channels=tuple(values)) if any(which) and self.structure else self

    def _differ_little(self, values: Sequence[float]) -> tuple[bool, ...]:
        best = min(max(values, default=0.5), _CLEAR)
        halfway = float(norm.cdf(norm.ppf(best) / 2))
        return tuple(value < max(self.limit, halfway) for value in values)


def separation(
    latents: Sequence[torch.Tensor],
    images: Sequence[np.ndarray],
    *,
    coefficients: int,
    channels: int,
    wells: Sequence[np.ndarray] | None = None,
) -> Separation:
    """Tell how well each channel alone, and all together, separate the conditions.

    Parameters
    ----------
    latents : sequence of torch.Tensor
        Per condition ``(N, L, Y, X)``: latents of tiles.
    images : sequence of numpy.ndarray
        Per condition ``(N,)`` integers: the image that each tile was cut from. Tiles of one image
        are never apart, or a microscope's illumination would pass for a phenotype.
    coefficients : int
        Latent channels per image channel.
    channels : int
        Image channels, the first of the base.
    wells : sequence of numpy.ndarray, optional
        Per condition ``(N,)``: the well of each tile. Gain and offset are those of a well then, and
        otherwise of a condition.
    """

    def structure(channel: int) -> float:
        part = slice(channel * coefficients, (channel + 1) * coefficients)
        described = [
            describe_structure(z[:, part], index, None if wells is None else wells[k])
            for k, (z, index) in enumerate(zip(latents, images, strict=True))
        ]
        return max(
            max(_separation(a.shape, b.shape), _separation_by_one(a.occupied, b.occupied))
            for a, b in combinations(described, 2)
        )

    def arrangement(one: int, other: int) -> float:
        a, b = (slice(k * coefficients, (k + 1) * coefficients) for k in (one, other))
        described = [
            describe_arrangement(z[:, a], z[:, b], index, None if wells is None else wells[k])
            for k, (z, index) in enumerate(zip(latents, images, strict=True))
        ]
        return max(_separation(*pair) for pair in combinations(described, 2))

    def best(first: int, last: int) -> float:
        part = slice(first * coefficients, last * coefficients)
        described = [
            _per_image(describe(z[:, part], coefficients).double().cpu().numpy(), index)
            for z, index in zip(latents, images, strict=True)
        ]
        return max(_separation(a, b) for a, b in combinations(described, 2))

    return Separation(
        tuple(best(channel, channel + 1) for channel in range(channels)),
        best(0, channels),
        highest_without_phenotype([len(np.unique(index)) for index in images]),
        tuple(structure(channel) for channel in range(channels)),
        max((arrangement(*pair) for pair in combinations(range(channels), 2)), default=0.5),
    )


def tile_wells(
    names: Sequence[Sequence[str]], images: Sequence[np.ndarray]
) -> list[np.ndarray] | None:
    """Name the well of each tile, if the names of all images tell one, with images enough.

    Parameters
    ----------
    names : sequence of sequence of str
        Per condition, the names of its images.
    images : sequence of numpy.ndarray
        As for `separation`.

    Returns
    -------
    list of numpy.ndarray or None
        Per condition ``(N,)`` integers.
    """
    by_condition = []
    for group, index in zip(names, images, strict=True):
        wells = wells_in(group)
        if wells is None:
            return None
        _, number, count = np.unique(wells, return_inverse=True, return_counts=True)
        if count.min() < _FEWEST_OF_WELL:
            return None
        by_condition.append(number[index])
    return by_condition


def highest_without_phenotype(sizes: Sequence[int]) -> float:
    """Largest separation of a reference channel.

    Parameters
    ----------
    sizes : sequence of int
        Images per condition.

    Returns
    -------
    float
        0.7, or with few images what chance does not exceed in all but about one of a hundred
        experiments (2.5 standard deviations of the Mann-Whitney statistic above 0.5).
    """
    first, second = sorted(sizes)[:2]
    deviation = np.sqrt((first + second + 1) / (12 * first * second))
    return float(min(1.0, max(_THRESHOLD, 0.5 + _DEVIATIONS * deviation)))


def _per_image(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.stack([values[index == k].mean(0) for k in np.unique(index)])


def _separation(first: np.ndarray, second: np.ndarray) -> float:
    """Area under the ROC curve of a ridge-regularised discriminant on images it has not seen."""
    if min(len(first), len(second)) < _FEWEST:
        return 1.0
    x = np.concatenate([first, second])
    y = np.repeat([0.0, 1.0], [len(first), len(second)])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_REPEATS):
        fold = np.empty(len(y), int)
        for members in (np.arange(len(first)), np.arange(len(first), len(y))):
            fold[rng.permutation(members)] = np.arange(len(members)) % _FOLDS
        score = np.zeros(len(y))
        for k in range(_FOLDS):
            seen = fold != k
            score[~seen] = _discriminant(x[seen], y[seen], x[~seen])
        # ranks within a fold: scores of different folds have different offsets
        found.append(np.mean([_area(score[fold == k], y[fold == k]) for k in range(_FOLDS)]))
    return float(np.mean(found))


def _separation_by_one(first: np.ndarray, second: np.ndarray) -> float:
    """Area under the ROC curve of one number per image, whichever way it differs."""
    if min(len(first), len(second)) < _FEWEST:
        return 1.0
    y = np.repeat([0.0, 1.0], [len(first), len(second)])
    area = _area(np.concatenate([first, second]), y)
    return max(area, 1 - area)


def _discriminant(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    mean, spread = x.mean(0), x.std(0) + 1e-3
    scaled = (x - mean) / spread
    ridge = _RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ (y - y.mean()))
    return np.asarray((unseen - mean) / spread @ weights)


def _area(score: np.ndarray, y: np.ndarray) -> float:
    n1 = int(y.sum())
    n0 = len(y) - n1
    return float((rankdata(score)[y == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
