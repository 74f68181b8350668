from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.layers import group_layers
from napari_phenldiff.viewer.training import (
    ConditionChoice,
    TrainingRequest,
    conditions_in_folder,
    suggest_run_folder,
)


@pytest.fixture
def from_layers(experiment_folder: Path, open_in, viewer, tmp_path: Path) -> TrainingRequest:
    open_in(experiment_folder)
    treated, untreated = (
        ConditionChoice(g.name, g.n_images, g.channel_names, g) for g in group_layers(viewer.layers)
    )
    return TrainingRequest(untreated, treated, None, tmp_path / "run", steps=7, seed=3)


@pytest.fixture
def from_folder(experiment_folder: Path, tmp_path: Path) -> TrainingRequest:
    treated, untreated = conditions_in_folder(experiment_folder)
    return TrainingRequest(untreated, treated, experiment_folder, tmp_path / "run")


def test_conditions_of_a_folder_are_listed(experiment_folder: Path, tmp_path: Path):
    (experiment_folder / "notes").mkdir()
    (experiment_folder / ".hidden").mkdir()

    treated, untreated = conditions_in_folder(experiment_folder)

    assert treated.label() == "treated (3 images)"
    assert untreated.channel_names == ("DNA", "marker")
    assert conditions_in_folder(tmp_path / "nowhere") == ()


def test_a_good_request_has_no_error(from_layers, from_folder):
    assert from_layers.validation_error() is None
    assert from_folder.validation_error() is None
    assert from_layers.config().conditions == ("untreated", "treated")


def test_what_is_wrong_is_told_before_it_starts(from_layers: TrainingRequest, tmp_path: Path):
    def error_with(**changes) -> str:
        error = replace(from_layers, **changes).validation_error()
        assert error is not None
        with pytest.raises(InputError):
            replace(from_layers, **changes).config()
        return error

    source = from_layers.source
    assert source is not None
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()

    assert "two conditions" in error_with(target=None)
    assert "same condition" in error_with(target=source)
    assert "one image" in error_with(source=replace(source, n_images=1))
    assert "has the channels DNA, GFP" in error_with(
        source=replace(source, channel_names=("DNA", "GFP"))
    )
    assert "base model" in error_with(base="")
    assert "Name a run folder" in error_with(out=None)
    assert "not empty" in error_with(out=tmp_path / "full")
    assert "not empty" in error_with(out=tmp_path / "full" / "file")


def test_the_command_line_says_what_was_filled_in(from_folder: TrainingRequest):
    request = replace(
        from_folder, images_per_condition=2, steps=9, seed=4, batch_size=3, device="cpu"
    )

    arguments = request.arguments()

    assert arguments[:2] == ["train", str(request.folder)]
    options = dict(zip(arguments[2::2], arguments[3::2], strict=True))
    assert options == {
        "--source": "untreated",
        "--target": "treated",
        "--out": str(request.out),
        "--base": "bundled",
        "--strategy": "lora",
        "--steps": "9",
        "--seed": "4",
        "--batch-size": "3",
        "--device": "cpu",
        "--precision": "auto",
        "--images-per-condition": "2",
    }


def test_the_command_line_understands_it(from_folder: TrainingRequest):
    from napari_phenldiff.cli import _parser

    args = _parser().parse_args(from_folder.arguments())

    assert args.data == from_folder.folder
    assert args.steps == from_folder.steps


def test_layers_become_a_run_that_can_be_started(from_layers: TrainingRequest):
    warnings = list(from_layers.prepare_layers())

    assert from_layers.out is not None
    run = Run.open(from_layers.out)
    assert run.state == "created"
    assert run.config.steps == 7
    assert run.config.conditions == ("untreated", "treated")
    assert run.channel_names == ("DNA", "marker")
    assert run.load_experiment()["treated"].images[2].name == "treated_2"
    # Untouched layers are referred to by their files.
    assert not (run.path / "images").exists()
    assert any("image" in warning for warning in warnings)


def test_edited_layers_are_stored_in_the_run(from_layers: TrainingRequest):
    assert from_layers.source is not None
    assert from_layers.source.group is not None
    from_layers.source.group.layers[0].data[1] = 17

    list(from_layers.prepare_layers())

    assert from_layers.out is not None
    run = Run.open(from_layers.out)
    stored = run.load_experiment()["untreated"].images[1]
    assert (stored.data[0] == 17).all()
    assert len(list((run.path / "images").rglob("*.tif"))) == 1


def test_a_seeded_choice_of_images_is_used(from_layers: TrainingRequest):
    list(replace(from_layers, images_per_condition=2).prepare_layers())

    assert from_layers.out is not None
    assert len(Run.open(from_layers.out).images) == 4


def test_layers_that_cannot_be_trained_on_leave_no_run(
    from_layers: TrainingRequest, tmp_path: Path
):
    for choice in (from_layers.source, from_layers.target):
        assert choice is not None
        assert choice.group is not None
        choice.group.layers[1].data[:] = 5

    with pytest.raises(InputError, match="marker"):
        list(from_layers.prepare_layers())
    assert not (tmp_path / "run").exists()


def test_a_free_run_folder_is_suggested(tmp_path: Path):
    first = suggest_run_folder(tmp_path, "wild type", "drug/1")
    assert first == tmp_path / "wild_type-to-drug_1-001"
    first.mkdir()
    assert suggest_run_folder(tmp_path, "wild type", "drug/1").name.endswith("-002")


def test_a_finished_run_is_not_overwritten(from_layers: TrainingRequest):
    list(from_layers.prepare_layers())

    error = from_layers.validation_error()

    assert error is not None
    assert "is a run already" in error


def test_a_stack_in_a_folder_may_be_many_images(tmp_path: Path, make_image):
    for name in ("a", "b"):
        write_tiff(tmp_path / "data" / name / "stack.tif", make_image(name))
    source, target = conditions_in_folder(tmp_path / "data")

    request = TrainingRequest(source, target, tmp_path / "data", tmp_path / "run")

    assert request.validation_error() is None
