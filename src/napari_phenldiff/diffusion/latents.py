"""From an experiment to cached latents: encoded once, with all flips and rotations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiles import TileGrid

MAX_TILES = 1500
"""Per condition; 8 views of so many take about 600 MB for the bundled base."""


def training_side(shapes: Iterable[tuple[int, int]], base: BaseModel) -> int:
    """Side of the square tiles that images of these shapes are cut into, in pixels.

    The base's native size, or for smaller images the next size the base can take.
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
        ``(N,)`` integers: which image each was cut from.
    """
    tiles = []
    for image in images:
        grid = TileGrid.cover(image.shape, side, overlap=0, multiple=side)
        tiles.append(grid.cut(scaling.apply(image.data)))
    index = np.repeat(np.arange(len(tiles)), [len(part) for part in tiles])
    return np.concatenate(tiles), index


def cache_latents(base: BaseModel, tiles: np.ndarray) -> torch.Tensor:
    """Latents of the 8 flips and rotations of tiles.

    Pixels are turned before encoding, since no autoencoder commutes with flips exactly.

    Parameters
    ----------
    base : BaseModel
        Whose autoencoder is used.
    tiles : numpy.ndarray
        ``(N, C, side, side)`` float32 in [-1, 1].

    Returns
    -------
    torch.Tensor
        ``(8, N, L, y, x)`` float32 on the CPU; the first are the tiles as they are.
    """
    views = []
    for mirrored in (tiles, tiles[..., ::-1]):
        for turns in range(4):
            view = np.ascontiguousarray(np.rot90(mirrored, turns, axes=(2, 3)))
            views.append(base.encode(view).cpu())
    return torch.stack(views)


def pick_tiles(n: int, limit: int, seed: int) -> np.ndarray:
    """Numbers of at most `limit` of `n` tiles, chosen at random, in their order."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))
