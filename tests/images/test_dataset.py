"""Images of an experiment, found and not read yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.survey import Survey
from napari_phenldiff.images.tiff import read_tiff, write_tiff


def fill(folder: Path, n: int = 2, value: int = 0, names=("DAPI", "GFP")) -> Path:
    for k in range(n):
        data = np.full((len(names), 9, 8), value + k, np.uint16)
        write_tiff(folder / f"f{k}.tif", Image(data, tuple(names), (0.5, 0.5), f"f{k}"))
    return folder


def numbers(found: Dataset) -> dict[str, int]:
    return {name: len(group) for name, group in found.conditions.items()}


def test_runs_and_translations_among_the_folders_are_no_conditions(tmp_path):
    for name in ("ctrl", "drug"):
        fill(tmp_path / name)
    for name, mark in (("run", "events.jsonl"), ("made", "translation.json")):
        fill(tmp_path / name / "translated")
        (tmp_path / name / mark).write_text("{}")
    assert numbers(Dataset.find(tmp_path)) == {"ctrl": 2, "drug": 2}


def test_folders_of_results_are_left_out_and_named_unless_they_are_asked_for(tmp_path):
    for name in ("ctrl", "drug", "cell masks"):
        fill(tmp_path / name)
    found = Dataset.find(tmp_path)
    assert found.names == ("ctrl", "drug")
    assert "the folder cell masks, by its name a result of a segmentation" in found.summary()
    asked = Dataset.find(tmp_path, conditions=["cell masks"])
    assert numbers(asked) == {"cell masks": 2}


def test_the_folder_above_that_of_the_experiment_is_told_from_it(tmp_path):
    for name in ("ctrl", "drug"):
        fill(tmp_path / "data" / name)
    with pytest.raises(InputError, match=r"no sub-folders with TIFF files but data.*give .*data"):
        Dataset.find(tmp_path)


def test_a_disk_is_no_experiment(tmp_path):
    for k in range(20):
        (tmp_path / f"a{k}").mkdir()
    with pytest.raises(InputError, match="more than 10 folders"):
        Dataset.find(tmp_path, most_folders=10)


def test_plates_within_conditions_are_kept_apart(tmp_path):
    for condition in ("ctrl", "drug"):
        for plate in ("P1", "P2"):
            fill(tmp_path / condition / plate / "Images")
    found = Dataset.find(tmp_path)
    assert numbers(found) == {"ctrl": 4, "drug": 4}
    assert [source.name for source in found.conditions["ctrl"]] == [
        "P1_f0",
        "P1_f1",
        "P2_f0",
        "P2_f1",
    ]
    assert {source.site.plate for source in found.sources} == {"P1", "P2"}
    assert "2 plates" in found.summary()


def test_files_of_one_name_and_different_kinds_are_told_apart(tmp_path):
    for name in ("ctrl", "drug"):
        fill(tmp_path / name)
        for k, suffix in enumerate((".tiff", ".TIF"), start=1):
            write_tiff(
                tmp_path / name / "aside.tif",
                Image(np.full((2, 9, 8), 50 * k, np.uint16), ("DAPI", "GFP"), None, "aside"),
            )
            (tmp_path / name / "aside.tif").rename(tmp_path / name / f"f0{suffix}")
    found = Dataset.find(tmp_path)
    names = sorted(source.name for source in found.conditions["ctrl"])
    assert names == ["f0_tif_1", "f0_tif_2", "f0_tiff", "f1"]
    assert len({image.name for image in found.images("ctrl")}) == 4
    assert "3 images would have the name of another one" in found.summary()
    assert len(found.read()["drug"].images) == 4  # which refuses those of one name


def test_zarrs_of_one_name_in_different_folders_are_told_apart(tmp_path):
    import zarr

    for place in ("a/f.zarr", "b/f.ome.zarr"):
        group = zarr.open_group(str(tmp_path / "ctrl" / place), mode="w", zarr_format=2)
        group.create_array("0", data=np.ones((1, 9, 8), np.uint16), chunks=(1, 9, 8))
        axes = [{"name": name} for name in "cyx"]
        group.attrs["multiscales"] = [{"axes": axes, "datasets": [{"path": "0"}]}]
    fill(tmp_path / "ctrl" / "c", 1)
    (tmp_path / "ctrl" / "c" / "f0.tif").rename(tmp_path / "ctrl" / "c" / "f.tif")
    fill(tmp_path / "drug")
    found = Dataset.find(tmp_path, conditions=["ctrl"])
    assert {source.name for source in found.sources} == {"a_f", "b_f", "c_f"}


def test_some_files_are_chosen_at_random_without_reading_any(tmp_path, monkeypatch):
    for condition in ("ctrl", "drug"):
        fill(tmp_path / condition, 12)
    found = Dataset.find(tmp_path)
    monkeypatch.setattr("napari_phenldiff.images.tiff.read_tiff", None)
    some = found.subset(5, seed=1)
    assert numbers(some) == {"ctrl": 5, "drug": 5}
    assert some.conditions == found.subset(5, seed=1).conditions
    assert some.conditions != found.subset(5, seed=2).conditions
    assert found.subset(99, seed=1).conditions == found.conditions
    alone = found.select(["drug"]).subset(5, seed=1)
    assert alone.conditions["drug"] == some.conditions["drug"]


def test_channels_are_read_by_name_and_number_in_the_order_asked_for(tmp_path):
    fill(tmp_path / "ctrl", names=("DAPI", "a, b", "1"))
    found = Dataset.find(tmp_path / "ctrl", Arrangement(channels=("1", "a, b")))
    assert found.channel_names == ("1", "a, b")
    (image,) = found.sources[0].read()
    assert image.channel_names == ("1", "a, b")
    assert image.path is None
    for channels, told in ((("Cy5",), 'no channel "Cy5"'), (("1", "1"), "name one channel twice")):
        with pytest.raises(InputError, match=told):
            Dataset.find(tmp_path / "ctrl", Arrangement(channels=channels)).read()


def test_images_of_whole_files_are_those_of_the_files(tmp_path):
    fill(tmp_path / "ctrl", 3)
    found = Dataset.find(tmp_path / "ctrl")
    for source in found.sources:
        (image,) = source.read()
        (again,) = read_tiff(source.path)
        np.testing.assert_array_equal(image.data, again.data)
        assert (image.name, image.path) == (again.name, again.path)


def test_files_that_are_named_one_by_one_are_put_together(tmp_path):
    for k in (1, 2):
        tifffile.imwrite(tmp_path / f"f0_w{k}.tif", np.full((9, 8), k, np.uint8))
    found = Dataset.of_files(sorted(tmp_path.iterdir()), name="x")
    assert numbers(found) == {"x": 1}
    assert found.channel_names == ("w1", "w2")


@pytest.mark.parametrize(("other", "n_told"), [(0.6, 1), (0.3004, 0), (None, 0)])
def test_channels_that_tell_other_pixel_sizes_are_told(tmp_path, other, n_told):
    """Areas in micrometres would come from whichever file is the first."""
    for field in (1, 2):
        for channel, size in ((1, 0.3), (2, other)):
            options = {} if size is None else {"resolution": (1e4 / size,) * 2}
            tifffile.imwrite(
                tmp_path / f"A01_s{field}_w{channel}.tif",
                np.full((9, 8), field, np.uint8),
                resolutionunit="centimeter",
                **options,
            )
    images = [image for source in Dataset.find(tmp_path).sources for image in source.read()]
    assert [image.pixel_size for image in images] == [pytest.approx((0.3, 0.3), rel=1e-4)] * 2
    survey = Survey()
    for image in images:
        survey.add("a", image)
    told = [text for text in survey.warnings() if "A01_s1_w2.tif says that its pixels" in text]
    assert len(told) == n_told
    assert all("0.6 × 0.6 µm" in text and "0.3 × 0.3 µm" in text for text in told)


def test_a_summary_tells_all_there_is_in_one_line(tmp_path):
    for condition in ("ctrl", "drug"):
        for well in ("B02", "B03"):
            for field in (1, 2):
                data = np.zeros((2, 9, 8), np.uint8)
                image = Image(data, ("DAPI", "GFP"), (0.5, 0.25), "x")
                write_tiff(tmp_path / condition / f"P1_{well}_s{field}.tif", image)
    found = Dataset.find(tmp_path)
    expected = (
        "2 conditions (ctrl: 4 images, drug: 4 images) · 4 wells on 1 plate · 2 channels (DAPI, "
        "GFP) · 8 × 9 px · 8 bit · pixel size 0.25 × 0.5 µm."
    )
    # Files that were found are not all looked at.
    assert found.summary() == expected.replace("8 × 9 px", "first images: 8 × 9 px")
    assert found.read().summary() == expected
    assert "\n" not in expected


def test_a_layout_finds_wells_in_names_that_nobody_but_a_person_writes(tmp_path):
    (tmp_path / "plate").mkdir()
    for well in ("B02", "C11"):
        for k in (1, 2):
            file = tmp_path / "plate" / f"{well} second try {k}.tif"
            write_tiff(file, Image(np.zeros((1, 8, 8), np.uint8), ("DNA",), None, "image"))
    (tmp_path / "layout.csv").write_text("well,condition\nB2,dmso\nC11,drug\n")

    found = Dataset.find(tmp_path / "plate", Arrangement(layout=tmp_path / "layout.csv"))

    assert numbers(found) == {"dmso": 2, "drug": 2}
    assert [source.site.well for source in found.sources] == ["B02", "B02", "C11", "C11"]


def nested(folder: Path, *names: str) -> Path:
    for name in names:
        for k in range(2):
            path = folder / name / f"img{k}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, np.full((9, 8), k, np.uint8))
    return folder


@pytest.mark.parametrize(
    "plates",
    [("plate1", "plate2"), ("2024-01-05", "2024-01-06"), ("day1", "day2"), ("1", "2"), ("x", "y")],
)
def test_conditions_within_plates_are_told_and_asked_for_by_a_pattern(tmp_path, plates):
    both = [f"{plate}/{name}" for plate in plates for name in ("ctrl", "drug")]
    where = nested(tmp_path / "all", *both)
    found = Dataset.find(where)
    assert found.names == plates
    told = f'the folders "{plates[0]}", "{plates[1]}", and not "ctrl", "drug" in each of these'
    assert told in found.summary()
    assert f"(ctrl/{plates[0]} in place of {plates[0]}/ctrl)" in found.summary()
    with pytest.raises(InputError, match="If those within are the conditions"):
        Dataset.find(where, conditions=("ctrl", "drug"))
    pattern = "^(?P<plate>[^/]+)/(?P<condition>[^/]+)/"
    assert pattern in found.summary()
    again = Dataset.find(where, Arrangement(pattern=pattern))
    assert {name: len(group) for name, group in again.conditions.items()} == {"ctrl": 4, "drug": 4}
    assert {source.site.plate for source in again.sources} == set(plates)
    assert "8 files are 8 images, by their names (your pattern)" in again.summary()


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (("ctrl", "drug"), ("plate1", "plate2")),
        (("ctrl", "drug"), ("left", "right")),
        (("ctrl", "drug"), ("day1", "control scan")),
        (("plate1", "plate2"), ("B02", "C03")),
        (("plate1", "plate2"), ("DAPI", "GFP")),
        (("day1", "day2"), ("pos1", "pos2")),
        (("0", "10", "100"), ("cortex", "hippocampus")),
        (("day0", "day7"), ("HeLa", "U2OS")),
        (("p21", "p53"), ("treated", "untreated")),
        (("run1", "run2"), ("images", "raw")),
    ],
)
def test_plates_channels_and_wells_within_conditions_are_no_conditions(tmp_path, outer, inner):
    where = nested(tmp_path / "all", *(f"{one}/{other}" for one in outer for other in inner))
    found = Dataset.find(where)
    assert found.names == outer
    assert "those within" not in found.summary()
