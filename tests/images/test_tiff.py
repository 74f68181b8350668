"""Every kind of TIFF that users bring, written with tifffile and read again."""

from __future__ import annotations

import logging
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import (
    read_image,
    read_planes,
    read_provenance,
    read_tiff,
    write_stack,
    write_tiff,
)

Y, X = 20, 30


def pixels(*shape: int, dtype: str = "uint16", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 250, (*shape, Y, X))
    return values.astype(dtype) / 7 if np.dtype(dtype).kind == "f" else values.astype(dtype)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "field.tif"


# Plain TIFFs


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64"])
def test_dtypes_and_compressions(path, dtype, compression):
    data = pixels(2, dtype=dtype)
    metadata = {"axes": "CYX"}
    tifffile.imwrite(path, data, compression=compression, metadata=metadata)
    image = read_image(path)
    assert image.data.dtype == data.dtype
    np.testing.assert_array_equal(image.data, data)
    assert image.channel_names == ("channel 0", "channel 1")
    assert (image.name, image.path, image.pixel_size) == ("field", path, None)


def test_predictor_strips_and_tiles(path):
    data = pixels(3)
    options = {"compression": "lzw", "predictor": True, "photometric": "minisblack"}
    tifffile.imwrite(path, data, **options, rowsperstrip=7)
    np.testing.assert_array_equal(read_image(path).data, data)
    tifffile.imwrite(path, data, **options, tile=(16, 16), bigtiff=True, byteorder=">")
    np.testing.assert_array_equal(read_image(path).data, data)
    assert read_image(path).data.dtype.isnative


def test_one_plane_is_one_channel(path):
    data = pixels()
    tifffile.imwrite(path, data)
    np.testing.assert_array_equal(read_image(path).data, data[None])


@pytest.mark.parametrize(
    ("shape", "axes", "n_images", "n_channels"),
    [
        ((2,), None, 1, 2),
        ((8,), None, 1, 8),
        ((9,), None, 9, 1),
        ((5, 2), None, 5, 2),
        ((2, 9), None, 2, 9),
        ((1, 2), None, 1, 2),
        ((4, 3, 2), None, 12, 2),
        ((5,), "CYX", 1, 5),
        ((12,), "CYX", 1, 12),
        ((5,), "TYX", 5, 1),
        ((5, 2), "NCYX", 5, 2),
        ((5, 2), "TCYX", 5, 2),
        ((5, 2), "SCYX", 5, 2),
        ((2, 5), "CTYX", 5, 2),
    ],
)
def test_stacks_and_channels(path, shape, axes, n_images, n_channels):
    data = pixels(*shape)
    metadata = {} if axes is None else {"axes": axes}
    tifffile.imwrite(path, data, photometric="minisblack", metadata=metadata)
    images = read_tiff(path)
    assert [image.n_channels for image in images] == [n_channels] * n_images
    if axes == "CTYX":
        data = data.swapaxes(0, 1)
    np.testing.assert_array_equal(
        np.stack([image.data for image in images]), data.reshape(n_images, n_channels, Y, X)
    )
    expected = ["field"] if n_images == 1 else [f"field_{i:04d}" for i in range(n_images)]
    assert [image.name for image in images] == expected
    assert {image.path for image in images} == {path}


@pytest.mark.parametrize("n_channels", [3, 4])
def test_channels_that_tifffile_stored_as_colour_planes(path, n_channels):
    """Bare ``imwrite`` calls three or four 8-bit channels RGB, the fourth one alpha."""
    data = pixels(n_channels, dtype="uint8")
    tifffile.imwrite(path, data, photometric="rgb", planarconfig="separate")
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data)
    assert image.channel_names == tuple(f"channel {i}" for i in range(n_channels))


def test_an_opaque_alpha_is_left_out_of_colour_planes_too(path):
    data = pixels(4, dtype="uint8")
    data[3] = 255
    tifffile.imwrite(path, data, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(path).data, data[:3])


def test_colours_become_channels(path):
    data = pixels(3, dtype="uint8")
    tifffile.imwrite(path, np.moveaxis(data, 0, -1), photometric="rgb")
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data)
    assert image.channel_names == ("red", "green", "blue")
    assert image.data.flags.c_contiguous


