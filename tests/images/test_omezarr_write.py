from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.omezarr_write import (
    PlaceOnPlate,
    has_field,
    well_on_plate,
    write_field,
    write_plate,
)
from napari_phenldiff.images.tiff import read_provenance

WINDOWS = ((0.0, 900.0), (10.0, 500.0))


def make(seed: int, shape=(30, 41), dtype=np.uint16, **how) -> Image:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 250, (2, *shape)).astype(dtype)
    return Image(data, ("DNA", "marker"), how.pop("pixel_size", (0.5, 0.25)), f"i{seed}", **how)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("B07", (1, 7)), ("b7", (1, 7)), ("A-1", (0, 1)), ("well P24", (15, 24)),
        ("AF48", (31, 48)), ("r02c11", (1, 11)), ("W0012", None), ("12", None), ("rep2", None),
        ("B0", None), ("r00c01", None),
    ],
)  # fmt: skip
def test_wells_and_their_places(name, expected):
    assert well_on_plate(name) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_plate_comes_back_as_it_was(tmp_path, dtype):
    plate = tmp_path / "p.zarr"
    images = {
        PlaceOnPlate(row, column, field): make(100 * row + 10 * column + k, dtype=dtype)
        for row, column in ((0, 1), (0, 12), (2, 3))
        for k, field in enumerate(("0", "1"))
    }
    for place, image in images.items():
        write_field(plate, place, [image], windows=WINDOWS, provenance={"kind": "translated"})
    write_plate(plate, "P1", images)
    (sources,) = Dataset.find(plate).conditions.values()
    assert [s.name for s in sources] == [
        "A01_f0", "A01_f1", "A12_f0", "A12_f1", "C03_f0", "C03_f1"
    ]  # fmt: skip
    for source, image in zip(sources, images.values(), strict=True):
        (again,) = source.read()
        np.testing.assert_array_equal(again.data, image.data)
        assert again.data.dtype == image.data.dtype
        assert again.channel_names == image.channel_names
        assert again.pixel_size == image.pixel_size
        assert again.site.plate == "P1"
        assert read_provenance(source.path) == {"kind": "translated"}


def test_what_viewers_need_is_there(tmp_path):
    plate, place = tmp_path / "p.zarr", PlaceOnPlate(1, 7, "0")
    write_field(plate, place, [make(0, (1100, 700))], windows=WINDOWS)
    write_plate(plate, "P1", [place])
    told = json.loads((plate / "B/7/0/.zattrs").read_text())
    (scales,) = told["multiscales"]
    shapes = [
        zarr.open_array(plate / "B/7/0" / one["path"], mode="r").shape for one in scales["datasets"]
    ]
    assert shapes == [(2, 1100, 700), (2, 550, 350), (2, 275, 175)]
    changes = [one["coordinateTransformations"] for one in scales["datasets"]]
    assert changes[1][0] == {"type": "scale", "scale": [1.0, 1.0, 0.5]}
    assert changes[1][1] == {"type": "translation", "translation": [0.0, 0.25, 0.125]}
    small = zarr.open_array(plate / "B/7/0/1", mode="r")[0, 0, 0]
    assert small == np.rint(make(0, (1100, 700)).data[0, :2, :2].mean())
    channels = told["omero"]["channels"]
    assert [one["label"] for one in channels] == ["DNA", "marker"]
    assert channels[1]["window"] == {"min": 0, "max": 65535, "start": 10, "end": 500}
    assert all(len(one["color"]) == 6 for one in channels)
    whole = json.loads((plate / ".zattrs").read_text())["plate"]
    assert whole["wells"] == [{"path": "B/7", "rowIndex": 0, "columnIndex": 0}]
    assert "provenance" not in told


def test_a_stack_is_a_field_with_times(tmp_path):
    place = PlaceOnPlate(0, 1, "0")
    stack = [make(k) for k in range(3)]
    write_field(tmp_path / "p.zarr", place, stack, windows=WINDOWS)
    write_plate(tmp_path / "p.zarr", "P", [place])
    (sources,) = Dataset.find(tmp_path / "p.zarr").conditions.values()
    again = sources[0].read()
    for one, image in zip(again, stack, strict=True):
        np.testing.assert_array_equal(one.data, image.data)
    with pytest.raises(InputError, match="differ in shape"):
        write_field(tmp_path / "p.zarr", place, [make(0), make(1, (9, 9))], windows=WINDOWS)


def test_fields_that_are_not_there_are_not_named(tmp_path):
    plate = tmp_path / "p.zarr"
    here, missing = PlaceOnPlate(0, 1, "0"), PlaceOnPlate(0, 2, "0")
    write_plate(plate, "P", [here, missing])
    assert not plate.exists()
    write_field(plate, here, [make(0, pixel_size=None)], windows=WINDOWS)
    assert has_field(plate, here)
    assert not has_field(plate, missing)
    write_plate(plate, "P", [here, missing])
    (sources,) = Dataset.find(plate).conditions.values()
    assert [source.name for source in sources] == ["A01_f0"]
    assert sources[0].read()[0].pixel_size is None
    write_field(plate, here, [make(5)], windows=WINDOWS)
    np.testing.assert_array_equal(sources[0].read()[0].data, make(5).data)


@pytest.mark.parametrize("empty", [1, 2])
def test_black_channels_are_written_and_not_missing_afterwards(tmp_path, empty):
    plate, place = tmp_path / "p.zarr", PlaceOnPlate(0, 0, "0")
    image = make(0)
    image.data[:empty] = 0
    write_field(plate, place, [image], windows=WINDOWS)
    write_plate(plate, "P1", [place])
    (source,) = Dataset.find(plate).sources
    (again,) = source.read()
    assert again.lacking is None
    np.testing.assert_array_equal(again.data, image.data)


def test_a_place_whose_name_looks_like_an_address(tmp_path):
    plate, place = tmp_path / "a::b" / "p.zarr", PlaceOnPlate(0, 1, "0")
    write_field(plate, place, [make(0)], windows=WINDOWS)
    write_plate(plate, "P1", [place])
    (source,) = Dataset.find(plate).sources
    np.testing.assert_array_equal(source.read()[0].data, make(0).data)
