"""Labels of objects, as other programs call their files."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from imageio.v3 import imwrite

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.label_files import find_labels, read_labels

LABELS = np.arange(20, dtype=np.uint16).reshape(4, 5)


@pytest.mark.parametrize(
    "name",
    [
        "f0.tif",
        "f0_cp_masks.tif",
        "f0_cp_masks.png",
        "f0_masks.tif",
        "f0_mask.TIFF",
        "f0_labels.tif",
        "f0-label.png",
        "f0.stardist.tif",
        "f0_IdentifyPrimaryObjects.tiff",
        "f0_nuclei_labels.tif",
        "label_f0.tif",
        "masks-f0.tif",
    ],
)
def test_labels_are_found_and_read_as_they_are_stored(tmp_path, name):
    if name.endswith("png"):
        imwrite(tmp_path / name, LABELS)
    else:
        tifffile.imwrite(tmp_path / name, LABELS)
    tifffile.imwrite(tmp_path / "f00_masks.tif", LABELS + 1)
    path = find_labels(tmp_path, "f0")
    assert path == tmp_path / name
    (labels,) = read_labels(path, "f0")
    assert labels.name == "f0"
    np.testing.assert_array_equal(labels.data[0], LABELS)


@pytest.mark.parametrize("name", ["f0_GFP.tif", "f01_masks.tif", "xf0.tif", "f0_overview.png"])
def test_other_files_are_no_labels(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    assert find_labels(tmp_path, "f0") is None
    assert find_labels(tmp_path / "nowhere", "f0") is None


def test_the_same_labels_in_two_formats_are_those_of_the_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "f0_cp_masks.tif", LABELS)
    imwrite(tmp_path / "f0_cp_masks.png", LABELS)
    assert find_labels(tmp_path, "f0") == tmp_path / "f0_cp_masks.tif"


def test_several_kinds_of_labels_are_not_chosen_from(tmp_path):
    for name in ("f0_nuclei.tif", "f0_cells.tif"):
        tifffile.imwrite(tmp_path / name, LABELS)
    with pytest.raises(InputError, match=r"several files that may be the labels of \"f0\""):
        find_labels(tmp_path, "f0")


def test_pictures_in_colours_are_no_labels(tmp_path):
    imwrite(tmp_path / "f0.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(InputError, match=r"f0\.png is a picture in colours"):
        read_labels(tmp_path / "f0.png", "f0")
