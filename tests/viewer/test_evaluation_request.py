from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.schema import Recovered
from napari_phenldiff.images.channel_match import match_channels
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.jobs.requests import read_request, write_request
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.profiles.golgi import GolgiSettings
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.conditions import conditions_in_folder, conditions_of_layers
from napari_phenldiff.viewer.evaluation_request import EvaluationRequest
from napari_phenldiff.viewer.evaluations import (
    FoundEvaluation,
    evaluations_of,
    folder_of,
    suggest_name,
)


@pytest.fixture
def run(experiment_folder: Path, tmp_path: Path) -> Run:
    """A run on images that lie elsewhere."""
    experiment = Experiment.from_folder(experiment_folder).select(("untreated", "treated"))
    others = {
        condition.name: [replace(image, path=None) for image in condition.images]
        for condition in experiment.conditions
    }
    return run_on(Experiment.from_images(others), tmp_path / "run")


def run_on(experiment: Experiment, folder: Path) -> Run:
    run = Run.from_experiment(
        folder,
        TrainingConfig(conditions=("untreated", "treated")),
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )
    run.save_adapter({"adapter.safetensors": b"weights"})
    return run


@pytest.fixture
def request_(run: Run, experiment_folder: Path) -> EvaluationRequest:
    treated, untreated = conditions_in_folder(experiment_folder)
    return EvaluationRequest(
        run.path, untreated, treated, experiment_folder, "area", AreaSettings(), name="first"
    )


def test_a_folder_becomes_the_command(request_: EvaluationRequest, tmp_path: Path):
    evaluation = {
        "images": 6, "wells": "-w(.)", "keep": (), "paired": True, "trained_too": True,
        "cycle": False,
    }  # fmt: skip
    given = replace(
        request_, evaluation=evaluation,
        shuffled=request_.run, translation={"guidance": 3.0, "depth": 0.8, "seed": 4}, z="max",
    )  # fmt: skip
    assert given.validation_error() is None

    asked = given.prepare(tmp_path)

    assert (asked.run, asked.data, asked.profile) == (given.run, given.folder, "area")
    assert asked.z == "max"
    assert asked.config == EvaluationConfig(
        images=6, wells="-w(.)", keep=(), paired=True, trained_too=True, cycle=False
    )
    assert (asked.shuffled, asked.half_split) == ((given.run,), ())
    # A method may lack what nobody has changed, such as the depth.
    assert asked.translation == {
        "source": "untreated",
        "target": "treated",
        "guidance": 3.0,
        "seed": 4,
    }
    assert asked.out == given.run / "evaluations" / "first"
    assert asked.profile_settings() == AreaSettings()
    assert list(tmp_path.glob("images")) == []


def test_a_comma_in_the_name_of_a_channel_arrives(request_: EvaluationRequest, tmp_path: Path):
    asked = replace(request_, evaluation={"keep": ("a,b", "none")}).prepare(tmp_path)
    write_request(tmp_path / "request.json", asked)

    assert read_request(tmp_path / "request.json") == asked
    assert asked.config.keep == ("a,b", "none")


def test_layers_are_written_down_as_they_are(
    request_: EvaluationRequest, experiment_folder: Path, open_in, viewer: ViewerModel,
    tmp_path: Path,
):  # fmt: skip
    open_in(experiment_folder)
    treated, untreated = conditions_of_layers(viewer.layers)
    given = replace(request_, source=untreated, target=treated, folder=None).snapshot()
    viewer.layers.clear()

    asked = given.prepare(tmp_path / "aside")

    written = Experiment.from_folder(asked.data, conditions=("untreated", "treated"))
    before = Experiment.from_folder(experiment_folder, conditions=("untreated", "treated"))
    assert [i.name for i in written.images] == [i.name for i in before.images]
    # The run knows its images by the hash of their pixels.
    assert written.digest() == before.digest()


