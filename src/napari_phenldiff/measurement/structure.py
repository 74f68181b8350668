"""Structure of images with brightness taken out: coherence, granularity, spots, and layout.

A marker that gets dimmer and a structure that falls apart may have the same area above a threshold.
These measures tell them apart: none changes when a plane is multiplied by a positive number or
something is added to all of it, so that a dimmed copy of an image has the structure of the image.
They need no segmentation, no threshold of the experiment and no pixel size: all lengths are in
pixels, so that only images of the same magnification may be compared.

Planes are arrays of shape (..., Y, X): one plane, a stack of them, or images with channels. Each
plane is measured by itself. A plane that has one value everywhere, or values that are not finite,
has no structure: NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

SCALES = (1, 2, 4, 8, 16)
"""Radii in pixels of the discs that `granularity` opens with."""


SPOT = 1.5
"""Standard deviation in pixels of a spot, as a Gaussian, that `spot_density` and `spot_energy` look
for: a full width at half maximum of 3.5 px."""


SPOTS_PER = 10_000
"""Area in square pixels that spots are counted for: 100 x 100."""


def coherence(
    planes: ArrayLike, *, smoothing: float = 1.0, background: float = 12.0, window: float = 4.0
) -> np.ndarray:
    """Tell how far the edges in a neighbourhood run the same way: 1 along fibres, near 0 in dots.

    The coherence of the structure tensor, averaged with the energy of the gradient as its weight:
    with the tensor's entries xx, yy and xy, the sum over the plane of
    ``sqrt((xx - yy)^2 + 4 xy^2)`` over that of ``xx + yy``.

    Parameters
    ----------
    planes : array-like of shape (..., Y, X)
    smoothing : float
        Standard deviation in pixels of the Gaussian that takes noise away.
    background : float
        Of the one that is subtracted.
    window : float
        Of the neighbourhood that the tensor is averaged over.

    Returns
    -------
    numpy.ndarray of shape (...), float64
        Between 0 and 1.

    Notes
    -----
    Gradients by Sobel's filter. Structure tensor: Bigun and Granlund, Proc. ICCV 1987, 433;
    coherence: Jaehne, *Digital Image Processing*, 1997. Noise alone has about 0.3, not 0, as the
    neighbourhood is finite.
    """
    from scipy import ndimage as ndi

    def measure(plane: np.ndarray) -> float:
        smooth = ndi.gaussian_filter(plane, smoothing)
        smooth -= ndi.gaussian_filter(smooth, background)
        x, y = ndi.sobel(smooth, axis=1), ndi.sobel(smooth, axis=0)
        xx, yy, xy = (ndi.gaussian_filter(v, window) for v in (x * x, y * y, x * y))
        return _ratio(np.hypot(xx - yy, 2 * xy).sum(), (xx + yy).sum())

    return _each(planes, measure)


def granularity(
    planes: ArrayLike, *, scales: Sequence[int] = SCALES, smoothing: float = 1.0
) -> np.ndarray:
    """Give the spectrum of sizes of bright structures: how much of the light is in which size.

    The plane is opened with larger and larger discs. What an opening takes away that the one before
    it left is bright and about as wide as the disc. The spectrum is the light taken away at each
    step, as a part of what all steps together take away.

    Parameters
    ----------
    planes : array-like of shape (..., Y, X)
    scales : sequence of int
        Radii of the discs in pixels, rising.
    smoothing : float
        Standard deviation in pixels of the Gaussian that takes noise away.

    Returns
    -------
    numpy.ndarray of shape (..., K), float64
        One part for each scale; they sum up to 1.

    Notes
    -----
    Granulometry by openings: Matheron 1975; Serra, *Image Analysis and Mathematical Morphology*,
    1982; for cells: Ravkin and Temov, Proc. SPIE 3260, 1998. CellProfiler's *MeasureGranularity*
    divides by the light of the whole plane, which depends on its offset.
    """
    from scipy import ndimage as ndi
    from skimage.morphology import disk, opening

    discs = [disk(int(radius), decomposition="sequence") for radius in scales]

    def measure(plane: np.ndarray) -> np.ndarray:
        left = [ndi.gaussian_filter(plane, smoothing)]
        for radius, disc in zip(scales, discs, strict=True):
            # beyond its edge a plane goes on as its mirror image
            opened = opening(np.pad(left[0], radius, mode="symmetric"), disc)
            opened = opened[radius:-radius, radius:-radius]
            # discs on a grid do not fit into each other everywhere
            left.append(np.minimum(opened, left[-1]))
        taken = -np.diff([plane.mean() for plane in left])
        return np.array([_ratio(part, taken.sum()) for part in taken])

    return _each(planes, measure, len(scales))


def mean_size(spectrum: ArrayLike, scales: Sequence[int] = SCALES) -> np.ndarray:
    """Put a spectrum of `granularity` into one size.

    Parameters
    ----------
    spectrum : array-like of shape (..., K)
    scales : sequence of int
        The radii of the spectrum.

    Returns
    -------
    numpy.ndarray of shape (...), float64
        Geometric mean of the radii in pixels, each weighed with its part.
    """
    result: np.ndarray = np.exp2(np.asarray(spectrum, np.float64) @ np.log2(scales))
    return result


def spot_density(planes: ArrayLike, *, size: float = SPOT, contrast: float = 0.2) -> np.ndarray:
    """Count bright spots per area.

    A spot is a peak that falls off to all sides: a local maximum of the weaker of the two principal
    curvatures. Along a fibre that one is near 0, however bright the fibre is.

    Parameters
    ----------
    planes : array-like of shape (..., Y, X)
    size : float
        Standard deviation of a spot in pixels.
    contrast : float
        Least curvature of a spot, times the square of its size, in standard deviations of the
        plane smoothed to that size.

    Returns
    -------
    numpy.ndarray of shape (...), float64
        Spots per 10,000 square pixels.

    Notes
    -----
    Curvatures are the eigenvalues of the Hessian at the scale `size`, normalised as by Lindeberg,
    Int J Comput Vis 1998, 30:79.
    """
    from scipy import ndimage as ndi

    reach = 2 * round(size) + 1

    def measure(plane: np.ndarray) -> float:
        curved = _roundness(plane, size)
        peaks = (curved == ndi.maximum_filter(curved, reach)) & (curved > contrast)
        return float(np.count_nonzero(peaks)) / plane.size * SPOTS_PER

    return _each(planes, measure)


def spot_energy(planes: ArrayLike, *, size: float = SPOT) -> np.ndarray:
    """Tell how much of the contrast of a plane is in small bright spots.

    The root mean square of what `spot_density` looks for the peaks of, where it is positive.

    Parameters
    ----------
    planes : array-like of shape (..., Y, X)
    size : float
        Standard deviation of a spot in pixels.

    Returns
    -------
    numpy.ndarray of shape (...), float64
        In standard deviations of the plane smoothed to that size.
    """

    def measure(plane: np.ndarray) -> float:
        return float(np.sqrt(np.square(np.maximum(_roundness(plane, size), 0)).mean()))

    return _each(planes, measure)


def layout_correlation(planes: ArrayLike, sources: ArrayLike, *, sigma: float = 6.0) -> np.ndarray:
    """Tell whether things are where they were: correlate coarse images (layout r).

    Parameters
    ----------
    planes, sources : array-like of shape (..., Y, X)
        The same planes in the same order, such as translated and real source ones.
    sigma : float
        Standard deviation in pixels of the Gaussian that both are smoothed by.

    Returns
    -------
    numpy.ndarray of shape (...), float64
        Pearson's correlation: 1 if all has stayed in its place, 0 if nothing has. NaN where one of
        the two has one value everywhere.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    from scipy import ndimage as ndi

    given, before = np.asarray(planes), np.asarray(sources)
    if given.shape != before.shape:
        raise ValueError(f"planes of shapes {given.shape} and {before.shape}")

    def smooth(plane: np.ndarray) -> np.ndarray | None:
        found = _standardised(plane)
        return None if found is None else _standardised(ndi.gaussian_filter(found, sigma))

    found = np.full(given.shape[:-2], np.nan)
    for at in np.ndindex(found.shape):
        a, b = smooth(given[at]), smooth(before[at])
        if a is not None and b is not None:
            found[at] = np.clip((a * b).mean(), -1, 1)
    return found


