from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy import ndimage as ndi

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles.neurons import NeuronsSettings
from napari_phenldiff.viewer.given_labels import label_layers
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.line_layers import line_layers
from napari_phenldiff.viewer.measuring import Measured, MeasuringRequest, run_measurement
from napari_phenldiff.viewer.objects import (
    ObjectRows,
    add_objects,
    is_line_layer,
    make_layers,
    object_layers,
)
from napari_phenldiff.viewer.reader import experiment_layers

LINE, BRANCH, END = 1, 2, 3


def cross(name: str, arm: int) -> Image:
    """Two bars that cross: one branch point and four ends."""
    data = np.full((1, 96, 96), 10, np.uint8)
    data[0, 46:50, 48 - arm : 48 + arm] = 200
    data[0, 48 - arm : 48 + arm, 46:50] = 200
    return Image(data, ("neurons",), None, name)


@pytest.fixture
def request_of(viewer: ViewerModel) -> MeasuringRequest:
    images = {
        "long": [cross("a", 40), cross("b", 36)],
        "short": [cross("c", 20), cross("d", 16)],
    }
    for data, arguments, _ in experiment_layers(images):
        viewer.add_image(data, **arguments)
    return MeasuringRequest("neurons", *group_layers(viewer.layers), settings=NeuronsSettings())


@pytest.fixture
def measured(request_of: MeasuringRequest) -> Measured:
    return run_measurement(request_of)


def test_the_lines_are_those_that_were_measured(measured: Measured):
    long, short = line_layers(measured, visible=["short"])
    assert (long[1]["name"], short[1]["name"]) == ("long: centre lines", "short: centre lines")
    assert not long[1]["visible"]
    assert short[1]["visible"]
    table = measured.measurement.images.set_index("image")
    for data, names in ((long[0], "ab"), (short[0], "cd")):
        for marks, name in zip(data, names, strict=True):
            row = table.loc[name]
            eight = np.ones((3, 3))
            assert ndi.label(marks == BRANCH, eight)[1] == row["n_branch_points"] == 1
            assert ndi.label(marks == END, eight)[1] == row["n_end_points"] == 4
            # A line along a row and one along a column: they are as long as they reach.
            reach = marks.any(axis=0).sum() + marks.any(axis=1).sum()
            assert row["neurite_length_px"] == pytest.approx(reach, rel=0.1)


def test_lines_are_no_objects_and_are_replaced_like_them(
    viewer: ViewerModel, measured: Measured, request_of: MeasuringRequest
):
    for result in (measured, run_measurement(request_of)):
        add_objects(viewer, make_layers(object_layers(result) + line_layers(result)))
    lines = [layer for layer in viewer.layers if is_line_layer(layer)]
    assert [layer.name for layer in lines] == ["long: centre lines", "short: centre lines"]
    assert all(layer.contour == 0 for layer in lines)
    assert not set(lines) & set(label_layers(viewer.layers))
    rows = ObjectRows(result, viewer.layers)
    assert [layer.name for layer in rows.layers] == ["long: objects", "short: objects"]


def test_profiles_without_lines_have_no_such_layers(request_of: MeasuringRequest):
    measured = run_measurement(MeasuringRequest("area", request_of.source, request_of.target))
    assert line_layers(measured) == []
