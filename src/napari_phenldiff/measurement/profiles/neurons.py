"""Neurons: the area that they occupy, and the length and branching of their neurites."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.profile import (
    AUTO,
    Channel,
    ImageResult,
    Profile,
    measurable_plane,
    micrometres_per_pixel,
    square_micrometres,
)
from napari_phenldiff.measurement.profiles.translocation import NUCLEI
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    components,
    segment_area,
    segment_objects,
)
from napari_phenldiff.measurement.segmentation.skeleton import (
    centre_lines,
    line_marks,
    measure_lines,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings, ThresholdSettings

# Neither the noise in a neurite's outline nor specks of it are neurites.
NEURITES = SegmentationSettings(
    threshold=ThresholdSettings(smoothing=1.3488), max_hole=10, min_size=20, dimmest=0.5
)


class NeuronsSettings(Settings):
    """Settings of the profile *neurons*.

    Attributes
    ----------
    channel : int or str
        Name of the channel with the neurons, or its number (from 0). By default the one whose
        name says so.
    nuclei_channel : int, str or None
        Channel with the nuclei, to count cell bodies: nuclei that lie for more than half in the
        neurons' area. None if there is none.
    marker_channel : int, str or None
        Channel whose brightness is measured inside of the neurons' area, such as alpha-synuclein.
        None if there is none.
    segmentation : SegmentationSettings
        How neurons are cut out. `split` and `half_maximum` are not used.
    nuclei : SegmentationSettings
        How nuclei are cut out.
    min_branch : float
        Side branches of the centre line that are shorter, in pixels, are taken for roughness of
        the outline and left out. 0 is off.
    background_percentile : float
        Percentile of the marker in the image that is taken for its background.
    """

    channel: Channel = AUTO
    nuclei_channel: Channel | None = None
    marker_channel: Channel | None = None
    segmentation: SegmentationSettings = NEURITES
    nuclei: SegmentationSettings = NUCLEI
    min_branch: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    background_percentile: float = Field(default=5.0, ge=0, le=100)


class Neurons(Profile[NeuronsSettings]):
    """Area of neurons, and length, branches and ends of their centre lines.

    Columns, all of the whole image: ``area_px``, ``total_px``, ``area_fraction``;
    ``neurite_length_px``, with cell bodies counted as their centre line; ``n_branch_points``,
    ``n_end_points``, ``n_segments`` (lines between branch points and ends) and
    ``segment_length_px`` (their mean length). ``n_somas`` with a channel for the nuclei;
    ``marker_mean`` (in grey values), ``marker_background`` and ``marker_above_background`` (the
    difference) with one for the marker. In micrometres where the pixel size is known, lengths
    only for square pixels. Nothing above the threshold is an area and a length of 0.
    """

    name = "neurons"
    title = "Neurons and neurites"
    main_column = "area_fraction"
    axis_label = "area occupied by neurons (fraction of the field)"
    columns: Mapping[str, str] = {
        "threshold": "float64",
        "area_px": "Int64",
        "total_px": "Int64",
        "area_fraction": "float64",
        "neurite_length_px": "float64",
        "n_branch_points": "Int64",
        "n_end_points": "Int64",
        "n_segments": "Int64",
        "segment_length_px": "float64",
        "n_somas": "Int64",
        "marker_mean": "float64",
        "marker_background": "float64",
        "marker_above_background": "float64",
        "area_um2": "float64",
        "neurite_length_um": "float64",
        "segment_length_um": "float64",
    }
    settings_type = NeuronsSettings
    parts: Mapping[str, tuple[str, str]] = {
        "neurons": ("channel", "segmentation"),
        "nuclei": ("nuclei_channel", "nuclei"),
    }
    channel_words = re.compile(r"neuro|neurit|tubulin|tuj-?1|map-?2|axon|dendrit", re.I)

    def measure(
        self, image: Image, settings: NeuronsSettings, thresholds: Mapping[str, float]
    ) -> ImageResult:
        """Measure one image; see `Profile.measure`."""
        plane, reason = measurable_plane(image, settings.channel)
        values: dict[str, Any] = {"threshold": thresholds["neurons"], "total_px": plane.size}
        if not reason and math.isnan(thresholds["neurons"]):
            reason = "no threshold could be found"
        if reason:
            return ImageResult(values, reason=reason)
        mask = segment_area(plane, settings.segmentation, thresholds["neurons"])
        if mask.all():
            reason = "the whole field is above the threshold"
            return ImageResult(values, reason=reason, objects=mask)

        area = int(mask.sum())
        lines = measure_lines(centre_lines(mask, settings.min_branch))
        values |= {
            "area_px": area,
            "area_fraction": area / mask.size,
            "neurite_length_px": lines.length_px,
            "n_branch_points": lines.n_branch_points,
            "n_end_points": lines.n_end_points,
            "n_segments": lines.n_segments,
        }
        if lines.n_segments:
            values["segment_length_px"] = lines.length_px / lines.n_segments
        pixel_area, pixel = square_micrometres(image), micrometres_per_pixel(image)
        if pixel_area is not None:
            values["area_um2"] = area * pixel_area
        if pixel is not None:
            for name in ("neurite_length", "segment_length"):
                values[f"{name}_um"] = values.get(f"{name}_px", math.nan) * pixel
        reasons = [
            _count_somas(image, mask, settings, thresholds, values),
            _measure_marker(image, mask, settings, values),
        ]
        return ImageResult(values, reason="; ".join(filter(None, reasons)), objects=mask)

    def labels(
        self, image: Image, settings: NeuronsSettings, thresholds: Mapping[str, float]
    ) -> np.ndarray:
        """Give the connected pieces of the neurons' area; see `Profile.labels`."""
        plane, reason = measurable_plane(image, settings.channel)
        if reason or math.isnan(thresholds["neurons"]):
            return np.zeros(image.shape, np.int32)
        return components(segment_area(plane, settings.segmentation, thresholds["neurons"]))

    def lines(self, objects: np.ndarray, settings: NeuronsSettings) -> np.ndarray:
        """Give the centre lines that are measured; see `Profile.lines`."""
        mask = objects > 0
        if mask.all():
            return np.zeros(mask.shape, np.uint8)  # such a field is not measured
        return line_marks(centre_lines(mask, settings.min_branch))


