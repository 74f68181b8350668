"""Folders that are gone with their process, also if it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_phenldiff.runs.scratch import join_scratch, make_scratch, remove_scratch, scratch

_HOLD = """
import sys, time
from pathlib import Path
from napari_phenldiff.runs import scratch
if len(sys.argv) > 1:
    scratch.join_scratch(Path(sys.argv[1]))
    print("joined", flush=True)
else:
    folder = scratch.make_scratch("job")
    (folder / "request.json").write_text("{}")
    print(folder, flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def holder(*args: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, *map(str, args)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def grow_old(folder: Path) -> None:
    hour_ago = time.time() - 3600
    for path in (folder, *folder.glob("in-use-*")):
        os.utime(path, (hour_ago, hour_ago))


def test_a_folder_is_gone_afterwards(temporary):
    with scratch("job") as folder:
        assert folder.parent == temporary
        (folder / "x").write_text("x")
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next(temporary):
    process, told = holder()
    folder = Path(told)
    grow_old(folder)
    remove_scratch(make_scratch("session"))
    assert (folder / "request.json").exists(), "its process lives"
    end(process)
    grow_old(folder)
    with scratch("session") as other:
        assert list(temporary.iterdir()) == [other]


def test_a_folder_that_was_in_use_a_moment_ago_goes_with_its_process(temporary):
    process, told = holder()
    folder = Path(told)
    grow_old(folder)
    (folder / "result").write_text("written just now")
    end(process)
    with scratch("session") as other:
        assert list(temporary.iterdir()) == [other]


def test_a_folder_stays_for_a_process_that_joined_it(temporary):
    first, told = holder()
    folder = Path(told)
    second, said = holder(folder)
    assert said == "joined"
    end(first)
    grow_old(folder)
    remove_scratch(make_scratch("job"))
    assert (folder / "request.json").exists()
    end(second)
    grow_old(folder)
    remove_scratch(make_scratch("job"))
    assert not folder.exists()


def test_what_was_made_just_now_or_by_others_stays(temporary):
    process, told = holder()
    end(process)
    unheld = temporary / "phenldiff-job-unheld"
    unheld.mkdir()
    for path in Path(told).glob("in-use-*"):
        path.touch()
    others = temporary / "phenldiff-my-runs"
    others.mkdir()
    (others / "run").mkdir()
    grow_old(others)
    join_scratch(others)
    remove_scratch(make_scratch("job"))
    assert sorted(temporary.iterdir()) == sorted([Path(told), unheld, others])
    assert [path.name for path in others.iterdir()] == ["run"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there are no owners of files")
def test_what_another_user_has_put_there_is_not_touched(temporary, monkeypatch):
    process, told = holder()
    end(process)
    folder = Path(told)
    grow_old(folder)
    elsewhere = temporary.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "in-use-1").write_text("mine")
    grow_old(elsewhere)
    (temporary / "phenldiff-job-link").symlink_to(elsewhere)
    monkeypatch.setattr("os.getuid", lambda: folder.stat().st_uid + 1)
    remove_scratch(make_scratch("job"))
    assert (folder / "request.json").exists()
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    remove_scratch(make_scratch("job"))
    assert not folder.exists()
    assert (elsewhere / "in-use-1").read_text() == "mine"
