"""Area occupied: how much of the field a marker covers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.profile import (
    AUTO,
    Channel,
    ImageResult,
    Profile,
    occupied,
    with_micrometres,
)
from napari_phenldiff.measurement.segmentation.outlines import perimeter
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import Settings


class AreaSettings(Settings):
    """Settings of the profile *area*."""

    channel: Channel = AUTO
    """Name of the channel, or its number (from 0). By default the one whose name says so."""

    segmentation: SegmentationSettings = SegmentationSettings()
    """What counts as occupied. `split` and `half_maximum` are not used."""


class Area(Profile[AreaSettings]):
    """Area, perimeter and fraction of the field above a threshold, as CellProfiler has them.

    Columns are ``area_px``, ``perimeter_px`` (scikit-image's estimate, four neighbours),
    ``total_px``, ``area_fraction`` and, where the pixel size is known, ``area_um2`` and
    ``perimeter_um`` (only for square pixels). No pixel above the threshold is an area of 0: that
    is a result. A field that is foreground everywhere is not, since its structures have no edge.
    """

    name = "area"
    title = "Area occupied"
    main_column = "area_fraction"
    axis_label = "area occupied (fraction of the field)"
    columns = with_micrometres(
        {
            "channel": "string",
            "threshold": "float64",
            "area_px": "Int64",
            "perimeter_px": "float64",
            "total_px": "Int64",
            "area_fraction": "float64",
        }
    )
    settings_type = AreaSettings
    parts: Mapping[str, tuple[str, str]] = {"area": ("channel", "segmentation")}
    watched = ("area_fraction",)

    def doubts(self, seen: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
        """Say of which condition no image has any area, if others have; see `Profile.doubts`."""
        known = {name: columns["area_fraction"] for name, columns in seen.items()}
        known = {name: values[np.isfinite(values)] for name, values in known.items()}
        empty = [name for name, values in known.items() if values.size > 1 and not values.any()]
        if not empty or not any(np.median(values) > 0 for values in known.values() if values.size):
            return []
        told = (
            f"Nothing is above the threshold in any image of {' and '.join(empty)}, while there is "
            "in others: make sure that the marker is absent there, and that these images are not "
            "on a lower scale of grey values, or too dim for the threshold."
        )
        return [told]

    def measure_part(
        self,
        plane: np.ndarray,
        objects: np.ndarray,
        image: Image,
        settings: AreaSettings,
        thresholds: Mapping[str, float],
    ) -> ImageResult:
        """Measure the occupied area; see `Profile.measure_part`."""
        return ImageResult(
            occupied(objects) | {"perimeter_px": perimeter(objects)}, objects=objects
        )
