from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import layers
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_image, read_tiff, write_tiff
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer import image_places as fields
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.translation_request import TranslationRequest, read_output


@pytest.fixture
def run(experiment_folder: Path, tmp_path: Path) -> Run:
    experiment = Experiment.from_folder(experiment_folder)
    run = Run.from_experiment(
        tmp_path / "run",
        TrainingConfig(conditions=("untreated", "treated")),
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )
    run.save_adapter({"adapter.safetensors": b"weights"})
    return run


@pytest.fixture
def good(run: Run, experiment_folder: Path, open_in, viewer: ViewerModel) -> TranslationRequest:
    open_in(experiment_folder)
    group = group_layers(viewer.layers)[1]
    return TranslationRequest(run.path, group, "untreated", "treated", settings={"seed": 5})


def test_a_good_request_has_no_error(good: TranslationRequest):
    assert good.validation_error() is None
    assert good.config().seed == 5


def test_what_is_wrong_is_told_before_it_starts(
    good: TranslationRequest, viewer: ViewerModel, tmp_path: Path, run: Run
):
    def error_with(**changes) -> str:
        return replace(good, **changes).validation_error() or ""

    viewer.add_image(np.zeros((2, 8, 8)), name="other: GFP")
    viewer.add_image(np.zeros((2, 2, 8, 8)), name="unnamed", channel_axis=1)
    _, _, other, unnamed = group_layers(viewer.layers)

    assert "Choose a run" in error_with(run=None)
    assert "is not a run" in error_with(run=tmp_path)
    assert "Open the images" in error_with(group=None)
    assert "the run knows untreated, treated" in error_with(target="")
    assert "has the channels GFP" in error_with(group=other)
    assert error_with(group=unnamed) == ""
    (run.path / "config.json").write_text("{}")
    assert "config.json" in error_with()


def test_images_of_different_sizes_are_refused(
    run: Run, tmp_path: Path, make_image, open_in, viewer: ViewerModel
):
    write_tiff(tmp_path / "mixed" / "a.tif", make_image("a"))
    write_tiff(tmp_path / "mixed" / "b.tif", make_image("b", shape=(40, 48)))
    open_in(tmp_path / "mixed")

    request = TranslationRequest(run.path, group_layers(viewer.layers)[0], "untreated", "treated")

    assert "differ in size" in (request.validation_error() or "")


def test_images_are_written_in_order_and_read_back(good: TranslationRequest, tmp_path: Path):
    names = good.write_input(tmp_path / "in")
    assert names == [f"0000{i}_untreated_{i}.tif" for i in range(3)]
    out = tmp_path / "out"
    for name in names:
        image = read_image(tmp_path / "in" / name)
        write_tiff(out / "reconstructed" / name, image)
        write_tiff(out / "translated" / name, replace(image, data=image.data // 2))
    record = json.dumps({"images": [{"residual": 0.5}], "warnings": ["The inversion ..."]})
    (out / "translation.json").write_text(record)

    result = read_output(good, names, out)

    assert [image.name for image in result.translated] == [f"untreated_{i}" for i in range(3)]
    assert good.group is not None
    for real, made, kept in zip(
        list(FieldImages(good.group)), result.translated, result.reconstructed, strict=True
    ):
        np.testing.assert_array_equal(made.data, real.data // 2)
        np.testing.assert_array_equal(kept.data, real.data)
        assert made.path is None
    provenance = result.provenance
    assert (provenance["source"], provenance["target"], provenance["seed"]) == (
        "untreated",
        "treated",
        5,
    )
    assert provenance["base"] == "bundled"
    assert provenance["record"]["images"][0]["residual"] == 0.5
    assert provenance["warnings"] == ["The inversion ..."]
    assert "napari-phenldiff" in provenance["versions"]
    json.dumps(provenance)


def test_one_image_of_a_stack_is_written_alone(good: TranslationRequest, tmp_path: Path):
    names = replace(good, field=1).write_input(tmp_path)

    assert names == ["00000_untreated_1.tif"]


def test_the_other_images_of_a_stack_are_not_read(
    good: TranslationRequest, tmp_path: Path, monkeypatch
):
    reads: list[Path] = []
    for module in (layers, fields):
        monkeypatch.setattr(module, "read_tiff", lambda path: reads.append(path) or read_tiff(path))
    loaded: list[int] = []

    def load(block_info) -> np.ndarray:
        number = block_info[None]["chunk-location"][0]
        loaded.append(number)
        return np.full((1, 24, 32), number, np.uint8)

    lazy = da.map_blocks(load, chunks=((1,) * 60, (24,), (32,)), dtype=np.uint8)
    (group,) = group_layers([ImageLayer(lazy, name="drug: DNA")])
    loaded.clear()

    for request, pixel in ((good, None), (replace(good, group=group), 41)):
        (image,) = replace(request, field=1 if pixel is None else pixel).images()
        assert pixel is None or (image.data == pixel).all()

    assert reads == []
    assert loaded == [41]


def test_a_missing_result_is_told_by_name(good: TranslationRequest, tmp_path: Path):
    with pytest.raises(InputError, match=r"00000_a\.tif"):
        read_output(good, ["00000_a.tif"], tmp_path)
