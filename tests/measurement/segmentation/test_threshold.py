from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage as ndi

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.profiles.fitting import PixelPool
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings, segment_area
from napari_phenldiff.measurement.segmentation.thresholds import (
    GreyLevels,
    ThresholdSettings,
    decided_by_few,
    fit_threshold,
    level_of,
    smoothed,
)

METHODS = ["otsu", "otsu3", "minimum-cross-entropy", "robust-background"]


def two_peaks(n=20_000, fraction=0.2, seed=0):
    rng = np.random.default_rng(seed)
    high = rng.normal(100, 5, round(n * fraction))
    return np.concatenate([rng.normal(20, 5, n - high.size), high])


@pytest.mark.parametrize("method", ["otsu", "minimum-cross-entropy"])
@pytest.mark.parametrize("log_transform", [False, True])
def test_parts_two_peaks(method, log_transform):
    settings = ThresholdSettings(method=method, log_transform=log_transform)
    assert 38 < fit_threshold(two_peaks(), settings) < 85


def test_three_classes_take_the_middle_one_as_foreground():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 3, 5000) for m in (20, 60, 120)])
    lower = fit_threshold(values, ThresholdSettings(method="otsu3"))
    assert 30 < lower < 52
    assert fit_threshold(values, ThresholdSettings(method="otsu")) > 60


def test_robust_background_is_two_deviations_above_the_trimmed_mean():
    values = np.random.default_rng(0).normal(50, 4, 100_000)
    threshold = fit_threshold(values, ThresholdSettings(method="robust-background"))
    # A normal distribution cut at its 5th and 95th percentile has 0.79 of its deviation.
    assert threshold == pytest.approx(50 + 2 * 4 * 0.7895, abs=0.1)
    outliers = np.concatenate([values, np.full(3000, 4000.0)])
    with_outliers = fit_threshold(outliers, ThresholdSettings(method="robust-background"))
    assert with_outliers == pytest.approx(threshold, abs=1)


def test_a_number_is_the_threshold():
    assert fit_threshold(np.empty(0), ThresholdSettings(method=39)) == 39.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [np.empty(0), np.full(100, 7.0)])
def test_no_threshold_in_constant_values(method, values):
    assert math.isnan(fit_threshold(values, ThresholdSettings(method=method)))


def test_no_three_classes_of_two_values():
    values = np.repeat([0.0, 1.0], 50)
    assert math.isnan(fit_threshold(values, ThresholdSettings(method="otsu3")))


def test_no_logarithm_of_negative_values():
    settings = ThresholdSettings(log_transform=True)
    assert math.isnan(fit_threshold(two_peaks() - 200, settings))


def test_smoothing_takes_nothing_from_beyond_the_edges():
    image = np.full((20, 30), 7.0)
    np.testing.assert_allclose(smoothed(image, 5.0), image)


def test_smoothing_of_one_sigma():
    image = np.random.default_rng(0).normal(size=(60, 60))
    ours = smoothed(image, 1.3488)[15:-15, 15:-15]
    np.testing.assert_allclose(ours, ndi.gaussian_filter(image, 1.0)[15:-15, 15:-15])
    assert smoothed(image, 0) is image


def test_the_threshold_itself_is_foreground():
    image = np.array([[1.0, 2.0, 3.0]])
    found = segment_area(image, SegmentationSettings(), 2.0)
    np.testing.assert_array_equal(found, [[False, True, True]])


@pytest.mark.parametrize(
    "wrong",
    [{"method": "magic"}, {"method": math.nan}, {"scale": 0}, {"smoothing": -1}, {"sigma": 1}],
)
def test_settings_are_checked(wrong):
    with pytest.raises(ValidationError):
        ThresholdSettings(**wrong)


def test_pool_keeps_everything_below_its_limit():
    pool = PixelPool(limit=100)
    pool.add(np.arange(60.0).reshape(6, 10))
    pool.add(np.arange(40.0))
    np.testing.assert_array_equal(pool.levels.values, np.arange(60))
    np.testing.assert_array_equal(pool.levels.counts, [2] * 40 + [1] * 20)
    assert PixelPool().levels.values.size == 0


def test_pool_does_not_grow_and_stays_fair():
    pools = PixelPool(limit=20_000), PixelPool(limit=20_000)
    for number in range(50):
        # Columns differ, so that taking every n-th pixel would be unfair.
        image = np.tile(np.arange(64.0), (64, 1)) + number
        for pool in pools:
            pool.add(image)
    assert pools[0].fraction == 2**-4
    levels = pools[0].levels
    assert levels.counts.sum() == pytest.approx(50 * 64 * 64)
    mean = np.average(levels.values, weights=levels.counts)
    assert mean == pytest.approx(31.5 + 24.5, abs=1.0)
    np.testing.assert_array_equal(levels.values, pools[1].levels.values)
    np.testing.assert_array_equal(levels.counts, pools[1].levels.counts)


def test_threshold_of_a_pool_is_that_of_all_pixels():
    values = two_peaks(200_000)
    pool = PixelPool(limit=50_000)
    for part in np.array_split(values, 10):
        pool.add(part)
    settings = ThresholdSettings()
    whole = fit_threshold(values, settings)
    assert fit_threshold(pool.levels, settings) == pytest.approx(whole, rel=0.02)


METHODS = ["otsu", "otsu3", "minimum-cross-entropy", "robust-background"]


