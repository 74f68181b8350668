"""A model whose images other processes translate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_phenldiff.jobs.translation_unit import RunToLoad, translate_images
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.workers import Workers, in_order

if TYPE_CHECKING:
    from napari_phenldiff.baselines.loading import ImageTranslator
    from napari_phenldiff.diffusion.fields import Translation
    from napari_phenldiff.images.image import Image


class SharedTranslator:
    """Has workers translate images; everything else is asked of the model in this process.

    Images that go through the network together here do so there, so that the results are the same.

    Parameters
    ----------
    translator : ImageTranslator
        Of the run, in this process.
    run : RunToLoad
        The same, for workers.
    workers : Workers
    """

    def __init__(self, translator: ImageTranslator, run: RunToLoad, workers: Workers) -> None:
        self._translator, self._run, self._workers = translator, run, workers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._translator, name)

    def translate(
        self, images: Iterable[Image], config: TranslationConfig, *, keep: bool = False
    ) -> Iterator[Translation]:
        """Translate images, in their order; those whose inversion is kept in this process."""
        if keep:
            yield from self._translator.translate(images, config, keep=True)
            return
        batches = self._translator.batches(images, config)
        some = ([image for image, _ in batch] for batch in batches)
        for made in in_order(partial(translate_images, self._run, config), some, self._workers):
            yield from made