@pytest.mark.parametrize(("alpha", "n_channels"), [(255, 3), (0, 4)])
def test_only_an_opaque_alpha_is_left_out(path, alpha, n_channels):
    data = pixels(4, dtype="uint8")
    data[3] = alpha
    tifffile.imwrite(path, np.moveaxis(data, 0, -1), photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(path).data, data[:n_channels])


def test_black_and_white(path):
    data = pixels() > 100
    tifffile.imwrite(path, data, photometric="minisblack")
    np.testing.assert_array_equal(read_image(path).data[0], data.astype(np.uint8))


def test_resolution_counts_only_where_it_can_be_a_microscopes(path):
    tifffile.imwrite(path, pixels(), resolution=(1e4 / 0.25, 1e4 / 0.5), resolutionunit=3)
    assert read_image(path).pixel_size == pytest.approx((0.5, 0.25))
    tifffile.imwrite(path, pixels(), resolution=(72, 72), resolutionunit=2)
    assert read_image(path).pixel_size is None


# z


def test_z_must_be_chosen(path):
    tifffile.imwrite(path, pixels(4, 2), metadata={"axes": "ZCYX"})
    with pytest.raises(
        InputError, match=r"field\.tif: There are 4 z planes: choose a plane \(0 to 3\) or a proj"
    ):
        read_tiff(path)
    with pytest.raises(InputError, match="no z plane 4"):
        read_tiff(path, z=4)
    with pytest.raises(InputError, match="no z plane -1"):
        read_tiff(path, z=-1)
    with pytest.raises(InputError, match='no z projection "median"'):
        read_tiff(path, z="median")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("z", "expected", "dtype"),
    [
        (2, lambda data: data[2], np.uint16),
        (np.int64(0), lambda data: data[0], np.uint16),
        ("max", lambda data: data.max(axis=0), np.uint16),
        ("mean", lambda data: data.mean(axis=0), np.float32),
        ("sum", lambda data: data.astype(float).sum(axis=0), np.float32),
    ],
)
def test_planes_and_projections(path, z, expected, dtype):
    data = pixels(4, 2) * 260  # a sum overflows uint16
    tifffile.imwrite(path, data, metadata={"axes": "ZCYX"})
    image = read_image(path, z=z)
    assert image.data.dtype == dtype
    np.testing.assert_allclose(image.data, expected(data), rtol=1e-6)
    # read_tiff(path) would not give these pixels again.
    assert image.path is None
    assert image.projection == ((z, 4) if isinstance(z, str) else None)


def test_z_of_one_plane_needs_no_choice(path):
    data = pixels(1, 2)
    tifffile.imwrite(path, data, metadata={"axes": "ZCYX"})
    np.testing.assert_array_equal(read_image(path).data, data[0])
    assert read_image(path).path == path


def test_choice_of_z_does_no_harm_where_there_is_none(path):
    data = pixels(2)
    tifffile.imwrite(path, data, metadata={"axes": "CYX"})
    image = read_image(path, z="max")
    np.testing.assert_array_equal(image.data, data)
    assert image.path == path


# ImageJ


def test_imagej_hyperstack(path):
    data = pixels(4, 3, 2)
    names = ["DNA", "actin"]
    tifffile.imwrite(
        path,
        data,
        imagej=True,
        resolution=(1 / 0.3, 1 / 0.6),
        metadata={"axes": "TZCYX", "unit": "um", "Labels": names * 12},
    )
    images = read_tiff(path, z="max")
    np.testing.assert_array_equal([image.data for image in images], data.max(axis=1))
    assert images[3].channel_names == ("DNA", "actin")
    assert images[3].pixel_size == pytest.approx((0.6, 0.3))


@pytest.mark.parametrize(
    "labels",
    [
        ["w1.tif", "w2.tif"],
        ["same", "same"],
        ["only one"],
        ["", ""],
    ],
)
def test_imagej_labels_that_name_no_channels(path, labels):
    tifffile.imwrite(path, pixels(2), imagej=True, metadata={"axes": "CYX", "Labels": labels})
    assert read_image(path).channel_names == ("channel 0", "channel 1")


