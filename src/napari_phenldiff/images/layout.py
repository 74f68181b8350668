"""Plate layouts: which well had which condition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.exports import well_name
from napari_phenldiff.images.naming import composed, file_safe, quoted
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.spreadsheet import Spreadsheet, read_spreadsheet

_WELL = re.compile(r"([A-Z]{1,2})[ \-]?0*([1-9]\d?)", re.I)
_WELL_COLUMN = re.compile(r"(?:.*[ _])?well(?:[ _]?(?:id|name|position))?", re.I)
_PLATE_COLUMN = re.compile(r"(?:.*[ _])?(?:plate(?:[ _]?(?:id|name|barcode))?|barcode)", re.I)
_CONDITION = (
    "condition",
    "treatment",
    "perturbation",
    "compound",
    "drug",
    "sirna",
    "gene",
    "group",
    "content",
    "sample",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which well had which condition.

    Attributes
    ----------
    path : Path
        The table.
    wells : mapping of (str or None, str) to str
        By plate, None in a layout for all plates, and well (``B03``), the condition.
    """

    path: Path
    wells: Mapping[tuple[str | None, str], str]

    def condition_of(self, site: Site) -> str | None:
        """Return the condition of the well of an image, None where the layout has none."""
        if site.well is None:
            return None
        well = normal_well(site.well)
        plates = [site.plate, None]
        found = (self.wells.get((plate, well)) for plate in plates)
        return next((condition for condition in found if condition), None)


def normal_well(well: str) -> str:
    """Write a well as a letter and two digits: ``b3``, ``B-03`` and ``B003`` are ``B03``."""
    match = _WELL.fullmatch(well.strip())
    return well.strip() if match is None else f"{match[1].upper()}{int(match[2]):02d}"


def read_layout(path: Path) -> Layout:
    """Read a plate layout.

    Parameters
    ----------
    path : Path
        A table with a column of wells, one of conditions (condition, treatment, compound ...) and
        perhaps one of plates; or a map of the plate: rows A, B ... in the first column and columns
        1, 2 ... in the header. Wells without a condition are left out.

    Raises
    ------
    InputError
        If it is neither, or names a well twice.
    """
    sheet = read_spreadsheet(path)
    wells = _map_of_plate(sheet)
    if wells is None:
        wells = _list_of_wells(sheet)
    named = {place: name for place, name in wells.items() if name}
    if not named:
        raise InputError(f"{path} names no condition for any well: fill it in.")
    return Layout(path, named)


def _map_of_plate(sheet: Spreadsheet) -> dict[tuple[str | None, str], str] | None:
    numbers = [column for column in sheet.columns if re.fullmatch(r"0*[1-9]\d?", column)]
    rows = next((c for c in sheet.columns if c not in numbers), "")
    letters = [line[rows] for line in sheet.lines]
    if len(numbers) < 2 or not all(re.fullmatch(r"[A-Za-z]{1,2}", text) for text in letters):
        return None
    return {
        (None, well_name(letter, int(column))): _condition(line[column])
        for letter, line in zip(letters, sheet.lines, strict=True)
        for column in numbers
    }


def _list_of_wells(sheet: Spreadsheet) -> dict[tuple[str | None, str], str]:
    well = next((c for c in sheet.columns if _WELL_COLUMN.fullmatch(c)), None)
    plate = next((c for c in sheet.columns if _PLATE_COLUMN.fullmatch(c)), None)
    plain = {column.lower().removeprefix("metadata_"): column for column in sheet.columns}
    condition = next((plain[name] for name in _CONDITION if name in plain), None)
    if well is None or condition is None:
        raise InputError(
            f"{sheet.path} is no layout of a plate: it needs the columns well and condition, or "
            f"the rows and columns of a plate; it has {quoted(sheet.columns)}."
        )
    found: dict[tuple[str | None, str], str] = {}
    for line in sheet.lines:
        place = (line[plate] if plate and line[plate] else None, normal_well(line[well]))
        name = _condition(line[condition])
        if found.setdefault(place, name) != name:
            raise InputError(
                f'{sheet.path} says in line {line.number} that well {place[1]} had "{name}", and '
                f'before that it had "{found[place]}": name each well once.'
            )
    return found


def _condition(text: str) -> str:
    return composed(file_safe(text)) if text else ""
