"""Translated images against the true counterparts of their sources, where these are known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_phenldiff.evaluation.controls import Measured
from napari_phenldiff.evaluation.cycle import cycle_error
from napari_phenldiff.evaluation.identity import pearson
from napari_phenldiff.evaluation.numbers import Number
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling


@dataclass(frozen=True, slots=True)
class Truth:
    """How right a translation is, where the truth is known; medians over images.

    Attributes
    ----------
    n : int
        Images that are compared pixel by pixel.
    n_measured : int or None
        Those of them that could be measured in all four states, of which effects and correlation
        are; None in files of earlier versions.
    rmse, rmse_copy, rmse_reconstructed : float
        Root mean square per pixel, as a fraction of the range, of the translated image, of the
        untouched source and of the reconstruction less the true counterpart.
    true_effect, shown_effect : float
        Median change of the measurement: of counterparts less sources, of translated less
        reconstructed.
    effect_error : float
        Shown over true, less 1.
    correlation, correlation_low, correlation_high : float
        Over images, of the change shown and the true change of the measurement, with Fisher's 95 %
        interval: whether it tells of *this* image how much it changes.
    pixel_correlation : tuple of float
        Per channel, of the change shown and the true change of pixels; NaN without change.
    """

    n: int
    rmse: Number
    rmse_copy: Number
    rmse_reconstructed: Number
    true_effect: Number
    shown_effect: Number
    effect_error: Number
    correlation: Number
    correlation_low: Number
    correlation_high: Number
    pixel_correlation: tuple[Number, ...]
    n_measured: int | None = None


def against_truth(
    sources: Sequence[Image],
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    counterparts: Sequence[Image],
    scaling: IntensityScaling,
    measured: Measured,
) -> Truth:
    """Compare translated images with the true counterparts of their sources.

    Parameters
    ----------
    sources, reconstructed, translated, counterparts : sequence of Image
        The same cells in the same order, of the same shapes.
    scaling : IntensityScaling
        Of the run.
    measured : Measured

    Returns
    -------
    Truth
    """
    translated_error, copy_error, reconstructed_error = (
        float(np.median(cycle_error(counterparts, images, scaling).rmse))
        for images in (translated, sources, reconstructed)
    )
    before, after, own, made = (
        measured.values(images) for images in (sources, counterparts, reconstructed, translated)
    )
    true, shown = after - before, made - own
    known = np.isfinite(true) & np.isfinite(shown)
    true, shown = true[known], shown[known]
    true_effect, shown_effect = _median(true), _median(shown)
    r = pearson(true, shown) if true.size > 3 else math.nan
    low, high = _fisher(r, true.size)
    pixels = [
        [
            pearson(t.astype(float) - o, c.astype(float) - s)
            for t, o, c, s in zip(*(image.data for image in four), strict=True)
        ]
        for four in zip(translated, reconstructed, counterparts, sources, strict=True)
    ]
    return Truth(
        n=len(sources),
        rmse=translated_error,
        rmse_copy=copy_error,
        rmse_reconstructed=reconstructed_error,
        true_effect=true_effect,
        shown_effect=shown_effect,
        effect_error=shown_effect / true_effect - 1 if true_effect else math.nan,
        correlation=r,
        correlation_low=low,
        correlation_high=high,
        pixel_correlation=tuple(_median(column) for column in np.array(pixels).T),
        n_measured=int(true.size),
    )


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def _fisher(r: float, n: int) -> tuple[float, float]:
    if not math.isfinite(r) or n < 4:
        return math.nan, math.nan
    centre = math.atanh(min(max(r, -0.999999), 0.999999))
    half = 1.959963984540054 / math.sqrt(n - 3)
    return math.tanh(centre - half), math.tanh(centre + half)
