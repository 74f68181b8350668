"""Write folders atomically, so that a killed process never leaves an incomplete one."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from napari_phenldiff.images.files import read_small

Content = bytes | Callable[[Path], object]
"""Content of a file: its bytes, or a function that takes a path and writes the file there."""

MANIFEST = "manifest.json"
_LEFTOVER = ".tmp-"
_PREVIOUS = ".previous-"
_MOST_BYTES = 2**24
_STEP = re.compile(r"step_(\d{6,})")


def write_folder(target: Path, files: Mapping[str, Content]) -> None:
    """Write `files` into the folder `target`, replacing what it held.

    The files are written into a temporary folder next to it, synchronised to disk, listed with
    their sizes in a manifest, and moved into place. A process that is killed before that leaves a
    hidden folder, which :func:`remove_leftovers` removes, and the old folder, which :func:`recover`
    finds.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f"{_LEFTOVER}{target.name}-{uuid.uuid4().hex[:8]}")
    aside.mkdir()
    try:
        sizes = {}
        for name, content in files.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            else:
                path.write_bytes(content)
        for path in sorted(aside.rglob("*")):
            if path.is_file():
                _synchronise(path)
                sizes[path.relative_to(aside).as_posix()] = path.stat().st_size
        (aside / MANIFEST).write_text(json.dumps(sizes, indent=1), encoding="utf-8")
        _synchronise(aside / MANIFEST)
        previous = target.with_name(f"{_PREVIOUS}{target.name}")
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
            target.rename(previous)
        aside.rename(target)
        shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def recover(target: Path) -> Path:
    """Return the path of the newest complete version of the folder `target`.

    That is `target` itself, unless a writer was killed between moving the old version away and
    moving the new one into place.
    """
    previous = target.with_name(f"{_PREVIOUS}{target.name}")
    return previous if not target.exists() and is_complete(previous) else target


def is_complete(folder: Path) -> bool:
    """Whether all files in the manifest of `folder` exist with their full size."""
    try:
        sizes = json.loads(read_small(folder / MANIFEST, most_bytes=_MOST_BYTES))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def steps_in(folder: Path) -> list[tuple[int, Path]]:
    """Return the complete checkpoints in `folder`, oldest first, as (step, path)."""
    found = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            match = _STEP.fullmatch(path.name)
            if match and is_complete(path):
                found.append((int(match[1]), path))
    return sorted(found)


def keep_last(folder: Path, count: int) -> None:
    """Remove all but the newest `count` checkpoints in `folder`."""
    for _, path in steps_in(folder)[:-count]:
        # Renamed first, so that a partly removed one is never taken for a checkpoint.
        aside = path.with_name(f"{_LEFTOVER}{path.name}-{uuid.uuid4().hex[:8]}")
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers left in `folder`; no other process may be writing there."""
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            superseded = path.name.startswith(_PREVIOUS) and is_complete(
                path.with_name(path.name.removeprefix(_PREVIOUS))
            )
            if superseded or path.name.startswith(_LEFTOVER):
                shutil.rmtree(path, ignore_errors=True)


def _synchronise(path: Path) -> None:
    """Flush a file to disk, so that it also survives a power failure."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
