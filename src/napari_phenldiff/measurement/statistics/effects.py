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
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.wells import Wells
from napari_phenldiff.measurement.statistics.compare import (
    ALPHA,
    SIGNED_RANK,
    Comparison,
    Recovery,
    compare,
    holm,
    min_p_value,
    number_text,
    recovery,
)
from napari_phenldiff.measurement.statistics.intervals import cliffs_delta, delta_interval
from napari_phenldiff.measurement.statistics.units import (
    UNNAMED,
    Summary,
    Units,
    before_and_after,
    plates_apart,
    unit_values,
    units_of,
)
from napari_phenldiff.measurement.tables.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd


# Columns that hold settings and sizes of a measurement, not results.
_NOT_RESULTS = ("threshold", "total_px", "total_um2", "label")

_MOST_APART = 0.7
"""Of five pairs that have nothing in common, one in ten have less than minus this by chance."""

_GO_APART = (
    "The {0} of pairs that are high before are low after. So few pairs are tested as two groups, "
    "which then finds a change in up to 11 of 100 experiments without one."
)

OF_INTERVAL = "The interval of the shift"
"""What the part of a note begins with that tells of the interval; it is the last."""


FIRST_COLUMNS = ("measurement", "effect", "compared_with")
"""What a table of effects begins with."""


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
    found = {name: _tested(measurement, groups, name, units, summary, seed) for name in names}
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


def _tested(
    measurement: Measurement,
    groups: Groups,
    column: str,
    units: Units,
    summary: Summary,
    seed: int,
) -> Tested:
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


def named_test(test: str, correction: str) -> str:
    """Name a test with its correction: ``"Mann-Whitney U, Holm over 4 measurements"``."""
    return test if correction in ("", "none") else f"{test}, {correction}"
