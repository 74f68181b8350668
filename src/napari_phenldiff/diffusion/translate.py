"""Translate images between conditions: invert, generate, decode (paper, section 3.3)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch

from napari_phenldiff.diffusion.adaptation import load_adapter
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.device import choose_device, choose_precision, keep_in
from napari_phenldiff.diffusion.dial import Dial
from napari_phenldiff.diffusion.guidance import Cancelled, LatentTranslator
from napari_phenldiff.diffusion.schedule import Inversion
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiles import TileGrid
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run

__all__ = ["Cancelled", "Translation", "Translator"]

_OVERLAP = 0.25
"""Of a tile: what neighbouring tiles of a larger field share."""


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
        gone through the autoencoder and the intensity scaling.
    residual : float
        How far from exact the inversion was, see `Schedule.invert`; the worst of the image's tiles.
    seconds : float
        Time it took, shared evenly among the images of a batch.
    dial : Dial or None
        To see the image at other strengths, where that was asked for.
    """

    name: str
    translated: Image
    reconstructed: Image
    residual: float
    seconds: float
    dial: Dial | None = None


class Translator(LatentTranslator):
    """A fine-tuned model that translates images.

    Make one with `from_run`. Parameters and attributes are those of `LatentTranslator`.
    """

    @classmethod
    def from_run(
        cls, run: Run | str | PathLike[str], *, device: str = "auto", precision: str = "auto"
    ) -> Translator:
        """Load the result of a fine-tuning.

        Raises
        ------
        InputError
            If the folder is no run, has no adapter yet, or its base is missing.
        """
        opened = run if isinstance(run, Run) else Run.open(run)
        if not opened.has_adapter:
            raise InputError(f"The run {opened.path} has no adapter yet; train it first.")
        base = BaseModel.load(opened.base, device=choose_device(device))
        adapter = load_adapter(opened.adapter_path, base.unet)
        keep_in(base.unet, choose_precision(precision, base.device))
        return cls(
            base,
            adapter.tokens,
            opened.scaling,
            opened.channel_names,
            reference_channels=adapter.reference_channels,
            precision=precision,
        )

    def dial(self, image: Image, config: TranslationConfig) -> Dial:
        """Invert an image, and see it at any strength from then on.

        Parameters
        ----------
        image : Image
            Of any size, in the source condition, with the run's channels.
        config : TranslationConfig
            From what to what, and how.

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
        """Translate images, as many at once as fill a batch.

        Parameters
        ----------
        images : iterable of Image
            Of any size, in the source condition, with the run's channels.
        config : TranslationConfig
            From what to what, and how.
        keep : bool
            Keep the inversions: every `Translation` then has its `dial`.

        Yields
        ------
        Translation
            In the order of `images`.

        Raises
        ------
        InputError
            On images with other channels and conditions that were not trained.
        """
        for name in (config.source, config.target):
            if name not in self.tokens.conditions:
                raise InputError(
                    f"The run knows no condition {name!r}; it was trained on "
                    f"{', '.join(self.tokens.conditions)}."
                )
        waiting: list[tuple[Image, TileGrid]] = []
        for image in images:
            if image.n_channels != len(self.channel_names):
                raise InputError(
                    f"{image.name} has {image.n_channels} channels, the run was trained on "
                    f"{len(self.channel_names)} ({', '.join(self.channel_names)})."
                )
            tile = self.base.tile
            grid = TileGrid.cover(
                image.shape, tile, round(_OVERLAP * tile), multiple=self.base.multiple
            )
            full = sum(len(g) for _, g in waiting) >= config.batch_size
            if waiting and (full or grid.tile_shape != waiting[0][1].tile_shape):
                yield from self._translate_batch(waiting, config, keep)
                waiting = []
            waiting.append((image, grid))
        if waiting:
            yield from self._translate_batch(waiting, config, keep)

    def _translate_batch(
        self, batch: list[tuple[Image, TileGrid]], config: TranslationConfig, keep: bool
    ) -> Iterator[Translation]:
        started = time.monotonic()
        tiles = np.concatenate([grid.cut(self.scaling.apply(image.data)) for image, grid in batch])
        parts = [
            self._translate_tiles(tiles[i : i + config.batch_size], config)
            for i in range(0, len(tiles), config.batch_size)
        ]
        translated, reconstructed = (np.concatenate([part[k] for part in parts]) for k in range(2))
        residuals = np.concatenate([part[2].residual.numpy() for part in parts])
        seconds = (time.monotonic() - started) / len(batch)
        end = 0
        for image, grid in batch:
            start, end = end, end + len(grid)
            dial = None
            if keep:
                dial = Dial(
                    self,
                    image,
                    grid,
                    config,
                    _part([part[2] for part in parts], start, end, whole=config.anchor > 0),
                    reconstructed=reconstructed[start:end],
                    translated=translated[start:end],
                )
            yield Translation(
                name=image.name,
                translated=self.restore(image, grid, translated[start:end]),
                reconstructed=self.restore(image, grid, reconstructed[start:end]),
                residual=float(residuals[start:end].max()),
                seconds=seconds,
                dial=dial,
            )

    def _translate_tiles(
        self, tiles: np.ndarray, config: TranslationConfig
    ) -> tuple[np.ndarray, np.ndarray, Inversion]:
        channels = tiles.shape[1]
        inversion = self.invert(self.base.encode(tiles), config)
        results = [
            self.base.decode(self.generate(inversion, config, strength=strength), channels)
            for strength in (config.strength, 0.0)
        ]
        return results[0], results[1], inversion

    def restore(self, image: Image, grid: TileGrid, tiles: np.ndarray) -> Image:
        """Blend tiles ``(N, C, Y, X)`` in [-1, 1] to a field in the image's grey values."""
        data = self.scaling.invert(grid.blend(tiles), image.data.dtype)
        return Image(data, image.channel_names, image.pixel_size, image.name)


def _part(inversions: Sequence[Inversion], start: int, end: int, *, whole: bool) -> Inversion:
    """Return the inversion of some of the tiles, which may have been inverted in several batches.

    Copies, so that the batches can be forgotten; without `whole` only the ends of the path.
    """
    paths = [x.path if whole else (x.path[0], x.path[-1]) for x in inversions]
    path = tuple(torch.cat(latents)[start:end].clone() for latents in zip(*paths, strict=True))
    return Inversion(path, torch.cat([x.residual for x in inversions])[start:end])
