"""Pixels of many images, for one threshold that is the same for all of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class PixelSample:
    """Some of the pixels of an image, drawn at random, in a draw that the pixels alone decide.

    The same image gives the same sample, wherever and in whatever order images are looked at; a
    smaller sample is part of each larger one.

    Parameters
    ----------
    values : numpy.ndarray of shape (N,), float64
        In the order of the image while all are kept, else in the order of the draw.
    size : int
        Number of pixels of the image.
    """

    values: np.ndarray
    size: int

    @classmethod
    def of(cls, values: np.ndarray, fraction: float = 1.0) -> PixelSample:
        """Draw a sample from the pixels of an image, an array of any shape."""
        values = np.ascontiguousarray(values, dtype=np.float64).ravel()
        return cls(values, values.size).thinned(fraction)

    def thinned(self, fraction: float) -> PixelSample:
        """Return the sample that has this fraction of the image's pixels, if it is smaller."""
        kept = round(self.size * fraction)
        if kept >= self.values.size:
            return self
        values = self.values
        if values.size == self.size:
            # At random and not every n-th, which could always meet the same columns.
            rng = np.random.default_rng(zlib.crc32(values.tobytes()))
            values = values[rng.permutation(self.size)[:kept]]
        return PixelSample(values[:kept].copy(), self.size)


class PixelPool:
    """Pixels of many images for one threshold, in memory that does not grow with their number.

    Every pixel is kept until the limit is reached; from then on a random half of each image, then
    a quarter, and so on, the same ones for the same images.

    Parameters
    ----------
    limit : int
        Largest number of pixels that is kept.
    """

    def __init__(self, limit: int = 2**23) -> None:
        self._limit = limit
        self._samples: list[PixelSample] = []
        self._count = 0
        self._fraction = 1.0

    @property
    def fraction(self) -> float:
        """The part of each image that is kept by now; it only falls."""
        return self._fraction

    def add(self, values: np.ndarray | PixelSample) -> None:
        """Add the pixels of an image, an array of any shape, or a sample of at least `fraction`."""
        sample = values if isinstance(values, PixelSample) else PixelSample.of(values)
        sample = sample.thinned(self._fraction)
        self._samples.append(sample)
        self._count += sample.values.size
        while self._count > self._limit:
            self._fraction /= 2
            self._samples = [kept.thinned(self._fraction) for kept in self._samples]
            self._count = sum(kept.values.size for kept in self._samples)

    @property
    def values(self) -> np.ndarray:
        """The pixels that were kept, one-dimensional, float64."""
        return np.concatenate([np.empty(0), *(sample.values for sample in self._samples)])
