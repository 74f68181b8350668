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

from napari_phenldiff.measurement.pixels import GreyLevels as GreyLevels
from napari_phenldiff.measurement.pixels import PixelPool as PixelPool
from napari_phenldiff.measurement.threshold_methods import (
    ThresholdMethod,
    find,
    from_logarithm,
    logarithm,
)

# The diameter that holds half of the weight of a one-dimensional Gaussian, in standard
# deviations: how CellProfiler turns its smoothing scale into a sigma.
HALF_WEIGHT = 2 * 0.6744


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
    if not values.size or values.min() == values.max():
        return math.nan
    if not settings.log_transform:
        return find(values, counts, settings.method)

    stretched = logarithm(values)
    if stretched is None:
        return math.nan
    logs, bounds = stretched
    return float(from_logarithm(find(logs, counts, settings.method), bounds))


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

    sigma = smoothing / HALF_WEIGHT
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
