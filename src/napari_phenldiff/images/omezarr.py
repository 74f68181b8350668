"""OME-Zarr: images, plates (HCS) and what bioformats2raw writes, read with the library zarr."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection, projection_of, reduce_z, to_ncyx
from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.images.image import Image, as_storable
from napari_phenldiff.images.integrity import check_fits
from napari_phenldiff.images.naming import count, file_safe
from napari_phenldiff.images.peek import Peek
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.images.tiff import TOO_LARGE, is_image_file
from napari_phenldiff.images.zarr_arrays import (
    check_chunk,
    check_values,
    open_array,
    open_group,
    path_within,
)
from napari_phenldiff.images.zarr_metadata import (
    OF_OLD,
    axis_letters,
    largest_dataset,
    ome_attributes,
    zarr_channel_names,
    zarr_pixel_size,
)

ZARR_MARKS = (".zgroup", ".zattrs", "zarr.json")
"""Files that a group of Zarr has."""


def is_omezarr(path: Path) -> bool:
    """Whether a path is an OME-Zarr image or plate: a folder with the marks of a Zarr group."""
    if is_image_file(path):  # thousands of files need not be looked into
        return False
    return any((path / mark).is_file() for mark in ZARR_MARKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrSource(ImageSource):
    """An image of an OME-Zarr.

    Attributes
    ----------
    group : Path
        Folder of the image: the one whose attributes hold ``multiscales``.
    """

    group: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """The folder of the image."""
        return (self.group,)

    def absolute(self) -> ZarrSource:
        """Return the same source with a whole path."""
        return replace(self, group=self.group.absolute())

    def _read(self, z: int | Projection | None) -> list[Image]:
        return _reading(self.group, lambda: self._images(_Opened.of(self.group), z))

    def _read_planes(self) -> list[tuple[Image, ...]]:
        def read() -> list[tuple[Image, ...]]:
            opened = _Opened.of(self.group)
            if "Z" not in opened.axes:
                return [(image,) for image in self._images(opened, None)]
            check_fits(opened.array.shape, opened.array.dtype)  # all planes are kept
            depth = opened.array.shape[opened.axes.index("Z")]
            planes = [self._images(opened, k) for k in range(depth)]
            return list(zip(*planes, strict=True))

        return _reading(self.group, read)

    def _peek(self) -> Peek | None:
        try:
            opened = _reading(self.group, lambda: _Opened.of(self.group))
        except InputError:
            return None
        lengths = dict(zip(opened.axes, opened.array.shape, strict=True))
        return Peek(
            opened.channel_names,
            (int(lengths["Y"]), int(lengths["X"])),
            str(opened.array.dtype),
            int(lengths.get("N", 1)),
            int(lengths.get("Z", 1)),
            opened.pixel_size,
        )

    def _images(self, opened: _Opened, z: int | Projection | None) -> list[Image]:
        axes = opened.axes
        where: list[int | slice] = [slice(None)] * len(axes)
        if "Z" in axes:
            axis = axes.index("Z")
            depth = opened.array.shape[axis]
            if isinstance(z, int) and 0 <= z < depth:
                where[axis] = z  # only the chunks of this plane are read
            elif isinstance(z, int) or (z is None and depth > 1):
                reduce_z(np.empty((depth, 0)), 0, z)  # tells how many planes there are
        shape = [
            1 if isinstance(part, int) else length
            for part, length in zip(where, opened.array.shape, strict=True)
        ]
        check_fits(shape, opened.array.dtype)
        told = [text for text in (opened.lacking(where), opened.wrong) if text is not None]
        data = np.asarray(opened.array[tuple(where)])
        projection = None
        if data.ndim == len(axes) and "Z" in axes:
            projection = projection_of(data.shape[axes.index("Z")], z)
            data = reduce_z(data, axes.index("Z"), z)
        data = np.ascontiguousarray(as_storable(to_ncyx(data, axes.replace("Z", ""))))
        names = (
            [self.name] if len(data) == 1 else [f"{self.name}_{k:04d}" for k in range(len(data))]
        )
        return [
            Image(
                field,
                opened.channel_names,
                opened.pixel_size,
                name,
                part_of=self.name if len(data) > 1 else None,
                lacking=f"{self.group}: {' '.join(told)}" if told else None,
                projection=projection,
            )
            for field, name in zip(data, names, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Opened:
    """The full resolution of an image, and what its attributes tell."""

    array: Any
    axes: str
    channel_names: tuple[str, ...]
    pixel_size: tuple[float, float] | None
    folder: Path
    """Where the chunks are."""
    wrong: str | None = None
    """What its attributes tell that cannot be, in a sentence."""

    @classmethod
    def of(cls, path: Path) -> _Opened:
        group = open_group(path)
        attributes = ome_attributes(group)
        scales = attributes.get("multiscales")
        if not scales:
            raise InputError("It has no multiscales, so that it is no image of OME-Zarr.")
        scale = scales[0]
        dataset = largest_dataset(path, scale["datasets"])
        place = path_within(path, dataset["path"])
        array = open_array(group, path, place)
        check_values(array)
        check_chunk(array)
        told = scale.get("axes") or OF_OLD[-array.ndim :]
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in told]
        if len(axes) != array.ndim:
            raise InputError(f"It names {len(axes)} axes but has {array.ndim}.")
        letters = axis_letters(axes, array.shape)
        n_channels = int(
            np.prod([n for n, a in zip(array.shape, letters, strict=True) if a == "C"])
        )
        names, wrong = zarr_channel_names(attributes, n_channels)
        size = zarr_pixel_size(scale, dataset, axes, letters)
        return cls(array, letters, names, size, path / place, wrong)

    def lacking(self, where: Sequence[int | slice]) -> str | None:
        """Tell which chunks of a part are not there; None if all are.

        Zarr reads them as one value: mostly they have been left out since they hold nothing else,
        but a copy that was cut short looks the same.

        Parameters
        ----------
        where : sequence of int or slice
            The part: per axis an index, or all of it.
        """
        steps = [range(-(-n // chunk)) for n, chunk in zip(*self._grid, strict=True)]
        wanted = [
            range(part // chunk, part // chunk + 1) if isinstance(part, int) else step
            for part, step, chunk in zip(where, steps, self._grid[1], strict=True)
        ]
        n_all = math.prod(map(len, wanted))
        n_there = sum(map(self._has_chunk, product(*wanted)))
        if n_there == n_all:
            return None
        value = 0 if self.array.fill_value is None else self.array.fill_value
        one = n_all - n_there == 1
        verb = "is" if one else "are"
        places = "this place" if one else "these places"
        wrong = "should not be black" if value == 0 else f"should not be {value}"
        return (
            f"{n_all - n_there} of {count(n_all, 'chunk')} {verb} not there and {verb} read as "
            f"{value}, as zarr leaves out what is {value} everywhere; if {places} {wrong}, copy "
            "it again."
        )

    @property
    def _grid(self) -> tuple[Sequence[int], Sequence[int]]:
        """Lengths of the array, and of what has a file of its own, along each axis."""
        return self.array.shape, self.array.shards or self.array.chunks

    def _has_chunk(self, place: tuple[int, ...]) -> bool:
        return is_regular_file(self.folder / self.array.metadata.encode_chunk_key(place))


@dataclass(frozen=True, slots=True)
class ZarrFound:
    """The images of an OME-Zarr; what is told of them and what is left out, in sentences."""

    sources: tuple[ImageSource, ...]
    told: str = ""
    left_out: tuple[str, ...] = ()


def zarr_sources(path: Path, *, alone: bool = True, plates: Collection[str] = ()) -> ZarrFound:
    """List the images of an OME-Zarr.

    Parameters
    ----------
    path : Path
        An image; a plate, of which each field of each well is an image; a well; or what
        bioformats2raw writes, a folder of images.
    alone : bool
        Whether names need not tell this one from others.
    plates : collection of str
        Names that other plates have: one that is called so too is called like its folder.

    Returns
    -------
    ZarrFound
        Without the wells of a plate that are not there.

    Raises
    ------
    InputError
        If it is none of these.
    """
    return _reading(path, lambda: _sources(path, alone, plates))


def _sources(path: Path, alone: bool, plates: Collection[str]) -> ZarrFound:
    group = open_group(path)
    attributes = ome_attributes(group)
    stem = file_safe(zarr_stem(path))
    if "multiscales" in attributes:
        return ZarrFound((ZarrSource(name=stem, group=path),))
    if "plate" in attributes:
        plate = attributes["plate"]
        name = file_safe(str(plate.get("name") or stem))
        return _of_plate(path, plate, stem if name in plates else name, alone)
    if "well" in attributes:
        fields = _fields(path, attributes)
        if not fields:
            raise InputError("It is a well without images.")
        return _found(path, [("".join(path.parts[-2:]), fields)], None, True)
    if "bioformats2raw.layout" in attributes:
        images = sorted((p for p in path.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
        if len(images) == 1:
            return ZarrFound((ZarrSource(name=stem, group=images[0]),))
        return ZarrFound(
            tuple(ZarrSource(name=f"{stem}_{int(p.name):04d}", group=p) for p in images)
        )
    raise InputError("It is a Zarr, but neither an image nor a plate of OME-Zarr.")


def _of_plate(path: Path, plate: Mapping[str, Any], name: str, alone: bool) -> ZarrFound:
    wells: list[tuple[str, list[_Field]]] = []
    lost: list[str] = []
    for well in plate.get("wells", []):
        place = path_within(path, well["path"])
        told = "".join(part.zfill(2) if part.isdigit() else part for part in place.split("/"))
        try:
            fields = _fields(path / place, ome_attributes(open_group(path / place)))
        except InputError:
            raise
        except Exception:  # it is not there, or cut short
            fields = []
        if fields:
            wells.append((told, fields))
        else:
            lost.append(told)
    if not wells and not lost:
        raise InputError("It is a plate without wells.")
    if not wells:
        raise InputError(
            f"It is a plate of {count(len(lost), 'well')}, none of which holds images that can be "
            "found: copy it again."
        )
    found = _found(path, wells, name, alone)
    if not lost:
        return found
    one = len(lost) == 1
    text = (
        f"Left out of {path.name}: {count(len(lost), 'well')} ({', '.join(lost[:12])}"
        f"{', ...' if len(lost) > 12 else ''}) of {len(lost) + len(wells)} that it lists: "
        f"{'it is' if one else 'they are'} not there, or {'tells' if one else 'tell'} of no "
        f"images; copy {'it' if one else 'them'} again if {'it' if one else 'they'} should be."
    )
    return replace(found, left_out=(text,))


@dataclass(frozen=True, slots=True)
class _Field:
    """An image of a well: its folder there, and when it was taken, if a plate was so repeatedly."""

    folder: Path
    place: str
    acquisition: str | None


def _fields(well: Path, attributes: Mapping[str, Any]) -> list[_Field]:
    found = []
    for image in attributes.get("well", {}).get("images", []):
        place = path_within(well, image["path"])
        run = image.get("acquisition")
        found.append(_Field(well / place, place, None if run is None else file_safe(str(run))))
    return found


def _found(
    path: Path, wells: Sequence[tuple[str, Sequence[_Field]]], plate: str | None, alone: bool
) -> ZarrFound:
    """Make sources of the fields of wells; tell several acquisitions apart by their names."""
    runs = list(dict.fromkeys(field.acquisition for _, fields in wells for field in fields))
    sources = []
    for told, fields in wells:
        for field in fields:
            parts = [] if alone or plate is None else [plate]
            parts.append(told)
            if len(runs) > 1:
                parts.append(f"acq{field.acquisition or ''}")
            name = "_".join([*parts, f"f{field.place}"])
            site = Site(plate, told, field.place)
            sources.append(ZarrSource(name=file_safe(name), site=site, group=field.folder))
    if len(runs) == 1 or not runs:
        return ZarrFound(tuple(sources))
    names = ", ".join(f"acq{run or ''}" for run in runs)
    example = wells[0][1][0].folder.relative_to(path).as_posix()
    text = (
        f"{path.name} has images of {len(runs)} acquisitions, which stand in their names ({names}) "
        "and count as fields of one well: if they are other times or stains, copy the folders of "
        f"those that are to be compared, such as {example}, into a folder for each condition"
    )
    return ZarrFound(tuple(sources), text)


def zarr_stem(path: Path) -> str:
    """Name of an OME-Zarr without its suffixes."""
    name = path.resolve().name
    for suffix in (".zarr", ".ome"):
        name = name.removesuffix(suffix)
    return name or "image"


def _reading(path: Path, read: Any) -> Any:
    """Tell in one sentence what is wrong with an OME-Zarr."""
    try:
        return read()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except MemoryError:
        raise InputError(TOO_LARGE.format(path)) from None
    # Metadata may be anything, and chunks be damaged.
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be read as OME-Zarr ({text[:160]}): check that it is complete."
        ) from error
