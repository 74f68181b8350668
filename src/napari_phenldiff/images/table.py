"""Images listed in a table: one row per field, one file per channel."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import composed, file_safe, quoted
from napari_phenldiff.images.tiff import read_image

# As CellProfiler, its descendants and people call them.
_WELL_COLUMN = re.compile(r"(?:Image_)?(?:Metadata_)?(plate|well)(?:_?(?:id|name|position))?", re.I)


def images_from_table(
    table: Path,
    *,
    condition_columns: Sequence[str],
    channel_columns: Mapping[str, str],
    root: Path | None,
    path_columns: Mapping[str, str],
    conditions: Sequence[str] | None,
) -> dict[str, list[Image]]:
    """Read the images of a table; see :meth:`Experiment.from_table` for the parameters.

    Returns
    -------
    dict of str to list of Image
        Images by condition. They have a path only if there is one channel and thus one file.
    """
    if not condition_columns or not channel_columns:
        raise InputError("Name the columns of the table that hold the condition and the files.")
    for channel in path_columns:
        if channel not in channel_columns:
            raise InputError(
                f'There is a column of folders for "{channel}" but none of files: '
                f"the channels are {quoted(tuple(channel_columns))}."
            )
    rows = _rows(table, [*condition_columns, *channel_columns.values(), *path_columns.values()])
    groups: dict[str, list[tuple[int, dict[str, str]]]] = {}
    written: dict[str, tuple[int, list[str]]] = {}
    for line, row in rows:
        values = [row[column].strip() for column in condition_columns]
        if not all(values):
            raise InputError(f"{table} names no condition in line {line}: fill in the column.")
        name = composed(file_safe("_".join(values)))
        first, before = written.setdefault(name, (line, values))
        if [composed(value) for value in before] != [composed(value) for value in values]:
            raise InputError(
                f"{table} has {quoted(before)} in line {first} and {quoted(values)} in line "
                f'{line}, which would both be the condition "{name}": change one of them.'
            )
        groups.setdefault(name, []).append((line, row))
    conditions = None if conditions is None else [composed(name) for name in conditions]
    for name in conditions or ():
        if name not in groups:
            raise InputError(f'{table} has no condition "{name}": it has {quoted(tuple(groups))}.')
    root = table.parent if root is None else root
    found: dict[str, list[Image]] = {}
    for name in conditions or groups:
        fields = []
        for line, row in groups[name]:
            files = {}
            for channel, column in channel_columns.items():
                folder = row[path_columns[channel]] if channel in path_columns else ""
                files[channel] = root / _path(folder) / _path(row[column])
            for file in files.values():
                if not file.is_file():
                    raise InputError(
                        f"{table} names in line {line} the file {file}, which does not exist: "
                        "check the name, and the folder that the table's paths start from (root)."
                    )
            fields.append(files)
        wells = [_well(row) for _, row in groups[name]]
        firsts = [next(iter(files.values())) for files in fields]
        found[name] = [
            replace(_read_field(files, image_name), part_of=well)
            for files, image_name, well in zip(fields, _image_names(firsts), wells, strict=True)
        ]
    return found


def _rows(table: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Lines of a table with their numbers, after a look at its header."""
    try:
        # The byte order mark is Excel's.
        with table.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=max(",;\t", key=header.count), restval="")
            names = reader.fieldnames or []
            for column in columns:
                if column not in names:
                    raise InputError(
                        f'{table} has no column "{column}": it has {quoted(tuple(names))}.'
                    )
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{table} cannot be read as a table ({error}): give a CSV file."
        ) from error
    if not rows:
        raise InputError(f"{table} has a header but no rows: give one row per field.")
    return rows


def _well(row: Mapping[str, str]) -> str | None:
    """Return the well that a row names, with its plate; None if the table has no such column."""
    found: dict[str, str] = {}
    for column, value in row.items():
        match = _WELL_COLUMN.fullmatch(column or "")
        if match is not None and value and value.strip():
            found.setdefault(match.group(1).lower(), value.strip())
    if "well" not in found:
        return None
    well = f"well {found['well']}"
    if "plate" not in found:
        return well
    # In one word, of which no part is taken for a field or a counter.
    return f"plate{re.sub(r'[^A-Za-z0-9]', '', found['plate'])} {well}"


def _path(text: str) -> Path:
    """Path from a table, which may have been written on Windows."""
    text = text.strip()
    return Path(PureWindowsPath(text).as_posix() if "\\" in text else text)


def _image_names(files: Sequence[Path]) -> list[str]:
    """Names of files without suffix, led by those of their folders where they repeat."""
    stems = [file.stem for file in files]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{file.parent.name}_{file.stem}" for file in files]


def _read_field(files: Mapping[str, Path], name: str) -> Image:
    """Put the channels of one field together."""
    channels = [read_image(file) for file in files.values()]
    first = channels[0]
    for channel, file in zip(channels, files.values(), strict=True):
        if channel.n_channels != 1:
            raise InputError(
                f"{file} has {channel.n_channels} channels: a table needs one file per channel."
            )
        if channel.shape != first.shape:
            raise InputError(
                f"{file} has {channel.shape[0]} × {channel.shape[1]} pixels but {first.path} has "
                f"{first.shape[0]} × {first.shape[1]}: channels of one field need the same size."
            )
    return Image(
        data=np.concatenate([channel.data for channel in channels]),
        channel_names=tuple(files),
        pixel_size=next((c.pixel_size for c in channels if c.pixel_size), None),
        name=name,
        path=first.path if len(files) == 1 and name == first.name else None,
    )
