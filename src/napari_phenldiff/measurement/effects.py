"""The effects in all measurements of a profile at once, with what that takes: one table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.measurement.compare import compare, holm, recovery
from napari_phenldiff.measurement.intervals import cliffs_delta, delta_interval
from napari_phenldiff.measurement.tables import Measurement

if TYPE_CHECKING:
    import pandas as pd

Summary = Literal["mean", "median"]
# Columns of a table that tell how and what was measured, not what came out.
_NOT_RESULTS = ("threshold", "total_px", "total_um2", "label")


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


def unit_values(
    measurement: Measurement,
    condition: str,
    column: str | None = None,
    *,
    wells: str | Mapping[str, str] | None = None,
    summary: Summary = "median",
) -> pd.Series:
    """Give one value per image of a condition, or one per well.

    Images of one well are as little independent as cells of one image: where several come from
    each well, or culture, or animal, the well is what should be counted.

    Parameters
    ----------
    measurement : Measurement
    condition : str
    column : str, optional
        By default the main column.
    wells : str or mapping of str to str, optional
        Column of the table of images that names the well, or the well of each image's name.
    summary : {"median", "mean"}
        What of a well's images is its value; those that could not be measured do not count.

    Returns
    -------
    pandas.Series of float64
        By the name of the image or well.

    Raises
    ------
    InputError
        If there is no such condition or column, or an image has no well.
    """
    import pandas as pd

    values = measurement.values(condition, column)
    images = measurement.images[measurement.images["condition"] == condition]
    if wells is None:
        return pd.Series(values, index=images["image"].astype(str))
    if isinstance(wells, str):
        if wells not in images:
            raise InputError(
                f'There is no column "{wells}" that names wells: choose one of '
                f"{quoted(list(images))}."
            )
        named = images[wells]
    else:
        named = images["image"].map(wells)
    if named.isna().any():
        lost = images.loc[named.isna(), "image"].iloc[0]
        raise InputError(f'Image "{lost}" of {condition} has no well: name one for each image.')
    grouped = pd.Series(values).groupby(named.astype(str).to_numpy(), sort=False)
    return grouped.median() if summary == "median" else grouped.mean()


def wells_by_pattern(measurement: Measurement, pattern: str) -> dict[str, str]:
    r"""Read from the names of images which well, or place, they are of.

    Parameters
    ----------
    measurement : Measurement
    pattern : str
        Regular expression that is looked for in each name: its groups, or all of it if it has
        none, name the well. ``"^[A-H]\d+"`` finds the well of ``B07_field3.tif``, and
        ``"(s\d+)_t.(_y\d+_x\d+)"`` the place of ``s010_te_y000_x256.tif``, at any time.

    Returns
    -------
    dict of str to str
        The well of each image's name, for `unit_values` and `effects`.

    Raises
    ------
    InputError
        If the pattern is none, or is not in a name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f'"{pattern}" is not a regular expression: {error}.') from error
    wells = {}
    for name in measurement.images["image"].astype(str).unique():
        found = expression.search(name)
        if found is None:
            raise InputError(
                f'The pattern "{pattern}" is not in the name "{name}": it must name the well of '
                "every image."
            )
        wells[name] = "".join(part or "" for part in found.groups()) or found.group()
    return wells


def matched(
    before: pd.Series, after: pd.Series, *, by_place: bool = False
) -> tuple[pd.Series, pd.Series]:
    """Bring values of the same images into the same order, by their names.

    Parameters
    ----------
    before, after : pandas.Series
        As `unit_values` gives them.
    by_place : bool
        Whether as many values that share no names belong together in their order.

    Returns
    -------
    tuple of pandas.Series
        Those that are in both, with the names of `before`.

    Raises
    ------
    InputError
        If none is in both, or a name stands for several.
    """
    common = [name for name in before.index if name in set(after.index)]
    unique = before.index.is_unique and after.index.is_unique
    if common and unique:
        return before[common], after[common]
    if by_place and len(before) == len(after):
        return before, after.set_axis(before.index)
    if common:
        raise InputError(
            "Several images of a condition have the same name: give each a name of its own, so "
            "that before and after can be paired."
        )
    raise InputError(
        f"No image is there both before and after: {before.index[0]} and {after.index[0]}, for "
        "example, have different names."
    )


