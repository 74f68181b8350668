"""From numbers as a TIFF stores them to the grey values that they stand for."""

from __future__ import annotations

import re

import numpy as np
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.integrity import TO_BYTES

_PHOTOMETRIC = tifffile.PHOTOMETRIC

_COLOR_SPACES = {
    _PHOTOMETRIC.SEPARATED: "CMYK",
    _PHOTOMETRIC.CIELAB: "CIELab",
    _PHOTOMETRIC.ICCLAB: "ICCLab",
    _PHOTOMETRIC.ITULAB: "ITULab",
    _PHOTOMETRIC.LOGLUV: "LogLuv",
    _PHOTOMETRIC.CFA: "a colour filter array",
}

_BYTES = TO_BYTES | {tifffile.COMPRESSION.NONE}
"""Compressions that leave luminance and chrominance as they are; JPEG's decoder gives RGB."""

_FLEX = 65200
"""Tag of the XML that Opera writes into the first page of a FLEX."""

_ARRAY, _FACTOR = re.compile(r"<Array\b[^>]*>"), re.compile(r'\sFactor="\s*(\d+(?:\.\d*)?)\s*"')
"""A plane in it, and what it has to be multiplied by."""

_SIGNED_16 = (-32768.0, 1.0)
"""ImageJ's way of storing signed 16-bit integers: an offset and a slope."""


def grey_values(tif: tifffile.TiffFile, index: int) -> np.ndarray:
    """Read one series of an open file as what its numbers mean.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.
    index : int
        Of the series.

    Returns
    -------
    numpy.ndarray
        In the axes of the series. Values that are stored with white as 0 are turned round, as
        viewers show them; values that ImageJ has calibrated by a straight line are those that
        ImageJ shows: int16 for its signed integers, float32 else. Planes of a FLEX are multiplied
        by the factors that it tells, as Bio-Formats does.

    Raises
    ------
    InputError
        If the numbers are no grey values: those of CMYK, CIELab or YCbCr, entries of a palette
        that does not go from dark to bright, or values calibrated by a curve; or if it is not known
        which factors belong to which planes of a FLEX.
    """
    series = tif.series[index]
    page = series.keyframe
    told = [name for kind, name in _COLOR_SPACES.items() if kind == page.photometric]
    color_space = told[0] if told else None
    if page.photometric == _PHOTOMETRIC.YCBCR and page.compression in _BYTES:
        color_space = "YCbCr"
    if color_space is not None:
        raise InputError(
            f"Its colours are stored as {color_space}, which are no grey "
            "values: save it as grey values or RGB."
        )
    if page.photometric == _PHOTOMETRIC.PALETTE and not _is_ramp(page.colormap):
        raise InputError(
            "Its pixels are entries of a palette of colours, which are no grey values: convert it "
            "to grey values or RGB."
        )
    data = _pixels(tif, series)
    if page.photometric == _PHOTOMETRIC.MINISWHITE:
        return _turned_round(data, page.bitspersample)
    if _FLEX in tif.pages.first.tags:
        return _multiplied(data, tif, series)
    return _calibrated(data, tif.imagej_metadata or {}) if tif.is_imagej else data


def numbers(tif: tifffile.TiffFile, index: int) -> np.ndarray:
    """Read one series of an open file as it is stored, for labels.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.
    index : int
        Of the series.

    Returns
    -------
    numpy.ndarray
        In the axes of the series. One of one bit is a mask, as viewers show it, and holds 0 and
        255 as masks of 8 bit do: 1 would be the number of one object.
    """
    series = tif.series[index]
    data = _pixels(tif, series)
    if data.dtype.kind != "b":
        return data
    white_is_0 = series.keyframe.photometric == _PHOTOMETRIC.MINISWHITE
    return np.where(data != white_is_0, np.uint8(255), np.uint8(0))


