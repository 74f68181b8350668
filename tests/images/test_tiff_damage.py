"""Files that are broken: one sentence with the file's name, never wrong pixels."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.peek import peek_tiff
from napari_phenldiff.images.png import peek_png, read_png
from napari_phenldiff.images.tiff import read_tiff, write_tiff

DATA = np.random.default_rng(0).integers(0, 60_000, (4, 40, 50)).astype(np.uint16)


def write_plain(path):
    tifffile.imwrite(path, DATA, photometric="minisblack", metadata={"axes": "TYX"})


def write_pages(path):
    with tifffile.TiffWriter(path) as writer:
        for plane in DATA:
            writer.write(plane, compression="lzw", metadata=None)


def write_imagej(path):
    tifffile.imwrite(path, DATA, imagej=True, metadata={"axes": "TYX"})


def write_ome(path):
    tifffile.imwrite(path, DATA, ome=True, metadata={"axes": "TYX"})


def write_own(path):
    write_tiff(path, Image(DATA, tuple("abcd"), None, "any"))


def write_libtiff_like(path):
    """The directory of pages comes after the pixels, as libtiff writes it."""
    write_plain(path)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        first = tif.pages.first.offset
        length = 2 + 12 * len(tif.pages.first.tags) + 4
    content[4:8] = len(content).to_bytes(4, "little")
    content += content[first : first + length]
    path.write_bytes(content)


WRITERS = [write_plain, write_pages, write_imagej, write_ome, write_own, write_libtiff_like]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kept", [0.999, 0.9, 0.7, 0.5, 0.3, 0.1, 0.02, 0.001, 0])
def test_truncated_files(tmp_path, write, kept, caplog):
    path = tmp_path / "field.tif"
    write(path)
    assert sum(image.n_channels for image in read_tiff(path)) == 4
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with caplog.at_level(logging.CRITICAL), pytest.raises(InputError, match=r"field\.tif") as error:
        read_tiff(path)
    message = str(error.value)
    assert "\n" not in message
    assert len(message.removeprefix(str(path))) < 250


def test_damaged_pixels(tmp_path, caplog):
    path = tmp_path / "field.tif"
    write_own(path)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages.first.dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 200] = bytes(200)
    path.write_bytes(content)
    with caplog.at_level(logging.CRITICAL), pytest.raises(InputError, match="cannot be read"):
        read_tiff(path)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "lzma", "packbits"])
def test_no_more_of_a_strip_is_unpacked_than_it_has_pixels(tmp_path, monkeypatch, compression):
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, DATA[0], compression=compression, metadata=None, predictor=False)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        decode = tifffile.TIFF.DECOMPRESSORS[page.compression]
        packed = tifffile.TIFF.COMPRESSORS[page.compression](bytes(1_000_000))
        tags = {name: page.tags[name] for name in ("StripOffsets", "StripByteCounts")}
        end = path.stat().st_size
    content = bytearray(path.read_bytes()) + packed
    for name, value in (("StripOffsets", end), ("StripByteCounts", len(packed))):
        tag = tags[name]
        size = 2 if tag.dtype == 3 else 4
        content[tag.valueoffset : tag.valueoffset + size] = value.to_bytes(size, "little")
    path.write_bytes(content)
    lengths = []

    def decoded(*given, **how):
        found = decode(*given, **how)
        lengths.append(len(found))
        return found

    codecs = type(tifffile.TIFF.DECOMPRESSORS)
    monkeypatch.setattr(codecs, "__getitem__", lambda self, compression: decoded)
    with contextlib.suppress(InputError):
        assert read_tiff(path)[0].shape == DATA[0].shape
    assert max(lengths, default=0) <= DATA[0].nbytes


@pytest.mark.parametrize("content", [b"", b"II", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(1000)])
def test_files_that_are_no_tiff(tmp_path, content):
    path = tmp_path / "picture.tif"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"picture\.tif cannot be opened as a TIFF"):
        read_tiff(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tif does not exist"):
        read_tiff(tmp_path / "gone.tif")
    with pytest.raises(InputError, match="is a folder"):
        read_tiff(tmp_path)


def _write_naming(path, other):
    """Write an OME-TIFF of two channels, the second of which is in another file."""
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{k}" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{k}</UUID></TiffData>'
        for k, name in enumerate((path.name, other))
    )
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:0"><Image ID="Image:0"><Pixels DimensionOrder="XYCZT" ID="Pixels:0" '
        'SizeC="2" SizeT="1" SizeZ="1" SizeX="50" SizeY="40" Type="uint16">'
        f'<Channel ID="C:0"/><Channel ID="C:1"/>{planes}</Pixels></Image></OME>'
    )
    tifffile.imwrite(path, DATA[0], description=xml, metadata=None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.timeout(30)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.tif")
    with pytest.raises(InputError, match=r"^\S*p\.tif: It is no file, but a device or a pipe"):
        read_tiff(tmp_path / "p.tif")
    assert peek_tiff(tmp_path / "p.tif") is None
    os.mkfifo(tmp_path / "p.png")
    with pytest.raises(InputError, match=r"p\.png is no file"):
        read_png(tmp_path / "p.png")
    assert peek_png(tmp_path / "p.png") is None
    _write_naming(tmp_path / "a.ome.tif", "p.tif")
    with pytest.raises(InputError, match=r"a\.ome\.tif: It names p\.tif .* is no file"):
        read_tiff(tmp_path / "a.ome.tif")


@pytest.mark.parametrize("how", ["absolute", "above", "and back"])
def test_no_file_of_another_folder_is_followed(tmp_path, how):
    folder = tmp_path / "f"
    (folder / "below").mkdir(parents=True)
    for place in (tmp_path, folder / "below", folder):
        tifffile.imwrite(place / "other.tif", DATA[1])
    name = {
        "absolute": str(tmp_path / "other.tif"),
        "above": "../other.tif",
        "and back": "below/../../other.tif",
    }[how]
    _write_naming(folder / "a.ome.tif", name)
    with pytest.raises(InputError, match=r"a\.ome\.tif: It names .*other\.tif .*in another folder"):
        read_tiff(folder / "a.ome.tif")
    _write_naming(folder / "a.ome.tif", "other.tif")
    np.testing.assert_array_equal(read_tiff(folder / "a.ome.tif")[0].data, DATA[:2])
    _write_naming(folder / "a.ome.tif", "below/other.tif")  # which cannot lead out of it
    np.testing.assert_array_equal(read_tiff(folder / "a.ome.tif")[0].data, DATA[:2])


def test_a_set_with_a_part_in_a_folder_below_is_one_image(tmp_path):
    (tmp_path / "data").mkdir()
    names = ("a.ome.tif", "b.ome.tif", "data/c.ome.tif")
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{k}" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{k}</UUID></TiffData>'
        for k, name in enumerate(names)
    )
    for k, name in enumerate(names):
        xml = (
            '<?xml version="1.0"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{k}"><Image ID="Image:0"><Pixels DimensionOrder="XYCZT" '
            'ID="Pixels:0" SizeC="3" SizeT="1" SizeZ="1" SizeX="50" SizeY="40" Type="uint16">'
            f'<Channel ID="C:0"/><Channel ID="C:1"/><Channel ID="C:2"/>{planes}'
            "</Pixels></Image></OME>"
        )
        tifffile.imwrite(tmp_path / name, DATA[k], description=xml, metadata=None)
    (source,) = Dataset.find(tmp_path).sources  # and not one for each file that is beside it
    np.testing.assert_array_equal(source.read()[0].data, DATA[:3])


def test_one_file_of_several(tmp_path):
    """An OME-TIFF that is spread over two files is read whole, or not at all."""
    first, second = tmp_path / "first.ome.tif", tmp_path / "second.ome.tif"
    tifffile.imwrite(first, DATA[:2], ome=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(first) as tif:
        xml = tif.ome_metadata
    uuid = "urn:uuid:00000000-0000-0000-0000-00000000000"
    head, tail = xml.split("<TiffData")
    tail = tail.split("/>", 1)[1]
    parts = "".join(
        f'<TiffData FirstT="{2 * i}" IFD="0" PlaneCount="2">'
        f'<UUID FileName="{path.name}">{uuid}{i}</UUID></TiffData>'
        for i, path in enumerate((first, second))
    )
    xml = (head + parts + tail).replace('SizeT="2"', 'SizeT="4"')
    for planes, path in ((DATA[:2], first), (DATA[2:], second)):
        tifffile.imwrite(path, planes, description=xml.encode(), metadata=None)
    assert tifffile.imread(first).shape == DATA.shape
    for path in (first, second):
        read = read_tiff(path)
        np.testing.assert_array_equal(np.stack([image.data[0] for image in read]), DATA)
    whole = second.read_bytes()
    second.write_bytes(whole[: len(whole) - 3000])
    with pytest.raises(InputError, match=r"truncated|Planes are missing"):
        read_tiff(first)
    second.unlink()
    with pytest.raises(InputError, match="must be saved as a single file"):
        read_tiff(first)
    with pytest.raises(InputError, match="Planes are missing"):
        read_tiff(first)


def test_nothing_but_the_sentence_is_printed(tmp_path):
    path = tmp_path / "field.tif"
    write_pages(path)
    path.write_bytes(path.read_bytes()[:-500])
    code = f"""
