from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_tiff, write_stack, write_tiff
from napari_phenldiff.measurement.batch import measure_files
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings, are_in_pieces
from napari_phenldiff.measurement.segmentation.segmenters import (
    IN_TWO,
    LabelFolder,
    objects_field,
    with_segmenter,
)

AREA = PROFILES["area"].settings_type(channel=0)
CHANNELS = {"golgi": {"channel": 1, "nuclei_channel": 0}, "neurons": {"nuclei_channel": 0}}


def boxes(plane):
    """Two objects, with numbers as another program may give them."""
    labels = np.zeros(plane.shape, np.uint16)
    labels[10:30, 10:20] = 7
    labels[60:70, 60:75] = 60_000
    return labels


def as_image(labels, name):
    return Image(labels[None], ("labels",), None, name)


def test_cells_are_those_of_the_segmenter(make_cells):
    found = measure("cells", {"a": [make_cells(2.0)]}, segmenter=boxes)
    assert list(found.cells.area_px) == [200, 150]
    assert list(found.cells.label) == [7, 60_000]
    row = found.images.iloc[0]
    assert row.n_cells == 2
    assert np.isnan(row.threshold)
    assert found.thresholds == {}
    assert row.reason == ""


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_takes_a_segmenter(profile, make_cells):
    settings = PROFILES[profile].settings_type(**CHANNELS.get(profile, {}))
    found = measure(profile, {"a": [make_cells(2.0)]}, settings, segmenter=boxes)
    assert np.isfinite(found.values("a")[0])
    assert objects_field(settings) in type(settings).model_fields
    own = measure(profile, {"a": [make_cells(2.0)]}, settings)
    assert found.images.drop(columns="reason").iloc[0].to_dict() != own.images.iloc[0].to_dict()


def test_an_area_is_what_the_segmenter_found(make_plane):
    plane = np.random.default_rng(0).normal(10, 1, (80, 80))
    row = measure("area", {"a": [make_plane(plane)]}, segmenter=boxes).images.iloc[0]
    assert row.area_px == 350
    mask = measure("area", {"a": [make_plane(plane)]}, segmenter=lambda p: boxes(p) > 0)
    assert mask.images.area_px[0] == 350


@pytest.mark.parametrize(
    ("segmenter", "word"),
    [
        (lambda plane: boxes(plane)[1:], "have the shape"),
        (lambda plane: plane * np.pi, "whole numbers"),
        (lambda plane: boxes(plane).astype(int) - 1, "negative"),
    ],
)
def test_labels_that_cannot_be_used_are_told(segmenter, word, make_cells):
    with pytest.raises(InputError, match=word):
        measure("cells", {"a": [make_cells(2.0)]}, segmenter=segmenter)


def test_no_labels_are_no_nuclei_and_labels_all_over_one(make_cells):
    none = measure("cells", {"a": [make_cells(2.0)]}, segmenter=np.zeros_like)
    assert none.images.reason[0] == "no nucleus"
    full = measure("cells", {"a": [make_cells(2.0)]}, segmenter=np.ones_like)
    assert np.isnan(full.values("a")[0])
    assert "whole field" in full.images.reason[0]


def test_settings_with_a_segmenter_are_saved_without(make_cells, tmp_path):
    settings = with_segmenter(PROFILES["cells"].settings_type(), boxes)
    assert settings.model_dump() == PROFILES["cells"].settings_type().model_dump()
    assert SegmentationSettings().segmenter is None
    assert with_segmenter(settings, None) == PROFILES["cells"].settings_type()
    measure("cells", {"a": [make_cells(2.0)]}, settings).write(tmp_path / "t.csv")


@pytest.fixture
def files(make_cells, tmp_path):
    """Images of two conditions, with the same names in both, and labels."""
    found = {"a": [], "b": []}
    for condition in found:
        for number in range(2):
            path = tmp_path / "images" / condition / f"{number}.tif"
            write_tiff(path, make_cells(2.0, seed=number))
            found[condition].append(path)
    return found


def test_labels_in_a_folder_per_condition(files, tmp_path):
    for condition, paths in files.items():
        for path in paths:
            labels = boxes(np.zeros((128, 128)))
            if condition == "b":
                labels[labels > 7] = 0
            write_tiff(tmp_path / "labels" / condition / path.name, as_image(labels, path.stem))
    out = tmp_path / "t.csv"
    found = measure_files("cells", files, out, label_folder=tmp_path / "labels")
    assert list(found.main_values["a"]) == [175, 175]
    assert list(found.main_values["b"]) == [200, 200]
    # Under another name, the conditions are still those of the folders.
    renamed = {"x": files["b"]}
    found = measure_files("cells", renamed, out, label_folder=tmp_path / "labels")
    assert list(found.main_values["x"]) == [200, 200]


