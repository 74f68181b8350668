"""Values of images: as arrays, in pairs by place, in pairs by name, one per well."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from napari_phenldiff.errors import InputError


def as_values(values: ArrayLike) -> np.ndarray:
    """Return values as a flat array of float64."""
    return np.asarray(values, dtype=np.float64).ravel()


def complete_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out pairs of which a value is missing.

    Raises
    ------
    InputError
        If there are not as many values in both.
    """
    if a.size != b.size:
        raise InputError(
            f"Paired groups have {a.size} and {b.size} values: give the same images in both."
        )
    complete = ~(np.isnan(a) | np.isnan(b))
    return a[complete], b[complete]
