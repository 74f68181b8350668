"""CSV files of tables: written piece by piece, with the column names that are asked for."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


_AT_ONCE = 64


class Spool:
    """Records collected in a temporary file and written as CSV once all columns are known.

    Not every record has all the columns: images may have different channels. So nothing can be
    written before the last one has come.

    Parameters
    ----------
    columns : list of str
        Those that the table has in any case, at its beginning.
    last : list of str
        Those at its end.
    """

    def __init__(self, columns: list[str], last: list[str] | None = None) -> None:
        self._columns = dict.fromkeys(columns)
        self._last = last or []
        # A column may hold integers for one image and fractions for another: it is float then.
        self._broken: set[str] = set()
        # Closed by `__exit__`.
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What could not be written has been told, and nobody needs the rest.
        with suppress(OSError):
            self._file.close()

    @property
    def columns(self) -> list[str]:
        """Names of all columns that have come, in their order."""
        return [*(name for name in self._columns if name not in self._last), *self._last]

    def add(self, record: Mapping[str, Any]) -> None:
        """Add a record; its values are numbers, words, or arrays of one value per row."""
        self._columns.update(dict.fromkeys(record))
        plain = {}
        for name, value in record.items():
            if isinstance(value, np.ndarray | np.generic):
                if value.dtype.kind == "f":
                    self._broken.add(name)
                value = value.tolist()
            plain[name] = value
        # Floats are written with all their digits.
        with _in_temporary_folder():
            self._file.write(json.dumps(plain) + "\n")

    def flush(self) -> None:
        """Write what is still in memory, so that a full disk is told before a table is begun."""
        with _in_temporary_folder():
            self._file.flush()

    def write(
        self, path: Path, frame: Callable[[list[dict[str, Any]]], pd.DataFrame], rename: Any = None
    ) -> None:
        """Write the table, some records at a time.

        Parameters
        ----------
        path : pathlib.Path
            A new CSV; `write_atomic` gives one that becomes complete or is removed.
        frame : callable
            Makes a table of some records.
        rename : callable or mapping, optional
            From the names of columns to those in the file.
        """
        names = self.columns
        with path.open("w", encoding="utf-8", newline="") as out:
            header = True
            for records in self._read():
                table = frame(records).reindex(columns=names)
                broken = [name for name in names if name in self._broken and len(table)]
                table = table.astype(dict.fromkeys(broken, "float64"))
                if rename is not None:
                    table = table.rename(columns=rename)
                write_csv(table, out, header=header)
                header = False

    def _read(self) -> Iterator[list[dict[str, Any]]]:
        """Read the records in their order; at least once, if none at all."""
        with _in_temporary_folder():
            self._file.seek(0)
        some: list[dict[str, Any]] = []
        some_read = False
        for line in self._file:
            some.append(json.loads(line))
            if len(some) == _AT_ONCE:
                yield some
                some, some_read = [], True
        if some or not some_read:
            yield some


@contextmanager
def _in_temporary_folder() -> Iterator[None]:
    """Name the folder for temporary files in errors there; the file itself has no name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = tempfile.gettempdir()
        raise


# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(table: pd.DataFrame, file: Path | IO[str], **how: Any) -> None:
    """Write a table as CSV in which no name is a formula.

    A spreadsheet would carry out what begins with ``=``, ``+``, ``-`` or ``@``: such words get an
    apostrophe before them, as spreadsheets write words that look like something else. Numbers are
    left as they are. `without_apostrophes` takes them off again.

    Parameters
    ----------
    table : pandas.DataFrame
    file : path or open file
        A file opened with ``newline=""``.
    **how
        As for `pandas.DataFrame.to_csv`, without the index and the ends of lines.
    """
    if isinstance(file, Path):
        with file.open("w", encoding="utf-8", newline="") as opened:
            write_csv(table, opened, **how)
        return
    words = table.select_dtypes(include=["object", "string"]).columns
    safe = {name: table[name].map(_no_formula) for name in words}
    rows: Any = Rows(file)
    table.assign(**safe).to_csv(rows, index=False, lineterminator=Rows.end, **how)


