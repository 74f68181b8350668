"""Render a field at any strength from its stored inversion."""

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

DRAFT_STEPS = 10
"""Steps of a draft: half of the time, and 4 to 8 % of the change off; see docs/notes/dial.md."""


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """A field at a new strength, as a draft or exact.

    Attributes
    ----------
    image : Image
        The whole field, shape (C, Y, X), in dtype and grey values of the source. Tiles that are
        not rendered yet show the previous strength.
    exact : bool
        Whether the whole field equals the result of `Translator.translate`; False for a draft.
    """

    image: Image
    exact: bool


class Dial:
    """An inverted field that can be rendered at any strength without inverting it again.

    Made by `Translator.dial`, and by `Translator.translate` with ``keep=True``. It stores the clean
    latents and the code of each tile, some 100 kB with the bundled base, and the whole path of the
    inversion if the generation is anchored to it.

    Parameters
    ----------
    translator : Translator
        The model that inverted the field.
    image : Image
        The field.
    grid : TileGrid
        The tiles that it is cut into.
    config : TranslationConfig
        Settings of the inversion.
    inversion : Inversion
        Inversion of all tiles, in the order of the grid.
    reconstructed, translated : numpy.ndarray of shape (N, C, Y, X), float32
        Tiles at strength 0 and at that of `config`, in [-1, 1].
    detail : Detail, optional
        Texture of the field that the autoencoder loses and that is added again.
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
        # Only an anchored generation needs the intermediate steps.
        path = inversion.path if config.anchor else (inversion.path[0], inversion.path[-1])
        self._inversion = replace(inversion, path=path)
        self._tiles = {0.0: reconstructed, config.strength: translated}
        self._shown = translated
        self._draft_source: dict[int, np.ndarray] = {}

    @property
    def n_tiles(self) -> int:
        """Number of tiles that the field is cut into."""
        return len(self._grid)

    @property
    def nbytes(self) -> int:
        """Approximate memory that this field takes, in bytes."""
        latents = sum(x.nbytes for x in self._inversion.path)
        detail = 0 if self._detail is None else 2 * self._detail.lost.nbytes
        tiles = sum(tile.nbytes for tile in self._tiles.values())
        return latents + self.image.data.nbytes + detail + tiles

    def at(self, strength: float) -> Image:
        """Return the field at a strength, as `Translator.translate` makes it.

        Parameters
        ----------
        strength : float
            0 for the reconstruction, 1 for the target; may lie between or beyond.

        Returns
        -------
        Image
            Shape, dtype, channel names and pixel size of the field.
        """
        *_, last = self.render(strength)
        return last.image

    def render(
        self, strength: float, near: tuple[float, float] | None = None
    ) -> Iterator[Rendering]:
        """Render the field at another strength: first a draft, then exactly.

        Parameters
        ----------
        strength : float
            As for `at`.
        near : (float, float), optional
            Position (y, x) in pixels that is in view: its tile is rendered first.

        Yields
        ------
        Rendering
            Drafts tile by tile, then exact tiles; the last one is exact everywhere.
        """
        known = self._tiles.get(strength)
        if known is not None:
            self._shown = known
            yield Rendering(self._field(known), exact=True)
            return
        order = self._nearest_first(near)
        tiles = self._shown.copy()
        if self._has_draft:
            # The first draft is a single tile, to show something soon; then whole batches.
            for batch in (order[:1], *_batches(order[1:], self.config.batch_size)):
                if batch:
                    tiles[batch] = self._draft(batch, strength)
                    self._shown = tiles.copy()
                    yield Rendering(self._field(tiles), exact=False)
        for batch in _batches(order, self.config.batch_size):
            tiles[batch] = self._generated(batch, strength, self.config)
            self._shown = tiles.copy()
            done = batch[-1] == order[-1]
            if done:
                self._remember(strength, tiles)
            yield Rendering(self._field(tiles), exact=done)

    def _generated(
        self, batch: list[int], strength: float, config: TranslationConfig
    ) -> np.ndarray:
        latents = self._translator.generate(self._of(batch), config, strength=strength)
        return self._translator.base.decode(latents, self.image.n_channels)

    def _draft(self, batch: list[int], strength: float) -> np.ndarray:
        """Generate in few steps, corrected by the error of as few steps on the reconstruction."""
        missing = [tile for tile in batch if tile not in self._draft_source]
        if missing:
            self._draft_source.update(
                zip(missing, self._generated(missing, 0.0, self._few_steps()), strict=True)
            )
        change = self._generated(batch, strength, self._few_steps())
        change -= np.stack([self._draft_source[tile] for tile in batch])
        return np.asarray(self._tiles[0.0][batch] + change)

    def _few_steps(self) -> TranslationConfig:
        steps = max(1, round(DRAFT_STEPS / self.config.depth))
        return self.config.model_copy(update={"inference_steps": steps})

    @property
    def _has_draft(self) -> bool:
        # An anchored generation follows the path of the inversion step by step.
        few = len(self._translator.schedule(self.config).timesteps) <= DRAFT_STEPS
        return not few and not self.config.anchor

    def prepare(self, near: tuple[float, float] | None = None) -> None:
        """Generate the draft reconstruction of the tile in view, which the first draft needs."""
        if self._has_draft:
            self._draft(self._nearest_first(near)[:1], 0.0)

    def _of(self, batch: list[int]) -> Inversion:
        return Inversion(
            tuple(latents[batch] for latents in self._inversion.path),
            self._inversion.residual[batch],
        )

    def _field(self, tiles: np.ndarray) -> Image:
        return self._translator.restore(self.image, self._grid, tiles, self.config, self._detail)

    def _remember(self, strength: float, tiles: np.ndarray) -> None:
        """Cache the most recent strengths, since users go back and forth between them."""
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