def test_imagej_labels_of_single_planes_name_no_channels(path):
    labels = ["t1 DNA", "t1 actin", "t2 DNA", "t2 actin"]
    tifffile.imwrite(path, pixels(2, 2), imagej=True, metadata={"axes": "TCYX", "Labels": labels})
    assert read_tiff(path)[0].channel_names == ("channel 0", "channel 1")


@pytest.mark.parametrize(
    ("unit", "pixel_size"),
    [
        ("micron", 0.5),
        ("microns", 0.5),
        ("\\u00B5m", 0.5),
        ("nm", 0.0005),
        ("pixel", None),
        ("inch", None),
    ],
)
def test_imagej_units(path, unit, pixel_size):
    tifffile.imwrite(path, pixels(), imagej=True, resolution=(2, 2), metadata={"unit": unit})
    expected = None if pixel_size is None else pytest.approx((pixel_size, pixel_size))
    assert read_image(path).pixel_size == expected


def test_imagej_with_another_unit_along_y(path):
    metadata = {"unit": "micron", "yunit": "nm"}
    tifffile.imwrite(path, pixels(), imagej=True, resolution=(2, 0.001), metadata=metadata)
    assert read_image(path).pixel_size == pytest.approx((1.0, 0.5))
    metadata["yunit"] = "pixel"
    tifffile.imwrite(path, pixels(), imagej=True, resolution=(2, 0.001), metadata=metadata)
    assert read_image(path).pixel_size is None


def test_imagej_without_calibration(path):
    tifffile.imwrite(path, pixels(2), imagej=True, metadata={"axes": "CYX"})
    assert read_image(path).pixel_size is None


# OME


@pytest.mark.parametrize(
    ("unit", "pixel_size"), [("µm", 0.3), ("nm", 0.0003), ("mm", 300.0), ("pixel", None)]
)
def test_ome(path, unit, pixel_size):
    data = pixels(3, 2)
    metadata = {
        "axes": "TCYX",
        "Channel": {"Name": ["DNA", "β-tubulin <&>"]},
        "PhysicalSizeX": 0.3,
        "PhysicalSizeXUnit": unit,
        "PhysicalSizeY": 0.6,
        "PhysicalSizeYUnit": unit,
    }
    tifffile.imwrite(path, data, ome=True, metadata=metadata)
    images = read_tiff(path)
    np.testing.assert_array_equal([image.data for image in images], data)
    assert images[2].channel_names == ("DNA", "β-tubulin <&>")
    expected = None if pixel_size is None else pytest.approx((2 * pixel_size, pixel_size))
    assert images[2].pixel_size == expected


@pytest.mark.parametrize(
    ("x", "y", "pixel_size"),
    [
        ((0.3, None), (300.0, "nm"), (0.3, 0.3)),
        ((300.0, "nm"), (0.6, None), (0.6, 0.3)),
        ((300.0, "nm"), (300.0, None), (0.3, 0.3)),  # one number twice, and the unit once
    ],
)
def test_ome_with_the_unit_of_one_axis(path, x, y, pixel_size):
    metadata = {"axes": "YX", "PhysicalSizeX": x[0], "PhysicalSizeY": y[0]}
    metadata |= {f"PhysicalSize{a}Unit": unit for a, (_, unit) in (("X", x), ("Y", y)) if unit}
    tifffile.imwrite(path, pixels(), ome=True, metadata=metadata)
    assert read_image(path).pixel_size == pytest.approx(pixel_size)


def test_ome_with_one_channel_is_squeezed_and_unsqueezed(path):
    data = pixels(1)
    metadata = {"axes": "CYX", "Channel": {"Name": ["marker"]}}
    tifffile.imwrite(path, data, ome=True, metadata=metadata)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data)
    assert image.channel_names == ("marker",)


def test_ome_that_is_no_xml(path, caplog):
    data = pixels()
    xml = "<?xml version='1.0'?><OME><Image></OME>"
    with caplog.at_level(logging.CRITICAL):
        tifffile.imwrite(path, data, description=xml, metadata=None, photometric="minisblack")
        image = read_image(path)
        assert read_provenance(path) is None
    np.testing.assert_array_equal(image.data, data[None])
    assert image.channel_names == ("channel 0",)


