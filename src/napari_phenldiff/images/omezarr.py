"""OME-Zarr: images, plates (HCS) and what bioformats2raw writes, read with the library zarr."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
from napari_phenldiff.images.metadata import micrometres
from napari_phenldiff.images.naming import count, default_channel_names, file_safe, quoted
from napari_phenldiff.images.peek import Peek
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.images.tiff import TOO_LARGE, is_image_file

ZARR_MARKS = (".zgroup", ".zattrs", "zarr.json")
"""Files that a group of Zarr has."""

_OF_TYPES = {"time": "N", "channel": "C"}
_OF_NAMES = {"t": "N", "time": "N", "c": "C", "ch": "C", "channel": "C"}
_OF_NAMES |= {letter.lower(): letter for letter in "ZYX"}
"""Axes whose type is not told."""

_OF_OLD = ("t", "c", "z", "y", "x")
"""Axes of images of versions before 0.4, which do not name them."""

_SMALL_CHUNK = 2**28
_MUCH_LARGER = 4
"""A chunk of more bytes than the first that is so many times larger than its array is refused."""

_CODECS = {
    *("adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta"),
    *("endian", "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma"),
    *("packbits", "quantize", "sharding_indexed", "shuffle", "transpose", "zlib", "zstd"),
}
"""What numbers may be packed with. Others, such as pickle, run code that lies in the file."""

_CODECS_TO_INSTALL = {"pcodec", "zfpy"}
"""Such as need a package of their name."""

_OF_IMAGECODECS = "imagecodecs_"
"""What the names of its codecs begin with: all of them pack numbers."""


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
        group = _group(path)
        attributes = _attributes(group)
        scales = attributes.get("multiscales")
        if not scales:
            raise InputError("It has no multiscales, so that it is no image of OME-Zarr.")
        scale = scales[0]
        dataset = _largest(path, scale["datasets"])
        place = _within(path, dataset["path"])
        array = _array(group, path, place)
        _check_values(array)
        _check_chunk(array)
        told = scale.get("axes") or _OF_OLD[-array.ndim :]
        axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in told]
        if len(axes) != array.ndim:
            raise InputError(f"It names {len(axes)} axes but has {array.ndim}.")
        letters = _letters(axes, array.shape)
        n_channels = int(
            np.prod([n for n, a in zip(array.shape, letters, strict=True) if a == "C"])
        )
        names, wrong = _channel_names(attributes, n_channels)
        size = _pixel_size(scale, dataset, axes, letters)
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
    group = _group(path)
    attributes = _attributes(group)
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
        place = _within(path, well["path"])
        told = "".join(part.zfill(2) if part.isdigit() else part for part in place.split("/"))
        try:
            fields = _fields(path / place, _attributes(_group(path / place)))
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
        place = _within(well, image["path"])
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


def _group(path: Path) -> Any:
    try:
        import zarr
        from zarr.storage import LocalStore
    except ImportError as error:  # it may have been left out of a frozen application
        missing = (error.name or "zarr").partition(".")[0]  # zarr, or what that needs itself
        raise InputError(
            f"It is an OME-Zarr, which needs the package {missing}: pip install {missing}."
        ) from error
    # Of a text, zarr would take "::" for the parts of an address.
    return zarr.open_group(LocalStore(path, read_only=True), mode="r")


def _within(folder: Path, told: Any) -> str:
    """Return the path of a part of a folder, as zarr takes it: "/0" is not the root of the disk.

    Raises
    ------
    InputError
        If it leads out of the folder.
    """
    parts = [part for part in str(told).replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or not folder.joinpath(*parts).is_relative_to(folder):
        raise InputError(
            f"It names {told} as a part of it, which is not within its folder: copy it again, with "
            "all its parts in it."
        )
    return "/".join(parts)


def _check_values(array: Any) -> None:
    """Refuse an array of anything but numbers, or packed in a way that may run code."""
    if array.dtype.kind not in "buif":
        raise InputError(f"It holds {array.dtype} values where an image has numbers.")
    # From the metadata: unpacking a single chunk would be too late.
    _check_codecs(_codecs_told(array.metadata.to_dict()))


def _array(group: Any, folder: Path, place: str) -> Any:
    """Open an array; tell what it is packed with if it is that which the library does not know."""
    try:
        return group[place]
    except Exception:
        codecs = _codecs_in(folder / place)
        _check_codecs(codecs)
        if any(name.startswith(_OF_IMAGECODECS) for name in codecs):
            from imagecodecs.numcodecs import register_codecs

            register_codecs(verbose=False)
    try:
        return group[place]
    except ValueError as error:
        others = sorted(codecs & _CODECS_TO_INSTALL)
        others += sorted(name for name in codecs if name.startswith(_OF_IMAGECODECS))
        if not others or "codec" not in str(error).lower():
            raise
        raise InputError(
            f"It is packed with {quoted(others)}, which cannot be unpacked here: install what "
            "does that, or save it with blosc, zstd or zlib."
        ) from error


def _codecs_in(folder: Path) -> set[str]:
    """Names of the codecs of an array by the file that tells of it; none if it tells nothing."""
    return _codecs_told(_told_of_array(folder))


def _told_of_array(folder: Path) -> Mapping[str, Any]:
    """Read the file that tells of an array, without opening it; empty if it tells nothing."""
    for name in (".zarray", "zarr.json"):
        try:
            told = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(told, Mapping):
            return told
    return {}


def _largest(path: Path, datasets: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the full resolution of an image: it should be the first, but some list it last."""

    def size(dataset: Mapping[str, Any]) -> int:
        shape = _told_of_array(path / _within(path, dataset["path"])).get("shape")
        return math.prod(map(int, shape)) if isinstance(shape, Sequence) else 0

    def step(dataset: Mapping[str, Any]) -> float:
        changes = dataset.get("coordinateTransformations") or []
        told = [change["scale"] for change in changes if change.get("type") == "scale"]
        return math.prod(map(float, told[0])) if told else math.inf

    if len(datasets) == 1:
        return datasets[0]
    sizes = [size(dataset) for dataset in datasets]
    largest = datasets[sizes.index(max(sizes))]
    lost = [one for one, n in zip(datasets, sizes, strict=True) if n == 0]
    # Without the one that should be it, any other would be a smaller copy.
    finer = [one for one in lost if one is datasets[0] or step(one) < step(largest)]
    return finer[0] if finer else largest


