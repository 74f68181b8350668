"""Warn of inexact inversions, in the same words wherever translated images are used."""

from __future__ import annotations

import math
from collections.abc import Iterable

from napari_phenldiff.images.naming import count

LARGE_RESIDUAL = 0.3
"""Residual above which an inversion has failed. With the bundled base, it is 0.0005 to 0.03 for
microscopy, noise and black images; with its weights multiplied by 1.5 it is 0.2, and multiplied by
4 it is 0.8, where nothing of the image is left. A small residual alone does not mean that a model
is good: one that predicts almost nothing is inverted exactly."""


def is_large(residual: float | None) -> bool:
    """Whether an inversion with this residual has failed; False if the residual is unknown."""
    return residual is not None and not math.isnan(residual) and residual > LARGE_RESIDUAL


def warning_about_residuals(residuals: Iterable[float | None]) -> str | None:
    """Return a warning if some images were not inverted well.

    Parameters
    ----------
    residuals : iterable of float or None
        Residuals of the images; None or NaN if unknown.

    Returns
    -------
    str or None
        The warning, or None if no inversion failed.
    """
    known = [value for value in residuals if value is not None and not math.isnan(value)]
    large = [value for value in known if is_large(value)]
    if not large:
        return None
    return (
        f"The inversion of {len(large)} of {count(len(known), 'translated image')} is not exact "
        f"(residual up to {max(large):.2g}, where {LARGE_RESIDUAL:g} is too much): they do not "
        "show the cells of the source. The images may be unlike those that were trained on, or "
        "the model is not trained enough or broken."
    )
