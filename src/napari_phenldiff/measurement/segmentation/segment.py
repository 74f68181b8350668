"""Masks and nuclei, cut out of one channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import numpy as np
from pydantic import Field, PrivateAttr

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.checks import NOT_FINITE
from napari_phenldiff.measurement.segmentation.outlines import (
    above_half_maximum,
    fill_holes,
    level_of_dim,
)
from napari_phenldiff.measurement.segmentation.thresholds import (
    GreyLevels,
    Settings,
    ThresholdSettings,
    level_of,
    smoothed,
)
from napari_phenldiff.settings import Shown

# From a plane of shape (Y, X) in grey values to its objects: whole numbers, 0 is background.
Segmenter = Callable[[np.ndarray], np.ndarray]


# If a larger fraction of the pixels has the largest value, the detector was saturated.
_SATURATED = 0.25
_FEWEST_LEVELS = 16
_SMALLEST_SIDE = 3
_MASK_VALUE = 255
# Pieces that a single object may have; more under one number are objects of their own.
_MOST_LOBES = 2
# Part of the largest piece of a label below which another piece of it is a speck.
_SPECK = 0.2
# Sums of squares of larger values overflow.
_LARGEST = 1e100


class SegmentationSettings(Settings):
    """How objects are cut out of one channel."""

    threshold: ThresholdSettings = ThresholdSettings()
    """What is foreground."""

    background_radius: Annotated[int, Field(ge=0), Shown(unit="px")] = 0
    """Background that varies over more than this many pixels is subtracted beforehand (white
    top-hat with a square of that radius). 0 is off."""

    max_hole: Annotated[int, Field(ge=0), Shown(unit="px")] = 0
    """Holes in the foreground of up to this many pixels are filled."""

    min_size: Annotated[int, Field(ge=0), Shown(unit="px")] = 0
    """Smaller objects are dropped, in pixels."""

    split: bool = False
    """Cut touching objects apart where they are narrow. Only for objects, not for areas."""

    split_depth: Annotated[float, Field(gt=0, allow_inf_nan=False), Shown(unit="px")] = 0.75
    """Two objects are cut apart if the neck between them is thinner, by this many pixels on each
    side, than the thinner of them."""

    half_maximum: bool = False
    """Draw the outline of each object at half of its own brightness above the background, as it is
    nearby. The threshold then only decides what is an object, and nuclei that are stained
    differently are still outlined alike. Only for objects, not for areas."""

    dimmest: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Part of the threshold, above the background, down to which dim structures are followed. Thin
    structures end at half of their own peak where that is below the threshold: what is dimmer than
    the threshold then belongs to the area as well. 1 is off. Only for areas, not for objects."""

    _segmenter: Segmenter | None = PrivateAttr(default=None)

    @property
    def segmenter(self) -> Segmenter | None:
        """What cuts the objects out in place of these settings; None if nothing else does."""
        return self._segmenter

    def with_segmenter(self, segmenter: Segmenter | None) -> SegmentationSettings:
        """Return settings with which something else cuts the objects out, such as Cellpose.

        Parameters
        ----------
        segmenter : callable or None
            Called with a plane of shape (Y, X) in grey values, returns its objects: (Y, X), whole
            numbers, 0 is background. To be used in several processes it has to be a function
            that they can import.
        """
        copy = self.model_copy()
        copy._segmenter = segmenter
        return copy


def unmeasurable(plane: np.ndarray) -> str | None:
    """Say why nothing can be measured in a channel, if nothing can.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        One channel of an image.

    Returns
    -------
    str or None
        The reason in a few words; None if the channel can be measured.
    """
    if min(plane.shape) < _SMALLEST_SIDE:
        return f"smaller than {_SMALLEST_SIDE} x {_SMALLEST_SIDE} pixels"
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        return f"holds {NOT_FINITE}"
    low, high = plane.min(), plane.max()
    if low == high:
        return "constant"
    if high < 0:
        return "all values are negative"
    if max(float(high), -float(low)) > _LARGEST:
        return "holds values that are too large to calculate with"
    at_limit = np.count_nonzero(plane == high) / plane.size
    if at_limit > _SATURATED and _looks_saturated(plane):
        return f"saturated: {at_limit:.0%} of the pixels have the largest value"
    return None


