"""Draw crops of one size from folders of unlabelled images.

An archive may be far larger than memory. Every file is read once, and a few crops of each field are
kept: first in the values of the images, in a scratch file, and, once the intensity range of the
collection is known, as 8-bit values in the pool. So only one file is in memory at a time, and the
training, which reads the pool through a memory map, does not wait for the disks of the archive.
Eight bits are enough: within the range that is kept, their steps are smaller than camera noise.
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

# Half of the crops are enlarged or reduced by up to this factor, as magnifications differ.
_ZOOM = 1.35
# Each crop is the one with the most contrast of this many random places: much of a field may be
# empty, and empty crops teach little.
_PLACES = 2
# Intensity ranges are fitted to at most this many fields of a group, and to about this many pixels
# of each. More would hardly change a percentile and would take more memory.
_FITTED_FIELDS = 400
_FITTED_PIXELS = 2**14


@dataclass(frozen=True, slots=True)
class Collection:
    """Image files below one folder that the user gave, with comparable intensities.

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
    """Crops of the images of a collection that have the same number of channels.

    They share one intensity range per channel; there is none per image.

    Attributes
    ----------
    collection : str
        Name of the collection.
    n_channels, tile : int
        Number of channels, and side of the crops in pixels.
    scratch : pathlib.Path
        File that holds the unscaled crops.
    fields, crops : int
        Number of fields and crops added so far.
    """

    collection: str
    n_channels: int
    tile: int
    scratch: Path
    fields: int = 0
    crops: int = 0
    _thinned: list[np.ndarray] = field(default_factory=list)

    def add(self, data: np.ndarray, crops: Sequence[np.ndarray]) -> None:
        """Add a field ``(C, Y, X)`` and crops of it ``(C, tile, tile)``."""
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
        """Unscaled crops ``(N, C, tile, tile)`` float32, memory-mapped from the scratch file."""
        shape = (self.crops, self.n_channels, self.tile, self.tile)
        return np.memmap(self.scratch, np.float32, "r", shape=shape)

    def scalings(self) -> list[IntensityScaling | None]:
        """Fit the range of each channel; None for a channel with a single value."""
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
        """Yield scaled crops ``(n, channels, tile, tile)`` uint8, padded with black channels."""
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
        """Return the first channel of each crop ``(N, tile, tile)`` uint8, stretched to full scale.

        The intensities of different crops are not comparable afterwards; `pool.compose_tiles` does
        not compare them.
        """
        out = np.empty((self.crops, self.tile, self.tile), np.uint8)
        for i, tile in enumerate(self.raw[:, 0]):
            low, high = float(tile.min()), float(tile.max())
            out[i] = np.rint((tile - low) * (255 / max(high - low, 1e-6)))
        return out


@dataclass(frozen=True, slots=True)
class Archive:
    """The crops that were drawn from the collections.

    Attributes
    ----------
    groups : tuple of Group
        At least one, each with at least one crop.
    notes : tuple of str
        Messages for the user.
    """

    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    @property
    def n_channels(self) -> int:
        """Largest number of channels of any group."""
        return max(group.n_channels for group in self.groups)


def find_collections(folders: Sequence[Path]) -> list[Collection]:
    """List the image files in each folder and its sub-folders, except hidden ones.

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
    """Read images and draw crops from them.

    The number of crops of a collection is proportional to the square root of its number of files: a
    large collection gives more crops in total and fewer per file. If fewer crops are wanted than
    there are files, some files are not read.

    Parameters
    ----------
    collections : sequence of Collection
        Collections to read.
    crops : int
        Number of crops, of all collections together. There are fewer if some files cannot be used.
    tile : int
        Side of a crop in pixels. Fields that are slightly smaller are enlarged; those that are too
        small for that are left out. They are not padded by mirroring, which would teach symmetry.
    seed : int
        Equal seeds draw equal crops.
    scratch : pathlib.Path
        Folder for the files of unscaled crops.
    channels : int, optional
        Images with more channels are refused.
    z : int, "max", "mean" or "sum", optional
        For files with a z axis, as :func:`napari_phenldiff.images.tiff.read_tiff` takes it.
    report : callable
        Called after each file with the number of files read, their total, and the file's name.

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
            # an archive of thousands of files usually contains a few that are damaged or are no
            # images
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
    """Yield collection number, file number and number of crops, in reading order."""
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
    """Draw random crops ``(C, tile, tile)`` float32 of a field, some of them zoomed."""
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
        f"{names[0]} has a side below {least} pixels, too small for tiles of {tile}: give a "
        "smaller --tile, if many are as small."
    )


def _finite(data: np.ndarray) -> np.ndarray:
    """Replace non-finite values by the minimum, so that zooming does not spread them."""
    whole = np.isfinite(data)
    if whole.all():
        return data
    return np.where(whole, data, data[whole].min() if whole.any() else 0).astype(np.float32)
