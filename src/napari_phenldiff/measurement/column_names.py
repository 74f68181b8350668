"""Columns under the names that CellProfiler gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

ColumnNames = Literal["scikit-image", "cellprofiler"]
COLUMN_NAMES: tuple[ColumnNames, ...] = ("scikit-image", "cellprofiler")

# As ExportToSpreadsheet writes them; {} is the name of the image or of the objects.
_IMAGE = {
    "image": "Metadata_Image",
    "condition": "Metadata_Condition",
    "channel": "Metadata_Channel",
    "reason": "Metadata_Reason",
    "threshold": "Threshold_FinalThreshold_{}",
    "n_cells": "Count_Nuclei",
}
# Of a marker in the whole field.
_OCCUPIED = {
    "area_px": "AreaOccupied_AreaOccupied_{}",
    "perimeter_px": "AreaOccupied_Perimeter_{}",
    "total_px": "AreaOccupied_TotalArea_{}",
}
_SHAPES = {
    "area_px": "AreaShape_Area",
    "perimeter_px": "AreaShape_Perimeter",
    "eccentricity": "AreaShape_Eccentricity",
    "solidity": "AreaShape_Solidity",
    "axis_major_length_px": "AreaShape_MajorAxisLength",
    "axis_minor_length_px": "AreaShape_MinorAxisLength",
}
_CELLS = {
    "image": "Metadata_Image",
    "condition": "Metadata_Condition",
    "label": "ObjectNumber",
    "y": "AreaShape_Center_Y",
    "x": "AreaShape_Center_X",
    **_SHAPES,
}
_INTENSITY = re.compile(r"intensity_mean_(.+)")
_OVER_CELLS = "Median_Nuclei_"


def renaming(
    names: ColumnNames, columns: Sequence[str], channel: str = "", *, cells: bool = False
) -> dict[str, str]:
    """Say what columns are called in a file.

    Parameters
    ----------
    names : {"scikit-image", "cellprofiler"}
        The names of the API, or CellProfiler's (module MeasureImageAreaOccupied and others).
    columns : sequence of str
        The columns of a table, under the names of the API.
    channel : str
        Name of the channel that was measured, which is part of CellProfiler's names.
    cells : bool
        Whether it is the table of cells.

    Returns
    -------
    dict of str to str
        For the columns that are called something else. What CellProfiler does not measure keeps
        its name.
    """
    if names == "scikit-image":
        return {}
    occupied = "total_px" in columns
    known = _CELLS if cells else _IMAGE | (_OCCUPIED if occupied else {})
    renamed = {name: known[name].format(_word(channel)) for name in columns if name in known}
    # An image that has no area of its own has the medians over its cells.
    prefix = "" if cells else _OVER_CELLS
    for name in columns:
        intensity = _INTENSITY.fullmatch(name)
        if intensity is not None:
            renamed[name] = f"{prefix}Intensity_MeanIntensity_{_word(intensity[1])}"
        elif name in _SHAPES and not cells and not occupied:
            renamed[name] = f"{prefix}{_SHAPES[name]}"
    return renamed


def _word(name: str) -> str:
    """Write a name as CellProfiler does: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name).strip("_") or "Image"
