"""Fields of any size cut into tiles of the model's size, and blended back without seams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Overlapping tiles that together cover an image.

    Make one with :meth:`TileGrid.cover`.

    Parameters
    ----------
    image_shape : tuple of int
        Height and width of the image, (Y, X).
    tile : int
        Side of a tile in pixels.
    overlap : int
        Width in pixels over which neighbouring tiles are cross-faded.
    origins : tuple of tuple of int
        Upper left corner (y, x) of every tile in the padded image, row by row.
    padding : tuple of int
        Rows added at the bottom and columns added at the right of the image.
    """

    image_shape: tuple[int, int]
    tile: int
    overlap: int
    origins: tuple[tuple[int, int], ...]
    padding: tuple[int, int] = (0, 0)

    @classmethod
    def cover(cls, shape: tuple[int, int], tile: int, overlap: int, multiple: int = 1) -> TileGrid:
        """Lay as few tiles as possible, evenly spaced, over an image.

        Parameters
        ----------
        shape : tuple of int
            Height and width of the image, (Y, X).
        tile : int
            Side of a tile in pixels; a multiple of `multiple`.
        overlap : int
            Least number of pixels that neighbouring tiles share; less than `tile`.
        multiple : int
            Where the image is smaller than a tile, it is padded by reflection only up to the
            next multiple of this number, so that such a tile is smaller than `tile`.

        Returns
        -------
        TileGrid

        Raises
        ------
        ValueError
            If the numbers contradict each other.
        """
        if min(shape) < 1:
            raise ValueError(f"an image of shape {shape} cannot be tiled")
        if tile < 1 or multiple < 1 or tile % multiple:
            raise ValueError(f"tile ({tile}) must be a positive multiple of {multiple}")
        if not 0 <= overlap < tile:
            raise ValueError(f"overlap ({overlap}) must be at least 0 and less than tile ({tile})")
        padding = tuple(-size % multiple if size < tile else 0 for size in shape)
        rows, columns = (_starts(size, tile, overlap) for size in shape)
        return cls(
            image_shape=(int(shape[0]), int(shape[1])),
            tile=tile,
            overlap=overlap,
            origins=tuple((y, x) for y in rows for x in columns),
            padding=(padding[0], padding[1]),
        )

    def __len__(self) -> int:
        return len(self.origins)

    @property
    def tile_shape(self) -> tuple[int, int]:
        """Height and width of the tiles: `tile`, or less where the image is smaller."""
        return (
            min(self.tile, self.image_shape[0] + self.padding[0]),
            min(self.tile, self.image_shape[1] + self.padding[1]),
        )

    def cut(self, data: np.ndarray, which: Sequence[int] | None = None) -> np.ndarray:
        """Cut an image into tiles.

        Parameters
        ----------
        data : numpy.ndarray of shape (C, Y, X)
            Any dtype; Y and X as in `image_shape`.
        which : sequence of int, optional
            Numbers of the tiles that are wanted, at least one; by default all.

        Returns
        -------
        numpy.ndarray of shape (N, C, tile_shape[0], tile_shape[1])
            Copies of the pixels, same dtype.
        """
        if data.ndim != 3 or data.shape[1:] != self.image_shape:
            raise ValueError(f"data of shape {data.shape} for tiles of {self.image_shape}")
        down, right = self.padding
        if down or right:
            data = np.pad(data, ((0, 0), (0, down), (0, right)), mode="reflect")
        height, width = self.tile_shape
        wanted = self.origins if which is None else [self.origins[k] for k in which]
        return np.stack([data[:, y : y + height, x : x + width] for y, x in wanted])

    def blend(self, tiles: np.ndarray) -> np.ndarray:
        """Put tiles together again, cross-faded where they overlap.

        The weights of all tiles sum to one at every pixel, so tiles that agree come back as they
        were. They fade in the middle of what two tiles share: the borders of a tile, where a
        model sees least of the surroundings, count least.

        Parameters
        ----------
        tiles : numpy.ndarray of shape (N, C, tile_shape[0], tile_shape[1])
            Tiles in the order of :meth:`cut`; C may differ from what was cut.

        Returns
        -------
        numpy.ndarray of shape (C, Y, X), float32
        """
        if tiles.ndim != 4 or (len(tiles), *tiles.shape[2:]) != (len(self), *self.tile_shape):
            raise ValueError(
                f"tiles of shape {tiles.shape} where {len(self)} of {self.tile_shape} are needed"
            )
        blend = Blend(self, tiles.shape[1])
        blend.add(tiles)
        return blend.field


class Blend:
    """Tiles that are put together again as they come, see `TileGrid.blend`.

    Parameters
    ----------
    grid : TileGrid
    channels : int
        Of the tiles.
    """

    def __init__(self, grid: TileGrid, channels: int) -> None:
        self._grid, self._done = grid, 0
        height, width = grid.tile_shape
        padded = [size + pad for size, pad in zip(grid.image_shape, grid.padding, strict=True)]
        self._rows = _weights(sorted({y for y, _ in grid.origins}), height, grid.overlap)
        self._columns = _weights(sorted({x for _, x in grid.origins}), width, grid.overlap)
        self._blended = np.zeros((channels, *padded), np.float32)

    def add(self, tiles: np.ndarray) -> None:
        """Add the next tiles ``(n, C, tile_shape[0], tile_shape[1])`` in the order of the grid."""
        height, width = self._grid.tile_shape
        origins = self._grid.origins[self._done : self._done + len(tiles)]
        for tile, (y, x) in zip(tiles, origins, strict=True):
            weight = self._rows[y][:, None] * self._columns[x]
            self._blended[:, y : y + height, x : x + width] += tile * weight
        self._done += len(tiles)

    @property
    def field(self) -> np.ndarray:
        """The field ``(C, Y, X)`` float32, once all tiles have come."""
        if self._done != len(self._grid):
            raise ValueError(f"{self._done} of {len(self._grid)} tiles have come")
        height, width = self._grid.image_shape
        return self._blended[:, :height, :width]


def _starts(size: int, tile: int, overlap: int) -> list[int]:
    """First pixels of the tiles along one axis, from 0 to ``size - tile``."""
    if size <= tile:
        return [0]
    n_tiles = math.ceil((size - overlap) / (tile - overlap))
    return [round(index * (size - tile) / (n_tiles - 1)) for index in range(n_tiles)]


def _weights(starts: list[int], tile: int, overlap: int) -> dict[int, np.ndarray]:
    """Weights of each tile along one axis, by its first pixel; they sum to one everywhere.

    Between two neighbours a step rises smoothly from 0 to 1 around the middle of what they
    share. A tile's weight is the step at its start minus the step at its end, so the sum over
    the tiles telescopes to one whatever the overlaps are.
    """
    length = starts[-1] + tile
    position = np.arange(length) + 0.5
    steps = [np.ones(length)]
    for before, after in pairwise(starts):
        # `cover` sees to it that neighbours share at least `overlap` pixels.
        middle = (after + before + tile) / 2
        width = max(overlap, 1e-6)
        ramp = np.clip((position - middle) / width + 0.5, 0, 1)
        steps.append(0.5 - 0.5 * np.cos(np.pi * ramp))
    steps.append(np.zeros(length))
    return {
        start: (rise - fall)[start : start + tile].astype(np.float32)
        for start, (rise, fall) in zip(starts, pairwise(steps), strict=True)
    }
