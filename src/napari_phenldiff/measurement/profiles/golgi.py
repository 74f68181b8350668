"""Golgi apparatus: its area and fragments, and how far it is scattered around the nucleus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.profile import (
    AUTO,
    NUCLEI,
    Channel,
    ImageResult,
    Profile,
    as_labels,
    occupied,
    with_micrometres,
)
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    components,
    drop_small,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings

# From the median absolute deviation to the standard deviation of a normal distribution.
_DEVIATION = 1.4826
# A sum counts as light above this many standard deviations of the noise in it.
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
    # Values below the median count as negative, so that noise of the background cancels.
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


OVER_THRESHOLD = (
    "cell_area_px",
    "cell_n_fragments",
    "scatter_px",
    "scatter_centroid_px",
    "spread_px",
    "compactness",
)


OVER_HALF = ("cell_half_area_px", "half_spread_px", "half_compactness")
CELL_COLUMNS = ("label", "y", "x", *OVER_THRESHOLD, *OVER_HALF)


def measure_cells(
    plane: np.ndarray, mask: np.ndarray, nuclei: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """Measure the Golgi of each nucleus.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        The Golgi, in grey values.
    mask : numpy.ndarray of shape (Y, X), bool
        What of it is above the threshold.
    nuclei : numpy.ndarray of shape (Y, X), int
        0 is background, nuclei are 1, 2, ... without gaps.

    Returns
    -------
    objects : numpy.ndarray of shape (Y, X), int32
        The mask with the numbers of the rows.
    cells : dict of str to numpy.ndarray
        A row per nucleus that has Golgi in the mask; lengths in pixels.
    medians : dict of str to float
        Over these rows; of `OVER_HALF` over all nuclei around which there is light.
    """
    from scipy import ndimage as ndi

    objects = np.zeros(mask.shape, np.int32)
    empty = {name: np.empty(0) for name in CELL_COLUMNS}
    if not nuclei.any():
        return objects, empty, {}
    distance, nearest = ndi.distance_transform_edt(nuclei == 0, return_indices=True)
    owners = nuclei[tuple(nearest)]
    half = _over_half(plane, owners)
    medians = {n: float(np.nanmedian(v)) for n, v in half.items() if np.isfinite(v).any()}
    if not mask.any():
        return objects, empty, medians

    present, cell = np.unique(owners[mask], return_inverse=True)
    n_cells = present.size
    objects[mask] = owners[mask]
    centres = np.array(ndi.center_of_mass(nuclei > 0, nuclei, present))
    places = np.argwhere(mask).astype(np.float64)
    golgi = plane[mask].astype(np.float64)
    # A small weight for pixels at the threshold, so that no cell has a total of zero.
    weights = np.maximum(golgi - np.median(plane[~mask]), 0) + 1e-9 * max(np.ptp(golgi), 1.0)
    pairs = np.unique(np.stack([cell, components(mask)[mask]]), axis=1)
    area = np.bincount(cell, minlength=n_cells)
    found = {
        "cell_area_px": area,
        "cell_n_fragments": np.bincount(pairs[0], minlength=n_cells),
        # From the edge between two pixels, not from the centre of the outermost one.
        "scatter_px": _mean(np.maximum(distance[mask] - 0.5, 0), cell, weights),
        "scatter_centroid_px": _mean(np.hypot(*(places - centres[cell]).T), cell, weights),
        "spread_px": np.sqrt(_variance(places, cell, weights)),
        "compactness": area / (2 * math.pi * _variance(places, cell, np.ones_like(weights))),
    }
    medians |= {name: float(np.median(values)) for name, values in found.items()}
    cells = {
        "label": present,
        "y": centres[:, 0],
        "x": centres[:, 1],
        **found,
        **{name: values[present - 1] for name, values in half.items()},
    }
    return objects, cells, medians


def _over_half(plane: np.ndarray, owners: np.ndarray) -> dict[str, np.ndarray]:
    """Measure the brightest pixels that hold half of the light around each nucleus.

    Returns one value per nucleus, NaN where there is no more light than noise could give.
    """
    half = half_light(plane, owners, above_noise=True)
    present, cell = np.unique(owners[half], return_inverse=True)
    found = {name: np.full(int(owners.max()), math.nan) for name in OVER_HALF}
    if present.size:
        area = np.bincount(cell)
        variance = _variance(np.argwhere(half).astype(np.float64), cell, np.ones(cell.size))
        measured = (area, np.sqrt(variance), area / (2 * math.pi * variance))
        for name, values in zip(OVER_HALF, measured, strict=True):
            found[name][present - 1] = values
    return found


def _mean(values: np.ndarray, cell: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the pixels of each cell, which are numbered from 0 without gaps."""
    return np.asarray(np.bincount(cell, weights * values) / np.bincount(cell, weights))


