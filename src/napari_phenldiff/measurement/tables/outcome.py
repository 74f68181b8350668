"""What could not be measured and why, and what may be wrong with the images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.survey import ImageFacts, Survey
from napari_phenldiff.measurement.profiles.cells import NO_WHOLE, SPECKS, CellsSettings
from napari_phenldiff.measurement.profiles.fitting import FEW_PIXELS
from napari_phenldiff.measurement.profiles.profile import Profile
from napari_phenldiff.measurement.profiles.translocation import IN_NOISE, IN_NOISE_WHERE
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.segmenters import (
    BEGUN_ANEW,
    IN_PIECES,
    IN_TWO,
    MASK,
)
from napari_phenldiff.runs.residuals import warning_about_residuals
from napari_phenldiff.settings import in_message


@dataclass(slots=True)
class _Lacking:
    """Images of a condition without a value, and one of them with its reason."""

    n_images: int = 0
    n_lacking: int = 0
    n_cut: int = 0
    """Of those that lack a value, the images whose nuclei are all left out at the border."""

    n_specks: int = 0
    """Images in which specks were measured in place of the nuclei that are left out."""

    n_masks: int = 0
    """Images whose labels are masks."""

    n_few_pixels: int = 0
    """Images of which a few pixels decide the threshold."""

    n_in_pieces: int = 0
    """Images whose labels lie in pieces."""

    n_in_noise: int = 0
    """Images whose ratios are those of noise."""

    n_in_two: int = 0
    """Images with one label that lies in two pieces."""

    n_begun_anew: int = 0
    """Images whose labels may be more than there are numbers for."""

    example: tuple[str, str] = ("", "")

    @property
    def left_out_at_border(self) -> bool:
        """Whether most images are measured without the nuclei that are in them."""
        return 2 * (self.n_cut + self.n_specks) > self.n_images


_IN_NOISE = tuple(map(IN_NOISE.format, IN_NOISE_WHERE.values()))

_TO_MEASURE_THEM = (
    f"To measure them as well, untick {in_message(CellsSettings, 'exclude_border', off=True)}, or "
    "give larger fields."
)


@dataclass(slots=True)
class Outcome:
    """Failures and warnings of a measurement, collected image by image.

    Parameters
    ----------
    profile : Profile
        What was measured; an image needs a value in its main column to count as measured.
    doubts : list of str
        What may be wrong with the thresholds of the experiment, in sentences.
    """

    profile: Profile[Any]
    doubts: list[str] = field(default_factory=list)
    _watched: dict[str, list[list[float]]] = field(default_factory=dict)
    _lacking: dict[str, _Lacking] = field(default_factory=dict)
    _survey: Survey = field(default_factory=Survey)
    _residuals: dict[str, list[float | None]] = field(default_factory=dict)

    def add(self, values: Mapping[str, Any], image: Image | ImageFacts) -> None:
        """Take note of an image.

        Parameters
        ----------
        values : mapping
            Its row in the table of images.
        image : Image or ImageFacts
            What was measured.
        """
        condition = str(values["condition"])
        self._survey.add(condition, image)
        found = self._lacking.setdefault(condition, _Lacking())
        found.n_images += 1
        reason = str(values.get("reason") or "")
        found.n_specks += SPECKS in reason
        found.n_few_pixels += FEW_PIXELS in reason
        found.n_masks += MASK in reason
        found.n_in_pieces += IN_PIECES in reason
        found.n_in_noise += any(text in reason for text in _IN_NOISE)
        found.n_in_two += IN_TWO in reason
        found.n_begun_anew += BEGUN_ANEW in reason
        value = values.get(self.profile.main_column)
        seen = [values.get(name) for name in self.profile.watched]
        self._watched.setdefault(condition, []).append(
            [math.nan if one is None else float(one) for one in seen]
        )
        if value is None or math.isnan(value):
            found.n_lacking += 1
            found.n_cut += NO_WHOLE in reason
            if not found.example[1]:
                found.example = str(values["image"]), reason

    def check(self) -> None:
        """Refuse a measurement in which nothing could be measured.

        Raises
        ------
        InputError
            With the reason of the first image.
        """
        if any(found.n_lacking < found.n_images for found in self._lacking.values()):
            return
        total = sum(found.n_images for found in self._lacking.values())
        for found in self._lacking.values():
            advice = f" {_TO_MEASURE_THEM}" if found.left_out_at_border else ""
            raise InputError(
                f"Nothing could be measured in {count(total, 'image')}{_because(found)}{advice}"
            )

    def warnings(self) -> tuple[str, ...]:
        """Say what may be wrong, and what could not be measured, in sentences for the user."""
        return (
            *self.about_lacking(),
            *self._survey.warnings(),
            *self.about_numbers(),
            *self._about_residuals(),
        )

    def about_numbers(self) -> list[str]:
        """Say what was measured that may be something else than is meant."""
        names = self.profile.watched
        seen = {
            condition: dict(zip(names, np.array(rows).T, strict=True))
            for condition, rows in self._watched.items()
        }
        return [
            *self.doubts,
            *self._about_thresholds(),
            *self._about_specks(),
            *self._about_labels(),
            *self._about_noise(),
            *self.profile.doubts(seen),
        ]

    def _about_thresholds(self) -> list[str]:
        """Say in how many images a few pixels decide the threshold that is found in each."""
        few = sum(found.n_few_pixels for found in self._lacking.values())
        total = sum(found.n_images for found in self._lacking.values())
        told = (
            f"In {few} of {count(total, 'image')} a few pixels decide the threshold, which is "
            "found in each: give it as a number, or remove these pixels, if they are hot pixels "
            "or dirt. The column reason says which images."
        )
        return [told] if few else []

    def _about_noise(self) -> list[str]:
        """Say in how many images of a condition the ratio is one of noise."""
        return [
            f"In {found.n_in_noise} of {count(found.n_images, 'image')} of {condition} the marker "
            "in the nuclei, the rings or both is no more above the background than its noise, so "
            "that the ratio says nothing of where it is: it is near 1 where there is none at all, "
            "and large where only the rings have none. The column reason says which images."
            for condition, found in self._lacking.items()
            if found.n_in_noise
        ]

    def _about_labels(self) -> list[str]:
        """Say that labels are a mask, or no objects."""
        total = sum(found.n_images for found in self._lacking.values())
        masks = sum(found.n_masks for found in self._lacking.values())
        pieces = sum(found.n_in_pieces for found in self._lacking.values())
        two = sum(found.n_in_two for found in self._lacking.values())
        anew = sum(found.n_begun_anew for found in self._lacking.values())
        told = []
        if masks:
            told.append(
                f"The labels of {masks} of {count(total, 'image')} have one number for all "
                "objects, as a mask has: each separate piece was taken for an object. Objects that "
                "touch are one then: give labels with a number for each."
            )
        if pieces:
            told.append(
                f"In {pieces} of {count(total, 'image')} most labels consist of pieces that lie "
                "far apart, which are measured as one object: they may be kinds of pixels. Give "
                "labels with a number for each object."
            )
        if two:
            told.append(
                f"In {two} of {count(total, 'image')} the only label consists of two separate "
                "pieces, which are measured as one object. If the labels are a mask, of 0 and 1, "
                "give one of 0 and 255, or labels with a number for each object."
            )
        if anew:
            told.append(
                f"In {anew} of {count(total, 'image')} the numbers of labels go up to the highest "
                "that the file can hold (255 with 8 bit), and some labels consist of pieces that "
                "lie far apart: the numbers may have begun anew, so that several objects are "
                "counted and measured as one. Save labels with more bits."
            )
        return told

    def _about_specks(self) -> list[str]:
        """Say that specks were measured in place of nuclei."""
        others = [found for found in self._lacking.values() if not found.left_out_at_border]
        specks = sum(found.n_specks for found in others)
        if not specks:
            return []
        total = sum(found.n_images for found in others)
        told = (
            f"In {specks} of {count(total, 'image')} the nuclei are cut by the border, and "
            "what is measured in their place is far smaller, probably specks: leave them out with "
            f"a larger {in_message(SegmentationSettings, 'min_size')}, or give larger fields."
        )
        return [told]

    def about_lacking(self) -> list[str]:
        """Say what could not be measured, and why; first where that makes the numbers useless."""
        return self._about_border() + [
            f"{condition}: {found.n_lacking} of {count(found.n_images, 'image')} could not be "
            f"measured{_because(found)}"
            for condition, found in self._lacking.items()
            if found.n_lacking > (found.n_cut if found.left_out_at_border else 0)
        ]

    def _about_border(self) -> list[str]:
        """Say in which conditions most images are measured without their nuclei."""
        each = [
            f"{found.n_cut + found.n_specks} of {count(found.n_images, 'image')} of {condition}"
            for condition, found in self._lacking.items()
            if found.left_out_at_border
        ]
        if not each:
            return []
        told = (
            f"In {' and '.join(each)} the nuclei touch the border and are left out, so that "
            f"nothing is measured, or only what is small. {_TO_MEASURE_THEM}"
        )
        return [told]

    def add_residuals(self, condition: str, residuals: Iterable[float | None]) -> None:
        """Take note of how exactly the images of a condition were inverted."""
        self._residuals.setdefault(condition, []).extend(residuals)

    def _about_residuals(self) -> list[str]:
        told = []
        for condition, residuals in self._residuals.items():
            text = warning_about_residuals(residuals)
            if text is not None:
                told.append(f"{condition}: {text}")
        return told


def _because(found: _Lacking) -> str:
    name, reason = found.example
    reason = reason.rstrip(".") or f"there is no value of what is compared in {name}"
    return f" (the first is {name}): {reason}." if found.example[1] else f": {reason}."