def test_ome_without_names(path):
    tifffile.imwrite(path, pixels(2), ome=True, metadata={"axes": "CYX"})
    assert read_image(path).channel_names == ("channel 0", "channel 1")


@pytest.mark.parametrize(
    ("channel", "names"),
    [({}, ("red", "green", "blue")), ({"Name": "HE"}, ("HE red", "HE green", "HE blue"))],
)
def test_ome_colour(path, channel, names):
    data = pixels(3, dtype="uint8")
    metadata = {"axes": "YXS", "Channel": channel}
    tifffile.imwrite(path, np.moveaxis(data, 0, -1), ome=True, photometric="rgb", metadata=metadata)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data)
    assert image.channel_names == names


def test_ome_positions_are_images_and_other_series_are_left_out(path, caplog):
    fields = [pixels(2, seed=seed) for seed in range(3)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for field, size in zip(fields, (0.1, 0.2, 0.3), strict=True):
            metadata = {"axes": "CYX", "PhysicalSizeX": size, "PhysicalSizeY": size}
            writer.write(field, metadata=metadata)
        writer.write(pixels()[:10, :10], metadata={"axes": "YX"})
    with caplog.at_level(logging.WARNING, "napari_phenldiff"):
        images = read_tiff(path)
    np.testing.assert_array_equal([image.data for image in images], fields)
    assert [image.pixel_size for image in images] == [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3)]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: series 3 is much smaller than the image and left out"
    ]
    with pytest.raises(InputError, match="holds 3 images where one is needed"):
        read_image(path)


def test_pyramids_are_read_at_full_resolution(path):
    data = pixels(2)
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(data, subifds=1, metadata={"axes": "CYX"})
        writer.write(data[:, ::2, ::2], subfiletype=1)
    np.testing.assert_array_equal(read_image(path).data, data)


# Writing


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
@pytest.mark.parametrize("pixel_size", [None, (0.1 + 0.2, 1 / 3)])
def test_what_is_written_is_read(path, n_channels, dtype, pixel_size):
    names = ("DNA", 'α "β" <&>', "x", "y")[:n_channels]
    image = Image(pixels(n_channels, dtype=dtype), names, pixel_size, "any")
    write_tiff(path, image)
    again = read_image(path)
    assert again.data.dtype == image.data.dtype
    np.testing.assert_array_equal(again.data, image.data)
    assert (again.channel_names, again.pixel_size) == (names, pixel_size)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 5), (3, 5, 1)])
def test_the_smallest_images(path, shape):
    data = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write_tiff(path, Image(data, tuple("abc"[: shape[0]]), None, "any"))
    np.testing.assert_array_equal(read_image(path).data, data)


def test_names_that_xml_cannot_hold_are_written_without_what_it_cannot(path):
    """The file had neither names nor pixel size when it was read again."""
    write_tiff(path, Image(pixels(2), ("a\x01\ufffe", "c"), (0.5, 0.5), "x\x1b"))
    with tifffile.TiffFile(path) as tif:
        ElementTree.fromstring(tif.pages.first.description)
    image = read_image(path)
    assert (image.channel_names, image.pixel_size) == (("a��", "c"), (0.5, 0.5))


def test_what_is_written_is_plain_ome(path):
    write_tiff(path, Image(pixels(2), ("a", "b"), (0.5, 0.5), "field 7"), provenance={"run": "r"})
    with tifffile.TiffFile(path) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "CYX"
        assert tif.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert 'Name="field 7"' in tif.ome_metadata


