"""Thresholds of a profile: one for a whole experiment, or one in each image."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.channels import with_channels
from napari_phenldiff.measurement.profiles.profile import Channel, Profile, measurable_plane
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings, grey_levels
from napari_phenldiff.measurement.segmentation.thresholds import (
    _MOST_LEVELS,
    FewPixels,
    GreyLevels,
    Settings,
    decided_by_few,
    fit_threshold,
)


@dataclass(frozen=True, slots=True, eq=False)
class PixelSample:
    """The grey values of an image, or of some of its pixels, drawn at random.

    The draw is one that the pixels alone decide: the same image gives the same sample, wherever
    and in whatever order images are looked at; a smaller sample is part of each larger one.

    Parameters
    ----------
    values : numpy.ndarray of shape (N,), float64
        In the order of the image while all are kept, else in the order of the draw.
    size : int
        Number of pixels of the image.
    counts : numpy.ndarray of shape (N,), float64, optional
        How often each value occurs, if they were counted. Such a sample is whole.
    where : str
        The image, in words.
    """

    values: np.ndarray
    size: int
    counts: np.ndarray | None = None
    where: str = ""

    @classmethod
    def of(cls, values: np.ndarray | GreyLevels, fraction: float = 1.0) -> PixelSample:
        """Draw a sample from the pixels of an image, or take their counts."""
        if isinstance(values, GreyLevels):
            return cls(values.values, round(values.counts.sum()), values.counts)
        values = np.ascontiguousarray(values, dtype=np.float64).ravel()
        return cls(values, values.size).thinned(fraction)

    def thinned(self, fraction: float) -> PixelSample:
        """Return the sample that has this fraction of the image's pixels, if it is smaller."""
        kept = round(self.size * fraction)
        if self.counts is not None or kept >= self.values.size:
            return self
        values = self.values
        if values.size == self.size:
            # At random, since every n-th pixel could always lie in the same columns.
            rng = np.random.default_rng(zlib.crc32(values.tobytes()))
            values = values[rng.permutation(self.size)[:kept]]
        return PixelSample(values[:kept].copy(), self.size, where=self.where)


class PixelPool:
    """Grey values of many images for one threshold, in memory that does not grow with their number.

    Whole numbers are counted. Of other images every pixel is kept until the limit is reached;
    from then on a random half of each image, then a quarter, and so on, the same ones for the same
    images, each of which stands for as many more.

    Parameters
    ----------
    limit : int
        Largest number of pixels that is kept.
    """

    def __init__(self, limit: int = 2**23) -> None:
        self._limit = limit
        self._counted: list[PixelSample] = []
        self._count_of_counted = 0
        self._samples: list[PixelSample] = []
        self._count = 0
        self._fraction = 1.0
        self._brightest = -math.inf, ""

    @property
    def brightest(self) -> tuple[float, str]:
        """The highest value that was added, and the image that it is in, in words."""
        return self._brightest

    @property
    def fraction(self) -> float:
        """The part of each image that is kept by now; it only falls."""
        return self._fraction

    def add(self, values: np.ndarray | GreyLevels | PixelSample) -> None:
        """Add the pixels of an image, or a sample of at least `fraction` of them."""
        sample = values if isinstance(values, PixelSample) else PixelSample.of(values)
        top = float(sample.values.max(initial=-math.inf))
        if top > self._brightest[0]:
            self._brightest = top, sample.where
        if sample.counts is not None:
            self._counted.append(sample)
            self._count_of_counted += sample.values.size
            if self._count_of_counted > _MOST_LEVELS:
                self._counted = [PixelSample.of(_together(self._counted))]
                # Images of one detector share their levels; those of many scales may have more.
                self._count_of_counted = 0
            return
        sample = sample.thinned(self._fraction)
        self._samples.append(sample)
        self._count += sample.values.size
        while self._count > self._limit:
            self._fraction /= 2
            self._samples = [kept.thinned(self._fraction) for kept in self._samples]
            self._count = sum(kept.values.size for kept in self._samples)

    @property
    def levels(self) -> GreyLevels:
        """The grey values that were kept, each counted for as many pixels as it stands for."""
        return _together([*self._counted, *self._samples])


