"""Where the images of a table were taken: the plate, well and field of each line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from napari_phenldiff.images.column_names import (
    as_number,
    check_filled,
    culture_columns,
    first_known,
    in_some,
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
        If some lines of a condition tell the well, or the plate of a well, and others do not.
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
    remarks = []
    by_well = [well or other for well, other in zip(by_well, of_grid, strict=True)]
    used = [column for column in wells if any(known(line[column]) for line in lines)]
    lacking = in_some(lines, by_well)
    if lacking and (not used or _of_whole_conditions(lines, by_well, conditions)):
        remarks.append(_not_used(used or [*rows[:1], *cols[:1]], lacking))
        by_well = [""] * len(lines)
    full = [one for one in cultures if all(known(line[one[0]]) for line in lines)]
    if any(by_well):
        used = used or [*rows[:1], *cols[:1]]
        told = f"wells are those of {' and '.join(used[:2])}"
        if cultures:
            told += f", and not {cultures[0][0]}"
    elif cultures and names and all(map(_tells_well, names)):
        used, told = [], f"wells are those in the names of the files, and not {cultures[0][0]}"
    elif full:
        column, word = full[0]
        remarks += _of_some(lines, cultures[: cultures.index(full[0])])
        used = [column]
        by_well = _of_cultures([whole(known(line[column])) for line in lines], word)
        told = f"{column} tells what is counted, in place of a well"
    else:
        used = []
        alike = [name for name, _ in culture_columns(sheet, same=True) if name not in conditions]
        told = ""
        if alike and len({known(line[alike[0]]) for line in lines} - {""}) == 1:
            told = f"{alike[0]} is the same everywhere, and tells no images apart"
        elif alike:
            told = f"{alike[0]} names kinds, and tells not what is counted"
        remarks += _of_some(lines, cultures)
    lacking = in_some(lines, by_plate)
    if lacking and (not any(by_well) or (full and used == [full[0][0]])):
        remarks.append(_not_used(plates, lacking))
        by_plate = [""] * len(lines)
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
    told = "; ".join(filter(None, (told.rstrip("."), *remarks)))
    return TableSites(found, f"{sheet.path.name}: {told}." if told else "")


def _of_some(lines: Sequence[Line], cultures: Sequence[tuple[str, str]]) -> list[str]:
    """Say which columns of what was repeated tell something in some lines only."""
    told = [(name, in_some(lines, [known(line[name]) for line in lines])) for name, _ in cultures]
    return [_not_used([name], lacking) for name, lacking in told if lacking]


def _not_used(columns: Sequence[str], lacking: str) -> str:
    says, is_not = ("say", "are not") if len(columns) > 1 else ("says", "is not")
    return (
        f"{' and '.join(columns)} {says} nothing {lacking}, and {is_not} used to tell what is "
        "counted: fill in each cell to have it used"
    )


def _of_whole_conditions(
    lines: Sequence[Line], told: Sequence[str], conditions: Sequence[str]
) -> bool:
    """Whether each condition tells something in all of its lines, or in none."""
    by_condition: dict[tuple[str, ...], set[bool]] = {}
    for line, text in zip(lines, told, strict=True):
        name = tuple(line[column] for column in conditions)
        by_condition.setdefault(name, set()).add(bool(text))
    return all(len(some) == 1 for some in by_condition.values())


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
    places = {place_of(Site(well=name).part_of or "") for name in plain.values()}
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
