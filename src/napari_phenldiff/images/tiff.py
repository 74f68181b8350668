"""Multichannel TIFFs in and out."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import ParseError

import numpy as np
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import (
    Projection,
    named_axes,
    projection_of,
    reduce_z,
    to_ncyx,
    without_equal_colors,
    without_opaque_alpha,
)
from napari_phenldiff.images.companions import companions, left_out_in_words
from napari_phenldiff.images.destinations import is_there
from napari_phenldiff.images.files import sha256_of_array, write_atomic
from napari_phenldiff.images.image import Image, as_storable
from napari_phenldiff.images.integrity import check_pixels, check_structure
from napari_phenldiff.images.metadata import file_metadata, ome_descriptions
from napari_phenldiff.images.naming import MOST_COLORS, color_names, default_channel_names
from napari_phenldiff.images.ome import legal
from napari_phenldiff.images.omezarr_write import zarr_provenance
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.series import image_series, open_tiff, tell_once
from napari_phenldiff.images.stored import grey_values, numbers, says_alpha

TIFF_SUFFIXES = (".tif", ".tiff")
"""Of files that are written."""

IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".btf", ".tf2", ".tf8", ".lsm", ".stk", ".flex")
"""Of files that are read: TIFFs, however their programs call them."""

TOO_LARGE = "{} needs more memory than there is: close other programs, or save it in pieces."
"""What is said of a file that does not fit into memory, or claims so."""

_PROVENANCE_KEY = "napari-phenldiff"
_PART_OF = "part_of"
_SITE = "site"

_COLORS = (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)

_USUAL_AXES = "YXZCSTNPRMQI"
"""Of images, their channels, planes, times, positions and tiles, and those without a name."""

T = TypeVar("T")

# tifffile logs what it stumbles over. Whoever sets up logging still gets that; a bare command line
# gets the one sentence of an InputError instead.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read_tiff(
    path: str | PathLike[str], *, z: int | Projection | None = None, as_stored: bool = False
) -> list[Image]:
    """Read a TIFF file of any common kind: plain, OME-TIFF or ImageJ hyperstack.

    The axes are taken from the file's metadata. Channels (C) and colour samples (S) become
    channels, z is reduced as asked for, and every other axis (time, position...) gives one image
    per step. An axis without a name, as plain multi-page files have it, is taken for channels
    if it is the only one besides y and x and not longer than 8, or the last of several; else for a
    stack of images; a last axis too short to be x holds channels. An opaque alpha sample is left
    out, and three equal colours are one channel. Of several series, the largest and those like it
    (positions of an OME-TIFF) are read, and much smaller ones (labels, thumbnails) are left out,
    see :func:`napari_phenldiff.images.series.image_series`. Values are those that viewers show,
    see :func:`napari_phenldiff.images.stored.grey_values`.

    Parameters
    ----------
    path : path-like
        File to read, compressed or not.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection for files with a z axis. Means and sums of integers come as
        float32. Files without a z axis are read as they are.
    as_stored : bool
        Take the numbers as they are stored, for labels: they are no light, so that palettes and
        calibrations say nothing about them. See :func:`napari_phenldiff.images.stored.numbers`.

    Returns
    -------
    list of Image
        At least one. The name is the file's without suffix; if there are several, ``_0000``,
        ``_0001`` ... are appended.

    Raises
    ------
    InputError
        If the file is missing, damaged, incomplete or of an unknown kind, or if it has a z axis and
        `z` does not say what to do with it.
    """
    path = Path(path)

    def read(tif: tifffile.TiffFile, index: int) -> list[Image]:
        return _images(tif, index, z, path, numbers(tif, index) if as_stored else None)

    images = _of_each_series(path, read)
    if len(images) == 1:
        return images
    return [
        replace(image, name=f"{path.stem}_{i:04d}", part_of=image.part_of or path.stem)
        for i, image in enumerate(images)
    ]


def read_planes(path: str | PathLike[str]) -> list[tuple[Image, ...]]:
    """Read a TIFF file with all its z planes; see :func:`read_tiff`.

    Returns
    -------
    list of tuple of Image
        Per image its planes, all under its name and without a path, since reading the file again
        does not give them; one plane where there is no z axis.

    Raises
    ------
    InputError
        If the file is missing, damaged, incomplete or of an unknown kind.
    """
    path = Path(path)
    stacks = _of_each_series(path, lambda tif, index: _stacks(tif, index, path))
    if len(stacks) == 1:
        return stacks
    return [
        tuple(
            replace(plane, name=f"{path.stem}_{i:04d}", part_of=plane.part_of or path.stem)
            for plane in stack
        )
        for i, stack in enumerate(stacks)
    ]


def _of_each_series(path: Path, read: Callable[[tifffile.TiffFile, int], list[T]]) -> list[T]:
    """Read the series of a file that are like the first, whatever may be wrong with the file."""
    found: list[T] = []
    with _open(path) as tif:
        try:
            check_structure(tif)
            for index in image_series(tif):
                check_pixels(tif, tif.series[index])
                found += read(tif, index)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        except MemoryError:
            raise InputError(TOO_LARGE.format(path)) from None
        # A damaged file can fail in any part of the decoder, with any kind of error.
        except Exception as error:
            raise InputError(
                f"{path} cannot be read ({_one_line(error)}): check that the file is complete."
            ) from error
    if not found:
        raise InputError(f"{path} holds no image: check that the file is complete.")
    return found


def read_image(path: str | PathLike[str], *, z: int | Projection | None = None) -> Image:
    """Read a TIFF file that holds exactly one image; see :func:`read_tiff`.

    Raises
    ------
    InputError
        As :func:`read_tiff`, and if the file holds several images.
    """
    images = read_tiff(path, z=z)
    if len(images) > 1:
        raise InputError(
            f"{path} holds {len(images)} images where one is needed: save them as single files."
        )
    return images[0]


def write_tiff(
    path: str | PathLike[str], image: Image, *, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write an image as OME-TIFF, deflate-compressed, with channel names and pixel size.

    :func:`read_image` gives the same pixels, dtype, channel names and pixel size; of names, what
    XML cannot hold, such as control characters, becomes ``�``. Equal images with equal provenance
    give equal bytes. The file is complete or absent, never half written.

    Parameters
    ----------
    path : path-like
        File to write; one that exists is replaced.
    image : Image
        What to write. A dtype that OME-TIFF does not know is converted, see
        :func:`napari_phenldiff.images.image.as_storable`.
    provenance : mapping, optional
        How the image was made: anything that JSON can hold, and numpy numbers and paths. It goes
        into the description of the image, where :func:`read_provenance` finds it.
    """
    if image.part_of is not None:
        provenance = {**(provenance or {}), _PART_OF: image.part_of}
    if image.site is not None and image.site.columns():
        provenance = {**(provenance or {}), _SITE: image.site.columns()}
    _write(Path(path), "CYX", image.data, image, image.name, provenance)


