"""Experiments that are too large to be read at once: only what is shown or used is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dask.array
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import sources as image_sources
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.tiff import read_tiff, write_tiff
from napari_phenldiff.jobs.requests import EvaluateRequest
from napari_phenldiff.viewer import lazy_layers
from napari_phenldiff.viewer.conditions import conditions_of_layers
from napari_phenldiff.viewer.evaluation_request import EvaluationRequest
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.measuring import MeasuringRequest, run_measurement
from napari_phenldiff.viewer.reader import read_layers
from napari_phenldiff.viewer.training_request import TrainingRequest
from napari_phenldiff.viewer.translation_request import TranslationRequest


@pytest.fixture
def all_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_layers, "MOST_FILES", 0)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, as often as they are."""
    found: list[str] = []

    def counted(path: Path, z: object) -> list[Image]:
        found.append(path.name)
        return read_tiff(path)

    monkeypatch.setattr(image_sources, "_read_file", counted)
    return found


@pytest.fixture
def many(experiment_folder: Path, make_image) -> Path:
    """Twelve images of each condition."""
    for number, condition in enumerate(("treated", "untreated")):
        for i in range(3, 12):
            image = make_image(f"{condition}_{i}", seed=100 * number + i, brightness=90)
            write_tiff(experiment_folder / condition / f"{image.name}.tif", image)
    return experiment_folder


def test_they_look_like_those_that_are_read_at_once(many: Path, monkeypatch: pytest.MonkeyPatch):
    eager = read_layers(many)
    monkeypatch.setattr(lazy_layers, "MOST_FILES", 20)

    lazy = read_layers(many)

    for (ours, our_arguments, _), (theirs, their_arguments, _) in zip(lazy, eager, strict=True):
        assert isinstance(ours, dask.array.Array)
        assert isinstance(theirs, np.ndarray)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_array_equal(np.asarray(ours), theirs)
        # napari shall keep no second copy.
        assert our_arguments == their_arguments | {"cache": False}


def test_how_many_are_read_at_once(many: Path, monkeypatch: pytest.MonkeyPatch):
    size = 24 * 2 * 24 * 32  # images, channels, pixels of one byte

    def are_lazy(most_files: int, most_bytes: int) -> bool:
        monkeypatch.setattr(lazy_layers, "MOST_FILES", most_files)
        monkeypatch.setattr(lazy_layers, "MOST_BYTES", most_bytes)
        return isinstance(read_layers(many)[0][0], dask.array.Array)

    assert not are_lazy(24, size)
    assert are_lazy(23, size)
    assert are_lazy(24, size - 1)


def test_only_a_few_are_read_when_they_are_opened_and_one_when_it_is_shown(
    many: Path, all_are_many, reads: list[str], monkeypatch: pytest.MonkeyPatch, open_in
):
    monkeypatch.setattr(lazy_layers, "_FITTED", 2)
    monkeypatch.setattr(lazy_layers, "_FITTED_BYTES", 0)

    layers = open_in(many)
    # Two of each condition for the contrast, and the one that the slider stands on.
    assert len(set(reads)) == 5

    reads.clear()
    assert layers[2].data[7].compute().shape == (24, 32)
    np.asarray(layers[3].data[7])
    assert reads == ["untreated_5.tif"]  # by name: _10 and _11 come before _2


def test_the_contrast_is_that_of_all_conditions(many: Path, all_are_many, open_in):
    treated_dna, treated_marker, untreated_dna, untreated_marker = open_in(many)

    assert treated_dna.contrast_limits == untreated_dna.contrast_limits
    assert treated_marker.contrast_limits == untreated_marker.contrast_limits
    assert untreated_dna.contrast_limits[1] > 150  # that of the bright condition
    assert [layer.visible for layer in open_in(many)] == [False, False, True, True]


def test_what_was_read_is_dropped_again(many: Path, all_are_many, monkeypatch, open_in):
    kept = lazy_layers._Kept(3 * 2 * 24 * 32)
    monkeypatch.setattr(lazy_layers, "KEPT", kept)
    layer = open_in(many)[0]

    for place in range(12):
        np.asarray(layer.data[place])

    assert len(kept._images) == 3
    assert kept._bytes == 3 * 2 * 24 * 32


