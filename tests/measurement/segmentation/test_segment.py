from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.images.simulate import simulate_fields
from napari_phenldiff.measurement.profiles.golgi import GOLGI
from napari_phenldiff.measurement.profiles.neurons import NEURITES
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    drop_small,
    prepare,
    segment_area,
    segment_objects,
    unmeasurable,
)
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings, fit_threshold

SHAPE = (64, 96)


def disk(centre, radius, shape=SHAPE):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def settings(**changes):
    return SegmentationSettings(threshold=ThresholdSettings(method=50), **changes)


@pytest.mark.parametrize(
    ("plane", "reason"),
    [
        (np.arange(2.0).reshape(1, 2), "smaller than"),
        (np.full((9, 9), 3, np.uint8), "constant"),
        (np.where(disk((9, 9), 4), np.nan, 1.0), "not finite"),
        (np.where(disk((9, 9), 4), np.inf, 1.0), "not finite"),
        (-1.0 - np.random.default_rng(0).random((9, 9)), "negative"),
        (np.minimum(np.arange(400).reshape(20, 20), 255).astype(np.uint8), "saturated: 36 %"),
        (np.minimum(np.arange(4096).reshape(64, 64), 2047).astype(np.uint16), "saturated"),
    ],
)
def test_says_why_nothing_can_be_measured(plane, reason):
    found = unmeasurable(plane)
    assert found is not None
    assert reason.replace(" %", "%") in found


@pytest.mark.parametrize(
    "plane",
    [
        (disk((30, 30), 20) * 255).astype(np.uint8),
        # Almost empty: a few grey levels, most pixels at the highest of them.
        np.random.default_rng(0).choice(3, p=[0.1, 0.2, 0.7], size=SHAPE).astype(np.uint8),
        np.random.default_rng(0).normal(0, 1, SHAPE),
    ],
    ids=["mask", "few levels", "around zero"],
)
def test_lets_other_images_be_measured(plane):
    assert unmeasurable(plane) is None


def test_background_is_subtracted_and_values_scaled():
    slope = np.tile(np.arange(SHAPE[1], dtype=np.float64), (SHAPE[0], 1))
    spot = disk((30, 40), 4)
    chosen = SegmentationSettings(
        background_radius=10, threshold=ThresholdSettings(method=50, scale=10)
    )
    prepared = prepare(slope + 100 * spot, chosen)
    # An opening cuts a slope off by at most its own rise within the square.
    assert prepared[~spot].max() <= 1.0
    assert prepared[spot].min() >= 10.0


def test_area_with_holes_and_dust():
    mask = disk((30, 30), 12) & ~disk((30, 30), 3)
    plane = 100.0 * (mask | disk((10, 80), 2))
    assert segment_area(plane, settings(), 50).sum() == (plane > 0).sum()
    cleaned = segment_area(plane, settings(max_hole=40, min_size=20), 50)
    np.testing.assert_array_equal(cleaned, disk((30, 30), 12))
    large_hole = segment_area(plane, settings(max_hole=5, min_size=20), 50)
    np.testing.assert_array_equal(large_hole, mask)


def test_dim_lines_are_added_to_areas_only():
    plane = np.zeros(SHAPE)
    plane[20, 10:80], plane[40, 10:80] = 400, 150
    plane = ndi.gaussian_filter(plane, 1.2)
    level = 80
    plain = segment_area(plane, settings(), level)
    assert plain[20].any()
    assert not plain[40].any()
    both = segment_area(plane, settings(dimmest=0.5), level)
    assert both[40, 15:75].all()
    np.testing.assert_array_equal(both[plain], True)
    objects = segment_objects(plane, settings(dimmest=0.5), level)
    np.testing.assert_array_equal(objects > 0, plain)


@pytest.mark.parametrize(("kind", "base"), [("golgi", GOLGI), ("neurons", NEURITES)])
def test_areas_of_simulated_golgi_and_neurons(kind, base):
    fields = [
        list(simulate_fields(kind, condition, 40, size=96, first=first))
        for condition, first in (("source", 0), ("target", 40))
    ]
    planes = np.stack([field.image.data[0] for group in fields for field in group])
    threshold = fit_threshold(planes, base.threshold)
    alone = base.model_copy(update={"dimmest": 1.0})
    plain = []
    for group in fields:
        truth = sum(field.drawing.masks[kind].sum() for field in group)
        found, less = (
            sum(segment_area(field.image.data[0], chosen, threshold).sum() for field in group)
            for chosen in (base, alone)
        )
        assert found == pytest.approx(truth, rel=0.05)
        plain.append(less / truth - 1)
    assert min(plain) < -0.2


def test_touching_nuclei_are_split():
    plane = 100.0 * (disk((30, 30), 10) | disk((30, 48), 10))
    assert segment_objects(plane, settings(), 50).max() == 1
    labels = segment_objects(plane, settings(split=True), 50)
    assert labels.max() == 2
    assert labels[30, 30] != labels[30, 48]
    np.testing.assert_array_equal(labels > 0, plane > 0)


@pytest.mark.parametrize("rotation", range(0, 180, 15))
def test_one_long_nucleus_stays_whole(rotation):
    y, x = np.mgrid[:64, :96] - np.array([32, 48])[:, None, None]
    angle = np.deg2rad(rotation)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    plane = 100.0 * ((along / 20) ** 2 + (across / 8) ** 2 <= 1)
    assert segment_objects(plane, settings(split=True), 50).max() == 1


def test_tiny_object_beside_large_ones_is_kept():
    plane = 100.0 * (disk((30, 30), 12) | disk((10, 80), 1))
    assert segment_objects(plane, settings(split=True), 50).max() == 2
    assert segment_objects(plane, settings(split=True, min_size=10), 50).max() == 1


@pytest.mark.parametrize("level", [0.0, 100.0])
def test_nothing_and_everything(level):
    plane = np.full(SHAPE, level)
    labels = segment_objects(plane, settings(split=True, half_maximum=True, max_hole=9), 50)
    assert labels.dtype == np.int32
    assert labels.max() == (1 if level else 0)


def test_half_maximum_draws_bright_and_dim_nuclei_alike():
    sharp = 400.0 * disk((32, 25), 9) + 100.0 * disk((32, 70), 9)
    plane = ndi.gaussian_filter(sharp, 2.0)
    plain = np.bincount(segment_objects(plane, settings(), 30).ravel())[1:]
    assert plain[0] > 1.3 * plain[1]
    outlined = np.bincount(segment_objects(plane, settings(half_maximum=True), 30).ravel())[1:]
    np.testing.assert_allclose(outlined, disk((32, 25), 9).sum(), rtol=0.05)


def test_numbers_have_no_gaps():
    labels = np.array([[1, 1, 0, 2, 0, 3, 3]])
    np.testing.assert_array_equal(drop_small(labels, 2), [[1, 1, 0, 0, 0, 2, 2]])
    assert drop_small(np.zeros((3, 3), int), 5).max() == 0
