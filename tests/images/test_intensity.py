from __future__ import annotations

import json

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling


def images_of(dtype, n=6, high=60_000, seed=0):
    rng = np.random.default_rng(seed)
    limit = min(high, np.iinfo(dtype).max) if np.dtype(dtype).kind in "ui" else high
    for index in range(n):
        data = np.stack([rng.uniform(0, limit, (40, 50)), rng.gamma(2, limit / 30, (40, 50))])
        yield Image(data.clip(0, limit).astype(dtype), ("DNA", "actin"), None, f"field{index}")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_range_is_that_of_numpy_over_the_whole_experiment(dtype):
    images = list(images_of(dtype))
    scaling = IntensityScaling.fit(iter(images), percentiles=(1, 98.5))
    pixels = np.stack([image.data for image in images]).astype(np.float64)
    expected = np.percentile(pixels, [1, 98.5], axis=(0, 2, 3))
    np.testing.assert_allclose([scaling.low, scaling.high], expected, rtol=1e-6)
    for channel, (low, high) in enumerate(expected.T):
        outside = (pixels[:, channel] < low) | (pixels[:, channel] > high)
        assert scaling.clipped[channel] == pytest.approx(outside.mean())
    assert scaling.channel_names == ("DNA", "actin")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_what_is_inside_the_range_comes_back(dtype):
    images = list(images_of(dtype))
    scaling = IntensityScaling.fit(images)
    data = images[0].data
    scaled = scaling.apply(data)
    assert scaled.dtype == np.float32
    assert -1 <= scaled.min() <= scaled.max() <= 1
    back = scaling.invert(scaled, dtype)
    assert back.dtype == dtype
    low, high = (np.reshape(value, (2, 1, 1)) for value in (scaling.low, scaling.high))
    expected = np.clip(data, low, high)
    if np.dtype(dtype).kind in "ui":
        np.testing.assert_array_equal(back, np.rint(expected))
    else:
        np.testing.assert_allclose(back, expected, atol=1e-2)


def test_a_dim_image_stays_dimmer():
    bright, dim = (np.full((1, 4, 4), value, np.uint8) for value in (200, 100))
    dim[0, 0, 0] = 0
    scaling = IntensityScaling.fit(
        Image(data, ("DNA",), None, name) for data, name in [(bright, "bright"), (dim, "dim")]
    )
    assert scaling.apply(dim).max() < scaling.apply(bright).min()


def test_stacks_are_scaled_like_their_images():
    image = next(images_of(np.uint16))
    scaling = IntensityScaling.fit([image])
    stack = np.stack([image.data, image.data[:, ::-1]])
    np.testing.assert_array_equal(scaling.apply(stack)[1], scaling.apply(stack[1]))
    assert scaling.invert(scaling.apply(stack), np.uint16).shape == stack.shape


def test_integers_are_rounded_and_kept_in_their_range():
    scaling = IntensityScaling(("DNA",), (0.0,), (255.0,), (0.0,))
    scaled = np.array([[[-3, -1, 0.0, 1, 3]]], np.float32)
    np.testing.assert_array_equal(scaling.invert(scaled, np.uint8).ravel(), [0, 0, 128, 255, 255])
    np.testing.assert_allclose(scaling.invert(scaled, np.float32).ravel()[[0, 4]], [-255, 510])


def test_a_sparse_channel_gets_its_whole_range():
    data = np.zeros((1, 100, 100), np.uint16)
    data[0, 3, 3] = 500
    scaling = IntensityScaling.fit([Image(data, ("spots",), None, "a")])
    assert (scaling.low, scaling.high, scaling.clipped) == ((0.0,), (500.0,), (0.0,))


def test_values_that_are_no_numbers_count_for_nothing():
    data = np.linspace(0, 1, 100, dtype=np.float32).reshape(1, 10, 10)
    scaling = IntensityScaling.fit([Image(data, ("a",), None, "a")], percentiles=(0, 100))
    broken = data.copy()
    broken[0, 0, :2] = np.nan, np.inf
    assert (
        IntensityScaling.fit(
            [Image(d, ("a",), None, "a") for d in (data, broken)], percentiles=(0, 100)
        )
        == scaling
    )
    np.testing.assert_array_equal(scaling.apply(broken)[0, 0, :2], [-1, 1])


def test_large_float_images_are_sampled_evenly():
    data = np.linspace(0, 1, 2000 * 1000, dtype=np.float32).reshape(1, 2000, 1000)
    scaling = IntensityScaling.fit([Image(data, ("a",), None, "a")], percentiles=(10, 90))
    assert (*scaling.low, *scaling.high) == pytest.approx((0.1, 0.9), abs=1e-4)


def test_saving():
    scaling = IntensityScaling.fit(images_of(np.uint16))
    assert IntensityScaling.from_dict(json.loads(json.dumps(scaling.to_dict()))) == scaling


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low": [0.0]}, "one low, high and clipped value"),
        ({"low": [9.0, 9.0], "high": [1.0, 10.0]}, 'channel "DNA" goes from 9.0 to 1.0'),
        ({"high": [float("nan"), 1.0]}, "finite"),
        ({"clipped": [0.0, 1.5]}, 'channel "actin" is 1.5'),
        ({"low": "ab"}, "lists of names and numbers"),
        ({"low": None}, "lists of names and numbers"),
        ({"percentiles": [1, 2, 3]}, "exactly two"),
        ({"percentiles": [99, 1]}, "give no intensity range"),
        ({"extra": 1}, "no more and no less"),
    ],
)
def test_changed_files_are_refused(change, message):
    contents = {
        "channel_names": ["DNA", "actin"],
        "low": [0.0, 0.0],
        "high": [1.0, 1.0],
        "clipped": [0.0, 0.0],
        "percentiles": [0.1, 99.9],
    }
    assert IntensityScaling.from_dict(contents)
    with pytest.raises(InputError, match=message):
        IntensityScaling.from_dict(contents | change)


def test_images_that_cannot_be_scaled_are_refused():
    with pytest.raises(InputError, match="no image"):
        IntensityScaling.fit([])
    constant = Image(np.full((1, 4, 4), 7, np.uint8), ("DNA",), None, "a")
    with pytest.raises(InputError, match='Channel "DNA" has the same value'):
        IntensityScaling.fit([constant])
    with pytest.raises(InputError, match='"field0" has 2 channels where the others have 1'):
        IntensityScaling.fit([constant, *images_of(np.uint8)])
    scaling = IntensityScaling.fit(images_of(np.uint8))
    with pytest.raises(InputError, match="scaling of 2 channels"):
        scaling.apply(constant.data)
