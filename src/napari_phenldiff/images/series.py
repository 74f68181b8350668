"""Which parts of a TIFF are its images, and which are thumbnails, labels or something forgotten."""

from __future__ import annotations

import logging
import math
import os
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import is_regular_file, is_there
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.ome import (
    NoCompanion,
    begins_ome,
    complete,
    counts_planes,
    fault_of,
    mended,
)

_log = logging.getLogger(__name__)

_UNDESCRIBED = ("generic", "uniform")
"""The series of which tifffile took the axes from no description."""

_MUCH_SMALLER = 2
"""A series whose sides are at most one such part of the image's is a thumbnail, or a label."""


def open_tiff(path: str | os.PathLike[str]) -> tifffile.TiffFile:
    """Open a TIFF, with its OME-XML mended where that is sure, or from its companion.

    See `ome.mended` and `ome.complete`.

    Raises
    ------
    InputError
        If it is a pipe or a device, which would be waited for, or names another file that cannot
        be a part of it, or if the file that tells what its pages are is not beside it.
    Exception
        Whatever tifffile raises where it is no TIFF.
    """
    if is_there(path) and not is_regular_file(path):
        raise InputError("It is no file, but a device or a pipe: name a TIFF file.")
    tif = tifffile.TiffFile(path)
    xml = tif.ome_metadata if tif.is_ome else None
    if xml is None:
        return tif
    try:
        sound = complete(Path(path), mended(xml))
        _check_other_files(Path(path).parent, sound)  # before tifffile opens them
    except NoCompanion as error:
        if len(tif.pages) == 1:  # is one plane, whatever it is of
            tell_once(tif, f"{error} Until then its channel and the pixel size are not known.")
            return tif
        tif.close()
        raise
    except InputError:
        tif.close()
        raise
    if sound == xml:
        return tif
    tif.close()
    return tifffile.TiffFile(path, omexml=sound)


def _check_other_files(folder: Path, xml: str) -> None:
    """Refuse an OME-TIFF whose description names what must not be opened as a part of it.

    That is a pipe or a device, which would be waited for, and a file outside of the folder:
    whoever made the file would choose what is read there. One that is not there is told later.
    """
    folder = folder.absolute()
    try:
        root = ElementTree.fromstring(xml.encode())
    except ElementTree.ParseError:
        return  # so that tifffile follows no name, either
    for uuid in root.iter():
        name = uuid.attrib.get("FileName")
        if name is None or uuid.text == root.attrib.get("UUID"):  # the file itself
            continue
        part = folder / name
        if not is_there(part):
            continue
        if ".." in Path(name).parts or not part.is_relative_to(folder):
            raise InputError(
                f"It names {name} as a part of it, which is in another folder: files that make up "
                "an image must lie in one folder, or in folders in it, under their own names."
            )
        if not is_regular_file(part):
            raise InputError(f"It names {name} as a part of it, which is no file: copy it again.")


def image_series(tif: tifffile.TiffFile) -> list[int]:
    """Tell which series of an open file are its images.

    These are the largest series that is not marked as a reduced copy, and all that are like it
    (positions of an OME-TIFF). What is marked as reduced, or has half the sides or less, is a
    thumbnail or a label and left out.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.

    Returns
    -------
    list of int
        Indices of the series, in their order; empty if there is none.

    Raises
    ------
    InputError
        If something that may be part of the image would be left out: a series of another shape,
        axes or data type, or pages that the file's description does not tell of; or if the
        description cannot be used, so that nothing tells what its pages are.
    """
    series = list(tif.series)
    if series:
        _check_description(tif)
        _check_imagej(tif)
    full = [s for s in series if not s.keyframe.is_reduced] or series
    if not full:
        return []
    main = max(full, key=_area)  # the first of equals
    chosen = []
    for index, other in enumerate(series):
        if _alike(main, other) and (other in full):
            chosen.append(index)
        elif other not in full or _is_much_smaller(_size(other), _size(main)):
            tell_once(tif, f"series {index} is much smaller than the image and left out")
        else:
            raise InputError(
                f"It holds images that are unlike each other ({_told(main)}; {_told(other)}): "
                "save each kind as a file of its own, and the channels of an image as one stack."
            )
    _check_forgotten(tif, _size(main))
    return chosen


def tell_once(tif: tifffile.TiffFile, told: str) -> None:
    """Say something about an open file, however often it is looked at."""
    _tell_once(str(tif.filehandle.path), told)


