"""Whether cells stay the same: correlation of channels, nuclei matched one to one, cell counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import Chosen
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.evidence import Cells, Effect
from napari_phenldiff.evaluation.numbers import Kept, Number, Spread
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.stains import nuclei_channel
from napari_phenldiff.images.wells import Wells, well_of_image
from napari_phenldiff.settings import in_message

if TYPE_CHECKING:
    from napari_phenldiff.measurement.segmentation.thresholds import Settings

LEAST_OVERLAP = 0.5
"""Intersection over union from which on two nuclei are the same one; above 0.5 none has two."""
SAME_CELL = 0.1
"""With so little overlap a nucleus may have shrunk or moved, but the cell is still there."""
_GAINS = (0.25, 4.0)
"""A nucleus that is dimmer than this part of what it was is gone."""
_BRIGHT = 75
"""Percentile over nuclei of how bright they still are: some of them may have gone."""


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
    n_same : int
        Nuclei that overlap by `SAME_CELL`, one to one: cells that are neither lost nor invented,
        whatever became of their nuclei.
    """

    n_before: int
    n_after: int
    n_matched: int
    kept: float
    overlap: float
    distance: float
    n_same: int


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
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if before.shape != after.shape:
        raise ValueError(f"labels of shapes {before.shape} and {after.shape}")
    # numbers may have gaps
    first, a, sizes_a = np.unique(before, return_inverse=True, return_counts=True)
    second, b, sizes_b = np.unique(after, return_inverse=True, return_counts=True)
    rows, columns = np.flatnonzero(first), np.flatnonzero(second)
    # A field may hold thousands of nuclei, each of which meets few others.
    pairs, shared = np.unique(a.ravel() * second.size + b.ravel(), return_counts=True)
    i, j = np.divmod(pairs, second.size)
    nuclei = (first[i] != 0) & (second[j] != 0)
    i, j, shared = i[nuclei], j[nuclei], shared[nuclei]
    overlap = shared / (sizes_a[i] + sizes_b[j] - shared)
    # as many cells as can be, whatever their overlap
    near = overlap >= SAME_CELL
    shape = (first.size, second.size)
    same = csr_array((np.ones(int(near.sum())), (i[near], j[near])), shape=shape)
    n_same = int(np.count_nonzero(maximum_bipartite_matching(same) >= 0))
    enough = overlap >= LEAST_OVERLAP
    i, j, overlap = _most_overlap(i[enough], j[enough], overlap[enough], shape)
    both = rows.size + columns.size
    kept = 2 * i.size / both if both else math.nan
    if not i.size:
        return NucleiMatch(rows.size, columns.size, 0, kept, math.nan, math.nan, n_same)
    centres = [
        np.array(center_of_mass(labels > 0, labels, numbers))
        for labels, numbers in ((before, first[i]), (after, second[j]))
    ]
    distance = float(np.hypot(*(centres[1] - centres[0]).T).mean())
    mean = float(overlap.mean())
    return NucleiMatch(rows.size, columns.size, i.size, kept, mean, distance, n_same)


def nuclei_settings(channel: str | int) -> Settings:
    """Return settings of the profile *cells* for the nuclei of a channel."""
    from napari_phenldiff.measurement.profiles.cells import CellsSettings

    return CellsSettings(nuclei_channel=channel)


def nuclei_thresholds(images: Iterable[Image], channel: str | int) -> dict[str, float]:
    """Find one threshold for the nuclei of all these images; they are gone through once."""
    from napari_phenldiff.measurement.profiles import find_profile
    from napari_phenldiff.measurement.profiles.fitting import fit_thresholds

    return fit_thresholds(find_profile("cells"), images, nuclei_settings(channel))


