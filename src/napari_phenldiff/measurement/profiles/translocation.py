"""Translocation: how much of a marker is in the nucleus, against the cytoplasm around it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.measurement.profiles.profile import (
    AUTO,
    NUCLEI,
    Channel,
    ImageResult,
    Profile,
    doubts_about_background,
    measurable_plane,
)
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.settings import Shown

_NO_LOGARITHM = (
    "half of the cells or more have no signal in the {}, so that their median ratio is {} and has "
    "no logarithm: compare fraction_translocated if it differs, since what is left of log2_ratio "
    "are the images in which fewer cells have moved"
)
IN_NOISE = "what is above the background in the {} is within its noise"
"""Reason of an image whose ratio is one of noise; the gap says where."""

IN_NOISE_WHERE = {
    (True, True): "nuclei and rings",
    (False, True): "rings",
    (True, False): "nuclei",
}
"""By whether it is so in the nuclei and in the rings."""

_NOISE = 2.5
"""Standard deviations of the noise that a mean has to lie above the background, which is a low
percentile: of nothing but noise, 5 % are 1.6 below its mean."""

_DEVIATION = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""

_MANY_WITHOUT = 0.05
"""Part of the cells of a condition that may be without a ratio before it is said."""


class TranslocationSettings(Settings):
    """Settings of the profile *translocation*."""

    nuclei_channel: Channel = AUTO
    """Name of the channel with the nuclei, or its number (from 0). By default the one whose name
    says so."""

    marker_channel: Channel = AUTO
    """Name of the channel with the protein that moves, or its number (from 0). By default the one
    whose name says so."""

    nuclei: SegmentationSettings = NUCLEI
    """How nuclei are cut out."""

    ring_width: Annotated[int, Field(ge=1), Shown(unit="px")] = 5
    """Width in pixels of the ring of cytoplasm around a nucleus."""

    ring_gap: Annotated[int, Field(ge=0), Shown(unit="px")] = 1
    """Pixels left out between nucleus and ring, where blur mixes the two."""

    background_percentile: Annotated[float, Field(ge=0, le=100)] = 5.0
    """Percentile of the marker in the image that is taken for its background."""

    translocated_above: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Ratio above which a cell counts as translocated."""


