"""Thresholds between background and foreground, found and applied as CellProfiler does.

The methods, the names of their options and the results are those of CellProfiler
(``tests/measurement/segmentation/test_parity.py`` compares them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat

from napari_phenldiff.errors import InputError
from napari_phenldiff.settings import SETTINGS, Shown

# So small a part of the pixels should not decide a threshold.
_FEW = 1e-4
# Times the range of the other pixels: only then are these looked at.
_LONG_TAIL = 1.2
# Part of the threshold, above the lowest value, by which another one is told.
_DIFFERENT = 0.1

# Integers of up to 16 bit are counted in a histogram, in one pass over the pixels.
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


# The diameter that holds half of the weight of a one-dimensional Gaussian, in standard
# deviations: how CellProfiler turns its smoothing scale into a sigma.
HALF_WEIGHT = 2 * 0.6744


class Settings(BaseModel):
    """Base of all settings of measurements: immutable, and unknown settings are refused."""

    model_config = SETTINGS


class ThresholdSettings(Settings):
    """How the grey value that separates foreground from background is found."""

    method: ThresholdMethod | FiniteFloat = "otsu"
    """How the threshold is found. ``otsu3`` has three classes, of which the middle one counts as
    foreground. ``robust-background`` is the mean of the pixels between the 5th and 95th percentile
    plus two standard deviations. A number is the threshold itself, in units of the grey values
    divided by the scale."""

    scope: Literal["experiment", "image"] = "experiment"
    """One threshold for all images of an experiment, or one for each. Conditions can be compared
    with the first; the second follows changes of staining and exposure, and hides them."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The grey values are divided by it beforehand, as CellProfiler does on loading (255 for 8 bit,
    65535 for 16 bit)."""

    log_transform: bool = False
    """Look for the threshold in the logarithm of the grey values."""

    smoothing: Annotated[float, Field(ge=0, allow_inf_nan=False), Shown(unit="px")] = 0.0
    """Diameter in pixels that holds half of the weight of the Gaussian which smooths the image
    before the threshold is applied. The threshold itself comes from the unsmoothed image. 0 is off;
    1.3488 is a sigma of one pixel."""

    adaptive_window: Annotated[int, Field(ge=0), Shown(unit="px")] = 0
    """The threshold follows what varies over more than this many pixels: it is found in windows of
    about this side, blended between them, and held between 0.7 and 1.5 times the threshold of the
    image or experiment, as CellProfiler's adaptive strategy does. 0 is off, and it is not used
    where the threshold is a number."""


def fit_threshold(values: np.ndarray | GreyLevels, settings: ThresholdSettings) -> float:
    """Find the threshold between background and foreground.

    Parameters
    ----------
    values : numpy.ndarray of any shape, or GreyLevels
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
    counts = values.counts if isinstance(values, GreyLevels) else None
    values = values.values if isinstance(values, GreyLevels) else values
    values = np.ravel(values).astype(np.float64, copy=False)
    if not values.size or values.min() == values.max():
        return math.nan
    if not settings.log_transform:
        return find(values, counts, settings.method)

    stretched = logarithm(values)
    if stretched is None:
        return math.nan
    logs, bounds = stretched
    return float(from_logarithm(find(logs, counts, settings.method), bounds))


@dataclass(frozen=True, slots=True)
class FewPixels:
    """The brightest pixels, if so few of them decide a threshold.

    Parameters
    ----------
    number, of : int
        How many they are, and of how many pixels.
    found, without : float
        The threshold, and what it would be if they were as bright as the brightest of the others.
    """

    number: int
    of: int
    found: float
    without: float


def decided_by_few(
    values: np.ndarray | GreyLevels, settings: ThresholdSettings, found: float
) -> FewPixels | None:
    """Tell whether a ten-thousandth of the pixels decides a threshold, such as one hot pixel.

    Most methods divide the range of the values into equal bins, of which few are left for all
    other pixels where a single one is far brighter.

    Parameters
    ----------
    values, settings
        As for `fit_threshold`.
    found : float
        What it gave.

    Returns
    -------
    FewPixels or None
        None if they do not, or the threshold is a number.
    """
    if isinstance(settings.method, float | int) or math.isnan(found):
        return None
    if not isinstance(values, GreyLevels):
        values = np.ravel(values).astype(np.float64, copy=False)
        place = values.size - 1 - int(max(_FEW * values.size, 1))
        # Seldom more is needed, and counting takes longer than finding the threshold.
        if place < 0 or not _has_long_tail(
            values.min(), np.partition(values, place)[place], values.max()
        ):
            return None
    levels = values if isinstance(values, GreyLevels) else GreyLevels.of(values)
    above = levels.counts[::-1].cumsum()[::-1] - levels.counts
    last = len(levels.values) - 1
    cut = int(np.argmax(above <= max(_FEW * levels.counts.sum(), 1)))
    lowest = levels.values[0]
    if not _has_long_tail(lowest, levels.values[cut], levels.values[last]):
        return None

    def clipped(at: int) -> float:
        rest = GreyLevels(levels.values[: at + 1], levels.counts[: at + 1].copy())
        rest.counts[-1] += above[at]
        return fit_threshold(rest, settings)

    without = clipped(cut)
    most = _DIFFERENT * (without - lowest)
    if math.isnan(without) or abs(found - without) <= most:
        return None
    # How many of them make most of the difference.
    low, high = cut, last
    while high - low > 1:
        middle = (low + high) // 2
        if abs(clipped(middle) - without) <= most / 4:
            low = middle
        else:
            high = middle
    number, of = round(above[low]), round(levels.counts.sum())
    return FewPixels(max(number, 1), of, found, clipped(low))


