"""What makes an experiment unfit for training, and what is only worth a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.naming import count, quoted

if TYPE_CHECKING:
    from napari_phenldiff.images.experiment import Experiment

# Fewer images than this per condition are a reason for a warning, not for an error; with fewer than
# the second number it is a mild one.
_FEW_IMAGES, _RATHER_FEW = 20, 50


_FULL_SCALE = frozenset(2**bits - 1 for bits in range(8, 17))
_MUCH_CLIPPED = 0.003
"""Fraction of the pixels of a channel; "enhance contrast" in ImageJ clips 0.0035."""


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


def check_values(experiment: Experiment) -> None:
    """Refuse values that are no numbers, and channels that are constant over all images.

    Raises
    ------
    InputError
        Naming the image or the channel.
    """
    images = experiment.images
    low, high = (
        np.array([reduce(image.data, axis=(1, 2)) for image in images], dtype=np.float64)
        for reduce in (np.min, np.max)
    )  # (images, channels)
    broken = ~np.isfinite(low + high).all(axis=1)
    if broken.any():
        raise InputError(
            f'Image "{images[int(broken.argmax())].name}" has pixels that are infinite or not a '
            "number: replace these, or leave the image out."
        )
    constant = low.min(axis=0) == high.max(axis=0)
    if constant.any():
        raise InputError(
            f'Channel "{experiment.channel_names[int(constant.argmax())]}" has the same value in '
            "all pixels of all images: leave it out, or check that the right files were given."
        )


def warnings_about_files(experiment: Experiment) -> list[str]:
    """Tell of pixel sizes and data types that differ between images."""
    found = []
    # Programs round differently: three digits are enough to be the same.
    sizes = {
        "unknown" if size is None else f"{size[0]:.3g} × {size[1]:.3g} µm"
        for size in (image.pixel_size for image in experiment.images)
    }
    if len(sizes) > 1:
        found.append(
            f"The pixel sizes differ between images ({', '.join(sorted(sizes))}): "
            "make sure that cells have the same size in all of them."
        )
    dtypes = {str(image.data.dtype) for image in experiment.images}
    if len(dtypes) > 1:
        found.append(
            f"The data types differ between images ({', '.join(sorted(dtypes))}): "
            "make sure that their intensities can be compared."
        )
    return found


def warnings_about_numbers(experiment: Experiment) -> list[str]:
    """Tell of conditions with few images."""
    told = (warning_about_number(c.name, len(c.images)) for c in experiment.conditions)
    return [text for text in told if text is not None]


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


def warnings_about_clipping(experiment: Experiment) -> list[str]:
    """Tell of channels with many pixels at the highest value that a camera or a file can give."""
    found = []
    images = experiment.images
    for channel, name in enumerate(experiment.channel_names):
        planes = [image.data[channel] for image in images]
        highest = max(plane.max() for plane in planes)
        if highest not in _FULL_SCALE:
            continue
        part = sum(int((plane == highest).sum()) for plane in planes)
        part /= sum(plane.size for plane in planes)
        if part > _MUCH_CLIPPED:
            found.append(
                f"{part:.1%} of the pixels of channel {name} are clipped: they have the highest "
                f"value there is, {highest:.0f}, so differences among the brightest are lost."
            )
    return found


def warnings_about_copies(experiment: Experiment) -> list[str]:
    """Tell of pixels that are in more than one condition."""
    homes: dict[str, set[str]] = {}
    for condition in experiment.conditions:
        for image in condition.images:
            homes.setdefault(sha256_of_array(image.data), set()).add(condition.name)
    shared = sum(len(names) > 1 for names in homes.values())
    if not shared:
        return []
    verb = "is" if shared == 1 else "are"
    return [f"{count(shared, 'image').capitalize()} {verb} in more than one condition."]
