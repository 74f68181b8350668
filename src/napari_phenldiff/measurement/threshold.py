"""Where foreground begins.

Thresholds are found and applied as in CellProfiler: the same methods, options of the same names,
the same results (``tests/measurement/test_cellprofiler.py`` holds them to it).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

ThresholdMethod = Literal["otsu", "otsu3", "minimum-cross-entropy", "robust-background"]

# The diameter that holds half of the weight of a one-dimensional Gaussian, in standard
# deviations: how CellProfiler turns its smoothing scale into a sigma.
_HALF_WEIGHT = 2 * 0.6744


class Settings(BaseModel):
    """Base of all settings of measurements: immutable, and nothing unknown is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ThresholdSettings(Settings):
    """How the grey value is found that parts foreground from background.

    Attributes
    ----------
    method : {"otsu", "otsu3", "minimum-cross-entropy", "robust-background"} or float
        ``otsu3`` has three classes, of which the middle one counts as foreground.
        ``robust-background`` is the mean of the pixels between the 5th and 95th percentile plus
        two standard deviations. A number is the threshold itself, in units of the grey values
        divided by `scale`.
    scope : {"experiment", "image"}
        One threshold for all images of an experiment, or one for each. Conditions can be
        compared with the first; the second follows changes of staining and exposure, and hides
        them.
    scale : float
        The grey values are divided by it beforehand, as CellProfiler does on loading (255 for
        8 bit, 65535 for 16 bit).
    log_transform : bool
        Look for the threshold in the logarithm of the grey values.
    smoothing : float
        Diameter in pixels that holds half of the weight of the Gaussian which smooths the image
        before the threshold is applied. The threshold itself comes from the unsmoothed image. 0
        is off; 1.3488 is a sigma of one pixel.
    """

    method: ThresholdMethod | FiniteFloat = "otsu"
    scope: Literal["experiment", "image"] = "experiment"
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    log_transform: bool = False
    smoothing: float = Field(default=0.0, ge=0, allow_inf_nan=False)


def fit_threshold(values: np.ndarray, settings: ThresholdSettings) -> float:
    """Find the threshold between background and foreground.

    Parameters
    ----------
    values : numpy.ndarray of any shape
        Finite grey values that were divided by the scale: an image as `prepare` gives it, or
        the pixels of many.
    settings : ThresholdSettings
        Its `method` and `log_transform` are used.

    Returns
    -------
    float
        Values equal to or above it are foreground. NaN if there is none: constant values, too
        few different ones for the method, or a logarithm of values that are not positive.
    """
    if isinstance(settings.method, float | int):
        return float(settings.method)
    values = np.ravel(values).astype(np.float64, copy=False)
    if not values.size or values.min() == values.max():
        return math.nan
    if not settings.log_transform:
        return _fit(values, settings.method)

    # CellProfiler's way: the lowest 1/256 of the range is one value, since the noise near zero
    # would otherwise fill most of the logarithm's range; then stretched to 0..1.
    low, high = values.min(), values.max()
    floor = low + (high - low) / 256 + np.finfo(np.float64).eps
    if floor <= 0:
        return math.nan
    logs = np.log(np.maximum(values, floor))
    log_low, log_high = logs.min(), logs.max()
    fitted = _fit((logs - log_low) / (log_high - log_low), settings.method)
    return float(np.exp(log_low + fitted * (log_high - log_low)))


def _fit(values: np.ndarray, method: ThresholdMethod) -> float:
    """Apply one of the methods to one-dimensional values, not all of them equal."""
    from skimage import filters

    if method == "otsu":
        return float(filters.threshold_otsu(values))
    if method == "otsu3":
        try:
            return float(filters.threshold_multiotsu(values, classes=3, nbins=128)[0])
        except ValueError:  # fewer than three filled bins
            return math.nan
    if method == "minimum-cross-entropy":
        # CellProfiler's tolerance, with which the iteration stops: half the smallest step
        # between grey values, but no finer than half a step of 16 bit.
        tolerance = max(float(np.diff(np.unique(values)).min()) / 2, 0.5 / 65536)
        return float(filters.threshold_li(values, tolerance=tolerance))
    cut = round(values.size * 0.05)
    inner = np.sort(values)[cut : values.size - cut]
    return float(inner.mean() + 2 * inner.std())


def foreground(prepared: np.ndarray, threshold: float, smoothing: float = 0.0) -> np.ndarray:
    """Pixels that reach a threshold.

    Parameters
    ----------
    prepared : numpy.ndarray of shape (Y, X), float64
        As `prepare` gives it.
    threshold : float
        In the same units.
    smoothing : float
        As in `ThresholdSettings`.

    Returns
    -------
    numpy.ndarray of shape (Y, X), bool
    """
    return smoothed(prepared, smoothing) >= threshold


def smoothed(prepared: np.ndarray, smoothing: float) -> np.ndarray:
    """Smooth an image with a Gaussian that takes nothing from beyond the edges.

    Parameters
    ----------
    prepared : numpy.ndarray of shape (Y, X), float64
    smoothing : float
        As in `ThresholdSettings`; 0 returns the image itself.

    Returns
    -------
    numpy.ndarray of shape (Y, X), float64
    """
    if not smoothing:
        return prepared
    from scipy import ndimage as ndi

    sigma = smoothing / _HALF_WEIGHT
    weight = ndi.gaussian_filter(np.ones_like(prepared), sigma, mode="constant")
    return ndi.gaussian_filter(prepared, sigma, mode="constant") / weight


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
