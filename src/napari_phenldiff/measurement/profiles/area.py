"""Area occupied: how much of the field a marker covers."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.profile import (
    AUTO,
    Channel,
    ImageResult,
    Profile,
    channel_index,
    measurable_plane,
)
from napari_phenldiff.measurement.segmentation.outlines import perimeter
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    components,
    segment_area,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings


class AreaSettings(Settings):
    """Settings of the profile *area*.

    Attributes
    ----------
    channel : int or str
        Name of the channel, or its number (from 0). By default the one whose name says so.
    segmentation : SegmentationSettings
        What counts as occupied. `split` and `half_maximum` are not used.
    """

    channel: Channel = AUTO
    segmentation: SegmentationSettings = SegmentationSettings()


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
    columns: Mapping[str, str] = {
        "channel": "string",
        "threshold": "float64",
        "area_px": "Int64",
        "perimeter_px": "float64",
        "total_px": "Int64",
        "area_fraction": "float64",
        "area_um2": "float64",
        "perimeter_um": "float64",
    }
    settings_type = AreaSettings
    parts: Mapping[str, tuple[str, str]] = {"area": ("channel", "segmentation")}

    def measure(
        self, image: Image, settings: AreaSettings, thresholds: Mapping[str, float]
    ) -> ImageResult:
        """Measure one image; see `Profile.measure`."""
        index = channel_index(image, settings.channel)
        values = {
            "channel": image.channel_names[index],
            "threshold": thresholds["area"],
            "total_px": image.data[index].size,
        }
        plane, reason = measurable_plane(image, settings.channel)
        if not reason and math.isnan(thresholds["area"]):
            reason = "no threshold could be found"
        if reason:
            return ImageResult(values, reason=reason)

        mask = segment_area(plane, settings.segmentation, thresholds["area"])
        if mask.all():
            reason = "the whole field is above the threshold"
            return ImageResult(values, reason=reason, objects=mask)
        area = int(mask.sum())
        length = perimeter(mask)
        values |= {"area_px": area, "perimeter_px": length, "area_fraction": area / mask.size}
        if image.pixel_size is not None:
            height, width = image.pixel_size
            values["area_um2"] = area * height * width
            if math.isclose(height, width, rel_tol=1e-3):
                values["perimeter_um"] = length * width
        return ImageResult(values, objects=mask)

    def labels(
        self, image: Image, settings: AreaSettings, thresholds: Mapping[str, float]
    ) -> np.ndarray:
        """Give the connected pieces of the occupied area; see `Profile.labels`."""
        plane, reason = measurable_plane(image, settings.channel)
        if reason or math.isnan(thresholds["area"]):
            return np.zeros(image.shape, np.int32)
        return components(segment_area(plane, settings.segmentation, thresholds["area"]))