def test_one_file_of_labels_is_not_used_for_two_conditions(files, make_cells, tmp_path):
    labels, out = tmp_path / "labels", tmp_path / "t.csv"
    for number in range(2):
        write_tiff(labels / f"{number}.tif", as_image(boxes(np.zeros((128, 128))), f"{number}"))
    with pytest.raises(InputError, match=r"0\.tif .* of a and another one of b.*sub-folder"):
        measure_files("cells", files, out, label_folder=labels)
    assert not out.exists()
    images = {name: [read_tiff(path)[0] for path in paths] for name, paths in files.items()}
    with pytest.raises(InputError, match="sub-folder"):
        measure("cells", images, given_labels=LabelFolder(labels))
    # The same image in two groups, and what a model made of it, have its labels.
    for kind in ("translated", "reconstructed"):
        made = tmp_path / "result" / kind / "0.tif"
        write_tiff(made, make_cells(1.0), provenance={"kind": kind})
        files[kind] = files[f"my {kind}"] = [made]
    del files["b"]
    files = {"my translated": files.pop("my translated"), **files, "again": files["a"]}
    found = measure_files("cells", files, out, label_folder=labels)
    assert [float(x) for values in found.main_values.values() for x in values] == [175] * 8
    # Two folders of one condition.
    two = tmp_path / "more" / "0.tif"
    write_tiff(two, make_cells(1.0))
    with pytest.raises(InputError, match="different names"):
        measure_files("cells", {"a": [*files["a"], two]}, out, label_folder=labels)


def test_an_image_without_labels_has_a_reason(files, tmp_path):
    write_tiff(tmp_path / "labels" / "0.tif", as_image(boxes(np.zeros((128, 128))), "0"))
    measure_files("cells", {"a": files["a"]}, tmp_path / "t.csv", label_folder=tmp_path / "labels")
    assert 'no labels called ""1""' in (tmp_path / "t.csv").read_text(encoding="utf-8")
    (tmp_path / "labels" / "0.tif").unlink()
    with pytest.raises(InputError, match="no labels called"):
        measure_files(
            "cells", {"a": files["a"]}, tmp_path / "t.csv", label_folder=tmp_path / "labels"
        )


def test_labels_of_the_images_in_one_file(make_cells, tmp_path):
    images = [make_cells(2.0, seed=number) for number in range(2)]
    write_stack(tmp_path / "s.tif", images)
    labels = boxes(np.zeros((128, 128)))
    first = as_image(labels, "x")
    write_stack(tmp_path / "labels" / "s.tif", [first, as_image(np.where(labels == 7, 7, 0), "x")])
    found = measure_files(
        "cells", {"a": [tmp_path / "s.tif"]}, tmp_path / "t.csv", label_folder=tmp_path / "labels"
    )
    assert list(found.main_values["a"]) == [175, 200]
    assert LabelFolder(tmp_path / "labels").folder == tmp_path / "labels"


