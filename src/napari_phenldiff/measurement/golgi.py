"""Golgi apparatus: its area and fragments, and how far it is scattered around the nucleus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.interface import (
    Channel,
    ImageResult,
    Profile,
    measurable_plane,
    micrometres_per_pixel,
    square_micrometres,
)
from napari_phenldiff.measurement.segment import (
    SegmentationSettings,
    components,
    segment_area,
    segment_objects,
)
from napari_phenldiff.measurement.threshold import Settings, ThresholdSettings
from napari_phenldiff.measurement.translocation import NUCLEI

# Smaller specks are noise, not stacks.
GOLGI = SegmentationSettings(threshold=ThresholdSettings(smoothing=1.3488), min_size=4)

_PER_CELL = ("scatter_px", "scatter_centroid_px", "spread_px", "compactness")


class GolgiSettings(Settings):
    """Settings of the profile *golgi*.

    Attributes
    ----------
    channel : int or str
        Number (from 0) or name of the channel with the Golgi apparatus.
    nuclei_channel : int, str or None
        Channel with the nuclei. Without one, only what is of the whole field is measured.
    segmentation : SegmentationSettings
        How the Golgi apparatus is cut out. `split` and `half_maximum` are not used.
    nuclei : SegmentationSettings
        How nuclei are cut out.
    """

    channel: Channel = 0
    nuclei_channel: Channel | None = None
    segmentation: SegmentationSettings = GOLGI
    nuclei: SegmentationSettings = NUCLEI


class Golgi(Profile[GolgiSettings]):
    """Area, fragments, scatter and compactness of the Golgi apparatus.

    Of the field: ``area_px``, ``total_px``, ``area_fraction``, ``n_fragments`` (connected pieces)
    and ``fragment_area_px`` (their mean area); ``half_area_px`` and ``half_area_fraction``, the
    brightest pixels that hold half of the light above the image's median, whatever the threshold.

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

    In micrometres where the pixel size is known, lengths only for square pixels. Without nuclei
    there is nothing of cells, and the reason says so; conditions are then compared in
    ``half_area_fraction``. No Golgi is an area of 0.
    """

    name = "golgi"
    title = "Golgi apparatus"
    main_column = "compactness"
    axis_label = "compactness of the Golgi per cell (1: a disc)"
    columns: Mapping[str, str] = {
        "threshold": "float64",
        "nuclei_threshold": "float64",
        "area_px": "Int64",
        "total_px": "Int64",
        "area_fraction": "float64",
        "n_fragments": "Int64",
        "fragment_area_px": "float64",
        "half_area_px": "Int64",
        "half_area_fraction": "float64",
        "n_cells": "Int64",
        "n_measured": "Int64",
        "cell_area_px": "float64",
        "cell_n_fragments": "float64",
        "scatter_px": "float64",
        "scatter_centroid_px": "float64",
        "spread_px": "float64",
        "compactness": "float64",
        "area_um2": "float64",
        "fragment_area_um2": "float64",
        "half_area_um2": "float64",
        "cell_area_um2": "float64",
        "scatter_um": "float64",
        "scatter_centroid_um": "float64",
        "spread_um": "float64",
    }
    cell_columns = ("label", "y", "x", "cell_area_px", "cell_n_fragments", *_PER_CELL)
    settings_type = GolgiSettings

    def suited(self, settings: GolgiSettings) -> Golgi:
        """Compare fields where cells cannot be told apart; see `Profile.suited`."""
        if settings.nuclei_channel is not None:
            return self
        fields = Golgi()
        fields.main_column = "half_area_fraction"
        fields.axis_label = "area that holds half of the Golgi signal (fraction of the field)"
        return fields

    def segmented(self, settings: GolgiSettings) -> dict[str, tuple[Channel, SegmentationSettings]]:
        """Name what is cut out: the ``golgi`` and, if there is a channel for them, ``nuclei``."""
        parts = {"golgi": (settings.channel, settings.segmentation)}
        if settings.nuclei_channel is not None:
            parts["nuclei"] = (settings.nuclei_channel, settings.nuclei)
        return parts

    def measure(
        self, image: Image, settings: GolgiSettings, thresholds: Mapping[str, float]
    ) -> ImageResult:
        """Measure one image; see `Profile.measure`."""
        plane, reason = measurable_plane(image, settings.channel)
        values: dict[str, Any] = {
            "threshold": thresholds["golgi"],
            "nuclei_threshold": thresholds.get("nuclei", math.nan),
            "total_px": plane.size,
        }
        if not reason and math.isnan(thresholds["golgi"]):
            reason = "no threshold could be found"
        if reason:
            return ImageResult(values, reason=reason)
        mask = segment_area(plane, settings.segmentation, thresholds["golgi"])
        if mask.all():
            reason = "the whole field is above the threshold"
            return ImageResult(values, reason=reason, objects=mask)

        values |= _half_area(plane)
        fragments = components(mask)
        area, n_fragments = int(mask.sum()), int(fragments.max())
        values |= {
            "area_px": area,
            "area_fraction": area / mask.size,
            "n_fragments": n_fragments,
        }
        if n_fragments:
            values["fragment_area_px"] = area / n_fragments
        nuclei, reason = _nuclei(image, settings, thresholds)
        cells: dict[str, np.ndarray] = {}
        objects = fragments
        if nuclei is not None:
            objects, cells = _measure_cells(plane, mask, nuclei)
            values |= {"n_cells": int(nuclei.max()), "n_measured": len(cells["label"])}
            for name in ("cell_area_px", "cell_n_fragments", *_PER_CELL):
                if len(cells["label"]):
                    values[name] = float(np.median(cells[name]))
            if not nuclei.any():
                reason = "no nucleus"
            elif not len(cells["label"]):
                reason = "no Golgi above the threshold"
        for table in (values, cells):
            _add_micrometres(table, image)
        return ImageResult(values, cells, reason, objects)

    def labels(
        self, image: Image, settings: GolgiSettings, thresholds: Mapping[str, float]
    ) -> np.ndarray:
        """Give the Golgi of each cell, or its fragments without nuclei; see `Profile.labels`."""
        objects = self.measure(image, settings, thresholds).objects
        if objects is None:
            return np.zeros(image.shape, np.int32)
        return components(objects) if objects.dtype.kind == "b" else objects


def _half_area(plane: np.ndarray) -> dict[str, Any]:
    """Count the brightest pixels that hold half of the light above the median."""
    light = np.sort(plane.astype(np.float64).ravel())[::-1]
    # Below the median as well: so the noise of the background adds up to nothing.
    held = np.cumsum(light - np.median(light))
    if held[-1] <= 0:
        return {}
    count = int(np.argmax(held >= held[-1] / 2)) + 1
    return {"half_area_px": count, "half_area_fraction": count / plane.size}


def _nuclei(
    image: Image, settings: GolgiSettings, thresholds: Mapping[str, float]
) -> tuple[np.ndarray | None, str]:
    """Cut out the nuclei (Y, X); None and the reason if that cannot be done."""
    if settings.nuclei_channel is None:
        return None, "no channel for the nuclei: nothing per cell"
    plane, reason = measurable_plane(image, settings.nuclei_channel)
    if not reason and math.isnan(thresholds["nuclei"]):
        reason = "no threshold for the nuclei could be found"
    if reason:
        return None, f"{reason}: nothing per cell"
    labels = segment_objects(plane, settings.nuclei, thresholds["nuclei"])
    if labels.all():
        return None, "the whole field is one nucleus: nothing per cell"
    return labels, ""


def _measure_cells(
    plane: np.ndarray, mask: np.ndarray, nuclei: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Measure the Golgi of each nucleus; those without any are left out.

    Returns the Golgi with the numbers of the rows, (Y, X) int32, and the rows.
    """
    from scipy import ndimage as ndi

    if not nuclei.any() or not mask.any():
        return np.zeros(mask.shape, np.int32), {n: np.empty(0) for n in Golgi.cell_columns}
    distance, nearest = ndi.distance_transform_edt(nuclei == 0, return_indices=True)
    owners = nuclei[tuple(nearest)][mask]
    present, cell = np.unique(owners, return_inverse=True)
    n_cells = present.size
    objects = np.zeros(mask.shape, np.int32)
    objects[mask] = cell + 1
    centres = np.array(ndi.center_of_mass(nuclei > 0, nuclei, present))
    places = np.argwhere(mask).astype(np.float64)
    golgi = plane[mask].astype(np.float64)
    # A pixel at the very threshold still counts a little, however that is chosen.
    weights = np.maximum(golgi - np.median(plane[~mask]), 0) + 1e-9 * max(np.ptp(golgi), 1.0)
    even = np.ones_like(weights)

    def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        total = np.bincount(cell, weights, n_cells)
        return np.asarray(np.bincount(cell, weights * values, n_cells) / total)

    def variance(weights: np.ndarray) -> np.ndarray:
        """Mean squared distance from the own centroid, a pixel being a square and no point."""
        squares = np.full(n_cells, 1 / 6)
        for axis in (0, 1):
            centre = mean(places[:, axis], weights)
            squares += mean((places[:, axis] - centre[cell]) ** 2, weights)
        return squares

    pairs = np.unique(np.stack([cell, components(mask)[mask]]), axis=1)
    area = np.bincount(cell, minlength=n_cells)
    return objects, {
        "label": np.arange(1, n_cells + 1),
        "y": centres[:, 0],
        "x": centres[:, 1],
        "cell_area_px": area,
        "cell_n_fragments": np.bincount(pairs[0], minlength=n_cells),
        # From the edge between two pixels, not from the centre of the outermost one.
        "scatter_px": mean(np.maximum(distance[mask] - 0.5, 0), weights),
        "scatter_centroid_px": mean(np.hypot(*(places - centres[cell]).T), weights),
        "spread_px": np.sqrt(variance(weights)),
        "compactness": area / (2 * math.pi * variance(even)),
    }


def _add_micrometres(table: dict[str, Any], image: Image) -> None:
    """Add columns in micrometres for those in pixels, as far as the pixel size tells."""
    pixel_area, pixel = square_micrometres(image), micrometres_per_pixel(image)
    for name in [name for name in table if name.endswith("_px") and name != "total_px"]:
        side = pixel_area if "area" in name else pixel
        if side is not None:
            unit = "um2" if "area" in name else "um"
            table[f"{name.removesuffix('_px')}_{unit}"] = table[name] * side
