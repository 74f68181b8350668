"""Files that napari hands to the reader one by one become one experiment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils import progress

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_stack, write_tiff
from napari_phenldiff.viewer import opening
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.results import NewTranslation, add_translation

Open = Callable[..., None]


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> ViewerModel:
    made = ViewerModel()
    monkeypatch.setattr(opening.napari, "current_viewer", lambda: made)
    return made


@pytest.fixture
def open_files(viewer: ViewerModel) -> Open:
    """Open files and folders in one go; napari hands them to the reader one by one."""

    def open_all(*paths: Path) -> None:
        with progress([str(path) for path in paths], desc="Opening Files") as bar:
            for path in bar:
                read = opening.get_reader(path)
                assert read is not None
                layers: list[Any] = read(path)
                if layers != [(None,)]:
                    for data, arguments, _ in layers:
                        viewer.add_image(data, **arguments)

    return open_all


def cells(folder: Path, name: str, brightness: int = 100) -> Path:
    data = np.random.default_rng(len(name)).integers(0, brightness, (2, 24, 32), np.uint8)
    write_tiff(folder / f"{name}.tif", Image(data, ("DNA", "marker"), (0.5, 0.5), name))
    return folder / f"{name}.tif"


def groups(viewer: ViewerModel) -> dict[str, list[str]]:
    return {
        group.name: [image.name for image in FieldImages(group)]
        for group in group_layers(viewer.layers)
    }


def test_files_of_a_folder_are_one_condition(viewer: ViewerModel, open_files: Open, tmp_path: Path):
    open_files(*(cells(tmp_path / "drug", f"well_{k}") for k in range(5)))

    assert groups(viewer) == {"drug": [f"well_{k}" for k in range(5)]}
    assert [layer.name for layer in viewer.layers] == ["drug: DNA", "drug: marker"]


def test_two_folders_share_their_contrast(viewer: ViewerModel, open_files: Open, tmp_path: Path):
    dim = [cells(tmp_path / "dmso", f"a{k}", 40) for k in range(3)]
    bright = [cells(tmp_path / "drug", f"b{k}", 240) for k in range(3)]

    open_files(*dim, *bright)

    assert list(groups(viewer)) == ["dmso", "drug"]
    dmso, _, drug, _ = viewer.layers
    assert dmso.contrast_limits == drug.contrast_limits
    assert dmso.contrast_limits[1] > 200
    assert [layer.visible for layer in viewer.layers] == [True, True, False, False]


def test_a_file_that_is_opened_later_joins_its_folder(
    viewer: ViewerModel, open_files: Open, tmp_path: Path
):
    open_files(cells(tmp_path / "drug", "well_1"))
    assert groups(viewer) == {"well_1": ["well_1"]}

    open_files(cells(tmp_path / "drug", "well_2"))
    assert groups(viewer) == {"drug": ["well_1", "well_2"]}

    open_files(cells(tmp_path / "dmso", "well_3"))
    assert groups(viewer) == {"drug": ["well_1", "well_2"], "well_3": ["well_3"]}


def test_a_file_of_a_folder_that_is_open_is_shown_like_it(
    viewer: ViewerModel, open_files: Open, tmp_path: Path
):
    for k in range(3):
        cells(tmp_path / "exp" / "dmso", f"a{k}", 40)
        cells(tmp_path / "exp" / "drug", f"b{k}", 240)
    open_files(tmp_path / "exp")
    first = {layer.name: tuple(layer.contrast_limits) for layer in viewer.layers}

    open_files(tmp_path / "exp" / "dmso" / "a1.tif")

    *_, dna, marker = viewer.layers
    assert dna.data.shape[-2:] == (24, 32)
    assert tuple(dna.contrast_limits) == first["dmso: DNA"]
    assert tuple(marker.contrast_limits) == first["dmso: marker"]


def test_layers_that_were_worked_with_stay(viewer: ViewerModel, open_files: Open, tmp_path: Path):
    open_files(cells(tmp_path / "drug", "well_1"))
    made = Image(np.zeros((2, 24, 32), np.uint8), ("DNA", "marker"), None, "well_1")
    add_translation(viewer, list(viewer.layers), NewTranslation([made], [made], "well_1", "mock"))

    open_files(cells(tmp_path / "drug", "well_2"))

    assert groups(viewer) == {"well_1": ["well_1"], "well_2": ["well_2"]}


def test_files_that_are_named_like_conditions_stay_apart(
    viewer: ViewerModel, open_files: Open, tmp_path: Path
):
    names = ("control_1", "control_2", "drug_1", "drug_2")

    open_files(*(cells(tmp_path / "all", name) for name in names))

    assert groups(viewer) == {
        "control": ["control_1", "control_2"],
        "drug": ["drug_1", "drug_2"],
    }


def test_stacks_are_conditions_of_their_own(viewer: ViewerModel, open_files: Open, tmp_path: Path):
    data = np.random.default_rng(0).integers(0, 99, (4, 2, 24, 32), np.uint8)
    images = [Image(field, ("DNA", "marker"), None, "x") for field in data]
    for name in ("first", "second"):
        write_stack(tmp_path / f"{name}.tif", images)

    open_files(tmp_path / "first.tif", tmp_path / "second.tif")

    assert {name: len(found) for name, found in groups(viewer).items()} == {
        "first": 4,
        "second": 4,
    }


def test_a_damaged_file_is_told_by_name(
    viewer: ViewerModel, open_files: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said: list[str] = []
    monkeypatch.setattr(opening, "show_error", said.append)
    bad = tmp_path / "drug" / "well_2.tif"
    good = cells(tmp_path / "drug", "well_1")
    bad.write_bytes(b"II*\0nonsense")

    open_files(good, bad)
    open_files(good)
    open_files(bad)

    assert groups(viewer) == {"well_1": ["well_1"]}
    assert len(said) == 2, "once for each time that files are opened"
    for text in said:
        assert text.startswith("well_2.tif: The file ends within page 1")
        assert text.endswith(f" It is in {bad.parent}.")


def test_a_script_without_a_viewer_gets_the_error(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(opening.napari, "current_viewer", lambda: None)
    (tmp_path / "bad.tif").write_bytes(b"II*\0nonsense")
    read = opening.get_reader(tmp_path / "bad.tif")
    assert read is not None
    with pytest.raises(InputError, match=r"bad\.tif"):
        read(tmp_path / "bad.tif")


def test_folders_that_are_opened_together_share_their_contrast(
    viewer: ViewerModel, open_files: Open, tmp_path: Path
):
    for condition, brightness in (("dmso", 40), ("drug", 240)):
        for k in range(2):
            cells(tmp_path / condition, f"{condition}_{k}", brightness)

    open_files(tmp_path / "dmso", tmp_path / "drug")

    assert list(groups(viewer)) == ["dmso", "drug"]
    assert viewer.layers[0].contrast_limits == viewer.layers[2].contrast_limits
    assert viewer.layers[0].contrast_limits[1] > 200
    # The same folder, opened again, is one beside the other.
    open_files(tmp_path / "dmso")
    assert sorted(groups(viewer)) == ["dmso", "dmso (2)", "drug"]


def test_each_file_is_read_once(viewer: ViewerModel, open_files: Open, tmp_path: Path, monkeypatch):
    read: list[int] = []
    plain = opening.reader.read_layers

    def counted(paths: list[str]) -> list[Any]:
        read.append(len(paths))
        return plain(paths)

    monkeypatch.setattr(opening.reader, "read_layers", counted)
    files = [cells(tmp_path / "drug", f"well_{k}") for k in range(4)]

    open_files(*files, tmp_path / "drug")

    assert read == [4, 1]


def test_folders_are_read_at_once(viewer: ViewerModel, open_files: Open, tmp_path: Path):
    for condition in ("dmso", "drug"):
        for k in range(2):
            cells(tmp_path / "all" / condition, f"{condition}_{k}")

    open_files(tmp_path / "all")

    assert list(groups(viewer)) == ["dmso", "drug"]


def test_napari_opens_many_files_as_one_experiment(make_napari_viewer, tmp_path: Path):
    viewer = make_napari_viewer()
    files = [str(cells(tmp_path / name, f"{name}_{k}")) for name in "ab" for k in range(3)]

    viewer.open(files, plugin="napari-phenldiff")

    assert groups(viewer) == {name: [f"{name}_{k}" for k in range(3)] for name in "ab"}
    assert len(viewer.layers) == 4
