"""Commands that are killed, or ended, at random moments: the same result in the end, nothing left.

The command is started with the stand-in for the method, which takes its time; what surrounds it
(locks, files, workers, what is read again) is real.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")

STAND_IN = Path(__file__).parents[1] / "cli" / "fake_diffusion.py"
CONDITIONS = ("untreated", "treated")
_VOLATILE = {"created", "time", "seconds", "written", "provenance", "took"}
"""Keys of JSON files whose values tell when something was done, or where."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images of each condition."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for condition in CONDITIONS:
        for number in range(12):
            pixels = rng.integers(1, 4000, (2, 96, 96), dtype=np.uint16)
            image = Image(pixels, ("DNA", "marker"), (0.5, 0.5), f"{condition[0]}{number:02d}")
            write_tiff(folder / condition / f"{image.name}.tif", image)
    return folder


class Command:
    """A command whose result lies in a folder of its own."""

    def __init__(self, folder: Path, args: Sequence[object], again: Sequence[object] = ()) -> None:
        self.folder, self.args, self.again = folder, list(args), list(again or args)
        self.scratch = folder.parent / f"{folder.name}_scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)

    def start(self, args: Sequence[object]) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "FAKE_DIFFUSION": "slow",
            "TMPDIR": str(self.scratch),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, str(STAND_IN), *map(str, args)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def whole(self) -> float:
        """Carry it out undisturbed; return how long it took."""
        since = time.monotonic()
        process = self.start(self.args)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        return time.monotonic() - since


def result_of(folder: Path) -> dict[str, str]:
    """Return what is in a folder, apart from times, so that it can be compared."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name == "events.jsonl":
            continue
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            told = json.dumps(_settled(json.loads(path.read_text(encoding="utf-8"))))
            told = told.replace(str(folder), "FOLDER")
        elif path.suffix == ".html":
            told = "a page"
        else:
            told = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = told
    return found


def _settled(value: object) -> object:
    if isinstance(value, dict):
        return {key: _settled(one) for key, one in value.items() if key not in _VOLATILE}
    if isinstance(value, list):
        return [_settled(one) for one in value]
    return value


def litter(command: Command) -> list[str]:
    """Return hidden files, locks and temporary files that should not be there."""
    hidden = [
        path.relative_to(command.folder.parent).as_posix()
        for path in command.folder.parent.rglob("*")
        if (path.name.startswith(".") or path.name in ("run.lock", "images.jsonl"))
    ]
    return hidden + [path.name for path in command.scratch.iterdir()]


def disturb(command: Command, rng: random.Random, seconds: float) -> tuple[str, list[str]]:
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
    deadline = time.monotonic() + 30
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


def torment(torture, name: str, make: Callable[[Path], Command], tmp_path: Path, few: int) -> None:
    """Kill a command in each try, carry it out again, and compare with the undisturbed one."""
    reference = make(tmp_path / "whole" / "out")
    seconds = reference.whole()
    expected = result_of(reference.folder)
    assert expected
    trial = torture(f"killed or ended: {name}", few, costly=4)
    for number, rng in enumerate(trial.tries()):
        command = make(tmp_path / f"try{number}" / "out")
        said, wrong = disturb(command, rng, seconds)
        complete = command.folder.exists() and result_of(command.folder).keys() == expected.keys()
        if not complete or litter(command):
            going_on = (command.folder / "config.json").exists()
            again = command.start(command.again if going_on else command.args)
            _, err = again.communicate(timeout=300)
            if again.returncode != 0:
                wrong.append(f"the next one says: {err.strip()[-300:]}")
        found = result_of(command.folder) if command.folder.exists() else {}
        if found != expected:
            differs = sorted(
                key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
            )
            wrong.append(f"another result: {differs}")
        left = litter(command)
        if left:
            wrong.append(f"left behind: {left}")
        if wrong:
            trial.lose(f"{said}: {'; '.join(wrong)}")
    trial.check()


def test_simulate(torture, tmp_path):
    torment(
        torture,
        "simulate",
        lambda out: Command(out, ["simulate", "golgi", "--out", out, "--images", 12]),
        tmp_path,
        few=1,
    )


def test_measure(torture, tmp_path, data):
    def make(out: Path) -> Command:
        return Command(
            out, ["measure", "area", data, "--channel", "marker", "--out", out / "t.csv"]
        )

    torment(torture, "measure", make, tmp_path, few=1)


def test_measure_in_two_processes(torture, tmp_path, data):
    def make(out: Path) -> Command:
        table = out / "t.csv"
        return Command(
            out,
            ["measure", "area", data, "--channel", "marker", "--workers", 2, "--out", table],
        )

    torment(torture, "measure --workers 2", make, tmp_path, few=1)


def train(data: Path, out: Path) -> list[object]:
    return [
        "train", data, "--source", "untreated", "--target", "treated", "--out", out,
        "--steps", 60, "--checkpoint-every", 7, "--preview-every", 0, "--validation-images", 0,
    ]  # fmt: skip


def test_train(torture, tmp_path, data):
    torment(
        torture,
        "train, and --resume",
        lambda out: Command(out, train(data, out), ["train", "--resume", out]),
        tmp_path,
        few=1,
    )


def test_translate(torture, tmp_path, data):
    run = tmp_path / "run"
    Command(run, train(data, run)).whole()
    torment(
        torture,
        "translate, and the same again",
        lambda out: Command(out, ["translate", run, data, "--out", out]),
        tmp_path,
        few=2,
    )
