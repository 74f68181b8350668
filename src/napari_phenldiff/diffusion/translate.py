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
from napari_phenldiff.diffusion.device import (
    choose_device,
    choose_precision,
    prepare_passes,
    use_fast_attention,
)
from napari_phenldiff.diffusion.dial import Dial
from napari_phenldiff.diffusion.fields import (
    Batch,
    BatchBlend,
    BatchProgress,
    Translation,
    check_conditions,
    cut_some,
    field_batches,
    restore_field,
    tile_ranges,
)
from napari_phenldiff.diffusion.freedom import FieldNoise, code_statistics
from napari_phenldiff.diffusion.guidance import Cancelled, LatentTranslator
from napari_phenldiff.diffusion.schedule import Inversion
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiles import Blend, TileGrid
from napari_phenldiff.runs.calibration import Calibration, calibrated
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run

__all__ = ["Cancelled", "Translation", "Translator"]

_AT_ONCE = 16
"""Tiles of lost detail that are looked at together."""


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
        base = base.in_groups(opened.channel_names, adapter.reference_channels)
        adapter.put_links_into(base)
        prepare_passes(base.unet, base.device, choose_precision(precision, base.device))
        use_fast_attention(base.unet, base.device, learns=False)
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
        for batch in self.batches(images, config):
            yield from self._translate_batch(batch, config, keep)

    def batches(self, images: Iterable[Image], config: TranslationConfig) -> Iterator[Batch]:
        """Yield the images that are translated together, see `field_batches`."""
        return field_batches(
            images,
            self.channel_names,
            tile=self.base.tile,
            multiple=self.base.multiple,
            batch_size=config.batch_size,
        )

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
        noise = self._noise(batch, config) if config.freedom else None
        channels = batch[0][0].n_channels
        # If the autoencoder mixes image channels, it loses structure as well as noise, and that
        # structure may be absent in the target.
        restoring = bool(config.detail) and self.base.coefficients is not None
        # Tiles are blended as they come: all of a large field, and their paths, take gigabytes.
        translated, reconstructed = BatchBlend(batch, channels), BatchBlend(batch, channels)
        seen = BatchBlend(batch, channels) if restoring else None
        kept: list[tuple[np.ndarray, np.ndarray, Inversion]] = []
        residuals, statistics = [], []
        total = sum(len(grid) for _, grid in batch)
        starts = range(0, total, config.batch_size)
        self.on_pass = BatchProgress(len(batch), len(starts) * self.passes(config), self.on_part)
        try:
            for start in starts:
                end = min(start + config.batch_size, total)
                made = self._translate_tiles(
                    cut_some(batch, scaling, start, end),
                    config,
                    None if noise is None else _noise_of(batch, noise, start, end),
                )
                translated.add(made[0])
                reconstructed.add(made[1])
                inversion = made[2]
                residuals.append(inversion.residual.numpy())
                statistics.append(code_statistics(inversion.code, inversion.path[0], self._given))
                if seen is not None:
                    seen.add(self.base.decode(inversion.path[0], channels))
                if keep:
                    kept.append((made[0], made[1], _ends(inversion, whole=config.anchor > 0)))
        finally:
            self.on_pass = lambda cost: None
        del noise
        residual = np.concatenate(residuals)
        correlation, spread = (
            torch.cat(values).numpy() for values in zip(*statistics, strict=True)
        )
        seconds = (time.monotonic() - started) / len(batch)
        end = 0
        for number, (image, grid) in enumerate(batch):
            start, end = end, end + len(grid)
            detail = dial = None
            if seen is not None:
                detail = self._detail(image, grid, seen.take(number), config)
            if keep:
                dial = Dial(
                    self,
                    image,
                    grid,
                    config,
                    _part([part[2] for part in kept], start, end),
                    reconstructed=np.concatenate([part[1] for part in kept])[start:end],
                    translated=np.concatenate([part[0] for part in kept])[start:end],
                    detail=detail,
                )
            translation = Translation(
                name=image.name,
                translated=self._restore(image, translated.take(number), config, detail),
                reconstructed=self._restore(image, reconstructed.take(number), config, detail),
                residual=float(residual[start:end].max()),
                code_correlation=float(correlation[start:end].mean()),
                code_spread=float(spread[start:end].mean()),
                seconds=seconds,
                dial=dial,
            )
            # What a large field was made with is not held while it is measured and written.
            del detail, dial
            yield translation
            del translation

    def _detail(
        self, image: Image, grid: TileGrid, seen: np.ndarray, config: TranslationConfig
    ) -> Detail:
        """Return what the autoencoder loses of an image, of which it has `seen` the rest."""
        lost = self.scaling.of(config.source).apply(image.data)
        lost -= seen
        if config.freedom:
            lost = self._unstructured(lost, grid, config)
        return Detail(lost, seen, config.detail)

    def _noise(self, batch: Batch, config: TranslationConfig) -> list[FieldNoise]:
        """Draw the noise of each field of a batch."""
        factor = self.base.factor
        found = []
        for _, grid in batch:
            height, width = grid.tile_shape
            shape = (self.base.autoencoder.latent_channels, height // factor, width // factor)
            found.append(FieldNoise(grid.origins, shape, factor=factor, seed=config.seed))
        return found

    def _unstructured(
        self, lost: np.ndarray, grid: TileGrid, config: TranslationConfig
    ) -> np.ndarray:
        """Remove the structure from detail ``(C, Y, X)``, in proportion to the freedom.

        The sign of each pixel is randomised: the detail is as strong as before everywhere, but has
        no edges of structures that may be gone in the target. The part that the autoencoder can
        represent is subtracted.
        """
        signs = np.random.default_rng(config.seed).integers(0, 2, lost.shape[1:])
        sign = (signs * 2 - 1).astype(np.int8)[None]
        del signs  # eight times as large
        channels = len(lost)
        scrambled = Blend(grid, channels)
        nothing = None
        for start in range(0, len(grid), _AT_ONCE):
            some = range(start, min(start + _AT_ONCE, len(grid)))
            tiles = grid.cut(lost, some) * grid.cut(sign, some).astype(np.float32)
            if nothing is None:
                nothing = self.base.decode(self.base.encode(0 * tiles[:1]), channels)
            carried = self.base.decode(self.base.encode(tiles), channels)
            scrambled.add(tiles - carried + nothing)
        part = config.freedom
        mixed = scrambled.field
        for own, other in zip(lost, mixed, strict=True):
            other[:] = np.sqrt(1 - part**2) * own + part * other
        return mixed

    def _translate_tiles(
        self, tiles: np.ndarray, config: TranslationConfig, noise: torch.Tensor | None
    ) -> tuple[np.ndarray, np.ndarray, Inversion]:
        channels = tiles.shape[1]
        inversion = self.invert(self.base.encode(tiles), config)
        if noise is not None:
            inversion = self.apply_freedom(inversion, noise, config)
        reconstructed = self.base.decode(self.generate(inversion, config, strength=0.0), channels)
        translated = reconstructed
        if not self.only_reconstructs(config):
            translated = self.base.decode(self.generate(inversion, config), channels)
        return translated, reconstructed, inversion

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
        return self._restore(image, grid.blend(tiles), config, detail)

    def _restore(
        self, image: Image, field: np.ndarray, config: TranslationConfig, detail: Detail | None
    ) -> Image:
        made = restore_field(image, field, self.scaling.of(config.source), detail)
        for index, name in enumerate(self.channel_names):
            if name in self.reference_channels:
                made.data[index] = image.data[index]
        return made


def _noise_of(batch: Batch, noise: Sequence[FieldNoise], start: int, end: int) -> torch.Tensor:
    """Return the noise of the tiles `start` to `end` of a batch ``(n, L, Y, X)``."""
    return torch.cat(
        [noise[number].tiles(first, last) for number, first, last in tile_ranges(batch, start, end)]
    )


def _ends(inversion: Inversion, *, whole: bool) -> Inversion:
    """Return only the ends of the path of an inversion, unless the whole path is needed."""
    path = inversion.path if whole else (inversion.path[0], inversion.path[-1])
    return Inversion(path, inversion.residual)


def _part(inversions: Sequence[Inversion], start: int, end: int) -> Inversion:
    """Return the inversion of tiles `start` to `end`, collected from several batches.

    The latents are copied, so that the batches can be freed.
    """
    path = tuple(
        torch.cat(latents)[start:end].clone()
        for latents in zip(*(x.path for x in inversions), strict=True)
    )
    return Inversion(path, torch.cat([x.residual for x in inversions])[start:end])
