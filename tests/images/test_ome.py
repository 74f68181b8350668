"""What OME-XML says is of the pages that it names, and nothing of it is lost without a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

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
