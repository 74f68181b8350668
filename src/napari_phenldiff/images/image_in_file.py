"""Images that stay in their files: read when their pixels are needed, and let go of again.

An experiment may be larger than the memory. What is known of an image beside its pixels stays; the
pixels that were read last stay as well, up to `KEPT_BYTES` in all, so that those of a small
experiment are read once.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image

T = TypeVar("T")
Look = Callable[[Image], Any]
"""What finds something out about an image, such as its highest value."""

KEPT_BYTES = 2**27
"""Pixels that stay in memory, of all images in files together."""


class FileReader:
    """Reads the images of one file, as often as they are needed.

    Parameters
    ----------
    read : callable
        Returns the images of the file.
    """

    def __init__(self, read: Callable[[], Sequence[Image]]) -> None:
        self._read = read
        self._hashes: tuple[str, ...] | None = None
        self._images: Sequence[Image] | None = None

    def images(self) -> Sequence[Image]:
        """Return the images with their pixels, which are the same each time.

        Raises
        ------
        InputError
            If the file cannot be read, or has changed since it was read first.
        """
        images = self._images
        if images is None:
            images = self._read()
            hashes = tuple(image.sha256 for image in images)
            if self._hashes not in (None, hashes):
                raise InputError(
                    f"{images[0].path or images[0].name} has changed while it was used; start "
                    "again when its images are complete."
                )
            self._hashes = hashes
            self._images = images
        _recent.keep(self, sum(image.data.nbytes for image in images))
        return images

    def let_go(self) -> None:
        """Free the pixels."""
        self._images = None


class _Recent:
    """Which files were read last, and how much of them may be kept."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a reader may be collected while this is at work
        self._sizes: OrderedDict[int, tuple[weakref.ref[FileReader], int]] = OrderedDict()

    def keep(self, reader: FileReader, n_bytes: int) -> None:
        """Let go of what was read longest ago, if there is more than may be kept."""
        key = id(reader)
        with self._lock:
            self._sizes.pop(key, None)
            self._sizes[key] = weakref.ref(reader, lambda _: self._forget(key)), n_bytes
            total = sum(size for _, size in self._sizes.values())
            # The last one stays however large it is: its images are asked for one by one.
            while total > KEPT_BYTES and len(self._sizes) > 1:
                _, (oldest, size) = self._sizes.popitem(last=False)
                total -= size
                found = oldest()
                if found is not None:
                    found.let_go()

    def _forget(self, key: int) -> None:
        with self._lock:
            known = self._sizes.get(key)
            if known is not None and known[0]() is None:
                del self._sizes[key]


_recent = _Recent()


class ImageInFile(Image):
    """An image whose pixels are read when they are asked for.

    Made by `in_files`. `dataclasses.replace` gives an `Image` in memory, `changed` one that stays
    in its file.
    """

    __slots__ = ("_changes", "_dtype", "_known", "_number", "_reader", "_shape")

    _reader: FileReader
    _number: int
    _changes: tuple[Callable[[Image], Image], ...]
    _shape: tuple[int, ...]
    _dtype: np.dtype[Any]
    _known: dict[Look, Any]

    def __new__(cls, *args: Any, **fields: Any) -> Image:  # type: ignore[misc]
        """Return an image in memory: `dataclasses.replace` comes here, with pixels."""
        return Image(*args, **fields)

    @classmethod
    def of(
        cls,
        image: Image,
        reader: FileReader,
        number: int,
        changes: tuple[Callable[[Image], Image], ...] = (),
        looks: Iterable[Look] = (),
    ) -> ImageInFile:
        """Make one of an image that was just read, and need not be kept."""
        made: ImageInFile = object.__new__(cls)
        told = ("channel_names", "pixel_size", "name", "path", "part_of", "site")
        for name in (*told, "lacking", "projection"):
            object.__setattr__(made, name, getattr(image, name))
        object.__setattr__(made, "_sha256", image.sha256)
        object.__setattr__(made, "_reader", reader)
        object.__setattr__(made, "_number", number)
        object.__setattr__(made, "_changes", changes)
        object.__setattr__(made, "_shape", image.data.shape)
        object.__setattr__(made, "_dtype", image.data.dtype)
        object.__setattr__(made, "_known", {look: look(image) for look in looks})
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # What reads it may exist in this process only.
        whole = self._image()
        told = (whole.channel_names, whole.pixel_size, whole.name, whole.path)
        more = (whole.part_of, whole.site, whole.lacking, whole.projection)
        return Image, (whole.data, *told, *more)

    @property
    def data(self) -> np.ndarray:
        """The pixels, read from the file unless they are still in memory."""
        return self._image().data

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the pixels."""
        return self._dtype

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self._shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels, (Y, X)."""
        return int(self._shape[1]), int(self._shape[2])

    def told(self, look: Callable[[Image], T]) -> T:
        """Return what a function finds out about the image; it looks at the pixels once."""
        if look not in self._known:
            self._known[look] = look(self._image())
        found: T = self._known[look]
        return found

    def changed(self, change: Callable[[Image], Image]) -> Image:
        """Return the image after a change, which is made again whenever it is read.

        Parameters
        ----------
        change : callable
            Returns the image itself if there is nothing to change.
        """
        before = self._image()
        after = change(before)
        if after is before:
            return self
        changes = (*self._changes, change)
        return ImageInFile.of(after, self._reader, self._number, changes, looks=self._known)

    def _image(self) -> Image:
        image = self._reader.images()[self._number]
        for change in self._changes:
            image = change(image)
        return image


def changed(image: Image, change: Callable[[Image], Image]) -> Image:
    """Change an image; one that is in a file stays there."""
    return image.changed(change) if isinstance(image, ImageInFile) else change(image)


def in_files(read: Callable[[], Sequence[Image]], looks: Iterable[Look] = ()) -> list[Image]:
    """Read the images of a file once, and keep what is known of them beside the pixels.

    Parameters
    ----------
    read : callable
        Returns the images of the file, the same each time.
    looks : iterable of callable
        What is to be found out about each image now that its pixels are there, see
        `ImageInFile.told`.

    Returns
    -------
    list of Image
        They compare, and are used, as images in memory are.
    """
    reader = FileReader(read)
    looks = tuple(looks)
    return [
        ImageInFile.of(image, reader, number, looks=looks)
        for number, image in enumerate(reader.images())
    ]