def _has_long_tail(lowest: float, cut: float, highest: float) -> bool:
    return bool(highest - lowest > _LONG_TAIL * (cut - lowest))


def smoothed(prepared: np.ndarray, smoothing: float) -> np.ndarray:
    """Smooth an image with a Gaussian that ignores what lies beyond the edges.

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

    sigma = smoothing / HALF_WEIGHT
    image = ndi.gaussian_filter(prepared, sigma, mode="constant")
    # The weight of the Gaussian within the image factorises into rows and columns.
    image /= _weight_within(prepared.shape[0], sigma)[:, None]
    image /= _weight_within(prepared.shape[1], sigma)
    return image


@lru_cache(maxsize=8)
def _weight_within(side: int, sigma: float) -> np.ndarray:
    """Weight of a Gaussian around each pixel of a row that lies within the row."""
    from scipy import ndimage as ndi

    return ndi.gaussian_filter1d(np.ones(side), sigma, mode="constant")


ThresholdMethod = Literal["otsu", "otsu3", "minimum-cross-entropy", "robust-background"]


def find(
    values: np.ndarray,
    counts: np.ndarray | None,
    method: ThresholdMethod,
    tolerance: float | None = None,
) -> float:
    """Apply a method to grey values.

    Parameters
    ----------
    values : numpy.ndarray of shape (N,), float64
        Not all of them equal.
    counts : numpy.ndarray of shape (N,), float64, or None
        How often each occurs; None is once.
    method : {"otsu", "otsu3", "minimum-cross-entropy", "robust-background"}
    tolerance : float, optional
        Of minimum cross-entropy, in grey values; see `tolerance_of`, which it is by default.

    Returns
    -------
    float
        In the units of the values; NaN where three classes need more different values.
    """
    from skimage import filters

    if method == "otsu":
        return float(filters.threshold_otsu(hist=_histogram(values, counts, 256)))
    if method == "otsu3":
        try:
            histogram = _histogram(values, counts, 128)
            return float(filters.threshold_multiotsu(hist=histogram, classes=3)[0])
        except ValueError:  # fewer than three filled bins
            return math.nan
    levels = GreyLevels.of(values, counts)
    if method == "minimum-cross-entropy":
        return _minimum_cross_entropy(levels, tolerance)
    return _robust_background(levels)


def _histogram(
    values: np.ndarray, counts: np.ndarray | None, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make counts and centres of equal bins, as scikit-image makes them of an image."""
    numbers, edges = np.histogram(values, bins, weights=counts)
    return numbers, (edges[:-1] + edges[1:]) / 2


def _minimum_cross_entropy(levels: GreyLevels, tolerance: float | None = None) -> float:
    """Iterate as scikit-image's `threshold_li`, on counted values.

    That one looks at all pixels at each step, and has no way to give it a histogram.
    """
    values = levels.values - levels.values[0]
    below = np.cumsum(levels.counts)
    below_sum = np.cumsum(levels.counts * values)
    tolerance = tolerance_of(values) if tolerance is None else tolerance
    last, found = -math.inf, below_sum[-1] / below[-1]
    while abs(found - last) > tolerance:
        last = found
        cut = np.searchsorted(values, last, side="right") - 1
        mean_below = below_sum[cut] / below[cut]
        mean_above = (below_sum[-1] - below_sum[cut]) / (below[-1] - below[cut])
        if mean_below == 0:
            break
        found = (mean_below - mean_above) / (math.log(mean_below) - math.log(mean_above))
    return float(found + levels.values[0])


def tolerance_of(different: np.ndarray) -> float:
    """Give CellProfiler's tolerance, with which the iteration of minimum cross-entropy stops.

    Half the smallest step between different values in rising order, but no finer than half a step
    of 16 bit.
    """
    return max(float(np.diff(different).min()) / 2, 0.5 / 65536)


def _robust_background(levels: GreyLevels) -> float:
    """Mean and twice the standard deviation of the pixels between the 5th and 95th percentile."""
    reached = np.cumsum(levels.counts)
    cut = round(reached[-1] * 0.05)
    # How many pixels of each level lie between the cuts.
    kept = np.diff(np.clip(reached, cut, reached[-1] - cut), prepend=cut)
    mean = np.average(levels.values, weights=kept)
    variance = np.average((levels.values - mean) ** 2, weights=kept)
    return float(mean + 2 * math.sqrt(variance))


