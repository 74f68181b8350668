"""What OME-XML says is of the pages that it names, and nothing of it is lost without a word."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.peek import peek_tiff
from napari_phenldiff.images.tiff import read_image, read_tiff

NAMESPACE = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
PLANES = np.random.default_rng(0).integers(1, 60_000, (3, 24, 32)).astype(np.uint16)
UUID = "urn:uuid:0000000{}-1111-1111-1111-111111111111"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "field.ome.tif"


def write(path: Path, planes: np.ndarray, xml: str | bytes) -> None:
    """Write pages with a description of which tifffile makes nothing of its own."""
    xml = xml.encode() if isinstance(xml, str) else xml
    with tifffile.TiffWriter(path) as writer:
        for k, plane in enumerate(planes):
            description = xml if k == 0 else None
            writer.write(plane, photometric="minisblack", metadata=None, description=description)


def ome(*images: str, uuid: str = "") -> str:
    own = f' UUID="{uuid}"' if uuid else ""
    return f'<?xml version="1.0"?><OME xmlns="{NAMESPACE}"{own}>{"".join(images)}</OME>'


def one(
    names: tuple[str, ...] = ("DNA",), pages: str = "<TiffData/>", size: str = "", **lengths: int
) -> str:
    """Describe one image: `size` are attributes, `lengths` those of axes besides one."""
    n = {"C": len(names), "Z": 1, "T": 1, "X": 32, "Y": 24, **lengths}
    told = " ".join(f'Size{axis}="{length}"' for axis, length in n.items())
    channels = "".join(f'<Channel ID="Channel:0:{k}" Name="{x}"/>' for k, x in enumerate(names))
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" {told} '
        f"{size}>{channels}{pages}</Pixels></Image>"
    )


def square(size: float) -> str:
    return f'PhysicalSizeX="{size}" PhysicalSizeY="{size}"'


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("identified", [True, False])
def test_one_position_of_several_is_told_by_its_own_image(tmp_path, which, identified):
    """Each file of Micro-Manager describes all positions; one alone was given the first's."""
    images = [
        one(
            (f"DNA{k}",),
            f'<TiffData IFD="0"><UUID FileName="p{k}.ome.tif">{UUID.format(k)}</UUID></TiffData>',
            square((0.1, 0.7)[k]),
        )
        for k in range(2)
    ]
    path = tmp_path / f"p{which}.ome.tif"
    write(path, PLANES[:1], ome(*images, uuid=UUID.format(which) if identified else ""))
    image = read_image(path)
    assert (image.channel_names, image.pixel_size) == ((f"DNA{which}",), ((0.1, 0.7)[which],) * 2)


def test_an_image_without_pixels_is_not_counted(path):
    second = one(("GFP",), '<TiffData IFD="0" PlaneCount="1"/>', square(0.7))
    write(path, PLANES[:1], ome('<Image ID="Image:9"/>', second))
    image = read_image(path)
    assert (image.channel_names, image.pixel_size) == (("GFP",), (0.7, 0.7))


def test_images_are_told_by_their_pages_and_not_by_their_order(path):
    images = [
        one((f"C{k}",), f'<TiffData IFD="{1 - k}"/>', square(0.1 + 0.6 * k)) for k in range(2)
    ]
    write(path, PLANES[:2], ome(*images))
    first, second = read_tiff(path)
    np.testing.assert_array_equal(first.data[0], PLANES[1])
    assert (first.channel_names, first.pixel_size) == (("C0",), (0.1, 0.1))
    assert (second.channel_names, second.pixel_size) == (("C1",), (0.7, 0.7))


STACK = one(("DNA",), size=square(0.3), Z=3)


@pytest.mark.parametrize(("bad", "name"), [("a & b", "a & b"), ("a\x01", "a�")])
def test_what_makes_xml_unreadable_is_mended_where_that_is_sure(path, bad, name):
    write(path, PLANES, ome(STACK.replace("DNA", bad)))
    with pytest.raises(InputError, match="There are 3 z planes"):
        read_image(path)
    image = read_image(path, z=1)
    np.testing.assert_array_equal(image.data[0], PLANES[1])
    assert (image.channel_names, image.pixel_size) == ((name,), (0.3, 0.3))


