"""Output that cannot break: consoles of any encoding, names of any kind, tables in spreadsheets."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.cli.progress import Reporter
from napari_phenldiff.evaluation.benchmark import table as benchmark_table
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.measurement.tables.csv_files import without_apostrophes, write_csv
from napari_phenldiff.measurement.tables.measurement import read_measurement
from napari_phenldiff.runs.events import Loading, Progress, Warned

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


ENDS_OF_LINES = ("c\rd", "\re\n", "f\r\ng", "h")


def test_names_with_ends_of_lines_come_back_as_they_were(tmp_path):
    table = pd.DataFrame({"name": ENDS_OF_LINES, "n\ro": range(4)})
    write_csv(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        by_csv = list(csv.reader(file))
    assert [len(row) for row in by_csv] == [2] * 5
    back = without_apostrophes(pd.read_csv(tmp_path / "t.csv"))
    assert list(back) == list(table) == by_csv[0]
    assert tuple(back["name"]) == ENDS_OF_LINES
    # lines end as they always did
    plain = (tmp_path / "t.csv").read_bytes().splitlines(keepends=True)[-1]
    assert plain == f"h,3{os.linesep}".encode()


def test_a_benchmark_with_ends_of_lines_in_names_is_a_table(tmp_path, monkeypatch):
    lines = [{"method": "phenldiff", "channel": name, "seconds": 1.5} for name in ENDS_OF_LINES]
    monkeypatch.setattr(benchmark_table, "rows", lambda methods: lines)
    monkeypatch.setattr(benchmark_table, "markdown", lambda record, methods: "")
    path, _ = benchmark_table.write_tables(tmp_path, None, {})
    assert tuple(pd.read_csv(path)["channel"]) == ENDS_OF_LINES


@pytest.mark.skipif(sys.platform == "win32", reason="no such names")
def test_conditions_with_a_carriage_return_are_measured_and_compared(tmp_path, phenldiff):
    folder = experiment(tmp_path / "data", "a", "c\rd")
    measured = ("measure", "area", folder, "--channel", "DAPI", "--out", tmp_path / "t.csv")
    measured += ("--effects", tmp_path / "e.csv", "--source", "a", "--target", "c\rd")
    code, _, error = phenldiff(*measured)
    assert code == 0, error
    assert read_measurement(tmp_path / "t.csv").conditions == ("a", "c\rd")
    assert len(pd.read_csv(tmp_path / "t.csv")) == 6


CONTROLS = ("\x1b[31mred\x1b]0;title\x07", "\x9b2J", "\u202etreated", "\u2066a\u2069")


def test_control_characters_of_names_do_not_reach_the_terminal(
    tmp_path, phenldiff, capsys, monkeypatch
):
    name = "".join(CONTROLS)

    def is_clean(text):
        return not any(sign in text for sign in "\x1b\x07\x9b\u202e\u2066\u2069")

    for bar in (False, True):
        if bar:
            monkeypatch.setattr("sys.stdout.isatty", lambda: True)
            # what a bar itself moves the cursor with
            monkeypatch.setattr("tqdm.std._term_move_up", lambda: "")
        with Reporter() as report:
            report(Loading(name))
            report(Progress(1, 2, name))
            report(Warned(name))
            report(Progress(2, 2, name))
        said = capsys.readouterr().out
        assert is_clean(said)
        assert said.count(r"\x1b[31mred\x1b]0;title\x07\x9b2J\u202etreated\u2066a\u2069") >= 4

    code, out, error = phenldiff("measure", "area", tmp_path / name, "--out", tmp_path / "t.csv")
    assert code == 2
    assert is_clean(out + error)
    assert r"\x1b[31mred" in error


@pytest.mark.skipif(sys.platform == "win32", reason="no such names")
def test_tables_keep_control_characters_of_names(tmp_path, phenldiff):
    folder = experiment(tmp_path / "data", *CONTROLS)
    out = tmp_path / "t.csv"
    code, said, error = phenldiff("measure", "area", folder, "--channel", "DAPI", "--out", out)
    assert code == 0, error
    assert r"\x1b[31mred\x1b]0;title\x07: 3 images" in said
    assert "\x1b" not in said
    assert set(read_measurement(out).conditions) == set(CONTROLS)


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
