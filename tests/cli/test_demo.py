from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from napari_phenldiff.cli import demo
from napari_phenldiff.evaluation.schema import read_metrics
from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.runs.folder import Run

SMALL = ("--images", 2, "--held-out", 3, "--steps", 3)


def test_the_whole_way_leaves_a_report(tmp_path, fake_diffusion, phenldiff):
    """With the stand-in the result means nothing; that each step feeds the next is the point."""
    out = tmp_path / "demo"
    code, said, err = phenldiff("demo", "--out", out, *SMALL, "--phenotype", "neurons")
    assert code == 0, err
    assert Run.open(out / "run").state == "finished"
    assert Run.open(out / "run").config.steps == 3
    held_out = {p.name for p in (out / "held_out" / "wild_type").iterdir()}
    assert {p.name for p in (out / "result" / "translated").iterdir()} == held_out
    # Neither condition was trained on the cells that are translated.
    trained = {p.name for c in ("wild_type", "mutant") for p in (out / "data" / c).iterdir()}
    assert len(trained) == 4
    assert not trained & held_out
    table = pd.read_csv(out / "measurements.csv")
    assert list(table["condition"].unique()) == [
        "wild_type", "mutant", "reconstructed", "translated"
    ]  # fmt: skip
    assert (table["neurite_length_px"] > 0).any()
    settings = json.loads((out / "measurements_settings.json").read_text())
    assert (settings["profile"], settings["settings"]["channel"]) == ("neurons", "neurons")
    page = (out / "evaluation" / "report.html").read_text()
    assert page.count("data:image/png") >= 2
    assert "Against the truth" in page
    assert "The truth: the same cells as mutant" in page
    metrics = read_metrics(out / "evaluation" / "metrics.json")
    assert (metrics.measurement, metrics.n_translated) == ("area_fraction", 3)
    assert metrics.controls.truth is not None
    # What is said in the end is what the page begins with.
    verdict = re.search(r'class="verdict[^>]*>([^<]*)<', page)
    assert verdict is not None
    assert f"{verdict[1]}. {metrics.verdict.reason}" in said
    assert f"Open {out / 'evaluation' / 'report.html'}" in said


def test_the_true_counterparts_are_those_of_the_translated_cells(tmp_path):
    from napari_phenldiff.cli.simulate import write_simulation

    write_simulation("golgi", tmp_path / "s", 1, seed=0, size=48, paired=True, first=7)
    names = [p.name for p in sorted((tmp_path / "s").rglob("*.tif"))]
    assert names == ["field_0007.tif"] * 2
    a, b = (read_image(p).data for p in sorted((tmp_path / "s").rglob("*.tif")))
    assert (abs(a[2].astype(int) - b[2]) < 20).all()


def test_a_demo_can_be_run_again(tmp_path, phenldiff, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = []
    monkeypatch.setattr(
        demo, "write_simulation", lambda kind, out, *a, **k: out.mkdir(parents=True)
    )
    monkeypatch.setattr(demo, "train", lambda data, config, out: folders.append(out.parent) or 130)
    for _ in range(3):
        code, _, _ = phenldiff("demo", *SMALL)
        assert code == 130
    assert folders == [Path(f"phenldiff-demo{suffix}") for suffix in ("", "-2", "-3")]
    code, _, err = phenldiff("demo", *SMALL, "--out", "phenldiff-demo")
    assert (code, "not empty" in err) == (2, True)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--steps", 0), "demo: steps"),
        (("--images", 1), "--images must be at least 2"),
        (("--held-out", 0), "--held-out must be at least 2"),
        (("--seed", -3), "demo: seed"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(tmp_path, phenldiff, args, told):
    code, _, err = phenldiff("demo", "--out", tmp_path / "d", *args)
    assert (code, told in err) == (2, True)
    assert list(tmp_path.iterdir()) == []
