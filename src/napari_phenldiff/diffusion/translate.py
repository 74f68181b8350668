"""Translate images between conditions: invert, generate, decode (paper, section 3.3)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike

import numpy as np
import torch

from napari_phenldiff.diffusion.adaptation import load_adapter
from napari_phenldiff.diffusion.base_weights import load_base_of
from napari_phenldiff.diffusion.detail import Detail
from napari_phenldiff.diffusion.device import cast_weights, choose_device, choose_precision
from napari_phenldiff.diffusion.dial import Dial
from napari_phenldiff.diffusion.fields import (
    Batch,
    BatchProgress,
    Translation,
    check_conditions,
    cut,
    field_batches,
    restore,
)
from napari_phenldiff.diffusion.freedom import code_statistics, field_noise
from napari_phenldiff.diffusion.guidance import Cancelled, LatentTranslator
from napari_phenldiff.diffusion.schedule import Inversion
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiles import TileGrid
from napari_phenldiff.runs.calibration import Calibration, calibrated
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run

__all__ = ["Cancelled", "Translation", "Translator"]


class Translator(LatentTranslator):
    """A fine-tuned model that translates images.

    Create one with `from_run`. Parameters and attributes are those of `LatentTranslator`.

    Attributes
    ----------
    calibration : Calibration or None
        Calibration of the run: defaults of guidance and freedom.
    """

    calibration: Calibration | None = None

    @classmethod
    def from_run(
        cls, run: Run | str | PathLike[str], *, device: str = "auto", precision: str = "auto"
    ) -> Translator:
        """Load the result of a fine-tuning.

        Raises
        ------
        InputError
            If the folder is not a run, has no adapter yet, or its base is missing or has changed.
        """
        opened = run if isinstance(run, Run) else Run.open(run)
        if not opened.has_adapter:
            raise InputError(f"The run {opened.path} has no adapter yet; train it first.")
        base = load_base_of(opened, device=choose_device(device))
        adapter = load_adapter(opened.adapter_path, base.unet)
        # The extra layers of LoRA take a third of a pass; in single precision nothing is lost.
        adapter.strategy.merge(base.unet)
        cast_weights(base.unet, choose_precision(precision, base.device))
        translator = cls(
            base,
            adapter.tokens,
            opened.scaling,
            opened.channel_names,
            reference_channels=adapter.reference_channels,
            precision=precision,
        )
        translator.calibration = opened.calibration
        return translator

    def dial(self, image: Image, config: TranslationConfig) -> Dial:
        """Invert an image, to render it at any strength afterwards.

        Parameters
        ----------
        image : Image
            Of any size, in the source condition, with the run's channels.
        config : TranslationConfig
            Source, target and settings.

        Returns
        -------
        Dial

        Raises
        ------
        InputError
            As `translate`.
        """
        (translation,) = self.translate([image], config, keep=True)
        assert translation.dial is not None
        return translation.dial

    def translate(
        self, images: Iterable[Image], config: TranslationConfig, *, keep: bool = False
    ) -> Iterator[Translation]:
        """Translate images in batches.

        Parameters
        ----------
        images : iterable of Image
            Of any size, in the source condition, with the run's channels.
        config : TranslationConfig
            Source, target and settings.
        keep : bool
            Keep the inversions, so that every `Translation` has a `dial`.

        Yields
        ------
        Translation
            In the order of `images`.

        Raises
        ------
        InputError
            If an image has other channels, or a condition was not trained.
        """
        check_conditions(config, self.tokens.conditions)
        config = calibrated(config, self.calibration)
        for batch in field_batches(
            images,
            self.channel_names,
            tile=self.base.tile,
            multiple=self.base.multiple,
            batch_size=config.batch_size,
        ):
            yield from self._translate_batch(batch, config, keep)

    def _translate_batch(
        self, batch: Batch, config: TranslationConfig, keep: bool
    ) -> Iterator[Translation]:
        if not keep and bool(self._given.all()):
            # all channels are references, so there is nothing to invert
            for image, _ in batch:
                same = replace(image, path=None)
                yield Translation(image.name, same, same, residual=0.0, seconds=0.0)
            return
        started = time.monotonic()
        scaling = self.scaling.of(config.source)
        tiles = cut(batch, scaling)
        noise = self._noise(batch, config) if config.freedom else None
        starts = range(0, len(tiles), config.batch_size)
        parts = []
        self.on_pass = BatchProgress(len(batch), len(starts) * self.passes(config), self.on_part)
        try:
            for i in starts:
                these = slice(i, i + config.batch_size)
                drawn = None if noise is None else noise[these]
                parts.append(self._translate_tiles(tiles[these], config, drawn))
        finally:
            self.on_pass = lambda cost: None
        translated, reconstructed = (np.concatenate([part[k] for part in parts]) for k in range(2))
        residuals = np.concatenate([part[2].residual.numpy() for part in parts])
        statistics = [code_statistics(part[2].code, part[2].path[0], self._given) for part in parts]
        correlation, spread = (
            torch.cat(values).numpy() for values in zip(*statistics, strict=True)
        )
        seen = None
        # If the autoencoder mixes image channels, it loses structure as well as noise, and that
        # structure may be absent in the target.
        if config.detail and self.base.coefficients is not None:
            channels = tiles.shape[1]
            seen = np.concatenate([self.base.decode(part[2].path[0], channels) for part in parts])
        seconds = (time.monotonic() - started) / len(batch)
        end = 0
        for image, grid in batch:
            start, end = end, end + len(grid)
            detail = dial = None
            if seen is not None:
                whole = grid.blend(seen[start:end])
                lost = scaling.apply(image.data) - whole
                if config.freedom:
                    lost = self._unstructured(lost, grid, config)
                detail = Detail(lost, whole, config.detail)
            if keep:
                dial = Dial(
                    self,
                    image,
                    grid,
                    config,
                    _part([part[2] for part in parts], start, end, whole=config.anchor > 0),
                    reconstructed=reconstructed[start:end],
                    translated=translated[start:end],
                    detail=detail,
                )
            yield Translation(
                name=image.name,
                translated=self.restore(image, grid, translated[start:end], config, detail),
                reconstructed=self.restore(image, grid, reconstructed[start:end], config, detail),
                residual=float(residuals[start:end].max()),
                code_correlation=float(correlation[start:end].mean()),
                code_spread=float(spread[start:end].mean()),
                seconds=seconds,
                dial=dial,
            )

    def _noise(self, batch: Batch, config: TranslationConfig) -> torch.Tensor:
        """Draw the noise for all tiles of a batch ``(N, L, Y, X)``."""
        factor = self.base.factor
        parts = []
        for _, grid in batch:
            height, width = grid.tile_shape
            shape = (self.base.autoencoder.latent_channels, height // factor, width // factor)
            parts.append(field_noise(grid.origins, shape, factor=factor, seed=config.seed))
        return torch.cat(parts)

    def _unstructured(
        self, lost: np.ndarray, grid: TileGrid, config: TranslationConfig
    ) -> np.ndarray:
        """Remove the structure from detail ``(C, Y, X)``, in proportion to the freedom.

        The sign of each pixel is randomised: the detail is as strong as before everywhere, but has
        no edges of structures that may be gone in the target. The part that the autoencoder can
        represent is subtracted.
        """
        sign = np.random.default_rng(config.seed).integers(0, 2, lost.shape[1:]) * 2 - 1
        tiles = grid.cut((lost * sign).astype(np.float32))
        carried, nothing = (
            self.base.decode(self.base.encode(x), lost.shape[0]) for x in (tiles, 0 * tiles[:1])
        )
        scrambled = grid.blend(tiles - carried + nothing)
        part = config.freedom
        mixed: np.ndarray = np.sqrt(1 - part**2) * lost + part * scrambled
        return mixed.astype(np.float32)

    def _translate_tiles(
        self, tiles: np.ndarray, config: TranslationConfig, noise: torch.Tensor | None
    ) -> tuple[np.ndarray, np.ndarray, Inversion]:
        channels = tiles.shape[1]
        inversion = self.invert(self.base.encode(tiles), config)
        if noise is not None:
            inversion = self.apply_freedom(inversion, noise, config)
        results = [
            self.base.decode(self.generate(inversion, config, strength=strength), channels)
            for strength in (config.strength, 0.0)
        ]
        return results[0], results[1], inversion

    def restore(
        self,
        image: Image,
        grid: TileGrid,
        tiles: np.ndarray,
        config: TranslationConfig,
        detail: Detail | None = None,
    ) -> Image:
        """Blend tiles ``(N, C, Y, X)`` in [-1, 1] to a field in the image's grey values.

        Reference channels are copied from the image, so values outside the range of the training
        are kept.
        """
        made = restore(image, grid, tiles, self.scaling.of(config.source), detail)
        for index, name in enumerate(self.channel_names):
            if name in self.reference_channels:
                made.data[index] = image.data[index]
        return made


def _part(inversions: Sequence[Inversion], start: int, end: int, *, whole: bool) -> Inversion:
    """Return the inversion of tiles `start` to `end`, collected from several batches.

    The latents are copied, so that the batches can be freed. Without `whole`, only the ends of the
    path are kept.
    """
    paths = [x.path if whole else (x.path[0], x.path[-1]) for x in inversions]
    path = tuple(torch.cat(latents)[start:end].clone() for latents in zip(*paths, strict=True))
    return Inversion(path, torch.cat([x.residual for x in inversions])[start:end])
