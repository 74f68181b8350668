"""Golgi apparatus: its area and fragments, and how far it is scattered around the nucleus."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.golgi_cells import CELL_COLUMNS, measure_cells
from napari_phenldiff.measurement.half_light import half_light
from napari_phenldiff.measurement.interface import (
    AUTO,
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
    drop_small,
    segment_area,
    segment_objects,
)
from napari_phenldiff.measurement.threshold import Settings
from napari_phenldiff.measurement.translocation import NUCLEI

# Smaller specks are noise, not stacks. Smoothing would wash out stacks that lie alone.
GOLGI = SegmentationSettings(min_size=4, dimmest=0.75)


class GolgiSettings(Settings):
    """Settings of the profile *golgi*.

    Attributes
    ----------
    channel : int or str
        Name of the channel with the Golgi apparatus, or its number (from 0). By default the one
        whose name says so.
    nuclei_channel : int, str or None
        Channel with the nuclei. Without one, only what is of the whole field is measured.
    segmentation : SegmentationSettings
        How the Golgi apparatus is cut out. `split` and `half_maximum` are not used.
    nuclei : SegmentationSettings
        How nuclei are cut out.
    """

    channel: Channel = AUTO
    nuclei_channel: Channel | None = None
    segmentation: SegmentationSettings = GOLGI
    nuclei: SegmentationSettings = NUCLEI


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
        "area_um2": "float64",
        "fragment_area_um2": "float64",
        "half_area_um2": "float64",
        "cell_area_um2": "float64",
        "scatter_um": "float64",
        "scatter_centroid_um": "float64",
        "spread_um": "float64",
        "cell_half_area_um2": "float64",
        "half_spread_um": "float64",
    }
    cell_columns = CELL_COLUMNS
    settings_type = GolgiSettings
    parts: Mapping[str, tuple[str, str]] = {
        "golgi": ("channel", "segmentation"),
        "nuclei": ("nuclei_channel", "nuclei"),
    }
    channel_words = re.compile(r"golgi|gm-?130|giantin|golgin|tgn-?46|galt|mannosidase", re.I)

    def suited(self, settings: GolgiSettings) -> Golgi:
        """Compare fields where cells cannot be told apart; see `Profile.suited`."""
        if settings.nuclei_channel is not None:
            return self
        fields = Golgi()
        fields.main_column = "half_area_fraction"
        fields.axis_label = "area that holds half of the Golgi signal (fraction of the field)"
        return fields

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

        values |= _half_area(plane, settings.segmentation.min_size)
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
            objects, cells, medians = measure_cells(plane, mask, nuclei)
            values |= {"n_cells": int(nuclei.max()), "n_measured": len(cells["label"]), **medians}
            if not nuclei.any():
                reason = "no nucleus"
            else:
                dark = self.main_column not in medians
                reasons = ["no Golgi above the threshold"] if not len(cells["label"]) else []
                reasons += ["no more light around the nuclei than noise"] if dark else []
                reason = "; ".join(reasons)
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


def _add_micrometres(table: dict[str, Any], image: Image) -> None:
    """Add columns in micrometres for those in pixels, as far as the pixel size tells."""
    pixel_area, pixel = square_micrometres(image), micrometres_per_pixel(image)
    for name in [name for name in table if name.endswith("_px") and name != "total_px"]:
        side = pixel_area if "area" in name else pixel
        if side is not None:
            unit = "um2" if "area" in name else "um"
            table[f"{name.removesuffix('_px')}_{unit}"] = table[name] * side
