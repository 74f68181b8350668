"""Image files that a command is given, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import composed

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.image import Image


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
