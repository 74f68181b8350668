"""Training and test images of a benchmark: the same for all methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import Chosen, choose
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.wells import check_wells, well_of


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The images of a benchmark.

    Attributes
    ----------
    training : Experiment
        What every method is trained on.
    test : Chosen
        What is translated, and real images to compare with: none was trained on.
    other_target : tuple of Image
        Real target images of the training set, as many as are translated. They stand for a perfect
        method: no method is compared with them.
    scaling : IntensityScaling
        Of the training images.
    """

    training: Experiment
    test: Chosen
    other_target: tuple[Image, ...]
    scaling: IntensityScaling


def prepare_data(
    experiment: Experiment,
    *,
    images_per_condition: int = 100,
    test_images: int = 40,
    wells: str | None = None,
    crop: int | None = None,
    seed: int = 0,
) -> Data:
    """Split two conditions into training and test images.

    Parameters
    ----------
    experiment : Experiment
        Source and target condition.
    images_per_condition, test_images, wells, crop, seed
        See `BenchmarkConfig`.

    Returns
    -------
    Data

    Raises
    ------
    InputError
        If fewer than two images of a condition would be trained on or be left, or if images are
        smaller than the crop.
    """
    experiment.check()
    training, test = split(experiment, images_per_condition, wells=wells, seed=seed)
    chosen = choose(test, (), test_images, wells=wells, seed=seed)
    others = training.subset(len(chosen.sources), seed).conditions[1].images
    parts: Mapping[str, Sequence[Image]] = {
        "sources": chosen.sources,
        "real_source": chosen.real_source,
        "real_target": chosen.real_target,
    }
    cut = {name: tuple(middle(i, crop) for i in images) for name, images in parts.items()}
    return Data(
        training,
        replace(chosen, **cut),  # type: ignore[arg-type]
        tuple(middle(image, crop) for image in others),
        IntensityScaling.fit(training.images),
    )


def split(
    experiment: Experiment, n: int, *, wells: str | None = None, seed: int = 0
) -> tuple[Experiment, Experiment]:
    """Split every condition into images to train on and images to test with.

    Images of one name, or of one well, are wholly on one side, in both conditions.

    Parameters
    ----------
    experiment : Experiment
    n : int
        Images of each condition to train on, at most: of a condition with fewer than 4/3 of them,
        all conditions give three quarters of the smallest.
    wells : str, optional
        Pattern that finds the well in the names.
    seed : int

    Returns
    -------
    training, test : Experiment

    Raises
    ------
    InputError
        If a side of a condition would have fewer than two images.
    """
    if wells is not None:
        check_wells((image.name for image in experiment.images), wells)
    smallest = min(len(condition.images) for condition in experiment.conditions)
    n = min(n, smallest * 3 // 4)
    members: dict[str, dict[str, list[Image]]] = {}
    for condition in experiment.conditions:
        for image in condition.images:
            well = members.setdefault(well_of(image.name, wells), {})
            well.setdefault(condition.name, []).append(image)
    training: dict[str, list[Image]] = {name: [] for name in experiment.names}
    test: dict[str, list[Image]] = {name: [] for name in experiment.names}
    left = {c.name: len(c.images) for c in experiment.conditions}
    for well in np.random.default_rng(seed).permutation(sorted(members)):
        groups = members[str(well)]
        # the first well is taken even if it has too many, and never the last one
        room = all(
            (len(training[name]) + len(images) <= n or not training[name])
            and left[name] - len(images) >= 2
            for name, images in groups.items()
        )
        for name, images in groups.items():
            (training if room else test)[name] += images
            left[name] -= len(images) if room else 0
    for name in experiment.names:
        for side, what in ((training, "train on"), (test, "test with")):
            if len(side[name]) < 2:
                raise InputError(
                    f"{name} has fewer than two images to {what} once its images (or wells) are "
                    "divided: give more."
                )
    return Experiment.from_images(training).subset(n, seed), Experiment.from_images(test)


def middle(image: Image, side: int | None) -> Image:
    """Return the middle of an image, a square of so many pixels.

    Raises
    ------
    InputError
        If the image is smaller.
    """
    if side is None:
        return image
    if min(image.shape) < side:
        raise InputError(
            f"{image.name} has {image.shape[0]} x {image.shape[1]} pixels, fewer than "
            f"--crop {side}."
        )
    y, x = ((length - side) // 2 for length in image.shape)
    return replace(image, data=image.data[:, y : y + side, x : x + side], path=None)
