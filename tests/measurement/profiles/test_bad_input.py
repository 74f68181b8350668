"""Whatever an image holds, it has a row: with values that are true, or none and a reason."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles import PROFILES, find_profile
from napari_phenldiff.measurement.profiles.profile import ImageResult
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings

NOISE = np.random.default_rng(0).normal(10, 1, (64, 64))
Y, X = np.mgrid[:64, :64] - 32
DISC = np.hypot(Y, X) < 12

PLANES = {
    "no objects": np.maximum(NOISE, 0).round().astype(np.uint8),
    "one object filling the field": (NOISE + 500).round().astype(np.uint16),
    "one pixel not a number": np.where((Y == 0) & (X == 0), np.nan, NOISE),
    "all not a number": np.full((64, 64), np.nan),
    "infinite": np.where(DISC, np.inf, NOISE),
    "saturated": np.where(DISC | (Y > -10), 255, NOISE).astype(np.uint8),
    "all saturated": np.full((64, 64), 65535, np.uint16),
    "constant": np.full((64, 64), 7.5, np.float32),
    "black": np.zeros((64, 64), np.uint8),
    "all negative": (-NOISE - 50 * DISC).astype(np.float32),
    "partly negative": (NOISE - 10 + 100 * DISC).astype(np.float32),
    "two pixels": np.array([[3, 200]], np.uint8),
    "one pixel": np.array([[3]], np.uint8),
    "one line": NOISE[:1],
    "huge": (NOISE + 100 * DISC) * 1e300,
    "tiny": (NOISE + 100 * DISC) * 1e-300,
}
CHANNELS = {
    "golgi": {"channel": 1, "nuclei_channel": 0},
    "neurons": {"nuclei_channel": 0, "marker_channel": 1},
    "cells": {"cytoplasm_channel": 1},
}
# Thresholds at which nothing, or everything, of an image in grey values of about 10 is foreground.
NOTHING, EVERYTHING = 1e6, -1e6


def settings_of(profile, channels, **threshold):
    kind = find_profile(profile).settings_type
    settings = kind(**(CHANNELS.get(profile, {}) if channels == "all" else {}))
    parts = {
        name: value.model_copy(update={"threshold": value.threshold.model_copy(update=threshold)})
        for name, value in settings
        if isinstance(value, SegmentationSettings)
    }
    return settings.model_copy(update=parts)


def check(profile, settings, row, of):
    """A value that is missing has a reason, and none is infinite."""
    shown = find_profile(profile).suited(settings)
    if np.isnan(float(of.values("a")[0])):
        assert row.reason, row
    for name in shown.columns:
        if name != "channel" and row[name] is not None and not np.isnan(float(row[name])):
            assert np.isfinite(float(row[name])), name


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("channels", ["default", "all"])
@pytest.mark.parametrize("scope", ["image", "experiment"])
@pytest.mark.parametrize("kind", PLANES)
def test_every_image_has_a_row(profile, channels, scope, kind):
    plane = PLANES[kind]
    image = Image(np.stack([plane, plane]), ("DNA", "marker"), (0.5, 0.5), "bad")
    settings = settings_of(profile, channels, scope=scope)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = measure(profile, {"a": [image]}, settings)
    assert len(found.images) == 1
    check(profile, settings, found.images.iloc[0].fillna(np.nan), found)
    if kind not in (
        "no objects",
        "one object filling the field",
        "partly negative",
        "huge",
        "tiny",
    ):
        assert np.isnan(found.values("a")[0])
        values = found.images.drop(
            columns=["image", "condition", "reason", "total_px"], errors="ignore"
        )
        values = values.drop(
            columns=[c for c in values if c.endswith("threshold") or c == "channel"]
        )
        assert values.isna().all(axis=None), values.T


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("channels", ["default", "all"])
def test_one_object_that_fills_the_field_is_no_measurement(profile, channels):
    image = Image(np.stack([NOISE, NOISE]), ("DNA", "marker"), None, "full")
    settings = settings_of(profile, channels, method=float(EVERYTHING))
    found = measure(profile, {"a": [image]}, settings)
    assert np.isnan(found.values("a")[0])
    assert "whole field" in found.images.reason[0]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("channels", ["default", "all"])
def test_no_objects_is_zero_objects_and_nothing_else(profile, channels):
    image = Image(np.stack([NOISE, NOISE]), ("DNA", "marker"), None, "empty")
    settings = settings_of(profile, channels, method=float(NOTHING))
    row = measure(profile, {"a": [image]}, settings).images.iloc[0].fillna(np.nan)
    # What is counted or covered is 0; what is averaged over objects that are not there is not.
    zero = {"area_px", "area_fraction", "perimeter_px", "neurite_length_px", "half_area_px"}
    cells = profile in ("translocation", "cells")
    for name in PROFILES[profile].columns:
        value = row[name]
        if name in ("channel", "total_px") or name.endswith("threshold") or value != 0:
            continue
        assert name.startswith("n_") or (name in zero and not cells), name
    if cells:
        assert row.n_cells == 0
        assert row.reason == "no nucleus"
    elif profile != "golgi" or channels == "default":
        assert row.area_px == 0


def test_all_bad_images_at_once(tmp_path):
    images = [
        Image(np.stack([plane, plane]), ("DNA", "marker"), None, name)
        for name, plane in PLANES.items()
    ]
    for profile in PROFILES:
        found = measure(profile, {"a": images})
        assert list(found.images.image) == list(PLANES)
        written = found.write(tmp_path / profile / "t.csv")
        json.loads(written[0].read_text(encoding="utf-8"))
    assert isinstance(ImageResult({}), ImageResult)
