"""What a profile of measurements is: settings, what is cut out, and one row per image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import numpy as np

from napari_phenldiff.images.channel_names import find_channel
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.stains import Structure
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    components,
    segment_area,
    segment_objects,
    unmeasurable,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings, ThresholdSettings

Channel = int | str


_BY_CHANCE = 0.2
"""Part of the images of a condition whose background may be doubtful before it is said."""
_MUCH_ABOVE = 0.2
"""Part of the brightness of cells by which a background is doubtfully far above others."""

AUTO = "auto"
"""In place of a channel: the one that its name suggests, see `suggested_channel`."""


S = TypeVar("S", bound=Settings)

# Minimum cross-entropy finds dim nuclei that Otsu's threshold loses beside bright ones; the
# outline at half maximum then does not depend on it.
NUCLEI = SegmentationSettings(
    threshold=ThresholdSettings(method="minimum-cross-entropy", smoothing=1.3488),
    max_hole=50,
    min_size=30,
    split=True,
    half_maximum=True,
)


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What was measured in one image.

    Parameters
    ----------
    values : dict
        Values of the profile's columns; a column that is not in it could not be measured.
    cells : dict of str to numpy.ndarray
        Columns of the table of cells, one value per cell; empty for a profile without cells.
    reason : str
        Why something could not be measured; empty if everything was.
    objects : numpy.ndarray of shape (Y, X), int32 or bool, optional
        What was cut out: objects with the numbers of the table of cells, or a mask. None if
        nothing could be.
    """

    values: dict[str, Any]
    cells: dict[str, np.ndarray] = field(default_factory=dict)
    reason: str = ""
    objects: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class CutOut:
    """What was cut out of a channel.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        The channel, in grey values.
    objects : numpy.ndarray of shape (Y, X), int32 or bool, optional
        Labels of nuclei, or the mask of an area. None if nothing could be cut out.
    reason : str
        Why it cannot be measured; empty if it can.
    """

    plane: np.ndarray
    objects: np.ndarray | None
    reason: str


