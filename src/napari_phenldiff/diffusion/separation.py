"""Measure how well the conditions are separated, by channel, by structure and together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Protocol

import numpy as np
import torch
from scipy.stats import norm, rankdata

from napari_phenldiff.diffusion.conditioning import describe, in_batches
from napari_phenldiff.diffusion.structure import describe_arrangement, describe_structure
from napari_phenldiff.images.wells import wells_in

_THRESHOLD, _DEVIATIONS = 0.7, 2.5
_CLEAR = 0.95
"""Separations above this count as equal to it when channels are compared."""
_CLEAR_STRUCTURE = 0.8
"""Wells of one condition separate by up to 0.79, so a smaller separation by structure is
unclear."""
_FEWEST_OF_WELL = 4
"""Fewest images of a well from which its background and foreground are estimated."""
_MOST_MIXED = 19
"""Ways in which wells of two conditions are mixed: as many as a p-value of 0.05 takes."""
_MANY_WAYS = 5000
"""More ways than this to mix wells are not listed; some are drawn."""
_MARGIN = 1.25
"""How many times as far apart (d') as mixed wells conditions have to be: of 3 and 3 wells there
are 9 mixtures, so a channel that does not differ has one chance in ten to be above all of them."""
_FOLDS, _REPEATS, _RIDGE = 5, 4, 0.25
_FEWEST = 8
"""Fewest images per condition; with fewer, the conditions are taken to be separated."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How well images of the conditions are separated.

    Each value is the area under the ROC curve of a cross-validated linear discriminant, from 0.5
    (not separated) to 1 (fully); with more than two conditions, that of the pair that is separated
    best.

    Attributes
    ----------
    channels : tuple of float
        By each channel alone; empty if the base mixes channels.
    together : float
        By all channels and their correlations.
    limit : float
        Smallest separation that counts, see `highest_without_phenotype`.
    structure : tuple of float
        By each channel without its brightness: by its structure or by the fraction of the field
        that it fills, whichever separates more. Empty if unknown.
    arrangement : float
        By the spatial correlation of channels, independent of their brightness.
    wells, wells_structure : tuple of float
        The highest of `channels` and of `structure` between two groups of wells in which both
        conditions are mixed; empty where wells are not known, or a condition has one only.
    """

    channels: tuple[float, ...] = ()
    together: float = 1.0
    limit: float = _THRESHOLD
    structure: tuple[float, ...] = ()
    arrangement: float = 0.5
    wells: tuple[float, ...] = ()
    wells_structure: tuple[float, ...] = ()

    @property
    def found(self) -> bool:
        """Whether anything separates the conditions."""
        return max((*self.channels, self.together)) >= self.limit

    @property
    def references(self) -> tuple[bool, ...]:
        """Whether each channel differs so little that it can be a reference.

        It does if it separates less than `limit`, or less than half as far as the best channel (in
        standard deviations, d'), which is 0.79 at most. The second rule is needed because wells
        differ in every channel, which 100 images of a few wells are enough to show. Where wells are
        known, a channel is a reference too if the conditions do not differ in it clearly more than
        mixed wells do, as in a permutation test by wells.
        """
        return self._differ_little(self.channels, self.wells)

    @property
    def brightness_alone(self) -> tuple[bool, ...]:
        """Whether each channel separates the conditions, but not by its structure.

        No channel does if neither structure nor arrangement separates clearly, since brightness is
        then the only phenotype. Nor does the channel whose structure separates most, since it
        carries the phenotype, if only by its position relative to another channel.
        """
        if not self.structure or self._by_structure < max(self.limit, _CLEAR_STRUCTURE):
            return (False,) * len(self.channels)
        carrier = int(np.argmax(self.structure))
        little = self._differ_little(self.structure, self.wells_structure)
        # Whether wells differ as much is asked of the structure only: a stain that is brighter in
        # one condition tells it to the network, if by chance.
        same = self._differ_little(self.channels)
        return tuple(little[k] and not same[k] and k != carrier for k in range(len(self.channels)))

    @property
    def only_brightness(self) -> bool:
        """Whether channels separate the conditions, but neither structure nor arrangement does."""
        return (
            bool(self.structure)
            and max(self.channels) >= self.limit
            and self._by_structure < self.limit
        )

    @property
    def _by_structure(self) -> float:
        return max(*self.structure, self.arrangement)

    def normalised(self, which: Sequence[bool]) -> Separation:
        """Return the separation after normalising the brightness of the channels in `which`."""
        if not any(which) or not self.structure:
            return self

        def counted(values: Sequence[float], structures: Sequence[float]) -> tuple[float, ...]:
            chosen = zip(values, structures, which, strict=True)
            return tuple(s if is_normalised else v for v, s, is_normalised in chosen)

        return replace(
            self,
            channels=counted(self.channels, self.structure),
            wells=counted(self.wells, self.wells_structure) if self.wells else (),
        )

    def _differ_little(
        self, values: Sequence[float], mixed: Sequence[float] = ()
    ) -> tuple[bool, ...]:
        best = min(max(values, default=0.5), _CLEAR)
        halfway = float(norm.cdf(norm.ppf(best) / 2))
        limits = [max(self.limit, halfway)] * len(values)
        if mixed:
            by_chance = (float(norm.cdf(_MARGIN * norm.ppf(min(x, _CLEAR)))) for x in mixed)
            limits = [max(pair) for pair in zip(limits, by_chance, strict=True)]
        return tuple(value < limit for value, limit in zip(values, limits, strict=True))


class Latents(Protocol):
    """Latents of the tiles of a condition."""

    def upright_part(self, first: int, last: int) -> torch.Tensor:
        """Return latent channels `first` to `last` ``(N, last - first, Y, X)`` of all tiles."""
        ...


def separation(
    latents: Sequence[Latents | torch.Tensor],
    images: Sequence[np.ndarray],
    *,
    coefficients: int,
    channels: int,
    wells: Sequence[np.ndarray] | None = None,
) -> Separation:
    """Measure how well each channel, and all channels together, separate the conditions.

    Parameters
    ----------
    latents : sequence of Latents or of torch.Tensor
        ``(N, L, Y, X)`` for each condition, of which a channel at a time is looked at.
    images : sequence of numpy.ndarray
        ``(N,)`` integers for each condition: the image that each tile was cut from. Tiles of one
        image stay in one fold, since otherwise its illumination could pass for a phenotype.
    coefficients : int
        Latent channels per image channel.
    channels : int
        Number of image channels; they are the first ones of the base.
    wells : sequence of numpy.ndarray, optional
        ``(N,)`` for each condition: the well of each tile. Gain and offset are then estimated per
        well, and otherwise per condition.
    """
    by_image = None
    if wells is not None:
        by_image = [_per_image(w[:, None], i)[:, 0] for w, i in zip(wells, images, strict=True)]

    def structure(channel: int) -> tuple[float, float]:
        part = channel * coefficients, (channel + 1) * coefficients
        described = [
            describe_structure(_part(z, *part), index, None if wells is None else wells[k])
            for k, (z, index) in enumerate(zip(latents, images, strict=True))
        ]
        return _best_pair([one.table() for one in described], by_image, _separation_by_structure)

    def arrangement(one: int, other: int) -> float:
        a, b = ((k * coefficients, (k + 1) * coefficients) for k in (one, other))
        described = [
            describe_arrangement(
                _part(z, *a), _part(z, *b), index, None if wells is None else wells[k]
            )
            for k, (z, index) in enumerate(zip(latents, images, strict=True))
        ]
        return max(_separation(*pair) for pair in combinations(described, 2))

    def best(first: int, last: int, wells: Sequence[np.ndarray] | None) -> tuple[float, float]:
        part = first * coefficients, last * coefficients
        described = [
            _per_image(_described(_part(z, *part), coefficients), index)
            for z, index in zip(latents, images, strict=True)
        ]
        return _best_pair(described, wells, _separation)

    alone = [best(channel, channel + 1, by_image) for channel in range(channels)]
    shapes = [structure(channel) for channel in range(channels)]
    mixed = not np.isnan([value for _, value in alone]).any()
    return Separation(
        tuple(value for value, _ in alone),
        best(0, channels, None)[0],
        highest_without_phenotype([len(np.unique(index)) for index in images]),
        tuple(value for value, _ in shapes),
        max((arrangement(*pair) for pair in combinations(range(channels), 2)), default=0.5),
        tuple(value for _, value in alone) if mixed else (),
        tuple(value for _, value in shapes) if mixed else (),
    )


def _best_pair(
    described: Sequence[np.ndarray],
    wells: Sequence[np.ndarray] | None,
    measure: Callable[[np.ndarray, np.ndarray], float],
) -> tuple[float, float]:
    """Return the separation of the pair that is separated best, and that of its mixed wells."""
    pairs = list(combinations(range(len(described)), 2))
    values = [measure(described[a], described[b]) for a, b in pairs]
    a, b = pairs[int(np.argmax(values))]
    if wells is None:
        return max(values), np.nan
    found = [
        measure(*two) for two in _mixed_wells((described[a], described[b]), (wells[a], wells[b]))
    ]
    return max(values), max(found, default=np.nan)


def _mixed_wells(
    described: tuple[np.ndarray, np.ndarray], wells: tuple[np.ndarray, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Exchange half of the wells of two conditions, in a few of the ways there are.

    Nothing is exchanged, and nothing given, if a condition has one well only.
    """
    names = [np.unique(own) for own in wells]
    n = min(len(own) for own in names) // 2
    if not n:
        return
    rng = np.random.default_rng(0)
    if math.prod(math.comb(len(own), n) for own in names) > _MANY_WAYS:
        ways = [
            tuple(rng.choice(own, n, replace=False) for own in names) for _ in range(_MOST_MIXED)
        ]
    else:
        all_ways = list(product(*(combinations(own, n) for own in names)))
        ways = [all_ways[k] for k in rng.permutation(len(all_ways))[:_MOST_MIXED]]
    for way in ways:
        gone = [np.isin(own, some) for own, some in zip(wells, way, strict=True)]
        (first, second), (here, there) = described, gone
        yield (
            np.concatenate([first[~here], second[there]]),
            np.concatenate([second[~there], first[here]]),
        )


def tile_wells(
    names: Sequence[Sequence[str]], images: Sequence[np.ndarray]
) -> list[np.ndarray] | None:
    """Return the well of each tile, if all image names contain one and wells have enough images.

    Parameters
    ----------
    names : sequence of sequence of str
        Names of the images of each condition.
    images : sequence of numpy.ndarray
        As for `separation`.

    Returns
    -------
    list of numpy.ndarray or None
        ``(N,)`` integers for each condition.
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
    """Return the separation below which a channel is taken not to differ.

    Parameters
    ----------
    sizes : sequence of int
        Number of images of each condition.

    Returns
    -------
    float
        0.7, or with few images the separation that chance exceeds in about one of a hundred
        experiments (2.5 standard deviations of the Mann-Whitney statistic above 0.5).
    """
    first, second = sorted(sizes)[:2]
    deviation = np.sqrt((first + second + 1) / (12 * first * second))
    return float(min(1.0, max(_THRESHOLD, 0.5 + _DEVIATIONS * deviation)))


def _part(latents: Latents | torch.Tensor, first: int, last: int) -> torch.Tensor:
    if isinstance(latents, torch.Tensor):
        return latents[:, first:last]
    return latents.upright_part(first, last)


def _described(latents: torch.Tensor, coefficients: int) -> np.ndarray:
    """Describe latents some at a time, since all at once take several times their memory."""
    parts = [describe(some, coefficients).double().cpu() for some in in_batches(latents)]
    return torch.cat(parts).numpy()


def _per_image(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.stack([values[index == k].mean(0) for k in np.unique(index)])


def _separation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cross-validated area under the ROC curve of a ridge-regularised discriminant."""
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
        # areas within folds, since scores of different folds have different offsets
        found.append(np.mean([_area(score[fold == k], y[fold == k]) for k in range(_FOLDS)]))
    return float(np.mean(found))


def _separation_by_structure(first: np.ndarray, second: np.ndarray) -> float:
    """Return the separation by rows of `Structure.table`: by shape, or by what is occupied."""
    shapes = (table[~np.isnan(table[:, 0]), :-1] for table in (first, second))
    by_shape = _separation(*shapes)
    return max(by_shape, _separation_by_one(first[:, -1], second[:, -1]))


def _separation_by_one(first: np.ndarray, second: np.ndarray) -> float:
    """Return the area under the ROC curve of one value per image, in either direction."""
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
