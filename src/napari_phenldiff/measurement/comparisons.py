"""Two groups of a measurement compared: one p-value, its test and correction named, or none.

Whatever says a p-value of a measurement, in words, figures or tables, takes it from here, so that
one comparison has one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_phenldiff.measurement.compare import Comparison, compare, holm, recovery
from napari_phenldiff.measurement.intervals import cliffs_delta, delta_interval
from napari_phenldiff.measurement.recovery import Recovery
from napari_phenldiff.measurement.tables import Measurement
from napari_phenldiff.measurement.units import Summary, Units, matched, unit_values, units_of

# Columns of a table that tell how and what was measured, not what came out.
_NOT_RESULTS = ("threshold", "total_px", "total_um2", "label")


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
    test, correction : str
        ``"Mann-Whitney U"`` or ``"Wilcoxon signed-rank"``, and ``"Holm over 4 measurements"`` or
        ``"none"``.
    counted : str
        ``"wells"``, ``"fields"`` or ``"images"``.
    no_p_value : str
        Why there is no p-value, in a sentence; empty if there is one.
    """

    found: Comparison
    a: np.ndarray
    b: np.ndarray
    test: str
    correction: str
    counted: str
    no_p_value: str = ""


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
        them are looked at afterwards; that of the main measurement of made images is not.

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    units = units_of(measurement) if units is None else units
    names = dict.fromkeys((*result_columns(measurement), *(columns or ())))
    found = {name: _tested(measurement, groups, name, units, summary, seed) for name in names}
    n = sum(not math.isnan(tested.found.p_value) for tested in found.values())
    if n < 2:
        return found
    corrected = holm([tested.found.p_value for tested in found.values()])
    asked = measurement.main_column if groups.made else None
    return {
        name: tested
        if name == asked
        else replace(
            tested,
            found=replace(
                tested.found,
                p_value=float(p),
                min_p_value=min(1.0, n * tested.found.min_p_value),
            ),
            correction=f"Holm over {n} measurements",
        )
        for (name, tested), p in zip(found.items(), corrected, strict=True)
    }


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
    found = recovery(real.a, real.b, made.b, reconstructed=made.a if paired else None)
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
    test = "Wilcoxon signed-rank" if groups.paired else "Mann-Whitney U"
    # The intervals are wanted; a second p-value, of permutations, is not.
    found = compare(a, b, paired=groups.paired, seed=seed, n_resamples=1)
    n_units = found.n_a, found.n_b
    why = _why_not(measurement, groups, column, units, n_units)
    if why:
        a, b = _values(measurement, groups, column, Units(), summary)
        found = compare(a, b, paired=groups.paired, seed=seed, n_resamples=0)
        found = replace(
            found, n_a=n_units[0], n_b=n_units[1], p_value=math.nan, min_p_value=math.nan
        )
    if groups.paired:
        complete = np.isfinite(a) & np.isfinite(b)
        a, b = a[complete], b[complete]
        if a.size:
            # Of pairs, nearly all move the same way; how far the groups come apart is the size.
            ends = (math.nan, math.nan) if why else delta_interval(a, b)
            found = replace(
                found,
                cliffs_delta=cliffs_delta(a, b),
                cliffs_delta_low=ends[0],
                cliffs_delta_high=ends[1],
            )
    return Tested(found, a, b, test, "none", units.counted, why)


def _values(
    measurement: Measurement, groups: Groups, column: str, units: Units, summary: Summary
) -> tuple[np.ndarray, np.ndarray]:
    before, after = (
        unit_values(measurement, name, column, wells=units.wells, summary=summary)
        for name in (groups.before, groups.after)
    )
    if groups.paired:
        before, after = matched(before, after, by_place=groups.by_place)
    return before.to_numpy(np.float64), after.to_numpy(np.float64)


def _why_not(
    measurement: Measurement,
    groups: Groups,
    column: str,
    units: Units,
    n_units: tuple[int, int],
) -> str:
    """Say why there is no p-value: what is counted does not vary where there is one of it."""
    for name, n in zip((groups.before, groups.after), n_units, strict=True):
        images = int(np.isfinite(measurement.values(name, column)).sum())
        if not n:
            return f"No image of {name} could be measured, so there is no p-value."
        if n > 1:
            continue
        if images == 1:
            return (
                f"Of {name} there is one image, which does not tell how images vary, so there is "
                "no p-value."
            )
        unit = unit_values(measurement, name, column, wells=units.wells).dropna().index[0]
        which = f"one {units.one}" + ("" if unit == "the same" else f" ({unit})")
        return (
            f"All {images} images of {name} come from {which}, which does not tell how "
            f"{units.counted} vary, so there is no p-value."
        )
    return ""
