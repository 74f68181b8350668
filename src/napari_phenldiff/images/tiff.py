"""Multichannel TIFFs in and out."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args
from xml.etree.ElementTree import ParseError

import numpy as np
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import sha256_of_array, write_atomic
from napari_phenldiff.images.image import Image, as_storable, default_channel_names
from napari_phenldiff.images.metadata import Metadata, file_metadata, ome_descriptions

TIFF_SUFFIXES = (".tif", ".tiff")

Projection = Literal["max", "mean", "sum"]

# An axis that the file does not name is taken for channels up to this length.
_MOST_UNNAMED_CHANNELS = 8

_PROVENANCE_KEY = "napari-phenldiff"

# tifffile logs what it stumbles over. Whoever sets up logging still gets that; a bare command line
# gets the one sentence of an InputError instead.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read_tiff(path: str | PathLike[str], *, z: int | Projection | None = None) -> list[Image]:
    """Read a TIFF file of any common kind: plain, OME-TIFF or ImageJ hyperstack.

    The axes are taken from the file's metadata. Channels (C) and colour samples (S) become
    channels, z is reduced as asked for, and every other axis (time, position...) gives one image
    per step. An axis without a name, as plain multi-page files have it, is taken for channels
    if it is the only one besides y and x and not longer than 8, or the last of several; else for a
    stack of images. A constant alpha sample is left out. Series beside the first (positions of an
    OME-TIFF) are read too if they have the same axes and dtype, else (labels, thumbnails) not.

    Parameters
    ----------
    path : path-like
        File to read, compressed or not.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection for files with a z axis. Means and sums of integers come as
        float32. Files without a z axis are read as they are.

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
    images: list[tuple[np.ndarray, Metadata]] = []
    with _open(path) as tif:
        try:
            all_series = tif.series
            first = all_series[0]
            for index, series in enumerate(all_series):
                if (series.axes, series.dtype) != (first.axes, first.dtype):
                    continue
                _check_complete(series, path)
                stack = _to_ncyx(series.asarray(), _axes(series), z, path)
                metadata = file_metadata(tif, index)
                images += [(data, metadata) for data in stack]
        except (InputError, MemoryError):
            raise
        # A damaged file can fail in any part of the decoder, with any kind of error.
        except Exception as error:
            raise InputError(
                f"{path} cannot be read ({_one_line(error)}): check that it is a complete TIFF file."
            ) from error
    # A projection cannot be read again from its file alone.
    kept_path = path if z is None else None
    return [
        Image(
            data=data,
            channel_names=_channel_names(metadata, len(data)),
            pixel_size=metadata.pixel_size,
            name=path.stem if len(images) == 1 else f"{path.stem}_{index:04d}",
            path=kept_path,
        )
        for index, (data, metadata) in enumerate(images)
    ]


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

    :func:`read_image` gives the same pixels, dtype, channel names and pixel size. Equal images with
    equal provenance give equal bytes. The file is complete or absent, never half written.

    Parameters
    ----------
    path : path-like
        File to write; one that exists is replaced.
    image : Image
        What to write. A dtype that OME-TIFF does not know is converted without loss, see
        :func:`napari_phenldiff.images.image.as_storable`.
    provenance : mapping, optional
        How the image was made: anything that JSON can hold, and numpy numbers and paths. It goes
        into the description of the image, where :func:`read_provenance` finds it.
    """
    metadata: dict[str, Any] = {
        "axes": "CYX",
        "Name": image.name,
        "Channel": {"Name": list(image.channel_names)},
    }
    if image.pixel_size is not None:
        for axis, size in zip("YX", image.pixel_size, strict=True):
            metadata[f"PhysicalSize{axis}"] = float(size)
            metadata[f"PhysicalSize{axis}Unit"] = "µm"
    if provenance is not None:
        metadata["Description"] = json.dumps({_PROVENANCE_KEY: provenance}, default=_plain)
    data = as_storable(image.data)
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
        None if the file says nothing, as files from elsewhere do.

    Raises
    ------
    InputError
        If the file is missing or no TIFF.
    """
    with _open(Path(path)) as tif:
        xml = tif.ome_metadata if tif.is_ome else None
    try:
        descriptions = ome_descriptions(xml) if xml else []
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
    """TIFF files directly in a folder, by name, without hidden ones."""
    return sorted(
        path
        for path in Path(folder).iterdir()
        if path.suffix.lower() in TIFF_SUFFIXES and path.is_file() and not path.name.startswith(".")
    )


