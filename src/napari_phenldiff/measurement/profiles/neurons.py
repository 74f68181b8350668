"""Neurons: the area that they occupy, and the length and branching of their neurites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.profile import (
    AUTO,
    NUCLEI,
    Channel,
    ImageResult,
    Profile,
    doubts_about_background,
    measurable_plane,
    occupied,
    with_micrometres,
)
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
)
from napari_phenldiff.measurement.segmentation.skeleton import (
    centre_lines,
    line_marks,
    measure_lines,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings, ThresholdSettings
from napari_phenldiff.settings import Shown

# Smoothed, and without small specks, so that noise is not taken for neurites.
NEURITES = SegmentationSettings(
    threshold=ThresholdSettings(smoothing=1.3488), max_hole=10, min_size=20, dimmest=0.5
)


class NeuronsSettings(Settings):
    """Settings of the profile *neurons*."""

    channel: Channel = AUTO
    """Name of the channel with the neurons, or its number (from 0). By default the one whose name
    says so."""

    nuclei_channel: Channel | None = None
    """Channel with the nuclei, to count cell bodies: nuclei that lie for more than half in the
    neurons' area. None if there is none."""

    marker_channel: Channel | None = None
    """Channel whose brightness is measured inside of the neurons' area, such as alpha-synuclein.
    None if there is none."""

    segmentation: SegmentationSettings = NEURITES
    """How neurons are cut out. `split` and `half_maximum` are not used."""

    nuclei: SegmentationSettings = NUCLEI
    """How nuclei are cut out."""

    min_branch: Annotated[float, Field(ge=0, allow_inf_nan=False), Shown(unit="px")] = 5.0
    """Side branches of the centre line that are shorter, in pixels, are taken for roughness of the
    outline and left out. 0 is off."""

    background_percentile: Annotated[float, Field(ge=0, le=100)] = 5.0
    """Percentile of the marker in the image that is taken for its background."""


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
    column_texts: Mapping[str, str] = {
        "marker_mean": "mean of the marker within neurons",
        "marker_background": "background of the marker in the image",
        "marker_above_background": "mean of the marker within neurons, above background",
    }
    columns = with_micrometres(
        {
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
        }
    )
    settings_type = NeuronsSettings
    parts: Mapping[str, tuple[str, str]] = {
        "neurons": ("channel", "segmentation"),
        "nuclei": ("nuclei_channel", "nuclei"),
    }
    shown = ("neurites", "microtubules")
    watched = ("marker_background", "marker_mean")

    def measure_part(
        self,
        plane: np.ndarray,
        objects: np.ndarray,
        image: Image,
        settings: NeuronsSettings,
        thresholds: Mapping[str, float],
    ) -> ImageResult:
        """Measure area, centre lines, cell bodies and marker; see `Profile.measure_part`."""
        lines = measure_lines(centre_lines(objects, settings.min_branch))
        values = {
            **occupied(objects),
            "neurite_length_px": lines.length_px,
            "n_branch_points": lines.n_branch_points,
            "n_end_points": lines.n_end_points,
            "n_segments": lines.n_segments,
        }
        if lines.n_segments:
            values["segment_length_px"] = lines.length_px / lines.n_segments
        reasons = []
        if settings.nuclei_channel is not None:
            nuclei = self.cut_out("nuclei", image, settings, thresholds)
            reasons.append(nuclei.reason)
            if nuclei.objects is not None and not nuclei.reason:
                values["n_somas"] = _count_inside(nuclei.objects, objects)
        if settings.marker_channel is not None:
            brightness, reason = _measure_marker(image, objects, settings)
            values |= brightness
            reasons.append(reason)
        return ImageResult(values, reason="; ".join(filter(None, reasons)), objects=objects)

    def doubts(self, seen: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
        """Say where the marker has no background; see `Profile.doubts`."""
        mean = {name: columns["marker_mean"] for name, columns in seen.items()}
        background = {name: columns["marker_background"] for name, columns in seen.items()}
        return doubts_about_background(background, mean, mean, "the neurons")

    def lines(self, objects: np.ndarray, settings: NeuronsSettings) -> np.ndarray:
        """Give the centre lines that are measured; see `Profile.lines`."""
        mask = objects > 0
        if mask.all():
            return np.zeros(mask.shape, np.uint8)  # such a field is not measured
        return line_marks(centre_lines(mask, settings.min_branch))


def _count_inside(nuclei: np.ndarray, mask: np.ndarray) -> int:
    """Count the nuclei (Y, X) that lie for more than half in a mask."""
    sizes = np.bincount(nuclei.ravel())[1:]
    inside = np.bincount(nuclei[mask], minlength=sizes.size + 1)[1:]
    return int(np.count_nonzero(inside > 0.5 * sizes))


def _measure_marker(
    image: Image, mask: np.ndarray, settings: NeuronsSettings
) -> tuple[dict[str, float], str]:
    """Measure the marker's brightness in the neurons, and say why it could not be told."""
    assert settings.marker_channel is not None
    plane, reason = measurable_plane(image, settings.marker_channel)
    if reason:
        return {}, reason
    background = float(np.percentile(plane, settings.background_percentile))
    values = {"marker_background": background}
    if not mask.any():
        return values, "no neuron to measure the marker in"
    mean = float(plane[mask].mean(dtype=np.float64))
    return values | {"marker_mean": mean, "marker_above_background": mean - background}, ""
