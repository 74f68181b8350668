"""Folders of images: what lies in them, and in the folders within, each looked into once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.companions import companions
from napari_phenldiff.images.formats import is_foreign, lacking
from napari_phenldiff.images.omezarr import ZARR_MARKS, is_omezarr
from napari_phenldiff.images.png import is_png
from napari_phenldiff.images.tiff import is_image_file

_DEEPEST = 3
"""Folders within the folder of a condition in which images are looked for."""

MOST_FOLDERS = 4000
"""A folder with more within is a disk, and not an experiment."""

# What programs write beside images; such a folder is one of conditions only if it is asked for.
_RESULTS = re.compile(
    r"(?:.*[ _-])?(masks?|labels?|outlines?|flows?|seg|segmented|segmentations?|overlays?|rois?"
    r"|thumbs?|thumbnails?|previews?|probabilities|illum|cellpose|stardist)|__macosx",
    re.I,
)
_OWN_RESULTS = frozenset({"events.jsonl", "translation.json", "metrics.json", "images.json"})


def is_result_folder(folder: Path) -> bool:
    """Whether a folder is called like the results of a segmentation, or like previews."""
    return _RESULTS.fullmatch(folder.name) is not None


@dataclass(frozen=True, slots=True)
class _Contents:
    """What lies in a folder.

    Attributes
    ----------
    images : tuple of Path
        Images that are taken: files, and OME-Zarr.
    folders : tuple of Path
        All others but hidden ones.
    all_tiffs : tuple of Path
        Also those that are no images, and links that lead nowhere.
    others : tuple of Path
        Files of other kinds.
    own : bool
        Whether it is a run, a translation or an evaluation, whose images are made.
    """

    images: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    all_tiffs: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    own: bool = False


@dataclass(slots=True)
class Folders:
    """A look into folders that remembers what it has seen.

    Parameters
    ----------
    most : int
        Folders that are looked into; more are no experiment.
    pictures : bool
        Whether PNGs are images where there is nothing else; many folders hold some that are none.
    """

    most: int = MOST_FOLDERS
    pictures: bool = True
    _seen: dict[Path, _Contents] = field(default_factory=dict)

    def images(self, folder: Path) -> list[Path]:
        """Images directly in a folder, by name: files, and OME-Zarr."""
        return list(self._look(folder).images)

    def tiffs(self, folder: Path) -> list[Path]:
        """All TIFFs in a folder, also those that are no images, and links that lead nowhere."""
        return list(self._look(folder).all_tiffs)

    def others(self, folder: Path) -> list[Path]:
        """Files of other kinds in a folder."""
        return list(self._look(folder).others)

    def subfolders(self, folder: Path) -> list[Path]:
        """Folders directly in a folder that are neither hidden, nor OME-Zarr, nor results of ours.

        By name; whether they hold images is not looked at.
        """
        return [inner for inner in self._look(folder).folders if not self._look(inner).own]

    def nested(self, folder: Path, depth: int = _DEEPEST) -> list[Path]:
        """Folders within a folder in or below which there are images, and no results."""
        if depth == 0:
            return []
        return [
            inner
            for inner in self.subfolders(folder)
            if not is_result_folder(inner)
            and (self._look(inner).images or self.nested(inner, depth - 1))
        ]

    def below(self, folder: Path, depth: int = _DEEPEST) -> list[Path]:
        """All images in and below a folder."""
        files = self.images(folder)
        if depth > 0:
            for inner in self.nested(folder, depth):
                files += self.below(inner, depth - 1)
        return files

    def _look(self, folder: Path) -> _Contents:
        if folder not in self._seen:
            if len(self._seen) >= self.most:
                raise InputError(
                    f"There are more than {self.most} folders within {folder.parent} and those "
                    "beside it: name the folder of the experiment."
                )
            self._seen[folder] = _contents(folder, self.pictures)
        return self._seen[folder]


def _contents(folder: Path, pictures: bool) -> _Contents:
    if is_omezarr(folder):
        return _Contents((folder,))
    files: list[Path] = []
    tiffs: list[Path] = []
    others: list[Path] = []
    zarrs: list[Path] = []
    folders: list[Path] = []
    names: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                names.add(entry.name)
                path = folder / entry.name
                if entry.is_dir():
                    (zarrs if is_omezarr(path) else folders).append(path)
                elif is_image_file(path):
                    tiffs.append(path)
                    if entry.is_file():
                        files.append(path)
                else:
                    others.append(path)
    except OSError:  # nobody may look into it
        return _Contents()
    files.sort()
    no_images = companions(files)
    images = sorted([*(file for file in files if file not in no_images), *zarrs])
    if not images:
        # Files of a microscope's own format are images where there are no TIFFs beside them, and
        # PNGs where there is nothing else.
        images = sorted(path for path in others if is_foreign(path) and lacking(path) is None)
        if pictures and not images and not any(is_foreign(path) for path in others):
            images = sorted(path for path in others if is_png(path))
            left = companions(images)
            images = [path for path in images if path not in left]
        others = [path for path in others if path not in images]
    own = bool(names & _OWN_RESULTS) and not names & set(ZARR_MARKS)
    return _Contents(
        tuple(images), tuple(sorted(folders)), tuple(sorted(tiffs)), tuple(sorted(others)), own
    )
