from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.tiff import read_image, write_tiff
from napari_phenldiff.measurement.statistics.units import units_of, units_of_images
from napari_phenldiff.viewer import reader
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers
from napari_phenldiff.viewer.measuring import MeasuringRequest, run_measurement
from napari_phenldiff.viewer.reader import get_reader, read_layers


def test_a_folder_of_conditions_becomes_one_layer_per_condition_and_channel(
    experiment_folder: Path, open_in
):
    layers = open_in(experiment_folder)

    assert [layer.name for layer in layers] == [
        "treated: DNA",
        "treated: marker",
        "untreated: DNA",
        "untreated: marker",
    ]
    assert {layer.data.shape for layer in layers} == {(3, 24, 32)}
    first = read_image(experiment_folder / "treated" / "treated_0.tif")
    np.testing.assert_array_equal(layers[1].data[0], first.data[1])


def test_layers_are_scaled_in_micrometres_and_know_their_condition(
    experiment_folder: Path, open_in
):
    layer = open_in(experiment_folder)[3]

    np.testing.assert_allclose(layer.scale, (1.0, 0.5, 0.25))
    assert [str(unit) for unit in layer.units] == ["pixel", "micrometer", "micrometer"]
    assert layer.axis_labels == ("field", "y", "x")
    info = LayerInfo.of(layer)
    assert (info.condition, info.channel, info.channel_index) == ("untreated", "marker", 1)
    assert info.images == ("untreated_0", "untreated_1", "untreated_2")
    assert info.paths[2] == str(experiment_folder / "untreated" / "untreated_2.tif")


def test_a_channel_has_the_same_limits_and_colour_in_all_conditions(
    experiment_folder: Path, open_in
):
    treated_dna, treated_marker, untreated_dna, untreated_marker = open_in(experiment_folder)

    # The dim condition has to look dim: its own brightest pixel is below 50.
    assert untreated_dna.contrast_limits == treated_dna.contrast_limits
    assert untreated_dna.contrast_limits[1] > 150
    assert treated_dna.colormap.name == untreated_dna.colormap.name == "bop blue"
    assert treated_marker.colormap.name == untreated_marker.colormap.name == "green"


def test_only_the_control_is_visible_at_first(experiment_folder: Path, open_in):
    assert [layer.visible for layer in open_in(experiment_folder)] == [False, False, True, True]


def test_a_single_file_is_a_condition_of_its_own(experiment_folder: Path, open_in):
    layers = open_in(experiment_folder / "treated" / "treated_1.tif")

    assert [layer.name for layer in layers] == ["treated_1: DNA", "treated_1: marker"]
    assert layers[0].data.shape == (24, 32)
    assert layers[0].axis_labels == ("y", "x")
    assert all(layer.visible for layer in layers)


def test_files_from_one_folder_are_one_condition(experiment_folder: Path, open_in):
    layers = open_in(*sorted((experiment_folder / "treated").iterdir())[:2])

    assert [layer.name for layer in layers] == ["treated: DNA", "treated: marker"]
    assert layers[0].data.shape == (2, 24, 32)


def test_condition_folders_dropped_together_are_one_experiment(experiment_folder: Path, open_in):
    layers = open_in(experiment_folder / "untreated", experiment_folder / "treated")

    assert [group.name for group in group_layers(layers)] == ["untreated", "treated"]
    assert layers[0].contrast_limits == layers[2].contrast_limits


def test_two_folders_of_one_name_stay_apart(experiment_folder: Path, tmp_path: Path, open_in):
    again = tmp_path / "again" / "treated"
    again.mkdir(parents=True)
    for file in (experiment_folder / "treated").iterdir():
        (again / file.name).write_bytes(file.read_bytes())

    layers = open_in(experiment_folder / "treated", again)

    assert [group.name for group in group_layers(layers)] == ["treated", "treated (2)"]


def test_images_of_different_shapes_go_into_layers_of_their_own(
    tmp_path: Path, make_image, open_in
):
    write_tiff(tmp_path / "a.tif", make_image("a", seed=1))
    write_tiff(tmp_path / "b.tif", make_image("b", seed=2, shape=(40, 48)))
    write_tiff(tmp_path / "c.tif", make_image("c", seed=3))

    layers = open_in(tmp_path)

    assert [layer.data.shape for layer in layers] == [(2, 24, 32)] * 2 + [(40, 48)] * 2
    assert layers[2].name == f"{tmp_path.name}: DNA (48 × 40)"
    (group,) = group_layers(layers)
    assert group.n_images == 3
    assert group.channel_names == ("DNA", "marker")
    assert sorted(image.name for image in list(FieldImages(group))) == ["a", "b", "c"]


