"""Runs that are trained where the conditions do not differ, for `phenldiff evaluate`."""

from __future__ import annotations

import json

import pytest

from napari_phenldiff.evaluation.appearance import Appearance
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.folder import Run

from .conftest import make_image

CONDITIONS = ("--source", "untreated", "--target", "treated")


@pytest.fixture
def train(data, tmp_path, fake_diffusion, phenldiff):
    def call(name, *options):
        code, said, complaint = phenldiff(
            "train", data, *CONDITIONS, "--steps", 2, "--out", tmp_path / name, *options
        )
        return code, said + complaint, tmp_path / name

    return call


def _by_hash(run):
    return {image.sha256: image.condition for image in run.images}


def test_shuffled_has_the_images_of_the_run_and_mixed_conditions(train):
    _, _, path = train("run", "--images-per-condition", 4)
    _, said, other = train("shuffled", "--images-per-condition", 4, "--control", "shuffled")
    run, control = Run.open(path), Run.open(other)
    assert control.config.control == "shuffled"
    assert run.config.control is None
    assert control.trained_images == run.trained_images
    assert control.scaling == run.scaling
    true, false = _by_hash(run), _by_hash(control)
    trained = [digest for digest in false if digest in true]
    assert len(trained) == 8
    moved = [digest for digest in trained if true[digest] != false[digest]]
    assert 0 < len(moved) < 8
    assert sorted(false.values()) == ["treated"] * 4 + ["untreated"] * 4
    assert "do not differ" in said
    # it can be resumed: its images are found again
    assert {c.name: len(c.images) for c in control.load_experiment().conditions} == {
        "untreated": 4,
        "treated": 4,
    }


def test_half_split_is_of_the_source_alone(train):
    code, _, path = train("halves", "--control", "half-split")
    assert code == 0
    run = Run.open(path)
    assert run.config.control == "half-split"
    assert run.conditions == ("untreated_a", "untreated_b")
    assert {image.name[0] for image in run.images} == {"u"}
    assert len(run.images) == 5
    assert not any(image.validation for image in run.images)


def test_wells_stay_together(data, train):
    for condition in ("untreated", "treated"):
        for i in range(6):
            name = f"{condition[0]}{i}"
            image = make_image(f"{condition}{i // 2}_{i}", hash_of(name))
            write_tiff(data / condition / f"{image.name}.tif", image)
            (data / condition / f"{name}.tif").unlink(missing_ok=True)
    _, said, path = train("wells", "--control", "shuffled", "--wells", r"^\w+?\d(?=_)")
    records = Run.open(path).images
    wells = {}
    for record in records:
        wells.setdefault(record.name.rpartition("_")[0], set()).add(record.condition)
    assert len(wells) == 6, said
    assert all(len(conditions) == 1 for conditions in wells.values())


def hash_of(name):
    return sum(ord(letter) * 7**i for i, letter in enumerate(name))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--wells", "^."), "--wells says what stays together"),
        (("--control", "half-split", "--wells", "^u"), "is not in the name"),
        (("--control", "half-split", "--wells", "^[ut]"), "only one image or well"),
        (("--control", "shuffled", "--wells", "["), "not a regular expression"),
    ],
)
def test_what_cannot_be_used_is_told(train, options, told):
    code, said, path = train("run", *options)
    assert code == 2
    assert told in said
    assert not path.exists()


def test_evaluate_takes_them(data, train, tmp_path, phenldiff, monkeypatch):
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )
    _, _, run = train("run", "--images-per-condition", 3)
    _, _, shuffled = train("shuffled", "--images-per-condition", 3, "--control", "shuffled")
    _, _, halves = train("halves", "--images-per-condition", 4, "--control", "half-split")
    out = tmp_path / "out"
    code, _, complaint = phenldiff(
        "evaluate", run, data, "--profile", "area", "--channel", "marker", "--images", 2,
        "--no-cycle", "--shuffled", shuffled, "--half-split", halves, "--out", out,
    )  # fmt: skip
    assert code == 0, complaint
    controls = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["controls"]
    assert len(controls["shuffled"]) == len(controls["half_split"]) == 1
