"""Labels of objects in files, as Cellpose, StarDist, CellProfiler and people call them."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.png import read_pixels
from napari_phenldiff.images.tiff import TIFF_SUFFIXES, read_tiff

_SUFFIXES = (*TIFF_SUFFIXES, ".png")

# What follows the name of the image, the plainest first.
_ENDINGS = re.compile(
    r"(?:[ _.-](?:cp_masks|masks?|labels?|seg|segmented|segmentation|objects?|nuclei|cells?"
    r"|stardist|(?:identify)?primaryobjects|instances?))+(?:[ _-]cp)?",
    re.I,
)
_BEGINNINGS = re.compile(r"(?:masks?|labels?|seg|segmented|cp_masks)[ _.-]", re.I)


def find_labels(folder: Path, stem: str) -> Path | None:
    """Find the labels of an image in a folder.

    A file of the image's own name comes first; then ``NAME_cp_masks.tif``, ``NAME_labels.png``,
    ``NAME.stardist.tif`` and the like.

    Raises
    ------
    InputError
        If several files may be the labels.
    """
    for suffix in _SUFFIXES:
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    if not folder.is_dir():
        return None
    found = _named_after(folder, folder.stat().st_mtime_ns).get(stem, [])
    stems = {path.stem for path in found}
    if len(stems) > 1:
        raise InputError(
            f'{folder} has several files that may be the labels of "{stem}", '
            f"{quoted([path.name for path in found])}: leave one of each in the folder."
        )
    # The same labels as TIFF and as PNG: a TIFF can hold more objects.
    return (
        found[0]
        if len(found) == 1
        else next((path for path in found if path.suffix.lower() in TIFF_SUFFIXES), None)
    )


@lru_cache(maxsize=64)
def _named_after(folder: Path, changed: int) -> dict[str, list[Path]]:
    """Sort the files of a folder by the images that they may be named after, once for all images.

    `changed` is when the folder was changed, so that one that was is listed again.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        name = path.stem
        stems = [name[:k] for k in range(len(name)) if _ENDINGS.fullmatch(name, k)]
        stems += [name[k:] for k in range(len(name)) if _BEGINNINGS.fullmatch(name, 0, k)]
        for stem in dict.fromkeys(stems):
            found.setdefault(stem, []).append(path)
    return found


def read_labels(path: Path, stem: str) -> list[Image]:
    """Read labels under the names of their images.

    Parameters
    ----------
    path : Path
        A TIFF or PNG of whole numbers.
    stem : str
        Name of the image; the images of a stack are called ``stem_0000`` and so on.

    Raises
    ------
    InputError
        If the file cannot be read, or is a picture in colours.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        images = read_tiff(path, as_stored=True)
        return [replace(one, name=stem + one.name.removeprefix(path.stem)) for one in images]
    data = read_pixels(path)
    if data.ndim != 2:
        raise InputError(
            f"{path} is a picture in colours, which are no numbers of objects: save the labels as "
            "16 bit grey values, or as TIFF."
        )
    return [Image(data[np.newaxis], ("labels",), None, stem)]
