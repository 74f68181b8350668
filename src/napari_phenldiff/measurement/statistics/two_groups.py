"""One comparison of two groups in one measurement: its p-value, and what there is to say of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.images.naming import quoted
from napari_phenldiff.measurement.statistics.compare import (
    ALPHA,
    SIGNED_RANK,
    Comparison,
    compare,
    min_p_value,
    number_text,
)
from napari_phenldiff.measurement.statistics.intervals import cliffs_delta, delta_interval
from napari_phenldiff.measurement.statistics.units import (
    UNNAMED,
    Summary,
    Units,
    before_and_after,
    plates_apart,
    unit_values,
)
from napari_phenldiff.measurement.tables.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd


OF_INTERVAL = "The interval of the shift"
"""What the part of a note begins with that tells of the interval; it is the last."""

_MOST_APART = 0.7
"""Of five pairs that have nothing in common, one in ten have less than minus this by chance."""

_GO_APART = (
    "The {0} of pairs that are high before are low after. So few pairs are tested as two groups, "
    "which then finds a change in up to 11 of 100 experiments without one."
)


@dataclass(frozen=True, slots=True)
class Groups:
    """Which two groups are compared, and how.

    Attributes
    ----------
    before, after : str
        Names of the groups.
    paired : bool
        Whether they show the same fields: images of the same name are compared with each other.
    by_place : bool
        Whether as many that share no names belong together in their order.
    made : bool
        Whether a model made those after. Of these it is asked whether they show what the main
        measurement shows of real images, so that one is not corrected for the number of others.
    """

    before: str
    after: str
    paired: bool = False
    by_place: bool = False
    made: bool = False


@dataclass(frozen=True, slots=True)
class Tested:
    """A comparison of two groups in one measurement.

    Attributes
    ----------
    found : Comparison
        Its p-value, and the least possible one, are corrected as `correction` says. NaN, as all
        intervals are, where `no_p_value` says why; shift and Cliff's delta are those of the images
        then, and tell of these alone.
    a, b : numpy.ndarray of shape (N,), (M,)
        What was compared: one value per well, field or image.
    correction : str
        ``"Holm over 4 measurements"`` or ``"none"``.
    counted : str
        ``"wells"``, ``"fields"`` or ``"images"``.
    no_p_value : str
        Why there is no p-value, in a sentence; empty if there is one.
    caution : str
        What of pairs has no partner, and what `Units` say.
    """

    found: Comparison
    a: np.ndarray
    b: np.ndarray
    correction: str
    counted: str
    no_p_value: str = ""
    caution: str = ""

    def p_columns(self) -> dict[str, Any]:
        """Give the columns of a table that say what the p-value is, and of what."""
        return {
            "p_value": self.found.p_value,
            "test": self.found.test,
            "correction": self.correction,
            "least_p_value": self.found.min_p_value,
            "note": self.note,
        }

    @property
    def note(self) -> str:
        """What there is to say of the p-value and the interval, in sentences."""
        return self.no_p_value or " ".join(filter(None, (self.caution, self._about_interval())))

    def _about_interval(self) -> str:
        """Say why the interval of a shift leaves out 0 where few images cannot show as much."""
        found = self.found
        leaves_out_0 = found.shift_low > 0 or found.shift_high < 0
        by_t = found.test != SIGNED_RANK and (
            found.paired or min_p_value(found.n_a, found.n_b) > ALPHA
        )
        blind = found.min_p_value >= ALPHA
        if not leaves_out_0 or not found.p_value >= ALPHA or not (by_t or blind):
            return ""
        told = f"{OF_INTERVAL} leaves out 0, though p is not below 0.05: "
        least = f"p cannot be below {number_text(found.min_p_value)}"
        if not by_t:
            return (
                f"{told}corrected, {least} with so few {self.counted}; intervals are not corrected."
            )
        whose = "Student" if found.paired else "Welch"
        return (
            f"{told}with so few {self.counted} it is {whose}'s t interval, which assumes normal "
            f"distributions{f', and {least}' if blind else ''}."
        )


def compare_column(
    measurement: Measurement,
    groups: Groups,
    column: str,
    units: Units,
    summary: Summary,
    seed: int,
) -> Tested:
    """Compare two groups in one measurement, whatever others there are.

    Parameters
    ----------
    measurement : Measurement
    groups : Groups
    column : str
        Of the table of images.
    units : Units
        What is counted.
    summary : {"median", "mean"}
        What of a well's images is its value.
    seed : int
        Of the order of tied values.

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    a, b = _values(measurement, groups, column, units, summary)
    alone = _without_partner(measurement, groups, column, units, a.index) if groups.paired else ""
    # One resample: intervals are computed, and the permutation test is not used.
    found = compare(a, b, paired=groups.paired, seed=seed, n_resamples=1)
    n_units = found.n_a, found.n_b
    why = _why_not(measurement, groups, column, units, n_units)
    if why:
        a, b = _values(measurement, groups, column, Units(), summary)
        found = compare(a, b, paired=groups.paired, seed=seed, n_resamples=0)
        found = replace(
            found, n_a=n_units[0], n_b=n_units[1], p_value=math.nan, min_p_value=math.nan
        )
    a, b = a.to_numpy(np.float64), b.to_numpy(np.float64)
    if groups.paired:
        complete = np.isfinite(a) & np.isfinite(b)
        a, b = a[complete], b[complete]
        if a.size:
            # Nearly all pairs change in the same direction, so the size of an effect is told
            # by how far the groups separate.
            ends = (math.nan, math.nan) if why else delta_interval(a, b)
            found = replace(
                found,
                cliffs_delta=cliffs_delta(a, b),
                cliffs_delta_low=ends[0],
                cliffs_delta_high=ends[1],
            )
    against = ""
    if groups.paired and not why and found.test != SIGNED_RANK and _go_apart(a, b):
        against = _GO_APART.format(units.counted)
    other_plates = (
        "" if groups.paired else plates_apart(measurement, groups.before, groups.after, units)
    )
    caution = " ".join(filter(None, (alone, units.caution, other_plates, against)))
    return Tested(found, a, b, "none", units.counted, why, caution)


