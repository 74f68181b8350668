"""Whether what should not change did not: a channel's pixels, nuclei one to one, the cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_phenldiff.images.channel_names import is_nuclear
from napari_phenldiff.images.image import Image

LEAST_OVERLAP = 0.5
"""Intersection over union from which on two nuclei are the same one; above 0.5 none has two."""


@dataclass(frozen=True, slots=True)
class NucleiMatch:
    """Nuclei of one image, before and after.

    Attributes
    ----------
    n_before, n_after, n_matched : int
    kept : float
        Matched nuclei over the mean of both numbers (the F1 score): 1 if all are there, and no
        other. NaN if there is none on either side.
    overlap : float
        Mean intersection over union of matched nuclei; NaN without any.
    distance : float
        Mean distance of their centroids in pixels; NaN without any.
    """

    n_before: int
    n_after: int
    n_matched: int
    kept: float
    overlap: float
    distance: float


def correlations(before: Sequence[Image], after: Sequence[Image]) -> np.ndarray:
    """Correlate the pixels of each channel, before and after.

    Parameters
    ----------
    before, after : sequence of Image
        The same images in the same order, of the same shapes.

    Returns
    -------
    numpy.ndarray of shape (N, C)
        Pearson's correlation; NaN where a channel has one value everywhere.
    """
    rows = []
    for one, other in zip(before, after, strict=True):
        if one.data.shape != other.data.shape:
            raise ValueError(f"images of shapes {one.data.shape} and {other.data.shape}")
        rows.append([pearson(a, b) for a, b in zip(one.data, other.data, strict=True)])
    return np.array(rows, float)


def match_nuclei(before: np.ndarray, after: np.ndarray) -> NucleiMatch:
    """Match the nuclei of two images of the same cells, one to one.

    Of all ways to pair nuclei that overlap by `LEAST_OVERLAP`, the one with the most overlap.

    Parameters
    ----------
    before, after : numpy.ndarray of shape (Y, X), int
        Labels; 0 is background.

    Returns
    -------
    NucleiMatch
    """
    from scipy.ndimage import center_of_mass
    from scipy.optimize import linear_sum_assignment

    if before.shape != after.shape:
        raise ValueError(f"labels of shapes {before.shape} and {after.shape}")
    # numbers may have gaps
    first, a = np.unique(before, return_inverse=True)
    second, b = np.unique(after, return_inverse=True)
    shared = np.zeros((first.size, second.size))
    np.add.at(shared, (a.ravel(), b.ravel()), 1)
    sizes_a, sizes_b = shared.sum(1), shared.sum(0)
    rows, columns = np.flatnonzero(first), np.flatnonzero(second)
    inside = shared[np.ix_(rows, columns)]
    union = sizes_a[rows][:, None] + sizes_b[columns][None] - inside
    overlap = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    overlap[overlap < LEAST_OVERLAP] = 0
    i, j = linear_sum_assignment(overlap, maximize=True)
    found = overlap[i, j] > 0
    i, j = i[found], j[found]
    both = rows.size + columns.size
    kept = 2 * i.size / both if both else math.nan
    if not i.size:
        return NucleiMatch(rows.size, columns.size, 0, kept, math.nan, math.nan)
    centres = [
        np.array(center_of_mass(labels > 0, labels, numbers))
        for labels, numbers in ((before, first[rows[i]]), (after, second[columns[j]]))
    ]
    distance = float(np.hypot(*(centres[1] - centres[0]).T).mean())
    return NucleiMatch(rows.size, columns.size, i.size, kept, float(overlap[i, j].mean()), distance)


def kept_nuclei(
    before: Sequence[Image], after: Sequence[Image], channel: str | int, fit_on: Sequence[Image]
) -> list[NucleiMatch]:
    """Cut out the nuclei in both images of each pair alike, and match them.

    Parameters
    ----------
    before, after : sequence of Image
        The same images in the same order.
    channel : str or int
        That shows the nuclei.
    fit_on : sequence of Image
        Real images that the one threshold for all comes from.

    Returns
    -------
    list of NucleiMatch
        One per image.

    Raises
    ------
    InputError
        If the images have no such channel.
    """
    from napari_phenldiff.measurement.cells import CellsSettings
    from napari_phenldiff.measurement.profiles import find_profile, fit_thresholds, labels

    settings = CellsSettings(nuclei_channel=channel)
    thresholds = fit_thresholds(find_profile("cells"), fit_on, settings)
    return [
        match_nuclei(*(labels("cells", image, settings, thresholds=thresholds) for image in pair))
        for pair in zip(before, after, strict=True)
    ]


def own_source(sources: Sequence[Image], translated: Sequence[Image]) -> float:
    """Tell how often a translated image is more like its own source than like another one.

    By the correlation over all channels, each less its mean and at unit variance. Needs no channel
    that stays as it is, and is 0.5 for a model that draws some cells of the target condition.

    Parameters
    ----------
    sources, translated : sequence of Image
        The same images in the same order, of one shape.

    Returns
    -------
    float
        Over all pairs of a translated image and another source; NaN for less than two images, or
        of different shapes.
    """
    if len(sources) != len(translated):
        raise ValueError(f"{len(sources)} source and {len(translated)} translated images")
    if len(sources) < 2 or len({image.data.shape for image in (*sources, *translated)}) > 1:
        return math.nan
    a, b = (np.stack([_standard(image.data) for image in x]) for x in (sources, translated))
    similar = b @ a.T
    own = np.diag(similar)[:, None]
    others = ~np.eye(len(similar), dtype=bool)
    # what is equally like all of them, such as an empty image, tells nothing
    wins = (own > similar) + 0.5 * (own == similar)
    return float(wins[others].mean())


def nuclei_channel(channel_names: Sequence[str]) -> str | None:
    """Guess the channel that shows nuclei from its name; None if none sounds like it."""
    return next((name for name in channel_names if is_nuclear(name)), None)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlate two arrays of one shape; NaN where one is the same everywhere."""
    x, y = (v.astype(np.float64) - v.mean() for v in (a, b))
    norm = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / norm if norm > 0 else math.nan


def _standard(data: np.ndarray) -> np.ndarray:
    values = data.astype(np.float64)
    values -= values.mean((1, 2), keepdims=True)
    deviation = values.std((1, 2), keepdims=True)
    np.divide(values, deviation, out=values, where=deviation > 0)
    return values.ravel()
