"""Commands that are killed, or ended, at random moments: the same result in the end, nothing left.

The command is started with the stand-in for the method, which takes its time; what surrounds it
(locks, files, workers, what is read again) is real.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import psutil
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")

STAND_IN = Path(__file__).parents[1] / "cli" / "fake_diffusion.py"
NURSERY = Path(__file__).with_name("nursery.py")
CONDITIONS = ("untreated", "treated")
LONG = pytest.mark.skipif(
    not os.environ.get("PHENLDIFF_TORTURE"), reason="takes minutes: tox run -e torture"
)
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


class Nursery:
    """Starts commands from a process that has loaded everything, see ``nursery.py``."""

    def __init__(self, *kind: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(NURSERY), *kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert self.answer() == {"ready": True}

    def answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def start(self, args: list[str], environment: dict[str, str], errors: Path) -> Started:
        assert self._process.stdin is not None
        asked = {"args": args, "environment": environment, "errors": str(errors)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Started(self, self.answer()["process"], errors)

    def end(self) -> None:
        self._process.communicate()


class Started:
    """A command of a nursery, as a `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int, errors: Path) -> None:
        self.pid, self.returncode = pid, None
        self._errors = errors
        self._waiting = threading.Thread(target=self._wait, args=(nursery,), daemon=True)
        self._waiting.start()

    def _wait(self, nursery: Nursery) -> None:
        self.returncode = nursery.answer()["code"]

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self._waiting.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("phenldiff", timeout or 0)
        said = self._errors.read_text(errors="replace") if self._errors.exists() else ""
        return "", said


@pytest.fixture(scope="module")
def stand_in() -> Iterator[Nursery]:
    nursery = Nursery("stand-in")
    yield nursery
    nursery.end()


@pytest.fixture(scope="module")
def real() -> Iterator[Nursery]:
    """A nursery with the method itself."""
    nursery = Nursery()
    yield nursery
    nursery.end()


class Command:
    """A command whose result lies in a folder of its own.

    Parameters
    ----------
    folder : Path
        Of the result.
    args, again : sequence
        The command line, and that which goes on where it was if that is another.
    nursery : Nursery, optional
        What starts it; without one, it is the stand-in in a new interpreter.
    """

    def __init__(
        self,
        folder: Path,
        args: Sequence[object],
        again: Sequence[object] = (),
        *,
        nursery: Nursery | None = None,
    ) -> None:
        self.folder, self.args, self.again = folder, list(args), list(again or args)
        self.nursery = nursery
        self.scratch = folder.parent / f"{folder.name}_scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)

    def start(self, args: Sequence[object]) -> subprocess.Popen[str] | Started:
        environment = {
            "FAKE_DIFFUSION": "slow",
            "TMPDIR": str(self.scratch),
            "OMP_NUM_THREADS": "1",
        }
        if self.nursery is not None:
            # beside the folder that is looked through
            errors = self.folder.parent.parent / "errors.txt"
            return self.nursery.start([str(arg) for arg in args], environment, errors)
        return subprocess.Popen(
            [sys.executable, str(STAND_IN), *map(str, args)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def whole(self) -> float:
        """Carry it out undisturbed; return how long it took."""
        since = time.monotonic()
        process = self.start(self.args)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        return time.monotonic() - since


def result_of(folder: Path) -> dict[str, str]:
    """Return what is in a folder, apart from times, so that it can be compared.

    Of checkpoints the last one, since one more is written where a training was ended.
    """
    found = {}
    steps = sorted(folder.rglob("step_*"))[:-1]
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name == "events.jsonl" or set(steps) & set(path.parents):
            continue
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".json":
            told = json.dumps(_settled(json.loads(path.read_text(encoding="utf-8"))))
            told = told.replace(str(folder), "FOLDER")
        elif path.suffix == ".html":
            told = "a page"
        elif path.suffix == ".zip":
            with ZipFile(path) as package:
                told = str({one.filename: one.CRC for one in package.infolist()})
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


def torment(
    torture, name: str, make: Callable[[Path], Command], tmp_path: Path, few: int, costly: int = 4
) -> None:
    """Kill a command in each try, carry it out again, and compare with the undisturbed one."""
    reference = make(tmp_path / "whole0" / "out")
    seconds = reference.whole()
    expected = result_of(reference.folder)
    assert expected
    trial = torture(f"killed or ended: {name}", few, costly=costly)
    for number, rng in enumerate(trial.tries()):
        command = make(tmp_path / f"try{number:03d}" / "out")
        said, wrong = disturb(command, rng, seconds)
        complete = command.folder.exists() and result_of(command.folder).keys() == expected.keys()
        if not complete or litter(command):
            going_on = any((command.folder / at).exists() for at in ("config.json", "training"))
            again = command.start(command.again if going_on else command.args)
            _, err = again.communicate(timeout=600)
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
        shutil.rmtree(command.folder.parent)
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


AREA = ("--profile", "area", "--channel", "marker")
BOTH = ("--source", "untreated", "--target", "treated")


@pytest.fixture(scope="module")
def fake_run(data, tmp_path_factory, stand_in) -> Path:
    """A run that the stand-in has trained on eight of twelve images of each condition."""
    run = tmp_path_factory.mktemp("fake") / "run"
    line = [*train(data, run), "--images-per-condition", 8]
    Command(run, line, nursery=stand_in).whole()
    return run


@pytest.fixture(scope="module")
def real_run(data, tiny_base, tmp_path_factory, real) -> Path:
    """A run of two steps of the method itself, of a tiny base."""
    run = tmp_path_factory.mktemp("real") / "run"
    line = [
        "train", data, *BOTH, "--out", run, "--base", tiny_base, "--steps", 2, "--batch-size", 2,
        "--preview-every", 0, "--images-per-condition", 3, "--validation-images", 0,
        "--reference-channels", "DNA", "--device", "cpu",
    ]  # fmt: skip
    Command(run, line, nursery=real).whole()
    return run


@LONG
def test_figure(torture, tmp_path, data, fake_run, stand_in):
    result = tmp_path / "result"
    Command(result, ["translate", fake_run, data, "--out", result], nursery=stand_in).whole()

    def make(out: Path) -> Command:
        return Command(out, ["figure", result, "--out", out / "f.png"], nursery=stand_in)

    torment(torture, "figure", make, tmp_path, few=1, costly=8)


@LONG
def test_evaluate(torture, tmp_path, data, fake_run, stand_in):
    def make(out: Path) -> Command:
        line = ["evaluate", fake_run, data, *AREA, "--out", out, "--images", 2, "--no-cycle"]
        return Command(out, line, nursery=stand_in)

    torment(torture, "evaluate", make, tmp_path, few=1, costly=20)


@LONG
def test_benchmark(torture, tmp_path, data, stand_in):
    def make(out: Path) -> Command:
        line = [
            "benchmark", data, *BOTH, *AREA, "--out", out, "--methods", "phenldiff", "--steps", 40,
            "--images-per-condition", 8, "--test-images", 3,
        ]  # fmt: skip
        return Command(out, line, nursery=stand_in)

    torment(torture, "benchmark, and the same again", make, tmp_path, few=1, costly=20)


@LONG
def test_merge(torture, tmp_path, real_run, real):
    torment(
        torture,
        "merge",
        lambda out: Command(out, ["merge", real_run, "--out", out], nursery=real),
        tmp_path,
        few=1,
        costly=8,
    )


@LONG
def test_export(torture, tmp_path, real_run, real):
    def make(out: Path) -> Command:
        out.mkdir(parents=True, exist_ok=True)
        line = ["export", real_run, "--out", out / "p.zip", "--inference-steps", 1]
        return Command(out, line, nursery=real)

    torment(torture, "export", make, tmp_path, few=1, costly=8)


@LONG
def test_pretrain(torture, tmp_path, data, real):
    def make(out: Path) -> Command:
        line = [
            "pretrain", data, "--out", out, "--steps", 12, "--tile", 32, "--widths", "32,32",
            "--heads", "1,1", "--token-width", 16, "--crops", 20, "--batch-size", 2, "--device",
            "cpu", "--preview-every", 0, "--checkpoint-every", 3,
        ]  # fmt: skip
        return Command(out, line, nursery=real)

    torment(torture, "pretrain, and the same again", make, tmp_path, few=1, costly=8)


@LONG
def test_train_by_the_method_itself(torture, tmp_path, data, tiny_base, real):
    def make(out: Path) -> Command:
        line = [
            "train", data, *BOTH, "--out", out, "--base", tiny_base, "--steps", 6, "--batch-size",
            2, "--preview-every", 3, "--checkpoint-every", 2, "--images-per-condition", 3,
            "--validation-images", 0, "--reference-channels", "DNA", "--device", "cpu",
        ]  # fmt: skip
        return Command(out, line, ["train", "--resume", out], nursery=real)

    torment(torture, "train of a tiny base, and --resume", make, tmp_path, few=1, costly=20)


@LONG
def test_translate_by_the_method_itself(torture, tmp_path, data, real_run, real):
    def make(out: Path) -> Command:
        line = ["translate", real_run, data, "--out", out, "--inference-steps", 2]
        return Command(out, line, nursery=real)

    torment(torture, "translate by a tiny base", make, tmp_path, few=1, costly=20)