def _codecs_told(metadata: Mapping[str, Any]) -> set[str]:
    several = [*(metadata.get("filters") or ()), *(metadata.get("codecs") or ())]
    return set(_names_of_codecs([*several, metadata.get("compressor")]))


def _check_codecs(names: Collection[str]) -> None:
    """Refuse codecs that may run code."""
    unknown = sorted(
        name
        for name in names
        if name not in _CODECS | _CODECS_TO_INSTALL and not name.startswith(_OF_IMAGECODECS)
    )
    if unknown:
        raise InputError(
            f"It is packed with {quoted(unknown)}, which is not read, since some ways of packing "
            "run code: save it with blosc, zstd or zlib."
        )


def _check_chunk(array: Any) -> None:
    """Refuse an array whose chunks do not fit into memory, or are far larger than itself.

    A chunk is unpacked as a whole, whatever is read of it.
    """
    check_fits(array.chunks, array.dtype)
    chunk = math.prod(array.shards or array.chunks) * array.dtype.itemsize
    if chunk > max(_MUCH_LARGER * array.nbytes, _SMALL_CHUNK):
        raise InputError(
            f"A chunk of it takes {chunk / 2**20:,.0f} MiB, but all of it only "
            f"{array.nbytes / 2**20:,.1f} MiB: it is damaged, or must be saved in smaller chunks."
        )