def test_an_empty_channel_can_be_looked_at(tmp_path: Path):
    data = np.zeros((2, 16, 16), np.uint16)
    data[0] += np.arange(16, dtype=np.uint16)
    write_tiff(tmp_path / "blank.tif", Image(data, ("DNA", "blank"), None, "blank"))

    layers = read_layers(tmp_path / "blank.tif")

    assert layers[1][1]["contrast_limits"] == (0.0, 1.0)
    assert "scale" not in layers[1][1]


def test_different_channels_are_refused_with_their_names(tmp_path: Path, make_image):
    write_tiff(tmp_path / "x" / "a.tif", make_image("a"))
    write_tiff(tmp_path / "y" / "b.tif", make_image("b", channels=("DNA",)))

    with pytest.raises(InputError, match=r"a of x has DNA, marker; b of y has DNA"):
        read_layers([tmp_path / "x", tmp_path / "y"])


def test_a_damaged_file_is_refused_by_name(tmp_path: Path):
    (tmp_path / "broken.tif").write_bytes(b"II*\x00\xff\xff")

    with pytest.raises(InputError, match=r"broken\.tif"):
        read_layers(tmp_path / "broken.tif")


def test_what_is_no_tiff_is_left_to_others(tmp_path: Path, experiment_folder: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing")

    assert get_reader(str(tmp_path / "empty")) is None
    assert get_reader(str(tmp_path / "notes.txt")) is None
    assert get_reader([str(experiment_folder), str(tmp_path / "notes.txt")]) is None
    assert get_reader([]) is None
    assert get_reader("A.TIFF") is read_layers
    assert get_reader(str(experiment_folder)) is read_layers
    assert get_reader([str(experiment_folder / "treated")]) is read_layers


def test_an_empty_choice_is_refused():
    with pytest.raises(InputError, match="no TIFF"):
        read_layers([])


def write_z_stack(path: Path, shape=(4, 2, 24, 32), seed: int = 0) -> np.ndarray:
    """Write planes with channels as ImageJ does, and return them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    planes = np.random.default_rng(seed).integers(0, 4000, shape, dtype=np.uint16)
    tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "ZCYX"})
    return planes


def test_planes_are_kept(tmp_path: Path, open_in, viewer):
    planes = [write_z_stack(tmp_path / "drug" / f"{i}.tif", seed=i) for i in range(3)]
    write_z_stack(tmp_path / "control" / "0.tif")

    layers = open_in(tmp_path)

    assert [layer.name for layer in layers[:2]] == ["control: channel 0", "control: channel 1"]
    assert layers[0].data.shape == (4, 24, 32)
    assert layers[0].axis_labels == ("z", "y", "x")
    assert layers[2].axis_labels == ("field", "z", "y", "x")
    np.testing.assert_array_equal(layers[3].data, [stack[:, 1] for stack in planes])
    control, drug = group_layers(viewer.layers)
    assert (control.n_images, control.n_planes) == (1, 4)
    assert (drug.n_images, drug.n_planes) == (3, 4)
    image = list(FieldImages(drug, z="max"))[2]
    assert (image.name, image.path) == ("2", None)
    np.testing.assert_array_equal(image.data, planes[2].max(axis=0))


def test_stacks_of_different_depth_go_into_layers_of_their_own(tmp_path: Path, open_in, viewer):
    write_z_stack(tmp_path / "a.tif")
    write_z_stack(tmp_path / "b.tif", (6, 2, 24, 32))

    layers = open_in(tmp_path)

    assert [layer.data.shape[0] for layer in layers] == [4, 4, 6, 6]
    assert len({layer.name for layer in layers}) == 4
    (group,) = group_layers(viewer.layers)
    assert group.n_images == 2
    assert {image.name for image in list(FieldImages(group, z="mean"))} == {"a", "b"}


def test_what_is_wrong_with_planes_is_still_told(tmp_path: Path, make_image):
    write_z_stack(tmp_path / "x" / "a.tif")
    write_tiff(tmp_path / "y" / "b.tif", make_image("b", channels=("DNA",)))

    with pytest.raises(InputError, match="need the same channels"):
        read_layers(tmp_path)


def test_what_is_no_image_is_left_out_and_told(tmp_path, experiment_folder: Path, monkeypatch):
    told: list[str] = []
    monkeypatch.setattr("napari_phenldiff.viewer.reader.show_info", told.append)
    mask = np.zeros((24, 32), np.uint16)
    tifffile.imwrite(experiment_folder / "treated" / "treated_0_cp_masks.tif", mask)
    layers = read_layers(experiment_folder)
    assert {data.shape for data, _, _ in layers} == {(3, 24, 32)}
    assert told == [
        'Left out of treated: "treated_0_cp_masks.tif", by its name a result of a segmentation.'
    ]


@pytest.mark.parametrize("how", ["folder", "files"])
def test_one_file_for_each_channel_opens_as_one_image_and_is_told(
    tmp_path, how, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    monkeypatch.setattr(reader, "show_info", told.append)
    folder = tmp_path / "x"
    folder.mkdir()
    for value, name in enumerate(("f0_w1.tif", "f0_w2.tif")):
        tifffile.imwrite(folder / name, np.full((8, 8), value, np.uint16))
    given = folder if how == "folder" else sorted(folder.iterdir())
    layers = read_layers(given)
    assert [(arguments["name"], data.max()) for data, arguments, _ in layers] == [
        ("x: w1", 0),
        ("x: w2", 1),
    ]
    assert len(told) == 1
    assert "2 files are 1 image of 2 channels (w1, w2)" in told[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_layer_shows_one_channel_whatever_the_order_in_the_files(
    tmp_path: Path, make_image, open_in, viewer, seed: int
):
    rng = np.random.default_rng(seed)
    names = ("DAPI", "GFP", "actin")
    for condition in ("a", "b"):
        for i in range(3):
            mixed = tuple(rng.permutation(names).tolist())
            image = make_image(f"{i}", channels=mixed)
            data = np.array([np.full(image.shape, names.index(name) + 1) for name in mixed])
            data[:, 0, 0] = 0
            write_tiff(tmp_path / condition / f"{i}.tif", replace(image, data=data.astype("u1")))
    open_in(tmp_path)
    assert len(viewer.layers) == 6
    for layer in viewer.layers:
        channel = LayerInfo.of(layer).channel
        assert set(np.unique(layer.data)) == {0, names.index(channel) + 1}


def test_other_channels_are_not_stacked_in_one_layer(tmp_path: Path, make_image, open_in):
    write_tiff(tmp_path / "a" / "0.tif", make_image("0", channels=("DAPI", "GFP")))
    write_tiff(tmp_path / "a" / "1.tif", make_image("1", channels=("DAPI", "RFP")))
    with pytest.raises(InputError, match='"RFP"'):
        open_in(tmp_path / "a")


@pytest.fixture
def plate_table(tmp_path: Path) -> Path:
    """A table of images whose names tell nothing: two wells of two fields in each condition."""
    rng = np.random.default_rng(0)
    lines = ["path,condition,plate,well,field"]
    for condition, wells in {"dmso": ("B02", "B03"), "drug": ("C02", "C03")}.items():
        for well in wells:
            for field in (1, 2):
                name = f"shot{len(lines)}x"
                data = rng.integers(0, 200, (1, 64, 64), dtype=np.uint8)
                write_tiff(tmp_path / f"{name}.tif", Image(data, ("DNA",), None, name))
                lines.append(f"{name}.tif,{condition},P1,{well},{field}")
    (tmp_path / "images.csv").write_text("\n".join(lines))
    return tmp_path / "images.csv"


def test_plate_well_and_field_of_a_table_stay_with_the_layers(plate_table: Path, open_in, viewer):
    open_in(plate_table)

    dmso, drug = group_layers(viewer.layers)
    told = [image.site for image in FieldImages(dmso)]
    places = [("B02", "1"), ("B02", "2"), ("B03", "1"), ("B03", "2")]
    assert told == [Site("P1", well, field) for well, field in places]
    # In the thread that reads, too, and where a single image is asked for.
    assert FieldImages(drug.snapshot()).at(3).site == Site("P1", "C03", "2")
    assert units_of_images(list(FieldImages(dmso))).counted == "wells"


def test_wells_of_a_table_are_counted_by_measure(plate_table: Path, open_in, viewer):
    open_in(plate_table)
    source, target = group_layers(viewer.layers)

    measured = run_measurement(MeasuringRequest("area", source, target)).measurement

    assert list(measured.images["well"]) == ["B02", "B02", "B03", "B03", "C02", "C02", "C03", "C03"]
    assert set(measured.images["plate"]) == {"P1"}
    assert units_of(measured).counted == "wells"


def test_wells_of_a_table_reach_an_evaluation_of_the_layers(
    plate_table: Path, open_in, viewer, tmp_path: Path
):
    open_in(plate_table)
    for group in group_layers(viewer.layers):
        for image in FieldImages(group):
            write_tiff(tmp_path / "aside" / group.name / f"{image.name}.tif", image)

    again = Dataset.find(tmp_path / "aside").read()

    assert [image.site.well for image in again["drug"].images if image.site] == [
        "C02", "C02", "C03", "C03"
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [1, 2])
def test_what_is_missing_in_an_image_is_told(tmp_path, monkeypatch, depth):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "m.zarr"), mode="w", zarr_format=2)
    data = np.ones((depth, 8, 8), np.uint16)
    group.create_array("0", data=data, chunks=(1, 4, 8))
    axes = [{"name": name} for name in "zyx"]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]},
    ]
    (tmp_path / "m.zarr" / "0" / "0.0.0").unlink()
    told = []
    monkeypatch.setattr(reader, "show_info", told.append)
    read_layers(str(tmp_path / "m.zarr"))
    assert sum("m.zarr: 1 of 2 chunks is not there" in text for text in told) == 1
