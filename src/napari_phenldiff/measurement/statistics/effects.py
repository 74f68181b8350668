"""Comparisons between groups of a measurement: one p-value each, with its test and correction.

Whatever says a p-value of a measurement, in words, figures or tables, takes it from here, so that
one comparison has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.wells import Wells
from napari_phenldiff.measurement.statistics.compare import holm
from napari_phenldiff.measurement.statistics.recovery import Recovery, recovery
from napari_phenldiff.measurement.statistics.two_groups import Groups, Tested, compare_column
from napari_phenldiff.measurement.statistics.units import (
    Summary,
    Units,
    units_of,
)
from napari_phenldiff.measurement.tables.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd


# Columns that hold settings and sizes of a measurement, not results.
_NOT_RESULTS = ("threshold", "total_px", "total_um2", "label")


FIRST_COLUMNS = ("measurement", "effect", "compared_with")
"""What a table of effects begins with."""


@dataclass(frozen=True, slots=True)
class RealAndTranslated:
    """Two conditions compared in one measurement: real images, and those a model made.

    Attributes
    ----------
    column : str
    units : Units
        What is counted.
    real : Tested
        From source to target.
    made : Tested or None
        From reconstructed images, or real source images without them, to translated ones.
    recovered : Recovery or None
        Which part of the real effect was translated.
    """

    column: str
    units: Units
    real: Tested
    made: Tested | None
    recovered: Recovery | None

    @property
    def no_p_value(self) -> str:
        """Why there is no p-value of one of the two, in a sentence; empty if there are both."""
        return self.real.no_p_value or (self.made.no_p_value if self.made is not None else "")

    @property
    def shown(self) -> Units:
        """What a figure shows as a dot: images where a dot for each well would be a single one."""
        return Units() if self.no_p_value else self.units


def result_columns(measurement: Measurement) -> tuple[str, ...]:
    """Name the columns that are worth comparing: numbers that differ between images.

    Parameters
    ----------
    measurement : Measurement

    Returns
    -------
    tuple of str
        The main column first. Thresholds and the sizes of images are not among them, and what
        is there in pixels and in micrometres counts once: in micrometres, if all images have it.
    """
    from pandas.api.types import is_numeric_dtype

    images = measurement.images
    found = [
        name
        for name in images
        if is_numeric_dtype(images[name])
        and not name.startswith(_NOT_RESULTS)
        and not name.endswith("threshold")
        and images[name].nunique() > 1
    ]
    main = measurement.main_column
    for name in [name for name in found if name.endswith("_px")]:
        twins = [f"{name.removesuffix('px')}{unit}" for unit in ("um", "um2")]
        twin = next((twin for twin in twins if twin in found), None)
        if twin is not None:
            whole = images[twin].notna().sum() == images[name].notna().sum()
            found.remove(name if whole else twin)
    return (main, *(name for name in found if name != main))


def compare_groups(
    measurement: Measurement,
    groups: Groups,
    units: Units | None = None,
    *,
    columns: Sequence[str] | None = None,
    summary: Summary = "median",
    seed: int = 0,
) -> dict[str, Tested]:
    """Compare two groups in all measurements of a profile.

    Parameters
    ----------
    measurement : Measurement
    groups : Groups
    units : Units, optional
        What is counted; by default what `units_of` finds.
    columns : sequence of str, optional
        Columns that are compared beside `result_columns`.
    summary : {"median", "mean"}
        What of a well's images is its value.
    seed : int
        Of the order of tied values.

    Returns
    -------
    dict of str to Tested
        By column. P-values are corrected, after Holm, for the number of measurements, whichever of
        them are looked at afterwards; that of the main measurement of made images is not. Columns
        that hold one quantity in two units or as a part of the same whole, such as the area in
        pixels and as a fraction of fields of one size, are one measurement: that it differs is one
        hypothesis, true or false of all of them, so there is no more to be found by chance in two
        of them than in one (Shaffer, 1986, J. Am. Stat. Assoc. 81:826).

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    units = units_of(measurement) if units is None else units
    names = dict.fromkeys((*result_columns(measurement), *(columns or ())))
    found = {
        name: compare_column(measurement, groups, name, units, summary, seed) for name in names
    }
    measured = [name for name, tested in found.items() if not math.isnan(tested.found.p_value)]
    same = _same_quantities(measurement, groups, measured)
    n = len(same)
    if n < 2:
        return found
    # Medians of wells are rounded in either unit: of p-values that should be equal, the largest.
    corrected = holm([max(found[name].found.p_value for name in one) for one in same])
    for one, p in zip(same, corrected, strict=True):
        if groups.made and measurement.main_column in one:
            continue
        for name in one:
            least = min(1.0, n * found[name].found.min_p_value)
            found[name] = replace(
                found[name],
                found=replace(found[name].found, p_value=float(p), min_p_value=least),
                correction=f"Holm over {n} measurements",
            )
    return found


