"""How bright a channel is in each condition, and one brightness for all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling, OwnRange

_SMOOTHING = 1.0
_MAX_PIXELS, _MOST_PIXELS = 2**16, 2**24
"""Of an image, and of all together; levels of many images need no more."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Typical grey values of a channel.

    Attributes
    ----------
    background, foreground : float
        Medians of the pixels on either side of Otsu's threshold. How much of the images is
        foreground has no influence: fewer cells are not dimmer ones.
    """

    background: float
    foreground: float

    @property
    def contrast(self) -> float:
        """How much brighter the foreground is."""
        return self.foreground - self.background


def levels(images: Iterable[Image], channel: int) -> Levels:
    """Find background and foreground of a channel over all images together.

    Parameters
    ----------
    images : iterable of Image
    channel : int
        Its number.

    Returns
    -------
    Levels
        Of equal values where the channel is the same everywhere.
    """
    from scipy.ndimage import gaussian_filter

    seen = []
    most = _MAX_PIXELS
    if isinstance(images, Sized):
        most = max(1, min(most, _MOST_PIXELS // max(1, len(images))))
    for image in images:
        plane = np.nan_to_num(image.data[channel].astype(np.float32))
        pixels = gaussian_filter(plane, _SMOOTHING).ravel()
        seen.append(pixels[:: -(-pixels.size // most)])
    return levels_of(np.concatenate(seen))


def levels_of(values: np.ndarray) -> Levels:
    """Find background and foreground among values of any shape, see `levels`."""
    from skimage.filters import threshold_otsu

    if values.min() == values.max():
        return Levels(float(values.min()), float(values.min()))
    # skimage takes the last axis of some shapes for colours
    threshold = threshold_otsu(values.ravel())
    above = values > threshold
    return Levels(float(np.median(values[~above])), float(np.median(values[above])))


def with_common_brightness(
    scaling: IntensityScaling,
    images: Mapping[str, Sequence[Image]],
    channels: Collection[str],
) -> IntensityScaling:
    """Give conditions ranges of their own, in which channels are equally bright.

    Parameters
    ----------
    scaling : IntensityScaling
        Of the experiment.
    images : mapping of str to sequence of Image
        By condition.
    channels : collection of str
        Names of those whose background and foreground become the same. The condition with the most
        contrast keeps its range, and the others get one in which theirs lie where that one's do.

    Returns
    -------
    IntensityScaling
        As it was, if there is nothing to do: a channel that is the same everywhere in a
        condition has no brightness to compare.
    """
    low = {name: list(scaling.low) for name in images}
    high = {name: list(scaling.high) for name in images}
    for k, channel in enumerate(scaling.channel_names):
        if channel not in channels:
            continue
        found = {name: levels(group, k) for name, group in images.items()}
        best = max(found.values(), key=lambda one: one.contrast)
        for name, own in found.items():
            if own.contrast <= 0:
                continue
            gain = own.contrast / best.contrast
            low[name][k] = own.background + (scaling.low[k] - best.background) * gain
            high[name][k] = own.background + (scaling.high[k] - best.background) * gain
    own_ranges = tuple(
        OwnRange(name, tuple(low[name]), tuple(high[name]))
        for name in images
        if (tuple(low[name]), tuple(high[name])) != (scaling.low, scaling.high)
    )
    return replace(scaling, own=own_ranges)


def brightness_in_words(scaling: IntensityScaling, channel: str, conditions: Sequence[str]) -> str:
    """Tell how bright a channel is in each condition, for example ``0.43 times as bright in b``."""
    k = scaling.channel_names.index(channel)
    first, *others = conditions
    spans = {}
    for name in conditions:
        ends = scaling.of(name)
        spans[name] = ends.high[k] - ends.low[k]
    told = [f"{spans[name] / spans[first]:.2f} times as bright in {name}" for name in others]
    return f"{' and '.join(told)} as in {first}"
