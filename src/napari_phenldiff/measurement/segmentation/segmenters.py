"""Objects from another source: Cellpose, StarDist, a labels layer, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.label_files import find_labels, read_labels
from napari_phenldiff.images.survey import MADE
from napari_phenldiff.images.tiff import read_provenance
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    Segmenter,
    as_mask,
    count_in_pieces,
    is_in_two,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings

S = TypeVar("S", bound=Settings)
GivenLabels = Callable[[str, Image], np.ndarray]
"""From the name of a condition and an image to its objects: (Y, X), whole numbers, 0 is none."""

MASK = "the labels have one number for all objects, so each separate piece is taken for one"
"""Reason of an image of which the labels are a mask, whose pieces are measured."""

IN_TWO = "the only label consists of two separate pieces, which are measured as one object"
"""Reason of an image of which the labels may be a mask of two objects."""

IN_PIECES = "most labels consist of pieces that lie far apart"
"""Reason of an image of which the labels may be kinds of pixels in place of objects."""

BEGUN_ANEW = "the numbers of labels go up to the highest there is, and some lie in pieces far apart"
"""Reason of an image of which the labels may be more than their data type has numbers for."""


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """A segmenter that returns labels that are known already.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X)
        Whole numbers; 0 is background.
    """

    labels: np.ndarray

    def __call__(self, plane: np.ndarray) -> np.ndarray:
        """Return the labels, whatever the plane."""
        return self.labels


class Numbering:
    """A segmenter that calls another one and remembers the numbers of its objects.

    Objects are measured under numbers without gaps; in tables and layers they have their own.

    Parameters
    ----------
    segmenter : callable
        Called with a plane, returns its objects.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self._own: np.ndarray | None = None
        self._doubt = ""

    @property
    def doubt(self) -> str:
        """What may be wrong with the labels of the last plane, if they are of objects."""
        return self._doubt

    def __call__(self, plane: np.ndarray) -> np.ndarray:
        """Return the objects of a plane."""
        found = np.asarray(self._segmenter(plane))
        self._doubt = ""
        if found.dtype.kind in "iuf" and found.shape == plane.shape:
            mask = as_mask(found)
            if mask is not None:
                self._doubt, found = MASK, mask
            else:
                apart, n_objects = count_in_pieces(found)
                if 2 * apart > n_objects:
                    self._doubt = IN_PIECES
                elif apart and _reach_the_highest(found):
                    self._doubt = BEGUN_ANEW
                elif is_in_two(found):
                    self._doubt = IN_TWO
        # A mask has no numbers.
        self._own = None if found.dtype.kind == "b" else np.unique(found[found > 0])
        return found

    def numbered(self, objects: np.ndarray) -> np.ndarray:
        """Give back the numbers that objects had, for those without gaps; 0 stays 0.

        Parameters
        ----------
        objects : numpy.ndarray of any shape, int

        Returns
        -------
        numpy.ndarray of the same shape
            int32, or int64 where the numbers are larger than that.
        """
        if self._own is None:
            return objects
        large = self._own.max(initial=0) > np.iinfo(np.int32).max
        own = np.concatenate([[0], self._own]).astype(np.int64 if large else np.int32)
        return np.asarray(own[objects])


def _reach_the_highest(labels: np.ndarray) -> bool:
    """Tell whether labels have the highest number that 8 or 16 bits hold."""
    kind = labels.dtype
    return kind.kind == "u" and kind.itemsize < 4 and bool(labels.max() == np.iinfo(kind).max)


NOTHING_YET = Given(np.zeros((0, 0), np.int32))
"""Placeholder for the labels of an image, which are looked up when it is measured."""


