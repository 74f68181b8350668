"""Disks that are full: a sentence, nothing half written, and the same result once there is room."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set as Linux does")

_ALWAYS = ("simulate", "measure", "train", "translate")
_LONG = {"figure": 2, "merge": 2, "export": 4, "pretrain": 4, "evaluate": 10, "benchmark": 10}


def fill(torture, commands, workshop, name: str, tmp_path, costly: int) -> None:
    """Let no file become larger than a random size, carry the command out, and then without it."""
    reference = workshop.make(name, tmp_path / "whole0" / "out")
    reference.whole()
    expected = commands.result_of(reference.folder)
    sizes = [path.stat().st_size for path in reference.folder.rglob("*") if path.is_file()]
    trial = torture(f"a disk that is full: {name}", 2, costly=4 * costly)
    for number, rng in enumerate(trial.tries()):
        command = workshop.make(name, tmp_path / f"try{number:03d}" / "out")
        most = int(max(sizes) ** rng.uniform(0, 1))
        process = command.start(command.args, most_bytes=most)
        _, said = process.communicate(timeout=600)
        wrong = []
        if process.returncode == 0:
            if commands.result_of(command.folder) != expected:
                wrong.append("it ended well, with another result")
        elif "Traceback" in said or not said.strip():
            wrong.append(f"no sentence: {said.strip()[-300:]!r}")
        if process.returncode != 0:
            code, told = command.go_on()
            if code != 0:
                wrong.append(f"the next one says: {told.strip()[-300:]}")
            wrong += commands.differences(command, expected)
        if wrong:
            trial.lose(f"{most} bytes: {'; '.join(wrong)}")
        shutil.rmtree(command.folder.parent)
    trial.check()


@pytest.mark.parametrize("name", _ALWAYS)
def test_full_disks(torture, commands, workshop, tmp_path, name):
    fill(torture, commands, workshop, name, tmp_path, 1)


@pytest.mark.skipif(not os.environ.get("PHENLDIFF_TORTURE"), reason="takes minutes; see tox.ini")
@pytest.mark.parametrize("name", _LONG)
def test_full_disks_of_what_takes_longer(torture, commands, workshop, tmp_path, name):
    fill(torture, commands, workshop, name, tmp_path, _LONG[name])
