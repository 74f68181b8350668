"""The common part of the baselines' translators: fields and settings."""

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
    BatchBlend,
    BatchProgress,
    OnPart,
    Translation,
    check_conditions,
    cut_some,
    field_batches,
    no_part,
    restore_field,
)
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.baseline_config import settings_of
from napari_phenldiff.runs.config import TranslationConfig


@dataclass(frozen=True, slots=True, eq=False)
class TranslatedTiles:
    """Translated and reconstructed tiles ``(N, C, Y, X)``, float32 in [-1, 1].

    Attributes
    ----------
    translated, reconstructed : numpy.ndarray
        See `Translation`.
    """

    translated: np.ndarray
    reconstructed: np.ndarray


class TileTranslator(ABC):
    """Translates images tile by tile; subclasses translate tiles.

    Parameters
    ----------
    conditions : tuple of str
        Trained conditions.
    scaling : IntensityScaling
        Intensity scaling of the training.
    channel_names : tuple of str
        Channels of the images, in order.
    tile : int
        Side of the training tiles, in pixels.
    inference_steps : int, optional
        Default number of steps, if the method has steps.

    Attributes
    ----------
    should_stop : callable
        Called before every pass of a network; when it returns True, `Cancelled` is raised.
    on_part : callable
        Called after every batch of tiles while images are translated, see `OnPart`.
    reference_channels : tuple of str
        Always empty: baselines have no reference channels.
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
        self.on_part: OnPart = no_part
        self._method, self._tile, self._inference_steps = method, tile, inference_steps

    @abstractmethod
    def translate_tiles(self, tiles: np.ndarray, config: TranslationConfig) -> TranslatedTiles:
        """Translate tiles ``(N, C, Y, X)`` float32 in [-1, 1] of the source condition."""

    def settings(self, config: TranslationConfig) -> TranslationConfig:
        """Return the settings that this method applies, see `settings_of`.

        Raises
        ------
        InputError
            If a setting is requested that the method does not have.
        """
        return settings_of(self._method, config, inference_steps=self._inference_steps)

    def translate(
        self, images: Iterable[Image], config: TranslationConfig, *, keep: bool = False
    ) -> Iterator[Translation]:
        """Translate images in batches.

        Parameters
        ----------
        images : iterable of Image
            Of any size, in the source condition, with the run's channels.
        config : TranslationConfig
            Source, target and settings; those that the method does not have must be at their
            defaults.
        keep : bool
            Has no effect, since there is no dial.

        Yields
        ------
        Translation
            In the order of `images`; `residual` is NaN and `dial` None.

        Raises
        ------
        InputError
            If an image has other channels, a condition was not trained, or a setting is requested
            that the method does not have.
        """
        check_conditions(config, self.conditions)
        config = self.settings(config)
        for batch in self.batches(images, config):
            yield from self._translate_batch(batch, config)

    def batches(self, images: Iterable[Image], config: TranslationConfig) -> Iterator[Batch]:
        """Yield the images that are translated together, see `field_batches`."""
        return field_batches(
            images,
            self.channel_names,
            tile=self._tile,
            multiple=MULTIPLE,
            batch_size=config.batch_size,
        )

    def dial(self, image: Image, config: TranslationConfig) -> NoReturn:
        """Raise an error, since a baseline has no strengths between source and target.

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
        channels = batch[0][0].n_channels
        # Tiles are blended as they come: all of a large field take gigabytes.
        translated, reconstructed = BatchBlend(batch, channels), BatchBlend(batch, channels)
        total = sum(len(grid) for _, grid in batch)
        starts = range(0, total, config.batch_size)
        passed = BatchProgress(len(batch), len(starts), self.on_part)
        for start in starts:
            end = min(start + config.batch_size, total)
            made = self.translate_tiles(cut_some(batch, self.scaling, start, end), config)
            translated.add(made.translated)
            reconstructed.add(made.reconstructed)
            passed()
        seconds = (time.monotonic() - started) / len(batch)
        for number, (image, _) in enumerate(batch):
            yield Translation(
                name=image.name,
                translated=restore_field(image, translated.take(number), self.scaling),
                reconstructed=restore_field(image, reconstructed.take(number), self.scaling),
                residual=float("nan"),
                seconds=seconds,
            )
