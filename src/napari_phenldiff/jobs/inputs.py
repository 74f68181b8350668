"""Image files and folders that a job is given, read one file at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import composed
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.runs.events import Loading

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection


Images = str | os.PathLike[str] | Experiment | Mapping[str, Sequence[Image]]
"""A folder with a sub-folder of TIFFs per condition, or images in memory by condition."""


def experiment_of(
    images: Images,
    conditions: Sequence[str] | None = None,
    *,
    z: int | Projection | None = None,
    on_event: OnEvent = ignore,
) -> Experiment:
    """Return images as an experiment, whatever form they are given in.

    Parameters
    ----------
    images : path-like, Experiment or mapping of str to sequence of Image
        See `Images`.
    conditions : sequence of str, optional
        Those that are read from a folder; by default all.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection of files with a z axis.
    on_event : callable
        Told that a folder is read.
    """
    if isinstance(images, Experiment):
        return images
    if isinstance(images, Mapping):
        return Experiment.from_images(images)
    on_event(Loading(f"Reading {os.fspath(images)}"))
    return Experiment.from_folder(images, conditions=conditions, z=z)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Images in files, read anew each time they are iterated over, one file at a time.

    Attributes
    ----------
    paths : tuple of Path
        The files.
    z : int or str, optional
        Plane or projection for files with planes in depth.
    left_out : tuple of str
        What lies beside them and is no image, in sentences.
    """

    paths: tuple[Path, ...]
    z: int | Projection | None = None
    left_out: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Image]:
        from napari_phenldiff.images.tiff import read_tiff

        for path in self.paths:
            yield from read_tiff(path, z=self.z)


def find_files(given: Path, condition: str | None = None) -> list[Path]:
    """Return the TIFFs that a path given by the user means, sorted by name.

    Parameters
    ----------
    given : Path
        A TIFF, a folder of TIFFs, or a folder with a sub-folder per condition.
    condition : str, optional
        The sub-folder to take in the last case.

    Raises
    ------
    InputError
        If there are none, or if they seem to be channels of images that are spread over several.
    """
    from napari_phenldiff.images.companions import check_one_file_each
    from napari_phenldiff.images.tiff import TIFF_SUFFIXES, tiff_files

    if given.is_file():
        if given.suffix.lower() not in TIFF_SUFFIXES:
            raise InputError(f"{given} is not a TIFF; give a .tif or .tiff file, or a folder.")
        return [given]
    if not given.is_dir():
        raise InputError(f"{given} does not exist; check the path.")
    files = tiff_files(given)
    if files:
        check_one_file_each(files)
        return files
    folders = condition_folders(given)
    if condition is not None and folders:
        called = [path for path in folders if composed(path.name) == composed(condition)]
        if called:
            return find_files(called[0])
        names = ", ".join(folder.name for folder in folders)
        raise InputError(f"{given} has no sub-folder {condition}; there are {names}.")
    raise InputError(f"{given} holds no TIFFs; give a .tif file or a folder with some.")


def condition_folders(given: Path) -> list[Path]:
    """Return the sub-folders of `given` that hold TIFFs, sorted by name."""
    from napari_phenldiff.images.tiff import tiff_files

    return [
        path
        for path in sorted(given.iterdir())
        if path.is_dir() and not path.name.startswith(".") and tiff_files(path)
    ]


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