class Translocation(Profile[TranslocationSettings]):
    """Ratio of a marker in the nucleus to a ring of cytoplasm around it.

    For each cell, ``ratio`` = (mean in the nucleus - background) / (mean in the ring -
    background). It is infinite where only the nucleus is brighter than the background, 0 where
    only the ring is, and missing where neither is or there is no ring. The ring is shared out
    between neighbouring nuclei and holds no pixel of any. For each image, ``ratio`` is the median
    over its cells and ``fraction_translocated`` the fraction of cells with a ratio above
    `TranslocationSettings.translocated_above`; ``n_cells`` counts the nuclei, ``n_measured`` those
    with a ratio. Effects are compared in ``log2_ratio``, where twice and half are equally far from
    1; an image whose median is 0 or infinite has none, and a reason. One of which nuclei or rings
    are no more above the background than its noise has a reason as well: its ratio says nothing.
    """

    name = "translocation"
    title = "Translocation into the nucleus"
    main_column = "log2_ratio"
    axis_label = "nucleus / ring ratio (log2)"
    column_texts: Mapping[str, str] = {"n_measured": "number of cells with a ratio"}
    columns: Mapping[str, str] = {
        "threshold": "float64",
        "n_cells": "Int64",
        "n_measured": "Int64",
        "ratio": "float64",
        "log2_ratio": "float64",
        "fraction_translocated": "float64",
        "nucleus_mean": "float64",
        "ring_mean": "float64",
        "background": "float64",
    }
    watched = ("n_cells", "n_measured", "background", "ring_mean", "nucleus_mean")
    cell_columns = (
        "label",
        "y",
        "x",
        "area_px",
        "nucleus_mean",
        "ring_mean",
        "ratio",
        "log2_ratio",
    )
    settings_type = TranslocationSettings
    parts: Mapping[str, tuple[str, str]] = {"nuclei": ("nuclei_channel", "nuclei")}

    def measure_part(
        self,
        plane: np.ndarray,
        objects: np.ndarray,
        image: Image,
        settings: TranslocationSettings,
        thresholds: Mapping[str, float],
    ) -> ImageResult:
        """Measure the marker in nuclei and rings; see `Profile.measure_part`."""
        marker, reason = measurable_plane(image, settings.marker_channel)
        if reason:
            return ImageResult({}, reason=reason)
        background = float(np.percentile(marker, settings.background_percentile))
        cells = _measure_cells(marker, objects, background, settings)
        values: dict[str, Any] = {"n_cells": len(cells["label"]), "background": background}
        if not values["n_cells"]:
            return ImageResult(values, cells, "no nucleus", objects)
        measured = ~np.isnan(cells["ratio"])
        values["n_measured"] = int(measured.sum())
        if not measured.any():
            reason = "no cell has signal in its nucleus or ring"
            return ImageResult(values, cells, reason, objects)
        ratios = cells["ratio"][measured]
        values |= {
            name: float(np.median(cells[name][measured]))
            for name in ("nucleus_mean", "ring_mean", "ratio")
        }
        values["fraction_translocated"] = float(np.mean(ratios > settings.translocated_above))
        reason = ""
        if values["ratio"] == 0:
            reason = _NO_LOGARITHM.format("nucleus", "0")
        elif math.isinf(values["ratio"]):
            reason = _NO_LOGARITHM.format("ring", "infinite")
            del values["ratio"]
        else:
            values["log2_ratio"] = math.log2(values["ratio"])
            least = background + _NOISE * noise_of(marker)
            dim = values["nucleus_mean"] < least, values["ring_mean"] < least
            if any(dim):
                reason = IN_NOISE.format(IN_NOISE_WHERE[dim])
        return ImageResult(values, cells, reason, objects)

    def doubts(self, seen: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
        """Say where cells have no ratio, or no background; see `Profile.doubts`."""
        told = []
        for condition, columns in seen.items():
            known = np.isfinite(columns["n_cells"])
            cells = int(columns["n_cells"][known].sum())
            lacking = cells - int(np.nansum(columns["n_measured"]))
            if lacking > _MANY_WITHOUT * cells:
                told.append(
                    f"{condition}: {lacking} of {count(cells, 'cell')} ({lacking / cells:.0%}) "
                    "have no ratio, since neither nucleus nor ring is brighter than the "
                    "background, or there is no room for a ring: they are in no median and no "
                    "fraction."
                )
        ring = {name: columns["ring_mean"] for name, columns in seen.items()}
        return told + doubts_about_background(
            {name: columns["background"] for name, columns in seen.items()},
            ring,
            {name: np.fmax(ring[name], columns["nucleus_mean"]) for name, columns in seen.items()},
            "the rings around nuclei",
        )

    def surroundings(self, objects: np.ndarray, settings: TranslocationSettings) -> np.ndarray:
        """Give the rings; see `Profile.surroundings`."""
        return ring_labels(objects, settings.ring_width, settings.ring_gap)


def noise_of(plane: np.ndarray) -> float:
    """Estimate the standard deviation of the noise between neighbouring pixels.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        In grey values.

    Returns
    -------
    float
        In grey values; too low where an image was smoothed, and 0 of less than 3 x 3 pixels.

    References
    ----------
    J. Immerkaer (1996), Fast noise variance estimation, CVIU 64, 300-302; here with the median
    absolute deviation, so that edges do not count.
    """
    rough = np.diff(np.diff(plane.astype(np.float64), 2, axis=0), 2, axis=1) / 6
    if not rough.size:
        return 0.0
    return float(_DEVIATION * np.median(np.abs(rough - np.median(rough))))


def ring_labels(labels: np.ndarray, width: int, gap: int) -> np.ndarray:
    """Rings around objects, each with the label of its object.

    Parameters
    ----------
    labels : numpy.ndarray of shape (Y, X), int
        Objects; 0 is background.
    width, gap : int
        Width of the ring and its distance from the object, in pixels.

    Returns
    -------
    numpy.ndarray of shape (Y, X), int
        A pixel belongs to the nearest object; none is nearer to any object than the gap.
    """
    from scipy import ndimage as ndi

    distance, nearest = ndi.distance_transform_edt(labels == 0, return_indices=True)
    return np.where((distance > gap) & (distance <= gap + width), labels[tuple(nearest)], 0)


def _measure_cells(
    marker: np.ndarray, labels: np.ndarray, background: float, settings: TranslocationSettings
) -> dict[str, np.ndarray]:
    """Measure each nucleus of an image; a ratio is NaN where nucleus and ring have no signal."""
    from scipy import ndimage as ndi

    numbers = np.arange(1, labels.max() + 1)
    if not numbers.size:
        return {name: np.empty(0) for name in Translocation.cell_columns}
    rings = ring_labels(labels, settings.ring_width, settings.ring_gap)
    values = marker.astype(np.float64)
    centres = np.array(ndi.center_of_mass(labels > 0, labels, numbers))
    nucleus = ndi.mean(values, labels, numbers)
    # A nucleus between others may have no ring at all.
    has_ring = np.isin(numbers, rings)
    ring = np.full(numbers.size, np.nan)
    ring[has_ring] = ndi.mean(values, rings, numbers[has_ring])
    ratio = np.full(numbers.size, np.nan)
    in_nucleus, in_ring = nucleus > background, ring > background
    measured = in_nucleus & in_ring
    ratio[measured] = (nucleus[measured] - background) / (ring[measured] - background)
    # Where the background is 0, as in images that it was subtracted from, these are the cells of
    # which the marker has moved most.
    ratio[in_nucleus & ~in_ring & has_ring] = math.inf
    ratio[~in_nucleus & in_ring] = 0
    with np.errstate(divide="ignore"):
        log2_ratio = np.log2(ratio)
    return {
        "label": numbers,
        "y": centres[:, 0],
        "x": centres[:, 1],
        "area_px": np.bincount(labels.ravel())[1:],
        "nucleus_mean": nucleus,
        "ring_mean": ring,
        "ratio": ratio,
        "log2_ratio": log2_ratio,
    }
