"""Images that a measurement is given, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.cli.images import ImageFiles, condition_folders, find_files
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import composed

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection


def find_groups(
    inputs: Sequence[str], *, z: int | Projection | None = None
) -> dict[str, ImageFiles]:
    """Return the files that the user's inputs mean, by the name of their condition.

    Raises
    ------
    InputError
        If an input has no TIFFs, or two folders would have the same name.
    """
    from napari_phenldiff.images.tiff import files_left_out

    left_out: dict[str, list[str]] = {}
    found: dict[str, list[Path]] = {}
    folders: dict[str, Path] = {}
    for given in inputs:
        name, path = _name_and_path(given)
        name = composed(name)
        if path.is_file():
            parts = {name or composed(path.resolve().parent.name): path}
        elif path.is_dir() and not _has_files(path):
            prefix = f"{name}/" if name else ""
            parts = {
                f"{prefix}{composed(folder.name)}": folder for folder in condition_folders(path)
            }
        else:
            parts = {name or composed(path.resolve().name): path}
        if not parts:
            find_files(path)  # tells that there is nothing
        for condition, part in parts.items():
            home = (part.parent if part.is_file() else part).resolve()
            if folders.setdefault(condition, home) != home:
                raise InputError(
                    f"{folders[condition]} and {home} would both be called {condition}; give one "
                    f"of them as NAME={part}."
                )
            files = found.setdefault(condition, [])
            files += [file for file in find_files(part) if file not in files]
            if part.is_dir():
                left_out.setdefault(condition, []).extend(files_left_out(part))
    return {
        condition: ImageFiles(tuple(files), z, tuple(left_out.get(condition, ())))
        for condition, files in found.items()
    }


def real_groups(groups: Mapping[str, ImageFiles]) -> tuple[str, ...]:
    """Return the names of the groups that no model has made; all names if there are none."""
    from napari_phenldiff.images.tiff import read_provenance

    real = tuple(
        name
        for name, files in groups.items()
        if "kind" not in (read_provenance(files.paths[0]) or {})
    )
    return real or tuple(groups)


def _name_and_path(given: str) -> tuple[str, Path]:
    """Split NAME=PATH, unless there is a path that is written just so."""
    name, equals, path = given.partition("=")
    if not equals or not name or Path(given).exists():
        return "", Path(given)
    return name, Path(path)


def _has_files(folder: Path) -> bool:
    from napari_phenldiff.images.tiff import tiff_files

    return bool(tiff_files(folder))