def test_provenance(path, tmp_path):
    image = Image(pixels(2), ("a", "b"), None, "any")
    provenance = {
        "source": "untreated <&> µ",
        "strength": np.float32(0.5),
        "seed": np.int64(3),
        "scale": np.arange(2),
        "run": tmp_path,
        "conditions": ["a", "b"],
    }
    write_tiff(path, image, provenance=provenance)
    assert read_provenance(path) == {
        "source": "untreated <&> µ",
        "strength": 0.5,
        "seed": 3,
        "scale": [0, 1],
        "run": str(tmp_path),
        "conditions": ["a", "b"],
    }
    write_tiff(path, image)
    assert read_provenance(path) is None
    tifffile.imwrite(path, image.data, metadata={"axes": "CYX"})
    assert read_provenance(path) is None
    tifffile.imwrite(path, image.data, ome=True, metadata={"Description": '{"other": 1}'})
    assert read_provenance(path) is None
    with pytest.raises(InputError, match="does not exist"):
        read_provenance(tmp_path / "missing.tif")


def test_a_stack_that_is_written_is_read(path):
    images = [Image(pixels(2, seed=k), ("a", "b"), (0.5, 0.25), f"any {k}") for k in range(3)]
    write_stack(path, images, provenance={"run": "r"})
    again = read_tiff(path)
    assert len(again) == 3
    for image, back in zip(images, again, strict=True):
        np.testing.assert_array_equal(back.data, image.data)
        assert (back.channel_names, back.pixel_size) == (("a", "b"), (0.5, 0.25))
    assert read_provenance(path) == {"run": "r"}


def test_a_stack_of_one_is_a_single_image(path, tmp_path):
    image = Image(pixels(2), ("a", "b"), None, "any")
    write_stack(path, [image])
    write_tiff(tmp_path / "single.tif", image)
    assert path.read_bytes() == (tmp_path / "single.tif").read_bytes()


def test_equal_images_give_equal_files(tmp_path):
    image = Image(pixels(2), ("a", "b"), None, "any")
    for name, provenance in [("1.tif", {"seed": 1}), ("2.tif", {"seed": 1}), ("3.tif", {})]:
        write_tiff(tmp_path / name, image, provenance=provenance)
    first, second, third = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first == second != third


def test_what_json_cannot_hold_leaves_nothing_behind(path):
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        write_tiff(path, Image(pixels(1), ("a",), None, "any"), provenance={"x": object()})
    assert not path.exists()


def test_dtypes_that_ome_does_not_know_are_converted(path):
    data = pixels(1, dtype="int64")
    write_tiff(path, Image(data, ("a",), None, "any"))
    assert read_image(path).data.dtype == np.int32
    np.testing.assert_array_equal(read_image(path).data, data)


# The real files


def test_real_files(shared_data):
    image = read_image(next((shared_data / "bbbc013_translocation" / "treated").glob("*.tif")))
    assert image.channel_names == ("DNA (DRAQ)", "FKHR-GFP")
    assert (image.data.shape, image.data.dtype) == ((2, 128, 128), np.uint8)
    image = read_image(next((shared_data / "neurite_axotomy" / "cut").glob("*.tif")))
    assert image.channel_names == ("neurites (fluorescent marker)",)
    assert (image.data.shape, image.pixel_size) == ((1, 256, 256), (0.221, 0.221))
    image = read_image(next((shared_data / "golgi_bfa" / "after_bfa").glob("*.tif")))
    assert (image.data.shape, image.data.dtype) == ((1, 137, 147), np.float32)
    assert image.pixel_size == pytest.approx((0.3514, 0.3514), abs=1e-4)


# Planes


def test_planes_are_read_one_by_one(path):
    data = pixels(2, 4, 3)
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "TZCYX"})

    stacks = read_planes(path)

    assert [len(stack) for stack in stacks] == [4, 4]
    assert {plane.name for plane in stacks[1]} == {"field_0001"}
    assert stacks[0][0].path is None
    for stack, expected in zip(stacks, data, strict=True):
        np.testing.assert_array_equal([plane.data for plane in stack], expected)


def test_without_a_z_axis_there_is_one_plane(path):
    tifffile.imwrite(path, pixels(2), metadata={"axes": "CYX"})

    ((plane,),) = read_planes(path)

    np.testing.assert_array_equal(plane.data, pixels(2))
    assert plane.name == "field"


def test_planes_of_a_damaged_file_are_refused(path):
    path.write_bytes(b"II*\x00\xff\xff")

    with pytest.raises(InputError, match=r"field\.tif"):
        read_planes(path)