def _looks_saturated(plane: np.ndarray) -> bool:
    """Tell a saturated detector from a mask or an almost empty field, which have few levels."""
    levels = len(np.unique(plane))
    full = plane.dtype.kind in "ui" and plane.max() == np.iinfo(plane.dtype).max
    return levels >= _FEWEST_LEVELS or (full and levels > 2)


def prepare(plane: np.ndarray, settings: SegmentationSettings) -> np.ndarray:
    """Bring a channel to the scale in which thresholds are found and applied.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        One channel of an image, in grey values.
    settings : SegmentationSettings
        Its `background_radius` and `threshold.scale` are used.

    Returns
    -------
    numpy.ndarray of shape (Y, X), float64
        Grey values less background, divided by the scale.
    """
    return _less_background(plane, settings).astype(np.float64) / settings.threshold.scale


def grey_levels(plane: np.ndarray, settings: SegmentationSettings) -> np.ndarray | GreyLevels:
    """Give what a threshold is found in: values as `prepare` gives them, counted if possible.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        One channel of an image, in grey values.
    settings : SegmentationSettings
        Its `background_radius` and `threshold.scale` are used.

    Returns
    -------
    numpy.ndarray of shape (Y, X), float64, or GreyLevels
    """
    plane = _less_background(plane, settings)
    levels = GreyLevels.of_whole_numbers(plane, settings.threshold.scale)
    return plane.astype(np.float64) / settings.threshold.scale if levels is None else levels


def _less_background(plane: np.ndarray, settings: SegmentationSettings) -> np.ndarray:
    """Subtract the background; whole numbers stay whole."""
    if not settings.background_radius:
        return plane
    from scipy import ndimage as ndi

    side = 2 * settings.background_radius + 1
    plane = plane.astype(np.float64 if plane.dtype.kind == "f" else np.int64)
    # The opening with a square is separable, so its cost does not grow with the radius.
    return plane - ndi.grey_opening(plane, size=(side, side))


def segment_area(plane: np.ndarray, settings: SegmentationSettings, threshold: float) -> np.ndarray:
    """Cut the area out of a channel that its structures occupy.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        One channel of an image, in grey values.
    settings : SegmentationSettings
        `split` and `half_maximum` are for objects and not used.
    threshold : float
        In units of the scaled grey values, as `fit_threshold` gives it.

    Returns
    -------
    numpy.ndarray of shape (Y, X), bool

    Raises
    ------
    InputError
        If a segmenter gives no labels of this plane, or the adaptive window does not fit in it.
    """
    if settings.segmenter is not None:
        return _given(plane, settings.segmenter) > 0
    prepared = prepare(plane, settings)
    level = level_of(prepared, settings.threshold, threshold)
    image = smoothed(prepared, settings.threshold.smoothing)
    mask = image >= level_of_dim(image, level, settings.dimmest)
    mask = fill_holes(mask, settings.max_hole)
    if settings.min_size > 1:
        mask = drop_small(components(mask), settings.min_size) > 0
    return mask


def segment_objects(
    plane: np.ndarray, settings: SegmentationSettings, threshold: float
) -> np.ndarray:
    """Cut compact objects such as nuclei out of a channel, one label for each.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        One channel of an image, in grey values.
    settings : SegmentationSettings
        `dimmest` is for areas and not used.
    threshold : float
        In units of the scaled grey values, as `fit_threshold` gives it.

    Returns
    -------
    numpy.ndarray of shape (Y, X), int32
        0 is background, objects are 1, 2, ... without gaps.

    Raises
    ------
    InputError
        If a segmenter gives no labels of this plane, or the adaptive window does not fit in it.
    """
    if settings.segmenter is not None:
        return _given(plane, settings.segmenter)
    prepared = prepare(plane, settings)
    level = level_of(prepared, settings.threshold, threshold)
    image = smoothed(prepared, settings.threshold.smoothing)
    mask = fill_holes(image >= level, settings.max_hole)
    labels = split_objects(mask, settings.split_depth) if settings.split else components(mask)
    if settings.half_maximum:
        inner = above_half_maximum(labels, image, smoothing=settings.threshold.smoothing)
        # Dim parts inside an object, such as a nucleolus, still belong to it.
        labels = np.where(fill_holes(inner, settings.max_hole), labels, 0)
    return drop_small(labels, settings.min_size)


