"""Files that microscopes and programs wrote, read to the same pixels and names as by their readers.

They lie in source packages of other projects. CONTRIBUTING.md says how to get them; the tests skip
where they are absent.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.images.dataset import Arrangement, Dataset
from napari_phenldiff.images.image import Image

FOLDER = os.environ.get("PHENLDIFF_REAL_EXPORTS", "")


def place(pattern: str) -> Path:
    found = sorted(Path(FOLDER).glob(pattern)) if FOLDER else []
    if not found:
        pytest.skip(f"no {pattern} in PHENLDIFF_REAL_EXPORTS, see CONTRIBUTING.md")
    return found[-1]


def images(path: Path, *, z: str | None = None, pattern: str | None = None) -> list[Image]:
    found = Dataset.find(path, Arrangement(pattern=pattern))
    sources = [source for group in found.conditions.values() for source in group]
    return [image for source in sources for image in source.read(z=z)]


def test_ome_tiff_of_bio_formats():
    file = place("PartSeg-*/**/initial_images/stack.tif")
    (image,) = images(file)
    with tifffile.TiffFile(file) as tif:
        assert tif.series[0].axes == "CYX"
        np.testing.assert_array_equal(image.data, tif.asarray())
    assert image.pixel_size == pytest.approx((0.07752200597803197,) * 2)


def test_one_file_per_channel_of_cellprofilers_example(tmp_path):
    folder = place("cellprofiler-4*/**/ExampleFly/images")
    found = images(folder, pattern=r"_(?P<channel>D|F|R)$")
    assert [image.name for image in found] == ["01_POS002", "01_POS076", "01_POS218"]
    for image in found:
        assert image.channel_names == ("D", "F", "R")
        for name, plane in zip(image.channel_names, image.data, strict=True):
            written = tifffile.imread(folder / f"{image.name}_{name}.TIF")
            np.testing.assert_array_equal(plane, written)


def test_what_may_be_channels_is_told_of_cellprofilers_example():
    folder = place("cellprofiler-4*/**/ExampleFly/images")
    assert 'All names end in "D", "F", "R" in turn' in Dataset.find(folder).summary()


def test_channels_that_fiji_has_split(tmp_path):
    folder = place("microfilm-*/**/test_tifseries_good")
    together = tmp_path / "condition"
    together.mkdir()
    for file in folder.rglob("C?-MAX_mitosis_t*.tif"):
        (together / file.name).symlink_to(file)
    found = images(together)
    assert len(found) == 51
    for image in found:
        assert image.channel_names == ("C1", "C2")
        for name, plane in zip(image.channel_names, image.data, strict=True):
            written = tifffile.imread(together / f"{name}-{image.name}.tif")
            np.testing.assert_array_equal(plane, written)


def test_nd2_of_nis_elements():
    nd2 = pytest.importorskip("nd2", reason="the extra formats is not installed")
    pytest.importorskip("bioio_nd2", reason="the extra formats is not installed")
    file = place("microfilm-*/**/cluster.nd2")
    with nd2.ND2File(file) as other:
        assert tuple(other.sizes) == ("T", "Z", "C", "Y", "X")
        pixels = other.asarray().max(1)
        names = tuple(channel.channel.name for channel in other.metadata.channels)
        side = other.voxel_size()
    found = images(file, z="max")
    assert len(found) == len(pixels)
    for image, expected in zip(found, pixels, strict=True):
        np.testing.assert_array_equal(image.data, expected)
        assert image.channel_names == names
        assert image.pixel_size == pytest.approx((side.y, side.x))


def test_czi_of_zen():
    bioio = pytest.importorskip("bioio", reason="the extra formats is not installed")
    pytest.importorskip("bioio_czi", reason="the extra formats is not installed")
    file = place("multiview_stitcher-*/**/mosaic_test.czi")
    other = bioio.BioImage(file)
    (image,) = images(file)
    np.testing.assert_array_equal(image.data, other.get_image_data("CYX", T=0, Z=0))
    assert image.channel_names == tuple(map(str, other.channel_names)) == ("EGFP",)
    size = other.physical_pixel_sizes
    assert image.pixel_size == pytest.approx((size.Y, size.X))
