"""Objects that touch, cut apart where they are narrow."""

from __future__ import annotations

import numpy as np


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
    # On shelves, the tallest first, with a pixel of background between two.
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