@lru_cache(maxsize=4096)
def _tell_once(path: str, told: str) -> None:
    _log.warning("%s: %s", path, told)


def _check_description(tif: tifffile.TiffFile) -> None:
    """Refuse pages of which only a description that is of no use tells what they are."""
    if tif.series[0].kind not in _UNDESCRIBED:
        return
    text = tif.pages.first.description
    if not begins_ome(text):
        return
    n_pages = max(len(series.pages) for series in tif.series)
    xml = tif.ome_metadata or text
    fault = fault_of(xml)
    if fault is None and n_pages > 1 and counts_planes(xml):
        raise InputError(
            f"Its OME-XML tells of other planes than the {n_pages} pages that it holds, so that "
            "it is not known which of them are channels: save it again, for example with Fiji."
        )
    if fault is not None and n_pages > 1:
        raise InputError(
            f"Its OME-XML cannot be read ({fault}), and nothing else tells which of its {n_pages} "
            "pages are channels, z planes or fields: save it again, for example with Fiji."
        )
    if fault is not None:
        tell_once(
            tif,
            f"its OME-XML cannot be read ({fault}), so that names of channels and the pixel size "
            "in it are not known",
        )


def _check_imagej(tif: tifffile.TiffFile) -> None:
    """Refuse an ImageJ file that holds more or fewer planes than its description tells of."""
    series = tif.series[0]
    if not tif.is_imagej or series.kind not in ("imagej", *_UNDESCRIBED):
        return
    contents = tif.imagej_metadata or {}
    lengths = [contents.get(name, 1) for name in ("channels", "slices", "frames")]
    n_pages = len(tif.pages)
    page = series.keyframe
    images = contents.get("images", 1)
    held = n_pages
    if series.kind == "imagej":
        told = series.size // page.size
    else:  # tifffile has given its description up
        told = math.prod(n for n in lengths if isinstance(n, int))
        held *= page.samplesperpixel if told == n_pages * page.samplesperpixel else 1
    if series.kind == "imagej" and n_pages == 1 and isinstance(images, int):
        # ImageJ may keep a whole stack behind its first page, as far as the file is long enough.
        told_samples = told * page.samplesperpixel
        end = page.dataoffsets[0] + images * page.nbytes
        held = images if images > told_samples and end <= tif.filehandle.size else told
    if held != told and max(held, told) > 1:
        channels, slices, frames = lengths
        raise InputError(
            f"It holds {count(held, 'plane')}, but its ImageJ description tells of {told} "
            f"(channels: {channels}, slices: {slices}, frames: {frames}): it is incomplete, or was "
            "changed by a program that left the description as it was; save it again with Fiji."
        )


def _check_forgotten(tif: tifffile.TiffFile, size: tuple[int, int]) -> None:
    """Refuse pages that belong to no series, since the description counts too few."""
    series = list(tif.series)
    if any(s.is_multifile for s in series):
        return
    seen = {
        page.offset
        for s in series
        for level in s.levels
        for page in level.pages
        if page is not None
    }
    # ImageJ and tifffile may keep a whole stack behind its first page.
    if any(len(s.pages) < len(s) for s in series) or len(seen) >= len(tif.pages):
        return
    forgotten = []
    for page in tif.pages:
        if page.offset not in seen:
            page = page.aspage()
            if not page.is_reduced and not _is_much_smaller(page.shape[:2], size):
                forgotten.append(page)
    if forgotten:
        raise InputError(
            f"It holds {count(len(tif.pages), 'page')} but its description tells of "
            f"{len(tif.pages) - len(forgotten)} only, so channels would be lost: save it again, "
            "for example with Fiji, so that all are described."
        )


def _size(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """Height and width; 1 for an axis that is not there."""
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return int(lengths.get("Y", 1)), int(lengths.get("X", 1))


def _area(series: tifffile.TiffPageSeries) -> int:
    height, width = _size(series)
    return height * width


def _is_much_smaller(size: tuple[int, ...], other: tuple[int, int]) -> bool:
    return all(_MUCH_SMALLER * a <= b for a, b in zip(size, other, strict=True))


def _alike(series: tifffile.TiffPageSeries, other: tifffile.TiffPageSeries) -> bool:
    """Whether two series may be two fields of one experiment."""
    return (series.axes, series.shape, series.dtype) == (other.axes, other.shape, other.dtype)


def _told(series: tifffile.TiffPageSeries) -> str:
    shape = " × ".join(str(length) for length in series.shape)
    return f"{shape} of {series.dtype}"
