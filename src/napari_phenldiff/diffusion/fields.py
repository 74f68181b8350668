"""Fields of any size on their way through a model that sees tiles: the same for every method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_phenldiff.diffusion.detail import Detail
from napari_phenldiff.diffusion.dial import Dial
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.checks import check_finite
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiles import TileGrid
from napari_phenldiff.runs.config import TranslationConfig

_OVERLAP = 0.25
"""Of a tile: what neighbouring tiles of a larger field share."""

Batch = list[tuple[Image, TileGrid]]
"""Fields that are translated together, each with how it is cut; their tiles have one shape."""


@dataclass(frozen=True, slots=True, eq=False)
class Translation:
    """One image as it would look in the target condition.

    Attributes
    ----------
    name : str
        Of the image.
    translated, reconstructed : Image
        In the target, and through the same model in the source condition; shape, dtype, channel
        names and pixel size of the image. The reconstruction is what to compare with: both have
        gone through the same networks and the intensity scaling.
    residual : float
        How far from exact the inversion was, see `Schedule.invert`; the worst of the image's tiles.
        NaN where a method cannot tell, or inverts nothing.
    seconds : float
        Time it took, shared evenly among the images of a batch.
    dial : Dial or None
        To see the image at other strengths, where that was asked for and the method has one.
    code_correlation, code_spread : float
        How much of the image is still in the code that it was generated from, see
        `freedom.code_statistics`; means over the image's tiles. NaN where there is no code.
    """

    name: str
    translated: Image
    reconstructed: Image
    residual: float
    seconds: float
    dial: Dial | None = None
    code_correlation: float = float("nan")
    code_spread: float = float("nan")


def check_conditions(config: TranslationConfig, conditions: Sequence[str]) -> None:
    """Refuse a source or target that is not one of `conditions`.

    Raises
    ------
    InputError
        If one is not.
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
    """Lay tiles over images, and collect as many images as fill a batch with tiles.

    Parameters
    ----------
    images : iterable of Image
        Of any size; read one by one.
    channel_names : sequence of str
        That the images must have as many of.
    tile, multiple : int
        Side of a tile in pixels, and what the sides of a smaller one must be divisible by.
    batch_size : int
        Tiles that go through a network at once.

    Yields
    ------
    list of (Image, TileGrid)
        In the order of `images`.

    Raises
    ------
    InputError
        On images with another number of channels, or pixels that are not finite.
    """
    waiting: Batch = []
    for image in images:
        if image.n_channels != len(channel_names):
            raise InputError(
                f"{image.name} has {image.n_channels} channels, the run was trained on "
                f"{len(channel_names)} ({', '.join(channel_names)})."
            )
        check_finite(image)
        grid = TileGrid.cover(image.shape, tile, round(_OVERLAP * tile), multiple=multiple)
        full = sum(len(g) for _, g in waiting) >= batch_size
        if waiting and (full or grid.tile_shape != waiting[0][1].tile_shape):
            yield waiting
            waiting = []
        waiting.append((image, grid))
    if waiting:
        yield waiting


def cut(batch: Batch, scaling: IntensityScaling) -> np.ndarray:
    """All tiles of a batch, one field after the other: ``(N, C, Y, X)`` float32 in [-1, 1]."""
    return np.concatenate([grid.cut(scaling.apply(image.data)) for image, grid in batch])


def restore(
    image: Image,
    grid: TileGrid,
    tiles: np.ndarray,
    scaling: IntensityScaling,
    detail: Detail | None = None,
) -> Image:
    """Blend tiles ``(N, C, Y, X)`` in [-1, 1] to a field in the image's grey values."""
    field = grid.blend(tiles)
    if detail is not None:
        field = detail.put_back(field)
    data = scaling.invert(field, image.data.dtype)
    return Image(data, image.channel_names, image.pixel_size, image.name)
