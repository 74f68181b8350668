"""Commands that are killed or ended at random moments: the same result in the end, nothing left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")

_ALWAYS = (
    *("simulate, from the start of the interpreter", "measure", "measure --workers 2"),
    *("train", "translate", "translate, from the start of the interpreter"),
)
"""What every test run has some of."""

_LONG = {
    "simulate": 4,
    "train, from the start of the interpreter": 8,
    "fetch": 8,
    "figure": 8,
    "evaluate": 20,
    "benchmark": 20,
    "merge": 8,
    "export": 8,
    "pretrain": 8,
    "train of a tiny base": 20,
    "translate by a tiny base": 20,
    "translate --workers 2": 8,
    "train --processes 2 of a tiny base": 20,
}
"""What takes longer, and so is tried once for so many tries of another fault."""


def disturb(command, rng: random.Random, seconds: float) -> tuple[str, list[str]]:
    """Start it and end it at a random moment; return how, and what lives on."""
    process = command.start(command.args)
    watched = psutil.Process(process.pid)
    wait, how = rng.uniform(0, 1.1 * seconds), rng.choice([signal.SIGKILL, signal.SIGTERM])
    family: dict[int, psutil.Process] = {}
    until = time.monotonic() + wait
    while time.monotonic() < until and process.poll() is None:
        try:
            family |= {child.pid: child for child in watched.children(recursive=True)}
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    with suppress(psutil.NoSuchProcess):
        family |= {child.pid: child for child in watched.children(recursive=True)}
    process.send_signal(how)
    said = f"{how.name} after {wait:.2f} s"
    try:
        _, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        _, err = process.communicate()
        return said, ["it did not end within a minute"]
    wrong = []
    if how == signal.SIGTERM and "Traceback" in err and "site" not in err.splitlines()[-1]:
        wrong.append(f"a traceback on SIGTERM: {err.strip().splitlines()[-1]}")
    deadline = time.monotonic() + 120  # two processes that begin take long on a busy machine
    while any(_lives(child) for child in family.values()) and time.monotonic() < deadline:
        time.sleep(0.1)
    orphans = [child for child in family.values() if _lives(child)]
    for child in orphans:
        wrong.append(f"process {child.pid} lives on")
        child.kill()
    return said, wrong


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def torment(torture, commands, workshop, name: str, tmp_path, costly: int) -> None:
    """Kill a command in each try, carry it out again, and compare with the undisturbed one."""
    reference = workshop.make(name, tmp_path / "whole0" / "out")
    seconds = reference.whole()
    expected = commands.result_of(reference.folder)
    assert expected
    trial = torture(f"killed or ended: {name}", 1, costly=costly)
    for number, rng in enumerate(trial.tries()):
        command = workshop.make(name, tmp_path / f"try{number:03d}" / "out")
        said, wrong = disturb(command, rng, seconds)
        found = commands.result_of(command.folder)
        # a training that was ended has written a result too, of the steps it had made
        if found != expected or commands.litter(command):
            code, told = command.go_on()
            if code != 0:
                wrong.append(f"the next one says: {told.strip()[-300:]}")
        wrong += commands.differences(command, expected)
        if wrong:
            trial.lose(f"{said}: {'; '.join(wrong)}")
        shutil.rmtree(command.folder.parent)
    trial.check()


@pytest.mark.parametrize("name", _ALWAYS)
def test_kills(torture, commands, workshop, tmp_path, name):
    torment(torture, commands, workshop, name, tmp_path, 8 if "," in name or "2" in name else 4)


@pytest.mark.skipif(not os.environ.get("PHENLDIFF_TORTURE"), reason="takes minutes; see tox.ini")
@pytest.mark.parametrize("name", _LONG)
def test_kills_of_what_takes_longer(torture, commands, workshop, tmp_path, name):
    torment(torture, commands, workshop, name, tmp_path, _LONG[name])