def test_channels_are_put_into_one_order_before(request_: EvaluationRequest, tmp_path: Path):
    names = {"untreated": ("DNA", "marker"), "treated": ("DNA", "marker")}
    swapped = match_channels(names).with_cell(0, 0, 1).with_cell(1, 0, 0)
    given = replace(request_, match=swapped)
    assert given.needs_images

    asked = given.prepare(tmp_path)

    folder = request_.folder
    assert folder is not None
    written, before = (Experiment.from_folder(f)["treated"].images for f in (asked.data, folder))
    assert (written[0].data[0] == before[0].data[1]).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"run": None}, "Choose a run"),
        ({"run": Path("nowhere")}, "nowhere is not a run"),
        ({"source": None}, "A second condition is missing beside treated"),
        ({"evaluation": {"wells": "["}}, "not a regular expression"),
        ({"name": ""}, "Name the evaluation"),
        ({"name": "a/b"}, "leave out"),
        ({"name": ".hidden"}, "leave out"),
        ({"shuffled": Path("nowhere")}, "nowhere is not a run"),
    ],
)
def test_what_cannot_be_evaluated_is_told(request_, change, told, tmp_path: Path):
    given = replace(request_, **change)
    assert told in (given.validation_error() or "")
    with pytest.raises(InputError, match=r".+"):
        given.prepare(tmp_path)


def test_conditions_and_channels_have_to_be_those_of_the_run(request_: EvaluationRequest):
    source, target = request_.source, request_.target
    assert source is not None
    assert target is not None
    other = replace(source, name="other")
    assert "it knows untreated, treated" in (replace(request_, source=other).validation_error())
    assert "same condition" in replace(request_, source=target).validation_error()
    actin = replace(source, channel_names=("actin", "DNA"))
    assert "was trained on DNA, marker" in replace(request_, source=actin).validation_error()
    assert "z planes" in replace(request_, target=replace(target, n_planes=3)).validation_error()
    assert "one image" in replace(request_, target=replace(target, n_images=1)).validation_error()


@pytest.mark.parametrize("opened", [False, True])
def test_images_that_were_all_trained_on_are_told_beside_the_button(
    request_: EvaluationRequest, experiment_folder: Path, tmp_path: Path, opened, open_in, viewer
):
    experiment = Experiment.from_folder(experiment_folder).select(("untreated", "treated"))
    asked = replace(request_, run=run_on(experiment, tmp_path / "of_all").path)
    if opened:
        open_in(experiment_folder)
        treated, untreated = conditions_of_layers(viewer.layers)
        asked = replace(asked, source=untreated, target=treated, folder=None)
    said = asked.validation_error()
    assert said is not None
    assert "The run was trained on all 3 images of untreated" in said
    assert "--trained-too" in said
    assert replace(asked, evaluation={"trained_too": True}).validation_error() is None


def test_an_evaluation_is_never_overwritten(request_, run: Run, write_evaluation):
    assert suggest_name(run.path, "area") == "area-001"
    write_evaluation(folder_of(run.path, "area-001"))

    assert suggest_name(run.path, "area") == "area-002"
    assert "already" in replace(request_, name="area-001").validation_error()
    # What is still being written, or was not finished, is none.
    (run.path / "evaluations" / ".area-002.1234.tmp").mkdir()
    (run.path / "evaluations" / "broken").mkdir()
    assert evaluations_of(run.path) == (folder_of(run.path, "area-001"),)
    assert evaluations_of(run.path / "nowhere") == ()


