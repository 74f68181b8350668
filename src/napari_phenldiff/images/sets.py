"""OME-TIFFs that are several files: each tells of all of them in its description."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import tifffile

from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.images.ome import complete, lies_in_several_files, mended

_FILE_NAME = re.compile(r'<(?:\w+:)?UUID[^>]*\bFileName="([^"]+)"')


def files_of_set(path: Path) -> tuple[str, ...]:
    """Names of the files that hold the images of an OME-TIFF; empty if it is alone.

    Files that cannot be read are alone, too: reading them tells what is wrong.
    """
    try:
        names = tuple(dict.fromkeys(_FILE_NAME.findall(complete(path, _description(path)))))
    # Anything may be in a file, absurd sizes too.
    except Exception:
        return ()
    return names if len(names) > 1 else ()


def _tells_of_sets(path: Path) -> bool:
    """Whether a file of a folder tells of images in several files, its own or others."""
    try:
        return lies_in_several_files(path, _description(path))
    except Exception:
        return False


def _description(path: Path) -> str:
    with tifffile.TiffFile(path, _multifile=False) as tif:
        return mended(tif.ome_metadata or "") if tif.is_ome else ""


def members_of_set(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Find the files of a folder that belong together, by what they say themselves.

    Parameters
    ----------
    files : sequence of Path
        Of one or several folders. Only where the first file of a folder is one of several are the
        others looked into, so that many files cost no more than a few.

    Returns
    -------
    list of tuple of Path
        Of each set that is complete, its files, the one to read first.
    """
    folders: dict[Path, list[Path]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(file)
    found: list[tuple[Path, ...]] = []
    for folder, members in folders.items():
        if len(members) < 2 or not _tells_of_sets(members[0]):
            continue
        left = list(members)
        while left:
            told = {(folder / name).absolute() for name in files_of_set(left[0])}
            beside = {part.name for part in told if part.parent == folder.absolute()}
            here = [file for file in left if file.name in beside]
            # Others may be in folders below, where they are no images of their own.
            below = [part for part in told if part.parent != folder.absolute()]
            if len(here) == len(beside) > 1 and all(map(is_regular_file, below)):
                found.append((left[0], *(file for file in here if file != left[0])))
                left = [file for file in left if file not in here]
            else:
                left = left[1:]
    return found
