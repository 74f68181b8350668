"""Prepare a run: choose training and validation images, fit the scaling, collect warnings.

The command line and the viewer both prepare their runs here, so that they give the same warnings
for the same images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.folder import Run

_MOST_VALIDATION, _FEWEST_VALIDATION = 8, 2
_ENOUGH = 20
"""With this many images in every condition, a tenth of them is set aside for validation."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Images and scaling for a new run.

    Attributes
    ----------
    training : Experiment
        The training images.
    validation : Experiment or None
        Validation images of the same conditions, which are not trained on.
    scaling : IntensityScaling
        Scaling fitted to the training images.
    warnings : tuple of str
        Warnings for the user.
    """

    training: Experiment
    validation: Experiment | None
    scaling: IntensityScaling
    warnings: tuple[str, ...]

    def make_run(self, path: str | os.PathLike[str], config: AnyTrainingConfig) -> Run:
        """Create the run folder.

        Raises
        ------
        InputError
            If the folder is not empty.
        """
        return Run.from_experiment(
            path,
            config,
            experiment=self.training,
            scaling=self.scaling,
            validation=self.validation,
        )


def prepare(experiment: Experiment, config: CommonTraining) -> Prepared:
    """Choose the images of a run and fit their intensity scaling.

    Parameters
    ----------
    experiment : Experiment
        Exactly the conditions of `config`, with all images.
    config : CommonTraining
        Settings, with the numbers of training and validation images.

    Raises
    ------
    InputError
        If the images cannot be trained on.
    """
    experiment.check()
    warnings: list[str] = []
    wanted = config.images_per_condition
    chosen = experiment
    if wanted is not None:
        warnings += [
            f"Condition {condition.name} has only {count(len(condition.images), 'image')}; all of "
            "them are used."
            for condition in experiment.conditions
            if len(condition.images) < wanted
        ]
        chosen = experiment.subset(wanted, config.seed)
        chosen.check()
    training, validation = _split(experiment, chosen, config)
    scaling = IntensityScaling.fit(training.images)
    return Prepared(training, validation, scaling, (*chosen.warnings(), *warnings))


def _split(
    experiment: Experiment, chosen: Experiment, config: CommonTraining
) -> tuple[Experiment, Experiment | None]:
    """Set validation images aside: those that were not chosen, or else some of the chosen ones."""
    training: dict[str, Sequence[Image]] = {}
    held_out: dict[str, Sequence[Image]] = {}
    enough = all(len(condition.images) >= _ENOUGH for condition in chosen.conditions)
    for condition in chosen.conditions:
        name, images = condition.name, condition.images
        names = {image.name for image in images}
        left = [image for image in experiment[name].images if image.name not in names]
        if config.validation_images == "auto":
            spare = (
                min(_MOST_VALIDATION, max(_FEWEST_VALIDATION, len(images) // 10)) if enough else 0
            )
            some, more = (min(_MOST_VALIDATION, len(left)), 0) if left else (0, spare)
        else:
            some = min(config.validation_images, len(left))
            more = config.validation_images - some
        if len(images) - more < 2:
            raise InputError(
                f"Condition {name} has {count(len(images), 'image')}: {more} for validation leave "
                "fewer than two to train on; use fewer, or give more images."
            )
        aside = _draw(name, images, more, config.seed)
        held_out[name] = [*_draw(name, left, some, config.seed), *aside]
        training[name] = [image for image in images if image not in aside]
    if not all(held_out.values()):
        return chosen, None
    return Experiment.from_images(training), Experiment.from_images(held_out)


def _draw(condition: str, images: Sequence[Image], number: int, seed: int) -> tuple[Image, ...]:
    if number == 0:
        return ()
    return Experiment.from_images({condition: images}).subset(number, seed)[condition].images
