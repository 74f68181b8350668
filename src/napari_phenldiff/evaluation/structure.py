"""Whether translated images have the structure of the target, with brightness taken out.

A measurement may be right over a picture that is wrong: neurites that got dimmer have as little
area above a threshold as neurites that fell apart. So four measures of structure, which no change
of brightness moves, are taken of each channel in all four groups, whatever is measured. Where one
tells the real conditions apart, it says where translated images lie between them: at 0 as the
real source, at 1 as the real target. Where it does not, it has no say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import Chosen
from napari_phenldiff.evaluation.classifier import share_out
from napari_phenldiff.evaluation.numbers import Kept, Number, Spread
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.wells import Wells, well_of_image
from napari_phenldiff.measurement.statistics.compare import compare, holm
from napari_phenldiff.measurement.statistics.intervals import cliffs_delta, delta_interval
from napari_phenldiff.measurement.statistics.recovery import recovery
from napari_phenldiff.measurement.structure import (
    SCALES,
    coherence,
    granularity,
    layout_correlation,
    mean_size,
    spot_density,
    spot_energy,
)

GROUPS = ("source", "target", "reconstructed", "translated")
MEASURES = {
    "coherence": "coherence",
    "granularity": "granularity, mean size in px",
    "spot density": "spots per 10,000 px",
    "spot energy": "spot energy",
}
"""What is measured, and its name with the unit."""
Taken = tuple[dict[str, np.ndarray], ...]
"""Measures of images, see `structure_of`."""


@dataclass(frozen=True, slots=True)
class Between:
    """Where images lie between the real source (0) and the real target (1), and its 95 % interval.

    Attributes
    ----------
    value, low, high : float
        NaN where the real conditions are not told apart.
    """

    value: Number = math.nan
    low: Number = math.nan
    high: Number = math.nan


@dataclass(frozen=True, slots=True)
class StructureMeasure:
    """One measure of structure in one channel.

    Attributes
    ----------
    channel : str
    measure : str
        One of `MEASURES`.
    kept : bool
        Whether the channel should stay as it is, or is given to the model: it has no say then.
    values : dict of str to tuple of float
        Of each image, or of each well, by group (`GROUPS`); granularity as a mean size in pixels.
    auc, auc_low, auc_high : float
        Probability that a real target image has more of it than a real source image, with its 95 %
        interval: 0.5 is no difference. That of granularity is of the whole spectrum, by
        cross-validation.
    p_value : float
        Of the rank test between the real conditions, corrected for the number of measures (Holm).
    translated, reconstructed : Between
    spectrum : dict of str to tuple of float
        Of granularity: the median spectrum of each group, over `scales`.
    scales : tuple of int
        Radii in pixels.
    """

    channel: str
    measure: str
    kept: bool
    values: dict[str, tuple[Number, ...]]
    auc: Number
    auc_low: Number
    auc_high: Number
    p_value: Number
    translated: Between
    reconstructed: Between
    spectrum: dict[str, tuple[Number, ...]] = field(default_factory=dict)
    scales: tuple[int, ...] = ()

    @property
    def least_separation(self) -> float:
        """Least that the interval leaves of how well it tells the real conditions apart."""
        # A spectrum is judged in the direction that other images show: the opposite is chance.
        return self.auc_low if self.spectrum else max(self.auc_low, 1 - self.auc_high)

    def median(self, group: str) -> float:
        """Median over the images or wells of a group that could be measured."""
        known = [value for value in self.values[group] if math.isfinite(value)]
        return float(np.median(known)) if known else math.nan


def measure_structure(
    source: Sequence[Image],
    target: Sequence[Image],
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    source_groups: Sequence[str],
    target_groups: Sequence[str],
    kept: Sequence[str] = (),
    *,
    seed: int = 0,
) -> tuple[StructureMeasure, ...]:
    """Measure the structure of all four groups, and where what was made lies between the real ones.

    Parameters
    ----------
    source, target : sequence of Image
        Real images.
    reconstructed, translated : sequence of Image
        What was made of the first source images, in their order.
    source_groups, target_groups : sequence of str
        Image or well of each real image: what shares one counts as one, with its median.
    kept : sequence of str
        Channels that should stay as they are.
    seed : int
        Of the sharing out of groups for the cross-validation.

    Returns
    -------
    tuple of StructureMeasure
        Of each channel all `MEASURES`.

    Raises
    ------
    InputError
        With less than two images or wells in a condition.
    """
    groups = (source, target, reconstructed, translated)
    return compare_structure(
        dict(zip(GROUPS, map(structure_of, groups), strict=True)),
        source[0].channel_names,
        source_groups,
        target_groups,
        kept,
        seed=seed,
    )


def structure_of(images: Sequence[Image]) -> Taken:
    """Take all measures of images.

    Parameters
    ----------
    images : sequence of Image
        With the same channels.

    Returns
    -------
    tuple of dict of str to numpy.ndarray
        For each channel and each of `MEASURES` an array of shape (N,), of granularity (N, K).
    """
    return tuple(
        {
            measure: np.array([function(image.data[at]) for image in images])
            for measure, function in _FUNCTIONS.items()
        }
        for at in range(images[0].n_channels)
    )


def compare_structure(
    taken: Mapping[str, Taken],
    channels: Sequence[str],
    source_groups: Sequence[str],
    target_groups: Sequence[str],
    kept: Sequence[str] = (),
    *,
    seed: int = 0,
) -> tuple[StructureMeasure, ...]:
    """Do what `measure_structure` does, with measures that `structure_of` has taken.

    Parameters
    ----------
    taken : mapping of str to tuple
        Of each of `GROUPS`.
    channels : sequence of str
        Their names.
    source_groups, target_groups, kept, seed
        See `measure_structure`.

    Returns
    -------
    tuple of StructureMeasure

    Raises
    ------
    InputError
        With less than two images or wells in a condition.
    """
    made_of = source_groups[: len(taken["translated"][0]["coherence"])]
    groups = dict(zip(GROUPS, (source_groups, target_groups, made_of, made_of), strict=True))
    folds = share_out(source_groups, target_groups, seed)
    found: list[StructureMeasure] = []
    for at, channel in enumerate(channels):
        for measure in MEASURES:
            shown = judged = {name: taken[name][at][measure] for name in GROUPS}
            spectrum: dict[str, tuple[Number, ...]] = {}
            if measure == "granularity":
                spectrum = {name: _median_spectrum(judged[name]) for name in GROUPS}
                shown = {name: mean_size(judged[name]) for name in GROUPS}
                judged = _positions(judged, groups, folds)
            found.append(
                StructureMeasure(
                    channel=channel,
                    measure=measure,
                    kept=channel in kept,
                    values={
                        name: tuple(map(float, _units(shown[name], groups[name])))
                        for name in GROUPS
                    },
                    **_judged(judged, groups),
                    spectrum=spectrum,
                    scales=SCALES if spectrum else (),
                )
            )
    # a channel that has no say is no test
    p_values = holm([math.nan if one.kept else one.p_value for one in found])
    return tuple(
        one if one.kept else replace(one, p_value=float(p))
        for one, p in zip(found, p_values, strict=True)
    )


def layouts(sources: Sequence[Image], made: Sequence[Image]) -> np.ndarray:
    """Correlate coarse images with what they were made of (layout r).

    Parameters
    ----------
    sources, made : sequence of Image
        The same images in the same order, of the same shapes.

    Returns
    -------
    numpy.ndarray of shape (N, C)
        See `layout_correlation`.
    """
    pairs = zip(sources, made, strict=True)
    return np.array([layout_correlation(after.data, before.data) for before, after in pairs], float)


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "coherence": coherence,
    "granularity": granularity,
    "spot density": spot_density,
    "spot energy": spot_energy,
}


def _judged(
    values: Mapping[str, np.ndarray], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Tell how well the real conditions are told apart, and where what was made lies."""
    units = {name: _units(values[name], groups[name]) for name in GROUPS}
    source, target = (units[name][np.isfinite(units[name])] for name in ("source", "target"))
    n = len(groups["translated"])
    # the images that were translated are the first of the real ones
    own = _units(values["source"][:n], groups["translated"])
    delta, ends = math.nan, (math.nan, math.nan)
    if source.size and target.size:
        delta, ends = cliffs_delta(source, target), delta_interval(source, target)
    where = {}
    for name in ("translated", "reconstructed"):
        lies = recovery(source, target, units[name], reconstructed=own)
        where[name] = Between(lies.value, lies.low, lies.high)
    return {
        "auc": (delta + 1) / 2,
        "auc_low": (ends[0] + 1) / 2,
        "auc_high": (ends[1] + 1) / 2,
        "p_value": compare(source, target, n_resamples=0).p_value,
        **where,
    }