def test_images_of_other_sizes_get_layers_of_their_own(
    many: Path, all_are_many, make_image, open_in, viewer: ViewerModel
):
    large = make_image("large", shape=(40, 48))
    write_tiff(many / "treated" / "large.tif", large)

    open_in(many)

    treated, untreated = group_layers(viewer.layers)
    assert treated.layers[0].name == "treated: DNA (48 × 40)"
    assert sorted(treated.sizes) == [(24, 32), (40, 48)]
    images = {image.name: image for image in FieldImages(treated)}
    assert len(images) == 13
    np.testing.assert_array_equal(images["large"].data, large.data)
    assert len(list(FieldImages(untreated))) == 12


def test_one_that_is_unlike_the_others_is_refused_when_it_is_met(
    many: Path, all_are_many, make_image, monkeypatch, open_in
):
    monkeypatch.setattr(lazy_layers, "_COMPARED", 2)  # the first and the last
    write_tiff(many / "treated" / "treated_5.tif", make_image("x", shape=(40, 48)))
    deep = make_image("x").data.astype(np.uint16)
    write_tiff(many / "treated" / "treated_6.tif", Image(deep, ("DNA", "marker"), None, "x"))
    other = Image(make_image("x").data, ("DNA", "actin"), None, "x")
    write_tiff(many / "treated" / "treated_7.tif", other)
    layer = open_in(many)[0]

    for name, told in (("5", "has 48 × 40 px"), ("6", "uint16"), ("7", '"actin"')):
        place = [f"treated_{k}" for k in sorted(map(str, range(12)))].index(f"treated_{name}")
        with pytest.raises(InputError, match=told) as error:
            np.asarray(layer.data[place])
        assert f"treated_{name}.tif" in str(error.value)


def test_a_file_that_is_gone_or_damaged_is_told_by_name(many: Path, all_are_many, open_in):
    layer = open_in(many)[0]
    lazy_layers.KEPT._images.clear()
    (many / "treated" / "treated_9.tif").unlink()
    with pytest.raises(InputError, match=r"treated_9\.tif"):
        np.asarray(layer.data[11])

    (many / "treated" / "treated_0.tif").write_bytes(b"II*\0nonsense")
    with pytest.raises(InputError, match=r"treated_0\.tif"):
        open_in(many)


def test_channels_are_brought_into_one_order(many: Path, all_are_many, open_in):
    for k in (2, 7):
        path = many / "untreated" / f"untreated_{k}.tif"
        (image,) = read_tiff(path)
        write_tiff(path, Image(image.data[::-1], image.channel_names[::-1], None, image.name))
    kept = {path.stem: read_tiff(path)[0] for path in (many / "untreated").iterdir()}

    open_in(many)
    layers = open_in(many)

    for place, name in enumerate(sorted(kept)):
        image = kept[name]
        dna = image.data[image.channel_names.index("DNA")]
        np.testing.assert_array_equal(np.asarray(layers[2].data[place]), dna)


def test_z_planes_are_read_with_their_image(
    tmp_path: Path, all_are_many, open_in, viewer: ViewerModel
):
    rng = np.random.default_rng(0)
    stacks = rng.integers(0, 99, (2, 3, 4, 2, 16, 24)).astype(np.uint8)
    for condition, images in zip("ab", stacks, strict=True):
        (tmp_path / condition).mkdir()
        for k, image in enumerate(images):
            tifffile.imwrite(
                tmp_path / condition / f"{k}.ome.tif", image, ome=True,
                photometric="minisblack", metadata={"axes": "ZCYX"},
            )  # fmt: skip

    layers = open_in(tmp_path)

    assert {layer.data.shape for layer in layers} == {(3, 4, 16, 24)}
    assert layers[0].axis_labels == ("field", "z", "y", "x")
    np.testing.assert_array_equal(np.asarray(layers[3].data[2, 1, 4:9]), stacks[1, 2, 1, 1, 4:9])
    images = list(FieldImages(group_layers(viewer.layers)[0], z="max"))
    np.testing.assert_array_equal(images[1].data, stacks[0, 1].max(axis=0))


def test_stacks_of_many_images_are_read_at_once(tmp_path: Path, all_are_many):
    for condition in "ab":
        (tmp_path / condition).mkdir()
        for k in range(2):
            data = np.random.default_rng(k).integers(0, 99, (20, 16, 24)).astype(np.uint8)
            tifffile.imwrite(tmp_path / condition / f"{k}.tif", data, photometric="minisblack")

    assert all(isinstance(data, np.ndarray) for data, _, _ in read_layers(tmp_path))


# ---- what is done with them ------------------------------------------------------------------