def _go_apart(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether values of pairs rise where those of their partners fall."""
    return bool(
        a.size > 2 and np.ptp(a) > 0 and np.ptp(b) > 0 and np.corrcoef(a, b)[0, 1] < -_MOST_APART
    )


def _values(
    measurement: Measurement, groups: Groups, column: str, units: Units, summary: Summary
) -> tuple[pd.Series, pd.Series]:
    names = groups.before, groups.after
    if groups.paired:
        return before_and_after(
            measurement,
            *names,
            column,
            wells=units.wells,
            summary=summary,
            by_place=groups.by_place,
        )
    before, after = (
        unit_values(measurement, name, column, wells=units.wells, summary=summary) for name in names
    )
    return before, after


def _without_partner(
    measurement: Measurement, groups: Groups, column: str, units: Units, paired: pd.Index
) -> str:
    """Say what of paired groups is left out, since the other group has none of its name."""
    told: list[str] = []
    for name in (groups.before, groups.after):
        every = unit_values(measurement, name, column, wells=units.wells).index
        # What is called otherwise after may still be paired, by the names of its images.
        alone = [str(one) for one in every if one not in paired][: len(every) - len(paired)]
        if alone:
            of = f"{units.counted if len(alone) > 1 else units.one} of " if not told else "of "
            told.append(f"{len(alone)} {of}{name} ({quoted(alone, limit=3)})")
    if not told:
        return ""
    one = len(told) == 1 and told[0].startswith("1 ")
    return f"Left out, since {'it has' if one else 'they have'} no partner: {' and '.join(told)}."


def _why_not(
    measurement: Measurement,
    groups: Groups,
    column: str,
    units: Units,
    n_units: tuple[int, int],
) -> str:
    """Say why there is no p-value.

    A group of a single well, field or image does not tell how these vary.
    """
    for name, n in zip((groups.before, groups.after), n_units, strict=True):
        images = int(np.isfinite(measurement.values(name, column)).sum())
        if not n and images and groups.paired:
            return f"In no pair of {units.counted} were both measured, so there is no p-value."
        if not n:
            return f"No image of {name} could be measured, so there is no p-value."
        if n > 1:
            continue
        if images == 1:
            given = len(measurement.values(name, column))
            if given > 1:
                return (
                    f"Only 1 of {given} images of {name} could be measured, which does not tell "
                    "how images vary, so there is no p-value."
                )
            return (
                f"Of {name} there is one image, which does not tell how images vary, so there is "
                "no p-value."
            )
        values = unit_values(measurement, name, column, wells=units.wells).dropna()
        if groups.paired and values.size > 1:
            continue  # the other group may tell why there is one pair
        unit = values.index[0]
        which = f"one {units.one}" + ("" if unit == UNNAMED else f" ({unit})")
        return (
            f"All {images} images of {name} come from {which}, which does not tell how "
            f"{units.counted} vary, so there is no p-value."
        )
    if groups.paired and n_units[0] == 1:
        return (
            f"There is one pair of {units.counted}, which does not tell how pairs vary, so there "
            "is no p-value."
        )
    return ""


def named_test(test: str, correction: str) -> str:
    """Name a test with its correction: ``"Mann-Whitney U, Holm over 4 measurements"``."""
    return test if correction in ("", "none") else f"{test}, {correction}"