@pytest.mark.parametrize("log_transform", [False, True])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int64])
def test_counted_levels_give_the_threshold_of_the_pixels(method, dtype, log_transform):
    rng = np.random.default_rng(3)
    plane = np.concatenate([rng.poisson(20, 9000), rng.poisson(90, 3000)]).astype(dtype)
    plane += 30
    settings = ThresholdSettings(method=method, scale=255, log_transform=log_transform)
    levels = GreyLevels.of_whole_numbers(plane.reshape(100, 120), 255)
    assert levels.values.size < 256
    expected = fit_threshold(plane / 255, settings)
    assert fit_threshold(levels, settings) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_counted_levels_of_many_images_are_exact_however_many(method):
    rng = np.random.default_rng(4)
    planes = [rng.poisson(rng.uniform(20, 300), (90, 80)).astype(np.uint16) for _ in range(40)]
    pool = PixelPool(limit=1000)
    for plane in planes:
        pool.add(GreyLevels.of_whole_numbers(plane, 65535))
    settings = ThresholdSettings(method=method)
    whole = fit_threshold(np.stack(planes) / 65535, settings)
    assert fit_threshold(pool.levels, settings) == pytest.approx(whole, rel=1e-9)


def test_a_part_of_a_broken_image_counts_as_much_as_a_counted_one():
    pool = PixelPool(limit=500)
    pool.add(np.random.default_rng(0).normal(5.0, 0.1, (50, 40)))
    pool.add(GreyLevels.of_whole_numbers(np.full((50, 40), 9, np.uint8)))
    levels = pool.levels
    assert levels.values.size == 501
    assert np.average(levels.values, weights=levels.counts) == pytest.approx(7.0, abs=0.02)


def test_levels_of_negative_whole_numbers_and_of_none():
    levels = GreyLevels.of_whole_numbers(np.array([[-3, 2], [-3, 0]], np.int8), 2)
    np.testing.assert_array_equal(levels.values, [-1.5, 0, 1])
    np.testing.assert_array_equal(levels.counts, [2, 1, 1])
    assert GreyLevels.of_whole_numbers(np.array([0.5, 1.0])) is None
    assert GreyLevels.of_whole_numbers(np.array([0, 70_000])) is None


def test_minimum_cross_entropy_is_that_of_scikit_image():
    from skimage.filters import threshold_li

    values = two_peaks()
    found = fit_threshold(values, ThresholdSettings(method="minimum-cross-entropy"))
    assert found == pytest.approx(threshold_li(values, tolerance=0.5 / 65536), abs=1e-4)


def uneven():
    """Dots on a background that rises more than the dots do."""
    y, x = np.mgrid[:120, :160]
    dots = (y % 12 < 4) & (x % 12 < 4)
    return 10 + x / 8.0 + 12.0 * dots, dots


def test_adaptive_threshold_follows_the_background():
    plane, dots = uneven()
    alike = ThresholdSettings()
    threshold = fit_threshold(plane, alike)
    assert np.mean((plane >= threshold) == dots) < 0.85
    level = level_of(plane, ThresholdSettings(adaptive_window=24), threshold)
    assert level.shape == plane.shape
    assert np.mean((plane >= level) == dots) > 0.97
    assert level.min() >= 0.7 * threshold
    assert level.max() <= 1.5 * threshold


def test_adaptive_threshold_is_not_for_numbers_nor_for_large_windows():
    plane, _ = uneven()
    assert level_of(plane, ThresholdSettings(), 3.0) == 3.0
    assert level_of(plane, ThresholdSettings(method=5.0, adaptive_window=20), 5.0) == 5.0
    with pytest.raises(InputError, match="more than half of an image of 120 x 160"):
        level_of(plane, ThresholdSettings(adaptive_window=61), 20.0)
    # Windows without contrast have their own value, within the limits.
    flat = np.zeros((64, 64))
    flat[:8, :8] = 1
    level = level_of(flat, ThresholdSettings(adaptive_window=16), 0.5)
    assert level[40, 40] == pytest.approx(0.7 * 0.5)


@pytest.mark.parametrize("n_hot", [1, 3])
@pytest.mark.parametrize("kind", ["whole numbers", "floats"])
def test_a_few_pixels_that_decide_the_threshold_are_counted(n_hot, kind):
    values = two_peaks(60_000)
    values = np.concatenate([np.round(values) if kind == "whole numbers" else values])
    settings = ThresholdSettings()
    right = fit_threshold(values, settings)
    assert decided_by_few(values, settings, right) is None
    hot = values.copy()
    hot[:n_hot] = 65_535
    wrong = fit_threshold(hot, settings)
    few = decided_by_few(hot, settings, wrong)
    assert (few.number, few.of, few.found) == (n_hot, 60_000, wrong)
    assert few.without == pytest.approx(right, rel=0.05)
    assert wrong > 1.5 * right
    # As counted levels.
    assert decided_by_few(GreyLevels.of(hot), settings, wrong) == few
    # Not where there are many of them, nor where the threshold is a number.
    hot[:300] = 65_535
    assert decided_by_few(hot, settings, fit_threshold(hot, settings)) is None
    given = ThresholdSettings(method=50.0)
    assert decided_by_few(hot, given, 50.0) is None


def test_a_few_pixels_that_are_far_brighter_may_decide_nothing():
    settings = ThresholdSettings(method="minimum-cross-entropy")
    values = two_peaks(60_000)
    values[0] = 300
    assert decided_by_few(values, settings, fit_threshold(values, settings)) is None