def _variance(places: np.ndarray, cell: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared distance from the cell's centroid; 1/6 is that within a square pixel."""
    squares = np.full(int(cell.max()) + 1, 1 / 6)
    for along in places.T:
        centre = _mean(along, cell, weights)
        squares += _mean((along - centre[cell]) ** 2, cell, weights)
    return squares


# Smaller specks are noise. Smoothing would remove single stacks.
GOLGI = SegmentationSettings(min_size=4, dimmest=0.75)


class GolgiSettings(Settings):
    """Settings of the profile *golgi*."""

    channel: Channel = AUTO
    """Name of the channel with the Golgi apparatus, or its number (from 0). By default the one
    whose name says so."""

    nuclei_channel: Channel | None = None
    """Channel with the nuclei. Without one, only what is of the whole field is measured."""

    segmentation: SegmentationSettings = GOLGI
    """How the Golgi apparatus is cut out. `split` and `half_maximum` are not used."""

    nuclei: SegmentationSettings = NUCLEI
    """How nuclei are cut out."""


class Golgi(Profile[GolgiSettings]):
    """Area, fragments, scatter and compactness of the Golgi apparatus.

    Of the field: ``area_px``, ``total_px``, ``area_fraction``, ``n_fragments`` (connected pieces)
    and ``fragment_area_px`` (their mean area); ``half_area_px`` and ``half_area_fraction``, the
    brightest pixels that hold half of the light above the image's median, whatever the threshold,
    and ``n_half_fragments``, their pieces that are as large as fragments have to be.

    Of each cell, which is all Golgi that is nearest to one nucleus, and as median over the cells
    of an image that have Golgi (``n_measured`` of ``n_cells``):

    - ``cell_area_px`` and ``cell_n_fragments``: area and fragments; a fragment between two nuclei
      counts for both.
    - ``scatter_px``: mean distance of the Golgi signal from the edge of the nucleus, 0 over it;
      ``scatter_centroid_px``: from the nucleus' centroid. Weighted with the brightness above the
      median of what is not Golgi.
    - ``spread_px``: root mean square distance of the signal from its own centroid, weighted alike.
    - ``compactness``: A / (2 pi V), A being the area and V the mean squared distance of its pixels
      from their centroid: 1 for a disc, less the more the same area is scattered.

    Of each cell as well, and as median over all nuclei around which there is light, whatever the
    threshold: ``cell_half_area_px``, the brightest pixels nearest to the nucleus that hold half of
    their light, and these pixels' ``half_spread_px`` and ``half_compactness``, as above but not
    weighted. A Golgi that is spread so thinly that one threshold for the experiment misses most of
    it still is spread in them; conditions are therefore compared in ``half_compactness``. Haze in
    the cells counts as light.

    In micrometres where the pixel size is known, lengths only for square pixels. Without nuclei
    there is nothing of cells, and the reason says so; conditions are then compared in
    ``half_area_fraction``. No Golgi is an area of 0.
    """

    name = "golgi"
    title = "Golgi apparatus"
    main_column = "half_compactness"
    axis_label = "compactness of the Golgi's brightest half per cell (1: a disc)"
    column_texts: Mapping[str, str] = {"n_measured": "number of cells with Golgi"}
    columns = with_micrometres(
        {
            "threshold": "float64",
            "nuclei_threshold": "float64",
            "area_px": "Int64",
            "total_px": "Int64",
            "area_fraction": "float64",
            "n_fragments": "Int64",
            "fragment_area_px": "float64",
            "half_area_px": "Int64",
            "half_area_fraction": "float64",
            "n_half_fragments": "Int64",
            "n_cells": "Int64",
            "n_measured": "Int64",
            "cell_area_px": "float64",
            "cell_n_fragments": "float64",
            "scatter_px": "float64",
            "scatter_centroid_px": "float64",
            "spread_px": "float64",
            "compactness": "float64",
            "cell_half_area_px": "float64",
            "half_spread_px": "float64",
            "half_compactness": "float64",
        }
    )
    cell_columns = CELL_COLUMNS
    settings_type = GolgiSettings
    parts: Mapping[str, tuple[str, str]] = {
        "golgi": ("channel", "segmentation"),
        "nuclei": ("nuclei_channel", "nuclei"),
    }
    shown = ("golgi",)

    def suited(self, settings: GolgiSettings) -> Golgi:
        """Compare fields where cells cannot be told apart; see `Profile.suited`."""
        if settings.nuclei_channel is not None:
            return self
        fields = Golgi()
        fields.main_column = "half_area_fraction"
        fields.axis_label = "area that holds half of the Golgi signal (fraction of the field)"
        return fields

    def measure_part(
        self,
        plane: np.ndarray,
        objects: np.ndarray,
        image: Image,
        settings: GolgiSettings,
        thresholds: Mapping[str, float],
    ) -> ImageResult:
        """Measure the Golgi of the field and of each cell; see `Profile.measure_part`."""
        fragments = components(objects)
        values: dict[str, Any] = {
            **_half_area(plane, settings.segmentation.min_size),
            **occupied(objects),
            "n_fragments": int(fragments.max()),
        }
        if values["n_fragments"]:
            values["fragment_area_px"] = values["area_px"] / values["n_fragments"]
        if settings.nuclei_channel is None:
            reason = "no channel for the nuclei: nothing per cell"
            return ImageResult(values, reason=reason, objects=fragments)
        nuclei = self.cut_out("nuclei", image, settings, thresholds)
        if nuclei.reason or nuclei.objects is None:
            reason = f"{nuclei.reason}: nothing per cell"
            return ImageResult(values, reason=reason, objects=fragments)
        owned, cells, medians = measure_cells(plane, objects, nuclei.objects)
        values |= {"n_cells": int(nuclei.objects.max()), "n_measured": len(cells["label"])}
        reasons = []
        if not nuclei.objects.any():
            reasons = ["no nucleus"]
        else:
            if not len(cells["label"]):
                reasons.append("no Golgi above the threshold")
            if "half_compactness" not in medians:
                reasons.append("no more light around the nuclei than noise")
        return ImageResult(values | medians, cells, "; ".join(reasons), owned)

    def labels(
        self, image: Image, settings: GolgiSettings, thresholds: Mapping[str, float]
    ) -> np.ndarray:
        """Give the Golgi of each cell, or its fragments without nuclei; see `Profile.labels`."""
        return as_labels(self.measure(image, settings, thresholds).objects, image)


def _half_area(plane: np.ndarray, min_size: int) -> dict[str, Any]:
    """Measure the brightest pixels of the field that hold half of its light."""
    half = half_light(plane)
    area = int(half.sum())
    if not area:
        return {}
    pieces = drop_small(components(half), min_size)
    return {
        "half_area_px": area,
        "half_area_fraction": area / plane.size,
        "n_half_fragments": int(pieces.max()),
    }
