"""Grey values of many images, for one threshold that is the same for all of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

# Whole numbers of 16 bit at most are counted, which takes no longer than looking at each once.
_MOST_LEVELS = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class GreyLevels:
    """Grey values and how often each of them occurs: all that a threshold depends on.

    Parameters
    ----------
    values : numpy.ndarray of shape (N,), float64
        Rising, each one once.
    counts : numpy.ndarray of shape (N,), float64
        More than 0. Broken where some of the pixels stand for all of them.
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, counts: np.ndarray | None = None) -> GreyLevels:
        """Count the values of an array of any shape, each as often as `counts` says."""
        values = np.ravel(values).astype(np.float64, copy=False)
        if counts is None:
            levels, numbers = np.unique(values, return_counts=True)
            return cls(levels, numbers.astype(np.float64))
        levels, places = np.unique(values, return_inverse=True)
        return cls(levels, np.bincount(places, np.ravel(counts), len(levels)).astype(np.float64))

    @classmethod
    def of_whole_numbers(cls, plane: np.ndarray, scale: float = 1.0) -> GreyLevels | None:
        """Count the levels of a detector, divided by `scale`.

        None if the plane holds no whole numbers, or of more than 16 bit.
        """
        if plane.dtype.kind not in "ui" or not plane.size:
            return None
        low, high = int(plane.min()), int(plane.max())
        if high - low >= _MOST_LEVELS:
            return None
        plane = plane.ravel()
        counts = np.bincount(plane if low >= 0 else plane.astype(np.int64) - low)
        found = np.flatnonzero(counts)
        first = min(low, 0)
        return cls((found + first) / scale, counts[found].astype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class PixelSample:
    """The grey values of an image, or of some of its pixels, drawn at random.

    The draw is one that the pixels alone decide: the same image gives the same sample, wherever
    and in whatever order images are looked at; a smaller sample is part of each larger one.

    Parameters
    ----------
    values : numpy.ndarray of shape (N,), float64
        In the order of the image while all are kept, else in the order of the draw.
    size : int
        Number of pixels of the image.
    counts : numpy.ndarray of shape (N,), float64, optional
        How often each value occurs, if they were counted. Such a sample is whole.
    """

    values: np.ndarray
    size: int
    counts: np.ndarray | None = None

    @classmethod
    def of(cls, values: np.ndarray | GreyLevels, fraction: float = 1.0) -> PixelSample:
        """Draw a sample from the pixels of an image, or take their counts."""
        if isinstance(values, GreyLevels):
            return cls(values.values, round(values.counts.sum()), values.counts)
        values = np.ascontiguousarray(values, dtype=np.float64).ravel()
        return cls(values, values.size).thinned(fraction)

    def thinned(self, fraction: float) -> PixelSample:
        """Return the sample that has this fraction of the image's pixels, if it is smaller."""
        kept = round(self.size * fraction)
        if self.counts is not None or kept >= self.values.size:
            return self
        values = self.values
        if values.size == self.size:
            # At random and not every n-th, which could always meet the same columns.
            rng = np.random.default_rng(zlib.crc32(values.tobytes()))
            values = values[rng.permutation(self.size)[:kept]]
        return PixelSample(values[:kept].copy(), self.size)


class PixelPool:
    """Grey values of many images for one threshold, in memory that does not grow with their number.

    Whole numbers are counted. Of other images every pixel is kept until the limit is reached;
    from then on a random half of each image, then a quarter, and so on, the same ones for the same
    images, each of which stands for as many more.

    Parameters
    ----------
    limit : int
        Largest number of pixels that is kept.
    """

    def __init__(self, limit: int = 2**23) -> None:
        self._limit = limit
        self._counted: list[PixelSample] = []
        self._count_of_counted = 0
        self._samples: list[PixelSample] = []
        self._count = 0
        self._fraction = 1.0

    @property
    def fraction(self) -> float:
        """The part of each image that is kept by now; it only falls."""
        return self._fraction

    def add(self, values: np.ndarray | GreyLevels | PixelSample) -> None:
        """Add the pixels of an image, or a sample of at least `fraction` of them."""
        sample = values if isinstance(values, PixelSample) else PixelSample.of(values)
        if sample.counts is not None:
            self._counted.append(sample)
            self._count_of_counted += sample.values.size
            if self._count_of_counted > _MOST_LEVELS:
                self._counted = [PixelSample.of(_together(self._counted))]
                # What is left of one detector is few; of many scales it may be more.
                self._count_of_counted = 0
            return
        sample = sample.thinned(self._fraction)
        self._samples.append(sample)
        self._count += sample.values.size
        while self._count > self._limit:
            self._fraction /= 2
            self._samples = [kept.thinned(self._fraction) for kept in self._samples]
            self._count = sum(kept.values.size for kept in self._samples)

    @property
    def levels(self) -> GreyLevels:
        """What was kept, counted, where a part of an image stands for all of it."""
        return _together([*self._counted, *self._samples])


def _together(samples: list[PixelSample]) -> GreyLevels:
    """Count the values of several samples."""
    values = [sample.values for sample in samples]
    counts = [
        sample.counts
        if sample.counts is not None
        else np.full(sample.values.size, sample.size / max(sample.values.size, 1))
        for sample in samples
    ]
    return GreyLevels.of(
        np.concatenate([np.empty(0), *values]), np.concatenate([np.empty(0), *counts])
    )
