"""Is a TIFF file whole? If it is not, tifffile reads what there is and only logs what it misses."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile

from napari_phenldiff.errors import InputError

# Tags with what read_tiff goes by: the description (OME-XML, ImageJ, axes), ImageJ's labels.
_DESCRIPTIVE_TAGS = {270, 50839}

# Bytes of one value, by TIFF's code of the data type.
_VALUE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1}

# Compressions whose decoder gives back the bytes of a strip, and not an image.
TO_BYTES = {
    tifffile.COMPRESSION.LZW,
    tifffile.COMPRESSION.ADOBE_DEFLATE,
    tifffile.COMPRESSION.DEFLATE,
    tifffile.COMPRESSION.PACKBITS,
    tifffile.COMPRESSION.ZSTD,
    tifffile.COMPRESSION.LZMA,
}


def check_structure(tif: tifffile.TiffFile) -> None:
    """Refuse a file that is cut off between two pages or within its description.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file, at least one page of which can be read.

    Raises
    ------
    InputError
        If the chain of pages leads out of the file, so that tifffile would return the pages before,
        or if the description lies outside, so that tifffile would do without.
    """
    n_pages = len(tif.pages)  # follows the chain to its end
    tif.filehandle.seek(tif.pages.next_page_offset or 0)
    pointer = tif.filehandle.read(tif.tiff.offsetsize)
    if any(pointer) or len(pointer) < tif.tiff.offsetsize:
        raise InputError(
            f"The file ends within page {n_pages + 1}: it is truncated, copy it again."
        )
    if any(end > tif.filehandle.size for end in _ends_of_descriptions(tif)):
        raise InputError("The file ends within its description: it is truncated, copy it again.")


def check_pixels(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Refuse a file that lacks pixels, for which tifffile may fill in zeros.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.
    series : tifffile.TiffPageSeries
        What is to be read from it.

    Raises
    ------
    InputError
        If a plane is missing or in another file, or if pixels lie outside the file.
    """
    pages = list(series.pages)
    if None in pages:
        raise InputError(
            "Planes are missing: the file is incomplete or one of several that make up an image, "
            "which must be saved as a single file or lie in one folder, under their own names."
        )
    check_fits(series.shape, series.dtype)
    # All may lie in one file, which is another one.
    if series.is_multifile or any(page is not None and page.parent is not tif for page in pages):
        for page in pages:
            _check_in_its_own_file(page)
        return
    for number, page in enumerate(pages, 1):
        if _lacks_segments(series, page) or _ends_early(tif, series, page):
            raise InputError(
                f"Parts of the pixels of plane {number} are missing, which would be read as "
                "black: the file is incomplete, copy it again or save it anew."
            )
    if series.dataoffset is not None:
        end = series.dataoffset + series.nbytes
    else:
        end = max(
            offset + length
            for page in pages
            if page is not None
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
    if end > tif.filehandle.size:
        raise InputError(
            f"The file has {tif.filehandle.size} of at least {end} bytes: it is truncated, "
            "copy it again."
        )


def check_fits(shape: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse what cannot be held in memory, or what a damaged header claims.

    Parameters
    ----------
    shape : sequence of int
        Of all pixels together.
    dtype : numpy.dtype
        Of a pixel.

    Raises
    ------
    InputError
        If they take more than the memory of this computer.
    """
    import psutil  # type: ignore[import-untyped]

    n_bytes = math.prod(shape) * dtype.itemsize
    if n_bytes > psutil.virtual_memory().total:
        told = " × ".join(str(length) for length in shape)
        raise InputError(
            f"It claims {told} pixels of {dtype}, {n_bytes / 2**30:,.0f} GiB, which "
            "is more than the memory of this computer: save it in pieces, or copy it again if it "
            "is not so large."
        )


def _check_in_its_own_file(page: Any) -> None:
    """Refuse a page of another file of the same image if that file ends before it."""
    file = page.parent.filehandle
    ends = [a + n for a, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if max(ends) > file.size or not all(page.databytecounts):
        raise InputError(
            f"{file.name}, which is one of several files of this image, has {file.size} of at "
            f"least {max(ends)} bytes: it is truncated, copy it again."
        )


def _lacks_segments(series: tifffile.TiffPageSeries, page: Any) -> bool:
    """Whether strips or tiles of a page are not there: too few of them, or without any bytes."""
    wanted = math.prod(series.keyframe.chunked)
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    return len(places) < wanted or any(not (start and length) for start, length in places)


def _ends_early(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries, page: Any) -> bool:
    """Whether the last strip of a page holds fewer rows than the page has left for it."""
    key = series.keyframe
    if key.is_tiled or key.imagedepth > 1 or key.photometric == tifffile.PHOTOMETRIC.YCBCR:
        return False  # a tile is always whole
    rows = key.imagelength - (key.imagelength - 1) // key.rowsperstrip * key.rowsperstrip
    samples = key.samplesperpixel if key.planarconfig == 1 else 1
    row = -(-key.imagewidth * samples * key.bitspersample // 8)
    wanted = rows * row
    start, length = page.dataoffsets[-1], page.databytecounts[-1]
    if key.compression == tifffile.COMPRESSION.NONE:
        return bool(length < wanted)
    compression = tifffile.COMPRESSION(key.compression)
    if compression not in TO_BYTES:
        return False
    tif.filehandle.seek(start)
    packed = tif.filehandle.read(length)
    # No more than a whole strip, to which some programs fill up the last: a few bytes may hold
    # more than any memory.
    most = min(key.rowsperstrip, key.imagelength) * row
    try:
        decoded = tifffile.TIFF.DECOMPRESSORS[compression](packed, out=most)
    except MemoryError:
        raise
    except Exception:
        return False  # there is more; of what is damaged, reading it tells
    return len(decoded) < wanted


def _ends_of_descriptions(tif: tifffile.TiffFile) -> list[int]:
    """Where in the file the values of the first page's descriptive tags end.

    tifffile has dropped the tags whose values it could not read, so the directory of the page is
    read here once more.
    """
    layout, file = tif.tiff, tif.filehandle
    file.seek(tif.pages.first.offset)
    (n_tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    directory = file.read(n_tags * layout.tagsize)
    ends = []
    for start in range(0, len(directory), layout.tagsize):
        tag = directory[start : start + layout.tagsize]
        code, kind = struct.unpack(layout.tagformat1, tag[:4])
        count, value = struct.unpack(layout.tagformat2, tag[4:])
        size = count * _VALUE_SIZES.get(kind, 0)
        # Short values stand in the directory itself.
        if code in _DESCRIPTIVE_TAGS and size > layout.tagoffsetthreshold:
            ends.append(struct.unpack(layout.offsetformat, value)[0] + size)
    return ends
