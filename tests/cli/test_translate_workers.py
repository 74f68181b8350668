"""Translations that several processes share: the same images, whatever happens to one of them."""

from __future__ import annotations

import csv
import json
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")

NAMES = ("--source", "untreated", "--target", "treated", "--batch-size", "1")


def tiffs(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.tif"))
    }


def account(folder: Path) -> dict[str, object]:
    told = json.loads((folder / "translation.json").read_text())
    for image in told["images"]:
        del image["seconds"]
    return told


def wait_until(true, seconds: float = 90.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(true())


@pytest.fixture
def whole(data, trained, tmp_path, phenldiff) -> Path:
    """What one process makes of the images."""
    out = tmp_path / "whole"
    assert phenldiff("translate", trained, data, *NAMES, "--out", out)[0] == 0
    return out


def test_the_images_are_the_same_for_two_processes(data, trained, tmp_path, whole, start):
    out = tmp_path / "out"
    process = start("translate", trained, data, *NAMES, "--out", out, "--workers", 2)
    said, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    assert "with 2 workers" in said
    assert tiffs(out) == tiffs(whole)
    assert account(out) == account(whole)
    assert not list(out.glob("*.jsonl.*"))
    assert not (out / "images.jsonl").exists()
    assert not (out / "run.lock").exists()


def test_an_image_that_ends_its_process_is_a_row(
    data, trained, tmp_path, whole, start, monkeypatch
):
    monkeypatch.setenv("FAKE_DIFFUSION", "die u0")
    out = tmp_path / "out"
    process = start("translate", trained, data, *NAMES, "--out", out, "--workers", 2)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2, err
    assert err.count("\n") == 1
    assert "1 file of 5 could not be translated" in err
    with (out / "failures.csv").open(newline="") as opened:
        (row,) = csv.DictReader(opened)
    assert row["image"] == "u0"
    assert "for want of memory" in row["reason"]
    rest = {name: data for name, data in tiffs(whole).items() if not name.endswith("u0.tif")}
    assert tiffs(out) == rest
    assert list(out.rglob(".*")) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_translation_of_two_processes_goes_on(
    data, trained, tmp_path, whole, start, how, monkeypatch
):
    # Two are worked on and one more is handed out ahead, so u4 is not begun before the signal.
    gate = tmp_path / "gate"
    monkeypatch.setenv("FAKE_DIFFUSION", "wait u1 u2")
    monkeypatch.setenv("FAKE_DIFFUSION_GATE", str(gate))
    out = tmp_path / "out"
    command = ("translate", trained, data, *NAMES, "--out", out, "--workers", 2)
    process = start(*command)
    parent = psutil.Process(process.pid)
    journal = out / "images.jsonl"
    assert wait_until(lambda: journal.exists() and len(journal.read_text().splitlines()) > 1)
    children = parent.children(recursive=True)
    process.send_signal(how)
    gate.touch()
    _, err = process.communicate(timeout=90)
    assert process.returncode == (-9 if how == signal.SIGKILL else 143), err
    assert "Traceback" not in err
    assert wait_until(lambda: not any(child.is_running() for child in children), 30)
    monkeypatch.delenv("FAKE_DIFFUSION")
    again = start(*command)
    said, err = again.communicate(timeout=90)
    assert again.returncode == 0, err
    assert "done before" in said
    assert tiffs(out) == tiffs(whole)
    assert account(out) == account(whole)
    assert list(out.rglob(".*")) == []


def test_numbers_of_workers_that_make_no_sense(data, trained, tmp_path, phenldiff):
    out = tmp_path / "out"
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", out, "--workers", 0)
    assert (code, "give at least 1" in err) == (2, True)
    assert not out.exists()