def _open(path: Path) -> tifffile.TiffFile:
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name.")
    try:
        return tifffile.TiffFile(path)
    except MemoryError:
        raise
    # Anything may be in a file that is no TIFF.
    except Exception as error:
        raise InputError(
            f"{path} cannot be opened as a TIFF ({_one_line(error)}): check that it is complete."
        ) from error


def _check_complete(series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse a file that ends before its pixels do; decoders may fill what is missing with zeros."""
    if series.is_multifile or any(page is None for page in series.pages):
        raise InputError(
            f"{path} is incomplete or one part of an image that is spread over several files: "
            "save the image as one file."
        )
    size = series.parent.filehandle.size
    if series.dataoffset is not None:
        end = series.dataoffset + series.nbytes
    else:
        end = max(
            offset + length
            for page in series.pages
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True)
        )
    if end > size:
        raise InputError(
            f"{path} ends after {size} of at least {end} bytes: it is truncated, copy it again."
        )


def _axes(series: tifffile.TiffPageSeries) -> str:
    """Axes of a series, one letter each: Y, X, Z, C, S for colour samples, N for stacks."""
    page = series.keyframe
    axes = series.axes
    if page.samplesperpixel == 1:
        # Without colour, S is somebody's name for series, scene or site.
        axes = axes.replace("S", "N")
    axes = "".join(axis if axis in "YXZCSQI" else "N" for axis in axes)
    # Q and I are tifffile's letters for an axis that the file does not name.
    unnamed = [index for index, axis in enumerate(axes) if axis in "QI"]
    if unnamed and not set(axes) & set("ZCS"):
        last = unnamed[-1]
        only = len(axes) == 3
        if not only or series.shape[last] <= _MOST_UNNAMED_CHANNELS:
            axes = axes[:last] + "C" + axes[last + 1 :]
    return axes.replace("Q", "N").replace("I", "N")


def _to_ncyx(data: np.ndarray, axes: str, z: int | Projection | None, path: Path) -> np.ndarray:
    """Bring an array to the axes image, channel, y, x."""
    if axes.count("Y") != 1 or axes.count("X") != 1:
        raise InputError(f"{path} has the axes {axes}: an image needs y and x.")
    if "Z" in axes:
        data = _without_z(data, axes.index("Z"), z, path)
        axes = axes.replace("Z", "")
    order = [index for letter in "NCSYX" for index, axis in enumerate(axes) if axis == letter]
    data = data.transpose(order)
    stack, channels = (
        data.shape[: axes.count("N")],
        data.shape[axes.count("N") : -2],
    )
    data = data.reshape(int(np.prod(stack)), int(np.prod(channels)), *data.shape[-2:])
    if axes.count("S") and "C" not in axes and axes.endswith("S") and data.shape[1] in (2, 4):
        alpha = data[:, -1]
        if alpha.min() == alpha.max():
            data = data[:, :-1]
    return np.ascontiguousarray(as_storable(data))


def _without_z(data: np.ndarray, axis: int, z: int | Projection | None, path: Path) -> np.ndarray:
    """Choose one plane or project along z."""
    depth = data.shape[axis]
    if depth == 1:
        return data.squeeze(axis)
    if z is None:
        raise InputError(
            f"{path} has {depth} z planes: choose one (0 to {depth - 1}) or a projection "
            f"({', '.join(get_args(Projection))})."
        )
    if isinstance(z, int):
        if not 0 <= z < depth:
            raise InputError(f"{path} has no z plane {z}: choose one from 0 to {depth - 1}.")
        return data.take(z, axis)
    if z == "max":
        return data.max(axis)
    # Integers would lose the fraction of a mean and overflow in a sum.
    dtype = data.dtype if data.dtype.kind == "f" else np.dtype(np.float64)
    if z == "mean":
        projected = data.mean(axis, dtype=dtype)
    elif z == "sum":
        projected = data.sum(axis, dtype=dtype)
    else:
        raise InputError(
            f'There is no z projection "{z}": choose one of {", ".join(get_args(Projection))}.'
        )
    return projected if data.dtype.kind == "f" else projected.astype(np.float32)


def _channel_names(metadata: Metadata, n_channels: int) -> tuple[str, ...]:
    """Names from the file where it has one for each channel, numbers for the others."""
    names = metadata.channel_names or ()
    numbers = default_channel_names(n_channels)
    if len(names) != n_channels:
        return numbers
    return tuple(name or number for name, number in zip(names, numbers, strict=True))


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
