"""Prepare a run: choose training and validation images, fit the scaling, collect warnings.

The command line and the viewer both prepare their runs here, so that they give the same warnings
for the same images.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import order_by_name
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count, quoted
from napari_phenldiff.images.wells import known_wells
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.folder import Run

_MOST_VALIDATION, _FEWEST_VALIDATION = 8, 2
_ENOUGH = 20
"""With this many images in every condition, a tenth of them is set aside for validation."""

_FEWEST_WELLS, _MOST_HELD_OUT = 3, 0.4
"""With this many wells in every condition, whole wells are set aside, but no larger part of the
images than this."""


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
    whole, aside = _whole_wells(experiment, config)
    experiment = whole
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
    if aside is None:
        training, validation = _split(experiment, chosen, config)
    else:
        training, validation = chosen, aside.images
        warnings.append(aside.in_words())
    scaling = IntensityScaling.fit(training.images)
    return Prepared(training, validation, scaling, (*chosen.warnings(), *warnings))


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOut:
    """Wells that are not trained on, and images of them that are watched."""

    wells: tuple[str, ...]
    images: Experiment

    def in_words(self) -> str:
        watched = ", ".join(
            f"{len(condition.images)} of {condition.name}" for condition in self.images.conditions
        )
        which = quoted(self.wells, limit=6)
        return (
            f"No image of {count(len(self.wells), 'well')} ({which}) is trained on, so that the "
            f"run can be judged by them; the validation loss is that of some ({watched})."
        )


def _whole_wells(
    experiment: Experiment, config: CommonTraining
) -> tuple[Experiment, _HeldOut | None]:
    """Set whole wells aside where all wells are known: one in ten, of each condition at least one.

    Images of a well that is trained on say less about others. What is asked for by number is drawn
    from all images, and so it is where that would leave too little to train on.
    """
    images = {condition.name: condition.images for condition in experiment.conditions}
    found = {name: known_wells(group) for name, group in images.items()}
    wells = {name: names for name, names in found.items() if names is not None}
    if (
        config.validation_images != "auto"
        or len(wells) < len(images)
        or any(len(group) < _ENOUGH for group in images.values())
        or any(len(set(names)) < _FEWEST_WELLS for names in wells.values())
    ):
        return experiment, None
    held: set[str] = set()
    for name, names in wells.items():
        ordered = sorted(set(names))
        order = order_by_name(name, len(ordered), config.seed)
        number = max(1, len(ordered) // 10) - len(held & set(ordered))
        held |= set([well for k in order if (well := ordered[k]) not in held][: max(number, 0)])
    kept: dict[str, list[Image]] = {}
    watched: dict[str, Sequence[Image]] = {}
    for name, group in images.items():
        out = [image for image, well in zip(group, wells[name], strict=True) if well in held]
        if len(out) > _MOST_HELD_OUT * len(group):
            return experiment, None
        kept[name] = [
            image for image, well in zip(group, wells[name], strict=True) if well not in held
        ]
        watched[name] = _draw(name, out, min(_MOST_VALIDATION, len(out)), config.seed)
    whole = replace(
        Experiment.from_images(kept), left_out=experiment.left_out, remarks=experiment.remarks
    )
    return whole, _HeldOut(tuple(sorted(held)), Experiment.from_images(watched))


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
