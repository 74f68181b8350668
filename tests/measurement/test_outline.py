from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.measurement.outline import above_half_maximum, fill_holes
from napari_phenldiff.measurement.threshold import smoothed

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