def _count_somas(
    image: Image,
    mask: np.ndarray,
    settings: NeuronsSettings,
    thresholds: Mapping[str, float],
    values: dict[str, Any],
) -> str:
    """Add the number of nuclei that lie in the neurons; return why it could not be told."""
    if settings.nuclei_channel is None:
        return ""
    plane, reason = measurable_plane(image, settings.nuclei_channel)
    if reason:
        return reason
    if math.isnan(thresholds["nuclei"]):
        return "no threshold for the nuclei could be found"
    labels = segment_objects(plane, settings.nuclei, thresholds["nuclei"])
    if labels.all():
        return "the whole field is one nucleus"
    sizes = np.bincount(labels.ravel())[1:]
    inside = np.bincount(labels[mask], minlength=sizes.size + 1)[1:]
    values["n_somas"] = int(np.count_nonzero(inside > 0.5 * sizes))
    return ""


def _measure_marker(
    image: Image, mask: np.ndarray, settings: NeuronsSettings, values: dict[str, Any]
) -> str:
    """Add the marker's brightness in the neurons; return why it could not be told."""
    if settings.marker_channel is None:
        return ""
    plane, reason = measurable_plane(image, settings.marker_channel)
    if reason:
        return reason
    background = float(np.percentile(plane, settings.background_percentile))
    values["marker_background"] = background
    if not mask.any():
        return "no neuron to measure the marker in"
    mean = float(plane[mask].mean(dtype=np.float64))
    values |= {"marker_mean": mean, "marker_above_background": mean - background}
    return ""
