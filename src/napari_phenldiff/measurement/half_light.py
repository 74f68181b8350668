"""The brightest pixels that hold half of the light: how widely a signal is spread.

A threshold for a whole experiment misses what is spread so thinly that it lies below. Half of the
light does not: it stays the same pixels when all of it is dimmed.
"""

from __future__ import annotations

import numpy as np

# From the median absolute deviation to the standard deviation of a normal distribution.
_DEVIATION = 1.4826
# So many standard deviations of a sum of noise are light.
_ABOVE_NOISE = 5.0


def half_light(
    plane: np.ndarray, regions: np.ndarray | None = None, *, above_noise: bool = False
) -> np.ndarray:
    """Find the brightest pixels that hold half of the light above the plane's median.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        One channel of an image, in grey values.
    regions : numpy.ndarray of shape (Y, X), int, optional
        Numbers of regions from 1, each of which has half of its own light; 0 is none. By default
        the plane is one region.
    above_noise : bool
        Leave out regions with no more light than noise could give: less than five times the
        standard deviation of the sum of so many pixels, told from the plane's median absolute
        deviation.

    Returns
    -------
    numpy.ndarray of shape (Y, X), bool
        None of a region that is no brighter than the median, all in all. Of equal grey values
        those come first that are first in the plane.
    """
    light = plane.astype(np.float64).ravel()
    # What is below the median counts as well: so the noise of the background adds up to nothing.
    light -= np.median(light)
    noise = _DEVIATION * float(np.median(np.abs(light))) if above_noise else 0.0
    of = np.ones(light.size, np.intp) if regions is None else regions.ravel()
    order = np.lexsort((-light, of))
    order = order[of[order] > 0]
    found = np.zeros(light.size, bool)
    for part in np.split(order, np.flatnonzero(np.diff(of[order])) + 1):
        held = np.cumsum(light[part])
        if held.size and held[-1] > _ABOVE_NOISE * noise * np.sqrt(held.size):
            found[part[: int(np.argmax(held >= held[-1] / 2)) + 1]] = True
    return found.reshape(plane.shape)
