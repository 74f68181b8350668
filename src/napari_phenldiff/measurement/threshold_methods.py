"""Methods that find a threshold in grey values, with the results of CellProfiler's."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from napari_phenldiff.measurement.pixels import GreyLevels

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
    """Bring values back from the stretched logarithm."""
    log_low, log_high = bounds
    return np.exp(log_low + values * (log_high - log_low))