def write_stack(
    path: str | PathLike[str],
    images: Sequence[Image],
    *,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write images as one OME-TIFF, as `write_tiff` does: one as CYX, several as TCYX.

    Parameters
    ----------
    path : path-like
        File to write; one that exists is replaced.
    images : sequence of Image
        With equal shapes, dtypes and channels.
    provenance : mapping, optional
        How they were made.
    """
    if len(images) == 1:
        write_tiff(path, images[0], provenance=provenance)
        return
    pixels = np.stack([image.data for image in images])
    _write(Path(path), "TCYX", pixels, images[0], Path(path).stem, provenance)


def _write(
    path: Path,
    axes: str,
    pixels: np.ndarray,
    like: Image,
    name: str,
    provenance: Mapping[str, Any] | None,
) -> None:
    """Write pixels with the channel names and the pixel size of an image."""
    metadata: dict[str, Any] = {
        "axes": axes,
        "Name": legal(name),
        "Channel": {"Name": [legal(name) for name in like.channel_names]},
    }
    if like.pixel_size is not None:
        for axis, size in zip("YX", like.pixel_size, strict=True):
            metadata[f"PhysicalSize{axis}"] = float(size)
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if provenance is not None:
        metadata["Description"] = json.dumps({_PROVENANCE_KEY: provenance}, default=_plain)
    data = as_storable(pixels)
    # tifffile would draw a random identifier, and no two runs would give the same file.
    identity = sha256_of_array(data) + json.dumps(metadata)
    metadata["UUID"] = uuid.uuid5(uuid.NAMESPACE_OID, identity).urn
    with write_atomic(path) as temporary:
        tifffile.imwrite(
            temporary,
            data,
            ome=True,
            photometric="minisblack",
            compression="zlib",
            predictor=True if data.dtype.kind in "ui" else None,
            metadata=metadata,
        )


def read_provenance(path: str | PathLike[str]) -> dict[str, Any] | None:
    """Read how an image was made, as :func:`write_tiff` put it into the file.

    Returns
    -------
    dict or None
        None if the file says nothing, as files from elsewhere do. A field of a plate that this
        package has written (OME-Zarr) tells it too.

    Raises
    ------
    InputError
        If the file is missing or no TIFF.
    """
    path = Path(path)
    if is_there(path) and path.is_dir():
        return zarr_provenance(path)
    if not is_image_file(path) and is_there(path):
        return None  # only TIFFs are written with it
    with _open(path) as tif:
        return _provenance(tif)


def _provenance(tif: tifffile.TiffFile) -> dict[str, Any] | None:
    xml = tif.ome_metadata if tif.is_ome else None
    if not xml or _PROVENANCE_KEY not in xml:
        return None
    try:
        descriptions = ome_descriptions(xml)
    except ParseError:
        return None
    for description in descriptions:
        try:
            contents = json.loads(description)
        except ValueError:
            continue
        if isinstance(contents, dict) and isinstance(contents.get(_PROVENANCE_KEY), dict):
            return dict(contents[_PROVENANCE_KEY])
    return None


def tiff_files(folder: str | PathLike[str]) -> list[Path]:
    """TIFF files directly in a folder that may be images, by name, without hidden ones.

    Thumbnails and results of a segmentation are left out, and links that lead nowhere, see
    :func:`files_left_out`.
    """
    files = [path for path in _all_tiffs(folder) if path.is_file()]
    others = companions(files)
    return [path for path in files if path not in others]


def files_left_out(folder: str | PathLike[str]) -> list[str]:
    """Tell, in sentences, which TIFFs of a folder :func:`tiff_files` leaves out."""
    files = [path for path in _all_tiffs(folder) if not path.is_dir()]
    return left_out_in_words(Path(folder), files)


def _all_tiffs(folder: str | PathLike[str]) -> list[Path]:
    return sorted(
        path
        for path in Path(folder).iterdir()
        if is_image_file(path) and not path.name.startswith(".")
    )


def is_image_file(path: Path) -> bool:
    """Whether a file is called like one that is read."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def _open(path: Path) -> tifffile.TiffFile:
    if not is_there(path):
        raise InputError(f"{path} does not exist: check the name.")
    if path.is_dir():
        raise InputError(f"{path} is a folder where a TIFF file is needed: name a file in it.")
    try:
        return open_tiff(path)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise InputError(TOO_LARGE.format(path)) from None
    # Anything may be in a file that is no TIFF.
    except Exception as error:
        raise InputError(
            f"{path} cannot be opened as a TIFF ({_what_it_is(path) or _one_line(error)}): check "
            "that it is complete."
        ) from error


_OTHERS = (
    (b"\x89PNG", "it is a PNG under another name"),
    (b"\xff\xd8\xff", "it is a JPEG under another name"),
    (b"version https://git-lfs", "it is a pointer of Git LFS: fetch the file with git lfs pull"),
    (b"PK\x03\x04", "it is a ZIP archive: unpack it"),
    (b"ZISRAWFILE", "it is a CZI under another name"),
    (b"\xda\xce\xbe\x0a", "it is an ND2 under another name"),
    (b"\x89HDF", "it is an HDF5 file under another name"),
)


def _what_it_is(path: Path) -> str | None:
    """Tell what a file is that is no TIFF, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError:
        return None
    if not start:
        return "it is empty"
    return next((told for sign, told in _OTHERS if start.startswith(sign)), None)


def _stacks(tif: tifffile.TiffFile, index: int, path: Path) -> list[tuple[Image, ...]]:
    """Per image of one series its z planes, all under the name of the file."""
    series = tif.series[index]
    axes = named_axes(series.axes, series.shape, samples=series.keyframe.samplesperpixel)
    data = grey_values(tif, index)
    if "Z" not in axes:
        images = _images(tif, index, None, path, data)
        return [(replace(image, path=None),) for image in images]
    depth = data.shape[axes.index("Z")]
    planes = [_images(tif, index, z, path, data) for z in range(depth)]
    return list(zip(*planes, strict=True))


def _images(
    tif: tifffile.TiffFile,
    index: int,
    z: int | Projection | None,
    path: Path,
    data: np.ndarray | None = None,
) -> list[Image]:
    """Images of one series, all under the name of the file; `data` if it has been read."""
    series = tif.series[index]
    page = series.keyframe
    axes = named_axes(series.axes, series.shape, samples=page.samplesperpixel)
    data = grey_values(tif, index) if data is None else data
    _tell_unusual_axes(tif, series)
    # All planes decide, whichever is read: in one alone, colours may be equal by chance, and a mean
    # does not tell an opaque alpha.
    whole = to_ncyx(data, axes.replace("Z", "N")) if "S" in axes else None
    # What was chosen along z is not what reading the path alone gives.
    path_again = path if z is None or "Z" not in axes else None
    projection = None
    if "Z" in axes:
        projection = projection_of(data.shape[axes.index("Z")], z)
        data = reduce_z(data, axes.index("Z"), z)
    # Interleaved samples are colours. Planar ones may be: tifffile itself writes three or four
    # 8-bit channels that way unless told otherwise.
    color = axes.endswith("S") and page.photometric == tifffile.PHOTOMETRIC.RGB
    data = to_ncyx(data, axes.replace("Z", ""))
    n_channels = data.shape[1]
    if whole is not None:
        # Alpha of each of several channels would not be the last.
        said = says_alpha(page) and n_channels == page.samplesperpixel
        if said or page.photometric in _COLORS:
            whole = without_opaque_alpha(whole, said=said)
        if page.photometric in _COLORS:
            whole = without_equal_colors(whole)
        data = data[:, : whole.shape[1]]
    color = color and data.shape[1] > 1 and n_channels <= MOST_COLORS
    data = np.ascontiguousarray(as_storable(data))

    metadata = file_metadata(tif, index)
    n_channels = data.shape[1]
    names = color_names(n_channels) if color else default_channel_names(n_channels)
    told = metadata.channel_names or ()
    if color:
        told = told[:n_channels]  # without the alpha
    if len(told) == n_channels:
        names = tuple(name or default for name, default in zip(told, names, strict=True))
    provenance = _provenance(tif) or {}
    part_of, site = provenance.get(_PART_OF), Site.told_by(provenance.get(_SITE))
    return [
        Image(
            field,
            names,
            metadata.pixel_size,
            path.stem,
            path_again,
            part_of,
            site,
            projection=projection,
        )
        for field in data
    ]


def _tell_unusual_axes(tif: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> None:
    """Say which steps are images that may well be channels, such as the bands of a spectrum."""
    for axis, length in zip(series.axes, series.shape, strict=True):
        if axis not in _USUAL_AXES and length > 1:
            name = tifffile.TIFF.AXES_NAMES.get(axis, "unknown")
            tell_once(
                tif,
                f"its axis {axis} ({name}, {length} steps) is taken for images of their own: if "
                "they are channels, save it with these as the axis C",
            )


def _plain(value: object) -> object:
    """Turn what JSON does not know into what it does."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, PathLike):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _one_line(error: Exception) -> str:
    """Message of an error from elsewhere, fit to stand in a sentence."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
