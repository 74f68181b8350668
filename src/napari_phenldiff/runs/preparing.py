"""Prepare a run: choose training and validation images, fit the scaling, collect warnings.

The command line and the viewer both prepare their runs here, so that they give the same warnings
for the same images.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

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

_FEWEST_WELLS, _MOST_HELD_OUT = 3, 0.5
"""With this many wells in every condition, whole wells are set aside, but no larger part of a
condition's images than this, unless more are asked for."""

WELLS_OF_A_VERDICT = 4
"""Wells of a condition that the rank tests of an evaluation need to give p below 0.05."""


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
    """Wells that are not trained on, and images of them that are watched, if any."""

    wells: tuple[str, ...]
    images: Experiment | None

    def in_words(self) -> str:
        which = quoted(self.wells, limit=6)
        text = (
            f"No image of {count(len(self.wells), 'well')} ({which}) is trained on, so that the "
            "run can be judged by them"
        )
        if self.images is None:
            return f"{text}."
        watched = ", ".join(
            f"{len(condition.images)} of {condition.name}" for condition in self.images.conditions
        )
        return f"{text}; the validation loss is that of some ({watched})."


def _whole_wells(
    experiment: Experiment, config: CommonTraining
) -> tuple[Experiment, _HeldOut | None]:
    """Set whole wells aside where all wells are known, as many as `held_out_wells` says.

    Images of a well that is trained on say less about others. Validation images that are asked for
    by number alone are drawn from all images, and so they are where holding out wells would leave
    too little to train on.

    Raises
    ------
    InputError
        If wells are asked for by number, and are not known, or would all be held out.
    """
    asked = config.held_out_wells
    images = {condition.name: condition.images for condition in experiment.conditions}
    found = {name: known_wells(group) for name, group in images.items()}
    wells = {name: names for name, names in found.items() if names is not None}
    if asked == 0 or (
        asked == "auto"
        and (
            config.validation_images != "auto"
            or len(wells) < len(images)
            or any(len(group) < _ENOUGH for group in images.values())
            or any(len(set(names)) < _FEWEST_WELLS for names in wells.values())
        )
    ):
        return experiment, None
    if asked != "auto":
        for name in images:
            _check_wells(name, wells.get(name), asked)
        return _without(experiment, wells, _held(wells, asked, config.seed), config)
    for number in (WELLS_OF_A_VERDICT, 1):
        held = _held(wells, number, config.seed, part=0.1)
        if all(
            sum(well in held for well in names) <= _MOST_HELD_OUT * len(names)
            for names in wells.values()
        ):
            return _without(experiment, wells, held, config)
    return experiment, None


def _held(
    known: Mapping[str, Sequence[str]], number: int, seed: int, part: float = 0.0
) -> set[str]:
    """Choose so many wells of each condition at random, or this part of them if that is more.

    They are taken from all plates in turn, from the same ones in every condition: otherwise one
    condition could be trained on one plate and the other on another, and what differs between
    plates would be learned as the effect.
    """
    held: set[str] = set()
    plates = {name: set(map(_plate_of, names)) for name, names in known.items()}
    every = sorted(set().union(*plates.values()))
    drawn = [every[k] for k in order_by_name("plates", len(every), seed)]
    drawn.sort(key=lambda plate: not all(plate in some for some in plates.values()))
    for name, names in known.items():
        ordered = sorted(set(names))
        missing = max(number, int(part * len(ordered))) - len(held & set(ordered))
        queues: dict[str, list[str]] = {plate: [] for plate in drawn}
        for k in order_by_name(name, len(ordered), seed):
            if ordered[k] not in held:
                queues[_plate_of(ordered[k])].append(ordered[k])
        in_turn = [well for turn in zip_longest(*queues.values()) for well in turn if well]
        held |= set(in_turn[: max(missing, 0)])
    return held


def _plate_of(well: str) -> str:
    """Return what stands before a well in its name: its plate or repeat, if there are several."""
    return well.rpartition(" ")[0]


def _without(
    experiment: Experiment,
    known: Mapping[str, Sequence[str]],
    held: set[str],
    config: CommonTraining,
) -> tuple[Experiment, _HeldOut]:
    """Return an experiment without some wells, and these, some of whose images are watched."""
    most = config.validation_images
    most = _MOST_VALIDATION if most == "auto" else most
    kept: dict[str, list[Image]] = {}
    watched: dict[str, Sequence[Image]] = {}
    for condition in experiment.conditions:
        name = condition.name
        images = list(zip(condition.images, known[name], strict=True))
        kept[name] = [image for image, well in images if well not in held]
        if len(kept[name]) < 2:
            raise InputError(
                f"Holding out {count(len(held), 'well')} leaves {name} with fewer than two "
                "images to train on; hold out fewer wells, or give more images."
            )
        out = [image for image, well in images if well in held]
        watched[name] = _draw(name, out, min(most, len(out)), config.seed)
    whole = replace(
        Experiment.from_images(kept), left_out=experiment.left_out, remarks=experiment.remarks
    )
    some = Experiment.from_images(watched) if most else None
    return whole, _HeldOut(tuple(sorted(held)), some)


def _check_wells(condition: str, wells: Sequence[str] | None, asked: int) -> None:
    if wells is None:
        raise InputError(
            f"{count(asked, 'well')} of each condition shall be held out, but the wells of "
            f"{condition} are not known: neither a table nor all names of its images "
            "(such as B02) tell them."
        )
    if len(set(wells)) <= asked:
        raise InputError(
            f"{count(asked, 'well')} of each condition shall be held out, but {condition} has "
            f"{count(len(set(wells)), 'well')}, and at least one is needed to train on."
        )


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