def _given(plane: np.ndarray, segmenter: Segmenter) -> np.ndarray:
    """Objects from the segmenter, checked and numbered without gaps."""
    found = np.asarray(segmenter(plane))
    if found.shape != plane.shape:
        raise InputError(
            f"The labels have the shape {found.shape}, the image has {plane.shape}: give labels of "
            "the same pixels."
        )
    if found.dtype.kind not in "biu" and not (
        found.dtype.kind == "f" and np.isfinite(found).all() and (found == np.round(found)).all()
    ):
        raise InputError(
            f"The labels are {found.dtype} values: give whole numbers, one per object."
        )
    if found.dtype.kind == "b":
        return components(found)
    if found.min() < 0:
        raise InputError("The labels hold negative numbers: give 0 where there is no object.")
    mask = as_mask(found)
    if mask is not None:
        return components(mask)
    # The numbers may be large and have gaps.
    numbers, places = np.unique(found, return_inverse=True)
    first = 0 if numbers[0] == 0 else 1
    return (places.reshape(found.shape) + first).astype(np.int32)


def as_mask(labels: np.ndarray) -> np.ndarray | None:
    """Give labels as a mask if that is what they are: one number for all objects, which lie apart.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X)
        Whole numbers; 0 is background.

    Returns
    -------
    numpy.ndarray of shape (Y, X), bool, or None
        None for labels with a number for each object.
    """
    sizes = _pieces_of_only_label(labels)
    if sizes.size < 2:
        return None
    top, mask = labels.max(), labels > 0
    # The highest value of a file is no number of an object. Under another number, the only object
    # of an image may have a speck beside it, or two lobes; three pieces are several objects, and so
    # are two that lie far apart.
    if (labels.dtype.kind in "iu" and top == np.iinfo(labels.dtype).max) or top == _MASK_VALUE:
        return mask
    several = np.count_nonzero(sizes >= _SPECK * sizes[-1]) > _MOST_LOBES
    return mask if several or are_in_pieces(labels) else None


def is_in_two(labels: np.ndarray) -> bool:
    """Tell whether there is one number only, and its pixels are two pieces that are no specks.

    Such labels are not taken for a mask (see `as_mask`), but may be one.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X)
        Whole numbers; 0 is background.
    """
    sizes = _pieces_of_only_label(labels)
    return sizes.size > 1 and np.count_nonzero(sizes >= _SPECK * sizes[-1]) == _MOST_LOBES


def _pieces_of_only_label(labels: np.ndarray) -> np.ndarray:
    """Return the sizes of the pieces of an only label, ascending; none if there are more."""
    top = labels.max()
    mask = labels > 0
    if top <= 0 or (labels[mask] != top).any():
        return np.empty(0, int)
    return np.sort(np.bincount(components(mask).ravel())[1:])


def are_in_pieces(labels: np.ndarray) -> bool:
    """Tell whether most labels consist of several pieces that lie far apart, as no object does.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X)
        Whole numbers; 0 is background.
    """
    apart, n_objects = count_in_pieces(labels)
    return 2 * apart > n_objects


def count_in_pieces(labels: np.ndarray) -> tuple[int, int]:
    """Count the labels that consist of several pieces that lie far apart.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X)
        Whole numbers; 0 is background.

    Returns
    -------
    tuple of int
        These, and all labels.
    """
    from skimage.measure import label

    places = labels
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > labels.size:
        places = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
        places += labels.min() > 0  # 0 stays what is no object
    places = places.astype(np.int32)
    # Connected pixels of the same number.
    pieces = label(places, connectivity=2, background=0).ravel()
    sizes = np.bincount(pieces)
    own = np.zeros(sizes.size, np.int32)
    own[pieces] = places.ravel()
    n_objects = int(np.count_nonzero(np.bincount(own[1:])))
    if sizes.size - 1 == n_objects:
        return 0, n_objects
    y, x = (
        np.bincount(pieces, place.ravel()) / np.maximum(sizes, 1)
        for place in np.indices(places.shape)
    )
    # The pieces of an object one after the other, the largest first.
    order = np.lexsort((-sizes[1:], own[1:])) + 1
    first, second = order[:-1], order[1:]
    leads = np.concatenate([[True], own[order][1:] != own[order][:-1]])[:-1]
    pair = leads & (own[first] == own[second]) & (sizes[second] >= _SPECK * sizes[first])
    first, second = first[pair], second[pair]
    distances = np.hypot(y[first] - y[second], x[first] - x[second])
    apart = np.count_nonzero(distances > 2 * np.sqrt(4 / np.pi * sizes[first]))
    return int(apart), n_objects


