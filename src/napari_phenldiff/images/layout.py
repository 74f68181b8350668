"""Plate layouts: which well had which condition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.column_names import (
    ANY_WELL,
    dose_column,
    doses_of,
    first_known,
    in_some,
    names_of_conditions,
    plates_of_layout,
    several_doses,
    well_columns,
    whole,
)
from napari_phenldiff.images.exports import well_name
from napari_phenldiff.images.naming import composed, file_safe, quoted
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.spreadsheet import Spreadsheet, read_spreadsheet

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
_SUBSTANCE = ("treatment", "perturbation", "compound", "drug")
"""What has another dose beside, if it differs."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which well had which condition.

    Attributes
    ----------
    path : Path
        The table.
    wells : mapping of (str or None, str) to str
        By plate, None in a layout for all plates, and well (``B03``), the condition.
    remarks : tuple of str
        What became of doses, and of lines that lack something, in sentences.
    """

    path: Path
    wells: Mapping[tuple[str | None, str], str]
    remarks: tuple[str, ...] = ()

    def condition_of(self, site: Site) -> str | None:
        """Return the condition of the well of an image, None where the layout has none."""
        if site.well is None:
            return None
        well = normal_well(site.well)
        plates = [None if site.plate is None else normal_plate(site.plate), None]
        found = (self.wells.get((plate, well)) for plate in plates)
        return next((condition for condition in found if condition), None)


def normal_well(well: str) -> str:
    """Write a well as a letter and two digits: ``b3``, ``B-03`` and ``B003`` are ``B03``."""
    match = ANY_WELL.fullmatch(well.strip())
    return well.strip() if match is None else f"{match[1].upper()}{int(match[2]):02d}"


def normal_plate(plate: str) -> str:
    """Write the number of a plate without decimals, as Excel gives them: ``1.0`` is ``1``."""
    return whole(plate.strip())


def read_layout(path: Path) -> Layout:
    """Read a plate layout.

    Parameters
    ----------
    path : Path
        A table with a column of wells, one of conditions (condition, treatment, compound ..., with
        the dose of a substance that has several) and perhaps one of plates; or a map of the plate:
        rows A, B ... in the first column and columns 1, 2 ... in the header. Wells without a
        condition are left out.

    Raises
    ------
    InputError
        If it is neither, or names a well twice.
    """
    sheet = read_spreadsheet(path)
    wells, told = _map_of_plate(sheet), list[str]()
    if wells is None:
        wells, told = _list_of_wells(sheet)
    named = {place: name for place, name in wells.items() if name}
    if not named:
        raise InputError(f"{path} names no condition for any well: fill it in.")
    return Layout(path, named, tuple(told))


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


def _list_of_wells(sheet: Spreadsheet) -> tuple[dict[tuple[str | None, str], str], list[str]]:
    """Return the conditions by plate and well, and what is worth telling of them."""
    wells, plates = well_columns(sheet), plates_of_layout(sheet)
    named = product(names_of_conditions(sheet), _CONDITION)
    name, condition = next(((one, of[one]) for of, one in named if one in of), ("", ""))
    if not wells or not name:
        raise InputError(
            f"{sheet.path} is no layout of a plate: it needs the columns well and condition, or "
            f"the rows and columns of a plate; it has {quoted(sheet.columns)}."
        )
    dose = dose_column(sheet)
    several = [] if dose is None else several_doses(sheet, condition, dose)
    joined = name in _SUBSTANCE and bool(several)
    filled = [line for line in sheet.lines if line[condition]]
    well_of = {line.number: first_known(line, wells) for line in filled}
    lines = [line for line in filled if well_of[line.number]]
    plate_of = {line.number: normal_plate(first_known(line, plates)) for line in lines}
    told = []
    if lacking := in_some(filled, list(well_of.values())):
        told.append(f"{sheet.path.name}: no well is told {lacking}, left out.")
    if lacking := in_some(lines, list(plate_of.values())):
        told.append(f"{sheet.path.name}: what is told {lacking} without a plate is so on each.")
    found: dict[tuple[str | None, str], str] = {}
    dose_of = {} if dose is None or not joined else doses_of(sheet, dose)
    for line in lines:
        place = (plate_of[line.number] or None, normal_well(well_of[line.number]))
        name = _condition("_".join(filter(None, (line[condition], dose_of.get(line.number)))))
        if found.setdefault(place, name) != name:
            raise InputError(
                f'{sheet.path} says in line {line.number} that well {place[1]} had "{name}", and '
                f'before that it had "{found[place]}": name each well once.'
            )
    if joined:
        told.append(f"{sheet.path.name}: conditions are those of {condition} and {dose}.")
    elif several:
        told.append(
            f"{sheet.path.name}: {dose} differs within {quoted(several, limit=3)}, whose doses are "
            f"one condition: to take them apart, write the dose into {condition}."
        )
    return found, told


def _condition(text: str) -> str:
    return composed(file_safe(text)) if text else ""
