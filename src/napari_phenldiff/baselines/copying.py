"""The source image as its own translation: a baseline that every method should beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from os import PathLike
from typing import NoReturn

from napari_phenldiff.diffusion.fields import OnPart, Translation, check_conditions, no_part
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.runs.baseline_config import settings_of
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run


class CopyTranslator:
    """Returns every image unchanged, as its translation and as its reconstruction.

    Parameters
    ----------
    conditions : tuple of str
        Conditions between which it "translates".
    """

    def __init__(self, conditions: tuple[str, ...]) -> None:
        self.conditions = conditions
        self.reference_channels: tuple[str, ...] = ()
        self.should_stop: Callable[[], bool] = lambda: False
        self.on_part: OnPart = no_part

    @classmethod
    def from_run(
        cls, run: Run | str | PathLike[str], *, device: str = "auto", precision: str = "auto"
    ) -> CopyTranslator:
        """Use the conditions of a run of any method; nothing else of it is needed."""
        return cls((run if isinstance(run, Run) else Run.open(run)).conditions)

    def translate(
        self, images: Iterable[Image], config: TranslationConfig, *, keep: bool = False
    ) -> Iterator[Translation]:
        """Return the images unchanged; see `TileTranslator.translate`."""
        check_conditions(config, self.conditions)
        settings_of("copy", config)
        for image in images:
            copy = replace(image, path=None)
            yield Translation(image.name, copy, copy, residual=float("nan"), seconds=0.0)

    def dial(self, image: Image, config: TranslationConfig) -> NoReturn:
        """Raise an error, see `TileTranslator.dial`."""
        raise InputError("The method copy has no dial of the strength; use a run of phenldiff.")
