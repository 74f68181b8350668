"""The tables that a measurement gives, and their files."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.places import SITE_COLUMNS
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.profiles.cells import INTENSITY
from napari_phenldiff.measurement.profiles.profile import Profile
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.tables.csv_files import (
    ColumnNames,
    renaming,
    without_apostrophes,
    write_csv,
)
from napari_phenldiff.measurement.tables.outcome import Outcome

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """The tables of a measurement, with its profile and settings.

    Parameters
    ----------
    profile : Profile
        The profile that was used.
    images : pandas.DataFrame
        One row per image: ``image``, ``condition`` (the group), the profile's columns,
        ``part_of`` if there are images of stacks (which one), and ``reason``. What could not be
        measured is missing (NaN), and `reason` says why; it is empty otherwise.
    cells : pandas.DataFrame or None
        One row per cell, with ``image``, ``condition`` and ``label``; None for a profile without
        cells.
    settings : Settings
        Settings of the profile.
    thresholds : mapping of str to float
        Thresholds that were used for the whole experiment; those found per image are in the
        table.
    outcome : Outcome or None
        What could not be measured and what may be wrong with the images; None for tables that
        were read from files.
    """

    profile: Profile[Any]
    images: pd.DataFrame
    cells: pd.DataFrame | None
    settings: Settings
    thresholds: Mapping[str, float] = field(default_factory=dict)
    outcome: Outcome | None = None

    @property
    def main_column(self) -> str:
        """The column in which conditions are compared by default."""
        return self.profile.main_column

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the groups, in the order in which they were given."""
        return tuple(self.images["condition"].unique())

    def values(self, condition: str, column: str | None = None) -> np.ndarray:
        """Values of a group, one per image, in the order of its images.

        Parameters
        ----------
        condition : str
            Name of the group.
        column : str, optional
            Column of the table of images; by default the main column.

        Returns
        -------
        numpy.ndarray of shape (N,), float64
            NaN where an image could not be measured.

        Raises
        ------
        InputError
            If there is no such group or column.
        """
        column = column or self.main_column
        if column not in self.images:
            raise InputError(
                f'There is no column "{column}": choose one of {quoted(list(self.images))}.'
            )
        if condition not in self.conditions:
            raise InputError(
                f'No condition "{condition}" was measured: choose one of {quoted(self.conditions)}.'
            )
        chosen = self.images.loc[self.images["condition"] == condition, column]
        return chosen.to_numpy(dtype=np.float64, na_value=np.nan)

    def write(
        self, path: str | os.PathLike[str], *, column_names: ColumnNames = "scikit-image"
    ) -> tuple[Path, ...]:
        """Write the tables as CSV, and the settings beside them.

        Parameters
        ----------
        path : path-like
            The table of images, for example ``T.csv``. The table of cells becomes
            ``T_cells.csv``, settings and thresholds become ``T_settings.json``.
        column_names : {"scikit-image", "cellprofiler"}
            What the columns are called in the files.

        Returns
        -------
        tuple of pathlib.Path
            The files that were written, the table of images last: where it is, all of it is.
        """
        path = Path(path)
        written = [path.with_name(f"{path.stem}_settings.json")]
        # All are complete before the first has its name, as in `measure_files`.
        with ExitStack() as writing:
            temporary = writing.enter_context(write_atomic(path))
            write_csv(self._renamed(self.images, column_names), temporary)
            if self.cells is not None:
                written.append(path.with_name(f"{path.stem}_cells{path.suffix}"))
                temporary = writing.enter_context(write_atomic(written[-1]))
                write_csv(self._renamed(self.cells, column_names), temporary)
            write_settings(written[0], self.profile.name, self.settings, self.thresholds)
        written.append(path)
        return tuple(written)

    def _renamed(self, table: pd.DataFrame, column_names: ColumnNames) -> pd.DataFrame:
        channels = list(self.images["channel"].dropna()) if "channel" in self.images else []
        channel = str(channels[0]) if channels else ""
        cells = table is self.cells
        return table.rename(columns=renaming(column_names, list(table), channel, cells=cells))


