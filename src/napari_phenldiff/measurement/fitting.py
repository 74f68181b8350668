"""Thresholds of a profile: one for a whole experiment, or one in each image."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.channels import with_channels
from napari_phenldiff.measurement.interface import Channel, Profile, measurable_plane
from napari_phenldiff.measurement.pixels import GreyLevels, PixelPool, PixelSample
from napari_phenldiff.measurement.segment import SegmentationSettings, grey_levels
from napari_phenldiff.measurement.threshold import Settings, fit_threshold


def fit_thresholds(
    profile: Profile[Any], images: Iterable[Image], settings: Settings
) -> dict[str, float]:
    """Find the thresholds for a whole experiment.

    Parameters
    ----------
    profile : Profile
    images : iterable of Image
        Gone through once. Images that cannot be measured are left out.
    settings : Settings
        Settings of the profile.

    Returns
    -------
    dict of str to float
        For each part that the profile cuts out with one threshold for the experiment. NaN if
        none can be found in these images.
    """
    images = iter(images)
    first = list(islice(images, 1))
    settings = with_channels(profile, settings, (image.channel_names for image in first))
    fit = ThresholdFit(profile, settings)
    for image in chain(first, images) if fit.parts else ():
        fit.add(draw_samples(image, fit.parts, fit.fractions))
    return fit.thresholds()


class ThresholdFit:
    """Thresholds for an experiment, from samples of its images in their order.

    Parameters
    ----------
    profile : Profile
    settings : Settings
        Settings of the profile.

    Attributes
    ----------
    parts : dict of str to (channel, SegmentationSettings)
        What pixels are needed of. A threshold that is a number needs none.
    """

    def __init__(self, profile: Profile[Any], settings: Settings) -> None:
        self._all = fitted_parts(profile, settings)
        self.parts = {n: p for n, p in self._all.items() if isinstance(p[1].threshold.method, str)}
        self._pools = {name: PixelPool() for name in self._all}

    @property
    def fractions(self) -> dict[str, float]:
        """The part of each image that is kept by now; it only falls."""
        return {name: pool.fraction for name, pool in self._pools.items()}

    def add(self, samples: Mapping[str, PixelSample]) -> None:
        """Add what `draw_samples` has drawn from an image, with these fractions or larger ones."""
        for name, sample in samples.items():
            self._pools[name].add(sample)

    def thresholds(self) -> dict[str, float]:
        """Find the thresholds; NaN where none can be found."""
        return {
            name: fit_threshold(self._pools[name].levels, segmentation.threshold)
            for name, (_, segmentation) in self._all.items()
        }


def draw_samples(
    image: Image,
    parts: Mapping[str, tuple[Channel, SegmentationSettings]],
    fractions: Mapping[str, float],
) -> dict[str, PixelSample]:
    """Draw the pixels of an image that a threshold for the experiment is found in.

    Parameters
    ----------
    image : Image
    parts : mapping of str to (channel, SegmentationSettings)
    fractions : mapping of str to float
        How much of the image is drawn for each part.

    Returns
    -------
    dict of str to PixelSample
        Without the parts that cannot be measured in this image.
    """
    drawn = {}
    for name, (channel, segmentation) in parts.items():
        values = _measurable_pixels(image, channel, segmentation)
        if values is not None:
            drawn[name] = PixelSample.of(values, fractions[name])
    return drawn


def threshold_basis(profile: Profile[Any], settings: Settings) -> tuple[tuple[str, Hashable], ...]:
    """Return all that the thresholds for an experiment depend on, apart from its images.

    Pairs of the name of a part and what its threshold depends on; settings of which these are
    equal have the same thresholds.
    """
    return tuple(
        (
            name,
            (
                channel,
                segmentation.background_radius,
                segmentation.threshold.model_copy(update={"smoothing": 0.0, "adaptive_window": 0}),
            ),
        )
        for name, (channel, segmentation) in fitted_parts(profile, settings).items()
    )


def fitted_parts(
    profile: Profile[Any], settings: Settings
) -> dict[str, tuple[Channel, SegmentationSettings]]:
    """Return the parts of a profile that have one threshold for the experiment."""
    return {
        name: part
        for name, part in profile.segmented(settings).items()
        if part[1].threshold.scope == "experiment" and part[1].segmenter is None
    }


def complete_thresholds(
    profile: Profile[Any], image: Image, settings: Settings, thresholds: Mapping[str, float]
) -> dict[str, float]:
    """Add the thresholds that are found in each image to those of the experiment.

    Infinite where there is none since something else cuts the objects out.

    Raises
    ------
    InputError
        If the image lacks a channel that the settings name.
    """
    complete = dict(thresholds)
    for name, (channel, segmentation) in profile.segmented(settings).items():
        if segmentation.segmenter is not None:
            # Nothing is thresholded, and nothing is missing either.
            complete[name] = math.inf
        elif name not in complete:
            values = _measurable_pixels(image, channel, segmentation)
            empty = np.empty(0)
            complete[name] = fit_threshold(
                empty if values is None else values, segmentation.threshold
            )
    return complete


def _measurable_pixels(
    image: Image, channel: Channel, segmentation: SegmentationSettings
) -> np.ndarray | GreyLevels | None:
    """Pixels to find a threshold in; None if the image or its channel cannot be measured."""
    try:
        plane, reason = measurable_plane(image, channel)
    except InputError:
        return None
    return None if reason else grey_levels(plane, segmentation)