def _names_of_codecs(codecs: Iterable[Any]) -> Iterator[str]:
    """Names of codecs, and of those within them, as either version of Zarr tells them."""
    for codec in codecs:
        if codec is None:
            continue
        if not isinstance(codec, Mapping):  # older versions of the library have made it already
            yield str(getattr(codec, "codec_id", type(codec).__name__))
            continue
        yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
        settings = codec.get("configuration")
        if isinstance(settings, Mapping):
            for inner in ("codecs", "index_codecs"):
                yield from _names_of_codecs(settings.get(inner) or ())


def _attributes(group: Any) -> Mapping[str, Any]:
    attributes = dict(group.attrs)
    # From version 0.5 on, all that OME says is in one place.
    own = attributes.get("ome")
    return own if isinstance(own, Mapping) else attributes


def _letters(axes: Sequence[Mapping[str, Any]], shape: Sequence[int]) -> str:
    """Tell what each axis is, by its type and then by its name: N, C, Z, Y or X.

    Axes of space may have any name: those that are not called x, y or z are the last of these that
    are left, in the order z, y, x.

    Raises
    ------
    InputError
        If it cannot be told.
    """
    names = [str(axis.get("name")) for axis in axes]
    types = [str(axis.get("type") or "").lower() for axis in axes]
    letters = []
    for name, kind in zip(names, types, strict=True):
        by_name = _OF_NAMES.get(name.lower(), "")
        if kind == "space":
            letters.append(by_name if by_name and by_name in "ZYX" else "")
        else:
            letters.append(_OF_TYPES.get(kind) or by_name)
    left = [letter for letter in "ZYX" if letter not in letters]
    for k in reversed(range(len(axes))):
        if not letters[k] and types[k] == "space" and left:
            letters[k] = left.pop()
        elif not letters[k] and shape[k] == 1:
            letters[k] = "N"
    for name, kind, letter in zip(names, types, letters, strict=True):
        if not letter:
            told = f' of the type "{kind}"' if kind else ""
            raise InputError(
                f'It has an axis "{name}"{told}, of which it is not known whether it counts '
                "channels, planes or images: give it the type channel, space or time, or save what "
                "lies along it as images of their own."
            )
    if letters.count("Z") > 1:
        raise InputError("It has several axes z: an image has one.")
    return "".join(letters)


def _channel_names(
    attributes: Mapping[str, Any], n_channels: int
) -> tuple[tuple[str, ...], str | None]:
    """Return names of the channels, and what is wrong with those that are told."""
    channels: Sequence[Any] = (attributes.get("omero") or {}).get("channels") or ()
    labels = [channel.get("label") for channel in channels]
    told = ["" if label is None else str(label).strip() for label in labels]
    default = default_channel_names(n_channels)
    if len(told) == n_channels:
        names = tuple(name or other for name, other in zip(told, default, strict=True))
        return names, None
    if not any(told):
        return default, None
    wrong = (
        f"It names {count(len(told), 'channel')} ({quoted(told)}) but has {n_channels}, so that no "
        "name is taken, since it is not told whose they are."
    )
    return default, wrong


def _pixel_size(
    scale: Mapping[str, Any],
    dataset: Mapping[str, Any],
    axes: Sequence[Mapping[str, Any]],
    letters: str,
) -> tuple[float, float] | None:
    steps = [1.0] * len(axes)
    known = False
    of_all = scale.get("coordinateTransformations") or []
    for change in [*(dataset.get("coordinateTransformations") or []), *of_all]:
        if change.get("type") == "scale" and len(change.get("scale", [])) == len(axes):
            steps = [a * float(b) for a, b in zip(steps, change["scale"], strict=True)]
            known = True
    sizes = {}
    for axis, letter, step in zip(axes, letters, steps, strict=True):
        unit = micrometres(str(axis.get("unit") or ""))
        if known and unit is not None and step > 0:
            sizes[letter] = step * unit
    return (sizes["Y"], sizes["X"]) if {"X", "Y"} <= sizes.keys() else None


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
