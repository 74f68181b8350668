"""Where foreground begins.

Thresholds are found and applied as in CellProfiler: the same methods, options of the same names,
the same results (``tests/measurement/test_parity.py`` holds them to it).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.pixels import GreyLevels as GreyLevels
from napari_phenldiff.measurement.pixels import PixelPool as PixelPool

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
    adaptive_window : int
        The threshold follows what varies over more than this many pixels: it is found in windows
        of about this side, blended between them, and held between 0.7 and 1.5 times the threshold
        of the image or experiment, as CellProfiler's adaptive strategy does. 0 is off, and it is
        not used where the threshold is a number.
    """

    method: ThresholdMethod | FiniteFloat = "otsu"
    scope: Literal["experiment", "image"] = "experiment"
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    log_transform: bool = False
    smoothing: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    adaptive_window: int = Field(default=0, ge=0)


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
    if not values.size or (low := values.min()) == (high := values.max()):
        return math.nan
    if not settings.log_transform:
        return _fit(values, counts, settings.method)

    # CellProfiler's way: the lowest 1/256 of the range is one value, since the noise near zero
    # would otherwise fill most of the logarithm's range; then stretched to 0..1.
    floor = low + (high - low) / 256 + np.finfo(np.float64).eps
    if floor <= 0:
        return math.nan
    logs = np.log(np.maximum(values, floor))
    log_low, log_high = logs.min(), logs.max()
    fitted = _fit((logs - log_low) / (log_high - log_low), counts, settings.method)
    return float(np.exp(log_low + fitted * (log_high - log_low)))


def _fit(values: np.ndarray, counts: np.ndarray | None, method: ThresholdMethod) -> float:
    """Apply one of the methods to values, not all of them equal, that occur so often."""
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
        return _minimum_cross_entropy(levels)
    return _robust_background(levels)


def _histogram(
    values: np.ndarray, counts: np.ndarray | None, bins: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make counts and centres of equal bins, as scikit-image makes them of an image."""
    numbers, edges = np.histogram(values, bins, weights=counts)
    return numbers, (edges[:-1] + edges[1:]) / 2


def _minimum_cross_entropy(levels: GreyLevels) -> float:
    """Iterate as scikit-image's `threshold_li`, on counted values.

    That one looks at all pixels at each step, and has no way to give it a histogram.
    """
    values = levels.values - levels.values[0]
    below = np.cumsum(levels.counts)
    below_sum = np.cumsum(levels.counts * values)
    # CellProfiler's tolerance, with which the iteration stops: half the smallest step between
    # grey values, but no finer than half a step of 16 bit.
    tolerance = max(float(np.diff(values).min()) / 2, 0.5 / 65536)
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


def _robust_background(levels: GreyLevels) -> float:
    """Mean and twice the standard deviation of the pixels between the 5th and 95th percentile."""
    reached = np.cumsum(levels.counts)
    cut = round(reached[-1] * 0.05)
    # How many pixels of each level lie between the cuts.
    kept = np.diff(np.clip(reached, cut, reached[-1] - cut), prepend=cut)
    mean = np.average(levels.values, weights=kept)
    variance = np.average((levels.values - mean) ** 2, weights=kept)
    return float(mean + 2 * math.sqrt(variance))


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
    After CellProfiler's ``get_adaptive_threshold``: whole windows that share the image evenly, a
    cubic spline through their thresholds, and the limits of 0.7 and 1.5.
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
    edges = [
        np.linspace(0, side, n + 1).astype(int)
        for side, n in zip(prepared.shape, counts, strict=True)
    ]
    found = np.empty(counts)
    for row, column in np.ndindex(*counts):
        window = prepared[
            edges[0][row] : edges[0][row + 1], edges[1][column] : edges[1][column + 1]
        ]
        found[row, column] = fit_threshold(window, settings)
    # A window without a threshold of its own, since it is constant, has that of the image.
    found[np.isnan(found)] = threshold
    centres = [(edge[1:] + edge[:-1]) / 2 for edge in edges]
    spline = RectBivariateSpline(
        *centres,
        found,
        bbox=[-0.5, prepared.shape[0], -0.5, prepared.shape[1]],
        kx=min(3, counts[0] - 1),
        ky=min(3, counts[1] - 1),
    )
    local = spline(*(np.arange(side) + 0.5 for side in prepared.shape))
    low, high = sorted((0.7 * threshold, 1.5 * threshold))
    return np.clip(local, low, high)


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
    image = ndi.gaussian_filter(prepared, sigma, mode="constant")
    # How much of the Gaussian's weight lies within the image is a product of rows and columns.
    image /= _weight_within(prepared.shape[0], sigma)[:, None]
    image /= _weight_within(prepared.shape[1], sigma)
    return image


@lru_cache(maxsize=8)
def _weight_within(side: int, sigma: float) -> np.ndarray:
    """Weight of a Gaussian around each of so many pixels that lies on them."""
    from scipy import ndimage as ndi

    return ndi.gaussian_filter1d(np.ones(side), sigma, mode="constant")
