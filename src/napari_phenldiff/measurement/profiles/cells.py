"""Cells: how many there are, size and shape of their nuclei, and their brightness."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.profile import (
    AUTO,
    NUCLEI,
    Channel,
    ImageResult,
    Profile,
    with_micrometres,
)
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    unmeasurable,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings, ThresholdSettings

# Otsu's threshold would lose the cytoplasm, which is dim.
CYTOPLASM = SegmentationSettings(
    threshold=ThresholdSettings(method="minimum-cross-entropy", smoothing=1.3488), max_hole=50
)


_SHAPE = ("eccentricity", "solidity", "axis_major_length_px", "axis_minor_length_px")


INTENSITY = "intensity_mean_"
"""How the columns of the brightness in the nuclei begin."""

SPECKS = "what is whole is far smaller than the nuclei that the border cuts"
"""Reason of an image in which specks are measured, since all nuclei are cut by the border."""

NO_WHOLE = "no whole nucleus"
"""How the reason begins where the border of the image cuts all nuclei."""

_MUCH_SMALLER = 5
"""Part of the area of a nucleus, cut as it is, that a speck has at most."""


class CellsSettings(Settings):
    """Settings of the profile *cells*."""

    nuclei_channel: Channel = AUTO
    """Name of the channel with the nuclei, or its number (from 0). By default the one whose name
    says so."""

    cytoplasm_channel: Channel | None = None
    """Channel that shows the cell bodies, for the area of the cytoplasm. None if there is none."""

    nuclei: SegmentationSettings = NUCLEI
    """How nuclei are cut out."""

    cytoplasm: SegmentationSettings = CYTOPLASM
    """How cell bodies are told from background. `split` and `half_maximum` are not used: what is
    nearest to one nucleus, on ways through the cell bodies, is one cell."""

    exclude_border: bool = True
    """Leave nuclei that the border of the image cuts out of area, shape and brightness. They still
    count as nuclei."""


class Cells(Profile[CellsSettings]):
    """Number, area and shape of nuclei, brightness per channel, and area of cytoplasm.

    ``n_cells`` counts the nuclei of an image, ``n_measured`` those that are whole (see
    `CellsSettings.exclude_border`). Of these, with the names of scikit-image's ``regionprops``:
    ``area_px``, ``eccentricity``, ``solidity``, ``axis_major_length_px``,
    ``axis_minor_length_px`` and, for each channel, ``intensity_mean_CHANNEL`` in the nucleus, in
    grey values with the channel's name in lower case; ``cytoplasm_area_px`` with a channel for it
    (the cell without its nucleus; missing where the border of the image cuts the cell). For each
    image they are medians over its cells. In micrometres where the pixel size is known, lengths
    only for square pixels.
    """

    name = "cells"
    title = "Nuclei and cells"
    main_column = "area_px"
    axis_label = "area of a nucleus (px)"
    column_texts: Mapping[str, str] = {"n_measured": "number of nuclei that are measured"}
    columns = with_micrometres(
        {
            "threshold": "float64",
            "cytoplasm_threshold": "float64",
            "n_cells": "Int64",
            "n_measured": "Int64",
            "area_px": "float64",
            "eccentricity": "float64",
            "solidity": "float64",
            "axis_major_length_px": "float64",
            "axis_minor_length_px": "float64",
            "cytoplasm_area_px": "float64",
        }
    )
    cell_columns = ("label", "y", "x", "area_px", *_SHAPE, "cytoplasm_area_px")
    settings_type = CellsSettings
    parts: Mapping[str, tuple[str, str]] = {
        "nuclei": ("nuclei_channel", "nuclei"),
        "cytoplasm": ("cytoplasm_channel", "cytoplasm"),
    }

    def measure_part(
        self,
        plane: np.ndarray,
        objects: np.ndarray,
        image: Image,
        settings: CellsSettings,
        thresholds: Mapping[str, float],
    ) -> ImageResult:
        """Measure nuclei and cytoplasm; see `Profile.measure_part`."""
        n_cells = int(objects.max())
        whole = np.arange(1, n_cells + 1)
        if settings.exclude_border:
            whole = np.setdiff1d(whole, _at_border(objects))
        cells, reasons = _measure_nuclei(image, objects, whole)
        cells["cytoplasm_area_px"] = np.full(whole.size, math.nan)
        if settings.cytoplasm_channel is not None:
            cytoplasm = self.cut_out("cytoplasm", image, settings, thresholds)
            reasons.append(cytoplasm.reason)
            if cytoplasm.objects is not None and not cytoplasm.reason:
                bodies = cell_bodies(cytoplasm.objects, objects)
                around = np.bincount(bodies[objects == 0], minlength=n_cells + 1)[whole]
                cut = np.isin(whole, _at_border(bodies))
                cells["cytoplasm_area_px"] = np.where(cut, math.nan, around)
                if whole.size and cut.all():
                    reasons.append("no whole cell to measure the cytoplasm of")
        if _are_specks(objects, whole):
            reasons.append(SPECKS)
        if not whole.size:
            reasons.insert(
                0, f"{NO_WHOLE}, since all touch the border" if n_cells else "no nucleus"
            )
        values: dict[str, Any] = {"n_cells": n_cells, "n_measured": whole.size}
        for name, column in cells.items():
            known = column[np.isfinite(column)]
            if name not in ("label", "y", "x"):
                values[name] = float(np.median(known)) if known.size else math.nan
        # A channel may be named by several.
        reason = "; ".join(dict.fromkeys(filter(None, reasons)))
        return ImageResult(values, cells, reason, objects)


def channel_columns(channel_names: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of the brightness in each channel.

    Parameters
    ----------
    channel_names : sequence of str

    Returns
    -------
    tuple of str
        ``intensity_mean_`` and the name in lower case, with ``_`` for all but letters and digits;
        with the channel's number where that is empty or occurs twice.
    """
    plain = [re.sub(r"[\W_]+", "_", name.casefold()).strip("_") for name in channel_names]
    return tuple(
        f"{INTENSITY}{name}"
        if name and plain.count(name) == 1
        else f"{INTENSITY}{name}_{index}".replace("__", "_")
        for index, name in enumerate(plain)
    )