def test_an_evaluation_is_read_back(tmp_path: Path, write_evaluation):
    write_evaluation(tmp_path / "good")
    write_evaluation(tmp_path / "bad", null=1.0)

    good, bad = (FoundEvaluation.read(tmp_path / name) for name in ("good", "bad"))

    assert good.metrics.verdict.answer == "supported"
    assert bad.metrics.verdict.answer == "not supported"
    assert {outcome for _, outcome, _ in good.rules()} == {"for", "not tried"}
    assert good.what() == "untreated → treated · area fraction (area) · 4 images"
    numbers = dict(good.numbers())
    assert numbers["Recovery, of the change between groups"] == "80 % (70 % to 90 %)"
    assert numbers["Null translation, to the own condition"] == "+0.01 (+0.005 to +0.015)"
    assert numbers["RMSE over pixels and channels, of the range, there and back"] == (
        "20 (15 to 25) %, median of 3 images"
    )
    assert numbers["Kernel distance, real vs real"] == "+0.01 (+0 to unknown), 4 tiles"
    assert numbers["Kernel distance, copy of the source"].startswith("+0.5")
    assert numbers["Classifier: translated tiles taken for treated"] == (
        "90 % (60 % to 98 %), 10 tiles"
    )
    assert numbers["Coherence of marker (0: real untreated, 1: real treated)"] == (
        "0.90 (0.80 to 1.00)"
    )
    assert not any("Spot energy" in what for what in numbers)  # it has no say
    assert numbers["Layout of marker, correlation with the source"] == "0.2 (0.15 to 0.25)"
    assert [what for what in numbers if "should stay" in what] == [
        "Correlation of DNA, which should stay"
    ]
    measurement = good.measurement()
    assert measurement.conditions[2:4] == ("reconstructed", "translated")
    assert good.draw(theme="light").axes


def test_the_figure_shows_what_was_judged(tmp_path: Path, write_evaluation):
    # Without nuclei another measurement is the main one of the Golgi than with them.
    write_evaluation(tmp_path / "one", profile="golgi", settings=GolgiSettings(channel="marker"))
    found = FoundEvaluation.read(tmp_path / "one")
    assert found.metrics.measurement == "half_area_fraction"
    assert found.measurement().main_column == "half_area_fraction"
    (axes,) = found.draw(theme="light").axes
    assert "area that holds half" in axes.get_ylabel().replace("\n", " ")
    assert "n = 0" not in " ".join(label.get_text() for label in axes.get_xticklabels())


def test_a_recovery_that_is_not_defined_is_none_in_the_figure_either(
    tmp_path: Path, write_evaluation
):
    write_evaluation(tmp_path / "one")
    found = FoundEvaluation.read(tmp_path / "one")
    none = Recovered(value=math.nan, low=math.nan, high=math.nan, reason="there is no test")
    found = replace(found, metrics=found.metrics.model_copy(update={"recovery": none}))
    assert (
        dict(found.numbers())["Recovery, of the change between groups"]
        == "not defined: there is no test"
    )
    (axes,) = found.draw(theme="light").axes
    assert axes.get_title(loc="left").replace("\n", " ") == (
        "recovery not defined: there is no test"
    )


def test_a_damaged_evaluation_is_told(tmp_path: Path, write_evaluation):
    write_evaluation(tmp_path / "one")
    found = FoundEvaluation.read(tmp_path / "one")
    (tmp_path / "one" / "measured.csv").unlink()
    with pytest.raises(InputError, match="evaluate again"):
        found.draw(theme="dark")
    (tmp_path / "one" / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match="evaluate again"):
        FoundEvaluation.read(tmp_path / "one")


@pytest.mark.parametrize("lost", ["measurement", "effect", "shift", "shift_low", "shift_high"])
def test_a_table_of_effects_that_lacks_something_is_damaged(
    tmp_path: Path, write_evaluation, lost: str
):
    write_evaluation(tmp_path / "one")
    path = tmp_path / "one" / "metrics.json"
    kept = json.loads(path.read_text(encoding="utf-8"))
    row = kept["effects"][1]
    wrong = "a word" if isinstance(row.pop(lost), float) else 3
    for other in ({}, {lost: wrong}):
        row.update(other)
        path.write_text(json.dumps(kept), encoding="utf-8")
        with pytest.raises(InputError, match="holds no metrics that can be read"):
            FoundEvaluation.read(tmp_path / "one")


@pytest.mark.parametrize("lost", ["translated", "treated", "own condition"])
def test_no_other_group_is_shown_in_place_of_one_that_is_lost(
    tmp_path: Path, write_evaluation, lost: str
):
    write_evaluation(tmp_path / "one")
    path = tmp_path / "one" / "measured.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("condition")
    left = [line for line in lines if line.split(",")[column] != lost]
    assert len(left) < len(lines)
    path.write_text("\n".join(left) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="has not the 5 groups of this evaluation"):
        FoundEvaluation.read(tmp_path / "one").draw(theme="light")
