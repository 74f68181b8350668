"""A field whose inversion is kept, so that it is shown at any strength without a new one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.diffusion.schedule import Inversion
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiles import TileGrid
from napari_phenldiff.runs.config import TranslationConfig

if TYPE_CHECKING:
    from napari_phenldiff.diffusion.detail import Detail
    from napari_phenldiff.diffusion.translate import Translator

ROUGH_STEPS = 10
"""Steps of a rough look: it is within 5 to 10 % of the change, in a quarter of the time."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is seen of a field while its dial is being turned.

    Attributes
    ----------
    image : Image
        The whole field, shape (C, Y, X), in dtype and grey values of the source; where no tile of
        the new strength is ready yet, as it was before.
    exact : bool
        Whether all of it is what `Translator.translate` makes; otherwise a rough look.
    """

    image: Image
    exact: bool


class Dial:
    """One field, inverted, to be generated at any strength.

    Made by `Translator.dial`, and by `Translator.translate` where that is asked to keep what it
    knows. What is kept of a tile is its clean latents and its code: some 100 kB with the bundled
    base, and the whole path of the inversion if the generation is anchored to it.

    Parameters
    ----------
    translator : Translator
        What has inverted the field.
    image : Image
        The field.
    grid : TileGrid
        How it was cut.
    config : TranslationConfig
        How it was inverted.
    inversion : Inversion
        Of all tiles, in the order of the grid.
    reconstructed, translated : numpy.ndarray of shape (N, C, Y, X), float32
        Tiles at strength 0 and at that of `config`, in [-1, 1].
    detail : Detail, optional
        What the autoencoder has lost of the field, to be put back.
    """

    def __init__(
        self,
        translator: Translator,
        image: Image,
        grid: TileGrid,
        config: TranslationConfig,
        inversion: Inversion,
        *,
        reconstructed: np.ndarray,
        translated: np.ndarray,
        detail: Detail | None = None,
    ) -> None:
        self.image = image
        self.config = config
        self._translator = translator
        self._grid = grid
        self._detail = detail
        # The steps between are only asked for by an anchored generation.
        path = inversion.path if config.anchor else (inversion.path[0], inversion.path[-1])
        self._inversion = replace(inversion, path=path)
        self._tiles = {0.0: reconstructed, config.strength: translated}
        self._shown = translated
        self._rough_source: dict[int, np.ndarray] = {}

    @property
    def n_tiles(self) -> int:
        """Number of tiles that the field is cut into."""
        return len(self._grid)

    @property
    def nbytes(self) -> int:
        """Memory that is kept for this field, in bytes; roughly."""
        latents = sum(x.nbytes for x in self._inversion.path)
        detail = 0 if self._detail is None else 2 * self._detail.lost.nbytes
        tiles = sum(tile.nbytes for tile in self._tiles.values())
        return latents + self.image.data.nbytes + detail + tiles

    def at(self, strength: float) -> Image:
        """Return the field at a strength, as `Translator.translate` makes it.

        Parameters
        ----------
        strength : float
            0 for the reconstruction, 1 for the target, or between and beyond.

        Returns
        -------
        Image
            Shape, dtype, channel names and pixel size of the field.
        """
        *_, last = self.turn(strength)
        return last.image

    def turn(self, strength: float, near: tuple[float, float] | None = None) -> Iterator[Look]:
        """Show the field at another strength: soon, and then exactly.

        Parameters
        ----------
        strength : float
            As for `at`.
        near : (float, float), optional
            Place (y, x) in pixels that somebody looks at: its tile comes first.

        Yields
        ------
        Look
            Rough ones tile by tile, then exact ones; the last is exact everywhere.
        """
        known = self._tiles.get(strength)
        if known is not None:
            self._shown = known
            yield Look(self._field(known), exact=True)
            return
        order = self._nearest_first(near)
        tiles = self._shown.copy()
        if self._can_be_rough:
            # The first look is at one tile, which comes soonest; then as many as fill a batch.
            for batch in (order[:1], *_batches(order[1:], self.config.batch_size)):
                if batch:
                    tiles[batch] = self._rough(batch, strength)
                    self._shown = tiles.copy()
                    yield Look(self._field(tiles), exact=False)
        for batch in _batches(order, self.config.batch_size):
            tiles[batch] = self._generated(batch, strength, self.config)
            self._shown = tiles.copy()
            done = batch[-1] == order[-1]
            if done:
                self._remember(strength, tiles)
            yield Look(self._field(tiles), exact=done)

    def _generated(
        self, batch: list[int], strength: float, config: TranslationConfig
    ) -> np.ndarray:
        latents = self._translator.generate(self._of(batch), config, strength=strength)
        return self._translator.base.decode(latents, self.image.n_channels)

    def _rough(self, batch: list[int], strength: float) -> np.ndarray:
        """Generate in few steps, less what so few steps do wrong to the reconstruction."""
        missing = [tile for tile in batch if tile not in self._rough_source]
        if missing:
            self._rough_source.update(
                zip(missing, self._generated(missing, 0.0, self._few_steps()), strict=True)
            )
        change = self._generated(batch, strength, self._few_steps())
        change -= np.stack([self._rough_source[tile] for tile in batch])
        return np.asarray(self._tiles[0.0][batch] + change)

    def _few_steps(self) -> TranslationConfig:
        steps = max(1, round(ROUGH_STEPS / self.config.depth))
        return self.config.model_copy(update={"inference_steps": steps})

    @property
    def _can_be_rough(self) -> bool:
        # An anchored generation follows the path of the inversion step by step.
        few = len(self._translator.schedule(self.config).timesteps) <= ROUGH_STEPS
        return not few and not self.config.anchor

    def prepare(self, near: tuple[float, float] | None = None) -> None:
        """Do what the first rough look at the tile that is looked at would have to do first."""
        if self._can_be_rough:
            self._rough(self._nearest_first(near)[:1], 0.0)

    def _of(self, batch: list[int]) -> Inversion:
        return Inversion(
            tuple(latents[batch] for latents in self._inversion.path),
            self._inversion.residual[batch],
        )

    def _field(self, tiles: np.ndarray) -> Image:
        return self._translator.restore(self.image, self._grid, tiles, self.config, self._detail)

    def _remember(self, strength: float, tiles: np.ndarray) -> None:
        """Keep a few of the latest strengths: people go back and forth."""
        self._tiles[strength] = tiles.copy()
        extra = [s for s in self._tiles if s not in (0.0, self.config.strength)]
        for old in extra[:-_KEPT]:
            del self._tiles[old]

    def _nearest_first(self, near: tuple[float, float] | None) -> list[int]:
        height, width = self._grid.tile_shape
        y, x = near or (self._grid.image_shape[0] / 2, self._grid.image_shape[1] / 2)
        return sorted(
            range(len(self._grid)),
            key=lambda i: (
                (self._grid.origins[i][0] + height / 2 - y) ** 2
                + (self._grid.origins[i][1] + width / 2 - x) ** 2
            ),
        )


_KEPT = 8


def _batches(order: list[int], size: int) -> list[list[int]]:
    return [order[i : i + size] for i in range(0, len(order), size)]
