"""What a figure of four groups shows, as numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.measurement.compare import Recovery
from napari_phenldiff.measurement.comparisons import Groups, Tested, compare_in, recovery_of
from napari_phenldiff.measurement.tables import Measurement
from napari_phenldiff.measurement.units import (
    Units,
    Wells,
    known,
    matched,
    unit_values,
    units_of,
)

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = {
    "what": "string",
    "group": "string",
    "role": "string",
    "compared_with": "string",
    "image": "string",
    "measurement": "string",
    "n": "Int64",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "p_value": "float64",
    "least_p_value": "float64",
    "test": "string",
    "correction": "string",
    "note": "string",
}


def four_group_values(
    measurement: Measurement,
    *,
    source: str,
    target: str,
    translated: str | None = None,
    reconstructed: str | None = None,
    column: str | None = None,
    wells: Wells | Units | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the numbers behind `four_groups`, with the same arguments.

    Parameters
    ----------
    measurement : Measurement
    source, target : str
        Names of the groups of real images.
    translated, reconstructed : str, optional
        Names of the groups that a model made.
    column : str, optional
        Column of the table of images; by default the main column of the profile.
    wells : str or mapping of str to str or Units, optional
        As for `effects`.
    seed : int
        Of the order of tied values.

    Returns
    -------
    pandas.DataFrame
        ``what`` tells what a row is: ``well``, ``field`` or ``image`` (one dot; ``value``),
        ``median`` (one line, with the number of these), ``shift`` (Hodges-Lehmann, from
        `compared_with` to `group`, with its 95 % interval, the p-value with its ``test`` and
        ``correction`` and the least that so many can have), ``shift of pairs`` (the same of the
        differences between before and after) and ``recovery`` (a fraction, with its 95 %
        interval). ``note`` says why there is no p-value, or no recovery.

    Raises
    ------
    InputError
        If there is no such group or column.
    """
    import pandas as pd

    column = column or measurement.main_column
    roles = {source: "real", target: "real"}
    for name, role in ((reconstructed, "reconstructed"), (translated, "translated")):
        if name is not None:
            roles[name] = role
    units = units_of(measurement, wells)
    real = compare_in(measurement, Groups(source, target), column, units, seed=seed)
    made: Tested | None = None
    if translated is not None:
        whole = reconstructed is not None
        ends = Groups(reconstructed or source, translated, whole, by_place=whole, made=True)
        made = compare_in(measurement, ends, column, units, seed=seed)
    why = real.no_p_value or (made.no_p_value if made is not None else "")
    shown = Units() if why else units
    values = {name: unit_values(measurement, name, column, wells=shown.wells) for name in roles}
    rows: list[dict[str, Any]] = []
    for name, role in roles.items():
        rows += [
            {"what": shown.one, "group": name, "role": role, "image": unit, "value": value}
            for unit, value in values[name].items()
        ]
    for name, role in roles.items():
        found = known(values[name])
        median = float(np.median(found)) if found.size else math.nan
        rows.append(
            {"what": "median", "group": name, "role": role, "n": found.size, "value": median}
        )
    rows.append(_shift(real, source, target, "real"))
    if made is not None and translated is not None:
        recovered = recovery_of(real, made, paired=reconstructed is not None)
        if reconstructed is not None:
            pairs = _shift(made, reconstructed, translated, "translated")
            # What the figure says: the shift that recovery is a part of.
            nothing = {"low": math.nan, "high": math.nan}
            rows.append(pairs | nothing | {"value": recovered.translated_effect})
            rows.append(pairs | {"what": "shift of pairs"})
        rows.append(_recovery(recovered, translated, reconstructed or source))
    for row in rows:
        row["measurement"] = column
    return pd.DataFrame.from_records(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def paired_values(
    measurement: Measurement,
    *,
    before: str,
    after: str,
    made: bool = True,
    column: str | None = None,
    wells: Wells | Units | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the numbers behind `paired_slopes`, with the same arguments.

    Parameters
    ----------
    measurement : Measurement
    before, after : str
        Groups that hold the same fields.
    made : bool
        Whether a model made the images.
    column : str, optional
        Column of the table of images; by default the main column.
    wells : str or mapping of str to str or Units, optional
        As for `effects`: pairs are then of wells or fields.
    seed : int
        Of the order of tied values.

    Returns
    -------
    pandas.DataFrame
        ``what`` is ``pair`` (``image``, with its values ``before`` and ``after`` and their
        ``change``; in groups of other names, the name before) or ``shift of pairs`` (``value``
        with its 95 % interval and p-value, over ``n`` pairs).

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    import pandas as pd

    column = column or measurement.main_column
    units = units_of(measurement, wells)
    ends = Groups(before, after, paired=True, by_place=made, made=made)
    tested = compare_in(measurement, ends, column, units, seed=seed)
    shown = Units() if tested.no_p_value else units
    first, second = matched(
        *(unit_values(measurement, name, column, wells=shown.wells) for name in (before, after)),
        by_place=made,
    )
    a, b = first.to_numpy(np.float64), second.to_numpy(np.float64)
    pairs = pd.DataFrame(
        {"what": "pair", "image": first.index, "before": a, "after": b, "change": b - a}
    )
    role = "translated" if made else "real"
    row = _shift(tested, before, after, role)
    shift = pd.DataFrame([row | {"what": "shift of pairs"}])
    table = pd.concat([pairs, shift], ignore_index=True)
    table["measurement"], table["group"], table["compared_with"] = column, after, before
    columns = ["what", "measurement", "compared_with", "group", "image", "before", "after"]
    columns += ["change", "n", "value", "low", "high", "p_value", "least_p_value", "test"]
    columns += ["correction", "note"]
    return table[columns].astype({"n": "Int64"})


def _shift(tested: Tested, before: str, after: str, role: str) -> dict[str, Any]:
    compared = tested.found
    return {
        "what": "shift",
        "group": after,
        "role": role,
        "compared_with": before,
        "n": compared.n_b,
        "value": compared.shift,
        "low": compared.shift_low,
        "high": compared.shift_high,
        "p_value": compared.p_value,
        "least_p_value": compared.min_p_value,
        "test": tested.test,
        "correction": tested.correction,
        "note": tested.no_p_value,
    }


def _recovery(recovered: Recovery, translated: str, before: str) -> dict[str, Any]:
    return {
        "what": "recovery",
        "group": translated,
        "role": "translated",
        "compared_with": before,
        "value": recovered.value,
        "low": recovered.low,
        "high": recovered.high,
        "note": recovered.reason,
    }
