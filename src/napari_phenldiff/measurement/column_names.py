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
    "area_px": "AreaOccupied_AreaOccupied_{}",
    "perimeter_px": "AreaOccupied_Perimeter_{}",
    "total_px": "AreaOccupied_TotalArea_{}",
    "n_cells": "Count_Nuclei",
    "n_nuclei": "Count_Nuclei",
}
_CELLS = {
    "image": "Metadata_Image",
    "condition": "Metadata_Condition",
    "label": "ObjectNumber",
    "y": "AreaShape_Center_Y",
    "x": "AreaShape_Center_X",
    "area_px": "AreaShape_Area",
    "perimeter_px": "AreaShape_Perimeter",
    "eccentricity": "AreaShape_Eccentricity",
    "solidity": "AreaShape_Solidity",
    "extent": "AreaShape_Extent",
    "form_factor": "AreaShape_FormFactor",
    "orientation": "AreaShape_Orientation",
    "axis_major_length_px": "AreaShape_MajorAxisLength",
    "axis_minor_length_px": "AreaShape_MinorAxisLength",
    "equivalent_diameter_px": "AreaShape_EquivalentDiameter",
    "feret_diameter_max_px": "AreaShape_MaxFeretDiameter",
}
_INTENSITY = re.compile(r"(?:intensity_)?(?P<what>mean|min|max|std|sum)_(?:intensity_)?(?P<of>.+)")
_INTENSITIES = {
    "mean": "Mean",
    "min": "Min",
    "max": "Max",
    "std": "Std",
    "sum": "Integrated",
}


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
    known = _CELLS if cells else _IMAGE
    renamed = {name: known[name].format(_word(channel)) for name in columns if name in known}
    for name in columns:
        found = _INTENSITY.fullmatch(name) if cells else None
        if found is not None:
            what = _INTENSITIES[found["what"]]
            renamed[name] = f"Intensity_{what}Intensity_{_word(found['of'])}"
    return renamed


def _word(name: str) -> str:
    """Write a name as CellProfiler does: letters, digits and underscores."""
    return re.sub(r"\W+", "_", name).strip("_") or "Image"
