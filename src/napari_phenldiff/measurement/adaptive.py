"""Thresholds that follow what varies slowly over an image, as CellProfiler's adaptive ones."""

from __future__ import annotations

import math

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.threshold import ThresholdSettings, fit_threshold
from napari_phenldiff.measurement.threshold_methods import (
    ThresholdMethod,
    find,
    from_logarithm,
    logarithm,
    tolerance_of,
)


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
    # Only with three classes, where more bins find what 128 could not tell apart.
    return float(filters.threshold_multiotsu(values)[0]) if math.isnan(found) else found
