"""How exact inversions were, in words: the same wherever a translated image is used."""

from __future__ import annotations

import math
from collections.abc import Iterable

from napari_phenldiff.images.naming import count

LARGE_RESIDUAL = 0.3
"""Above it an inversion has failed. The bundled base inverts microscopy, noise and black images
with 0.0005 to 0.03; with its weights times 1.5 it is 0.2, times 4 it is 0.8, and then nothing of
the image is left. A small residual alone does not say that a model is good: one that predicts next
to nothing is inverted exactly."""


def is_large(residual: float | None) -> bool:
    """Whether an inversion with this residual has failed; not where the residual is not known."""
    return residual is not None and not math.isnan(residual) and residual > LARGE_RESIDUAL


def warning_about_residuals(residuals: Iterable[float | None]) -> str | None:
    """Tell of images that were not inverted well.

    Parameters
    ----------
    residuals : iterable of float or None
        Of the images; None or NaN where a method cannot tell.

    Returns
    -------
    str or None
        A sentence, or None if all is well.
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
