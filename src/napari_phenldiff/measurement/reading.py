"""Tables of a measurement, read again from their files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.profiles import find_profile, read_settings
from napari_phenldiff.measurement.tables import Measurement

if TYPE_CHECKING:
    import pandas as pd


def read_measurement(path: str | os.PathLike[str]) -> Measurement:
    """Read the tables that `Measurement.write` or `measure_files` wrote.

    Parameters
    ----------
    path : path-like
        The table of images, ``T.csv``, with ``T_settings.json`` beside it. ``T_cells.csv`` is
        read if it is there.

    Returns
    -------
    Measurement

    Raises
    ------
    InputError
        If there is no such table, or its columns have the names of CellProfiler.
    """
    path = Path(path)
    profile, settings, thresholds = read_settings(path.with_name(f"{path.stem}_settings.json"))
    kind = find_profile(profile)
    images = _read(path)
    lacking = [name for name in ("image", "condition", kind.main_column) if name not in images]
    if lacking:
        raise InputError(
            f'{path} has no column "{lacking[0]}": give a table with the column names of '
            "scikit-image, as measure writes it by default."
        )
    images["reason"] = images["reason"].fillna("") if "reason" in images else ""
    images = images.astype({name: d for name, d in kind.columns.items() if name in images})
    cells_path = path.with_name(f"{path.stem}_cells{path.suffix}")
    cells: pd.DataFrame | None = None
    if kind.cell_columns and cells_path.is_file():
        cells = _read(cells_path)
    return Measurement(kind, images, cells, settings, thresholds)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # An image, a condition or a channel may be called 07 or NA.
        words = ("image", "condition", "reason", "channel", "part_of")
        names = dict.fromkeys(words, "string")
        table = pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a table: {error}.") from error
    return table
