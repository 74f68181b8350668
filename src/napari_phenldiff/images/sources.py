"""Where images lie, one at a time: in a file, or spread over several.

A source is found by its name and read when its pixels are needed, so that an experiment of any
size takes no memory. It can be sent to another process.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import tiff
from napari_phenldiff.images.axes import Projection, projection_of, reduce_z
from napari_phenldiff.images.channel_names import find_channel
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import color_names, count, default_channel_names, quoted
from napari_phenldiff.images.peek import Peek, peek_tiff
from napari_phenldiff.images.places import NOWHERE, Site
from napari_phenldiff.images.png import is_png, peek_png, read_png

T = TypeVar("T")

_ROUNDED = 0.01
"""Part of a pixel size by which programs round it differently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource(ABC):
    """Where an image lies, or several that one file holds.

    Attributes
    ----------
    name : str
        Of the image; of several, what their names begin with.
    site : Site
        Plate, well and field, as far as they are known.
    channels : tuple of str or None
        The channels that are wanted, by name or number, in this order; None for all.
    """

    name: str
    site: Site = NOWHERE
    channels: tuple[str, ...] | None = None

    @property
    @abstractmethod
    def paths(self) -> tuple[Path, ...]:
        """The files that hold it, the one that it is told by first."""

    @abstractmethod
    def _read(self, z: int | Projection | None) -> list[Image]:
        """Read all channels."""

    @abstractmethod
    def _read_planes(self) -> list[tuple[Image, ...]]:
        """Read all channels and planes."""

    @abstractmethod
    def _peek(self) -> Peek | None:
        """Look at the metadata."""

    @property
    def path(self) -> Path:
        """The file that it is told by."""
        return self.paths[0]

    @abstractmethod
    def absolute(self) -> ImageSource:
        """Return the same source for processes that work in another folder. Links stay."""

    def read(self, *, z: int | Projection | None = None) -> list[Image]:
        """Read the image, or all images of the file.

        Parameters
        ----------
        z : int, "max", "mean" or "sum", optional
            Plane (from 0) or projection where there is a z axis.

        Raises
        ------
        InputError
            If a file cannot be read, or lacks a channel that is wanted.
        """
        return [self._finished(image) for image in self._read(z)]

    def read_planes(self) -> list[tuple[Image, ...]]:
        """Read the image with all its z planes, as `read_planes` of the room does for a TIFF."""
        return [tuple(self._finished(plane) for plane in stack) for stack in self._read_planes()]

    def peek(self) -> Peek | None:
        """Look at the metadata; None if they cannot be read: reading tells why."""
        peek = self._peek()
        if peek is None or self.channels is None:
            return peek
        try:
            places = _places(peek.channel_names, self.channels, str(self.path))
        except InputError:
            return None
        return replace(peek, channel_names=tuple(peek.channel_names[k] for k in places))

    def _finished(self, image: Image) -> Image:
        """Add what is known beside the pixels, and leave out channels that are not wanted."""
        if self.site != NOWHERE:
            # What a file of our own says of itself is more than its name tells.
            own = image.site or NOWHERE
            site = Site(
                own.plate or self.site.plate,
                own.well or self.site.well,
                own.field or self.site.field,
            )
            image = replace(image, site=site, part_of=site.part_of or image.part_of)
        return image if self.channels is None else choose_channels(image, self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource(ImageSource):
    """An image in a TIFF of its own, or several of one file.

    Attributes
    ----------
    file : Path
        The file that tells of all.
    members : tuple of Path
        All files of a set of OME-TIFFs, of which each tells of the others; empty for one alone.
    """

    file: Path
    members: tuple[Path, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file, and those of its set."""
        return self.members or (self.file,)

    def absolute(self) -> FileSource:
        """Return the same source with whole paths."""
        members = tuple(path.absolute() for path in self.members)
        return replace(self, file=self.file.absolute(), members=members)

    def _read(self, z: int | Projection | None) -> list[Image]:
        return [self._named(image) for image in _read_file(self.file, z)]

    def _read_planes(self) -> list[tuple[Image, ...]]:
        return [
            tuple(self._named(plane) for plane in stack) for stack in _read_planes_of(self.file)
        ]

    def _peek(self) -> Peek | None:
        return peek_file(self.file)

    def _named(self, image: Image) -> Image:
        if self.name == self.file.stem:
            return image
        return replace(image, name=self.name + image.name.removeprefix(self.file.stem))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSource(ImageSource):
    """An image whose channels or planes are files of their own.

    Attributes
    ----------
    files : tuple of tuple of Path
        By channel, then by plane.
    channel_names : tuple of str
        One for each channel; empty for one channel that the file names, or that has no name.
    pixel_size : tuple of float or None
        Micrometres along y and x, where something beside the files tells.
    by : str
        What says so, for messages.
    """

    files: tuple[tuple[Path, ...], ...]
    channel_names: tuple[str, ...] = ()
    pixel_size: tuple[float, float] | None = None
    by: str = "an image of several files"

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, channel by channel."""
        return tuple(path for planes in self.files for path in planes)

    def absolute(self) -> GroupSource:
        """Return the same source with whole paths."""
        files = tuple(tuple(path.absolute() for path in planes) for planes in self.files)
        return replace(self, files=files)

    def _read(self, z: int | Projection | None) -> list[Image]:
        depth = len(self.files[0])
        if isinstance(z, int) and depth > 1:
            if not 0 <= z < depth:
                reduce_z(np.empty((depth, 0)), 0, z)  # tells which planes there are
            return [self._together([[self._channel(planes[z])] for planes in self.files], None)]
        if z is None and depth > 1:
            raise InputError(
                f"{self.path} is one of {depth} z planes of an image: choose a plane (0 to "
                f"{depth - 1}) or a projection (max, mean, sum)."
            )
        inside = z if depth == 1 else None
        stacks = [[self._channel(path, inside) for path in planes] for planes in self.files]
        return [self._together(stacks, z if depth > 1 else None)]

    def _read_planes(self) -> list[tuple[Image, ...]]:
        depth = len(self.files[0])
        if depth == 1:
            channels = [self._stack(planes[0]) for planes in self.files]
            lengths = {len(stack) for stack in channels}
            if len(lengths) > 1:
                raise InputError(
                    f"{self.path} has other z planes than the other channels of its image: they "
                    f"have {' and '.join(map(str, sorted(lengths)))}."
                )
            return [
                tuple(
                    self._together([[stack[k]] for stack in channels], None)
                    for k in range(len(channels[0]))
                )
            ]
        return [
            tuple(
                self._together([[self._channel(planes[k])] for planes in self.files], None)
                for k in range(depth)
            )
        ]

    def _peek(self) -> Peek | None:
        first = peek_file(self.path)
        if first is None:
            return None
        names = self.channel_names or first.channel_names
        depth = max(len(self.files[0]), first.n_planes)
        return replace(
            first,
            channel_names=names,
            n_images=1,
            n_planes=depth,
            pixel_size=first.pixel_size or self.pixel_size,
        )

    def _channel(self, path: Path, z: int | Projection | None = None) -> Image:
        return _one_color(_only(_read_file(path, z), path), path, self.by)

    def _stack(self, path: Path) -> list[Image]:
        return [_one_color(plane, path, self.by) for plane in _only(_read_planes_of(path), path)]

    def _together(self, stacks: Sequence[Sequence[Image]], z: int | Projection | None) -> Image:
        """Make one image of the planes of each channel."""
        first = stacks[0][0]
        for (file, *_), stack in zip(self.files, stacks, strict=True):
            for image in stack:
                if image.shape != first.shape:
                    raise InputError(
                        f"{file} has {image.shape[0]} × {image.shape[1]} pixels but {self.path} "
                        f"has {first.shape[0]} × {first.shape[1]}: channels of one field need the "
                        "same size."
                    )
        planes = []
        for stack in stacks:
            data = np.concatenate([image.data for image in stack])
            planes.append(data[0] if z is None else reduce_z(data, 0, z))
        sized = [
            (image.path or file, image.pixel_size)
            for files, stack in zip(self.files, stacks, strict=True)
            for file, image in zip(files, stack, strict=False)
            if image.pixel_size is not None
        ]
        names = self.channel_names or first.channel_names
        return Image(
            data=np.stack(planes),
            channel_names=names
            if len(names) == len(planes)
            else default_channel_names(len(planes)),
            pixel_size=sized[0][1] if sized else self.pixel_size,
            name=self.name,
            # One file alone gives these pixels again.
            path=first.path if len(self.paths) == 1 and z is None else None,
            lacking=_other_sizes(sized),
            projection=first.projection if z is None else projection_of(len(stacks[0]), z),
        )


def _other_sizes(sized: Sequence[tuple[Path, tuple[float, float]]]) -> str | None:
    """Tell that files of one image, which have equal numbers of pixels, tell other sizes."""
    if not sized:
        return None
    first, (height, width) = sized[0]
    for file, size in sized[1:]:
        if not np.allclose(size, (height, width), rtol=_ROUNDED, atol=0):
            return (
                f"{file} says that its pixels have {size[1]:.3g} × {size[0]:.3g} µm, but {first}, "
                f"which is of the same image, {width:.3g} × {height:.3g} µm: these are taken, and "
                "micrometres are wrong if they are; correct what is wrong."
            )
    return None


def _read_file(path: Path, z: int | Projection | None) -> list[Image]:
    return [read_png(path)] if is_png(path) else tiff.read_tiff(path, z=z)


def _read_planes_of(path: Path) -> list[tuple[Image, ...]]:
    return [(read_png(path),)] if is_png(path) else tiff.read_planes(path)


def peek_file(path: Path) -> Peek | None:
    """Look at the metadata of a TIFF or PNG; None if it cannot be read."""
    return peek_png(path) if is_png(path) else peek_tiff(path)


def _only(images: Sequence[T], path: Path) -> T:
    if len(images) > 1:
        raise InputError(
            f"{path} holds {len(images)} images where one is needed: save them as single files."
        )
    return images[0]


def _one_color(image: Image, path: Path, by: str) -> Image:
    """Take the one colour that a channel is drawn in, as some programs export channels."""
    if image.n_channels == 1:
        return image
    if image.n_channels == 3:
        drawn = [k for k, plane in enumerate(image.data) if plane.any()]
        if len(drawn) <= 1:
            k = drawn[0] if drawn else 0
            return replace(
                image,
                data=image.data[k : k + 1],
                channel_names=image.channel_names[k : k + 1],
                path=None,
            )
        if image.channel_names == color_names(3):
            raise InputError(
                f"{path} is one channel drawn in several colours, or with a scale bar, as images "
                "are exported to be looked at: export each channel in grey values, without a scale "
                "bar."
            )
    raise InputError(
        f"{path} has {count(image.n_channels, 'channel')}: {by} needs one file per channel."
    )


def choose_channels(image: Image, wanted: Sequence[str]) -> Image:
    """Keep some channels of an image, in the order in which they are named.

    Raises
    ------
    InputError
        If there is no such channel, or one is named twice.
    """
    places = _places(image.channel_names, wanted, f'image "{image.name}"')
    if places == list(range(image.n_channels)):
        return image
    names = tuple(image.channel_names[k] for k in places)
    return replace(image, data=image.data[places], channel_names=names, path=None)


def _places(names: Sequence[str], wanted: Sequence[str], where: str) -> list[int]:
    places = [find_channel(names, name, where=f"{where} has") for name in wanted]
    if len(set(places)) < len(places):
        raise InputError(f"The channels {quoted(wanted)} name one channel twice: name each once.")
    return places


def as_source(path: str | os.PathLike[str] | ImageSource) -> ImageSource:
    """Take a path for a file that holds its image, or images; leave a source as it is."""
    if isinstance(path, ImageSource):
        return path
    path = Path(path)
    return FileSource(name=path.stem, file=path)


def count_files(sources: Iterable[ImageSource]) -> str:
    """Tell how many files hold these images."""
    return count(sum(len(source.paths) for source in sources), "file")
