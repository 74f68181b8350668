"""What a profile of measurements is: settings, thresholds, and one row per image."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from napari_phenldiff.images.channel_names import find_channel
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings, unmeasurable
from napari_phenldiff.measurement.segmentation.thresholds import Settings

Channel = int | str


AUTO = "auto"
"""In place of a channel: the one whose name says so."""


S = TypeVar("S", bound=Settings)


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


class Profile(ABC, Generic[S]):
    """A set of measurements that belong together.

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
        The columns of the table of images and their pandas dtypes.
    cell_columns : tuple of str
        The columns of the table of cells; empty if the profile has no cells.
    settings_type : type
        Class of its settings.
    parts : dict of str to (str, str)
        What is cut out: the names of the settings that hold its channel and how that is done.
        Where the channel is None it is left out.
    channel_words : re.Pattern or None
        What the channel to measure may be called, besides being the only one that is no nuclear
        stain.
    """

    name: str
    title: str
    main_column: str
    axis_label: str
    columns: Mapping[str, str]
    cell_columns: tuple[str, ...] = ()
    settings_type: type[S]
    parts: Mapping[str, tuple[str, str]]
    channel_words: re.Pattern[str] | None = None

    def segmented(self, settings: S) -> dict[str, tuple[Channel, SegmentationSettings]]:
        """Name what is cut out, and from which channel, so that thresholds can be fitted."""
        return {
            name: (getattr(settings, channel), getattr(settings, segmentation))
            for name, (channel, segmentation) in self.parts.items()
            if getattr(settings, channel) is not None
        }

    @abstractmethod
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

    @abstractmethod
    def labels(self, image: Image, settings: S, thresholds: Mapping[str, float]) -> np.ndarray:
        """Give the objects that `measure` measures, to be looked at.

        Returns
        -------
        numpy.ndarray of shape (Y, X), int32
            0 is background; the numbers are those of the table of cells.
        """

    def suited(self, settings: S) -> Profile[S]:
        """Give the profile with the main column that is measured with these settings."""
        return self

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