def _same_quantities(
    measurement: Measurement, groups: Groups, columns: Sequence[str]
) -> list[list[str]]:
    """Put columns together of which each is a linear function of the other in all images.

    Any other function that keeps the order might do so by chance in a few images.
    """
    found: list[tuple[np.ndarray, list[str]]] = []
    for column in columns:
        ends = [measurement.values(name, column) for name in (groups.before, groups.after)]
        values = np.concatenate(ends)
        for others, names in found:
            if _linear(values, others):
                names.append(column)
                break
        else:
            found.append((values, [column]))
    return [names for _, names in found]


def _linear(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether values are a linear function of others; never of so few that any are."""
    known = np.isfinite(a)
    if not np.array_equal(known, np.isfinite(b)):
        return False
    a, b = a[known], b[known]
    if min(np.unique(a).size, np.unique(b).size) < 3:
        return False
    a, b = ((x - x.mean()) / x.std() for x in (a, b))
    return any(np.allclose(a, sign * b, rtol=0, atol=1e-9) for sign in (1, -1))


def compare_in(
    measurement: Measurement,
    groups: Groups,
    column: str | None = None,
    units: Units | None = None,
    *,
    summary: Summary = "median",
    seed: int = 0,
) -> Tested:
    """Compare two groups in one measurement, with the p-value that it has among all of them."""
    column = column or measurement.main_column
    return compare_groups(measurement, groups, units, columns=[column], summary=summary, seed=seed)[
        column
    ]


def compare_real_and_translated(
    measurement: Measurement,
    *,
    source: str,
    target: str,
    translated: str | None = None,
    reconstructed: str | None = None,
    column: str | None = None,
    paired: bool = False,
    wells: Wells | Units | None = None,
    seed: int = 0,
) -> RealAndTranslated:
    """Compare real images of two conditions in one measurement, and translated images with them.

    Parameters
    ----------
    measurement : Measurement
    source, target, translated, reconstructed, paired, wells, seed
        As for `effects`.
    column : str, optional
        Column of the table of images; by default the main column of the profile.

    Raises
    ------
    InputError
        If there is no such group or column, or there are reconstructed but no translated images.
    """
    column = column or measurement.main_column
    units = units_of(measurement, wells)
    groups = translation_groups(source, translated, reconstructed)
    real = compare_in(measurement, Groups(source, target, paired), column, units, seed=seed)
    if groups is None:
        return RealAndTranslated(column, units, real, None, None)
    made = compare_in(measurement, groups, column, units, seed=seed)
    recovered = recovery_of(real, made, paired=groups.paired)
    return RealAndTranslated(column, units, real, made, recovered)


def translation_groups(
    source: str, translated: str | None, reconstructed: str | None
) -> Groups | None:
    """Say from which images to which the effect of a translation is; None if there is none.

    Raises
    ------
    InputError
        If there are reconstructed but no translated images.
    """
    if translated is None:
        if reconstructed is not None:
            raise InputError(
                "There are reconstructed but no translated images: give both, or neither."
            )
        return None
    paired = reconstructed is not None
    return Groups(reconstructed or source, translated, paired, by_place=paired, made=True)


def recovery_of(real: Tested, made: Tested, *, paired: bool) -> Recovery:
    """Estimate which part of the real effect was translated, as far as the units allow.

    Parameters
    ----------
    real, made : Tested
        Between the real groups, and from reconstructed (or source) to translated images.
    paired : bool
        Whether `made` starts from reconstructed images.

    Returns
    -------
    Recovery
        Without an interval, and with the reason, where either comparison has no p-value since all
        images are of one well.
    """
    before = made.a if paired else None
    found = recovery(real.a, real.b, made.b, reconstructed=before, paired=real.found.paired)
    why = real.no_p_value or made.no_p_value
    if not why or math.isnan(found.value):
        return found
    one = (real if real.no_p_value else made).counted[:-1]
    return replace(found, low=math.nan, high=math.nan, reason=f"of one {one}, so without interval")


def effects(
    measurement: Measurement,
    *,
    source: str,
    target: str,
    translated: str | None = None,
    reconstructed: str | None = None,
    columns: Sequence[str] | None = None,
    paired: bool = False,
    wells: Wells | Units | None = None,
    summary: Summary = "median",
    seed: int = 0,
) -> pd.DataFrame:
    """Compare all measurements of a profile between conditions.

    Parameters
    ----------
    measurement : Measurement
    source, target : str
        Names of the groups of real images.
    translated, reconstructed : str, optional
        Names of the groups that a model made of the source images.
    columns : sequence of str, optional
        Columns to compare; by default `result_columns`.
    paired : bool
        Whether the real groups show the same fields, before and after: images of the same name
        are then compared with each other, and those without a partner are left out.
    wells : str or mapping of str to str or Units, optional
        Column that names the well of each image, or the well of each image's name: one value per
        well is compared then. By default wells or fields where the names of the images tell them,
        see `units_of`; ``"image"`` counts each image.
    summary : {"median", "mean"}
        What of a well's images is its value.
    seed : int
        Of the order of tied values.

    Returns
    -------
    pandas.DataFrame
        A row per measurement for the real effect, and one for the translated: ``measurement``,
        ``effect`` ("real" or "translated"), ``compared_with``, ``group``, ``paired``, ``counted``
        ("wells", "fields" or "images"), ``n_before``, ``n_after`` (of these), ``median_before``,
        ``median_after``, ``shift`` with ``shift_low`` and ``shift_high``, ``cliffs_delta`` with
        ``cliffs_delta_low`` and ``cliffs_delta_high`` (always between the groups), ``p_value`` of
        the ``test``, with the ``correction`` for the number of measurements, ``least_p_value``
        (the least that so many can give, corrected alike), and for the translated effect
        ``recovery`` with ``recovery_low``, ``recovery_high``. ``note`` says why there is no
        p-value, or no recovery, that p-values are too good, see `Units`, what has no partner, and
        where so few images give an interval that leaves out 0 beside a p-value that cannot.

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    import pandas as pd

    units = units_of(measurement, wells)
    chosen = tuple(columns or result_columns(measurement))
    how: dict[str, Any] = {"columns": chosen, "summary": summary, "seed": seed}
    groups = Groups(source, target, paired)
    made_groups = translation_groups(source, translated, reconstructed)
    real = compare_groups(measurement, groups, units, **how)
    made = {} if made_groups is None else compare_groups(measurement, made_groups, units, **how)
    rows: list[dict[str, Any]] = []
    for column in chosen:
        rows.append(_row(column, "real", groups, real[column]))
        if made_groups is not None:
            found = recovery_of(real[column], made[column], paired=made_groups.paired)
            row = _row(column, "translated", made_groups, made[column])
            row |= {
                "recovery": found.value,
                "recovery_low": found.low,
                "recovery_high": found.high,
                "note": made[column].no_p_value or found.reason or made[column].note,
            }
            rows.append(row)
    table = pd.DataFrame(rows)
    notes = table.pop("note")
    return table.assign(note=notes)


def _row(column: str, effect: str, groups: Groups, tested: Tested) -> dict[str, Any]:
    found = tested.found
    return {
        "measurement": column,
        "effect": effect,
        "compared_with": groups.before,
        "group": groups.after,
        "paired": groups.paired,
        "counted": tested.counted,
        "n_before": found.n_a,
        "n_after": found.n_b,
        "median_before": found.median_a,
        "median_after": found.median_b,
        "shift": found.shift,
        "shift_low": found.shift_low,
        "shift_high": found.shift_high,
        "cliffs_delta": found.cliffs_delta,
        "cliffs_delta_low": found.cliffs_delta_low,
        "cliffs_delta_high": found.cliffs_delta_high,
        **tested.p_columns(),
    }
