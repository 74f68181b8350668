"""The main job on real images: the bundled base shows a phenotype that is there.

Short (a fifth of the default training), because it runs in every check; what longer trainings reach
is measured by ``benchmarks/real_phenotypes.py``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.measurement.statistics.compare import compare
from napari_phenldiff.runs.folder import Run

TILES = 24


def phenldiff(*arguments: object) -> None:
    command = [sys.executable, "-m", "napari_phenldiff", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # three minutes of a core, which may be shared
def test_marker_moves_into_the_nuclei_of_the_same_cells(shared_data: Path, tmp_path: Path):
    folder = shared_data / "bbbc013_translocation"
    phenldiff(
        *("train", folder, "--source", "untreated", "--target", "treated"),
        *("--images-per-condition", 100, "--steps", 80, "--out", tmp_path / "run"),
    )
    run = Run.open(tmp_path / "run")
    assert run.state == "finished"

    # tiles of the source that were not trained on
    trained = {record.name for record in run.images if record.condition == "untreated"}
    unseen = tmp_path / "unseen"
    unseen.mkdir()
    candidates = [p for p in sorted((folder / "untreated").glob("*.tif")) if p.stem not in trained]
    for path in candidates[:: max(1, len(candidates) // TILES)][:TILES]:
        shutil.copy(path, unseen)
    phenldiff(
        *("translate", run.path, unseen, "--source", "untreated", "--target", "treated"),
        *("--inference-steps", 20, "--held-out", "--out", tmp_path / "result"),
    )
    summary = json.loads((tmp_path / "result" / "translation.json").read_text())
    assert len(summary["images"]) == TILES
    assert all(image["residual"] < 0.1 for image in summary["images"])

    groups = [f"{name}={tmp_path / 'result' / name}" for name in ("translated", "reconstructed")]
    table = tmp_path / "table.csv"
    phenldiff(
        *("measure", "translocation", f"untreated={unseen}", f"treated={folder / 'treated'}"),
        *(*groups, "--out", table),
    )
    measured = pd.read_csv(table).groupby("condition")["log2_ratio"]
    values = {name: group.to_numpy() for name, group in measured}
    test = compare(values["reconstructed"], values["translated"])
    assert test.p_value < 1e-3
    assert test.shift > 0.3
    real = np.nanmedian(values["treated"]) - np.nanmedian(values["untreated"])
    assert test.shift < 1.2 * real, "no larger effect than is there"

    same = []
    for path in sorted((tmp_path / "result" / "translated").glob("*.tif")):
        translated = read_image(path).data[0]
        reconstructed = read_image(tmp_path / "result" / "reconstructed" / path.name).data[0]
        same.append(np.corrcoef(translated.ravel(), reconstructed.ravel())[0, 1])
    assert np.median(same) > 0.999, (
        "DNA is a reference channel: the nuclei are those of the same cells"
    )
