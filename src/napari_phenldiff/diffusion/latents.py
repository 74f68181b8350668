"""Cut images into tiles and cache their latents, for all flips and rotations."""

from __future__ import annotations

import math
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiles import TileGrid

MAX_TILES = 1500
"""Per condition; the views of so many take 100 MB for each channel with the bundled base."""

VIEWS = 8
"""Flips and rotations of a tile."""

_AT_ONCE = 64
"""Tiles that are turned and encoded at once."""

MOST_IN_MEMORY = 2**26
"""Latents of more bytes than this, of one condition, are kept in a file."""


def training_side(shapes: Iterable[tuple[int, int]], base: BaseModel) -> int:
    """Return the side of the square training tiles for images of these shapes, in pixels.

    It is the base's native size, or for smaller images the next larger size that the base can take.
    """
    largest = max(max(shape) for shape in shapes)
    return min(base.tile, -(-largest // base.multiple) * base.multiple)


def too_small(images: Sequence[Image], base: BaseModel) -> list[str]:
    """Warn of images that are less than half as wide or high as what the base was trained on."""
    small = [image for image in images if 2 * min(image.shape) < base.tile]
    if not small:
        return []
    height, width = min((image.shape for image in small), key=min)
    which = "All" if len(small) == len(images) else f"{len(small)} of {len(images)}"
    told = (
        f"{which} images are small, the smallest {width} × {height} px: the base model was trained "
        f"on pictures of {base.tile} × {base.tile} px and sees next to nothing of the surroundings "
        "in them. Give whole fields in place of small crops, with about the same size of cells."
    )
    return [told]


class TrainingTiles:
    """Square tiles of images, cut a few at a time.

    Parameters
    ----------
    images : sequence of Image
        Of any sizes. Those that are in files are read when their tiles are cut.
    scaling : IntensityScaling
        To [-1, 1].
    side : int
        Of a tile, in pixels.
    limit : int, optional
        Most tiles that are kept, drawn at random with `seed`; only these are made.
    seed : int
        See `limit`.

    Attributes
    ----------
    index : numpy.ndarray
        ``(N,)`` integers: which image each tile is cut from.
    """

    def __init__(
        self,
        images: Sequence[Image],
        scaling: IntensityScaling,
        side: int,
        *,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self._images, self._scaling, self.side = images, scaling, side
        self._grids = [_grid(image, side) for image in images]
        total = sum(map(len, self._grids))
        kept = pick_tiles(total, total if limit is None else limit, seed)
        lengths = [len(grid) for grid in self._grids]
        self.index = np.repeat(np.arange(len(images)), lengths)[kept]
        self._within = kept - (np.cumsum(lengths) - lengths)[self.index]

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.index)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self._images[0].n_channels

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield all tiles, `size` at a time: ``(n, C, side, side)`` float32 in [-1, 1]."""
        waiting: list[np.ndarray] = []
        for number, (image, grid) in enumerate(zip(self._images, self._grids, strict=True)):
            within = self._within[self.index == number]
            for start in range(0, len(within), size):
                tiles = grid.cut(image.data, within[start : start + size])
                waiting.extend(self._scaling.apply(tiles))
                while len(waiting) >= size:
                    yield np.stack(waiting[:size])
                    del waiting[:size]
        if waiting:
            yield np.stack(waiting)


def training_tiles(
    images: Sequence[Image],
    scaling: IntensityScaling,
    side: int,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut images into square tiles, all at once; parameters as of `TrainingTiles`.

    Returns
    -------
    tiles : numpy.ndarray
        ``(N, C, side, side)`` float32 in [-1, 1].
    index : numpy.ndarray
        ``(N,)`` integers: which image each was cut from.
    """
    found = TrainingTiles(images, scaling, side, limit=limit, seed=seed)
    tiles = np.empty((len(found), found.channels, side, side), np.float32)
    done = 0
    for some in found.batches(_AT_ONCE):
        tiles[done : done + len(some)] = some
        done += len(some)
    return tiles, found.index


def number_of_tiles(images: Iterable[Image], side: int) -> int:
    """Return how many tiles `training_tiles` would cut images into, without a limit."""
    return sum(len(_grid(image, side)) for image in images)


def _grid(image: Image, side: int) -> TileGrid:
    return TileGrid.cover(image.shape, side, overlap=0, multiple=side)


class Store:
    """Tensors of one shape, in memory, or in a file without a name if they are many.

    A file that has no name is gone with the process, however that ends.

    Parameters
    ----------
    number : int
        How many tensors.
    shape : sequence of int
        Of each.
    dtype : torch.dtype
        Of all.
    folder : path-like, optional
        Where there is room for the file; by default where temporary files are.

    Attributes
    ----------
    shape : tuple of int
        Of each.
    """

    def __init__(
        self,
        number: int,
        shape: Sequence[int],
        dtype: torch.dtype,
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.shape, self._dtype, self._number = tuple(shape), dtype, number
        self._size = math.prod(self.shape) * dtype.itemsize
        self._whole: torch.Tensor | None = None
        if self.nbytes <= MOST_IN_MEMORY:
            self._whole = torch.empty(number, *self.shape, dtype=dtype)
        else:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
            weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        """Return the number of tensors."""
        return self._number

    @property
    def nbytes(self) -> int:
        """Size of all tensors together."""
        return self._number * self._size

    @property
    def in_memory(self) -> bool:
        """Whether they are in memory."""
        return self._whole is not None

    def put(self, start: int, tensors: torch.Tensor) -> None:
        """Keep tensors ``(n, *shape)`` from number `start` on."""
        if self._whole is not None:
            self._whole[start : start + len(tensors)] = tensors
            return
        self._file.seek(start * self._size)
        self._file.write(tensors.to(self._dtype).contiguous().numpy().tobytes())

    def get(self, number: int) -> torch.Tensor:
        """Return one tensor."""
        return self.some(number, number + 1)[0]

    def some(self, start: int, end: int) -> torch.Tensor:
        """Return tensors `start` to `end`, without the last."""
        if self._whole is not None:
            return self._whole[start:end]
        self._file.seek(start * self._size)
        data = bytearray(self._file.read((end - start) * self._size))
        return torch.frombuffer(data, dtype=self._dtype).view(end - start, *self.shape)


class CachedLatents:
    """Latents of the eight flips and rotations of tiles, encoded once.

    Pixels are turned before they are encoded, since no autoencoder commutes with flips exactly.
    What is kept is in half precision, which is finer than the noise that is added to it, and leaves
    out channels that the images do not have: these are black, and known.

    Parameters
    ----------
    base : BaseModel
        Whose autoencoder is used.
    tiles : TrainingTiles or numpy.ndarray
        ``(N, C, side, side)`` float32 in [-1, 1].
    folder : path-like, optional
        Where there is room for what does not stay in memory, see `Store`.
    dtype : torch.dtype
        Precision in which a trained autoencoder computes. Its rounding is smaller than the least
        noise that is added in training.

    Attributes
    ----------
    missing : torch.Tensor
        ``(l, y, x)`` float32: the latents of channels that the images do not have.
    """

    def __init__(
        self,
        base: BaseModel,
        tiles: TrainingTiles | np.ndarray,
        folder: str | os.PathLike[str] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        batches = _batches(tiles)
        first = next(batches)
        own = base.latent_channels
        if base.coefficients is not None:
            own = first.shape[1] * base.coefficients
        black = base.encode(np.full_like(first[:1], -1.0), dtype=dtype).cpu()[0]
        self.missing = black[own:]
        self._n = len(tiles)
        self._kept = Store(VIEWS * self._n, (own, *black.shape[1:]), torch.float16, folder)
        start = 0
        for some in chain([first], batches):
            for view in range(VIEWS):
                turned = np.rot90(some[..., ::-1] if view > 3 else some, view % 4, axes=(2, 3))
                latents = base.encode(np.ascontiguousarray(turned), dtype=dtype).cpu()
                self._kept.put(view * self._n + start, latents[:, :own].half())
            start += len(some)

    def __len__(self) -> int:
        """Return the number of tiles."""
        return self._n

    @property
    def nbytes(self) -> int:
        """Memory, or room on the disk, that is kept, in bytes."""
        return self._kept.nbytes

    @property
    def shape(self) -> tuple[int, ...]:
        """``(l, y, x)`` of what is kept of a tile: the channels that the images have."""
        return self._kept.shape

    def stored(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield what is kept, some at a time: the first number, and ``(n, l, y, x)`` float16.

        Tile `t` in view `v` is number ``v * len(self) + t``.
        """
        for start in range(0, len(self._kept), _AT_ONCE):
            yield start, self._kept.some(start, min(start + _AT_ONCE, len(self._kept)))

    @property
    def in_memory(self) -> bool:
        """Whether the latents are in memory, or in a file."""
        return self._kept.in_memory

    def view(self, view: int, tile: int) -> torch.Tensor:
        """Return the latents ``(L, y, x)`` float32 of a tile in one of its eight views."""
        return torch.cat([self._kept.get(view * self._n + tile).float(), self.missing])

    def upright(self, tiles: np.ndarray | None = None) -> torch.Tensor:
        """Return the latents ``(n, L, y, x)`` float32 of tiles as they are; of all by default."""
        if tiles is None:
            return torch.cat(list(self.upright_batches()))
        return torch.stack([self.view(0, int(tile)) for tile in tiles])

    def upright_batches(self) -> Iterator[torch.Tensor]:
        """Yield the latents of all tiles as they are, some at a time."""
        for start in range(0, self._n, _AT_ONCE):
            found = self._kept.some(start, min(start + _AT_ONCE, self._n))
            missing = self.missing.expand(len(found), *self.missing.shape)
            yield torch.cat([found.float(), missing], dim=1)

    def upright_part(self, first: int, last: int) -> torch.Tensor:
        """Return latent channels `first` to `last` ``(n, last - first, y, x)`` of all tiles."""
        return torch.cat([some[:, first:last] for some in self.upright_batches()])


def _batches(tiles: TrainingTiles | np.ndarray) -> Iterator[np.ndarray]:
    if isinstance(tiles, TrainingTiles):
        yield from tiles.batches(_AT_ONCE)
        return
    for start in range(0, len(tiles), _AT_ONCE):
        yield tiles[start : start + _AT_ONCE]


def pick_tiles(n: int, limit: int, seed: int) -> np.ndarray:
    """Draw at most `limit` of `n` tiles; returns their sorted indices."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))
