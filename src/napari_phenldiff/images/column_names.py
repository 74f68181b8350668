"""What the columns of a table are by their names: plates, wells, cultures and doses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.spreadsheet import Line, Spreadsheet
from napari_phenldiff.images.stains import WORDS_IN_FILE_NAMES

_OF_METADATA = re.compile(r"(?:image_)?(?:metadata_)?")
_SIGNS = re.compile(r"[\s_\-./#:]+")
_BRACKETS = re.compile(r"\(.*?\)|\[.*?\]|\{.*?\}")
_ID = r"(?:_?(?:id|name|no|nr|num|number|label|position|pos|coordinates?|address))?"
# Names that are of the well, or plate, whatever stands there; others may be of something else.
_SURE_WELL = re.compile(r"wells?(?:_?(?:id|name|position))?")
_SURE_PLATE = re.compile(r"(?:.*_)?(?:plate(?:_?(?:id|name|barcode))?|barcode)")
_LIKE_A_WELL = re.compile(r"(?:wells?[ _\-]?)?(?:[A-Z]{1,2}[ \-]?0*[1-9]\d?|\d+(?:[.,]0+)?)", re.I)
# Some tables say for each channel where it was taken (Plate_DAPI).
_WELL = re.compile(rf"wells?(?:{_ID}|_(?:{WORDS_IN_FILE_NAMES}))")
_PLATE = re.compile(
    r"plate(?:_?(?:id|name|no|nr|num|number|label))?|(?:plate_?)?barcode|plate_?map_?name"
    rf"|plate_(?:{WORDS_IN_FILE_NAMES})"
)
ANY_WELL = re.compile(r"([A-Z]{1,2})[ \-]?0*([1-9]\d?)", re.I)
"""A well by its row and column: ``b3``, ``B-03``, ``B003``."""
_OTHER = re.compile(r"(?:.*_)?(?:source|library|compound|per|type|format)_.*")
"""Plates and wells that substances came from, and what is counted in them."""
_UNIT = (
    r"(?:in_)?(?:[pnum]?m|[pnum]?molar|[pnum]?mol(?:es)?(?:_(?:per_)?l(?:iter)?)?|percent|pct|%"
    r"|[pnumk]?g(?:_(?:per_)?(?:[num]?l|k?g))?|[num]?(?:u|iu)(?:_(?:per_)?[num]?l)?|[mc]?gy)"
)
_DOSE = re.compile(
    r"(?:(?:drug|compound|treatment|perturbation|pert|final|nominal)_?)?"
    rf"(?:concentration|conc|dose|dosage)(?:_{_UNIT})?|mmoles_per_liter"
)
_UNITS = re.compile(r"(?:(?:concentration|conc|dose|dosage)_?)?units?")
_MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "#na", "nan", "nat", "null", "none", "unknown", "?", "-", "--", "–"}
    | {"—", "missing", "empty", "not available", "<na>", "(empty)", "n.a.", "nil"}
)
_CULTURES = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"patient", "patient"),
        (r"donor", "donor"),
        (r"animal", "animal"),
        (r"mouse|mice", "mouse"),
        (r"fish|zebrafish", "fish"),
        (r"embryo", "embryo"),
        (r"larvae?", "larva"),
        (r"worm", "worm"),
        (r"bio(?:logical)?_?rep(?:l(?:icate)?)?", "replicate"),
        (r"rep(?:l(?:icate)?)?", "replicate"),
        (r"(?:cell_?)?culture", "culture"),
        (r"dish", "dish"),
        (r"slide", "slide"),
        (r"coverslip|coverglass", "coverslip"),
    )
)
"""What is repeated in an experiment without wells, the least alike first, with the word for it."""
_MAY_BE_KINDS = frozenset({"animal", "mouse", "fish", "embryo", "larva", "worm", "culture"})
_KIND = re.compile(
    r"[^\d]{2,}|[234][ \-]?d|c57\W?bl.*|c3h.*|dba\W?[12].*|129\W?s.*|n2|cb4856", re.I
)
"""What is a kind of animal or culture, and no single one: ``BALB``, ``3D``."""
_CONCENTRATIONS = ("concentration", "conc", "dose", "mmoles_per_liter", "concentration_um")


def plain_name(column: str) -> str:
    """Write the name of a column in one way: ``Metadata_Well ID``, ``well.id`` as ``well_id``.

    Small letters, no prefix of CellProfiler, no unit in brackets, and one sign between words.
    """
    text = unicodedata.normalize("NFKC", column).lower().replace("\u03bc", "u")
    text = _SIGNS.sub("_", _BRACKETS.sub(" ", text)).strip("_")
    return text[len(found[0]) :] if (found := _OF_METADATA.match(text)) else text


def names_of_conditions(sheet: Spreadsheet) -> tuple[dict[str, str], dict[str, str]]:
    """Return the columns by the names that may be those of the condition, the surest first.

    First those called so to the letter, then those that are written with other signs. A unit or a
    number sign (``Treatment (h)``, ``Sample #``) tells that the column is of something else.
    """
    exact, loose = {}, {}
    for column in reversed(sheet.columns):
        name = re.sub(r"^(?:Image_)?(?:Metadata_)?", "", column, flags=re.I)
        exact[name.strip().lower().replace(" ", "_")] = column
        if not re.search(r"[()\[\]{}#]", column):
            loose[plain_name(column)] = column
    return exact, loose


def known(value: str) -> str:
    """Return what a cell says; nothing where it says only that nothing is known."""
    return "" if value.strip().lower() in _MISSING else value


def first_known(line: Line, columns: Sequence[str]) -> str:
    """Return what the first of some columns says that says anything; else nothing."""
    return next(filter(None, (known(line[column]) for column in columns)), "")


def well_columns(sheet: Spreadsheet) -> tuple[str, ...]:
    """Columns that name the well, those with a row and column (A1) and called so alone first."""
    exact = [
        column
        for column in sheet.columns
        if _WELL.fullmatch(plain_name(column))
        and (
            _SURE_WELL.fullmatch(plain_name(column))
            or all(map(_LIKE_A_WELL.fullmatch, _values(sheet.lines, column)))
        )
    ]
    loose = [
        column
        for column in _with_more(sheet, _WELL)
        if all(ANY_WELL.fullmatch(text) for text in _values(sheet.lines, column))
    ]
    return tuple(sorted(exact, key=lambda column: _order(sheet, column))) or tuple(loose)


def _order(sheet: Spreadsheet, column: str) -> tuple[bool, int]:
    """Put numbers of wells after their rows and columns, which names of files have, too."""
    values = _values(sheet.lines, column)
    return not (values and all(map(ANY_WELL.fullmatch, values))), len(plain_name(column))


def plates_of_layout(sheet: Spreadsheet) -> tuple[str, ...]:
    """Columns of a layout that name the plates that it is for.

    The name of a map of plates is none of a plate. What is called otherwise than plate or barcode
    and is the same everywhere need not be one either.
    """
    return tuple(
        column
        for column in plate_columns(sheet)
        if "map" not in plain_name(column)
        and (_SURE_PLATE.fullmatch(plain_name(column)) or len(_values(sheet.lines, column)) > 1)
    )


def plate_columns(sheet: Spreadsheet) -> tuple[str, ...]:
    """Columns that name the plate, those called so and no more first."""
    exact = [column for column in sheet.columns if _PLATE.fullmatch(plain_name(column))]
    order = sorted(exact, key=lambda column: "map" in plain_name(column))
    return tuple(order) or tuple(_with_more(sheet, _PLATE))


def culture_columns(sheet: Spreadsheet, *, same: bool = False) -> tuple[tuple[str, str], ...]:
    """Columns that name the animal, donor, replicate or the like, with the word for it.

    What is surely repeated comes first. One with the same value everywhere, or whose values are
    kinds of animals or cultures, is none: with `same`, these are returned.
    """
    found = []
    for pattern, word in _CULTURES:
        named = re.compile(rf"(?:{pattern.pattern})s?{_ID}")
        for column in sheet.columns:
            if not named.fullmatch(plain_name(column)):
                continue
            values = _values(sheet.lines, column)
            kinds = word in _MAY_BE_KINDS and any(map(_KIND.fullmatch, values))
            if values and (len(values) == 1 or kinds) == same:
                found.append((column, word))
    return tuple(found)


def dose_column(sheet: Spreadsheet) -> str | None:
    """Return the column of the doses, in whatever unit, of numbers first; None if there is none."""

    def order(column: str) -> tuple[bool, bool, int]:
        values, name = _values(sheet.lines, column), plain_name(column)
        numbers = all(isinstance(as_number(value), float) for value in values)
        known_as = _CONCENTRATIONS.index(name) if name in _CONCENTRATIONS else len(_CONCENTRATIONS)
        return not values, not numbers, known_as

    found = [column for column in sheet.columns if _DOSE.fullmatch(plain_name(column))]
    return min(found, key=order, default=None)


def doses_of(sheet: Spreadsheet, column: str) -> dict[int, str]:
    """Return the dose of each line, by its number, with the unit where a column names several.

    10 and 10.0 are written as the first of them is; a control may have none.
    """
    units = [one for one in sheet.columns if _UNITS.fullmatch(plain_name(one))]
    unit = next((one for one in units if len(_values(sheet.lines, one)) > 1), None)
    same: dict[tuple[object, str], str] = {}
    found = {}
    for line in sheet.lines:
        value = known(line[column])
        of = known(line[unit]) if unit is not None and value else ""
        found[line.number] = same.setdefault((as_number(value), of), value + of)
    return found


def several_doses(sheet: Spreadsheet, column: str, dose: str) -> list[str]:
    """Return the values of a column that have several doses."""
    doses: dict[str, set[str]] = {}
    dose_of = doses_of(sheet, dose)
    for line in sheet.lines:
        doses.setdefault(line[column], set()).add(dose_of[line.number])
    return [name for name, values in doses.items() if len(values) > 1]


def as_number(text: str) -> object:
    """Return what a text is as a number, with a decimal comma or point, else the text itself."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return text


def whole(text: str) -> str:
    """Write a whole number without decimals, as Excel gives them: ``1.0`` is ``1``."""
    return re.sub(r"(?<=\d)[.,]0+$", "", text) if re.fullmatch(r"\d+[.,]0+", text) else text


def in_some(lines: Iterable[Line], told: Sequence[str]) -> str:
    """Say in which lines nothing is told, as ``in 2 lines of 9 (line 3, 4)``.

    Empty where all lines tell something, or none does.
    """
    lacking = [line.number for line, text in zip(lines, told, strict=True) if not text]
    if not lacking or len(lacking) == len(told):
        return ""
    shown = ", ".join(map(str, lacking[:5])) + (" ..." if len(lacking) > 5 else "")
    return f"in {count(len(lacking), 'line')} of {len(told)} (line {shown})"


def check_filled(
    sheet: Spreadsheet, lines: Iterable[Line], told: Sequence[str], columns: Sequence[str]
) -> None:
    """Refuse a column that tells something in some lines only, as merged cells do.

    Parameters
    ----------
    sheet : Spreadsheet
    lines : iterable of Line
        Those that are used.
    told : sequence of str
        What it says in each of them, empty where nothing.
    columns : sequence of str
        Where it is said.

    Raises
    ------
    InputError
        With the lines that say nothing.
    """
    lacking = in_some(lines, told)
    if not lacking:
        return
    raise InputError(
        f"{sheet.path} says nothing of {' and '.join(columns)} {lacking}, so that images would be "
        "counted for others than they are: fill in each cell (merged ones give their value to the "
        "first line only), or remove the column or these lines."
    )


def _values(lines: Iterable[Line], column: str) -> set[str]:
    return {known(line[column]) for line in lines} - {""}


def _with_more(sheet: Spreadsheet, pattern: re.Pattern[str]) -> list[str]:
    """Columns whose names end like that, after other words (Assay Plate)."""
    ending = re.compile(rf"(?:.*_)(?:{pattern.pattern})")
    return [
        column
        for column in sheet.columns
        if ending.fullmatch(plain_name(column)) and not _OTHER.fullmatch(plain_name(column))
    ]
