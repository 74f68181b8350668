"""Outlines: at half of the brightness nearby, without holes, and their length."""

from __future__ import annotations

import math

import numpy as np

from napari_phenldiff.measurement.segmentation.thresholds import HALF_WEIGHT

# Pixels, as a standard deviation, over which the brightness of an object is averaged.
_NEARBY = 4.0
# Sides in pixels of the squares in which a thin structure has its peak, and that it does not fill.
_AROUND = 7
_WIDEST = 15


def fill_holes(mask: np.ndarray, max_hole: int) -> np.ndarray:
    """Fill the holes of up to `max_hole` pixels that do not touch the border of the image.

    Parameters
    ----------
    mask : numpy.ndarray of shape (Y, X), bool
    max_hole : int

    Returns
    -------
    numpy.ndarray of shape (Y, X), bool
    """
    if not max_hole:
        return mask
    from scipy import ndimage as ndi

    holes, _ = ndi.label(ndi.binary_fill_holes(mask) & ~mask)
    sizes = np.bincount(holes.ravel())
    small = sizes <= max_hole
    small[0] = False
    return mask | small[holes]


def above_half_maximum(labels: np.ndarray, image: np.ndarray, *, smoothing: float) -> np.ndarray:
    """Mask of the pixels above half the local brightness of their object, over the background.

    An object's brightness, its plateau, is the mean of what is near and does not lie at its edge:
    one number for all of an object would cut off where it is dim.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X), int
        Objects that are cut out generously; 0 is background.
    image : numpy.ndarray of shape (Y, X), float64
        What they were cut out of, smoothed.
    smoothing : float
        How `image` was smoothed, as in `ThresholdSettings`.

    Returns
    -------
    numpy.ndarray of shape (Y, X), bool
        Within the objects alone. What is dim inside of one is a hole.

    Notes
    -----
    ``docs/notes/simulated-truth.md`` has the errors of this and of other rules.
    """
    from scipy import ndimage as ndi

    inside = labels > 0
    if inside.all() or not inside.any():
        return inside
    background = np.median(image[~inside])
    bright = ndi.labeled_comprehension(
        image, labels, np.arange(1, labels.max() + 1), _upper_quartile, np.float64, np.nan
    )
    level = background + 0.5 * (np.concatenate([[np.inf], bright]) - background)
    # The threshold may lie far below the half: a first outline keeps the blur out of the plateau.
    first = np.where(image >= level[labels], labels, 0)
    core = (ndi.minimum_filter(first, 3) == ndi.maximum_filter(first, 3)) & (first > 0)
    above = np.zeros_like(inside)
    sigma = smoothing / HALF_WEIGHT
    for number, box in enumerate(ndi.find_objects(labels), start=1):
        if box is None:
            continue
        own = first[box] == number
        inner = core[box] & own
        if not inner.any():
            # The object is too thin to have inner pixels.
            inner = own
        plateau = _mean_nearby(image[box], inner)
        half = background + _level_at_edge(int(own.sum()), sigma) * (plateau - background)
        above[box] |= (labels[box] == number) & (image[box] >= half)
    return above


def level_of_dim(
    image: np.ndarray, level: float | np.ndarray, dimmest: float
) -> float | np.ndarray:
    """Lower a threshold for thin structures that are too dim for it.

    They end at half of their own peak, but nowhere above the threshold, and nowhere below a part
    of it. Half of the peak is the middle between the brightest and the darkest value in a square
    of 7 pixels, as in Bernsen's threshold, so that no gap or blur beside a bright structure is
    taken for a dim one.

    Parameters
    ----------
    image : numpy.ndarray of shape (Y, X), float64
        Smoothed as it will be compared with the level.
    level : float or numpy.ndarray of shape (Y, X), float64
        The threshold.
    dimmest : float
        The lowest part of the threshold, both counted from the background, the median of what is
        below the threshold. A structure also has to rise by half as much above what an opening
        with a square of 15 pixels leaves of the image: what is wider keeps the threshold.

    Returns
    -------
    float or numpy.ndarray of shape (Y, X), float64

    References
    ----------
    J. Bernsen (1986), Dynamic thresholding of gray-level images, Proc. 8th ICPR, 1251-1255.
    ``docs/notes/simulated-truth.md`` has the errors of this and of other rules.
    """
    from scipy import ndimage as ndi

    below = image < level
    if dimmest >= 1 or not below.any():
        return level
    background = np.median(image[below])
    rise = dimmest * (level - background)
    thin = image - ndi.grey_opening(image, (_WIDEST, _WIDEST)) >= rise / 2
    middle = (ndi.maximum_filter(image, _AROUND) + ndi.minimum_filter(image, _AROUND)) / 2
    # An adaptive level may lie below the background.
    lowest = np.minimum(background + rise, level)
    return np.where(thin, np.clip(middle, lowest, level), level)


def _mean_nearby(values: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Mean of the inner values, those nearby counting most; that of all far away (Y, X)."""
    from scipy import ndimage as ndi

    both = np.stack([inner.astype(np.float64), np.where(inner, values, 0.0)])
    for axis in (1, 2):
        both = ndi.gaussian_filter1d(both, _NEARBY, axis=axis, mode="constant")
    weight, total = both
    near = weight > 1e-6
    return np.where(near, total / np.where(near, weight, 1.0), values[inner].mean())


def _level_at_edge(area: int, sigma: float) -> float:
    """Brightness at the edge of a disc of this area, 1 being inside: what smoothing has left.

    Half at a straight edge. A round one loses to the outside, in first order sigma / (radius
    sqrt(8 pi)), and half of the maximum would lie inside of it.
    """
    radius = max(np.sqrt(area / np.pi), 2 * sigma)
    return float(0.5 - sigma / (radius * np.sqrt(8 * np.pi))) if sigma else 0.5


def _upper_quartile(values: np.ndarray) -> float:
    """Brightness of an object, robust to its dim rim and to hot pixels."""
    return float(np.percentile(values, 75))


# By 1 + 2 x neighbours above, below and beside + 10 x diagonal ones, all of them on the outline:
# what a pixel of the outline adds to its length. Others add nothing.
_LENGTHS = np.zeros(50)
_LENGTHS[[5, 7, 15, 17, 25, 27]] = 1.0
_LENGTHS[[21, 33]] = math.sqrt(2)
_LENGTHS[[13, 23]] = (1 + math.sqrt(2)) / 2


def perimeter(mask: np.ndarray) -> float:
    """Estimate the length of the outline of a mask.

    Parameters
    ----------
    mask : numpy.ndarray of shape (Y, X), bool

    Returns
    -------
    float
        In pixels; the border of the image counts as background. 0 where nothing is in the mask.

    Notes
    -----
    The same as ``skimage.measure.perimeter(mask, neighborhood=4)``, after K. Benkrid and
    D. Crookes, *Design and FPGA Implementation of a Perimeter Estimator*, 2000. That is most of
    the time that the profile *area* needs, since it convolves the whole image; here neighbours are
    added up as bytes.
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    outline = np.zeros_like(padded)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    outline[1:-1, 1:-1] = padded[1:-1, 1:-1] & ~inner
    beside = outline[:, :-2] + outline[:, 2:]
    kind = outline[:-2, 1:-1] + outline[2:, 1:-1] + beside[1:-1]
    kind += np.uint8(5) * (beside[:-2] + beside[2:])
    kind = 2 * kind[outline[1:-1, 1:-1] > 0] + np.uint8(1)
    return float(np.bincount(kind, minlength=50) @ _LENGTHS)
