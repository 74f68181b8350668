"""From folders of unlabelled images to crops of one size.

An archive may be far larger than memory. Every file is read once, and a few crops of each field are
kept: first as they are, in a scratch file, and, once the intensity range of their collection is
known, as bytes in the pool. So never more than one file's content is in memory, and the training,
which draws from the pool through a memory map, does not wait for the disks of the archive. Bytes
are fine enough: over the range that is kept their steps are smaller than the noise of a camera.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count, default_channel_names
from napari_phenldiff.images.tiff import read_tiff, tiff_files

# Half of the crops are enlarged or reduced by up to this factor: objectives differ.
_ZOOM = 1.35
# Of so many places that were drawn the one with most contrast is taken: most of a field may be
# empty, and there is little to learn from that.
_PLACES = 2
# What intensity ranges are taken from: at most so many fields of a group, and about so many pixels
# of each. More would change a percentile by less than anybody sees, and memory has its bounds.
_FITTED_FIELDS = 400
_FITTED_PIXELS = 2**14


@dataclass(frozen=True, slots=True)
class Collection:
    """Files below one folder that the user gave: images whose intensities may be compared.

    Attributes
    ----------
    name : str
        Name of the folder.
    files : tuple of pathlib.Path
        TIFF files in it and in its sub-folders, in a fixed order.
    """

    name: str
    files: tuple[Path, ...]


@dataclass(slots=True, eq=False)
class Group:
    """Crops of those images of a collection that have equally many channels.

    They share one intensity range per channel, never one per image.

    Attributes
    ----------
    collection : str
        Name of the collection.
    n_channels, tile : int
        Channels and side of the crops.
    scratch : pathlib.Path
        File of the crops as they are.
    fields, crops : int
        How many were taken in.
    """

    collection: str
    n_channels: int
    tile: int
    scratch: Path
    fields: int = 0
    crops: int = 0
    _thinned: list[np.ndarray] = field(default_factory=list)

    def add(self, data: np.ndarray, crops: Sequence[np.ndarray]) -> None:
        """Take in a field ``(C, Y, X)`` and crops of it ``(C, tile, tile)``."""
        self.fields += 1
        self.crops += len(crops)
        with self.scratch.open("ab") as file:
            for crop in crops:
                file.write(np.ascontiguousarray(crop, np.float32).data)
        if len(self._thinned) < _FITTED_FIELDS:
            step = max(1, round((data[0].size / _FITTED_PIXELS) ** 0.5))
            self._thinned.append(data[:, ::step, ::step].copy())

    @property
    def raw(self) -> np.ndarray:
        """The crops ``(N, C, tile, tile)`` float32 in units of the images; read from the disk."""
        shape = (self.crops, self.n_channels, self.tile, self.tile)
        return np.memmap(self.scratch, np.float32, "r", shape=shape)

    def scalings(self) -> list[IntensityScaling | None]:
        """Range of each channel; None for one that is the same everywhere, as empty ones are."""
        found: list[IntensityScaling | None] = []
        for channel in range(self.n_channels):
            planes = [data[channel : channel + 1] for data in self._thinned]
            finite = [plane[np.isfinite(plane)] for plane in planes]
            known = [values for values in finite if values.size]
            if not known or min(v.min() for v in known) == max(v.max() for v in known):
                found.append(None)
                continue
            name = default_channel_names(self.n_channels)[channel]
            found.append(
                IntensityScaling.fit(Image(plane, (name,), None, "field") for plane in planes)
            )
        return found

    def scaled(self, channels: int, chunk: int = 256) -> Iterator[np.ndarray]:
        """Crops ``(n, channels, tile, tile)`` uint8, padded with black channels, bit by bit."""
        scalings, raw = self.scalings(), self.raw
        for start in range(0, self.crops, chunk):
            part = raw[start : start + chunk]
            out = np.zeros((len(part), channels, self.tile, self.tile), np.uint8)
            for channel, scaling in enumerate(scalings):
                if scaling is not None:
                    plane = scaling.apply(part[:, channel : channel + 1])[:, 0]
                    out[:, channel] = np.rint((plane + 1) * 127.5)
            yield out

    def grey_tiles(self) -> np.ndarray:
        """Crops of one channel ``(N, tile, tile)`` uint8, each at its own full scale.

        For `pool.compose_tiles`, which compares no intensities either.
        """
        out = np.empty((self.crops, self.tile, self.tile), np.uint8)
        for i, tile in enumerate(self.raw[:, 0]):
            low, high = float(tile.min()), float(tile.max())
            out[i] = np.rint((tile - low) * (255 / max(high - low, 1e-6)))
        return out


@dataclass(frozen=True, slots=True)
class Archive:
    """What was read.

    Attributes
    ----------
    groups : tuple of Group
        At least one, each with at least one crop.
    notes : tuple of str
        What the user should know.
    """

    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_channels(self) -> int:
        """Largest number of channels."""
        return max(group.n_channels for group in self.groups)


def find_collections(folders: Sequence[Path]) -> list[Collection]:
    """List the image files of each folder, in it and below it, without hidden ones.

    Raises
    ------
    InputError
        If a folder is missing, is given twice, or holds no image.
    """
    found, known = [], set()
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: give one with images in it or below it.")
        place = folder.resolve()
        if place in known:
            raise InputError(f"{folder} was given twice: give each folder once.")
        known.add(place)
        files: list[Path] = []
        for parent, children, _ in os.walk(place):
            children[:] = sorted(name for name in children if not name.startswith("."))
            files += tiff_files(parent)
        if not files:
            raise InputError(f"{folder} has no TIFF files, neither in it nor in its sub-folders.")
        found.append(Collection(place.name or str(place), tuple(files)))
    return found


def draw_crops(
    collections: Sequence[Collection],
    *,
    crops: int,
    tile: int,
    seed: int,
    scratch: Path,
    channels: int | None = None,
    z: int | Projection | None = None,
    report: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> Archive:
    """Read images and keep crops of them.

    Of a large collection fewer crops per file are taken than of a small one, but more in all:
    their number goes with the square root of the number of files. Where there are fewer crops to
    take than files, not all files are read.

    Parameters
    ----------
    collections : sequence of Collection
        Where to read.
    crops : int
        How many to take, of all collections together. Files that cannot be used make them fewer.
    tile : int
        Side of a crop in pixels. Fields a little smaller than that are enlarged, like other crops
        are; those that are too small for it are left out, since mirrored ones teach symmetry.
    seed : int
        Equal seeds take equal crops.
    scratch : pathlib.Path
        Folder for files of the crops as they are.
    channels : int, optional
        Images with more are refused.
    z : int, "max", "mean" or "sum", optional
        For files with a z axis, as :func:`napari_phenldiff.images.tiff.read_tiff` takes it.
    report : callable
        Told, after each file, how many are done, how many there are, and the file's name.

    Returns
    -------
    Archive

    Raises
    ------
    InputError
        If an image has too many channels, or if there is none that can be used.
    """
    plan = list(_plan(collections, crops, seed))
    least = math.ceil(tile / _ZOOM)
    groups: dict[tuple[int, int], Group] = {}
    unreadable: list[str] = []
    small: list[str] = []
    for done, (number, index, quota) in enumerate(plan, start=1):
        path = collections[number].files[index]
        try:
            images = read_tiff(path, z=z)
        except InputError as error:
            # in an archive of thousands of files some are broken, or no images at all
            unreadable.append(str(error))
            images = []
        usable = [image for image in images if min(image.shape) >= least]
        small += [f"{image.name} ({path})" for image in images if min(image.shape) < least]
        rng = np.random.default_rng([seed, 2, number, index])
        for turn, i in enumerate(rng.permutation(len(usable))):
            data = usable[i].data
            if channels is not None and len(data) > channels:
                raise InputError(
                    f"{path} has {count(len(data), 'channel')}, and the base takes {channels}: "
                    "give a larger --channels, or leave such images out."
                )
            key = (number, len(data))
            if key not in groups:
                file = scratch / f"crops_{number}_{len(data)}"
                groups[key] = Group(collections[number].name, len(data), tile, file)
            wanted = quota // len(usable) + (turn < quota % len(usable))
            groups[key].add(data, _crops(data, tile, wanted, rng))
        report(done, len(plan), path.name)
    kept = tuple(group for _, group in sorted(groups.items()) if group.crops)
    if not kept:
        first = unreadable[0] if unreadable else _too_small(small, tile, least)
        raise InputError(f"Of {count(len(plan), 'file')} none can be used; the first: {first}")
    notes = []
    if unreadable:
        notes.append(
            f"{count(len(unreadable), 'file')} of {len(plan)} could not be read and "
            f"{'was' if len(unreadable) == 1 else 'were'} left out; the first: {unreadable[0]}"
        )
    if small:
        notes.append(
            f"{count(len(small), 'image')} {'was' if len(small) == 1 else 'were'} left out; the "
            f"first: {_too_small(small, tile, least)}"
        )
    return Archive(kept, tuple(notes))


def _plan(
    collections: Sequence[Collection], crops: int, seed: int
) -> Iterator[tuple[int, int, int]]:
    """Return an iterator over collection, file and number of crops, in the order of reading."""
    shares = np.sqrt([len(collection.files) for collection in collections])
    ends = np.rint(np.cumsum(shares) / shares.sum() * crops).astype(int)
    for number, collection in enumerate(collections):
        files = len(collection.files)
        each, more = divmod(int(ends[number] - (ends[number - 1] if number else 0)), files)
        order = np.random.default_rng([seed, 1, number]).permutation(files)
        for place, index in enumerate(order):
            quota = each + (place < more)
            if quota:
                yield number, int(index), int(quota)


def _crops(data: np.ndarray, tile: int, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Random pieces of a field as ``(C, tile, tile)`` float32, some of them zoomed."""
    if n == 0:
        return []
    data = _finite(data.astype(np.float32))
    weights = 1 / (data.std((1, 2)) + 1e-6)
    taken = []
    for _ in range(n):
        side = tile
        if rng.random() < 0.5:
            side = round(tile * np.exp(rng.uniform(-1, 1) * np.log(_ZOOM)))
        side = min(side, *data.shape[1:])
        pieces = []
        for _ in range(_PLACES):
            y, x = (int(rng.integers(0, size - side + 1)) for size in data.shape[1:])
            pieces.append(data[:, y : y + side, x : x + side])
        piece = max(pieces, key=lambda piece: float((piece.std((1, 2)) * weights).sum()))
        if side != tile:
            piece = ndi.zoom(piece, (1, tile / side, tile / side), order=1)
        taken.append(piece)
    return taken


def _too_small(names: Sequence[str], tile: int, least: int) -> str:
    return (
        f"{names[0]} has a side below {least} pixels, too little for tiles of {tile}: give a "
        "smaller --tile, if many are as small."
    )


def _finite(data: np.ndarray) -> np.ndarray:
    """Replace values that are no numbers by the least one, so that zooming does not spread them."""
    whole = np.isfinite(data)
    if whole.all():
        return data
    return np.where(whole, data, data[whole].min() if whole.any() else 0).astype(np.float32)