@pytest.mark.parametrize("how", ["cut off", "unclosed"])
def test_pages_that_only_unreadable_xml_describes_are_refused(path, how, caplog):
    """They were read as channels, without the pixel size."""
    xml = ome(STACK)
    xml = xml[:-6] if how == "cut off" else xml.replace("</Pixels>", "")
    write(path, PLANES, xml)
    with pytest.raises(InputError, match=r"OME-XML cannot be read .* which of its 3 pages"):
        read_tiff(path)
    assert peek_tiff(path) is None
    with caplog.at_level(logging.WARNING, "napari_phenldiff"):
        write(path, PLANES[:1], xml)
        np.testing.assert_array_equal(read_image(path).data, PLANES[:1])
    assert "its OME-XML cannot be read" in caplog.text


def test_xml_of_another_image_is_not_passed_over(path):
    write(path, PLANES, ome(one(("DNA",), Z=3, X=320)))
    with pytest.raises(InputError, match="tells of other planes than the 3 pages"):
        read_tiff(path)


def binary_only(name: str, uuid: str = UUID.format(7)) -> str:
    return ome(f'<BinaryOnly MetadataFile="{name}" UUID="{UUID.format(9)}"/>', uuid=uuid)


def test_a_companion_file_tells_what_the_pages_are(path):
    """Three z planes were read as three channels."""
    write(path, PLANES, binary_only("x.companion.ome"))
    with pytest.raises(InputError, match=r"by another file, x\.companion\.ome, .* not beside it"):
        read_tiff(path)
    companion = path.parent / "x.companion.ome"
    companion.write_text(ome(STACK), encoding="utf-8")
    image = read_image(path, z=2)
    np.testing.assert_array_equal(image.data[0], PLANES[2])
    assert (image.channel_names, image.pixel_size) == (("DNA",), (0.3, 0.3))
    companion.write_text("<OME>", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.companion\.ome, which cannot be read"):
        read_tiff(path)


def test_files_of_one_companion_are_one_image(tmp_path):
    parts = [
        f'<TiffData IFD="0" FirstC="{k}"><UUID FileName="c{k}.ome.tif">{UUID.format(k)}</UUID>'
        "</TiffData>"
        for k in range(3)
    ]
    xml = ome(one(("A", "B", "C"), "".join(parts), square(0.3)), uuid=UUID.format(9))
    (tmp_path / "x.companion.ome").write_text(xml, encoding="utf-8")
    for k in range(3):
        xml = binary_only("x.companion.ome", UUID.format(k))
        write(tmp_path / f"c{k}.ome.tif", PLANES[k : k + 1], xml)
        # Whichever is opened, its own pages are its own.
    (source,) = Dataset.find(tmp_path).sources
    for image in (*source.read(), read_image(tmp_path / "c2.ome.tif")):
        np.testing.assert_array_equal(image.data, PLANES)
        assert (image.channel_names, image.pixel_size) == (("A", "B", "C"), (0.3, 0.3))


@pytest.mark.parametrize("here", [range(3), range(1, 3)])
def test_files_of_one_companion_that_are_images_each_stay_so(tmp_path, here):
    """All fields of a plate were those of one well, named after the first."""
    images = [
        one(
            ("A",),
            f'<TiffData IFD="0"><UUID FileName="B0{k + 1}_f1.ome.tif">{UUID.format(k)}</UUID>'
            "</TiffData>",
            square(0.3),
        )
        for k in range(3)
    ]
    xml = ome(*images, uuid=UUID.format(9))
    (tmp_path / "x.companion.ome").write_text(xml, encoding="utf-8")
    for k in here:
        xml = binary_only("x.companion.ome", UUID.format(k))
        write(tmp_path / f"B0{k + 1}_f1.ome.tif", PLANES[k : k + 1], xml)
    sources = Dataset.find(tmp_path).sources
    assert [source.name for source in sources] == [f"B0{k + 1}_f1.ome" for k in here]
    for k, source in zip(here, sources, strict=True):
        (image,) = source.read()
        np.testing.assert_array_equal(image.data, PLANES[k : k + 1])
        assert image.pixel_size == (0.3, 0.3)


def test_a_single_plane_is_read_without_its_companion(path, caplog):
    write(path, PLANES[:1], binary_only("x.companion.ome"))
    with caplog.at_level(logging.WARNING, "napari_phenldiff"):
        np.testing.assert_array_equal(read_image(path).data, PLANES[:1])
    assert "x.companion.ome, which is not beside it" in caplog.records[0].getMessage()


def test_a_companion_in_another_folder_is_not_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "x.companion.ome").write_text(ome(STACK), encoding="utf-8")
    write(tmp_path / "a" / "a.ome.tif", PLANES, binary_only("../x.companion.ome"))
    with pytest.raises(InputError, match="not beside it"):
        read_tiff(tmp_path / "a" / "a.ome.tif")


