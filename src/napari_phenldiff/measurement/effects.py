"""The effects in all measurements of a profile at once, with what that takes: one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.comparisons import Groups, Tested, compare_groups, recovery_of
from napari_phenldiff.measurement.comparisons import result_columns as result_columns
from napari_phenldiff.measurement.tables import Measurement
from napari_phenldiff.measurement.units import Summary as Summary
from napari_phenldiff.measurement.units import Units, Wells, units_of
from napari_phenldiff.measurement.units import matched as matched
from napari_phenldiff.measurement.units import unit_values as unit_values
from napari_phenldiff.measurement.units import wells_by_pattern as wells_by_pattern

if TYPE_CHECKING:
    import pandas as pd


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
        p-value, or no recovery.

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    import pandas as pd

    if reconstructed is not None and translated is None:
        raise InputError("There are reconstructed but no translated images: give both, or neither.")
    units = units_of(measurement, wells)
    chosen = tuple(columns or result_columns(measurement))
    how: dict[str, Any] = {"columns": chosen, "summary": summary, "seed": seed}
    groups = Groups(source, target, paired)
    real = compare_groups(measurement, groups, units, **how)
    made: dict[str, Tested] = {}
    made_groups = groups
    if translated is not None:
        whole = reconstructed is not None
        made_groups = Groups(reconstructed or source, translated, whole, by_place=whole, made=True)
        made = compare_groups(measurement, made_groups, units, **how)
    rows: list[dict[str, Any]] = []
    for column in chosen:
        rows.append(_row(column, "real", groups, real[column]))
        if translated is not None:
            found = recovery_of(real[column], made[column], paired=made_groups.paired)
            row = _row(column, "translated", made_groups, made[column])
            row |= {
                "recovery": found.value,
                "recovery_low": found.low,
                "recovery_high": found.high,
                "note": row["note"] or found.reason,
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
        "p_value": found.p_value,
        "test": tested.test,
        "correction": tested.correction,
        "least_p_value": found.min_p_value,
        "note": tested.no_p_value,
    }
