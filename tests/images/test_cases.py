"""Inputs as people have them, each with what it must give: `shared/cases` says what they are.

The table of kinds in docs/tasks/load.md is made from `CASES` by `docs/kinds.py`.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.tiff import read_tiff

_MAKER = Path(__file__).resolve().parents[3] / "shared" / "cases" / "make_cases.py"


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    if not _MAKER.is_file():
        pytest.skip(f"the inputs of others are made by {_MAKER.name}, which is not here")
    spec = importlib.util.spec_from_file_location("make_cases", _MAKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_cases"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Case:
    """What an input must give.

    `images` and `channels` are those of each condition; `said` stands in the summary; `refused` in
    the sentence, where it is one. `how` says what names cannot tell.
    """

    kind: str
    images: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    refused: str = ""
    how: Arrangement | None = None
    z: str | None = None


TWO = (3, 3)
STAINS = ("DAPI", "GFP")

CASES: dict[str, Case] = {
    # one file for each channel, plane or field
    "files_w1_w2": Case(
        "one file per channel", TWO, ("w1", "w2"), ("12 files are 6 images", "ImageXpress")
    ),
    "files_ch00": Case("one file per channel", TWO, ("ch00", "ch01"), ("LAS X",)),
    "files_z_planes": Case(
        "one file per plane", TWO, ("channel 0",), ("18 files are 6 images of 3 planes",), z="max"
    ),
    "ome_multifile_complete": Case("multi-file OME-TIFF", (1,), STAINS, ("1 set",)),
    "ome_multifile_alone": Case("multi-file OME-TIFF", refused="Planes are missing"),
    # folders
    "good": Case("folder per condition", TWO, STAINS),
    "files_nested": Case("plates within conditions", (4, 4), STAINS, ("2 plates",)),
    "files_half_nested": Case(
        "plates within conditions", TWO, STAINS, ("the folder plate2 with 5 files",)
    ),
    "files_thumbs": Case("files that are no images", TWO, ("channel 0",), ("thumbnail",)),
    "files_masks": Case("files that are no images", TWO, ("channel 0",), ("f0_cp_masks.tif",)),
    "files_broken_links": Case(
        "files that are no images", (4, 4), STAINS, ('"f9.tif", whose link leads nowhere',)
    ),
    "files_hidden": Case("files that are no images", TWO, STAINS),
    "extra_folder": Case("files that are no images", TWO, STAINS, ("the folder masks",)),
    "files_mixed": Case("other formats", TWO, STAINS, ("10 .png, 10 .czi, 10 .nd2",)),
    "files_no_tiff": Case("other formats", refused=r"2 \.czi, 2 \.png"),
    "zipped": Case("other formats", refused=r"not a TIFF but \.zip"),
    "files_upper": Case("folder per condition", TWO, STAINS),
    "files_links": Case("folder per condition", TWO, STAINS),
    "names_nfd": Case("folder per condition", TWO, STAINS, ("unbehandelt ü: 3 images",)),
    "names_equals": Case("folder per condition", TWO, STAINS, ("dose=1,5: 3 images",)),
    "suffix_btf": Case("BigTIFF, LSM", TWO, ("channel 0", "channel 1")),
    "suffix_lsm": Case("BigTIFF, LSM", (2, 2), ("channel 0", "channel 1")),
    "one_truncated": Case("damaged files", refused=r"f1\.tif.*truncated"),
    "stack_and_singles": Case("stacks of fields", TWO, STAINS),
    # channels
    "order_differs": Case("channels by name", TWO, STAINS),
    "names_differ_slightly": Case("channels by name", TWO, STAINS),
    "five_channels": Case(
        "choosing channels", TWO, ("ER", "DNA"), how=Arrangement(channels=("ER", "DNA"))
    ),
    "channel_empty": Case(
        "choosing channels", TWO, ("DAPI", "GFP"), how=Arrangement(channels=("DAPI", "GFP"))
    ),
    "rgb_one_colour": Case(
        "choosing channels", TWO, ("blue",), how=Arrangement(channels=("blue",))
    ),
    "names_comma_experiment": Case(
        "choosing channels", TWO, ("GFP, 488/525",), how=Arrangement(channels=("GFP, 488/525",))
    ),
    "imagej_labels_are_titles": Case("channels by name", TWO, ("channel 0", "channel 1")),
    "imagej_labels_bioformats": Case("channels by name", TWO, ("channel 0", "channel 1")),
    "names_greek_experiment": Case("channels by name", TWO, ("DAPI", "α-Tubulin")),
    # tables
    "table_cp1252": Case(
        "tables", TWO, ("DNA", "GFP"), ("drug 10 µM: 3 images", "encoding of Windows")
    ),
    "table_utf16": Case("tables", TWO, ("DNA", "GFP")),
    "table_empty_rows": Case("tables", TWO, ("DNA", "GFP")),
    "table_empty_cell": Case("tables", refused=r"no file in line 3 \(FileName_GFP\)"),
    "table_duplicate_rows": Case("tables", TWO, ("DNA", "GFP"), ("left out 6 lines",)),
    "table_conditions_collide": Case("tables", refused=r'"A/B" in line 2 and "A:B" in line 5'),
    "table_header_spaces": Case("tables", TWO, ("DNA", "GFP")),
    "table_xlsx": Case("tables", refused="is an Excel file that cannot be read"),
    "table_upper_on_disk": Case("tables", TWO, ("DNA", "GFP"), ("other letters on disk",)),
    "table_url": Case("tables", TWO, ("DNA", "GFP")),
    "table_z_stack": Case("tables", refused="3 z planes"),
    "table_same_file_twice": Case("tables", refused="same file for DNA and GFP in line 2"),
    # of one file
    "ij_signed16": Case("grey values as Fiji shows them", TWO, ("channel 0", "channel 1")),
    "pixel_size_differs": Case("sizes of pixels", TWO, STAINS, ("0.65 µm and 0.325 µm",)),
    "depth_differs": Case("grey values as Fiji shows them", TWO, STAINS, ("16 bit and 8 bit",)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_people_have_is_read_whole_or_refused_in_a_sentence(name, maker, tmp_path):
    case = CASES[name]
    given = maker.CASES[name][0](tmp_path)

    def read() -> Experiment:
        return Dataset.find(given, case.how).read(z=case.z)

    if case.refused:
        with pytest.raises(InputError, match=case.refused) as error:
            read()
        assert len(str(error.value)) < 600
        return
    experiment = read()
    assert tuple(len(one.images) for one in experiment.conditions) == case.images
    assert {image.channel_names for image in experiment.images} == {case.channels}
    for text in case.said:
        assert text in experiment.summary()


def plane(maker, seed, **kw):
    return maker.plane(seed, **kw)


def test_channels_of_several_files_are_the_pixels_of_these(maker, tmp_path):
    read = Dataset.find(maker.CASES["files_w1_w2"][0](tmp_path)).read()
    for k, condition in enumerate(("ctrl", "drug")):
        for i, image in enumerate(read[condition].images):
            seed = (k * 100 + i) * 10
            expected = [plane(maker, seed + w, n=4 if w == 1 else 40) for w in (1, 2)]
            np.testing.assert_array_equal(image.data, expected)
            assert image.name == f"f{i}_s1"


def test_planes_of_several_files_are_chosen_and_projected(maker, tmp_path):
    found = Dataset.find(maker.CASES["files_z_planes"][0](tmp_path))
    planes = [plane(maker, z) for z in (1, 2, 3)]
    first = found.sources[0]
    np.testing.assert_array_equal(first.read(z=1)[0].data[0], planes[1])
    np.testing.assert_array_equal(first.read(z="max")[0].data[0], np.max(planes, axis=0))
    assert [p.data[0, 0, 0] for p in first.read_planes()[0]] == [p[0, 0] for p in planes]
    with pytest.raises(InputError, match=r"one of 3 z planes of an image: choose a plane"):
        first.read()
    with pytest.raises(InputError, match="no z plane 3"):
        first.read(z=3)


SIZES: dict[str, tuple[float, float] | None] = {
    "ome_minimal": (0.5, 0.5),
    "ome_bom": (0.5, 0.5),
    "ome_latin1": (0.5, 0.5),
    "ome_nm": (0.108333, 0.108333),
    "ome_m": (0.1, 0.1),
    "ome_mm": (0.325, 0.325),
    "ome_dm": (0.325, 0.325),
    "ome_x_unit_only": (0.3, 0.3),
    "ome_pixel_unit": None,
    "ome_decimal_comma": None,
    "ij_um": (0.25, 0.25),
    "ij_microns": (0.25, 0.25),
    "ij_escaped": (0.25, 0.25),
    "ij_mojibake": (0.25, 0.25),
    "ij_latin1": (0.25, 0.25),
    "ij_cm": (0.2, 0.2),
    "ij_inch": None,
    "ij_pixel": None,
    "ij_none": None,
    "plain_72dpi": None,
    "plain_cm": (0.325, 0.325),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_of_pixels_are_those_that_the_file_means(name, maker, tmp_path):
    (image,) = read_tiff(maker.CASES[name][0](tmp_path))
    if SIZES[name] is None:
        assert image.pixel_size is None
    else:
        assert image.pixel_size == pytest.approx(SIZES[name], rel=1e-6)


SHAPES: dict[str, tuple[int, int, tuple[str, ...] | None]] = {
    "plain_2_pages": (1, 2, None),
    "axes_said_cyx_stored_yxc": (1, 3, None),
    "contig_yxs_2": (1, 2, None),
    "contig_yxs_5": (1, 5, None),
    "channels_last_as_pages": (1, 2, None),
    "imagej_z_as_t": (4, 1, None),
    "rgb_stack": (2, 3, ("red", "green", "blue")),
    "rgba": (1, 3, ("red", "green", "blue")),
    "rgba_planar": (1, 3, None),
    "ome_names_numbers": (1, 2, ("1", "0")),
    "ome_names_wavelength": (1, 2, ("405", "488")),
    "ome_names_odd": (1, 2, ("GFP, 488/525", "none")),
    "page_names": (1, 2, ("DNA", "CD45")),
    "imagej_labels": (1, 2, ("DAPI", "GFP")),
    "ome_bad_samples": (1, 2, STAINS),
    "ome_sizexy_wrong": (1, 2, STAINS),
    "ome_two_positions": (2, 2, STAINS),
    "thumbnail_first": (1, 1, None),
    "pyramid_pages": (1, 1, None),
    "ome_pyramid": (1, 2, STAINS),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHAPES)
def test_images_and_channels_of_one_file(name, maker, tmp_path, caplog):
    n_images, n_channels, names = SHAPES[name]
    images = read_tiff(maker.CASES[name][0](tmp_path))
    assert (len(images), images[0].n_channels) == (n_images, n_channels)
    assert names is None or images[0].channel_names == names
    assert min(images[0].shape) >= 160


def test_min_is_white_is_shown_as_its_twin(maker, tmp_path):
    read = {}
    for name in ("miniswhite", "miniswhite_twin"):
        (tmp_path / name).mkdir()
        (read[name],) = read_tiff(maker.CASES[name][0](tmp_path / name))
    np.testing.assert_array_equal(read["miniswhite"].data, read["miniswhite_twin"].data)


def test_signed_values_are_those_that_imagej_shows(maker, tmp_path):
    image = Dataset.find(maker.CASES["ij_signed16"][0](tmp_path)).read().images[0]
    np.testing.assert_array_equal(image.data, maker.cyx(0, 2))
    assert image.data.dtype == np.int16


def test_a_file_that_claims_more_than_the_memory_is_told_with_its_size(maker, tmp_path):
    with pytest.raises(InputError, match=r"a\.tif: It claims 900 × 65535 × 65535 pixels"):
        read_tiff(maker.CASES["claims_huge"][0](tmp_path))
