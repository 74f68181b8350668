"""What a translation into a folder has done, so that it goes on after its process was killed.

The first line says what is translated and how, each further one which file is done and what is
known of its images. A line that was cut off while it was written does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import append_line
from napari_phenldiff.runs.contents import LOCK_NAME
from napari_phenldiff.runs.folder import check_output_folder

NAME = "images.jsonl"
_BEFORE_ANYTHING = frozenset({LOCK_NAME, "events.jsonl"})
"""What a process that was killed before its first image leaves in its folder."""


_OF_OLD = {"format": "tiff"}
"""What older versions did not write down."""


@dataclass(frozen=True, slots=True)
class DoneFile:
    """A file whose images are translated.

    Attributes
    ----------
    hashes : tuple of str
        Of the pixels of the images that were translated.
    images : tuple of dict
        What ``translation.json`` says of each.
    """

    hashes: tuple[str, ...]
    images: tuple[dict[str, Any], ...]


def check_folder(folder: Path) -> None:
    """Refuse a folder that is neither new nor that of a translation that has not ended.

    Raises
    ------
    InputError
        If there is something else in it.
    """
    if not is_unfinished(folder):
        check_output_folder(folder)


def is_unfinished(folder: Path) -> bool:
    """Whether a folder holds a translation that was killed, or stopped, before its end."""
    try:
        if (folder / NAME).is_file():
            return True
        names = {path.name for path in folder.iterdir()}
    except OSError:  # no folder, or none that can be read
        return False
    return LOCK_NAME in names and names <= _BEFORE_ANYTHING


def done_files(folder: Path, asked: Mapping[str, Any]) -> dict[str, DoneFile]:
    """Return what is done in a folder, by the name of the file that was written.

    Parameters
    ----------
    folder : Path
        See `is_unfinished`; in any other nothing is done.
    asked : mapping
        What is to be translated, and how, as for `begin`.

    Raises
    ------
    InputError
        If something else was begun there.
    """
    lines = _read(folder / NAME)
    if not lines:
        return {}
    begun = lines[0].get("translation")
    if isinstance(begun, dict):
        begun = _OF_OLD | begun
    if begun != json.loads(json.dumps(dict(asked))):
        differs = difference(begun if isinstance(begun, dict) else {}, asked)
        raise InputError(
            f"{folder} holds a translation that has not ended, of another kind ({differs}); name "
            "a new folder, or delete this one."
        )
    found = {}
    for line in lines[1:]:
        try:
            images = tuple(dict(image) for image in line["images"])
            found[str(line["file"])] = DoneFile(tuple(map(str, line["hashes"])), images)
        except (KeyError, TypeError, ValueError):
            continue
    return found


def begin(folder: Path, asked: Mapping[str, Any]) -> None:
    """Write down what is translated and how, unless that is there already."""
    if not _read(folder / NAME):
        (folder / NAME).unlink(missing_ok=True)
        append_line(folder / NAME, json.dumps({"translation": dict(asked)}))


def add(
    folder: Path, file: str, hashes: Iterable[str], images: Iterable[Mapping[str, Any]]
) -> None:
    """Write down that the results of a file are written."""
    done = {"file": file, "hashes": list(hashes), "images": [dict(image) for image in images]}
    append_line(folder / NAME, json.dumps(done))


def end(folder: Path) -> None:
    """Remove the journal of a translation that is complete."""
    (folder / NAME).unlink(missing_ok=True)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(values, dict):
            lines.append(values)
    return lines if lines and "translation" in lines[0] else []


def difference(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Name what differs: the settings one by one, of everything else what it is."""
    told = []
    for key, value in asked.items():
        before = begun.get(key)
        if before == value:
            continue
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            told += [
                f"{name}: {before.get(name)} there, {now} here"
                for name, now in value.items()
                if before.get(name) != now
            ]
        else:
            told.append(f"another {key}")
    return ", ".join(told) or "it cannot be read"
