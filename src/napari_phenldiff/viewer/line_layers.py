"""The centre lines whose length a profile measures, as layers over the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_phenldiff.measurement.segmentation.skeleton import BRANCH_POINT
from napari_phenldiff.viewer.given_labels import NOT_GIVEN_METADATA_KEY
from napari_phenldiff.viewer.layer_data import LayerDataTuple
from napari_phenldiff.viewer.measuring import Measured
from napari_phenldiff.viewer.objects import LINES, MEASUREMENT_METADATA_KEY

# Lines, branch points and end points: yellow, vermilion and sky blue of Okabe and Ito's palette.
_COLOURS = ((0.94, 0.89, 0.26, 1.0), (0.84, 0.37, 0.0, 1.0), (0.34, 0.71, 0.91, 1.0))


def line_layers(measured: Measured, visible: Sequence[str] = ()) -> list[LayerDataTuple]:
    """Make labels layers of the lines that were measured: 1 line, 2 branch point, 3 end point.

    Points are drawn as squares of three pixels, so that they can be seen beside the lines.

    Parameters
    ----------
    measured : Measured
        What `run_measurement` returned.
    visible : sequence of str
        Names of the groups whose lines are shown at first.

    Returns
    -------
    list of LayerDataTuple
        One per group and image shape; none if the profile measures no lines.
    """
    measurement = measured.measurement
    tuples: list[LayerDataTuple] = []
    for group in measured.groups:
        start = 0
        for index, lot in enumerate(group.lots):
            objects = group.objects[start : start + len(lot.names)]
            start += len(lot.names)
            found = [measurement.profile.lines(o, measurement.settings) for o in objects]
            planes = [_with_larger_points(marks) for marks in found if marks is not None]
            if not planes:
                return []
            height, width = planes[0].shape
            size = "" if len(group.lots) == 1 else f" ({width} × {height})"
            arguments: dict[str, Any] = {
                "name": f"{group.name}: {LINES}{size}",
                "visible": group.name in visible,
                "colormap": _colours(),
                **lot.geometry.arguments(),
                "metadata": {
                    NOT_GIVEN_METADATA_KEY: True,
                    MEASUREMENT_METADATA_KEY: {
                        "identity": measured.identity,
                        "condition": group.name,
                        "group": group.group,
                        "lot": index,
                        "shows": LINES,
                    },
                },
            }
            tuples.append((lot.like_layer(np.stack(planes)), arguments, "labels"))
    return tuples


def _with_larger_points(marks: np.ndarray) -> np.ndarray:
    from scipy import ndimage as ndi

    points = np.where(marks >= BRANCH_POINT, marks, 0)
    larger: np.ndarray = np.maximum(marks, ndi.grey_dilation(points, size=(3, 3)))
    return larger


def _colours() -> Any:
    from napari.utils.colormaps import CyclicLabelColormap

    return CyclicLabelColormap(colors=np.array([(0.0, 0.0, 0.0, 0.0), *_COLOURS]))
