from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.peek import peek_tiff
from napari_phenldiff.images.tiff import read_tiff, write_stack, write_tiff


def agrees(path: Path, z=None) -> bool:
    """Whether looking and reading tell the same."""
    peek, images = peek_tiff(path), read_tiff(path, z=z)
    assert peek is not None
    return (peek.channel_names, peek.size, peek.dtype, peek.n_images) == (
        images[0].channel_names,
        images[0].shape,
        str(images[0].data.dtype),
        len(images),
    )


def test_a_file_of_ours(tmp_path: Path):
    image = Image(np.zeros((2, 5, 6), np.uint16), ("DNA", "GFP"), (0.5, 0.5), "a")
    write_tiff(tmp_path / "a.tif", image)
    write_stack(tmp_path / "b.tif", [image] * 3)

    assert agrees(tmp_path / "a.tif")
    assert agrees(tmp_path / "b.tif")
    assert peek_tiff(tmp_path / "b.tif").n_images == 3


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5, 6), {}),
        ((3, 5, 6), {}),
        ((40, 5, 6), {}),
        ((5, 6, 3), {"photometric": "rgb"}),
        ((4, 2, 5, 6), {"imagej": True, "metadata": {"axes": "TCYX"}}),
    ],
)
def test_files_of_others(tmp_path: Path, shape, options):
    options = {"photometric": "minisblack", **options}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), **options)

    assert agrees(tmp_path / "a.tif")


def test_planes_are_counted(tmp_path: Path):
    data = np.zeros((7, 2, 5, 6), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata={"axes": "ZCYX"})

    assert agrees(tmp_path / "a.tif", z="max")
    assert peek_tiff(tmp_path / "a.tif").n_planes == 7


def test_what_cannot_be_read_is_not_told(tmp_path: Path):
    (tmp_path / "broken.tif").write_bytes(b"II*\x00\xff\xff")

    assert peek_tiff(tmp_path / "broken.tif") is None
    assert peek_tiff(tmp_path / "absent.tif") is None