def _pixels(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> np.ndarray:
    """Read a series from the file that it lies in.

    Planes of one series may lie in another file than the one that tells of them. Where they follow
    each other there, tifffile would read the bytes at the same place of the open file.
    """
    others = {page.parent for page in series.pages if page is not None} - {tif}
    if len(others) != 1 or series.is_multifile:
        return np.asarray(series.asarray())
    (other,) = others
    other.filehandle.open()
    try:
        return np.asarray(other.asarray(series=series))
    finally:
        other.close()


def says_alpha(page: tifffile.TiffPage) -> bool:
    """Whether a page says that the last of its samples is an alpha, also one of grey values."""
    extra = page.extrasamples[-1:]
    return page.samplesperpixel > 1 and extra in (
        (tifffile.EXTRASAMPLE.ASSOCALPHA,),
        (tifffile.EXTRASAMPLE.UNASSALPHA,),
    )


def _is_ramp(colormap: np.ndarray | None) -> bool:
    """Whether a palette ``(3, N)`` only colours grey values: none is darker than the one before."""
    if colormap is None:
        return False
    # Perceived brightness, ITU-R BT.601; a step of a palette may be rounded.
    brightness = np.array([0.299, 0.587, 0.114]) @ np.asarray(colormap, dtype=np.float64)
    rises = np.diff(brightness)
    return bool((rises >= -0.01 * np.ptp(brightness)).all() and brightness[-1] > brightness[0])


def _turned_round(data: np.ndarray, bits: int) -> np.ndarray:
    if data.dtype.kind == "b":
        return ~data
    if data.dtype.kind != "u":
        raise InputError(
            f"It holds {data.dtype} values of which 0 is white, so that nothing says which is "
            "black: save it with black as 0."
        )
    return np.asarray((2**bits - 1) - data.astype(np.uint64), dtype=data.dtype)


def _multiplied(
    data: np.ndarray, tif: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> np.ndarray:
    """Multiply the planes of a FLEX by their factors, which stretch each to the bits stored.

    Source: ``FlexReader`` of Bio-Formats, which cuts the products to whole numbers as well.
    """
    text = tif.pages.first.tags.valueof(_FLEX, "")
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    # Not as XML, which some are not to the last sign.
    told = (_FACTOR.search(array) for array in _ARRAY.findall(text))
    factors = [1.0 if factor is None else float(factor[1]) for factor in told]
    if not factors or data.dtype.kind != "u":
        return data
    wide = data.dtype.itemsize > 1 and max(factors) > 1
    dtype = np.dtype(np.uint32 if wide or max(factors) > 256 else np.uint16)
    dtype = max(dtype, data.dtype, key=lambda kind: kind.itemsize)
    if all(factor == 1 for factor in factors):
        return data.astype(dtype)
    places = [None if page is None else page.index for page in series.pages]
    planes = data.reshape(-1, *series.keyframe.shape)
    if len(factors) != len(tif.pages) or len(places) != len(planes) or None in places:
        raise InputError(
            f"It tells of {len(factors)} factors by which planes have to be multiplied and holds "
            f"{len(tif.pages)} planes, so that it is not known which belong together: save it as "
            "OME-TIFF, for example with Fiji."
        )
    own = np.array([factors[place] for place in places if place is not None])
    product = planes * own.reshape(-1, *[1] * (planes.ndim - 1))
    return product.astype(dtype).reshape(data.shape)


def _calibrated(data: np.ndarray, imagej: dict[str, object]) -> np.ndarray:
    """Apply ImageJ's calibration of grey values, where there is one."""
    kind, line = imagej.get("cf"), (imagej.get("c0"), imagej.get("c1"))
    # 20 is none; 21 only changes what is drawn.
    if kind is None or kind in (20, 21) or not all(isinstance(x, int | float) for x in line):
        return data
    offset, slope = (float(x) for x in line)  # type: ignore[arg-type]
    if kind != 0:
        raise InputError(
            "Its grey values are calibrated by a curve, which is not applied here: convert it to "
            "32 bit in Fiji (Image > Type), which applies it, and save it again."
        )
    if (offset, slope) == (0.0, 1.0):
        return data
    if (offset, slope) == _SIGNED_16 and data.dtype == np.uint16:
        return (data.astype(np.int32) - 32768).astype(np.int16)
    return np.asarray(offset + slope * data.astype(np.float64), dtype=np.float32)
