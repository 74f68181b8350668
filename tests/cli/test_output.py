"""Output that cannot break: consoles of any encoding, names of any kind, tables in spreadsheets."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.measurement.tables.csv_files import without_apostrophes, write_csv
from napari_phenldiff.measurement.tables.measurement import read_measurement

ODD = ("=1+1|calc", "+drug $5 and $6", "-minus", "@at <script>")


def experiment(folder: Path, *conditions: str, channels=("DAPI", "α-Tubulin")) -> Path:
    rng = np.random.default_rng(0)
    for condition in conditions:
        for k in range(3):
            data = rng.integers(0, 4000, (2, 64, 64)).astype(np.uint16)
            write_tiff(folder / condition / f"f{k}.tif", Image(data, channels, None, f"f{k}"))
    return folder


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8", "utf-16"])
def test_a_console_of_any_encoding_gets_substitutes(tmp_path, encoding):
    folder = experiment(tmp_path / "data", "ctrl", "drug")
    command = [sys.executable, "-m", "napari_phenldiff", "measure", "area", str(folder)]
    command += ["--channel", "α-Tubulin", "--out", str(tmp_path / "t.csv")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    said = done.stdout.decode(encoding)
    assert done.returncode == 0, done.stderr
    assert ("α-Tubulin" if encoding.startswith("utf") else "\\u03b1-Tubulin") in said
    assert b"Traceback" not in done.stderr


def test_names_are_no_formulas_in_a_spreadsheet_and_come_back_as_they_were(tmp_path, phenldiff):
    folder = experiment(tmp_path / "data", *ODD)
    out = tmp_path / "t.csv"
    code, _, error = phenldiff(
        "measure", "area", folder, "--channel", "DAPI", "--out", out, "--effects",
        tmp_path / "e.csv", "--source", ODD[0], "--target", ODD[1], "--figure",
        f"groups={tmp_path / 'g.png'}",
    )  # fmt: skip
    assert code == 0, error
    for table in (out, tmp_path / "e.csv"):
        for name, values in pd.read_csv(table, dtype=str, keep_default_na=False).items():
            if name in ("condition", "group", "compared_with"):
                assert not any(value[:1] in ("=", "+", "-", "@") for value in values)
    assert set(read_measurement(out).conditions) == set(ODD)


def test_numbers_and_plain_words_are_left_as_they_are(tmp_path):
    table = pd.DataFrame({"x": [-1.5, 2.0], "name": ["a", "'quoted'"], "more": ["=a", "'=a"]})
    write_csv(table, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "x,name,more",
        "-1.5,a,'=a",
        "2.0,'quoted',''=a",
    ]
    back = without_apostrophes(pd.read_csv(tmp_path / "t.csv"))
    assert back["more"].tolist() == ["=a", "'=a"]
    assert back["name"].tolist() == ["a", "'quoted'"]
    assert back["x"].tolist() == [-1.5, 2.0]


@pytest.mark.skipif(sys.platform != "linux", reason="names on disk are text elsewhere")
def test_names_on_disk_that_are_no_text(tmp_path, fake_diffusion, phenldiff):
    folder = experiment(tmp_path / "data", "ctrl", "drug")
    (folder / "drug" / "f0.tif").rename(folder / "drug" / os.fsdecode(b"f\xff.tif"))
    (folder / "drug").rename(folder / os.fsdecode(b"dr\xfeg"))
    out = tmp_path / "t.csv"
    code, _, error = phenldiff("measure", "area", folder, "--channel", "DAPI", "--out", out)
    assert code == 0, error
    assert set(pd.read_csv(out)["condition"]) == {"ctrl", "dr�g"}
    run = tmp_path / "run"
    code, _, error = phenldiff(
        "train", folder, "--source", "ctrl", "--target", "dr�g", "--out", run, "--steps", 2
    )
    assert code == 0, error
    assert replace(Image(np.ones((1, 4, 4)), ("a",), None, "x\udcff")).name == "x�"
