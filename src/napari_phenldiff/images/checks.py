"""What makes images unfit for training, translating and measuring; `survey` has the warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count, quoted

if TYPE_CHECKING:
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.images.image import Image

NOT_FINITE = "values that are not finite (infinite or not a number)"
"""How every command tells of them."""

# Fewer images than this per condition are a reason for a warning, not for an error; with fewer than
# the second number it is a mild one.
_FEW_IMAGES, _RATHER_FEW = 20, 50

_SMALLEST_SIDE = 8
"""Pixels; networks halve the side of an image several times."""


def check_numbers(experiment: Experiment) -> None:
    """Refuse fewer than two conditions, or fewer than two images in one.

    Raises
    ------
    InputError
        Naming the condition.
    """
    if len(experiment.conditions) < 2:
        raise InputError(
            f"There is only one condition, {quoted(experiment.names)}: "
            "at least two are needed, a source and a target."
        )
    for condition in experiment.conditions:
        if len(condition.images) < 2:
            raise InputError(
                f'Condition "{condition.name}" has only one image: '
                "give at least 2, better 50 to 200."
            )


def check_channels(experiment: Experiment) -> None:
    """Refuse images whose channels are not those of the first image, and channels of one name.

    Raises
    ------
    InputError
        Naming the image, and what differs.
    """
    first = experiment.conditions[0].images[0]
    known = f'image "{first.name}" of condition "{experiment.names[0]}" has'
    for name in first.channel_names:
        if first.channel_names.count(name) > 1:
            raise InputError(
                f'Two channels are called "{name}" in {known.removesuffix(" has")}: give each '
                "channel a name of its own."
            )
    for condition in experiment.conditions:
        for image in condition.images:
            this = f'Image "{image.name}" of condition "{condition.name}" has'
            if image.n_channels != first.n_channels:
                raise InputError(
                    f"{this} {count(image.n_channels, 'channel')} but {known} "
                    f"{first.n_channels}: all images need the same channels."
                )
            if image.channel_names != first.channel_names:
                raise InputError(
                    f"{this} the channels {quoted(image.channel_names)} but {known} "
                    f"{quoted(first.channel_names)}: give all images the same channels, under the "
                    "same names."
                )


@dataclass(frozen=True, slots=True, eq=False)
class Extremes:
    """What values the channels of an image have.

    Attributes
    ----------
    low, high : numpy.ndarray of shape (C,), float64
        Lowest and highest value of each channel.
    finite : numpy.ndarray of shape (C,), bool
        Whether all values of a channel are finite.
    """

    low: np.ndarray
    high: np.ndarray
    finite: np.ndarray


def extremes_of(image: Image) -> Extremes:
    """Find the extremes of the channels of an image, see `Image.told`."""
    low, high = (reduce(image.data, axis=(1, 2)).astype(np.float64) for reduce in (np.min, np.max))
    # A value that is not finite is an extreme itself: min and max carry NaN on.
    return Extremes(low, high, np.isfinite(low) & np.isfinite(high))


def check_size(image: Image) -> None:
    """Refuse an image too small to show anything that a model could learn or change.

    Raises
    ------
    InputError
        Naming the image and its size.
    """
    height, width = image.shape
    if min(height, width) < _SMALLEST_SIDE:
        raise InputError(
            f'Image "{image.name}" has {height} × {width} px, and a model needs at least '
            f"{_SMALLEST_SIDE} × {_SMALLEST_SIDE}: give images that show whole cells, or leave it "
            "out."
        )


def check_finite(image: Image) -> None:
    """Refuse pixels that are infinite or not a number: nothing can be learned or told of them.

    Raises
    ------
    InputError
        Naming the image and the channels.
    """
    if image.dtype.kind != "f":
        return
    whole = image.told(extremes_of).finite
    if not whole.all():
        broken = [name for name, good in zip(image.channel_names, whole, strict=True) if not good]
        raise InputError(
            f'Image "{image.name}" holds {NOT_FINITE} in '
            f"{'channel' if len(broken) == 1 else 'channels'} {quoted(broken)}: replace these, or "
            "leave the image out."
        )


def check_values(experiment: Experiment) -> None:
    """Refuse values that are no numbers, and channels that are constant over all images.

    Raises
    ------
    InputError
        Naming the image or the channel.
    """
    images = experiment.images
    for image in images:
        check_finite(image)
    found = [image.told(extremes_of) for image in images]
    low = np.array([one.low for one in found]).min(axis=0)
    high = np.array([one.high for one in found]).max(axis=0)
    constant = low == high
    if constant.any():
        raise InputError(
            f'Channel "{experiment.channel_names[int(constant.argmax())]}" has the same value in '
            "all pixels of all images: leave it out (--channels names those to take), or check "
            "that the right files were given."
        )


def warning_about_number(condition: str, images: int) -> str | None:
    """Tell whether these are few images for a condition; None if they are enough."""
    if images < _FEW_IMAGES:
        return (
            f'Condition "{condition}" has only {count(images, "image")}: 50 to 200 are better, '
            "and fewer are soon memorised."
        )
    if images < _RATHER_FEW:
        return f'Condition "{condition}" has {count(images, "image")}: 50 to 200 show more.'
    return None