class Rows:
    """What a writer of CSV writes to, so that names with a carriage return are read as they are.

    Python quotes, besides a line feed, only what ends its lines; but readers take a carriage return
    alone for the end of one too. So the writer gets an end that has it, of which none is written.

    Parameters
    ----------
    file : open file
        Where the rows go, opened with ``newline=""``.
    newline : str, optional
        What ends a line there; by default as on this system.

    Attributes
    ----------
    end : str
        The end of lines to give to the writer.
    """

    end = "\r\n"

    def __init__(self, file: IO[str], newline: str = os.linesep) -> None:
        self._file = file
        self._newline = newline

    def write(self, row: str) -> int:
        """Write a whole row."""
        return self._file.write(row.removesuffix(self.end) + self._newline)


def without_apostrophes(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that was read from what `write_csv` wrote, with words as they were."""
    words = table.select_dtypes(include=["object", "string"]).columns
    plain = {name: table[name].map(_plain_word, na_action="ignore") for name in words}
    return table.assign(**{n: x.astype(table[n].dtype) for n, x in plain.items()})


def _no_formula(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Bytes of a name that are no text cannot be written.
    text = value.encode("utf-8", "replace").decode("utf-8")
    return f"'{text}" if text.startswith((*_FORMULA, *(f"'{sign}" for sign in _FORMULA))) else text


def _plain_word(value: object) -> object:
    if isinstance(value, str) and value[:1] == "'" and value[1:].lstrip("'").startswith(_FORMULA):
        return value[1:]
    return value


ColumnNames = Literal["scikit-image", "cellprofiler"]


# As ExportToSpreadsheet writes them; {} is the name of the image or of the objects.
_IMAGE = {
    "image": "Metadata_Image",
    "condition": "Metadata_Condition",
    "channel": "Metadata_Channel",
    "plate": "Metadata_Plate",
    "well": "Metadata_Well",
    "field": "Metadata_Site",
    "reason": "Metadata_Reason",
    "threshold": "Threshold_FinalThreshold_{}",
    "n_cells": "Count_Nuclei",
}


# Of a marker in the whole field.
_OCCUPIED = {
    "area_px": "AreaOccupied_AreaOccupied_{}",
    "perimeter_px": "AreaOccupied_Perimeter_{}",
    "total_px": "AreaOccupied_TotalArea_{}",
}


_SHAPES = {
    "area_px": "AreaShape_Area",
    "perimeter_px": "AreaShape_Perimeter",
    "eccentricity": "AreaShape_Eccentricity",
    "solidity": "AreaShape_Solidity",
    "axis_major_length_px": "AreaShape_MajorAxisLength",
    "axis_minor_length_px": "AreaShape_MinorAxisLength",
}


_CELLS = {
    "image": "Metadata_Image",
    "condition": "Metadata_Condition",
    "label": "ObjectNumber",
    "y": "AreaShape_Center_Y",
    "x": "AreaShape_Center_X",
    **_SHAPES,
}


_INTENSITY = re.compile(r"intensity_mean_(.+)")
_OVER_CELLS = "Median_Nuclei_"


def renaming(
    names: ColumnNames, columns: Sequence[str], channel: str = "", *, cells: bool = False
) -> dict[str, str]:
    """Say what columns are called in a file.

    Parameters
    ----------
    names : {"scikit-image", "cellprofiler"}
        The names of the API, or CellProfiler's (module MeasureImageAreaOccupied and others).
    columns : sequence of str
        The columns of a table, under the names of the API.
    channel : str
        Name of the channel that was measured, which is part of CellProfiler's names.
    cells : bool
        Whether it is the table of cells.

    Returns
    -------
    dict of str to str
        For the columns that are called something else. What CellProfiler does not measure keeps
        its name.
    """
    if names == "scikit-image":
        return {}
    occupied = "total_px" in columns
    known = _CELLS if cells else _IMAGE | (_OCCUPIED if occupied else {})
    renamed = {name: known[name].format(_word(channel)) for name in columns if name in known}
    # An image that has no area of its own has the medians over its cells.
    prefix = "" if cells else _OVER_CELLS
    for name in columns:
        intensity = _INTENSITY.fullmatch(name)
        if intensity is not None:
            renamed[name] = f"{prefix}Intensity_MeanIntensity_{_word(intensity[1])}"
        elif name in _SHAPES and not cells and not occupied:
            renamed[name] = f"{prefix}{_SHAPES[name]}"
    return renamed


def _word(name: str) -> str:
    """Write a name as CellProfiler does: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name).strip("_") or "Image"
