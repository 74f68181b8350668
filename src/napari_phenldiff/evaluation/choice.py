"""The images that an evaluation uses: how they are chosen, made comparable and cut into tiles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count, some_of
from napari_phenldiff.images.wells import Wells, well_of_image
from napari_phenldiff.measurement.statistics.units import units_of_images
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.settings import in_message

ENOUGH = 6
"""Images of a condition with which a verdict is possible."""

LARGEST_TILE = 256
"""Largest side in pixels of an image that a network gets; larger images are cut into tiles."""


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Images of two conditions that were chosen.

    Attributes
    ----------
    sources : tuple of Image
        To be translated.
    real_source, real_target : tuple of Image
        Real images to compare with, up to twice as many; the sources come first.
    counterparts : tuple of Image or None
        The same cells as `sources` under the target condition, where that is known.
    trained_on, left_out : int
        Images that the run was trained on: among those chosen, and left out because of that.
    calibrated_on, aside : int
        The same for images that guidance and freedom were chosen on.
    more_source, more_target : tuple of Image
        Real images that the run was trained on. How far the conditions differ does not depend on
        what a run has seen, so these are measured as well, and used for nothing else: more wells
        are left to train on then.
    """

    sources: tuple[Image, ...]
    real_source: tuple[Image, ...]
    real_target: tuple[Image, ...]
    counterparts: tuple[Image, ...] | None
    trained_on: int
    left_out: int
    calibrated_on: int = 0
    aside: int = 0
    more_source: tuple[Image, ...] = ()
    more_target: tuple[Image, ...] = ()

    @property
    def measured(self) -> tuple[tuple[Image, ...], tuple[Image, ...]]:
        """All real images of source and target that are measured, those that are judged first."""
        return (*self.real_source, *self.more_source), (*self.real_target, *self.more_target)


def choose(
    experiment: Experiment,
    trained: Collection[str],
    n_images: int,
    *,
    with_trained: bool = False,
    calibrated: Collection[str] = (),
    paired: bool = False,
    wells: Wells | None = None,
    seed: int = 0,
) -> Chosen:
    """Choose images to translate and to compare with, evenly over wells.

    Parameters
    ----------
    experiment : Experiment
        Source and target condition.
    trained : collection of str
        Hashes of the pixels of the images that the run was trained on.
    n_images : int
        To translate; the others are twice as many, if there are.
    with_trained : bool
        Whether those that were trained on may be chosen as well.
    calibrated : collection of str
        Hashes of those that guidance and freedom were chosen on. They are left out as well where
        `ENOUGH` others remain.
    paired : bool
        Whether images of the same name show the same cells.
    wells : str or mapping of str to str, optional
        Pattern that finds the well in the names, see `wells_by_pattern`, or the well of each name.
    seed : int

    Returns
    -------
    Chosen

    Raises
    ------
    InputError
        If fewer than two images of a condition are left, or no pairs.
    """
    if n_images < 2:
        raise InputError(f"{count(n_images, 'image')} cannot be evaluated with: take at least 2.")
    groups: list[list[Image]] = []
    more: list[tuple[Image, ...]] = []
    left_out = known = aside = 0
    for condition in experiment.conditions[:2]:
        seen = [image.sha256 in trained for image in condition.images]
        usable = [
            image
            for image, old in zip(condition.images, seen, strict=True)
            if with_trained or not old
        ]
        left_out += 0 if with_trained else sum(seen)
        if len(usable) < 2:
            if not any(seen):
                raise InputError(f"Of {condition.name} there is only one image: give at least two.")
            raise InputError(
                f"The run was trained on {some_of(sum(seen), len(seen), 'image')} of "
                f"{condition.name}: give at least two others, or take these as well with "
                f"{in_message(EvaluationConfig, 'trained_too')}, which shows less."
            )
        others = [image for image in usable if image.sha256 not in calibrated]
        if len(others) >= ENOUGH:
            aside += len(usable) - len(others)
            usable = others
        groups.append(_evenly(usable, wells, seed))
        old_ones = [image for image, old in zip(condition.images, seen, strict=True) if old]
        some = () if with_trained or paired else _evenly(old_ones, wells, seed)[:n_images]
        more.append(tuple(some))
    source, target = groups
    counterparts: tuple[Image, ...] | None = None
    if paired:
        by_name = {image.name: image for image in target}
        source = [image for image in source if image.name in by_name]
        if len(source) < 2:
            raise InputError(
                "No two images have the same name in both conditions, as "
                f"{in_message(EvaluationConfig, 'paired')} needs; leave it out."
            )
        counterparts = tuple(by_name[image.name] for image in source[:n_images])
        shown = {image.name for image in source[:n_images]}
        # sets of different cells, for the distances between sets
        other = [image for image in target if image.name not in shown]
        target = other if len(other) >= 2 else target
    chosen = Chosen(
        tuple(source[:n_images]),
        tuple(source[: 2 * n_images]),
        tuple(target[: 2 * n_images]),
        counterparts,
        0,
        left_out,
        more_source=more[0],
        more_target=more[1],
    )
    if with_trained:
        for image in (*chosen.real_source, *chosen.real_target):
            known += image.sha256 in trained
    tuned = sum(image.sha256 in calibrated for image in (*chosen.real_source, *chosen.real_target))
    return replace(chosen, trained_on=known, calibrated_on=tuned, aside=aside)


