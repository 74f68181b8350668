"""One multichannel image, as every room of the package passes it on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.naming import check_file_name, composed, count, is_text
from napari_phenldiff.images.places import Site

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A two-dimensional image with named channels.

    Two images are equal only if they are the same object; compare pixels by `sha256`. The pixels
    are not changed in place.

    Parameters
    ----------
    data : numpy.ndarray of shape (C, Y, X)
        Real numbers in the dtype of the source.
    channel_names : tuple of str
        One name per channel; kept in composed form (NFC), in which equal names are equal.
    pixel_size : tuple of float or None
        Micrometres per pixel along y and x; None where it is not known.
    name : str
        File name without suffix (followed by ``_0003`` for a plane of a stack), or name of the
        layer. It becomes the name of the files written for this image.
    path : pathlib.Path or None
        File from which ``read_tiff(path)`` gives exactly these pixels. None for an image that
        exists only in memory: a layer, a projection, channels from several files.
    part_of : str or None
        What it is one of several images of, where something else than its name tells: the stack
        that it lay in, or the well that a table names.
    site : Site or None
        Plate, well and field, where something else than the name alone tells; they stand in every
        table that is written.
    lacking : str or None
        What of the pixels, or of the names of channels, is not in the file, or what its files tell
        differently, in a sentence; None if nothing is known to be missing. A `Survey` passes it on.
    projection : tuple of (str, int) or None
        How z planes were made one, ``"max"``, ``"mean"`` or ``"sum"``, and how many; None of a
        plane that was chosen, or lay alone.

    Raises
    ------
    InputError
        If the parts do not fit together.
    """

    data: np.ndarray
    channel_names: tuple[str, ...]
    pixel_size: tuple[float, float] | None
    name: str
    path: Path | None = None
    part_of: str | None = None
    site: Site | None = None
    lacking: str | None = None
    projection: tuple[str, int] | None = None
    _sha256: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not is_text(self.name):
            object.__setattr__(self, "name", composed(self.name))
        if self.path is not None and not is_text(str(self.path)):
            # What is no text cannot be written down, so that nobody would find it again.
            object.__setattr__(self, "path", None)
        check_file_name(self.name, "image")
        object.__setattr__(
            self, "channel_names", tuple(composed(name) for name in self.channel_names)
        )
        if self.data.ndim != 3 or 0 in self.data.shape:
            raise InputError(
                f'Image "{self.name}" has the shape {self.data.shape}: '
                "give an array with the axes channel, y, x, none of them empty."
            )
        if self.data.dtype.kind not in "uif":
            raise InputError(
                f'Image "{self.name}" holds {self.data.dtype} values: '
                "convert it to integers or floating-point numbers."
            )
        if len(self.channel_names) != self.n_channels:
            raise InputError(
                f'Image "{self.name}" has {count(self.n_channels, "channel")} but '
                f"{count(len(self.channel_names), 'channel name')}: give one name per channel."
            )
        if self.pixel_size is not None and not all(
            np.isfinite(size) and size > 0 for size in self.pixel_size
        ):
            raise InputError(
                f'Image "{self.name}" has the pixel size {self.pixel_size}: '
                "give two positive numbers in micrometres, or none."
            )

    @property
    def sha256(self) -> str:
        """Hash of the pixels, their shape and dtype; computed when it is first asked for."""
        if self._sha256 is None:
            object.__setattr__(self, "_sha256", sha256_of_array(self.data))
        assert self._sha256 is not None
        return self._sha256

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels."""
        return self.data.dtype

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.data.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels, (Y, X)."""
        return int(self.data.shape[1]), int(self.data.shape[2])

    def told(self, look: Callable[[Image], T]) -> T:
        """Return what a function finds out about the image.

        An image that stays in its file remembers it, so that it is not read again for that.
        """
        return look(self)


def is_storable(dtype: np.dtype[Any]) -> bool:
    """Whether OME-TIFF can hold a data type whatever the values are, see `as_storable`."""
    sizes = {"f": (4, 8), "u": (1, 2, 4), "i": (1, 2, 4)}.get(dtype.kind, ())
    return dtype.itemsize in sizes and dtype.isnative


def as_storable(array: np.ndarray) -> np.ndarray:
    """Convert an array to a dtype that OME-TIFF can hold.

    Parameters
    ----------
    array : numpy.ndarray
        Any shape.

    Returns
    -------
    numpy.ndarray
        The array itself where its dtype can be stored. Otherwise booleans become uint8 (0 and 1),
        float16 becomes float32, wider floats float64, and 64-bit integers become int32 or uint32
        if their values fit and float64 if not. Always in native byte order.
    """
    dtype = array.dtype
    if dtype.kind == "b":
        return array.astype(np.uint8)
    if dtype.kind == "f":
        return array.astype({2: "f4", 4: "f4", 8: "f8"}.get(dtype.itemsize, "f8"), copy=False)
    if dtype.kind in "ui" and dtype.itemsize == 8:
        low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
        for target in (np.int32, np.uint32):
            if np.iinfo(target).min <= low and high <= np.iinfo(target).max:
                return array.astype(target)
        return array.astype(np.float64)
    return array.astype(dtype.newbyteorder("="), copy=False)
