"""Controls: what must show nothing.

*Null translation*: images translated to their own condition. *Shuffled labels*: a run that was
trained on permuted conditions. *Half split*: a run that was trained on two halves of one condition.
Any phenotype that these show is false. *Simulated truth* is in `truth`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import check_wells, well_of
from napari_phenldiff.evaluation.cycle import Translating
from napari_phenldiff.evaluation.verdict import Effect
from napari_phenldiff.images.experiment import Condition, Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.statistics.compare import compare
from napari_phenldiff.measurement.statistics.units import Wells
from napari_phenldiff.runs.config import TranslationConfig

Kind = Literal["shuffled", "half-split"]


@dataclass(frozen=True, slots=True)
class Measured:
    """With what controls are measured: as the images they are held against.

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
        a, b = self.by_well([image.name for image in before], *values)
        return Effect.from_comparison(compare(a, b, paired=True), "Wilcoxon signed-rank")

    def by_well(
        self, names: Sequence[str], before: np.ndarray, after: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give one value per well: medians over images that are known before and after."""
        if self.wells is None:
            return before, after
        wells = np.array([well_of(name, self.wells) for name in names])
        known = np.isfinite(before) & np.isfinite(after)
        pairs = [
            (np.median(before[known & (wells == well)]), np.median(after[known & (wells == well)]))
            for well in dict.fromkeys(wells[known])
        ]
        table = np.array(pairs, float).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def null_config(config: TranslationConfig) -> TranslationConfig:
    """Return the settings of a translation from the source to the source."""
    return config.model_copy(update={"target": config.source})


def permuted(experiment: Experiment, *, seed: int = 0, wells: str | None = None) -> Experiment:
    """Give each image, or each well, the condition of another one at random.

    Parameters
    ----------
    experiment : Experiment
    seed : int
    wells : str, optional
        Pattern that finds the well in the names: images of one well then stay together.

    Returns
    -------
    Experiment
        With the same conditions and, as far as wells are alike in size, as many images in each.

    Raises
    ------
    InputError
        If wells are so few that a condition would be left without images.
    """
    images = [
        (f"{condition.name} {well_of(image.name, wells)}", condition.name, image)
        for condition in experiment.conditions
        for image in condition.images
    ]
    own = {well: name for well, name, _ in images}
    mixed = np.random.default_rng(seed).permutation(list(own.values()))
    given = dict(zip(own, (str(name) for name in mixed), strict=True))
    groups: dict[str, list[Image]] = {name: [] for name in experiment.names}
    for well, name, image in images:
        taken = {other.name for other in groups[given[well]]}
        if image.name in taken:
            # a renamed image is no longer the one in its file
            image = replace(image, name=f"{name}_{image.name}", path=None)
        groups[given[well]].append(image)
    return Experiment.from_images(groups)


def halves(condition: Condition, *, seed: int = 0, wells: str | None = None) -> Experiment:
    """Split one condition at random into two that do not differ, ``NAME_a`` and ``NAME_b``.

    Parameters
    ----------
    condition : Condition
    seed : int
    wells : str, optional
        Pattern that finds the well in the names: images of one well stay together.

    Returns
    -------
    Experiment

    Raises
    ------
    InputError
        With less than two images or wells.
    """
    names = sorted({well_of(image.name, wells) for image in condition.images})
    if len(names) < 2:
        raise InputError(f"{condition.name} has only one image or well: it cannot be split.")
    mixed = np.random.default_rng(seed).permutation(names)
    first = set(mixed[: len(names) // 2])
    parts: tuple[list[Image], list[Image]] = ([], [])
    for image in condition.images:
        parts[well_of(image.name, wells) not in first].append(image)
    return Experiment.from_images(
        {f"{condition.name}_{side}": part for side, part in zip("ab", parts, strict=True)}
    )


def control_experiment(
    kind: Kind, experiment: Experiment, source: str, *, seed: int = 0, wells: str | None = None
) -> Experiment:
    """Give images conditions that do not differ.

    Parameters
    ----------
    kind : {"shuffled", "half-split"}
    experiment : Experiment
        What the run to be judged was trained on.
    source : str
        The condition that is halved.
    seed : int
    wells : str, optional
        Pattern that finds the well in the names: images of one well stay together.

    Returns
    -------
    Experiment
        See `permuted` and `halves`.

    Raises
    ------
    InputError
        If there are too few images or wells.
    """
    if wells is not None:
        check_wells(experiment.images, wells)
    if kind == "shuffled":
        return permuted(experiment, seed=seed, wells=wells)
    return halves(experiment[source], seed=seed, wells=wells)


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


def trained_controls(
    kind: Kind,
    experiment: Experiment,
    train: Callable[[Experiment, int], Translating],
    images: Sequence[Image],
    config: TranslationConfig,
    measured: Measured,
    *,
    repeats: int = 1,
    seed: int = 0,
) -> tuple[Effect, ...]:
    """Train on conditions that do not differ, and measure what is found there nevertheless.

    Parameters
    ----------
    kind : {"shuffled", "half-split"}
    experiment : Experiment
        What the run to be judged was trained on; the halves are of its source condition.
    train : callable
        Given an experiment and a seed, returns a translator that was trained as the run was.
    images, config, measured
        As for `control_effect`.
    repeats : int
        Trainings, each with another permutation or split.
    seed : int

    Returns
    -------
    tuple of Effect
        One per training.
    """
    found = []
    # The wells of the images that are judged are not those of the images that are trained on.
    pattern = measured.wells if isinstance(measured.wells, str) else None
    for number in range(seed, seed + repeats):
        false = control_experiment(kind, experiment, config.source, seed=number, wells=pattern)
        names = {"source": false.names[0], "target": false.names[1]}
        translator = train(false, number)
        found.append(control_effect(translator, images, config.model_copy(update=names), measured))
    return tuple(found)
