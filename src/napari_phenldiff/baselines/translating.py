"""What the translators of the baselines share: fields, settings, and that they have no dial."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from napari_phenldiff.baselines.tiles import MULTIPLE
from napari_phenldiff.diffusion.fields import (
    Batch,
    Translation,
    check_conditions,
    cut,
    field_batches,
    restore,
)
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.baseline_config import settings_of
from napari_phenldiff.runs.config import TranslationConfig


@dataclass(frozen=True, slots=True, eq=False)
class TranslatedTiles:
    """Tiles ``(N, C, Y, X)`` float32 in [-1, 1], in the target and in the source.

    Attributes
    ----------
    translated, reconstructed : numpy.ndarray
        See `Translation`.
    """

    translated: np.ndarray
    reconstructed: np.ndarray


class TileTranslator(ABC):
    """A baseline that translates images; a subclass translates tiles.

    Parameters
    ----------
    conditions : tuple of str
        That were trained.
    scaling : IntensityScaling
        Of the experiment that was trained on.
    channel_names : tuple of str
        Channels of the images, in order.
    tile : int
        Side of the tiles that were trained on, in pixels.
    inference_steps : int, optional
        Steps of the inversion and of the generation, of a method that has any.

    Attributes
    ----------
    should_stop : callable
        Asked before every pass of a network; when it returns True, `Cancelled` is raised.
    reference_channels : tuple of str
        None: a baseline is told nothing about channels.
    """

    quick: Mapping[str, Any] = MappingProxyType({})
    """Settings of a preview."""

    def __init__(
        self,
        conditions: tuple[str, ...],
        scaling: IntensityScaling,
        channel_names: tuple[str, ...],
        *,
        method: str,
        tile: int,
        inference_steps: int | None = None,
    ) -> None:
        self.conditions = conditions
        self.scaling = scaling
        self.channel_names = channel_names
        self.reference_channels: tuple[str, ...] = ()
        self.should_stop: Callable[[], bool] = lambda: False
        self._method, self._tile, self._inference_steps = method, tile, inference_steps

    @abstractmethod
    def translate_tiles(self, tiles: np.ndarray, config: TranslationConfig) -> TranslatedTiles:
        """Translate tiles ``(N, C, Y, X)`` float32 in [-1, 1] that are in the source."""

    def settings(self, config: TranslationConfig) -> TranslationConfig:
        """Return what this method does of what is asked for.

        Raises
        ------
        InputError
            If something was asked for that the method does not have.
        """
        return settings_of(self._method, config, inference_steps=self._inference_steps)

    def translate(
        self, images: Iterable[Image], config: TranslationConfig, *, keep: bool = False
    ) -> Iterator[Translation]:
        """Translate images, as many at once as fill a batch.

        Parameters
        ----------
        images : iterable of Image
            Of any size, in the source condition, with the run's channels.
        config : TranslationConfig
            From what to what. What a baseline cannot vary must be left as it is by default.
        keep : bool
            Has no effect: there is no dial.

        Yields
        ------
        Translation
            In the order of `images`; `residual` is NaN and `dial` None.

        Raises
        ------
        InputError
            On images with other channels, conditions that were not trained, and settings that the
            method does not have.
        """
        check_conditions(config, self.conditions)
        config = self.settings(config)
        for batch in field_batches(
            images,
            self.channel_names,
            tile=self._tile,
            multiple=MULTIPLE,
            batch_size=config.batch_size,
        ):
            yield from self._translate_batch(batch, config)

    def dial(self, image: Image, config: TranslationConfig) -> NoReturn:
        """Refuse: a baseline knows no strength between source and target.

        Raises
        ------
        InputError
            Always.
        """
        raise InputError(
            f"The method {self._method} has no dial of the strength; use a run of phenldiff."
        )

    def _translate_batch(self, batch: Batch, config: TranslationConfig) -> Iterator[Translation]:
        started = time.monotonic()
        tiles = cut(batch, self.scaling)
        size = config.batch_size
        parts = [
            self.translate_tiles(tiles[i : i + size], config) for i in range(0, len(tiles), size)
        ]
        translated = np.concatenate([part.translated for part in parts])
        reconstructed = np.concatenate([part.reconstructed for part in parts])
        seconds = (time.monotonic() - started) / len(batch)
        end = 0
        for image, grid in batch:
            start, end = end, end + len(grid)
            yield Translation(
                name=image.name,
                translated=restore(image, grid, translated[start:end], self.scaling),
                reconstructed=restore(image, grid, reconstructed[start:end], self.scaling),
                residual=float("nan"),
                seconds=seconds,
            )