@pytest.mark.parametrize("profile", ["cells", "translocation", "golgi"])
@pytest.mark.parametrize("seed", range(4))
def test_objects_keep_the_numbers_that_they_came_with(profile, seed, make_cells):
    rng = np.random.default_rng(seed)
    image = make_cells(2.0)
    numbers = rng.choice(5_000_000_000 if seed == 0 else 60_000, 9, replace=False) + 1
    labels = np.zeros(image.shape, np.int64)
    places = {}
    for k, number in enumerate(numbers.tolist()):
        y, x = 4 + 18 * (k // 3), 4 + 18 * (k % 3)
        labels[y : y + 9, x : x + 9] = number
        places[number] = y + 4, x + 4
    seen = []
    found = measure(
        profile,
        {"a": [image]},
        PROFILES[profile].settings_type(**CHANNELS.get(profile, {})),
        given_labels=lambda condition, image: labels,
        on_objects=lambda condition, objects: seen.append(objects),
    )
    assert set(found.cells["label"]) <= set(places)
    assert len(found.cells)
    for row in found.cells.itertuples():
        assert (row.y, row.x) == pytest.approx(places[row.label])
    assert set(np.unique(seen[0])) - {0} == set(found.cells["label"])


@pytest.mark.parametrize("number", [1, 7, 255])
def test_the_pieces_of_a_mask_are_objects_and_that_is_told_once(number, make_cells):
    def mask(plane):
        return ((boxes(plane) > 0) * number).astype(np.uint8)

    groups = {"a": [make_cells(2.0)], "b": [make_cells(2.0, seed=1)]}
    found = measure("cells", groups, segmenter=mask)
    assert list(found.images.n_cells) == [2, 2]
    assert list(found.values("a")) == [175]
    told = [text for text in found.outcome.warnings() if "mask" in text]
    assert len(told) == 1
    assert "2 of 2 images" in told[0]
    assert all("one number for all objects" in reason for reason in found.images.reason)
    # The area of all of them is the same.
    area = measure("area", {"a": groups["a"]}, AREA, segmenter=mask)
    assert list(area.values("a")) == [350 / 128**2]
    assert area.images.reason[0] == ""


def test_a_speck_beside_the_only_object_is_no_mask(make_cells):
    def one(plane):
        labels = np.where(boxes(plane) == 7, 1, 0)
        labels[100, 100] = 1
        return labels

    found = measure("cells", {"a": [make_cells(2.0)]}, segmenter=one)
    assert (found.images.n_cells[0], found.images.reason[0]) == (1, "")
    speck = measure("cells", {"a": [make_cells(2.0)]}, segmenter=lambda p: one(p) * 255)
    assert speck.images.n_cells[0] == 2


def test_two_lobes_are_one_object_which_is_told(make_cells):
    """They may as well be two objects of a mask of 0 and 1."""

    def lobes(plane):
        labels = np.zeros(plane.shape, np.uint8)
        labels[30:50, 30:44] = labels[30:50, 46:58] = 1
        return labels

    found = measure("cells", {"a": [make_cells(2.0)]}, segmenter=lobes)
    assert (found.images.n_cells[0], found.images.reason[0]) == (1, IN_TWO)
    told = [text for text in found.outcome.warnings() if "In 1 of 1 image the only label" in text]
    assert len(told) == 1
    area = measure("area", {"a": [make_cells(2.0)]}, AREA, segmenter=lobes)
    assert area.images.reason[0] == ""
    assert measure("cells", {"a": [make_cells(2.0)]}, segmenter=lambda p: lobes(p) * 255).images[
        "n_cells"
    ].tolist() == [2]


def test_many_labels_in_pieces_take_no_long():
    labels = np.zeros((1024, 1024), np.int32)
    for number, (row, column) in enumerate(np.ndindex(30, 30), start=1):
        labels[row * 34 : row * 34 + 8, column * 34 : column * 34 + 8] = number
        labels[row * 34 + 10 : row * 34 + 18, column * 34 : column * 34 + 8] = number
    started = time.perf_counter()
    assert not are_in_pieces(labels)
    assert time.perf_counter() - started < 10


def test_files_of_labels_are_listed_once(tmp_path, monkeypatch):
    folder = tmp_path / "labels"
    folder.mkdir()
    for k in range(50):
        (folder / f"i{k}_cp_masks.tif").touch()
    listed = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(path) or iterdir(path))
    LabelFolder(folder).check(("a", f"i{k}", tmp_path / f"i{k}.tif") for k in range(50))
    assert listed == [folder]


def test_labels_that_are_kinds_of_pixels_are_told(make_cells):
    def kinds(plane):
        labels = boxes(plane) > 0
        return np.where(labels, 2, 0) + np.where(np.roll(labels, 30, axis=1), 1, 0)

    found = measure("cells", {"a": [make_cells(2.0)]}, segmenter=kinds)
    assert any("1 of 1 image most labels" in text for text in found.outcome.warnings())
    assert "far apart" in found.images.reason[0]


def test_numbers_of_labels_that_begin_anew_after_255_are_told():
    labels = np.zeros((400, 400), np.int32)
    for number, (row, column) in enumerate(np.ndindex(15, 20), start=1):
        labels[row * 26 : row * 26 + 10, column * 20 : column * 20 + 10] = number
    rng = np.random.default_rng(0)
    plane = np.where(labels > 0, 1000, 100) + rng.integers(0, 50, labels.shape)
    image = Image(plane[np.newaxis].astype(np.uint16), ("DNA",), None, "a")

    def told(given):
        found = measure("cells", {"a": [image]}, segmenter=lambda plane: given)
        return [text for text in found.outcome.warnings() if "begun anew" in text]

    (text,) = told(labels.astype(np.uint8))
    assert text.startswith("In 1 of 1 image the numbers of labels go up to the highest")
    # Of more bits, or without far pieces, it is no sign of that.
    assert not told(labels)
    assert not told((labels % 256).astype(np.uint16))
    assert not told(np.where(labels < 256, labels, 0).astype(np.uint8))
