from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.jobs.requests import EvaluateRequest, write_request
from napari_phenldiff.runs.calibration import Calibration, Trial
from napari_phenldiff.runs.events import Failed, Finished, Loading, Progress, read_events

NAMES = ("--profile", "area", "--channel", "marker")


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    from napari_phenldiff.evaluation.appearance import Appearance

    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )


def as_control(run: Path, folder: Path, kind: str) -> Path:
    """Return a copy of a run that says of itself to be a control."""
    copied = folder / kind
    shutil.copytree(run, copied)
    record = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    record["config"]["control"] = kind
    (copied / "config.json").write_text(json.dumps(record), encoding="utf-8")
    return copied


def test_a_page_and_all_numbers(data, trained, tmp_path, phenldiff):
    out = tmp_path / "out"
    code, said, _ = phenldiff("evaluate", trained, data, *NAMES, "--out", out, "--images", 2)
    assert code == 0
    assert "Cannot tell. There are too few" in said
    assert "Translating back ..." in said
    assert "Measuring structure ..." in said
    assert "note: 6 images were left out" in said
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["verdict"]["answer"] == "cannot tell"
    assert metrics["measurement"] == "area_fraction"
    assert metrics["n_translated"] == 2
    assert metrics["provenance"]["run"] == str(trained)
    assert {name[0] for name in metrics["provenance"]["translated_images"]} == {"u"}
    assert metrics["memorisation"]["n_training"] == 3
    assert sorted(p.name for p in out.iterdir()) == [
        "measured.csv",
        "measured_settings.json",
        "metrics.json",
        "report.html",
    ]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Cannot tell" in page
    assert 'src="http' not in page


def test_settings_of_a_measurement_and_control_runs(data, trained, tmp_path, phenldiff):
    first = tmp_path / "first"
    shuffled, halves = (as_control(trained, tmp_path, k) for k in ("shuffled", "half-split"))
    phenldiff("evaluate", trained, data, *NAMES, "--out", first, "--images", 2, "--no-cycle")
    code, _, _ = phenldiff(
        "evaluate", trained, data, "--profile", "area", "--images", 2, "--no-cycle",
        "--settings", first / "measured_settings.json", "--shuffled", shuffled, "--half-split",
        halves, "--out", tmp_path / "second", "--seed", 1, "--guidance", 3,
    )  # fmt: skip
    assert code == 0
    metrics = json.loads((tmp_path / "second" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["provenance"]["measurement_settings"]["channel"] == "marker"
    assert metrics["provenance"]["translation"]["guidance"] == 3
    assert metrics["provenance"]["translation"]["seed"] == 1
    assert [len(metrics["controls"][k]) for k in ("shuffled", "half_split")] == [1, 1]
    assert [cycle["what"] for cycle in metrics["cycle"]] == ["reconstructed"]


def test_the_settings_that_a_run_has_chosen_are_reported(data, trained, tmp_path, phenldiff):
    trial = Trial(guidance=2.2, freedom=0.3, to_target=0, to_source=0, effect=1)
    chosen = Calibration(source="untreated", target="treated", images=8, trials=(trial,))
    chosen.write(trained)
    out = tmp_path / "out"
    few = ("--images", 2, "--no-cycle")
    assert phenldiff("evaluate", trained, data, *NAMES, "--out", out, *few)[0] == 0
    applied = json.loads((out / "metrics.json").read_text())["provenance"]["translation"]
    assert (applied["guidance"], applied["freedom"]) == (2.2, 0.3)


def without(metrics: dict) -> dict:
    """Leave out what differs between two evaluations that say the same."""
    metrics["provenance"].pop("seconds")
    return metrics


def test_what_was_translated_before_is_not_translated_again(data, trained, tmp_path, phenldiff):
    before, anew, reused, some = (tmp_path / name for name in ("before", "anew", "reused", "some"))
    assert phenldiff("translate", trained, data, "--held-out", "--out", before)[0] == 0
    asked = ("evaluate", trained, data, *NAMES, "--images", 2)
    assert phenldiff(*asked, "--out", anew)[0] == 0
    code, said, _ = phenldiff(*asked, "--translated", before, "--out", reused)
    assert code == 0
    assert "Translating ..." not in said
    one, other = (
        without(json.loads((out / "metrics.json").read_text("utf-8"))) for out in (anew, reused)
    )
    assert one == other
    # what is not there is translated
    summary = json.loads((before / "translation.json").read_text("utf-8"))
    summary["images"].pop()
    (before / "translation.json").write_text(json.dumps(summary), "utf-8")
    code, said, _ = phenldiff(*asked, "--translated", before, "--out", some)
    assert code == 0
    assert "Translating ..." in said
    assert without(json.loads((some / "metrics.json").read_text("utf-8"))) == one


def test_a_translation_of_another_kind_is_refused(data, trained, tmp_path, phenldiff):
    before, out = tmp_path / "before", tmp_path / "out"
    phenldiff("translate", trained, data, "--held-out", "--guidance", 3, "--out", before)
    asked = ("evaluate", trained, data, *NAMES, "--images", 2, "--out", out, "--translated")
    code, _, complaint = phenldiff(*asked, before)
    assert code == 2
    assert "with other settings (guidance: 3.0 there" in complaint
    assert "give the same here (--guidance 3)" in complaint
    code, _, complaint = phenldiff(*asked, before, "--guidance", 3)
    assert code == 0
    code, _, complaint = phenldiff(*asked[:-2], tmp_path / "two", "--translated", data)
    assert code == 2
    assert "no readable translation.json" in complaint
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--profile", "nothing"), 'no measurement profile "nothing"'),
        (("--profile", "area", "--nuclei-channel", "DNA"), "has no --nuclei-channel"),
        ((*NAMES, "--target", "other"), "was not trained on condition other"),
        ((*NAMES, "--images", "1"), "images: input should be greater"),
        ((*NAMES, "--keep", "nothing"), 'no channel "nothing"'),
        ((*NAMES, "--wells", "["), "not a regular expression"),
        ((*NAMES, "--wells", "^x"), "is not in the name"),
        ((*NAMES, "--shuffled", "nowhere"), "is not a run folder"),
        ((*NAMES, "--paired"), "leave it out"),
    ],
)
def test_what_cannot_be_used_is_told(data, trained, tmp_path, phenldiff, options, told):
    out = tmp_path / "out"
    if "--images" not in options:
        options = (*options, "--images", 2)
    code, _, complaint = phenldiff("evaluate", trained, data, *options, "--out", out)
    assert code == 2
    assert told in complaint
    assert not out.exists()


