from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest

from napari_phenldiff.runs.events import Step
from napari_phenldiff.runs.folder import Run

ASKED = (
    "--source", "untreated", "--target", "treated", "--profile", "area", "--channel", "marker",
    "--steps", 5, "--test-images", 2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_features(monkeypatch, fake_diffusion):
    """Describe images by means, without a network."""
    from napari_phenldiff.evaluation.benchmark import judging
    from napari_phenldiff.evaluation.features import Features

    def describe(images):
        values = np.stack([images.mean((2, 3)), images.std((2, 3))], axis=2)
        return Features(values.astype(np.float32), "means")

    monkeypatch.setattr(judging, "extract_features", describe)


@pytest.fixture
def benchmark(data, tmp_path, phenldiff):
    out = tmp_path / "out"

    def call(*options, methods="phenldiff,copy"):
        return phenldiff("benchmark", data, "--methods", methods, "--out", out, *options)

    call.out = out
    return call


def _rows(out):
    with (out / "table.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_pictures_and_all_numbers(data, benchmark):
    code, said, complaint = benchmark(*ASKED)
    assert code == 0, complaint
    out = benchmark.out
    assert sorted(p.name for p in out.iterdir()) == [
        "benchmark.json", "copy", "phenldiff", "pictures.png", "table.csv", "table.md",
    ]  # fmt: skip
    rows = _rows(out)
    assert [(r["method"], r["channel"]) for r in rows if r["channel"] == "all channels"] == [
        (name, "all channels") for name in ("phenldiff", "copy", "real vs real")
    ]
    assert {r["channel"] for r in rows} == {"all channels", "DNA", "marker"}
    assert {r["n"] for r in rows} == {"2"}
    ours, copy = rows[0], rows[3]
    assert float(copy["cycle_l2"]) == float(copy["cycle_rmse"]) == 0
    # the stand-in draws negatives: twice negative is only a shift
    assert float(ours["kept_correlation_with_real"]) == pytest.approx(-1, abs=1e-6)
    assert float(copy["kept_correlation_with_real"]) == pytest.approx(1)
    assert ours["steps"] == "5"
    page = (out / "table.md").read_text(encoding="utf-8")
    assert "phenldiff benchmark data --source untreated --target treated" in page
    assert "--steps 5 --profile area --channel marker --out DIR" in page
    assert "Trained on 3 and 3 images, 5 steps each" in page
    assert "Not done yet: phendiff, cyclegan" in page
    assert "table.md" in said


def test_no_test_image_is_trained_on_and_all_methods_get_the_same(data, benchmark):
    benchmark(*ASKED)
    out = benchmark.out
    record = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    run = Run.open(out / "phenldiff" / "run")
    trained = {(image.condition, image.name) for image in run.images}
    assert len(trained) == 6
    tested = {(c, name) for c, names in record["test"].items() for name in names}
    assert len(tested) == 4
    assert not trained & tested
    images = [
        json.loads((out / method / "metrics.json").read_text(encoding="utf-8"))["provenance"][
            "images"
        ]
        for method in ("phenldiff", "copy")
    ]
    assert images[0] == images[1]
    assert len(images[0]) == 2


def test_what_is_complete_is_not_done_again(data, benchmark, fake_diffusion):
    benchmark(*ASKED)
    out = benchmark.out
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.parent != out and p.is_file()}
    table = (out / "table.md").read_bytes()
    (out / "table.md").unlink()
    fake_diffusion("defect")  # whatever trains or translates now fails
    code, said, _ = benchmark()  # what was asked is known
    assert code == 0
    assert "phenldiff is complete" in said
    assert (out / "table.md").read_bytes() == table
    assert kept == {p: p.stat().st_mtime_ns for p in kept}
    # without its numbers, a method is measured again from the images that are there
    (out / "phenldiff" / "metrics.json").unlink()
    assert benchmark()[0] == 0
    assert (out / "table.md").read_bytes() == table


def test_a_training_that_ended_goes_on(data, benchmark, fake_diffusion):
    fake_diffusion("defect")
    code, _, _ = benchmark(*ASKED)
    assert code == 1
    assert not (benchmark.out / "table.md").exists()
    fake_diffusion("")
    assert benchmark()[0] == 0
    assert Run.open(benchmark.out / "phenldiff" / "run").state == "finished"
    assert len(_rows(benchmark.out)) == 9


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(data, benchmark, monkeypatch):
    from napari_phenldiff.runs.contents import RunContents

    with monkeypatch.context() as patch:
        patch.setattr(RunContents, "stop_requested", True)
        code, said, _ = benchmark(*ASKED)
    assert code == 0
    assert "The same command goes on" in said
    run = Run.open(benchmark.out / "phenldiff" / "run")
    assert run.state == "stopped"
    assert not (benchmark.out / "table.md").exists()
    assert benchmark()[0] == 0
    events, _ = run.events()
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 3, 4, 5]


