"""Numbers as they are kept in files, and the base of all that is kept there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, BeforeValidator, ConfigDict

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float that may be NaN: JSON has none, and keeps ``null``."""


class Kept(BaseModel):
    """Base of what an evaluation keeps: immutable, and NaN is null in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Spread(Kept):
    """Values of images in short: median and quartiles over those that are known, and all values."""

    median: Number
    low: Number
    high: Number
    n: int
    values: tuple[Number, ...]

    @classmethod
    def of(cls, values: ArrayLike) -> Spread:
        """Sum up values; those that are NaN are kept but do not count."""
        given = np.asarray(values, float).ravel()
        known = given[np.isfinite(given)]
        low, median, high = np.quantile(known, (0.25, 0.5, 0.75)) if known.size else [np.nan] * 3
        return cls(
            median=float(median),
            low=float(low),
            high=float(high),
            n=known.size,
            values=tuple(map(float, given)),
        )

    @classmethod
    def by_channel(cls, channel_names: Sequence[str], values: np.ndarray) -> dict[str, Spread]:
        """Sum up values of shape (N, C) of N images, by the names of their channels."""
        return {name: cls.of(column) for name, column in zip(channel_names, values.T, strict=True)}
