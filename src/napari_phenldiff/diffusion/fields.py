"""Cut fields of any size into tiles and blend them again; shared by all methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_phenldiff.diffusion.detail import Detail
from napari_phenldiff.diffusion.dial import Dial
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.checks import check_finite, check_size
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.tiles import Blend, TileGrid
from napari_phenldiff.runs.config import TranslationConfig

_OVERLAP = 0.25
"""Overlap of neighbouring tiles, as a fraction of the side of a tile."""

OnPart = Callable[[int, int, int], None]
"""Told how far images are that are translated together: their number, steps done, steps in all."""

Batch = list[tuple[Image, TileGrid]]
"""Fields that are translated together, each with its grid of tiles; all tiles have one shape."""


@dataclass(frozen=True, slots=True, eq=False)
class Translation:
    """An image translated to the target condition, with its reconstruction.

    Attributes
    ----------
    name : str
        Name of the image.
    translated, reconstructed : Image
        The image generated under the target and under the source condition, with the shape, dtype,
        channel names and pixel size of the original. Compare the translated image with the
        reconstruction: both have gone through the same networks and the same intensity scaling.
    residual : float
        Error of the inversion, see `Schedule.invert`; the largest of the image's tiles. NaN if the
        method has no inversion or cannot estimate its error.
    seconds : float
        Computing time, shared evenly among the images of a batch.
    dial : Dial or None
        Renders the image at other strengths; None if it was not requested or the method has none.
    code_correlation, code_spread : float
        How much of the image its code still holds, see `freedom.code_statistics`; means over the
        image's tiles. NaN if there is no code.
    """

    name: str
    translated: Image
    reconstructed: Image
    residual: float
    seconds: float
    dial: Dial | None = None
    code_correlation: float = float("nan")
    code_spread: float = float("nan")


class BatchProgress:
    """Counts the passes of a network that a batch of images takes.

    Parameters
    ----------
    images : int
        Images that are translated together.
    steps : int
        What all passes cost.
    on_part : callable
        Told after each pass.
    """

    def __init__(self, images: int, steps: int, on_part: OnPart) -> None:
        self._images, self._steps, self._on_part = images, steps, on_part
        self._done = 0

    def __call__(self, cost: int = 1) -> None:
        """Count a pass."""
        self._done = min(self._done + cost, self._steps)
        self._on_part(self._images, self._done, self._steps)


def no_part(images: int, done: int, steps: int) -> None:
    """Take no notice of how far a batch is."""


def check_conditions(config: TranslationConfig, conditions: Sequence[str]) -> None:
    """Check that source and target are among `conditions`.

    Raises
    ------
    InputError
        If one of them is not.
    """
    for name in (config.source, config.target):
        if name not in conditions:
            raise InputError(
                f"The run knows no condition {name!r}; it was trained on {', '.join(conditions)}."
            )


def field_batches(
    images: Iterable[Image],
    channel_names: Sequence[str],
    *,
    tile: int,
    multiple: int,
    batch_size: int,
) -> Iterator[Batch]:
    """Group images into batches, each with enough tiles to fill a batch of the network.

    Parameters
    ----------
    images : iterable of Image
        Images of any size; they are read one by one.
    channel_names : sequence of str
        Channels of the run; every image must have as many.
    tile, multiple : int
        Side of a tile in pixels, and the number of pixels that the sides of smaller tiles must be
        divisible by.
    batch_size : int
        Tiles that go through a network at once.

    Yields
    ------
    list of (Image, TileGrid)
        In the order of `images`.

    Raises
    ------
    InputError
        If an image has another number of channels, or pixels that are not finite.
    """
    waiting: Batch = []
    for image in images:
        if image.n_channels != len(channel_names):
            raise InputError(
                f"{image.name} has {count(image.n_channels, 'channel')}, the run was trained on "
                f"{len(channel_names)} ({', '.join(channel_names)})."
            )
        check_size(image)
        check_finite(image)
        grid = TileGrid.cover(image.shape, tile, round(_OVERLAP * tile), multiple=multiple)
        full = sum(len(g) for _, g in waiting) >= batch_size
        if waiting and (full or grid.tile_shape != waiting[0][1].tile_shape):
            yield waiting
            waiting = []
        waiting.append((image, grid))
    if waiting:
        yield waiting


def tile_ranges(batch: Batch, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield which tiles of which fields the tiles `start` to `end` of a batch are.

    Yields
    ------
    (int, int, int)
        Number of the field in the batch, and its first tile and that after its last.
    """
    before = 0
    for number, (_, grid) in enumerate(batch):
        first, last = max(start - before, 0), min(end - before, len(grid))
        if first < last:
            yield number, first, last
        before += len(grid)


def cut_some(batch: Batch, scaling: IntensityScaling, start: int, end: int) -> np.ndarray:
    """Return tiles `start` to `end` of a batch: ``(n, C, Y, X)`` float32 in [-1, 1]."""
    return np.concatenate(
        [
            scaling.apply(batch[number][1].cut(batch[number][0].data, range(first, last)))
            for number, first, last in tile_ranges(batch, start, end)
        ]
    )


class BatchBlend:
    """The fields of a batch, put together from tiles as these come.

    Parameters
    ----------
    batch : Batch
    channels : int
        Of the tiles.
    """

    def __init__(self, batch: Batch, channels: int) -> None:
        self._batch, self._done = batch, 0
        self._blends = {k: Blend(grid, channels) for k, (_, grid) in enumerate(batch)}

    def add(self, tiles: np.ndarray) -> None:
        """Add the next tiles ``(n, C, Y, X)`` of the batch."""
        used = 0
        end = self._done + len(tiles)
        for number, first, last in tile_ranges(self._batch, self._done, end):
            self._blends[number].add(tiles[used : used + last - first])
            used += last - first
        self._done = end

    def take(self, number: int) -> np.ndarray:
        """Return a field ``(C, Y, X)`` that is complete, and let go of it."""
        return self._blends.pop(number).field


def restore_field(
    image: Image, field: np.ndarray, scaling: IntensityScaling, detail: Detail | None = None
) -> Image:
    """Bring a field ``(C, Y, X)`` in [-1, 1] to the image's grey values."""
    if detail is not None:
        field = detail.put_back(field)
    data = scaling.invert(field, image.data.dtype)
    # Of the same well and field, and no longer what is in the file.
    return replace(image, data=data, path=None)