from napari_phenldiff.images.tiff import read_tiff
try:
    read_tiff({str(path)!r})
except ValueError as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("InputError\n", "")


def _cut(path, how):
    """Take away the bytes of strips or tiles without a trace but in the page's own tags."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages.first.tags
        codes = (324, 325) if 324 in tags else (273, 279)
        places, lengths = (tags[code] for code in codes)
        height = tags[257]

    def put(tag, number, value):
        size = {3: 2, 4: 4}[int(tag.dtype)]
        at = tag.valueoffset + number * size
        content[at : at + size] = value.to_bytes(size, "little")

    if how == "fewer entries":
        for tag in (places, lengths):
            content[tag.offset + 4 : tag.offset + 8] = (tag.count // 2).to_bytes(4, "little")
    elif how == "offset 0":
        put(places, places.count // 2, 0)
    elif how == "no bytes":
        put(lengths, lengths.count // 2, 0)
    else:
        put(height, 0, 2 * height.value)
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["fewer entries", "offset 0", "no bytes", "image raised"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 8}, {"tile": (16, 16)}])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
def test_missing_strips_are_not_black_pixels(tmp_path, compression, layout, how, caplog):
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, DATA[0], compression=compression, metadata=None, **layout)
    assert read_tiff(path)[0].data.min() >= 0
    _cut(path, how)
    with caplog.at_level(logging.CRITICAL), pytest.raises(InputError, match=r"field\.tif"):
        read_tiff(path)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
def test_a_single_strip_that_ends_early(tmp_path, compression, caplog):
    """The strip may hold as many rows as it likes, so that only its bytes tell."""
    path = tmp_path / "field.tif"
    data = DATA[0]
    tifffile.imwrite(path, data, compression=compression, metadata=None)
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages.first.tags
        for code, value in ((257, 2 * len(data)), (278, 2 * len(data))):
            tag = tags[code]
            size = {3: 2, 4: 4}[int(tag.dtype)]
            content[tag.valueoffset : tag.valueoffset + size] = value.to_bytes(size, "little")
    path.write_bytes(content)
    with caplog.at_level(logging.CRITICAL), pytest.raises(InputError, match=r"field\.tif"):
        read_tiff(path)
