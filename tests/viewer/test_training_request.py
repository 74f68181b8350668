from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_match import match_channels
from napari_phenldiff.images.tiff import read_tiff, write_stack, write_tiff
from napari_phenldiff.jobs.requests import read_request, write_request
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.conditions import conditions_of_layers, warnings_about_copies
from napari_phenldiff.viewer.training_request import (
    ConditionChoice,
    TrainingRequest,
    conditions_in_folder,
    suggest_run_folder,
)


@pytest.fixture
def from_layers(experiment_folder: Path, open_in, viewer, tmp_path: Path) -> TrainingRequest:
    open_in(experiment_folder)
    treated, untreated = conditions_of_layers(viewer.layers)
    return TrainingRequest(untreated, treated, None, tmp_path / "run", {"steps": 7, "seed": 3})


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


def test_a_folder_that_may_not_be_looked_into_is_passed_over(
    experiment_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    read = os.scandir

    def scandir(path: Path):
        if Path(path).name == "treated":
            raise PermissionError(path)
        return read(path)

    monkeypatch.setattr(os, "scandir", scandir)

    assert [choice.name for choice in conditions_in_folder(experiment_folder)] == ["untreated"]
    assert conditions_in_folder(experiment_folder / "treated") == ()


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

    assert "second condition is missing beside untreated" in error_with(target=None)
    assert "two conditions" in error_with(source=None, target=None)
    assert "same condition" in error_with(target=source)
    assert "one image" in error_with(source=replace(source, n_images=1))
    assert "has the channels DNA, GFP" in error_with(
        source=replace(source, channel_names=("DNA", "GFP"))
    )
    assert "base model" in error_with(settings={"base": ""})
    assert "Name a run folder" in error_with(out=None)
    assert "not empty" in error_with(out=tmp_path / "full")
    assert "not empty" in error_with(out=tmp_path / "full" / "file")


def test_the_command_line_says_what_was_filled_in(from_folder: TrainingRequest):
    settings = {
        "images_per_condition": 2,
        "steps": 9,
        "seed": 4,
        "batch_size": 3,
        "device": "cpu",
    }
    request = replace(from_folder, settings=settings)

    asked = request.job_request()

    assert (asked.data, asked.out, asked.z) == (request.folder, request.out, None)
    assert asked.config == TrainingConfig(
        conditions=("untreated", "treated"),
        images_per_condition=2,
        steps=9,
        seed=4,
        batch_size=3,
        device="cpu",
    )


def test_what_is_asked_for_arrives_as_it_is(from_folder: TrainingRequest, tmp_path: Path):
    asked = replace(from_folder, settings={"reference_channels": ("DNA",)}).job_request()
    # A comma belongs to a name here, and so do words that mean something on the command line.
    config = asked.config.model_copy(update={"reference_channels": ("GFP, low", "auto", "none")})
    asked = asked.model_copy(update={"config": config})
    write_request(tmp_path / "request.json", asked)

    assert read_request(tmp_path / "request.json") == asked


def test_layers_become_a_run_that_can_be_started(from_layers: TrainingRequest):
    warnings = list(from_layers.prepare())

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

    list(from_layers.prepare())

    assert from_layers.out is not None
    run = Run.open(from_layers.out)
    stored = run.load_experiment()["untreated"].images[1]
    assert (stored.data[0] == 17).all()
    assert len(list((run.path / "images").rglob("*.tif"))) == 1


def test_a_seeded_choice_of_images_is_used(from_layers: TrainingRequest):
    list(
        replace(from_layers, settings={**from_layers.settings, "images_per_condition": 2}).prepare()
    )

    assert from_layers.out is not None
    run = Run.open(from_layers.out)
    assert sum(len(c.images) for c in run.load_experiment().conditions) == 4
    # the one that is left over is watched
    assert len(run.images) == 6


def test_layers_that_cannot_be_trained_on_leave_no_run(
    from_layers: TrainingRequest, tmp_path: Path
):
    for choice in (from_layers.source, from_layers.target):
        assert choice is not None
        assert choice.group is not None
        choice.group.layers[1].data[:] = 5

    with pytest.raises(InputError, match="marker"):
        list(from_layers.prepare())
    assert not (tmp_path / "run").exists()


def test_a_free_run_folder_is_suggested(tmp_path: Path):
    first = suggest_run_folder(tmp_path, "wild type", "drug/1")
    assert first == tmp_path / "wild_type-to-drug_1-001"
    first.mkdir()
    assert suggest_run_folder(tmp_path, "wild type", "drug/1").name.endswith("-002")


def test_files_that_were_opened_twice_are_no_two_conditions(
    experiment_folder: Path, open_in, viewer, tmp_path: Path, from_layers: TrainingRequest
):
    assert from_layers.validation_error() is None
    open_in(experiment_folder)
    open_in(next((experiment_folder / "treated").iterdir()))
    found = {choice.name: choice for choice in conditions_of_layers(viewer.layers)}
    treated, untreated, again = (found[name] for name in ("treated", "untreated", "treated (2)"))
    assert again.n_images == 3
    (alone,) = (choice for choice in found.values() if choice.n_images == 1)
    for other in (again, alone):
        request = replace(from_layers, source=treated, target=other)
        assert "are the same files, opened twice" in (request.validation_error() or "")
    assert warnings_about_copies([treated, untreated]) == []
    (told,) = warnings_about_copies([treated, alone])
    assert told.startswith("1 image is in both treated and")


def test_a_finished_run_is_not_overwritten(from_layers: TrainingRequest):
    list(from_layers.prepare())

    error = from_layers.validation_error()

    assert error is not None
    assert "is a run already" in error


def test_a_file_in_a_folder_may_be_many_images(tmp_path: Path, make_image):
    data = tmp_path / "data"
    for name in ("a", "b"):
        write_stack(data / name / "stack.tif", [make_image(f"{name}{i}", seed=i) for i in range(3)])
    source, target = conditions_in_folder(data)
    request = TrainingRequest(source, target, data, tmp_path / "run")
    assert source.n_images == 3
    assert request.validation_error() is None

    write_tiff(data / "a" / "stack.tif", make_image("a"))
    alone = replace(request, source=conditions_in_folder(data)[0])
    assert "a has one image" in (alone.validation_error() or "")

    # What can't be looked into is told when it is read.
    (data / "a" / "stack.tif").write_bytes(b"II*\x00\xff\xff")
    broken = replace(request, source=conditions_in_folder(data)[0])
    assert broken.validation_error() is None


def test_channels_to_keep_are_those_that_are_trained_on(from_layers: TrainingRequest):
    assert from_layers.source is not None
    assert from_layers.target is not None
    match = matched(from_layers.source, from_layers.target)
    request = replace(from_layers, match=match, settings={"reference_channels": ("DNA",)})
    assert request.validation_error() is None

    left_out = replace(request, match=match.with_cell(0, 0, None))
    assert "no channel DNA" in (left_out.validation_error() or "")


# ---- more conditions, other channels, planes -------------------------------------------------


@pytest.fixture
def third(experiment_folder: Path, make_image) -> None:
    """A further condition of the folder, whose channels are called and sorted otherwise."""
    for i in range(3):
        image = make_image(f"dose_{i}", seed=30 + i, channels=("Marker", "dapi"))
        write_tiff(experiment_folder / "dose" / f"{image.name}.tif", image)


def matched(*choices: ConditionChoice):
    return match_channels({choice.name: choice.channel_names for choice in choices})


def test_further_conditions_are_learned_too(
    experiment_folder: Path, make_image, open_in, viewer, tmp_path: Path
):
    for i in range(2):
        write_tiff(experiment_folder / "dose" / f"{i}.tif", make_image(f"{i}", seed=30 + i))
    open_in(experiment_folder)
    dose, treated, untreated = conditions_of_layers(viewer.layers)
    request = TrainingRequest(untreated, treated, None, tmp_path / "run", further=(dose,))

    assert request.validation_error() is None
    assert request.snapshot().further[0].group is not dose.group
    list(request.snapshot().prepare())

    run = Run.open(tmp_path / "run")
    assert run.conditions == ("untreated", "treated", "dose")
    assert len(run.load_experiment()["dose"].images) == 2
    assert "twice" in (replace(request, further=(treated,)).validation_error() or "")


def test_further_conditions_and_planes_are_asked_for(
    experiment_folder: Path, third, tmp_path: Path
):
    dose, treated, untreated = conditions_in_folder(experiment_folder)
    request = TrainingRequest(
        untreated,
        treated,
        experiment_folder,
        tmp_path / "run",
        further=(replace(dose, channel_names=treated.channel_names),),
        z="max",
    )

    asked = request.job_request()

    assert not request.needs_preparing
    assert asked.config.conditions == ("untreated", "treated", "dose")
    assert asked.z == "max"


def test_other_channels_need_a_match(experiment_folder: Path, third, tmp_path: Path):
    dose, treated, _ = conditions_in_folder(experiment_folder)
    request = TrainingRequest(treated, dose, experiment_folder, tmp_path / "run")
    assert "both need the same" in (request.validation_error() or "")

    request = replace(request, match=matched(treated, dose))
    assert request.validation_error() is None
    assert request.match is not None
    wrong = replace(request, match=request.match.with_cell(0, 0, 0))
    assert "Marker of dose is chosen for both DNA and marker" in (wrong.validation_error() or "")


def test_channels_of_layers_are_brought_into_one_order(
    experiment_folder: Path, third, open_in, viewer, tmp_path: Path
):
    open_in(experiment_folder / "untreated", experiment_folder / "treated")
    open_in(experiment_folder / "dose")
    untreated, treated, dose = conditions_of_layers(viewer.layers)
    request = TrainingRequest(
        untreated,
        treated,
        None,
        tmp_path / "run",
        further=(dose,),
        match=matched(untreated, treated, dose),
    )

    list(request.snapshot().prepare())

    run = Run.open(tmp_path / "run")
    assert run.channel_names == ("DNA", "marker")
    file = read_tiff(experiment_folder / "dose" / "dose_1.tif")[0]
    trained = run.load_experiment()["dose"].images[1]
    np.testing.assert_array_equal(trained.data, file.data[::-1])
    # Only the images in another order are stored.
    assert {path.parent.name for path in (run.path / "images").rglob("*.tif")} == {"dose"}


def test_channels_of_a_folder_are_brought_into_one_order(
    experiment_folder: Path, third, tmp_path: Path
):
    dose, _, untreated = conditions_in_folder(experiment_folder)
    request = TrainingRequest(
        untreated, dose, experiment_folder, tmp_path / "run", match=matched(untreated, dose)
    )
    assert request.needs_preparing

    list(request.snapshot().prepare())

    run = Run.open(tmp_path / "run")
    assert run.channel_names == ("DNA", "marker")
    file = read_tiff(experiment_folder / "dose" / "dose_0.tif")[0]
    np.testing.assert_array_equal(run.load_experiment()["dose"].images[0].data, file.data[::-1])


def test_a_channel_that_is_left_out_is_not_trained_on(from_layers: TrainingRequest):
    assert from_layers.source is not None
    assert from_layers.target is not None
    match = matched(from_layers.source, from_layers.target).with_cell(0, 0, None)

    list(replace(from_layers, match=match).snapshot().prepare())

    assert from_layers.out is not None
    run = Run.open(from_layers.out)
    assert run.channel_names == ("marker",)
    assert run.load_experiment()["treated"].images[0].data.shape == (1, 24, 32)


def test_colour_layers_become_a_run(viewer, tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in ("control", "drug"):
        data = rng.integers(0, 255, (3, 16, 16, 3), dtype=np.uint8)
        viewer.add_image(data, name=name, rgb=True)
    control, drug = conditions_of_layers(viewer.layers)
    assert control.format() == "16 × 16 px · 8 bit"

    list(TrainingRequest(control, drug, None, tmp_path / "run").snapshot().prepare())

    run = Run.open(tmp_path / "run")
    assert run.channel_names == ("red", "green", "blue")
    stored = run.load_experiment()["drug"].images[2].data
    np.testing.assert_array_equal(stored, np.moveaxis(viewer.layers["drug"].data[2], -1, 0))


def test_planes_are_projected_when_it_is_said_how(viewer, tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in ("control", "drug"):
        data = rng.integers(0, 255, (3, 5, 16, 16), dtype=np.uint8)
        viewer.add_image(data, name=name, axis_labels=("t", "z", "y", "x"))
    control, drug = conditions_of_layers(viewer.layers)
    request = TrainingRequest(control, drug, None, tmp_path / "run")
    assert "5 z planes" in (request.validation_error() or "")

    list(replace(request, z="max").snapshot().prepare())

    stored = Run.open(tmp_path / "run").load_experiment()["control"].images[1].data
    np.testing.assert_array_equal(stored[0], viewer.layers["control"].data[1].max(axis=0))


def test_planes_of_a_folder_are_seen_in_advance(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        tifffile.imwrite(
            tmp_path / name / "stack.tif",
            np.zeros((3, 4, 2, 16, 24), np.uint16),
            imagej=True,
            metadata={"axes": "TZCYX"},
        )

    choices = conditions_in_folder(tmp_path)

    assert choices[0].format() == "24 × 16 px · 16 bit · 4 z planes"
    assert choices[0].label() == "a (3 images)"
    request = TrainingRequest(*choices, tmp_path, tmp_path / "run")
    assert "4 z planes" in (request.validation_error() or "")
    assert replace(request, z="mean").validation_error() is None
