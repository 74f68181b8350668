"""Images with false conditions, on which a run is trained to see what it invents."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Condition, Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.wells import check_wells, well_of

Kind = Literal["shuffled", "half-split"]


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
        check_wells((image.name for image in experiment.images), wells)
    if kind == "shuffled":
        return permuted(experiment, seed=seed, wells=wells)
    return halves(experiment[source], seed=seed, wells=wells)