def _most_overlap(
    i: np.ndarray, j: np.ndarray, overlap: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Choose pairs, one to one, with the most overlap; nuclei that meet are looked at together.

    Parameters
    ----------
    i, j : numpy.ndarray of int
        Nuclei of the pairs in the first and in the second image.
    overlap : numpy.ndarray
        Of the pairs, above 0.
    shape : tuple of int
        Numbers of nuclei.

    Returns
    -------
    i, j, overlap : numpy.ndarray
        Of the chosen pairs, in the order of `i`.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    total = sum(shape)
    graph = coo_array((np.ones(i.size), (i, shape[0] + j)), shape=(total, total))
    _, member = connected_components(graph, directed=False)
    chosen: list[np.ndarray] = []
    order = np.argsort(member[i], kind="stable")
    starts = np.flatnonzero(np.diff(member[i][order], prepend=-1))
    for some in np.split(order, starts[1:]):
        if some.size > 1:
            left, row = np.unique(i[some], return_inverse=True)
            right, column = np.unique(j[some], return_inverse=True)
            gain = np.zeros((left.size, right.size))
            number = np.full(gain.shape, -1)
            gain[row, column], number[row, column] = overlap[some], some
            some = number[linear_sum_assignment(gain, maximize=True)]
            some = some[some >= 0]
        chosen.append(some)
    found = np.concatenate(chosen) if chosen else np.zeros(0, int)
    found = found[np.argsort(i[found], kind="stable")]
    return i[found], j[found], overlap[found]


def nuclei_in(image: Image, channel: str | int, thresholds: Mapping[str, float]) -> np.ndarray:
    """Cut out the nuclei of an image: labels (Y, X), 0 is background."""
    from napari_phenldiff.measurement.measure import labels

    return labels("cells", image, nuclei_settings(channel), thresholds=thresholds)


def match_cells(
    before: Image, after: Image, channel: str, thresholds: Mapping[str, float]
) -> NucleiMatch:
    """Cut out the nuclei of two images of the same cells, and match them one to one.

    Nuclei that are all dimmer or brighter afterwards are still there: the second image is brought
    to the brightness of the first before it is cut, within a factor of four.

    Parameters
    ----------
    before, after : Image
    channel : str
        That shows the nuclei.
    thresholds : mapping of str to float
        As `nuclei_thresholds` gives them, of real images.

    Returns
    -------
    NucleiMatch
    """
    first = nuclei_in(before, channel, thresholds)
    k = before.channel_names.index(channel)
    plane, other = (image.data[k].astype(np.float64) for image in (before, after))
    if np.array_equal(plane, other):
        return match_nuclei(first, first)
    if first.any() and not first.all():
        other = _as_bright(plane, other, first)
    single = Image(other[None].astype(np.float32), (channel,), after.pixel_size, after.name)
    return match_nuclei(first, nuclei_in(single, channel, thresholds))


def kept_nuclei(
    before: Sequence[Image], after: Sequence[Image], channel: str, fit_on: Sequence[Image]
) -> list[NucleiMatch]:
    """Cut out the nuclei in both images of each pair alike, and match them.

    Parameters
    ----------
    before, after : sequence of Image
        The same images in the same order.
    channel : str
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
    thresholds = nuclei_thresholds(fit_on, channel)
    return [
        match_cells(one, other, channel, thresholds)
        for one, other in zip(before, after, strict=True)
    ]


def own_source(
    sources: Sequence[Image], translated: Sequence[Image], given: Sequence[str] = ()
) -> float:
    """Tell how often a translated image is more like its own source than like another one.

    By the correlation over all channels that a model has drawn, each less its mean and at unit
    variance. Is 0.5 for a model that draws some cells of the target condition.

    Parameters
    ----------
    sources, translated : sequence of Image
        The same images in the same order, of one shape.
    given : sequence of str, optional
        Channels that were given to the model and left as they are. Their pixels are those of the
        source, whatever the model draws in the others, so they have no say.

    Returns
    -------
    float
        Over all pairs of a translated image and another source; NaN for less than two images, of
        different shapes, or where all channels are given.
    """
    if len(sources) != len(translated):
        raise ValueError(f"{len(sources)} source and {len(translated)} translated images")
    if len(sources) < 2 or len({image.data.shape for image in (*sources, *translated)}) > 1:
        return math.nan
    drawn = [i for i, name in enumerate(sources[0].channel_names) if name not in given]
    if not drawn:
        return math.nan
    a, b = (np.stack([_standard(image.data[drawn]) for image in x]) for x in (sources, translated))
    similar = b @ a.T
    own = np.diag(similar)[:, None]
    others = ~np.eye(len(similar), dtype=bool)
    # what is equally like all of them, such as an empty image, tells nothing
    wins = (own > similar) + 0.5 * (own == similar)
    return float(wins[others].mean())


class Identity(Kept):
    """What stayed as it was, per image: reconstructed to translated, and real to translated."""

    kept_channel: str | None
    correlation: dict[str, Spread]
    correlation_with_real: dict[str, Spread]
    nuclei_channel: str | None
    nuclei_kept: Spread | None
    nuclei_overlap: Spread | None
    nuclei_distance_px: Spread | None
    own_source: Number
    cells: Cells | None = None
    given: tuple[str, ...] = ()
    """Reference channels: as they are by construction."""


def measure_identity(
    chosen: Chosen,
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    keep: Sequence[str],
    notes: list[str],
    wells: Wells | None = None,
    references: Sequence[str] = (),
) -> tuple[Identity, float | None, float | None]:
    """Measure what should not change.

    Returns
    -------
    found : Identity
    nuclei_kept, correlation_kept : float or None
        What the verdict goes by: of channels that should stay, if there are any. Reference
        channels that are as they were are none of them, since that is so by construction.
    """
    names = chosen.sources[0].channel_names
    inside = correlations(reconstructed, translated)
    whole = correlations(chosen.sources, translated)
    nuclei = nuclei_channel(keep) or nuclei_channel(names)
    kept = overlap = distance = cells = None
    if nuclei is None:
        notes.append(
            "Cells lost or invented were not counted: no channel is named like one of nuclei."
        )
    else:
        fit_on = (*chosen.real_source, *chosen.real_target)
        try:
            found = kept_nuclei(reconstructed, translated, nuclei, fit_on)
        except InputError as error:
            notes.append(f"Nuclei were not matched: {error}")
        else:
            cells = count_cells(chosen, found, nuclei, wells)
            kept = Spread.of([match.kept for match in found])
            overlap = Spread.of([match.overlap for match in found])
            distance = Spread.of([match.distance for match in found])
    given = tuple(name for name in references if _unchanged(reconstructed, translated, name))
    asked = [name for name in keep if name not in given]
    medians = [Spread.of(inside[:, names.index(name)]).median for name in asked]
    if not keep:
        notes.append(
            "No channel is known that should stay as it is; name some with "
            f"{in_message(EvaluationConfig, 'keep')}."
        )
    part = Identity(
        kept_channel=", ".join(keep) or None,
        correlation=Spread.by_channel(names, inside),
        correlation_with_real=Spread.by_channel(names, whole),
        nuclei_channel=nuclei,
        nuclei_kept=kept,
        nuclei_overlap=overlap,
        nuclei_distance_px=distance,
        own_source=own_source(chosen.sources, translated, given),
        cells=cells,
        given=given,
    )
    judged = kept.median if kept is not None and nuclei in asked else None
    known = [value for value in medians if not math.isnan(value)]
    correlation = (min(known) if known else math.nan) if asked else None
    return part, judged, correlation


def _unchanged(before: Sequence[Image], after: Sequence[Image], channel: str) -> bool:
    """Whether a channel is the same in all pairs of images, to the last bit."""
    pairs = [
        [image.data[image.channel_names.index(channel)] for image in pair]
        for pair in zip(before, after, strict=True)
    ]
    return all(np.array_equal(one, other) for one, other in pairs)


def count_cells(
    chosen: Chosen, found: Sequence[NucleiMatch], channel: str, wells: Wells | None
) -> Cells:
    """Count cells in all groups; real ones per image, or per well where these are named."""
    from napari_phenldiff.measurement.statistics.compare import compare

    thresholds = nuclei_thresholds((*chosen.real_source, *chosen.real_target), channel)
    real = []
    for images in (chosen.real_source, chosen.real_target):
        numbers = np.array([nuclei_in(image, channel, thresholds).max() for image in images], float)
        names = np.array([well_of_image(image, wells) for image in images])
        groups = range(len(images)) if wells is None else dict.fromkeys(names)
        index = np.arange(len(images)) if wells is None else names
        real.append(np.array([numbers[index == group].mean() for group in groups]))
    n_before, n_after = sum(x.n_before for x in found), sum(x.n_after for x in found)
    source, target = (float(numbers.mean()) for numbers in real)
    return Cells(
        channel,
        n_before,
        n_after,
        sum(x.n_same for x in found),
        (n_after - n_before) / len(found),
        Effect.from_comparison(compare(*real)),
        target / source if source else math.nan,
    )


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlate two arrays of one shape; NaN where one is the same everywhere."""
    from scipy.stats import pearsonr

    if not a.size or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(pearsonr(a.astype(np.float64), b.astype(np.float64), axis=None).statistic)


def _as_bright(before: np.ndarray, after: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Bring a plane to the brightness of another, by the nuclei that are still bright."""
    from scipy.ndimage import mean

    dark = nuclei == 0
    black, black_after = np.median(before[dark]), np.median(after[dark])
    numbers = np.unique(nuclei[~dark])
    contrast = np.asarray(mean(before - black, nuclei, numbers))
    left = np.asarray(mean(after - black_after, nuclei, numbers))
    known = contrast > 0
    if not known.any():
        return after
    gain = np.clip(np.percentile(left[known] / contrast[known], _BRIGHT), *_GAINS)
    return np.asarray((after - black_after) / gain + black)


def _standard(data: np.ndarray) -> np.ndarray:
    values = data.astype(np.float64)
    values -= values.mean((1, 2), keepdims=True)
    deviation = values.std((1, 2), keepdims=True)
    np.divide(values, deviation, out=values, where=deviation > 0)
    return values.ravel()