def test_images_that_do_not_do_are_told_before_the_model_is_loaded(
    data, trained, tmp_path, phenldiff
):
    record = json.loads((trained / "images.json").read_text(encoding="utf-8"))
    known = tmp_path / "known"
    shutil.copytree(trained, known)
    for image in record["images"]:
        image["validation"] = False
    (known / "images.json").write_text(json.dumps(record), encoding="utf-8")
    used = tmp_path / "used"
    for image in record["images"]:
        place = Path(image["path"])
        (used / image["condition"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(place if place.is_absolute() else trained / place, used / image["condition"])

    code, said, complaint = phenldiff("evaluate", known, used, *NAMES, "--out", tmp_path / "out")
    assert code == 2
    assert "The run was trained on" in complaint
    assert "Loading the model" not in said + complaint

    few = ("--trained-too", "--images", 2)
    code, said, complaint = phenldiff(
        "evaluate", known, used, *NAMES, *few, "--wells", "^.", "--out", tmp_path / "one"
    )
    told = said + complaint
    assert "The verdict can only be that one cannot tell" in told
    assert told.index("can only be") < told.index("oading the model")


@pytest.mark.parametrize("kind", ["shuffled", "half-split"])
def test_a_run_on_true_conditions_is_no_control(data, trained, tmp_path, phenldiff, kind):
    wrong = as_control(trained, tmp_path, {"shuffled": "half-split"}.get(kind, "shuffled"))
    for run, its in ((trained, "none"), (wrong, wrong.name)):
        code, _, complaint = phenldiff(
            "evaluate", trained, data, *NAMES, "--images", 2, "--out", tmp_path / "out",
            f"--{kind}", run,
        )  # fmt: skip
        assert code == 2
        assert f"was not trained as such a control (--control {kind}" in complaint
        assert f"its control is: {its}" in complaint


def test_a_folder_that_is_not_empty_is_left_alone(data, trained, tmp_path, phenldiff):
    code, _, complaint = phenldiff("evaluate", trained, data, *NAMES, "--out", data)
    assert code == 2
    assert "not empty" in complaint


def test_events_are_written_for_who_follows(data, trained, tmp_path, phenldiff):
    events = tmp_path / "aside" / "events.jsonl"
    events.parent.mkdir()
    request = EvaluateRequest(
        run=trained,
        data=data,
        out=tmp_path / "out",
        profile="area",
        settings={"channel": "marker"},
        config=EvaluationConfig(images=2),
        shuffled=(as_control(trained, tmp_path, "shuffled"),),
    )
    write_request(events.with_name("request.json"), request)
    code, _, _ = phenldiff("job", events.with_name("request.json"))
    assert code == 0
    told, offset = read_events(events)
    assert isinstance(told[-1], Finished)
    counted = [(e.message, e.done, e.total) for e in told if isinstance(e, Progress)]
    assert ("translating back, image 2 of 2", 6, 18) in counted
    assert {total for *_, total in counted} == {18}  # one count over all stages
    assert [done for _, done, _ in counted] == sorted(done for _, done, _ in counted)
    assert counted[-1][1] == 18
    words = [e.message for e in told if isinstance(e, Loading)]
    assert "Translating with a control run (shuffled)" in words
    assert words.index("Measuring") < words.index("Looking for training images")

    code, _, complaint = phenldiff("job", events.with_name("request.json"))
    assert code == 2
    assert "not empty" in complaint
    (last,) = read_events(events, offset)[0]
    assert isinstance(last, Failed)
    assert "not empty" in last.message


def test_numbers_are_kept_if_the_report_cannot_be_drawn(
    data, trained, tmp_path, phenldiff, monkeypatch
):
    from napari_phenldiff.evaluation import document

    def fail(*_):
        raise ValueError("a figure that cannot be drawn")

    monkeypatch.setattr(document, "write_document", fail)
    out = tmp_path / "out"
    code, said, err = phenldiff(
        "evaluate", trained, data, "--profile", "area", "--channel", "marker", "--out", out
    )
    assert code == 1
    assert "a figure that cannot be drawn" in err
    assert f"all numbers and the verdict are in {out}" in said
    assert sorted(path.name for path in out.iterdir() if "report" not in path.name) == sorted(
        ["measured.csv", "measured_settings.json", "metrics.json"]
    )