def tile_side(images: Sequence[Image]) -> int:
    """Give the side in pixels of the largest tiles that all images can be cut into."""
    return min(LARGEST_TILE, *(min(image.shape) for image in images))


def cut_tiles(images: Sequence[Image], side: int) -> tuple[list[np.ndarray], list[str]]:
    """Cut images into whole tiles side by side.

    Parameters
    ----------
    images : sequence of Image
    side : int
        Of a tile in pixels, no more than any image has.

    Returns
    -------
    tiles : list of numpy.ndarray of shape (C, side, side)
    names : list of str
        Of the image of each tile.
    """
    tiles, names = [], []
    for image in images:
        height, width = image.shape
        for y in range(0, height - side + 1, side):
            for x in range(0, width - side + 1, side):
                tiles.append(image.data[:, y : y + side, x : x + side])
                names.append(image.name)
    return tiles, names


def as_bright_as_source(
    chosen: Chosen, scaling: IntensityScaling, translation: TranslationConfig, notes: list[str]
) -> Chosen:
    """Show real target images as bright as the source, where brightness was a batch effect.

    A translated image keeps the brightness of its source in these channels. Held against images as
    they are, it would lack what nobody wants to see.
    """
    source, target = translation.source, translation.target
    normalised = scaling.normalised
    if not normalised or source == target:
        return chosen

    def shown(images: Sequence[Image]) -> tuple[Image, ...]:
        return tuple(scaling.regrade(image, target, source) for image in images)

    notes.append(
        f"{', '.join(normalised)} of real {target} images is shown in the brightness of {source}: "
        "in the training its difference was taken for a batch effect."
    )
    counterparts = chosen.counterparts
    return replace(
        chosen,
        real_target=shown(chosen.real_target),
        more_target=shown(chosen.more_target),
        counterparts=None if counterparts is None else shown(counterparts),
    )


def trained_wells(training: Callable[[], Experiment], wells: Wells | None) -> set[str]:
    """Name the wells of the images that were trained on; none if they cannot be read.

    Parameters
    ----------
    training : callable
        Gives the images that were trained on.
    wells : str or None
        Pattern that finds the well in the names; None for what the names tell themselves.
    """
    try:
        images = training().images
        found = wells if wells is not None else units_of_images(images).wells
        return {well_of_image(image, found) for image in images}
    except InputError:
        return set()


def _evenly(images: Sequence[Image], wells: Wells | None, seed: int) -> list[Image]:
    """Order images at random, one of each well before a second of any."""
    ordered = sorted(images, key=lambda image: image.name)
    mixed = [ordered[i] for i in np.random.default_rng(seed).permutation(len(ordered))]
    seen: dict[str, int] = {}
    turns = []
    for image in mixed:
        well = well_of_image(image, wells) if wells else ""
        turns.append(seen.get(well, 0) if wells else 0)
        seen[well] = seen.get(well, 0) + 1
    return [mixed[i] for i in np.argsort(turns, kind="stable")]
