"""Cut images into tiles and cache their latents, for all flips and rotations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiles import TileGrid

MAX_TILES = 1500
"""Largest number of tiles per condition; their 8 views take about 600 MB with the bundled base."""


def training_side(shapes: Iterable[tuple[int, int]], base: BaseModel) -> int:
    """Return the side of the square training tiles for images of these shapes, in pixels.

    It is the base's native size, or for smaller images the next larger size that the base can take.
    """
    largest = max(max(shape) for shape in shapes)
    return min(base.tile, -(-largest // base.multiple) * base.multiple)


def training_tiles(
    images: Iterable[Image], scaling: IntensityScaling, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut images into square tiles.

    Returns
    -------
    tiles : numpy.ndarray
        ``(N, C, side, side)`` float32 in [-1, 1].
    index : numpy.ndarray
        ``(N,)`` integers: number of the image that each tile was cut from.
    """
    tiles = []
    for image in images:
        grid = TileGrid.cover(image.shape, side, overlap=0, multiple=side)
        tiles.append(grid.cut(scaling.apply(image.data)))
    index = np.repeat(np.arange(len(tiles)), [len(part) for part in tiles])
    return np.concatenate(tiles), index


def cache_latents(base: BaseModel, tiles: np.ndarray) -> torch.Tensor:
    """Encode the 8 flips and rotations of tiles.

    The pixels are flipped and rotated before encoding, since the latents of a flipped image are not
    the flipped latents.

    Parameters
    ----------
    base : BaseModel
        Base whose autoencoder is used.
    tiles : numpy.ndarray
        ``(N, C, side, side)`` float32 in [-1, 1].

    Returns
    -------
    torch.Tensor
        ``(8, N, L, y, x)`` float32 on the CPU; the first view is the original.
    """
    views = []
    for mirrored in (tiles, tiles[..., ::-1]):
        for turns in range(4):
            view = np.ascontiguousarray(np.rot90(mirrored, turns, axes=(2, 3)))
            views.append(base.encode(view).cpu())
    return torch.stack(views)


def pick_tiles(n: int, limit: int, seed: int) -> np.ndarray:
    """Draw at most `limit` of `n` tiles; returns their sorted indices."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))
