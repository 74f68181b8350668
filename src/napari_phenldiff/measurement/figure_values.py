"""What a figure of four groups shows, as numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.measurement.compare import Comparison, Recovery, compare, recovery
from napari_phenldiff.measurement.effects import matched, unit_values
from napari_phenldiff.measurement.tables import Measurement

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
    seed : int
        Seed of random permutations.

    Returns
    -------
    pandas.DataFrame
        ``what`` tells what a row is: ``image`` (one dot; ``value``), ``median`` (one line, with
        the number of images), ``shift`` (Hodges-Lehmann, from `compared_with` to `group`, with
        its 95 % interval, the p-value and the least that so many images can have), ``shift of
        pairs`` (the same of the differences between an image before and after) and ``recovery``
        (a fraction, with its 95 % interval; ``note`` says why there is none).

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
    values = {name: measurement.values(name, column) for name in roles}
    rows: list[dict[str, Any]] = []
    for name, role in roles.items():
        images = measurement.images.loc[measurement.images["condition"] == name, "image"]
        rows += [
            {"what": "image", "group": name, "role": role, "image": image, "value": value}
            for image, value in zip(images, values[name], strict=True)
        ]
    for name, role in roles.items():
        known = values[name][np.isfinite(values[name])]
        median = float(np.median(known)) if known.size else math.nan
        rows.append(
            {"what": "median", "group": name, "role": role, "n": known.size, "value": median}
        )
    real = compare(values[source], values[target], seed=seed)
    rows.append(_shift(real, source, target, "real"))
    if translated is not None:
        before = None if reconstructed is None else values[reconstructed]
        recovered = recovery(
            values[source], values[target], values[translated], reconstructed=before, seed=seed
        )
        if before is not None and reconstructed is not None:
            made = compare(before, values[translated], seed=seed, paired=True)
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
    seed : int
        Seed of random permutations.

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
    first, second = matched(
        unit_values(measurement, before, column),
        unit_values(measurement, after, column),
        by_place=made,
    )
    a, b = first.to_numpy(np.float64), second.to_numpy(np.float64)
    pairs = pd.DataFrame(
        {"what": "pair", "image": first.index, "before": a, "after": b, "change": b - a}
    )
    role = "translated" if made else "real"
    row = _shift(compare(a, b, paired=True, seed=seed), before, after, role)
    shift = pd.DataFrame([row | {"what": "shift of pairs"}])
    table = pd.concat([pairs, shift], ignore_index=True)
    table["measurement"], table["group"], table["compared_with"] = column, after, before
    columns = ["what", "measurement", "compared_with", "group", "image", "before", "after"]
    columns += ["change", "n", "value", "low", "high", "p_value", "least_p_value", "test"]
    return table[columns].astype({"n": "Int64"})


def _shift(compared: Comparison, before: str, after: str, role: str) -> dict[str, Any]:
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
        "test": "Wilcoxon signed-rank" if compared.paired else "Mann-Whitney",
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
