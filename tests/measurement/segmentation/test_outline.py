from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.measurement.segmentation.outlines import (
    above_half_maximum,
    fill_holes,
    level_of_dim,
)
from napari_phenldiff.measurement.segmentation.thresholds import smoothed

SHAPE = (72, 72)
# A Gaussian of one pixel.
SMOOTHING = 1.3488


def ellipse(axes, centre=(36, 36)):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    return ((y - centre[0]) / axes[0]) ** 2 + ((x - centre[1]) / axes[1]) ** 2 < 1


def outlined(plane, *, at=0.2, smoothing=SMOOTHING):
    """Outline what reaches a part of the largest value: far outside of the half."""
    image = smoothed(np.asarray(plane, float), smoothing)
    labels, _ = ndi.label(image >= at * image.max())
    return above_half_maximum(labels, image, smoothing=smoothing)


@pytest.mark.parametrize(
    ("axes", "blur"),
    # A blur of 1.5 px leaves nothing of the plateau of 5 px: that is 10 % too large.
    [((5, 5), 0.7), ((9, 9), 0.7), ((9, 9), 1.5), ((14, 8), 1.5), ((20, 20), 0.7), ((20, 20), 1.5)],
)
def test_area_of_blurred_ellipses(axes, blur):
    truth = ellipse(axes)
    plane = ndi.gaussian_filter(100.0 * truth, blur) + 7
    assert outlined(plane).sum() == pytest.approx(truth.sum(), rel=0.03)


def test_own_smoothing_does_not_make_round_objects_smaller():
    errors = []
    fine = (np.arange(8 * 40) + 0.5) / 8 - 20.3
    for radius in np.arange(5, 7, 0.1):
        # Drawn with pixels that are covered in part, as a camera would.
        disc = np.hypot(*np.meshgrid(fine, fine)) < radius
        plane = 100 * disc.reshape(40, 8, 40, 8).mean(axis=(1, 3))
        area = np.pi * radius**2
        half = np.count_nonzero(smoothed(plane, SMOOTHING) >= 50)
        errors.append((outlined(plane).sum() / area - 1, half / area - 1))
    mine, plain = np.mean(errors, axis=0)
    assert plain < -0.025
    assert abs(mine) < 0.015


def test_a_dim_end_of_a_nucleus_belongs_to_it():
    truth = ellipse((10, 24))
    shade = np.linspace(1.1, 0.1, SHAPE[1])
    plane = ndi.gaussian_filter(100 * truth * shade, 1.0)
    found = outlined(plane, at=0.1)
    assert found.sum() == pytest.approx(truth.sum(), rel=0.04)
    # One level for all of it loses that end.
    assert np.count_nonzero(plane >= 50 * np.percentile(shade[14:58], 75)) < 0.9 * truth.sum()


def test_bright_speck_does_not_cut_the_object_off():
    truth = ellipse((12, 12))
    plane = 100.0 * truth
    plane[34:37, 34:37] = 600
    plane = ndi.gaussian_filter(plane, 1.0)
    assert outlined(plane, at=0.1).sum() == pytest.approx(truth.sum(), rel=0.08)


def test_neighbours_of_other_brightness_do_not_count():
    left, right = ellipse((12, 12), (36, 20)), ellipse((12, 12), (36, 44))
    plane = ndi.gaussian_filter(300.0 * left + 60.0 * right, 0.8)
    labels = np.zeros(SHAPE, int)
    labels[:, :32], labels[:, 32:] = 1, 2
    labels[plane < 12] = 0
    found = above_half_maximum(labels, plane, smoothing=0)
    assert found[:, 32:].sum() == pytest.approx(right.sum(), rel=0.05)
    assert found[:, :32].sum() == pytest.approx(left.sum(), rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_objects_without_inner_pixels(size):
    plane = np.zeros(SHAPE)
    plane[5 : 5 + size, 9] = 10
    labels = (plane > 0).astype(int)
    np.testing.assert_array_equal(above_half_maximum(labels, plane, smoothing=SMOOTHING), plane > 0)


def test_nothing_and_everything():
    plane = np.random.default_rng(0).random(SHAPE)
    for level in (0, 1):
        labels = np.full(SHAPE, level)
        found = above_half_maximum(labels, plane, smoothing=0)
        assert found.all() == found.any() == bool(level)


def test_numbers_may_have_gaps():
    plane = ndi.gaussian_filter(100.0 * ellipse((9, 9)), 1.0)
    labels = 5 * (plane > 5)
    found = above_half_maximum(labels, plane, smoothing=0)
    assert found.sum() == pytest.approx(ellipse((9, 9)).sum(), rel=0.03)


def test_holes_up_to_a_size():
    mask = ellipse((12, 12))
    mask[30:32, 30:32] = mask[36:41, 36:41] = mask[:3, :3] = False
    filled = fill_holes(mask, 4)
    assert filled[30, 30]
    assert not filled[38, 38]
    assert fill_holes(mask, 25)[38, 38]
    assert fill_holes(mask, 0) is mask


def lines(*brightness, gap=18, width=1.2, base=10.0):
    """Vertical lines of Gaussian profile, each of this brightness above the base."""
    x = np.arange(gap * (len(brightness) + 1), dtype=float)
    row = sum(
        value * np.exp(-((x - gap * (k + 1)) ** 2) / (2 * width**2))
        for k, value in enumerate(brightness)
    )
    return np.tile(base + row, (40, 1))


def test_lines_end_at_half_of_their_peak_between_two_levels():
    plane = lines(60, 100, 400, width=2.0)
    found = (plane >= level_of_dim(plane, 75.0, 0.5))[20]
    for middle, brightness, level in ((18, 60, 32.5), (36, 100, 50), (54, 400, 65)):
        reach = 2.0 * np.sqrt(2 * np.log(brightness / level))
        line = found[middle - 9 : middle + 9]
        assert line.sum() == 2 * int(reach) + 1, brightness
        assert line[9]


def test_what_rises_too_little_is_left_out():
    plane = lines(60, 25)
    found = plane >= level_of_dim(plane, 75.0, 0.5)
    assert found[:, :27].any()
    assert not found[:, 27:].any()


def test_a_gap_between_bright_lines_stays_open():
    plane = lines(150, 150, 150, 150, gap=5)
    gap = plane[20, 7:9].mean()
    assert gap > 0.5 * 75
    found = plane >= level_of_dim(plane, 75.0, 0.5)
    np.testing.assert_array_equal(found, plane >= 75.0)


def test_dim_haze_is_not_added():
    rng = np.random.default_rng(0)
    haze = ndi.gaussian_filter(50.0 * ellipse((24, 24)), 1.0) + 10
    plane = haze + rng.normal(0, 2, SHAPE)
    image = smoothed(plane, SMOOTHING)
    assert image.max() < 75
    added = np.count_nonzero(image >= level_of_dim(image, 75.0, 0.5))
    # Noise at the rim may look thin.
    assert added < 0.02 * np.count_nonzero(image >= 42.5)


@pytest.mark.parametrize("dimmest", [0.2, 0.5, 0.9])
def test_no_level_becomes_higher(dimmest):
    plane = np.random.default_rng(1).gamma(2, 20, SHAPE)
    for level in (75.0, np.linspace(20, 90, SHAPE[1]) * np.ones(SHAPE)):
        assert np.all(level_of_dim(plane, level, dimmest) <= level)


def test_level_stays_where_there_is_nothing_to_add():
    plane = lines(60)
    assert level_of_dim(plane, 75.0, 1.0) == 75.0
    assert level_of_dim(plane, 0.0, 0.5) == 0.0