def test_images_that_are_there_are_not_translated_again(data, benchmark, fake_diffusion):
    benchmark(*ASKED)
    folder = benchmark.out / "phenldiff"
    (folder / "metrics.json").unlink()
    account = (folder / "translated.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "translated.jsonl").write_text(account[0] + "\n", encoding="utf-8")
    first, second = (json.loads(line)["image"] for line in account)
    before = {n: (folder / "translated" / f"{n}.tif").stat().st_mtime_ns for n in (first, second)}
    assert benchmark()[0] == 0
    after = {n: (folder / "translated" / f"{n}.tif").stat().st_mtime_ns for n in (first, second)}
    assert before[first] == after[first]
    assert before[second] < after[second]


def test_a_method_that_another_process_does_is_left_to_it(data, benchmark, monkeypatch):
    from napari_phenldiff.runs import lock

    held = lock.Holder(os.getpid(), "here", 0.0, 0.0, "")
    monkeypatch.setattr(lock.Holder, "alive", True)
    true = lock.holder
    monkeypatch.setattr(
        lock, "holder", lambda path: held if path.parent.name == "phenldiff" else true(path)
    )
    code, said, _ = benchmark(*ASKED)
    assert code == 0
    assert "Another process does phenldiff now" in said
    assert "Not done yet: phenldiff, phendiff, cyclegan" in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "needs --source, --target, --profile"),
        ((*ASKED, "--minutes", 1), "give one of them"),
        ((*ASKED, "--keep", "nothing"), 'no channel "nothing"'),
        ((*ASKED, "--wells", "["), "not a regular expression"),
        ((*ASKED, "--wells", "^[ut]"), "fewer than two images"),
        ((*ASKED, "--crop", 64), "fewer than --crop 64"),
        ((*ASKED, "--guidance", -1), "guidance"),
        ((*ASKED, "--nuclei-channel", "DNA"), "has no --nuclei-channel"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_made(benchmark, options, told):
    code, _, complaint = benchmark(*options)
    assert code == 2
    assert told in complaint
    assert not benchmark.out.exists()


def test_an_unknown_method_is_refused(benchmark):
    code, _, complaint = benchmark(*ASKED, methods="gan")
    assert code == 2
    assert "no method gan" in complaint


def test_other_settings_need_another_folder(benchmark):
    benchmark(*ASKED, methods="copy")
    code, _, complaint = benchmark("--seed", 1, methods="copy")
    assert code == 2
    assert "seed: 0, not 1" in complaint


def test_the_best_is_bold_and_copy_takes_no_part(benchmark):
    from napari_phenldiff.evaluation.benchmark.config import read_record
    from napari_phenldiff.evaluation.benchmark.judging import read_method
    from napari_phenldiff.evaluation.benchmark.table import markdown

    benchmark(*ASKED)
    out = benchmark.out
    ours = read_method(out / "phenldiff")
    other = ours.model_copy(update={"method": "cyclegan", "preset": "cpu"})
    row = other.distances[0]
    worse = type(row)(**{**{f: getattr(row, f) for f in row.__slots__}, "frechet": 1e6})
    other = other.model_copy(update={"distances": (worse, *other.distances[1:])})
    page = markdown(
        read_record(out),
        {"phenldiff": ours, "cyclegan": other, "copy": read_method(out / "copy")},
    )
    lines = {line.split(" | ")[0]: line.split(" | ") for line in page.splitlines()}
    column = lines["| method"].index("Fréchet distance")
    assert lines["| phenldiff (lora)"][column].startswith("**")
    assert lines["| cyclegan (cpu)"][column] == "1,000,000.0"
    assert "**" not in "".join(lines["| copy"] + lines["| real vs real"])