@dataclass(frozen=True, slots=True)
class LabelFolder:
    """Labels in TIFFs or PNGs with the names of the images, also as other programs write them.

    Parameters
    ----------
    folder : pathlib.Path
        With a file for each image, or with a sub-folder of these for each condition.
    """

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder; give one with TIFFs of labels.")

    def __call__(self, condition: str, image: Image) -> np.ndarray:
        """Read the labels of an image.

        Raises
        ------
        InputError
            If there are none, or the file holds something else.
        """
        for path, stem in self._files(condition, image.name, image.path):
            found = {labels.name: labels for labels in read_labels(path, stem)}
            if image.name in found:
                return _plane(found[image.name], path)
        raise InputError(
            f'There are no labels called "{image.name}" in {self.folder}: give a TIFF or PNG of '
            "that name, or with an ending as Cellpose, StarDist and CellProfiler give it."
        )

    def _files(self, condition: str, name: str, path: Path | None) -> Iterator[tuple[Path, str]]:
        """Find the files that may hold the labels of an image, and what they call it."""
        stems = [name]
        folders = [self.folder / condition]
        if path is not None:
            # A file may hold several images, whose names have a number each.
            stems.append(path.stem)
            folders.append(self.folder / path.resolve().parent.name)
        for folder in (*folders, self.folder):
            for stem in dict.fromkeys(stems):
                found = find_labels(folder, stem)
                if found is not None:
                    yield found, stem

    def check(self, images: Iterable[tuple[str, str, Path | None]]) -> None:
        """Refuse labels that would serve different images of one name.

        Parameters
        ----------
        images : iterable of (str, str, pathlib.Path or None)
            Condition, name and file of each image. What a model made of an image may be measured
            with the labels of that image.

        Raises
        ------
        InputError
            If a file of labels would be used for two files of images, or for images of two
            conditions whose files are not known.
        """
        check = self.checking()
        for image in images:
            check(*image)

    def checking(self) -> Callable[[str, str, Path | None], None]:
        """Return what does the same as `check` for one image after the other."""
        served: dict[Path, tuple[str, Path | None]] = {}

        def check(condition: str, name: str, path: Path | None) -> None:
            try:
                labels, _ = next(self._files(condition, name, path), (None, ""))
            except InputError:
                return  # the reason of this image, when it is measured
            if labels is None or condition in MADE:
                return
            first, of_first = served.setdefault(labels, (condition, path))
            same = first == condition if path is None or of_first is None else path == of_first
            if same or _is_made(path):
                return
            if _is_made(of_first):
                served[labels] = condition, path
                return
            if path is not None and of_first is not None and path.resolve() == of_first.resolve():
                return
            what = f"an image of {first} and another one of {condition}"
            advice = (
                f"put the labels of each condition into a sub-folder of {self.folder} that is "
                "called like the condition (the same labels in each, where they show the same "
                "objects)"
            )
            if first == condition:
                what = f"{of_first} and {path}"
                advice = "give these images different names, and their labels the same names"
            raise InputError(f"{labels} would be used as the labels of {what}: {advice}.")

        return check


def _is_made(path: Path | None) -> bool:
    """Tell whether an image in a file is one that a model made."""
    try:
        return path is not None and "kind" in (read_provenance(path) or {})
    except InputError:
        return False  # measuring it tells what is wrong with it


def _plane(labels: Image, path: Path) -> np.ndarray:
    if labels.n_channels != 1:
        raise InputError(f"{path} holds {labels.n_channels} channels: give one image of labels.")
    plane: np.ndarray = labels.data[0]
    return plane


def objects_field(kind: type[Settings] | Settings) -> str:
    """Name the setting that says how the objects of a profile are cut out.

    Parameters
    ----------
    kind : Settings or type
        Settings of a profile.

    Returns
    -------
    str
        ``nuclei`` if it has these, else the first segmentation.

    Raises
    ------
    InputError
        If nothing is cut out.
    """
    fields = (kind if isinstance(kind, type) else type(kind)).model_fields
    found = [name for name, field in fields.items() if field.annotation is SegmentationSettings]
    if not found:
        raise InputError("This profile cuts nothing out: leave the labels out.")
    return "nuclei" if "nuclei" in found else found[0]


def with_segmenter(settings: S, segmenter: Segmenter | None) -> S:
    """Return settings of a profile with which something else cuts its objects out.

    Parameters
    ----------
    settings : Settings
        Settings of a profile.
    segmenter : callable or None
        See `SegmentationSettings.with_segmenter`.

    Returns
    -------
    Settings
    """
    name = objects_field(settings)
    segmentation: SegmentationSettings = getattr(settings, name)
    return settings.model_copy(update={name: segmentation.with_segmenter(segmenter)})