def _positions(
    spectra: Mapping[str, np.ndarray],
    groups: Mapping[str, Sequence[str]],
    folds: Mapping[str, int],
) -> dict[str, np.ndarray]:
    """Put spectra on the line from the mean source (0) to the mean target (1).

    Nearest centroids with the variances of the scales as their weights; a spectrum is judged by
    those of other images and wells. Rows that are not known give NaN.
    """
    part = {name: np.array([folds[group] for group in groups[name]]) for name in GROUPS}
    found = {name: np.full(len(spectra[name]), np.nan) for name in GROUPS}
    known = {name: np.isfinite(spectra[name]).all(-1) for name in GROUPS}
    for k in sorted(set(folds.values())):
        real = [spectra[x][known[x] & (part[x] != k)] for x in ("source", "target")]
        if min(map(len, real)) < 1:
            continue
        source, target = (rows.mean(0) for rows in real)
        variance = np.concatenate([real[0] - source, real[1] - target]).var(0)
        weights = np.divide(
            target - source, variance, out=np.zeros_like(source), where=variance > 1e-18
        )
        length = float((target - source) @ weights)
        if not length > 0:
            continue
        for name in GROUPS:
            mine = part[name] == k
            found[name][mine] = (spectra[name][mine] - source) @ weights / length
    return found