def effects(
    measurement: Measurement,
    *,
    source: str,
    target: str,
    translated: str | None = None,
    reconstructed: str | None = None,
    columns: Sequence[str] | None = None,
    paired: bool = False,
    wells: str | Mapping[str, str] | None = None,
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
    wells : str or mapping of str to str, optional
        Column that names the well of each image, or the well of each image's name: one value per
        well is compared then, not one per image.
    summary : {"median", "mean"}
        What of a well's images is its value.
    seed : int
        Seed of random permutations.

    Returns
    -------
    pandas.DataFrame
        A row per measurement for the real effect, and one for the translated: ``measurement``,
        ``effect`` ("real" or "translated"), ``compared_with``, ``group``, ``paired``,
        ``n_before``, ``n_after`` (images or wells), ``median_before``, ``median_after``,
        ``shift`` with ``shift_low`` and ``shift_high``, ``cliffs_delta`` with ``cliffs_delta_low``
        and ``cliffs_delta_high`` (always between the groups), ``p_value`` of the rank test,
        ``p_holm`` (corrected for the number of measurements with the same effect),
        ``permutation_p_value``, ``least_p_value`` (the least that so many images can give),
        and for the translated effect ``recovery`` with ``recovery_low``, ``recovery_high`` and
        ``note``.

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    import pandas as pd

    if reconstructed is not None and translated is None:
        raise InputError("There are reconstructed but no translated images: give both, or neither.")

    def of(condition: str, column: str) -> pd.Series:
        return unit_values(measurement, condition, column, wells=wells, summary=summary)

    rows: list[dict[str, Any]] = []
    for column in columns or result_columns(measurement):
        real = of(source, column), of(target, column)
        if paired:
            real = matched(*real)
        rows.append(_row(column, "real", source, target, *real, paired=paired, seed=seed))
        if translated is None:
            continue
        after = of(translated, column)
        before = real[0]
        if reconstructed is not None:
            before, after = matched(of(reconstructed, column), after, by_place=True)
        row = _row(
            column,
            "translated",
            reconstructed or source,
            translated,
            before,
            after,
            paired=reconstructed is not None,
            seed=seed,
        )
        found = recovery(*real, after, reconstructed=None if reconstructed is None else before)
        row |= {
            "recovery": found.value,
            "recovery_low": found.low,
            "recovery_high": found.high,
            "note": found.reason,
        }
        rows.append(row)
    table = pd.DataFrame(rows)
    corrected = table.groupby("effect")["p_value"].transform(lambda p: holm(p.to_numpy()))
    table.insert(table.columns.get_loc("p_value") + 1, "p_holm", corrected)
    if "note" in table:
        table["note"] = table["note"].fillna("")
    return table


def _row(
    column: str,
    effect: str,
    before_name: str,
    after_name: str,
    before: pd.Series,
    after: pd.Series,
    *,
    paired: bool,
    seed: int,
) -> dict[str, Any]:
    a, b = before.to_numpy(np.float64), after.to_numpy(np.float64)
    found = compare(a, b, paired=paired, seed=seed)
    delta: tuple[float, float, float] = (
        found.cliffs_delta,
        found.cliffs_delta_low,
        found.cliffs_delta_high,
    )
    if paired and found.n_a:
        complete = ~(np.isnan(a) | np.isnan(b))
        a, b = a[complete], b[complete]
        # Of pairs, nearly all move the same way; how far the groups come apart is the size.
        delta = (cliffs_delta(a, b), *delta_interval(a, b))
    elif not found.n_a or not found.n_b:
        delta = (math.nan,) * 3
    return {
        "measurement": column,
        "effect": effect,
        "compared_with": before_name,
        "group": after_name,
        "paired": paired,
        "n_before": found.n_a,
        "n_after": found.n_b,
        "median_before": found.median_a,
        "median_after": found.median_b,
        "shift": found.shift,
        "shift_low": found.shift_low,
        "shift_high": found.shift_high,
        "cliffs_delta": delta[0],
        "cliffs_delta_low": delta[1],
        "cliffs_delta_high": delta[2],
        "p_value": found.p_value,
        "permutation_p_value": found.permutation_p_value,
        "least_p_value": found.min_p_value,
    }