def cell_bodies(mask: np.ndarray, nuclei: np.ndarray) -> np.ndarray:
    """Share the area of cell bodies out between the nuclei.

    Parameters
    ----------
    mask : numpy.ndarray of shape (Y, X), bool
        Where there is a cell.
    nuclei : numpy.ndarray of shape (Y, X), int
        0 is background.

    Returns
    -------
    numpy.ndarray of shape (Y, X), int32
        Each pixel has the number of the nucleus that is nearest on ways within the mask; nuclei
        are part of their cells. Pieces of the mask without a nucleus are 0.
    """
    from scipy import ndimage as ndi
    from skimage.segmentation import watershed

    distance = ndi.distance_transform_edt(nuclei == 0)
    return watershed(distance, nuclei, mask=mask | (nuclei > 0)).astype(np.int32)


def _are_specks(nuclei: np.ndarray, whole: np.ndarray) -> bool:
    """Whether what is measured is far smaller than what the border of the image cuts."""
    areas = np.bincount(nuclei.ravel())
    cut = np.setdiff1d(np.arange(1, areas.size), whole)
    if not whole.size or not cut.size:
        return False
    return bool(_MUCH_SMALLER * np.median(areas[whole]) < np.median(areas[cut]))


def _at_border(labels: np.ndarray) -> np.ndarray:
    """Numbers of the objects that touch the border of the image."""
    edges = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return np.unique(np.concatenate(edges))


def _measure_nuclei(
    image: Image, nuclei: np.ndarray, whole: np.ndarray
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Measure the nuclei with these numbers, and say which channels could not be measured."""
    from scipy import ndimage as ndi
    from skimage.measure import regionprops

    found = {region.label: region for region in regionprops(nuclei)}
    regions = [found[number] for number in whole]
    centres = np.array([region.centroid for region in regions]).reshape(-1, 2)
    cells: dict[str, np.ndarray] = {
        "label": whole,
        "y": centres[:, 0],
        "x": centres[:, 1],
        "area_px": np.array([region.area for region in regions], float),
    }
    for name in _SHAPE:
        if name == "solidity":
            cells[name] = np.array([_solidity(region) for region in regions], float)
        else:
            attribute = name.removesuffix("_px")
            cells[name] = np.array([getattr(region, attribute) for region in regions], float)
    reasons = []
    columns = channel_columns(image.channel_names)
    for name, column, plane in zip(image.channel_names, columns, image.data, strict=True):
        reason = unmeasurable(plane)
        if reason:
            reasons.append(f"{name}: {reason}")
            cells[column] = np.full(whole.size, math.nan)
        else:
            means = ndi.mean(plane.astype(np.float64), nuclei, whole) if whole.size else []
            cells[column] = np.asarray(means, float)
    return cells, reasons


def _solidity(region: Any) -> float:
    """Area over that of the convex hull; NaN for an object too thin to have one."""
    thin = min(region.image.shape) < 2
    return math.nan if thin else float(region.solidity)
