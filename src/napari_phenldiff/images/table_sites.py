"""Where the images of a table were taken: the plate, well and field of each line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from napari_phenldiff.images.column_names import (
    as_number,
    check_filled,
    culture_columns,
    first_known,
    known,
    plain_name,
    plate_columns,
    well_columns,
    whole,
)
from napari_phenldiff.images.exports import well_name
from napari_phenldiff.images.layout import normal_plate, normal_well
from napari_phenldiff.images.places import Site, place_of, well_named
from napari_phenldiff.images.spreadsheet import Line, Spreadsheet

_FIELD = re.compile(
    r"(?:field|site|fov|position)(?:_?(?:id|name|no|nr|num|number|index|of_?view))?"
)
_ROW = re.compile(r"(?:well_?|plate_?)?row")
_COL = re.compile(r"(?:well_?|plate_?)?col(?:umn)?")


@dataclass(frozen=True, slots=True)
class TableSites:
    """Where the images of a table were taken.

    Attributes
    ----------
    by_line : mapping of int to Site
        By the number of the line.
    told : str
        By which columns, in a sentence; empty if nothing tells wells.
    """

    by_line: Mapping[int, Site]
    told: str = ""


def sites_of(
    sheet: Spreadsheet,
    lines: Sequence[Line],
    *,
    names: Sequence[str] = (),
    conditions: Sequence[str] = (),
) -> TableSites:
    """Read plate, well and field from the lines of a table.

    Where neither columns nor the names of files tell wells, the animal, donor or the like is what
    was repeated, and stands for the well.

    Parameters
    ----------
    sheet : Spreadsheet
    lines : sequence of Line
        Those that are used.
    names : sequence of str
        Of the files of each line.
    conditions : sequence of str
        Columns that name the condition, which are not what was repeated.

    Raises
    ------
    InputError
        If some lines tell the well, or the plate, and others do not.
    """
    plates = plate_columns(sheet)
    wells = well_columns(sheet)
    rows = _named(sheet, _ROW)
    cols = _named(sheet, _COL)
    cultures = [one for one in culture_columns(sheet) if one[0] not in conditions]
    by_plate = [normal_plate(first_known(line, plates)) for line in lines]
    by_well = [normal_well(whole(first_known(line, wells))) for line in lines]
    of_grid = [
        _of_row_and_column(first_known(line, rows), first_known(line, cols)) for line in lines
    ]
    by_well = [well or other for well, other in zip(by_well, of_grid, strict=True)]
    if any(by_well):
        used = [column for column in wells if any(known(line[column]) for line in lines)]
        used = used or [*rows[:1], *cols[:1]]
        told = f"wells are those of {' and '.join(used[:2])}"
        if cultures:
            told += f", and not {cultures[0][0]}"
    elif cultures and names and all(map(_tells_well, names)):
        used, told = [], f"wells are those in the names of the files, and not {cultures[0][0]}"
    elif cultures:
        column, word = cultures[0]
        used = [column]
        by_well = _of_cultures([whole(known(line[column])) for line in lines], word)
        told = f"{column} tells what is counted, in place of a well"
    else:
        used = []
        alike = [name for name, _ in culture_columns(sheet, same=True) if name not in conditions]
        told = f"{alike[0]} is the same everywhere, and tells no images apart" if alike else ""
    if any(by_well) and any(by_plate):
        told += f"; plates are those of {plates[0]}"
    check_filled(sheet, lines, by_well, used)
    check_filled(sheet, lines, by_plate, plates)
    fields = _named(sheet, _FIELD)
    by_plate, by_well = _in_one_way(by_plate), _in_one_way(by_well)
    found = {
        line.number: Site(plate or None, well or None, first_known(line, fields) or None)
        for line, plate, well in zip(lines, by_plate, by_well, strict=True)
    }
    return TableSites(found, f"{sheet.path.name}: {told.rstrip('.')}." if told else "")


def _named(sheet: Spreadsheet, pattern: re.Pattern[str]) -> list[str]:
    return [column for column in sheet.columns if pattern.fullmatch(plain_name(column))]


def _tells_well(name: str) -> bool:
    """Whether the name of a file surely tells a well of a plate."""
    stem = re.split(r"[/\\]", name.strip())[-1].rsplit(".", 1)[0]
    return well_named(stem) in place_of(stem, unsure=False).name.split()


def _of_row_and_column(row: str, col: str) -> str:
    row, col = whole(row), whole(col)
    return well_name(row, int(col)) if row and col.isdigit() else ""


def _of_cultures(values: Sequence[str], word: str) -> list[str]:
    """Call each animal, donor or the like so that it is read as one of its own everywhere."""
    values = _in_one_way(values)
    different = [value for value in dict.fromkeys(values) if value]
    plain = {
        value: value if value.lower().startswith(word) else f"{word} {value}" for value in different
    }
    places = {place_of(replace(Site(), well=name).part_of or "") for name in plain.values()}
    kinds = {place.kind for place in places}
    if len(places) < len(different) or kinds != {"well"}:
        # Some of what they are called would be left out of the name of a well.
        plain = {value: f"{word} {k} ({value})" for k, value in enumerate(different, 1)}
    return [plain.get(value, "") for value in values]


def _in_one_way(values: Sequence[str]) -> list[str]:
    """Write what is the same number (1, 01) as it is written first."""
    first: dict[object, str] = {}
    return [
        first.setdefault(as_number(value), value) if value.isdigit() else value for value in values
    ]
