from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image, as_storable
from napari_phenldiff.images.naming import count, file_safe, quoted


def test_image_knows_its_shape():
    image = Image(np.zeros((2, 5, 7), np.uint16), ("a", "b"), (0.3, 0.2), "field")
    assert (image.n_channels, image.shape, image.path) == (2, (5, 7), None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros((5, 7))}, r"shape \(5, 7\)"),
        ({"data": np.zeros((2, 0, 7))}, "none of them empty"),
        ({"data": np.zeros((2, 5, 7), complex)}, "complex128 values"),
        ({"data": np.zeros((2, 5, 7), bool)}, "bool values"),
        ({"channel_names": ("a",)}, "2 channels but 1 channel name:"),
        ({"pixel_size": (0.0, 0.2)}, "pixel size"),
        ({"pixel_size": (np.nan, 0.2)}, "pixel size"),
        ({"name": "../field"}, "cannot be the name of a file"),
        ({"name": " "}, "cannot be the name of a file"),
        ({"name": ".."}, "cannot be the name of a file"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    parts = {
        "data": np.zeros((2, 5, 7)),
        "channel_names": ("a", "b"),
        "pixel_size": None,
        "name": "field",
    }
    with pytest.raises(InputError, match=message):
        Image(**(parts | changes))


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([False, True], bool, np.uint8),
        ([0.5, 2], np.float16, np.float32),
        ([0.5, 2], np.float64, np.float64),
        ([0.5, 2], np.longdouble, np.float64),
        ([-3, 2**31 - 1], np.int64, np.int32),
        ([0, 2**32 - 1], np.int64, np.uint32),
        ([-1, 2**32 - 1], np.int64, np.float64),
        ([0, 9], np.uint64, np.int32),
        ([0, 9], ">u2", np.uint16),
        ([0, 9], ">f4", np.float32),
        ([0, 9], np.uint16, np.uint16),
    ],
)
def test_storable_keeps_values(values, dtype, expected):
    array = np.array(values, dtype)
    stored = as_storable(array)
    assert stored.dtype == np.dtype(expected)
    assert stored.dtype.isnative
    np.testing.assert_array_equal(stored.astype(float), array.astype(float))


def test_words():
    assert count(1, "channel") == "1 channel"
    assert count(0, "image") == "0 images"
    assert quoted(["a", "b"]) == '"a", "b"'
    assert quoted(list("abcde"), limit=2) == '"a", "b" and 3 more'
    assert file_safe("real/DNA: 1") == "real-DNA- 1"
    assert file_safe("..") == "unnamed"
