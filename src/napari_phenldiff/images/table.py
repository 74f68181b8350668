"""Images listed in a table: one row per field or per file, one or more files per image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote, urlsplit

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.column_names import (
    dose_column,
    doses_of,
    names_of_conditions,
    several_doses,
)
from napari_phenldiff.images.naming import composed, count, file_safe, quoted
from napari_phenldiff.images.places import NOWHERE, Site
from napari_phenldiff.images.sources import FileSource, GroupSource, ImageSource
from napari_phenldiff.images.spreadsheet import Line, Spreadsheet, read_spreadsheet
from napari_phenldiff.images.table_sites import sites_of

# As CellProfiler, its descendants and people call them.
_PREFIX = r"(?:Image_)?(?:Metadata_)?"
_TIME_COLUMN = re.compile(rf"{_PREFIX}(?:time|timepoint|time_?point|frame|t)", re.I)
_CHANNEL_COLUMN = re.compile(rf"{_PREFIX}(?:channel|stain|dye|wavelength)(?:_?(?:name|id))?", re.I)
_FILE_COLUMNS = (
    re.compile(r"(?:Image_)?(?:FileName|File_Name)_(?P<channel>.+)", re.I),
    re.compile(r"(?:Image_)?URL_(?P<channel>.+)", re.I),
    re.compile(r"(?P<channel>.+?)[ _-](?:file_?name|file_?path|file|path|url)", re.I),
    re.compile(r"(?:file_?name|file_?path|file|path)[ _-](?P<channel>.+)", re.I),
)
_ONE_FILE_COLUMN = re.compile(
    r"(?:image_?)?(?:file|path|url|file_?name|file_?path|full_?path|file_?location)|image|images",
    re.I,
)
# What CellProfiler lists beside images of cells.
_NO_STAIN = re.compile(r"illum|.*outlines?$|.*objects$|.*masks?$", re.I)
_FOLDER_COLUMN = re.compile(r"(?:Image_)?(?:PathName|Path_?Name|folder|directory)", re.I)
# What people call what was done to the cells, the surest first.
_CONDITION_COLUMNS = (
    ("condition",),
    ("treatment",),
    ("perturbation", "pert_iname", "pert_name", "pert_id", "pert"),
    ("compound", "compound_name", "drug", "drug_name", "molecule", "chemical"),
    ("broad_sample", "jcp2022", "inchikey"),
    ("sirna", "gene", "gene_symbol", "guide", "target"),
    ("group", "class", "label", "phenotype", "moa"),
)
_OF_A_SUBSTANCE = ("treatment", "perturbation", "compound", "broad_sample")
"""What conditions are called that have another dose beside, if it differs."""
_IMAGE_NAME = re.compile(r".\.(tiff?|btf|tf[28]|lsm|stk|flex|png|zarr|nd2|czi|lif)$", re.I)


@dataclass(frozen=True, slots=True)
class TableColumns:
    """What the columns of a table are.

    Attributes
    ----------
    conditions : tuple of str
        Their values, joined by ``_``, name the condition.
    files : mapping of str to str
        By channel, the column of the files. One with the key ``""`` holds images of all channels.
    folders : mapping of str to str
        By channel, the column of the folders.
    channel : str or None
        In a table with a row for each file, the column that names the channel.
    """

    conditions: tuple[str, ...]
    files: Mapping[str, str]
    folders: Mapping[str, str] = field(default_factory=dict)
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class TableImages:
    """The images of a table.

    Attributes
    ----------
    conditions : dict of str to list of ImageSource
        In the order of the table.
    remarks : tuple of str
        What was chosen and what was left out, in sentences.
    """

    conditions: dict[str, list[ImageSource]]
    remarks: tuple[str, ...] = ()


def images_of_table(
    path: Path,
    *,
    columns: TableColumns | None = None,
    condition_columns: Sequence[str] = (),
    root: Path | None = None,
    conditions: Sequence[str] | None = None,
) -> TableImages:
    """Find the images of a table; see :meth:`Experiment.from_table`.

    Parameters
    ----------
    path : Path
        The table.
    columns : TableColumns, optional
        What its columns are; by default what their names say.
    condition_columns : sequence of str
        Columns that name the condition, if they are called otherwise.
    root : Path, optional
        Folder that the paths in the table start from; by default the table's own.
    conditions : sequence of str, optional
        Those that are wanted: files of others need not be there.

    Raises
    ------
    InputError
        With the line, where one cannot be used.
    """
    sheet = read_spreadsheet(path)
    remarks = list(sheet.remarks)
    if columns is None:
        columns, told = find_columns(sheet, condition_columns)
        remarks.append(told)
    _check_columns(sheet, columns)
    groups = _by_condition(sheet, columns)
    conditions = None if conditions is None else [composed(name) for name in conditions]
    for name in conditions or ():
        if name not in groups:
            raise InputError(f'{path} has no condition "{name}": it has {quoted(tuple(groups))}.')
    finder = _Finder(sheet, path.parent if root is None else root)
    wanted = [line for name in conditions or groups for line in groups[name]]
    first = _column(sheet, next(iter(columns.files.values())))
    sites = sites_of(
        sheet, wanted, names=[line[first] for line in wanted], conditions=columns.conditions
    )
    if sites.told:
        remarks.append(sites.told)
    found = {
        name: _sources(sheet, columns, groups[name], finder, sites.by_line)
        for name in conditions or groups
    }
    remarks += finder.remarks()
    return TableImages(found, tuple(remarks))


def lists_images(path: Path) -> bool:
    """Whether a table lists images under names that are known."""
    try:
        find_columns(read_spreadsheet(path))
    except InputError:
        return False
    return True


def find_columns(
    sheet: Spreadsheet, condition_columns: Sequence[str] = ()
) -> tuple[TableColumns, str]:
    """Tell what the columns of a table are by their names, and say it in a sentence.

    Raises
    ------
    InputError
        If nothing names the condition, or the files.
    """
    given = tuple(_column(sheet, name) for name in condition_columns)
    names = given or _condition_columns(sheet)
    files = _file_columns(sheet)
    channel = None
    if set(files) == {""}:
        channel = next((c for c in sheet.columns if _CHANNEL_COLUMN.fullmatch(c)), None)
    folders = {}
    for name, column in files.items():
        folder = _folder_column(sheet, name, column)
        if folder is not None:
            folders[name] = folder
    told = f"{sheet.path.name}: conditions are those of {' and '.join(names)}"
    dose = dose_column(sheet)
    if not given and dose is not None and dose not in names:
        several = several_doses(sheet, names[0], dose)
        if several:
            told += (
                f"; {dose} differs within {quoted(several, limit=3)}: to take doses apart, name "
                "both columns (--condition-column)"
            )
    listed = [f"{name} of {column}" for name, column in files.items() if name]
    if listed:
        told += f"; channels are {', '.join(listed)}"
    elif channel is not None:
        told += f"; channels are those of {channel}, one file in each line"
    else:
        told += f"; images are those of {files['']}"
    return TableColumns(names, files, folders, channel), f"{told}."


def _condition_columns(sheet: Spreadsheet) -> tuple[str, ...]:
    for names, candidates in product(names_of_conditions(sheet), _CONDITION_COLUMNS):
        for candidate in candidates:
            column = names.get(candidate)
            if column is None or not any(line[column] for line in sheet.lines):
                continue
            dose = dose_column(sheet)
            if candidates[0] in _OF_A_SUBSTANCE and dose and several_doses(sheet, column, dose):
                return (column, dose)
            return (column,)
    raise InputError(
        f"{sheet.path} has no column that is called like a condition (condition, treatment, "
        f"compound ...): name it (--condition-column), one of {quoted(sheet.columns)}."
    )


def _file_columns(sheet: Spreadsheet) -> dict[str, str]:
    for pattern in _FILE_COLUMNS:
        found: dict[str, str] = {}
        for column in sheet.columns:
            match = pattern.fullmatch(column)
            if match is None or _NO_STAIN.match(match["channel"]):
                continue
            if _ONE_FILE_COLUMN.fullmatch(column) or not _holds_files(sheet, column):
                continue
            found[match["channel"]] = column
        if found:
            return found
    one = [c for c in sheet.columns if _ONE_FILE_COLUMN.fullmatch(c) and _holds_files(sheet, c)]
    if one:
        return {"": one[0]}
    # Whatever they are called: columns in which all values are names of images.
    holding = {
        c: c for c in sheet.columns if c and _holds_files(sheet, c) and not _NO_STAIN.match(c)
    }
    if holding:
        return holding if len(holding) > 1 else {"": next(iter(holding))}
    raise InputError(
        f"{sheet.path} has no column of image files (such as FileName_DNA, URL_DNA or path): it "
        f"has {quoted(sheet.columns)}."
    )


def _holds_files(sheet: Spreadsheet, column: str) -> bool:
    values = [line[column] for line in sheet.lines if line[column]]
    return bool(values) and all(_IMAGE_NAME.search(value.rstrip("/\\")) for value in values)


def _folder_column(sheet: Spreadsheet, channel: str, column: str) -> str | None:
    if channel:
        wanted = re.sub(r"File_?Name", "PathName", column, flags=re.I)
        if wanted != column and wanted in sheet.columns:
            return wanted
        return None
    return next((c for c in sheet.columns if _FOLDER_COLUMN.fullmatch(c) and c != column), None)


def _column(sheet: Spreadsheet, name: str) -> str:
    wanted = name.strip()
    if wanted in sheet.columns:
        return wanted
    loose = [c for c in sheet.columns if c.casefold() == wanted.casefold()]
    if len(loose) == 1:
        return loose[0]
    raise InputError(f'{sheet.path} has no column "{name}": it has {quoted(sheet.columns)}.')


def _check_columns(sheet: Spreadsheet, columns: TableColumns) -> None:
    for name in (*columns.conditions, *columns.files.values(), *columns.folders.values()):
        _column(sheet, name)


def _by_condition(sheet: Spreadsheet, columns: TableColumns) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = {}
    written: dict[str, tuple[int, list[str]]] = {}
    dose = dose_column(sheet) if len(columns.conditions) > 1 else None
    dose_of = {} if dose is None else doses_of(sheet, dose)
    for line in sheet.lines:
        values: list[str] = []
        for column in columns.conditions:
            value = line[_column(sheet, column)]
            if column == dose:
                if dose_of[line.number]:
                    values.append(dose_of[line.number])
                continue
            if not value:
                raise InputError(
                    f"{sheet.path} names no condition in line {line.number}: fill in the column "
                    f"{column}."
                )
            values.append(value)
        name = composed(file_safe("_".join(values)))
        first, before = written.setdefault(name, (line.number, values))
        if [composed(value) for value in before] != [composed(value) for value in values]:
            raise InputError(
                f"{sheet.path} has {quoted(before)} in line {first} and {quoted(values)} in line "
                f'{line.number}, which would both be the condition "{name}": change one of them.'
            )
        groups.setdefault(name, []).append(line)
    return groups


@dataclass(slots=True)
class _Finder:
    """Looks for the files of a table, and remembers what it had to do for it."""

    sheet: Spreadsheet
    root: Path
    moved: list[tuple[str, Path]] = field(default_factory=list)
    other_case: list[Path] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
    _folders: dict[Path, dict[str, list[str]]] = field(default_factory=dict)

    def find(self, line: Line, folder: str, text: str, column: str) -> Path:
        """Return the file that a line names.

        Raises
        ------
        InputError
            If the cell is empty, or there is no such file.
        """
        if not text:
            raise InputError(
                f"{self.sheet.path} names no file in line {line.number} ({column}): fill in the "
                "cell, or remove the line."
            )
        told = _path(folder) / _path(self._local(line, text))
        given = self.root / told
        for path in (given, *self._tails(told)):
            found = path if path.exists() else self._in_other_case(path)
            if found is not None:
                if path != given:
                    self.moved.append((str(told), found))
                return found
        raise InputError(
            f"{self.sheet.path} names in line {line.number} the file {given}, which does not "
            "exist: check the name, and the folder that the table's paths start from (root)."
        )

    def remarks(self) -> list[str]:
        """Say what was done to find the files."""
        name, told = self.sheet.path.name, []
        if self.moved:
            (before, after), *_ = self.moved
            told.append(
                f"{name}: {count(len(self.moved), 'file')} are no longer where the table says, "
                f"such as {before}; they were found below {self.root} ({after})."
            )
        if self.other_case:
            told.append(
                f"{name}: {count(len(self.other_case), 'name')} of files are written in other "
                f"letters on disk, such as {self.other_case[0].name}."
            )
        if self.repeated:
            shown = ", ".join(map(str, self.repeated[:5]))
            more = " ..." if len(self.repeated) > 5 else ""
            verb = "repeats" if len(self.repeated) == 1 else "repeat"
            told.append(
                f"{name}: left out {count(len(self.repeated), 'line')} that "
                f"{verb} another (line {shown}{more})."
            )
        return told

    def _local(self, line: Line, text: str) -> str:
        scheme = urlsplit(text).scheme.lower()
        if scheme == "file":
            path = unquote(urlsplit(text).path)
            return path[1:] if re.match(r"/[A-Za-z]:", path) else path
        if scheme in ("http", "https", "s3", "gs", "ftp"):
            raise InputError(
                f"{self.sheet.path} names in line {line.number} a file on the network, {text}: "
                "download it, and name the file on disk."
            )
        return text

    def _tails(self, told: Path) -> list[Path]:
        """Places below the root for a path of another machine, the longest first."""
        if not told.is_absolute() and not PureWindowsPath(str(told)).drive:
            return []
        return [self.root.joinpath(*told.parts[k:]) for k in range(1, len(told.parts))]

    def _in_other_case(self, path: Path) -> Path | None:
        """Find a file whose name is written in other letters: Windows knows no difference."""
        folder = path.parent
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            if folder.is_dir():
                for entry in folder.iterdir():
                    names.setdefault(composed(entry.name).casefold(), []).append(entry.name)
            self._folders[folder] = names
        found = self._folders[folder].get(composed(path.name).casefold(), [])
        if len(found) != 1:
            return None
        self.other_case.append(folder / found[0])
        return folder / found[0]


def _sources(
    sheet: Spreadsheet,
    columns: TableColumns,
    lines: Sequence[Line],
    finder: _Finder,
    by_line: Mapping[int, Site],
) -> list[ImageSource]:
    if columns.channel is not None:
        rows = _rows_of_files(sheet, columns, lines, finder, by_line)
    else:
        rows = _rows_of_fields(sheet, columns, lines, finder)
    kept: list[tuple[Line, dict[str, Path]]] = []
    seen: set[tuple[Path, ...]] = set()
    for line, files in rows:
        key = tuple(files.values())
        if key in seen:
            finder.repeated.append(line.number)
            continue
        seen.add(key)
        kept.append((line, files))
    sites = [by_line[line.number] for line, _ in kept]
    names = _image_names([next(iter(files.values())) for _, files in kept], sites)
    found: list[ImageSource] = []
    for (_, files), site, name in zip(kept, sites, names, strict=True):
        if set(files) == {""}:
            found.append(_source_of(files[""], name, site))
        else:
            grid = tuple((file,) for file in files.values())
            found.append(
                GroupSource(
                    name=name, site=site, files=grid, channel_names=tuple(files), by="a table"
                )
            )
    return found


def _source_of(file: Path, name: str, site: Site) -> ImageSource:
    return FileSource(name=name, site=site, file=file)


def _rows_of_fields(
    sheet: Spreadsheet, columns: TableColumns, lines: Sequence[Line], finder: _Finder
) -> list[tuple[Line, dict[str, Path]]]:
    rows = []
    for line in lines:
        files: dict[str, Path] = {}
        for channel, column in columns.files.items():
            folder = line[columns.folders[channel]] if channel in columns.folders else ""
            file = finder.find(line, folder, line[_column(sheet, column)], column)
            same = next((other for other, path in files.items() if path == file), None)
            if same is not None:
                raise InputError(
                    f"{sheet.path} names the same file for {same} and {channel} in line "
                    f"{line.number}, {file.name}: name one file for each channel."
                )
            files[channel] = file
        rows.append((line, files))
    return rows


def _rows_of_files(
    sheet: Spreadsheet,
    columns: TableColumns,
    lines: Sequence[Line],
    finder: _Finder,
    by_line: Mapping[int, Site],
) -> list[tuple[Line, dict[str, Path]]]:
    """Put lines of one image together: those of the same place and time."""
    assert columns.channel is not None
    column = _column(sheet, columns.files[""])
    time = next((c for c in sheet.columns if _TIME_COLUMN.fullmatch(c)), None)
    rows: dict[object, tuple[Line, dict[str, Path]]] = {}
    for line in lines:
        site = by_line[line.number]
        if site == NOWHERE:
            raise InputError(
                f"{sheet.path} has a line for each file but no columns that tell which files are "
                "one image: add well and field, or give it a column of files for each channel."
            )
        channel = line[columns.channel]
        folder = line[columns.folders[""]] if "" in columns.folders else ""
        file = finder.find(line, folder, line[column], column)
        first, files = rows.setdefault((site, line[time] if time else ""), (line, {}))
        if channel in files and files[channel] != file:
            raise InputError(
                f"{sheet.path} names channel {channel} of one image in line {first.number} and in "
                f"line {line.number}: remove one, or tell the images apart by well and field."
            )
        files[channel] = file
    every = {line[columns.channel] for line in sheet.lines}
    for line, files in rows.values():
        if set(files) != every:
            lacking = sorted(every - set(files))
            raise InputError(
                f"{sheet.path} has no file of {quoted(lacking)} for the image of line "
                f"{line.number}: add it, or remove that image."
            )
    order = list(next(iter(rows.values()))[1]) if rows else []
    return [(line, {channel: files[channel] for channel in order}) for line, files in rows.values()]


def _path(text: str) -> Path:
    """Path from a table, which may have been written on Windows."""
    text = text.strip()
    return Path(PureWindowsPath(text).as_posix() if "\\" in text else text)


def _image_names(files: Sequence[Path], sites: Sequence[Site]) -> list[str]:
    """Names of files without suffix, led by those of their folders or places where they repeat."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    led = [f"{file.parent.name}_{file.stem}" for file in files]
    if len(set(led)) == len(led):
        return led
    placed = [
        file_safe("_".join([*site.columns().values(), file.stem]))
        for file, site in zip(files, sites, strict=True)
    ]
    return placed if len(set(placed)) == len(placed) else led