def _units(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Give the median of each group, in the order in which they come; NaN does not count."""
    by_group: dict[str, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        by_group.setdefault(group, []).append(float(value))
    known = ([v for v in found if math.isfinite(v)] for found in by_group.values())
    return np.array([np.median(found) if found else np.nan for found in known])


def _median_spectrum(rows: np.ndarray) -> tuple[float, ...]:
    known = rows[np.isfinite(rows).all(-1)]
    return tuple(map(float, np.median(known, 0) if len(known) else np.full(rows.shape[-1], np.nan)))


class Structure(Kept):
    """Structure with brightness taken out, and where things are, per channel (layout r)."""

    measures: tuple[StructureMeasure, ...]
    layout: dict[str, Spread]
    layout_reconstructed: dict[str, Spread]


def structure_and_layout(
    chosen: Chosen,
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    keep: Sequence[str],
    wells: Wells | None,
    seed: int,
    notes: list[str],
) -> Structure | None:
    """Measure the structure of all four groups, brightness aside, and the layout."""
    try:
        measures = measure_structure(
            chosen.real_source,
            chosen.real_target,
            reconstructed,
            translated,
            [well_of_image(image, wells) for image in chosen.real_source],
            [well_of_image(image, wells) for image in chosen.real_target],
            keep,
            seed=seed,
        )
    except InputError as error:
        notes.append(f"Structure was not measured: {error}")
        return None
    names = chosen.sources[0].channel_names
    return Structure(
        measures=measures,
        layout=Spread.by_channel(names, layouts(chosen.sources, translated)),
        layout_reconstructed=Spread.by_channel(names, layouts(chosen.sources, reconstructed)),
    )