def drop_small(labels: np.ndarray, min_size: int) -> np.ndarray:
    """Drop the objects of fewer pixels and number the others anew, without gaps.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X), int
    min_size : int
        Smallest number of pixels that an object keeps its place with.

    Returns
    -------
    numpy.ndarray of shape (Y, X), int32
    """
    sizes = np.bincount(labels.ravel())
    keep = sizes >= max(min_size, 1)
    keep[0] = False
    numbers = np.zeros(len(sizes), np.int32)
    numbers[keep] = np.arange(1, np.count_nonzero(keep) + 1)
    return numbers[labels]


def components(mask: np.ndarray) -> np.ndarray:
    """Label the connected pieces of a mask, diagonal neighbours included.

    Parameters
    ----------
    mask : numpy.ndarray of shape (Y, X), bool

    Returns
    -------
    numpy.ndarray of shape (Y, X), int32
    """
    from scipy import ndimage as ndi

    labels = np.empty(mask.shape, np.int32)
    ndi.label(mask, structure=np.ones((3, 3)), output=labels)
    return labels


def split_objects(mask: np.ndarray, depth: float) -> np.ndarray:
    """Label a mask by watershed on the distance to its edge, cut at necks that are deep enough."""
    from scipy import ndimage as ndi
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    if mask.all() or not mask.any():
        return components(mask)
    # Smoothed, since a ragged outline gives the distance ridges of its own; far lower outside, so
    # that every piece, however thin, keeps a maximum.
    distance = ndi.gaussian_filter(ndi.distance_transform_edt(mask), 1.0)
    distance[~mask] = -2 * depth
    # The maxima that rise by the depth above the saddle to a higher one. (scikit-image's
    # h_maxima gives more than one for some floating-point maxima.)
    peaks = local_maxima(_lowered(distance, components(mask), depth))
    return watershed(-distance, components(peaks & mask), mask=mask).astype(np.int32)


def _lowered(distance: np.ndarray, pieces: np.ndarray, depth: float) -> np.ndarray:
    """Reconstruct the distance from itself less the depth, within each piece of the foreground.

    Nothing passes from piece to piece, since the background is lower than every seed. So they are
    moved together before: reconstruction sorts all pixels, of which most are background.
    """
    from scipy import ndimage as ndi
    from skimage.morphology import reconstruction

    boxes = list(enumerate(ndi.find_objects(pieces), start=1))
    boxes.sort(key=lambda box: box[1][0].stop - box[1][0].start, reverse=True)
    widest = max(columns.stop - columns.start for _, (_, columns) in boxes)
    width = max(widest, int(np.sqrt(np.count_nonzero(pieces)) * 1.5))
    # Placed in rows, the tallest first, with a pixel of background between neighbours.
    places, top, left, tallest = [], 0, 0, 0
    for number, box in boxes:
        height, length = (side.stop - side.start for side in box)
        if left and left + length > width:
            top, left, tallest = top + tallest + 1, 0, 0
        places.append((number, box, (slice(top, top + height), slice(left, left + length))))
        left, tallest = left + length + 1, max(tallest, height)
    lowest = distance.min()
    packed = np.full((top + tallest, width), lowest)
    for number, box, place in places:
        packed[place] = np.where(pieces[box] == number, distance[box], lowest)
    packed = reconstruction(packed - depth, packed)
    lowered = np.full_like(distance, lowest)
    for number, box, place in places:
        inside = pieces[box] == number
        lowered[box][inside] = packed[place][inside]
    return lowered
