"""Effects of controls, which must show nothing.

*Null translation*: images translated to their own condition. *Shuffled labels*: a run that was
trained on permuted conditions. *Half split*: a run that was trained on two halves of one condition
(`images.controls` makes both). Any phenotype that these show is false.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_phenldiff.evaluation.cycle import Translating
from napari_phenldiff.evaluation.evidence import Effect
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.wells import Wells, well_of_image
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.statistics.compare import compare
from napari_phenldiff.runs.config import TranslationConfig


@dataclass(frozen=True, slots=True)
class Measured:
    """How controls are measured: like the images that they are compared with.

    Attributes
    ----------
    profile : str
    settings : Settings
    thresholds : mapping of str to float
        Of the real images.
    column : str
        The measurement that the verdict is about.
    wells : str or mapping of str to str, optional
        Pattern that finds the well in the names, or the well of each name: one value per well is
        compared then.
    """

    profile: str
    settings: Settings
    thresholds: Mapping[str, float]
    column: str
    wells: Wells | None = None

    def values(self, images: Sequence[Image]) -> np.ndarray:
        """Measure images: one value each, NaN where that cannot be done."""
        from napari_phenldiff.measurement.measure import measure

        found = measure(self.profile, {"images": images}, self.settings, thresholds=self.thresholds)
        return found.values("images", self.column)

    def change(self, before: Sequence[Image], after: Sequence[Image]) -> Effect:
        """Compare the same images before and after."""
        values = self.values(before), self.values(after)
        a, b = self.by_well(before, *values)
        return paired_effect(a, b)

    def by_well(
        self, images: Sequence[Image], before: np.ndarray, after: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give one value per well: medians over images that are known before and after."""
        if self.wells is None:
            return before, after
        wells = np.array([well_of_image(image, self.wells) for image in images])
        known = np.isfinite(before) & np.isfinite(after)
        pairs = [
            (np.median(before[known & (wells == well)]), np.median(after[known & (wells == well)]))
            for well in dict.fromkeys(wells[known])
        ]
        table = np.array(pairs, float).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def paired_effect(before: np.ndarray, after: np.ndarray) -> Effect:
    """Compare values ``(N,)`` of the same images, or wells, before and after."""
    return Effect.from_comparison(compare(before, after, paired=True))


def null_config(config: TranslationConfig) -> TranslationConfig:
    """Return the settings of a translation from the source to the source."""
    return config.model_copy(update={"target": config.source})


def is_reconstruction(translator: Translating, config: TranslationConfig) -> bool:
    """Return whether a translator says that a translation is the reconstruction, to the bit.

    `LatentTranslator.only_reconstructs` does; baselines say nothing.
    """
    only_reconstructs = getattr(translator, "only_reconstructs", None)
    return only_reconstructs is not None and bool(only_reconstructs(config))


def control_effect(
    translator: Translating, images: Sequence[Image], config: TranslationConfig, measured: Measured
) -> Effect:
    """Measure what a control run changes, which should be nothing: reconstructed to translated.

    Parameters
    ----------
    translator : Translating
        Of a run that was trained on `permuted` conditions or on `halves`.
    images : sequence of Image
        The images that the translation itself is judged by.
    config : TranslationConfig
        The same settings, with the conditions of that run.
    measured : Measured

    Returns
    -------
    Effect
    """
    made = list(translator.translate(images, config))
    return measured.change([m.reconstructed for m in made], [m.translated for m in made])