@pytest.fixture
def lazy(many: Path, all_are_many, open_in, viewer: ViewerModel, reads) -> ViewerModel:
    open_in(many)
    lazy_layers.KEPT._images.clear()
    reads.clear()
    return viewer


def test_one_image_of_a_group_is_one_file(lazy: ViewerModel, reads: list[str], many: Path):
    treated, _ = group_layers(lazy.layers)

    image = FieldImages(treated.snapshot(), with_files=True).at(7)

    assert image.name == "treated_5"
    assert image.path == many / "treated" / "treated_5.tif"
    assert reads == ["treated_5.tif"]


def test_other_pixels_in_a_layer_are_those_that_count(lazy: ViewerModel, reads: list[str]):
    treated, _ = group_layers(lazy.layers)
    for layer in treated.layers:
        layer.data = np.full((12, 24, 32), 7, np.uint8)

    images = list(FieldImages(treated))

    assert {int(image.data.max()) for image in images} == {7}
    assert reads == []


def test_plate_and_well_stay(tmp_path: Path, all_are_many, make_image, open_in, viewer):
    lines = ["path,condition,plate,well,field"]
    for k in range(8):
        write_tiff(tmp_path / f"shot{k}.tif", make_image(f"shot{k}", seed=k))
        lines.append(f"shot{k}.tif,{'ab'[k // 4]},P1,C0{k // 2 + 1},{k % 2}")
    (tmp_path / "images.csv").write_text("\n".join(lines))

    open_in(tmp_path / "images.csv")

    _, b = group_layers(viewer.layers)
    assert [image.site for image in FieldImages(b)][:2] == [
        Site("P1", "C03", "0"),
        Site("P1", "C03", "1"),
    ]


def training_of(viewer: ViewerModel, out: Path) -> TrainingRequest:
    source, target = conditions_of_layers(viewer.layers)
    return TrainingRequest(source=source, target=target, folder=None, out=out)


def test_a_training_reads_the_folder_in_its_own_process(
    lazy: ViewerModel, reads: list[str], many: Path, tmp_path: Path
):
    asked = training_of(lazy, tmp_path / "run").snapshot().in_files()

    assert not asked.needs_preparing
    assert asked.job_request().data == many
    assert asked.job_request().dataset().names == ("treated", "untreated")
    assert reads == []


@pytest.mark.parametrize("what", ["another name", "a channel less", "other pixels", "other size"])
def test_a_training_reads_the_layers_where_they_are_not_what_the_folder_has(
    what: str, lazy: ViewerModel, tmp_path: Path
):
    layers = group_layers(lazy.layers)[0].layers
    if what == "another name":
        for layer in layers:
            layer.metadata["napari-phenldiff"]["condition"] = "drug"
    elif what == "a channel less":
        lazy.layers.remove(layers[0])
        lazy.layers.remove(group_layers(lazy.layers)[1].layers[0])
    elif what == "other pixels":
        layers[0].data = np.zeros((12, 24, 32), np.uint8)
    else:
        for layer in layers:
            layer.scale = (1, 0.7, 0.7)

    assert training_of(lazy, tmp_path / "run").in_files().needs_preparing


def test_an_evaluation_reads_the_folder_in_its_own_process(
    lazy: ViewerModel, reads: list[str], many: Path, tmp_path: Path, monkeypatch
):
    source, target = conditions_of_layers(lazy.layers)
    request = EvaluationRequest(tmp_path, source, target, None, "area", name="x").in_files()
    monkeypatch.setattr(EvaluationRequest, "validation_error", lambda self: None)

    asked = request.prepare(tmp_path / "aside")

    assert isinstance(asked, EvaluateRequest)
    assert asked.data == many
    assert reads == []


def test_a_translation_of_the_image_shown_reads_it_alone(
    lazy: ViewerModel, reads: list[str], tmp_path: Path
):
    treated, _ = group_layers(lazy.layers)
    request = TranslationRequest(None, treated.snapshot(), "treated", "untreated", field=3)

    names = request.write_input(tmp_path / "aside")

    assert names == ["00000_treated_11.tif"]
    assert reads == ["treated_11.tif"]


def test_what_is_measured_does_not_depend_on_how_it_was_opened(
    many: Path, open_in: Callable, viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch
):
    def measured() -> object:
        viewer.layers.clear()
        open_in(many)
        request = MeasuringRequest("area", *group_layers(viewer.layers)).snapshot()
        return run_measurement(request).measurement.images

    at_once = measured()
    monkeypatch.setattr(lazy_layers, "MOST_FILES", 0)

    assert measured().equals(at_once)
