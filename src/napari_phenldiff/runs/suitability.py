"""Check that images resemble those that a run was trained on, in grey values and pixel size.

Every command that applies a model uses these checks, so that all of them give the same messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.checks import check_finite, check_size
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.survey import ImageFacts, Survey
from napari_phenldiff.runs.folder import Run

_MUCH_OUTSIDE = 0.01
"""Fraction of a channel's pixels outside the range that is worth a warning; it is 0.002 in training
images."""

_MUCH_OUTSIDE_OF_ONE = 0.05
"""The same fraction for a single image among many."""

_MUCH_BRIGHTER = 0.25
"""Part of the range by which the brightest pixels of a channel lie above it if that is told."""

_ANOTHER_SCALE = 0.5
"""With another data type and at least this fraction outside, images are on another scale."""

_SMALL_PART = 0.1
"""With another data type and at most this fraction of the range used (as of 8 bits in 12), images
are on another scale."""


@dataclass(slots=True)
class _Seen:
    """Statistics of the grey values of one channel over all images."""

    outside: float = 0.0
    above: int = 0
    n_pixels: int = 0
    lowest: float = np.inf
    highest: float = -np.inf
    worst: tuple[float, str] = (0.0, "")


@dataclass(slots=True)
class Suitability:
    """Compares images, which are added one by one, with those that a run was trained on.

    Parameters
    ----------
    run : Run
        The run.
    """

    run: Run
    _survey: Survey = field(default_factory=Survey)
    _channels: dict[str, _Seen] = field(default_factory=dict)
    _dtypes: set[str] = field(default_factory=set)
    _sizes: set[str] = field(default_factory=set)

    def add(self, condition: str, image: Image) -> None:
        """Add an image with the channels of the run.

        Raises
        ------
        InputError
            If it has pixels that are not finite.
        """
        check_size(image)
        check_finite(image)
        facts = ImageFacts.of(image)
        self._survey.add(condition, facts)
        self._dtypes.add(facts.dtype)
        self._sizes.add(facts.pixel_size)
        scaling = self.run.scaling
        for name, plane, part, high in zip(
            *(scaling.channel_names, image.data, scaling.outside(image.data), scaling.high),
            strict=True,
        ):
            seen = self._channels.setdefault(name, _Seen())
            seen.outside += part * plane.size
            seen.above += int((plane > high).sum())
            seen.n_pixels += plane.size
            seen.lowest = min(seen.lowest, float(plane.min()))
            seen.highest = max(seen.highest, float(plane.max()))
            seen.worst = max(seen.worst, (part, image.name))

    def check(self) -> None:
        """Refuse images that are on another scale than the training images.

        Raises
        ------
        InputError
            If they are; the message has the grey values of both.
        """
        if not self._foreign_dtypes():
            return
        ranges = self._ranges()
        parts = {name: seen.outside / seen.n_pixels for name, seen in self._channels.items()}
        spans = {
            name: (seen.highest - seen.lowest) / (ranges[name][1] - ranges[name][0])
            for name, seen in self._channels.items()
        }
        worst = max(parts, key=lambda name: parts[name])
        if parts[worst] < _ANOTHER_SCALE and max(spans.values()) > _SMALL_PART:
            return
        seen, (low, high) = self._channels[worst], ranges[worst]
        raise InputError(
            f"The images are {', '.join(sorted(self._dtypes))} with values from {seen.lowest:g} to "
            f"{seen.highest:g} in channel {worst}, but the run was trained on "
            f"{', '.join(self.run.record.dtypes)} with {low:g} to {high:g}: give images of the "
            "same depth and scale, as the microscope wrote them."
        )

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about differences from the training images, and those of the survey."""
        told = []
        if self._foreign_dtypes():
            told.append(
                f"The images are {', '.join(sorted(self._dtypes))}, but the run was trained on "
                f"{', '.join(self.run.record.dtypes)}: make sure that their intensities can be "
                "compared."
            )
        known = self.run.record.pixel_sizes
        if known and self._sizes - set(known):
            told.append(
                f"The pixel size is {', '.join(sorted(self._sizes))}, but the run was trained on "
                f"{', '.join(known)}: make sure that cells have the same size."
            )
        for name, seen in self._channels.items():
            if name not in self.run.reference_channels:
                told += self._about_outside(name, seen)
        return (*told, *self._survey.warnings())

    def about_brightest(self) -> tuple[str, ...]:
        """Tell of a few pixels that are much brighter than those that were trained on.

        Of a channel of which `warnings` speaks already nothing is told, and reference channels are
        not generated.
        """
        told = []
        for name, seen in self._channels.items():
            low, high = self._ranges()[name]
            much = seen.highest > high + _MUCH_BRIGHTER * (high - low)
            if name in self.run.reference_channels or not much or self._about_outside(name, seen):
                continue
            told.append(
                f"{count(seen.above, 'pixel')} of {name} are brighter than the intensities that "
                f"the run was trained on (up to {high:g}; here up to {seen.highest:g}): to the "
                "model they are as bright as that, so what changes above it is not shown"
            )
        return tuple(told)

    def _about_outside(self, name: str, seen: _Seen) -> list[str]:
        part, (worst, image) = seen.outside / seen.n_pixels, seen.worst
        if part <= _MUCH_OUTSIDE and worst <= _MUCH_OUTSIDE_OF_ONE:
            return []
        low, high = self._ranges()[name]
        which = "" if part > _MUCH_OUTSIDE else f" of {image}"
        told = (
            f"{max(part, worst if which else 0):.0%} of the pixels{which} in channel {name} lie "
            f"outside of the intensities that the run was trained on ({low:g} to {high:g}; here "
            f"{seen.lowest:g} to {seen.highest:g}): they are cut off there."
        )
        return [told]

    def _foreign_dtypes(self) -> set[str]:
        """Return data types that no training image had; empty if these are not recorded."""
        known = set(self.run.record.dtypes)
        return self._dtypes - known if known else set()

    def _ranges(self) -> dict[str, tuple[float, float]]:
        scaling: IntensityScaling = self.run.scaling
        return {
            name: (low, high)
            for name, low, high in zip(
                scaling.channel_names, scaling.low, scaling.high, strict=True
            )
        }
