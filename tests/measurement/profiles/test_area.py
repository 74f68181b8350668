from __future__ import annotations

import math

import numpy as np
import pytest

from napari_phenldiff.measurement.measure import labels, measure
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings


def at(value, **changes):
    threshold = ThresholdSettings(method=value, **changes)
    return AreaSettings(segmentation=SegmentationSettings(threshold=threshold))


def square(side=20, shape=(60, 80)):
    plane = np.zeros(shape, np.uint8)
    plane[10 : 10 + side, 10 : 10 + side] = 200
    return plane


def first_row(image, settings):
    return measure("area", {"a": [image]}, settings).images.iloc[0]


def test_a_square(make_plane):
    row = first_row(make_plane(square(), pixel_size=(0.5, 0.5)), at(100))
    assert (row.area_px, row.total_px) == (400, 4800)
    assert row.area_fraction == pytest.approx(400 / 4800)
    # Through the centres of the pixels at the edge.
    assert row.perimeter_px == pytest.approx(4 * 19)
    assert row.area_um2 == pytest.approx(100)
    assert row.perimeter_um == pytest.approx(row.perimeter_px / 2)
    assert (row.channel, row.threshold, row.reason) == ("stain", 100, "")


def test_units_need_a_pixel_size_and_lengths_square_pixels(make_plane):
    row = first_row(make_plane(square()), at(100))
    assert math.isnan(row.area_um2)
    assert math.isnan(row.perimeter_um)
    row = first_row(make_plane(square(), pixel_size=(0.5, 1.0)), at(100))
    assert row.area_um2 == pytest.approx(200)
    assert math.isnan(row.perimeter_um)


def test_nothing_above_the_threshold_is_an_area_of_zero(make_plane):
    row = first_row(make_plane(square()), at(250))
    assert (row.area_px, row.perimeter_px, row.reason) == (0, 0.0, "")


def test_everything_above_the_threshold_has_no_edge(make_plane):
    table = measure("area", {"a": [make_plane(square() + 1)]}, at(1)).images
    assert table.area_px.isna().all()
    assert math.isnan(table.area_fraction[0])
    assert "whole field" in table.reason[0]


def test_threshold_is_in_units_of_the_scaled_values(make_plane):
    row = first_row(make_plane(square()), at(0.5, scale=255))
    assert row.area_px == 400
    row = first_row(make_plane(square()), at(0.8, scale=255))
    assert row.area_px == 0


def test_labels_are_the_pieces(make_plane):
    plane = square()
    plane[40:50, 60:70] = 200
    found = labels("area", make_plane(plane), at(100))
    assert found.max() == 2
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found > 0, plane > 0)
    assert labels("area", make_plane(np.zeros((9, 9)))).max() == 0


def test_a_condition_without_any_area_is_told(make_plane):
    stained, dim = make_plane(square()), make_plane(square() // 16)

    def told(**groups):
        found = measure("area", groups, at(100)).outcome.warnings()
        return [text for text in found if text.startswith("Nothing is above the threshold")]

    (text,) = told(ctrl=[dim, dim], drug=[stained, stained])
    assert "in any image of ctrl, while" in text
    assert not told(ctrl=[dim, stained], drug=[stained, stained])
    assert not told(ctrl=[dim, dim], drug=[dim, dim])