def _roundness(plane: np.ndarray, size: float) -> np.ndarray:
    """Weaker of the two principal curvatures, positive on bright spots, without a unit."""
    from scipy import ndimage as ndi

    deviation = ndi.gaussian_filter(plane, size).std()
    yy, xx, xy = (
        ndi.gaussian_filter(plane, size, order=order) for order in ((2, 0), (0, 2), (1, 1))
    )
    curved: np.ndarray = -(yy + xx) / 2 - np.hypot((yy - xx) / 2, xy)
    return curved * (size**2 / deviation)


def _each(
    planes: ArrayLike,
    measure: Callable[[np.ndarray], float | np.ndarray],
    length: int | None = None,
) -> np.ndarray:
    """Measure each plane at mean 0 and standard deviation 1; NaN where it has no structure."""
    given = np.asarray(planes)
    if given.ndim < 2:
        raise ValueError(f"planes of shape {given.shape}: (..., Y, X) is expected")
    places = given.shape[:-2]
    found = np.full(places if length is None else (*places, length), np.nan)
    for at in np.ndindex(places):
        plane = _standardised(given[at])
        if plane is not None:
            found[at] = measure(plane)
    return found


def _standardised(plane: np.ndarray) -> np.ndarray | None:
    """Take mean and standard deviation out of a plane; None if nothing is left."""
    values = np.asarray(plane, np.float64)
    if not np.isfinite(values).all():
        return None
    centred = values - values.mean()
    deviation = float(centred.std())
    # less is the error of the mean
    if not deviation > 1e-12 * float(np.abs(values).max(initial=0)):
        return None
    result: np.ndarray = centred / deviation
    return result


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else np.nan
