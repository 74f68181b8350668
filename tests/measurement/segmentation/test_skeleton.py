from __future__ import annotations

import math

import numpy as np
import pytest

from napari_phenldiff.measurement.segmentation.skeleton import (
    BRANCH_POINT,
    END_POINT,
    Skeleton,
    centre_lines,
    line_marks,
    measure_lines,
)

SHAPES = {
    # lines as (from, to), branch points, ends, segments
    "Y": ([((100, 100), (40, 60)), ((100, 100), (50, 160)), ((100, 100), (180, 110))], 1, 3, 3),
    "X": ([((20, 30), (170, 160)), ((30, 170), (160, 20))], 1, 4, 4),
    "T": ([((50, 20), (50, 180)), ((50, 90), (150, 90))], 1, 3, 3),
    "cross": ([((90, 20), (90, 180)), ((20, 90), (170, 90))], 1, 4, 4),
    "tree": (
        [
            ((100, 20), (100, 180)),
            ((100, 60), (40, 90)),
            ((100, 120), (160, 150)),
            ((60, 80), (20, 70)),
        ],
        3,
        5,
        7,
    ),
}


def stroke(shape, start, end, width):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    (y0, x0), (y1, x1) = start, end
    along = ((y - y0) * (y1 - y0) + (x - x0) * (x1 - x0)) / ((y1 - y0) ** 2 + (x1 - x0) ** 2)
    along = np.clip(along, 0, 1)
    return np.hypot(y - y0 - along * (y1 - y0), x - x0 - along * (x1 - x0)) <= width / 2


@pytest.mark.parametrize("width", [1.5, 3, 5])
@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_a_line_of_any_direction_has_its_length(degrees, width):
    reach = 50 * np.array([math.sin(math.radians(degrees)), math.cos(math.radians(degrees))])
    middle = np.array([70.3, 70.7])
    found = measure_lines(centre_lines(stroke((140, 140), middle - reach, middle + reach, width)))
    assert found.length_px == pytest.approx(100, rel=0.04)
    assert (found.n_branch_points, found.n_end_points, found.n_segments) == (0, 2, 1)


def test_the_length_has_no_bias_over_directions():
    """Steps of 1 and the square root of 2 would be 5 % too long on average."""
    lengths = []
    for degrees in range(0, 180, 3):
        reach = 90 * np.array([math.sin(math.radians(degrees)), math.cos(math.radians(degrees))])
        line = stroke((200, 200), 100 - reach, 100 + reach, 3)
        lengths.append(measure_lines(centre_lines(line)).length_px)
    assert np.mean(lengths) == pytest.approx(180, rel=0.015)
    assert np.ptp(lengths) < 0.05 * 180


@pytest.mark.parametrize("width", [1.5, 3, 5, 7])
@pytest.mark.parametrize("name", SHAPES)
def test_drawn_trees(name, width):
    lines, branches, ends, segments = SHAPES[name]
    mask = np.zeros((200, 200), bool)
    for start, end in lines:
        mask |= stroke(mask.shape, start, end, width)
    found = measure_lines(centre_lines(mask, 8))
    assert found.length_px == pytest.approx(sum(math.dist(*line) for line in lines), rel=0.05)
    assert (found.n_branch_points, found.n_end_points, found.n_segments) == (
        branches,
        ends,
        segments,
    )


def test_a_ring_has_no_ends():
    y, x = np.mgrid[:200, :200]
    found = measure_lines(centre_lines(abs(np.hypot(y - 100, x - 100) - 60) < 1.5, 5))
    assert found.length_px == pytest.approx(2 * math.pi * 60, rel=0.01)
    assert (found.n_branch_points, found.n_end_points, found.n_segments) == (0, 0, 1)


def test_spurs_go_but_not_the_line_that_they_are_on():
    mask = np.zeros((60, 120), bool)
    mask[30, 10:110] = True
    for column in range(20, 110, 12):
        mask[27:30, column] = True
    mask[5, 5:8] = True  # shorter than any branch must be, but no branch
    bare = measure_lines(centre_lines(mask, 0))
    assert bare.n_branch_points == 8
    pruned = measure_lines(centre_lines(mask, 5))
    assert (pruned.n_branch_points, pruned.n_end_points, pruned.n_segments) == (0, 4, 2)
    assert pruned.length_px == pytest.approx(99 + 2, rel=0.03)
    kept = measure_lines(centre_lines(mask, 2))
    assert kept.n_branch_points == 8


def test_a_diagonal_of_two_pixels_is_not_lost():
    """Zhang and Suen's thinning, which scikit-image does by default, erases it."""
    mask = np.eye(80, dtype=bool) | np.eye(80, k=1, dtype=bool)
    found = measure_lines(centre_lines(mask, 5))
    assert found.length_px == pytest.approx(79 * math.sqrt(2), rel=0.05)


@pytest.mark.parametrize("mask", [np.zeros((9, 9)), np.eye(1), np.zeros((1, 1)), np.ones((9, 9))])
def test_what_is_no_line(mask):
    found = measure_lines(centre_lines(mask.astype(bool), 5))
    assert found.length_px < 9
    assert found.n_branch_points == 0
    if not mask.any():
        assert found == Skeleton(0.0, 0, 0, 0)


def test_pieces_are_added_up():
    mask = np.zeros((40, 100), bool)
    mask[10, 10:90] = mask[30, 20:60] = mask[20, 50] = True
    found = measure_lines(mask)
    assert (found.n_end_points, found.n_segments) == (4, 3)
    assert found.length_px == pytest.approx(79 + 39, rel=0.021)


@pytest.mark.parametrize("name", SHAPES)
def test_marks_are_what_was_counted(name):
    from scipy import ndimage as ndi

    strokes = SHAPES[name][0]
    mask = np.any([stroke((200, 200), *ends, 5) for ends in strokes], axis=0)
    lines = centre_lines(mask, 8)
    marks, found = line_marks(lines), measure_lines(lines)
    np.testing.assert_array_equal(marks > 0, lines)
    assert ndi.label(marks == BRANCH_POINT, np.ones((3, 3)))[1] == found.n_branch_points
    assert np.count_nonzero(marks == END_POINT) == found.n_end_points
    assert not line_marks(np.zeros((5, 5), bool)).any()