def _together(samples: list[PixelSample]) -> GreyLevels:
    """Count the values of several samples."""
    values = [sample.values for sample in samples]
    counts = [
        sample.counts
        if sample.counts is not None
        else np.full(sample.values.size, sample.size / max(sample.values.size, 1))
        for sample in samples
    ]
    return GreyLevels.of(
        np.concatenate([np.empty(0), *values]), np.concatenate([np.empty(0), *counts])
    )


def fit_thresholds(
    profile: Profile[Any],
    images: Iterable[Image],
    settings: Settings,
    on_doubt: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """Find the thresholds for a whole experiment.

    Parameters
    ----------
    profile : Profile
    images : iterable of Image
        Gone through once. Images that cannot be measured are left out.
    settings : Settings
        Settings of the profile.
    on_doubt : callable, optional
        Told in a sentence what may be wrong with a threshold.

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
    return fit.thresholds(on_doubt)


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

    def thresholds(self, on_doubt: Callable[[str], None] | None = None) -> dict[str, float]:
        """Find the thresholds; NaN where none can be found.

        Parameters
        ----------
        on_doubt : callable, optional
            Told in a sentence what may be wrong with a threshold.
        """
        found = {}
        for name, (_, segmentation) in self._all.items():
            levels = self._pools[name].levels
            found[name] = fit_threshold(levels, segmentation.threshold)
            few = on_doubt and decided_by_few(levels, segmentation.threshold, found[name])
            if on_doubt and few:
                on_doubt(_in_words(name, few, self._pools[name].brightest))
        return found


def _in_words(name: str, few: FewPixels, brightest: tuple[float, str]) -> str:
    top, where = brightest
    them = "the brightest one" if few.number == 1 else f"the {few.number} brightest"
    return (
        f"The threshold of the {name} is {few.found:.4g}, but {few.without:.4g} without {them} of "
        f"{few.of} pixels (the brightest, {top:.6g}, is in {where or 'an image without a name'}): "
        "so few decide it for all images. Give the threshold as a number, or remove these pixels, "
        "if they are hot pixels or dirt."
    )


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
    # With its folder, since images of two conditions may have the same name.
    where = "/".join(image.path.parts[-2:]) if image.path is not None else image.name
    for name, (channel, segmentation) in parts.items():
        values = _measurable_pixels(image, channel, segmentation)
        if values is not None:
            drawn[name] = replace(PixelSample.of(values, fractions[name]), where=where)
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


FEW_PIXELS = "so few pixels decide the threshold that they may be hot ones"
"""Reason of an image whose own threshold a few of its pixels decide."""


def complete_thresholds(
    profile: Profile[Any],
    image: Image,
    settings: Settings,
    thresholds: Mapping[str, float],
    on_doubt: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """Add the thresholds that are found in each image to those of the experiment.

    Infinite where there is none since something else cuts the objects out. `on_doubt` is told
    `FEW_PIXELS` where these decide a threshold.

    Raises
    ------
    InputError
        If the image lacks a channel that the settings name.
    """
    complete = dict(thresholds)
    for name, (channel, segmentation) in profile.segmented(settings).items():
        if segmentation.segmenter is not None:
            # A segmenter needs no threshold, and NaN would say that none was found.
            complete[name] = math.inf
        elif name not in complete:
            values = _measurable_pixels(image, channel, segmentation)
            values = np.empty(0) if values is None else values
            complete[name] = fit_threshold(values, segmentation.threshold)
            if on_doubt and decided_by_few(values, segmentation.threshold, complete[name]):
                on_doubt(FEW_PIXELS)
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