class Profile(ABC, Generic[S]):
    """A set of measurements that belong together.

    A profile cuts its first part out of each image and measures it in `measure_part`. What all
    profiles have in common is here: thresholds and image sizes in the table, reasons why an image
    cannot be measured, and columns in micrometres.

    Attributes
    ----------
    name : str
        What it is called in commands and files.
    title : str
        What it is called in a menu.
    main_column : str
        The column that tells the phenotype, in which conditions are compared by default.
    axis_label : str
        The main column in words, with its unit, for figures.
    columns : dict of str to str
        The columns of the table of images and their pandas dtypes. What is measured in pixels,
        ``area_px``, is given in micrometres as well if ``area_um2`` is among them.
    cell_columns : tuple of str
        The columns of the table of cells; empty if the profile has no cells.
    settings_type : type
        Class of its settings.
    parts : dict of str to (str, str)
        What is cut out, the part that is measured first: the names of the settings that hold its
        channel and how that is done. ``nuclei`` are objects with a label each, all others areas.
        Where the channel is None it is left out.
    column_texts : dict of str to str
        Columns in words, where their names alone do not say what they are of.
    shown : tuple of str
        The structures that the channel to measure may show, in the words of `images.stains`, by
        which it is found among several that are no nuclear stain.
    watched : tuple of str
        The columns of the table of images that `doubts` looks at.
    """

    name: str
    title: str
    main_column: str
    axis_label: str
    columns: Mapping[str, str]
    cell_columns: tuple[str, ...] = ()
    settings_type: type[S]
    parts: Mapping[str, tuple[str, str]]
    column_texts: Mapping[str, str] = MappingProxyType({})
    shown: tuple[Structure, ...] = ()
    watched: tuple[str, ...] = ()

    def segmented(self, settings: S) -> dict[str, tuple[Channel, SegmentationSettings]]:
        """Name what is cut out, and from which channel, so that thresholds can be fitted."""
        return {
            name: (getattr(settings, channel), getattr(settings, segmentation))
            for name, (channel, segmentation) in self.parts.items()
            if getattr(settings, channel) is not None
        }

    def cut_out(
        self, part: str, image: Image, settings: S, thresholds: Mapping[str, float]
    ) -> CutOut:
        """Cut one of the parts out of an image.

        Parameters
        ----------
        part : str
            One of `segmented`.
        image : Image
        settings : Settings
        thresholds : mapping of str to float

        Raises
        ------
        InputError
            If the image lacks the channel.
        """
        channel, segmentation = self.segmented(settings)[part]
        # The area that the profile is about needs no name in a reason.
        other = part == "nuclei" or part != next(iter(self.parts))
        plane, reason = measurable_plane(image, channel)
        if not reason and math.isnan(thresholds[part]):
            reason = f"no threshold{f' for the {part}' if other else ''} could be found"
        if reason:
            return CutOut(plane, None, reason)
        if part == "nuclei":
            objects = segment_objects(plane, segmentation, thresholds[part])
            full = "the whole field is one nucleus"
        else:
            objects = segment_area(plane, segmentation, thresholds[part])
            full = f"the whole field is above the threshold{f' of the {part}' if other else ''}"
        return CutOut(plane, objects, full if objects.all() else "")

    def measure(self, image: Image, settings: S, thresholds: Mapping[str, float]) -> ImageResult:
        """Measure one image.

        Parameters
        ----------
        image : Image
        settings : Settings
        thresholds : mapping of str to float
            Threshold for each name of `segmented`; NaN where none could be found.

        Raises
        ------
        InputError
            If the image lacks a channel that the settings name.
        """
        first, *others = self.parts
        channel = channel_index(image, getattr(settings, self.parts[first][0]))
        known: dict[str, Any] = {
            "channel": image.channel_names[channel],
            "threshold": thresholds[first],
            **{f"{part}_threshold": thresholds.get(part, math.nan) for part in others},
            "total_px": image.data[channel].size,
        }
        values = {name: value for name, value in known.items() if name in self.columns}
        found = self.cut_out(first, image, settings, thresholds)
        if found.reason or found.objects is None:
            return ImageResult(values, reason=found.reason, objects=found.objects)
        result = self.measure_part(found.plane, found.objects, image, settings, thresholds)
        return replace(
            result,
            values=self._with_micrometres(values | result.values, image),
            cells=self._with_micrometres(result.cells, image),
        )

    @abstractmethod
    def measure_part(
        self,
        plane: np.ndarray,
        objects: np.ndarray,
        image: Image,
        settings: S,
        thresholds: Mapping[str, float],
    ) -> ImageResult:
        """Measure what was cut out of the first channel, and what else belongs to the profile.

        Parameters
        ----------
        plane : numpy.ndarray of shape (Y, X)
            The channel of the first part, in grey values.
        objects : numpy.ndarray of shape (Y, X), int32 or bool
            The first part: labels of nuclei, or the mask of an area that is not the whole field.
        image, settings, thresholds
            As for `measure`.

        Returns
        -------
        ImageResult
            In pixels. Threshold, size of the image and micrometres are added by `measure`.
        """

    def labels(self, image: Image, settings: S, thresholds: Mapping[str, float]) -> np.ndarray:
        """Give the objects that `measure` measures, to be looked at.

        Returns
        -------
        numpy.ndarray of shape (Y, X), int32
            0 is background; the numbers are those of the table of cells. Of a profile without
            cells, the connected pieces of its area.
        """
        found = self.cut_out(next(iter(self.parts)), image, settings, thresholds)
        return as_labels(found.objects, image)

    def _with_micrometres(self, table: Mapping[str, Any], image: Image) -> dict[str, Any]:
        """Add columns in micrometres for those in pixels, as far as the pixel size tells."""
        full = dict(table)
        for name, value in table.items():
            unit, size = (
                ("um2", square_micrometres(image))
                if "area" in name
                else ("um", micrometres_per_pixel(image))
            )
            column = f"{name.removesuffix('_px')}_{unit}"
            if name.endswith("_px") and column in self.columns and size is not None:
                full[column] = value * size
        return full

    def suited(self, settings: S) -> Profile[S]:
        """Give the profile with the main column that is measured with these settings."""
        return self

    def doubts(self, seen: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
        """Say what may be wrong with the numbers, which only all images together tell.

        Parameters
        ----------
        seen : mapping of str to mapping of str to numpy.ndarray of shape (N,), float64
            By condition, the columns `watched` of its images; NaN where a value is missing.

        Returns
        -------
        list of str
            Sentences for the user.
        """
        return []

    def surroundings(self, objects: np.ndarray, settings: S) -> np.ndarray | None:
        """Give what is measured around the objects, to be looked at.

        Parameters
        ----------
        objects : numpy.ndarray of shape (Y, X), int32
            As `labels` gives them.
        settings : Settings

        Returns
        -------
        numpy.ndarray of shape (Y, X), int, or None
            With the numbers of the objects that each pixel belongs to; None if nothing is.
        """
        return None

    def lines(self, objects: np.ndarray, settings: S) -> np.ndarray | None:
        """Give the lines whose length is measured, to be looked at.

        Parameters
        ----------
        objects : numpy.ndarray of shape (Y, X), int32
            As `labels` gives them.
        settings : Settings

        Returns
        -------
        numpy.ndarray of shape (Y, X), uint8, or None
            As `line_marks` gives them; None if the profile measures no lines.
        """
        return None


def with_micrometres(columns: Mapping[str, str]) -> dict[str, str]:
    """Add to the columns of a profile, at the end, those in micrometres for those in pixels.

    Parameters
    ----------
    columns : mapping of str to str
        Names and pandas dtypes; ``total_px``, the size of the image, stays in pixels.
    """
    in_pixels = [name for name in columns if name.endswith("_px") and name != "total_px"]
    return {
        **columns,
        **{
            f"{name.removesuffix('_px')}_{'um2' if 'area' in name else 'um'}": "float64"
            for name in in_pixels
        },
    }


def occupied(mask: np.ndarray) -> dict[str, float]:
    """Measure a mask (Y, X): its area in pixels, and as a fraction of the field."""
    area = int(mask.sum())
    return {"area_px": area, "area_fraction": area / mask.size}


def as_labels(objects: np.ndarray | None, image: Image) -> np.ndarray:
    """Give what was cut out of an image as labels: of a mask, its connected pieces."""
    if objects is None:
        return np.zeros(image.shape, np.int32)
    return components(objects) if objects.dtype.kind == "b" else objects


def micrometres_per_pixel(image: Image) -> float | None:
    """Give the side of an image's pixels, in which lengths can be told.

    Returns
    -------
    float or None
        None where the pixel size is not known, or pixels are not square.
    """
    if image.pixel_size is None:
        return None
    height, width = image.pixel_size
    return width if math.isclose(height, width, rel_tol=1e-3) else None


def square_micrometres(image: Image) -> float | None:
    """Give the area of an image's pixels in square micrometres; None where it is not known."""
    return None if image.pixel_size is None else image.pixel_size[0] * image.pixel_size[1]


def channel_index(image: Image, channel: Channel) -> int:
    """Find a channel of an image by its name or its number; see `find_channel`.

    Raises
    ------
    InputError
        If the image has no such channel, or several of that name.
    """
    return find_channel(image.channel_names, channel, where=f'Image "{image.name}" has')


def doubts_about_background(
    background: Mapping[str, np.ndarray],
    dim: Mapping[str, np.ndarray],
    bright: Mapping[str, np.ndarray],
    where: str,
) -> list[str]:
    """Say in which images what was taken for background is probably part of the cells.

    A percentile of an image is its background only where enough of it is empty. In a confluent
    field it is cytoplasm, which shows beside images of the same experiment that are not.

    Parameters
    ----------
    background, dim, bright : mapping of str to numpy.ndarray of shape (N,)
        By condition, what was taken for background of each image, and how bright the dimmer and
        the brighter one of its measured parts are, in grey values; NaN where there is none.
    where : str
        What is dimmer, in words.
    """
    every = np.concatenate([np.empty(0), *background.values()])
    every = every[np.isfinite(every)]
    if not every.size:
        return []
    # Some of the lowest, since a single image may be black.
    lowest = float(np.percentile(every, 10, method="nearest"))
    # Where nothing is stained, such as in a control without antibody, little is much of nothing.
    usual = np.concatenate([np.empty(0), *bright.values()])
    usual_bright = np.median(usual[np.isfinite(usual)]) if np.isfinite(usual).any() else np.nan
    told = []
    for condition, level in background.items():
        above = level - lowest
        # More than is left of the dim part, which a marker that has left it explains as well;
        # then it is little beside the bright one.
        doubtful = (above > dim[condition] - level) & (
            above > _MUCH_ABOVE * (np.fmax(bright[condition], usual_bright) - lowest)
        )
        n_doubtful = int(np.count_nonzero(doubtful))
        # one of many is chance
        if n_doubtful >= min(2, level.size) and n_doubtful > _BY_CHANCE * level.size:
            told.append(
                f"In {n_doubtful} of {count(level.size, 'image')} of {condition} the background of "
                f"the marker (median {np.median(level[doubtful]):.4g}) is nearly as bright as "
                f"{where}, while it is {lowest:.4g} in others: it was probably taken from cells "
                "that leave no gaps (or these images were taken differently), so what is measured "
                "above it cannot be compared. Lower the background percentile "
                "(background_percentile in the settings) if there are small gaps, or use fields "
                "with more empty space."
            )
    return told


def measurable_plane(image: Image, channel: Channel) -> tuple[np.ndarray, str]:
    """Give a channel of an image and, if nothing can be measured in it, the reason.

    Returns
    -------
    plane : numpy.ndarray of shape (Y, X)
    reason : str
        Empty if the channel can be measured.

    Raises
    ------
    InputError
        If the image has no such channel.
    """
    index = channel_index(image, channel)
    reason = unmeasurable(image.data[index])
    return image.data[index], f"{image.channel_names[index]}: {reason}" if reason else ""