@pytest.mark.parametrize(
    ("names", "read", "told"),
    [
        (("DNA",), ("DNA", "channel 1"), "names 1 channel of 2: the others"),
        (("DNA", "GFP", "RFP"), ("DNA", "GFP"), "names 3 channels of 2: names beyond"),
    ],
)
def test_fewer_or_more_names_than_channels(path, names, read, told, caplog):
    """All names were dropped, without a word."""
    write(path, PLANES[:2], ome(one(names, C=2)))
    with caplog.at_level(logging.WARNING, "napari_phenldiff"):
        assert read_image(path).channel_names == read
        assert peek_tiff(path).channel_names == read
    (record,) = caplog.records
    assert told in record.getMessage()


@pytest.mark.parametrize(("axis", "said"), [("E", "lambda"), ("H", "lifetime"), ("L", "")])
def test_steps_of_an_unusual_axis_are_images_and_that_is_told(path, axis, said, caplog):
    """Spectral bands were images of one channel each, without a word."""
    path = path.with_name("field.tif" if axis == "L" else path.name)
    metadata = {"axes": f"{axis}YX"}
    tifffile.imwrite(path, PLANES, photometric="minisblack", metadata=metadata)
    with caplog.at_level(logging.WARNING, "napari_phenldiff"):
        assert len(read_tiff(path)) == 3
        read_tiff(path)
    (record,) = caplog.records
    assert f"its axis {axis} ({said}" in record.getMessage()
    assert "3 steps) is taken for images of their own" in record.getMessage()


def position(*pages: tuple[int, int], names: tuple[str, ...] = ("DNA", "GFP")) -> str:
    """Describe one image, whose channels are pages `(file, index)`."""
    return one(
        names,
        "".join(
            f'<TiffData FirstC="{c}" IFD="{index}" PlaneCount="1">'
            f'<UUID FileName="p{file}.ome.tif">{UUID.format(file)}</UUID></TiffData>'
            for c, (file, index) in enumerate(pages)
        ),
    )


FOUR = [PLANES[:2] // 2 + 5000 * k for k in range(4)]


@pytest.mark.parametrize("identified", [True, False])
@pytest.mark.parametrize("folders", ["aabb", "aaab", "abcd", "aaaa"])
def test_positions_are_read_once_from_whatever_folder_they_were_sorted_into(
    tmp_path, folders, identified
):
    """Each file tells of all: those beside it were read as images of it, each with its pixels."""
    images = [position((k, 0), (k, 1)) for k in range(4)]
    for k, folder in enumerate(folders):
        (tmp_path / folder).mkdir(exist_ok=True)
        xml = ome(*images, uuid=UUID.format(k) if identified else "")
        tifffile.imwrite(
            tmp_path / folder / f"p{k}.ome.tif",
            FOUR[k],
            photometric="minisblack",
            metadata=None,
            description=xml,
        )
    found = {}
    for name, sources in Dataset.find(tmp_path).conditions.items():
        assert len(sources) == folders.count(name[0])
        for source in sources:
            (image,) = source.read()
            found[image.name.removesuffix(".ome")] = image
    assert sorted(found) == ["p0", "p1", "p2", "p3"]
    for k in range(4):
        np.testing.assert_array_equal(found[f"p{k}"].data, FOUR[k])


def test_an_image_that_lies_in_another_file_alone_is_read_from_there(tmp_path):
    """Its planes follow each other: those at their place in the file that was opened were read."""
    images = [position((0, 0), (1, 0)), position((1, 1), (1, 2)), position((2, 0), (2, 1))]
    pixels = [PLANES[:2], PLANES[[2, 0, 1]], FOUR[3]]
    for k in range(3):
        xml = ome(*images, uuid=UUID.format(k))
        tifffile.imwrite(
            tmp_path / f"p{k}.ome.tif",
            pixels[k],
            photometric="minisblack",
            metadata=None,
            description=xml,
        )
    read = [image.data for image in Dataset.find(tmp_path).read().images]
    wanted = [np.stack([PLANES[0], PLANES[2]]), PLANES[:2], FOUR[3]]
    assert len(read) == 3
    for data, expected in zip(read, wanted, strict=True):
        np.testing.assert_array_equal(data, expected)
