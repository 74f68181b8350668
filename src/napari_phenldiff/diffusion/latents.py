"""Cut images into tiles and cache their latents, for all flips and rotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiles import TileGrid

MAX_TILES = 1500
"""Per condition; the views of so many take 100 MB for each channel with the bundled base."""

_AT_ONCE = 64
"""Tiles that are turned and encoded at once."""


def training_side(shapes: Iterable[tuple[int, int]], base: BaseModel) -> int:
    """Return the side of the square training tiles for images of these shapes, in pixels.

    It is the base's native size, or for smaller images the next larger size that the base can take.
    """
    largest = max(max(shape) for shape in shapes)
    return min(base.tile, -(-largest // base.multiple) * base.multiple)


def training_tiles(
    images: Sequence[Image],
    scaling: IntensityScaling,
    side: int,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut images into square tiles.

    Parameters
    ----------
    images : sequence of Image
        Of any sizes.
    scaling : IntensityScaling
        To [-1, 1].
    side : int
        Of a tile, in pixels.
    limit : int, optional
        Most tiles that are kept, drawn at random with `seed`; only these are made.
    seed : int
        See `limit`.

    Returns
    -------
    tiles : numpy.ndarray
        ``(N, C, side, side)`` float32 in [-1, 1].
    index : numpy.ndarray
        ``(N,)`` integers: which image each was cut from.
    """
    grids = [TileGrid.cover(image.shape, side, overlap=0, multiple=side) for image in images]
    total = sum(map(len, grids))
    kept = pick_tiles(total, total if limit is None else limit, seed)
    index = np.repeat(np.arange(len(grids)), [len(grid) for grid in grids])
    tiles = np.empty((len(kept), images[0].n_channels, side, side), np.float32)
    done, first = 0, 0
    for image, grid in zip(images, grids, strict=True):
        own = kept[(kept >= first) & (kept < first + len(grid))] - first
        if len(own):
            tiles[done : done + len(own)] = grid.cut(scaling.apply(image.data))[own]
        done, first = done + len(own), first + len(grid)
    return tiles, index[kept]


def number_of_tiles(images: Iterable[Image], side: int) -> int:
    """Return how many tiles `training_tiles` would cut images into, without a limit."""
    covered = (TileGrid.cover(image.shape, side, overlap=0, multiple=side) for image in images)
    return sum(map(len, covered))


class CachedLatents:
    """Latents of the eight flips and rotations of tiles, encoded once.

    Pixels are turned before they are encoded, since no autoencoder commutes with flips exactly.
    What is kept is in half precision, which is finer than the noise that is added to it, and leaves
    out channels that the images do not have: these are black, and known.

    Parameters
    ----------
    base : BaseModel
        Whose autoencoder is used.
    tiles : numpy.ndarray
        ``(N, C, side, side)`` float32 in [-1, 1].
    """

    def __init__(self, base: BaseModel, tiles: np.ndarray) -> None:
        own = base.latent_channels
        if base.coefficients is not None:
            own = tiles.shape[1] * base.coefficients
        black = base.encode(np.full_like(tiles[:1], -1.0)).cpu()[0]
        self._missing = black[own:]
        self._kept = torch.empty(8, len(tiles), own, *black.shape[1:], dtype=torch.float16)
        for start in range(0, len(tiles), _AT_ONCE):
            some = tiles[start : start + _AT_ONCE]
            for view in range(8):
                turned = np.rot90(some[..., ::-1] if view > 3 else some, view % 4, axes=(2, 3))
                latents = base.encode(np.ascontiguousarray(turned)).cpu()
                self._kept[view, start : start + len(some)] = latents[:, :own].half()

    def __len__(self) -> int:
        """Return the number of tiles."""
        return self._kept.shape[1]

    @property
    def nbytes(self) -> int:
        """Memory that is kept, in bytes."""
        return self._kept.nbytes

    def view(self, view: int, tile: int) -> torch.Tensor:
        """Return the latents ``(L, y, x)`` float32 of a tile in one of its eight views."""
        return torch.cat([self._kept[view, tile].float(), self._missing])

    def upright(self, tiles: np.ndarray | None = None) -> torch.Tensor:
        """Return the latents ``(n, L, y, x)`` float32 of tiles as they are; of all by default."""
        found = self._kept[0] if tiles is None else self._kept[0][torch.from_numpy(tiles)]
        missing = self._missing.expand(len(found), *self._missing.shape)
        return torch.cat([found.float(), missing], dim=1)


def pick_tiles(n: int, limit: int, seed: int) -> np.ndarray:
    """Draw at most `limit` of `n` tiles; returns their sorted indices."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))
