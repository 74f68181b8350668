"""Grey values are those that the numbers in a file stand for, or a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import default_channel_names
from napari_phenldiff.images.peek import peek_tiff
from napari_phenldiff.images.tiff import read_image, read_planes, read_tiff
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings, segment_objects
from napari_phenldiff.measurement.segmentation.segmenters import Given

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (24, 32)).astype(np.uint8)
WORDS = RNG.integers(0, 4096, (2, 24, 32)).astype(np.uint16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "field.tif"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_])
def test_white_as_zero_is_turned_round(path, dtype):
    data = (BYTES > 100) if dtype is np.bool_ else BYTES.astype(dtype)
    stored = ~data if dtype is np.bool_ else np.iinfo(dtype).max - data
    tifffile.imwrite(path, stored, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read_image(path).data[0], data)
    np.testing.assert_array_equal(read_planes(path)[0][0].data[0], data)


def test_white_as_zero_of_numbers_without_an_end_is_refused(path):
    data = BYTES.astype(np.float32)
    tifffile.imwrite(path, data, photometric="miniswhite", metadata=None)
    with pytest.raises(InputError, match="nothing says which is black"):
        read_tiff(path)


def palette(*channels):
    return np.stack(channels).astype(np.uint16)


RAMP = np.arange(256) * 257


@pytest.mark.parametrize("colors", [(RAMP, RAMP, RAMP), (0 * RAMP, RAMP, 0 * RAMP)])
def test_a_palette_that_only_colours_grey_values(path, colors):
    """As ImageJ writes an image that is shown in green."""
    tifffile.imwrite(path, BYTES, photometric="palette", colormap=palette(*colors), metadata=None)
    np.testing.assert_array_equal(read_image(path).data[0], BYTES)


@pytest.mark.parametrize("colors", [RNG.permuted(np.tile(RAMP, (3, 1)), axis=1), [RAMP[::-1]] * 3])
def test_entries_of_a_palette_are_no_grey_values(path, colors):
    tifffile.imwrite(path, BYTES, photometric="palette", colormap=palette(*colors), metadata=None)
    with pytest.raises(InputError, match=r"field\.tif: Its pixels are entries of a palette"):
        read_tiff(path)


@pytest.mark.parametrize(("photometric", "samples"), [("separated", 4), ("cielab", 3)])
def test_other_colours_are_refused(path, photometric, samples):
    data = np.repeat(BYTES[..., None], samples, -1)
    tifffile.imwrite(path, data, photometric=photometric, metadata=None)
    with pytest.raises(InputError, match="which are no grey values"):
        read_tiff(path)


def test_planes_of_a_stack_in_colours_have_the_same_channels(path):
    data = RNG.integers(0, 256, (3, 24, 32, 3)).astype(np.uint8)
    data[1] = BYTES[..., None]  # by chance, a plane is grey
    tifffile.imwrite(path, data, photometric="rgb", metadata={"axes": "ZYXS"})
    ((*planes,),) = read_planes(path)
    for z, plane in enumerate(planes):
        np.testing.assert_array_equal(plane.data, np.moveaxis(data[z], -1, 0))
        np.testing.assert_array_equal(read_image(path, z=z).data, plane.data)


@pytest.mark.parametrize("z", ["mean", "sum", "max", 1])
def test_an_opaque_alpha_is_left_out_of_a_projection(path, z):
    data = RNG.integers(0, 200, (3, 24, 32, 4)).astype(np.uint8)
    data[..., 3] = 255
    options = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(path, data, metadata={"axes": "ZYXS"}, **options)
    assert read_image(path, z=z).channel_names == ("red", "green", "blue")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_luminance_and_chrominance_are_no_channels(path, compression):
    data = np.repeat(BYTES[..., None], 3, -1)
    tifffile.imwrite(path, data, photometric="ycbcr", compression=compression, metadata=None)
    with pytest.raises(InputError, match="stored as YCbCr, which are no grey values"):
        read_tiff(path)


def test_colours_in_jpeg_are_read_as_rgb(path):
    data = np.stack([np.full((32, 32), value, np.uint8) for value in (200, 100, 20)], -1)
    options = {"photometric": "rgb", "compression": "jpeg", "metadata": None}
    tifffile.imwrite(path, data, **options)
    np.testing.assert_allclose(read_image(path).data.mean((1, 2)), (200, 100, 20), atol=3)


def flex(path, planes, factors, end=""):
    arrays = "".join(f'<Array Name="1_{k}" Factor="{f}"/>' for k, f in enumerate(factors))
    xml = f"<Root><FLEX><Arrays>{arrays}</Arrays></FLEX></Root>{end}"
    with tifffile.TiffWriter(path) as writer:
        for k, plane in enumerate(planes):
            tags = [(65200, "s", len(xml) + 1, xml, True)] if k == 0 else []
            writer.write(plane, extratags=tags, metadata=None, photometric="minisblack")


@pytest.mark.parametrize(
    ("dtype", "factors", "expected"),
    [
        (np.uint8, (1.0, 3.7), np.uint16),
        (np.uint8, (1.0, 300.5), np.uint32),
        (np.uint8, (1.0, 1.0), np.uint16),  # as other files of the plate
        (np.uint16, (2.5, 1.5), np.uint32),
        (np.uint16, (1.0, 1.0), np.uint16),
    ],
)
@pytest.mark.parametrize("end", ["", "%"])
def test_planes_of_a_flex_are_multiplied(tmp_path, dtype, factors, expected, end):
    path = tmp_path / "001001000.flex"
    planes = np.stack([BYTES, BYTES // 2]).astype(dtype)
    flex(path, planes, factors, end)
    image = read_image(path)
    assert image.dtype == expected
    for plane, factor, found in zip(planes, factors, image.data, strict=True):
        np.testing.assert_array_equal(found, np.floor(plane * factor))


def test_factors_of_a_flex_that_are_not_one_for_each_plane(tmp_path):
    path = tmp_path / "001001000.flex"
    flex(path, [BYTES, BYTES], (2.0, 3.0, 4.0))
    with pytest.raises(InputError, match=r"tells of 3 factors .* holds 2 planes"):
        read_tiff(path)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_three_equal_colours_are_one_channel(path, planar):
    data = np.repeat(BYTES[None], 3, 0)
    data = np.moveaxis(data, 0, -1) if planar == "contig" else data
    tifffile.imwrite(path, data, photometric="rgb", planarconfig=planar, metadata=None)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, BYTES[None])
    assert image.channel_names == ("channel 0",)


def test_a_black_colour_image_keeps_its_channels(path):
    data = np.zeros((24, 32, 3), np.uint8)
    tifffile.imwrite(path, data, photometric="rgb", metadata=None)
    assert read_image(path).channel_names == ("red", "green", "blue")


@pytest.mark.parametrize(
    ("line", "dtype", "expected"),
    [
        ((-32768.0, 1.0), np.int16, WORDS.astype(np.int32) - 32768),
        ((5.0, 0.25), np.float32, 5 + 0.25 * WORDS),
        ((0.0, 1.0), np.uint16, WORDS),
    ],
)
def test_values_that_imagej_has_calibrated(path, line, dtype, expected):
    metadata = {"axes": "CYX", "cf": 0, "c0": line[0], "c1": line[1]}
    tifffile.imwrite(path, WORDS, imagej=True, metadata=metadata)
    image = read_image(path)
    assert image.data.dtype == dtype
    np.testing.assert_array_equal(image.data, expected)


def test_values_that_imagej_has_calibrated_by_a_curve(path):
    metadata = {"axes": "CYX", "cf": 4, "c0": 1.0, "c1": 2.0}
    tifffile.imwrite(path, WORDS, imagej=True, metadata=metadata)
    with pytest.raises(InputError, match="calibrated by a curve"):
        read_tiff(path)


def test_labels_are_taken_as_they_are_stored(path):
    """Fiji saves labels with a palette of many colours, and masks with white as 0."""
    colors = palette(*RNG.permuted(np.tile(RAMP, (3, 1)), axis=1))
    tifffile.imwrite(path, BYTES, photometric="palette", colormap=colors, metadata=None)
    np.testing.assert_array_equal(read_tiff(path, as_stored=True)[0].data[0], BYTES)
    tifffile.imwrite(path, BYTES, photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(read_tiff(path, as_stored=True)[0].data[0], BYTES)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_labels_of_one_bit_are_a_mask_as_it_is_shown(path, photometric):
    """Under the number 1, two nuclei that lie near each other would be one object."""
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:20] = mask[12:22, 30:40] = True
    stored = ~mask if photometric == "miniswhite" else mask
    tifffile.imwrite(path, stored, photometric=photometric, metadata=None)
    (labels,) = read_tiff(path, as_stored=True)
    np.testing.assert_array_equal(labels.data[0], np.where(mask, 255, 0))
    objects = segment_objects(
        np.ones(mask.shape), SegmentationSettings().with_segmenter(Given(labels.data[0])), np.inf
    )
    assert objects.max() == 2


@pytest.mark.parametrize(("photometric", "n"), [("minisblack", 1), ("minisblack", 2), ("rgb", 4)])
@pytest.mark.parametrize("planar", [False, True])
def test_an_opaque_alpha_is_left_out_where_the_file_says_that_it_is_one(
    path, photometric, n, planar
):
    """Of grey values it was a channel without contrast."""
    data = np.random.default_rng(0).integers(0, 255, (n, 24, 32)).astype(np.uint16)
    opaque = np.concatenate([data, np.full((1, 24, 32), 65535, np.uint16)])
    extra = ["unspecified"] * (n - (3 if photometric == "rgb" else 1)) + ["unassalpha"]
    options = {"photometric": photometric, "extrasamples": extra, "metadata": None}
    for alpha in (65535, 300):
        opaque[-1, 0, 0] = alpha
        if planar:
            tifffile.imwrite(path, opaque, planarconfig="separate", **options)
        else:
            tifffile.imwrite(path, np.moveaxis(opaque, 0, -1), planarconfig="contig", **options)
        (image,) = read_tiff(path)
        np.testing.assert_array_equal(image.data, data if alpha == 65535 else opaque)
        assert image.channel_names == default_channel_names(image.n_channels)


def test_more_samples_than_colours_are_channels(path):
    """The sentence was that five channels had four names."""
    data = np.random.default_rng(0).integers(0, 255, (5, 24, 32)).astype(np.uint16)
    options = {"photometric": "rgb", "extrasamples": ["unspecified"] * 2}
    tifffile.imwrite(path, np.moveaxis(data, 0, -1), **options)
    (image,) = read_tiff(path)
    np.testing.assert_array_equal(image.data, data)
    assert image.channel_names == peek_tiff(path).channel_names == default_channel_names(5)
