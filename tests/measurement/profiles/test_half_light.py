from __future__ import annotations

import numpy as np

from napari_phenldiff.measurement.profiles.golgi import half_light

PLANE = np.array([[0, 0, 0, 0, 0], [0, 4, 6, 0, 0], [0, 0, 0, 2, 2], [0, 0, 0, 0, 0]], float)


def test_the_brightest_pixels_hold_half():
    assert np.argwhere(half_light(PLANE)).tolist() == [[1, 1], [1, 2]]


def test_neither_gain_nor_offset_matter():
    rng = np.random.default_rng(0)
    plane = rng.gamma(0.3, 50, (40, 50))
    expected = half_light(plane)
    assert 0 < expected.sum() < 500
    np.testing.assert_array_equal(half_light(0.125 * plane + 1000), expected)
    np.testing.assert_array_equal(half_light(plane.astype(np.float32)), expected)


def test_regions_have_halves_of_their_own():
    regions = np.array([[1, 1, 1, 0, 2]] * 4)
    found = half_light(PLANE, regions)
    # Nothing of what is in no region, and one of two equal pixels of the second.
    assert np.argwhere(found).tolist() == [[1, 2], [2, 4]]
    assert not half_light(PLANE, np.zeros_like(regions)).any()


def test_no_light_and_no_more_than_noise():
    assert not half_light(np.zeros((4, 5))).any()
    rng = np.random.default_rng(1)
    plane = rng.normal(100, 3, (60, 80))
    regions = np.repeat([[1] * 40 + [2] * 40], 60, axis=0)
    assert not half_light(plane, regions, above_noise=True).any()
    plane[20:25, 50:55] += 60
    found = half_light(plane, regions, above_noise=True)
    assert not found[:, :40].any()
    assert found[20:25, 50:55].sum() >= found.sum() - 2