def logarithm(values: np.ndarray) -> tuple[np.ndarray, tuple[float, float]] | None:
    """Give the logarithm of grey values as thresholds are found in it.

    Parameters
    ----------
    values : numpy.ndarray of any shape, float64

    Returns
    -------
    logs : numpy.ndarray of the same shape, float64
        Stretched from 0 to 1.
    bounds : tuple of float
        The logarithms that became 0 and 1, for `from_logarithm`.

    None in place of both, where values near the smallest are not positive.
    """
    # CellProfiler's way: the lowest 1/256 of the range is one value, since the noise near zero
    # would otherwise fill most of the logarithm's range.
    low, high = values.min(), values.max()
    floor = low + (high - low) / 256 + np.finfo(np.float64).eps
    if floor <= 0:
        return None
    logs = np.log(np.maximum(values, floor))
    log_low, log_high = float(logs.min()), float(logs.max())
    return (logs - log_low) / (log_high - log_low), (log_low, log_high)


def from_logarithm(values: Any, bounds: tuple[float, float]) -> Any:
    """Undo `logarithm`."""
    log_low, log_high = bounds
    return np.exp(log_low + values * (log_high - log_low))


def level_of(
    prepared: np.ndarray, settings: ThresholdSettings, threshold: float
) -> float | np.ndarray:
    """Threshold of each pixel: the one that was found, or what it becomes in adaptive windows.

    Parameters
    ----------
    prepared : numpy.ndarray of shape (Y, X), float64
        As `prepare` gives it, not smoothed.
    settings : ThresholdSettings
        `adaptive_window`, `method` and `log_transform` are used.
    threshold : float
        As `fit_threshold` gives it for the image or the experiment.

    Returns
    -------
    float or numpy.ndarray of shape (Y, X), float64

    Raises
    ------
    InputError
        If the image is not at least two windows wide and high.

    Notes
    -----
    CellProfiler's ``get_adaptive_threshold``, with all that its results depend on: pixels of 0 (of
    the logarithm, what is in the lowest 1/256) are in no window; a window of one value has that as
    its threshold; the places of windows are whole pixels; and with the logarithm, the limits come
    from a threshold that is found in the logarithm of the logarithm, unless there is one for the
    experiment. Only that CellProfiler's thresholds end at 1 is left out, since grey values may not.
    """
    if not settings.adaptive_window or not isinstance(settings.method, str):
        return threshold
    from scipy.interpolate import RectBivariateSpline

    counts = [side // settings.adaptive_window for side in prepared.shape]
    if min(counts) < 2:
        raise InputError(
            f"The adaptive window of {settings.adaptive_window} pixels is more than half of an "
            f"image of {prepared.shape[0]} x {prepared.shape[1]}: make it smaller."
        )
    stretched = logarithm(prepared) if settings.log_transform else (prepared, None)
    if stretched is None or prepared.min() == prepared.max():
        return threshold
    image, bounds = stretched
    if bounds is not None and settings.scope == "image":
        again = min(max(fit_threshold(image, settings), 0.0), 1.0)
        threshold = float(from_logarithm(again, bounds))
    sides = [side / n for side, n in zip(prepared.shape, counts, strict=True)]
    edges = [[int(i * side) for i in range(n + 1)] for side, n in zip(sides, counts, strict=True)]
    tolerance = tolerance_of(np.unique(image))
    found = np.empty(counts)
    for row, column in np.ndindex(*counts):
        window = image[edges[0][row] : edges[0][row + 1], edges[1][column] : edges[1][column + 1]]
        found[row, column] = _fit_window(window[window != 0], settings.method, tolerance)
    spline = RectBivariateSpline(
        *(
            np.linspace(int(side / 2), int((n - 0.5) * side), n)
            for side, n in zip(sides, counts, strict=True)
        ),
        found,
        bbox=[0.5, prepared.shape[0] - 0.5, 0.5, prepared.shape[1] - 0.5],
        kx=min(3, min(counts) - 1),
        ky=min(3, min(counts) - 1),
    )
    local = spline(
        *(
            np.linspace(0.5, int(n * part) - 0.5, side)
            for n, part, side in zip(counts, sides, prepared.shape, strict=True)
        )
    )
    if bounds is not None:
        local = from_logarithm(local, bounds)
    low, high = sorted((0.7 * threshold, 1.5 * threshold))
    return np.clip(local, low, high)


def _fit_window(values: np.ndarray, method: ThresholdMethod, tolerance: float) -> float:
    """Find the threshold of a window, in its pixels that are not 0."""
    from skimage import filters

    if not values.size:
        return 0.0
    different = np.unique(values)
    if different.size == 1:
        return float(different[0])
    if method == "otsu3" and different.size == 2:
        method = "otsu"
    found = find(values, None, method, tolerance)
    # NaN comes only from three classes: more than 128 bins separate values that are closer.
    return float(filters.threshold_multiotsu(values)[0]) if math.isnan(found) else found
