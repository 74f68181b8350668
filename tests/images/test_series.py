"""The image of a file is read, never a thumbnail, and nothing of it is lost without a word."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.peek import peek_tiff
from napari_phenldiff.images.tiff import read_image, read_tiff, write_tiff

DATA = np.random.default_rng(0).integers(1, 60_000, (3, 48, 64)).astype(np.uint16)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "field.tif"


def write_pages(path, *pages, **kwargs):
    with tifffile.TiffWriter(path) as writer:
        for page in pages:
            page, options = page if isinstance(page, tuple) else (page, {})
            writer.write(page, photometric="minisblack", metadata=None, **options)


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_thumbnails_are_left_out(path, first, marked):
    thumbnail = (DATA[0, ::4, ::4], {"subfiletype": int(marked)})
    write_pages(path, *((thumbnail, DATA[0]) if first else (DATA[0], thumbnail)))
    np.testing.assert_array_equal(read_image(path).data[0], DATA[0])
    assert peek_tiff(path).size == (48, 64)


def test_a_reduced_copy_is_left_out_however_large(path):
    write_pages(path, (DATA[0, :40, :60], {"subfiletype": 1}), DATA[0])
    np.testing.assert_array_equal(read_image(path).data[0], DATA[0])


@pytest.mark.parametrize(
    "other",
    [DATA[1].astype(np.uint8), DATA[1].astype(np.float32), DATA[1, :40, :60], DATA[1, :48, :60]],
)
def test_pages_that_do_not_fit_together_are_told(path, other):
    write_pages(path, DATA[0], other)
    with pytest.raises(InputError, match=r"field\.tif: It holds images that are unlike"):
        read_tiff(path)


def test_a_channel_that_the_description_forgets(path):
    """SizeC is too small: a second channel was lost without a word."""
    tifffile.imwrite(path, DATA[:2], ome=True, metadata={"axes": "CYX"})
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata
    start = xml.index("<Channel")
    one = xml[start : xml.index("<Channel", start + 1)]
    xml = xml.replace(one, "", 1).replace('SizeC="2"', 'SizeC="1"')
    xml = xml.replace('PlaneCount="2"', 'PlaneCount="1"')
    tifffile.imwrite(path, DATA[:2], description=xml.encode(), metadata=None)
    with pytest.raises(InputError, match=r"holds 2 pages but its description tells of 1 only"):
        read_tiff(path)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("images=6\nchannels=2\nslices=3\nhyperstack=true\n", r"3 planes, .* tells of 6 \("),
        ("images=2\nchannels=2\nmode=composite\n", r"3 planes, .* tells of 2 \("),
        ("images=2\nframes=2\n", r"3 planes, .* tells of 2 \("),
    ],
)
def test_imagej_files_hold_what_they_tell_of(path, told, said):
    """What was missing or too much was read as channels, or not at all."""
    with tifffile.TiffWriter(path) as writer:
        for k, page in enumerate(DATA):
            description = f"ImageJ=1.53t\n{told}" if k == 0 else None
            options = {"photometric": "minisblack", "metadata": None, "contiguous": False}
            writer.write(page, description=description, **options)
    with pytest.raises(InputError, match=rf"It holds {said}"):
        read_tiff(path)
    assert peek_tiff(path) is None


@pytest.mark.parametrize("named", [True, False])
def test_a_stack_behind_the_first_page_of_an_imagej_file(path, named):
    """ImageJ writes stacks beyond 4 GB so; three planes were one where nothing names the axis."""
    told = "channels=3\n" if named else ""
    tifffile.imwrite(
        path,
        DATA[0],
        description=f"ImageJ=1.53t\nimages=3\n{told}",
        photometric="minisblack",
        metadata=None,
    )
    with path.open("ab") as file:
        with tifffile.TiffFile(path) as tif:
            assert tif.pages.first.dataoffsets[0] + DATA[0].nbytes == tif.filehandle.size
        file.write(DATA[1:].tobytes())
    if named:
        np.testing.assert_array_equal(read_image(path).data, DATA)
    else:
        with pytest.raises(InputError, match="It holds 3 planes, but its ImageJ"):
            read_tiff(path)


@pytest.mark.parametrize("leading", [(), (3,)])
def test_channels_that_were_written_last(path, leading):
    """An array of shape (Y, X, C), page by page: no image has 160 planes of 2 columns."""
    data = np.random.default_rng(0).integers(0, 255, (*leading, 40, 30, 2)).astype(np.uint16)
    tifffile.imwrite(path, data, photometric="minisblack")
    images = read_tiff(path)
    fields = np.moveaxis(data, -1, -3).reshape(-1, 2, 40, 30)
    np.testing.assert_array_equal([image.data for image in images], fields)


def test_a_narrow_strip_is_no_array_of_channels(path):
    data = DATA[:3, :48, :8]
    tifffile.imwrite(path, data, photometric="minisblack")
    np.testing.assert_array_equal(read_image(path).data, data)


@pytest.mark.parametrize("axes", ["CYX", "TYX"])
def test_axes_that_are_named_are_not_guessed(path, axes):
    data = np.arange(20 * 20 * 6, dtype=np.uint16).reshape(20, 20, 6)
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": axes})
    images = read_tiff(path)
    np.testing.assert_array_equal(np.concatenate([image.data for image in images]), data)


@pytest.mark.parametrize("shape", [(20, 20, 6), (16, 16, 4), (17, 17, 8)])
def test_many_channels_of_a_narrow_image_are_read_as_they_were_written(path, shape):
    data = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    names = tuple(f"c{k}" for k in range(shape[0]))
    write_tiff(path, Image(data, names, (0.5, 0.5), "field"))
    image = read_image(path)
    np.testing.assert_array_equal(image.data, data)
    assert (image.channel_names, image.pixel_size) == (names, (0.5, 0.5))
    assert peek_tiff(path).channel_names == names


@pytest.mark.parametrize(("name", "imagej"), [("a.ome.tif", False), ("a.tif", True)])
def test_channels_last_that_are_written_without_axes_are_channels(tmp_path, name, imagej):
    """tifffile calls the first axis C then, and 128 rows were channels."""
    data = np.random.default_rng(0).integers(0, 4000, (128, 128, 2), dtype=np.uint16)
    tifffile.imwrite(tmp_path / name, data, imagej=imagej)
    np.testing.assert_array_equal(read_image(tmp_path / name).data, np.moveaxis(data, -1, 0))


def test_the_pixel_size_is_that_of_the_image_and_not_of_a_thumbnail_before_it(tmp_path):
    path = tmp_path / "a.tif"
    data = np.random.default_rng(0).integers(0, 60000, (64, 80)).astype(np.uint16)
    with tifffile.TiffWriter(path) as writer:
        for step, options in ((4, {"subfiletype": 1}), (1, {})):
            writer.write(
                data[::step, ::step],
                resolution=(1e4 / step, 1e4 / step),
                resolutionunit="centimeter",
                metadata=None,
                **options,
            )
    image = read_image(path)
    np.testing.assert_array_equal(image.data[0], data)
    assert image.pixel_size == pytest.approx((1, 1))
    assert peek_tiff(path).pixel_size == image.pixel_size
