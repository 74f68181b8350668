"""Rows of a table as people have them: CSV of any common encoding and separator, or Excel."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count

TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".xlsx", ".xlsm", ".xls")
"""Of files that are taken for tables."""

_ZIP = b"PK\x03\x04"  # what Excel's files of today are
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"
_SEPARATORS = ",;\t|"
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table.

    Attributes
    ----------
    number : int
        Of the line in the file, from 1; the header is the first.
    cells : mapping of str to str
        By column, without blanks around them; empty where there is nothing.
    """

    number: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells.get(column, "")


@dataclass(frozen=True, slots=True)
class Spreadsheet:
    """A table with a header.

    Attributes
    ----------
    path : Path
        The file, for messages.
    columns : tuple of str
        Names of the columns, without blanks around them.
    lines : tuple of Line
        Rows that are not empty.
    remarks : tuple of str
        How it was read, where that is not plain, in sentences.
    """

    path: Path
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    remarks: tuple[str, ...] = ()


def is_table(path: Path) -> bool:
    """Whether a file is called like a table."""
    return path.suffix.lower() in TABLE_SUFFIXES


def read_spreadsheet(path: Path) -> Spreadsheet:
    """Read a table.

    The encoding is told by the byte order mark, else it is UTF-8 where that fits, else that of
    Windows (cp1252), which is said. The separator is the one of comma, semicolon, tab and bar that
    is most often in the header. Empty rows are passed over.

    Parameters
    ----------
    path : Path
        CSV, or the first sheet of an Excel file.

    Raises
    ------
    InputError
        If it cannot be read, has two columns of one name, a row with more cells than the header,
        or no rows.
    """
    remarks: list[str] = []
    try:
        contents = path.read_bytes()
        if contents.startswith((_ZIP, _OLD_EXCEL)):
            rows = _excel_rows(path, contents)
        else:
            rows, remarks = _csv_rows(path, contents)
    except (OSError, UnicodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table ({error}): give a CSV file.") from error
    header = next(((number, cells) for number, cells in rows if any(cells)), None)
    if header is None:
        raise InputError(f"{path} is empty: give a table with a header and one row per field.")
    columns = _columns(path, header[1])
    lines = []
    for number, cells in rows:
        if number <= header[0] or not any(cells):
            continue
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise InputError(
                f"{path} has {count(len(cells), 'cell')} in line {number} but "
                f"{count(len(columns), 'column')}: check the separators in that line."
            )
        named: dict[str, str] = {}
        for name, cell in zip(columns, [*cells, *[""] * len(columns)], strict=False):
            named.setdefault(name, cell)  # several columns may have no name
        lines.append(Line(number, named))
    if not lines:
        raise InputError(f"{path} has a header but no rows: give one row per field.")
    return Spreadsheet(path, tuple(columns), tuple(lines), tuple(remarks))


def _columns(path: Path, header: Sequence[str]) -> list[str]:
    columns = list(header)
    while columns and not columns[-1]:
        columns.pop()
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice is not None:
        raise InputError(f'{path} has two columns called "{twice}": give each a name of its own.')
    return columns


def _csv_rows(path: Path, contents: bytes) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Return the cells of each line with its number, and what is worth telling."""
    encoding, remarks = _encoding(path, contents)
    text = contents.decode(encoding)
    if "\0" in text:
        raise csv.Error("it holds signs of no text")
    first = next((line for line in text.splitlines() if line.strip()), "")
    if first.lower().startswith("sep=") and len(first) == 5:  # Excel's word on the separator
        separator = first[4]
        text = text.replace(first, "", 1)
    else:
        separator = max(_SEPARATORS, key=_outside_quotes(first).count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True)
    return [(reader.line_num, [cell.strip() for cell in row]) for row in reader], remarks


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _encoding(path: Path, contents: bytes) -> tuple[str, list[str]]:
    for mark, encoding in _BYTE_ORDER_MARKS:
        if contents.startswith(mark):
            return encoding, []
    # Letters of a Latin alphabet leave every other byte empty.
    if len(contents) > 3 and contents[1::2].count(0) > len(contents) // 3:
        return "utf-16-le", []
    if len(contents) > 3 and contents[::2].count(0) > len(contents) // 3:
        return "utf-16-be", []
    try:
        contents.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252", [f"{path.name} was read in the encoding of Windows (cp1252)."]
    return "utf-8", []


def _excel_rows(path: Path, contents: bytes) -> list[tuple[int, list[str]]]:
    import pandas as pd

    try:
        frame = pd.read_excel(
            io.BytesIO(contents), header=None, dtype=str, keep_default_na=False, na_filter=False
        )
    except ImportError as error:
        raise InputError(
            f"{path} is an Excel file, which needs another package to be read "
            f"({' '.join(str(error).split())}): install it, or save the table as CSV."
        ) from error
    # A damaged file fails in any part of the reader.
    except Exception as error:
        raise InputError(
            f"{path} is an Excel file that cannot be read ({' '.join(str(error).split())}): save "
            "it again, or as CSV."
        ) from error
    return [
        (number, ["" if cell is None else str(cell).strip() for cell in row])
        for number, row in enumerate(frame.itertuples(index=False), 1)
    ]