def write_settings(
    path: str | os.PathLike[str],
    profile: str,
    settings: Settings,
    thresholds: Mapping[str, float],
) -> None:
    """Write the settings and thresholds of a measurement, for `read_settings`.

    Parameters
    ----------
    path : path-like
        A JSON file.
    profile : str
        Name of the profile.
    settings : Settings
        Settings of the profile.
    thresholds : mapping of str to float
        Thresholds for the whole experiment, as far as they are known; the others are found in
        the images that are measured.
    """
    content = {
        "profile": profile,
        "settings": settings.model_dump(mode="json"),
        # JSON has no NaN, which stands for a threshold that could not be found.
        "thresholds": {n: None if math.isnan(t) else t for n, t in thresholds.items()},
    }
    with write_atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def image_table(profile: Profile[Any], rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Make the table of images from one row per image; what a row lacks is missing."""
    import pandas as pd

    first = ["image", "condition", *profile.columns]
    # Columns per channel are not known before the images are.
    more = dict.fromkeys(name for row in rows for name in row if name not in (*first, "reason"))
    table = pd.DataFrame.from_records(rows, columns=[*first, *more, "reason"])
    for name in ("part_of", *SITE_COLUMNS):
        more.pop(name, None)
    return table.astype({**profile.columns, **dict.fromkeys(more, "float64")})


def cell_table(profile: Profile[Any], cells: list[dict[str, Any]]) -> pd.DataFrame:
    """Make the table of cells from the columns of each image; the profile's columns come first."""
    import pandas as pd

    names = ["image", "condition", *profile.cell_columns]
    tables = [pd.DataFrame(columns) for columns in cells if len(columns["label"])]
    if not tables:
        return pd.DataFrame(columns=names)
    table = pd.concat(tables, ignore_index=True)
    return table.reindex(columns=list(dict.fromkeys([*names, *table.columns])))


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
    kind = find_profile(profile).suited(settings)
    images = _read(path)
    lacking = [name for name in ("image", "condition", kind.main_column) if name not in images]
    if lacking:
        raise InputError(
            f'{path} has no column "{lacking[0]}": give a table with the column names of '
            "scikit-image, as measure writes it by default."
        )
    images["reason"] = images["reason"].fillna("") if "reason" in images else ""
    try:
        images = images.astype({name: d for name, d in kind.columns.items() if name in images})
    except (TypeError, ValueError) as error:
        what = str(error).splitlines()[0]
        raise InputError(f"{path} holds something else than numbers ({what}).") from error
    cells_path = path.with_name(f"{path.stem}_cells{path.suffix}")
    cells: pd.DataFrame | None = None
    if kind.cell_columns and cells_path.is_file():
        cells = _read(cells_path)
    return Measurement(kind, images, cells, settings, thresholds)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        # An image, a condition or a channel may be called 07 or NA.
        words = ("image", "condition", "reason", "channel", "part_of", *SITE_COLUMNS)
        names = dict.fromkeys(words, "string")
        table = pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])
        table = without_apostrophes(table)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a table: {error}.") from error
    for name in ("image", "condition"):
        lacking = table[name].isna() if name in table else np.zeros(0, bool)
        if lacking.any():
            raise InputError(
                f"{path} names no {name} in row {int(lacking.argmax()) + 1}: it is damaged; "
                "measure again."
            )
    return table


def read_settings(path: str | os.PathLike[str]) -> tuple[str, Settings, dict[str, float]]:
    """Read the settings that `Measurement.write` wrote beside a table.

    Parameters
    ----------
    path : path-like
        For example ``T_settings.json``.

    Returns
    -------
    profile : str
    settings : Settings
    thresholds : dict of str to float

    Raises
    ------
    InputError
        If the file is none of settings.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        profile = find_profile(content["profile"])
        settings = profile.settings_type.model_validate(content["settings"])
        thresholds = {
            name: math.nan if value is None else float(value)
            for name, value in content.get("thresholds", {}).items()
        }
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f'The settings in {path} do not fit at "{place}" ({first["msg"]}): correct them there.'
        ) from error
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(OverflowError, RecursionError),
    ) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} holds no measurement settings: give a file that a measurement wrote."
        ) from error
    return profile.name, settings, thresholds


def column_text(measurement: Measurement, column: str) -> str:
    """Name a column on an axis."""
    if column == measurement.main_column:
        return measurement.profile.axis_label
    if column in measurement.profile.column_texts:
        return measurement.profile.column_texts[column]
    if column == "n_cells":
        return "number of nuclei"
    # It is as bright there as it is, however little of the image that is.
    if column.startswith(INTENSITY):
        return f"mean intensity of {column.removeprefix(INTENSITY).replace('_', ' ')} in the nuclei"
    if column.startswith("n_"):
        column = f"number_of_{column.removeprefix('n_')}"
    words = column.split("_")
    units = {"px": "px", "um": "µm", "px2": "px²", "um2": "µm²"}
    if len(words) > 1 and words[-1] in units:
        unit = units[words[-1]] + ("²" if words[-2] == "area" and len(words[-1]) == 2 else "")
        return f"{' '.join(words[:-1])} ({unit})"
    return " ".join(words)
