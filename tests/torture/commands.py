"""The commands, each ready to be disturbed: what it is given, what starts it, what it leaves.

Some are carried out with the stand-in for the method, which takes its time; what surrounds it
(locks, files, workers, what is read again) is real. Others are the method itself, with a base that
is tiny.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile, is_zipfile

import numpy as np
import pandas as pd

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

STAND_IN = Path(__file__).parents[1] / "cli" / "fake_diffusion.py"
NURSERY = Path(__file__).with_name("nursery.py")
_VOLATILE = {"created", "time", "seconds", "written", "provenance", "took", "minutes"}
"""Keys of JSON files whose values tell when something was done, or where."""

_AREA = ("--profile", "area", "--channel", "marker")
_BOTH = ("--source", "untreated", "--target", "treated")
_FEW_STEPS = ("--batch-size", 2, "--device", "cpu", "--preview-every", 0)
_TRAIN = (*_BOTH, "--preview-every", 0, "--validation-images", 0)


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

    def start(
        self,
        args: list[str],
        environment: dict[str, str],
        errors: Path,
        most_bytes: int | None = None,
    ) -> Started:
        assert self._process.stdin is not None
        asked = {
            "args": args,
            "environment": environment,
            "errors": str(errors),
            "most_bytes": most_bytes,
        }
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
    environment : dict of str to str, optional
        What it is told beside its line.
    """

    def __init__(
        self,
        folder: Path,
        args: Sequence[object],
        again: Sequence[object] = (),
        *,
        nursery: Nursery | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder, self.args, self.again = folder, list(args), list(again or args)
        self.nursery = nursery
        self.environment = environment or {}
        self.scratch = folder.parent / f"{folder.name}_scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)

    def start(
        self, args: Sequence[object], *, most_bytes: int | None = None
    ) -> subprocess.Popen[str] | Started:
        """Start it; with `most_bytes`, no file may get larger, as on a disk that is full."""
        environment = {
            "FAKE_DIFFUSION": "slow",
            "TMPDIR": str(self.scratch),
            "OMP_NUM_THREADS": "1",
            **self.environment,
        }
        line = [str(arg) for arg in args]
        if self.nursery is not None:
            # beside the folder that is looked through
            errors = self.folder.parent.parent / "errors.txt"
            return self.nursery.start(line, environment, errors, most_bytes)
        return subprocess.Popen(
            [sys.executable, str(STAND_IN), *line],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def go_on(self) -> tuple[int | None, str]:
        """Give it again after it was disturbed; return its exit code and what it said."""
        begun = any((self.folder / at).exists() for at in ("config.json", "training"))
        process = self.start(self.again if begun else self.args)
        _, said = process.communicate(timeout=600)
        return process.returncode, said

    def whole(self) -> float:
        """Carry it out undisturbed; return how long it took."""
        since = time.monotonic()
        process = self.start(self.args)
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
        return time.monotonic() - since


def result_of(folder: Path) -> dict[str, str]:
    """Return what is in a folder, apart from times, so that it can be compared.

    Without checkpoints: one more is written where a training was ended.
    """
    found: dict[str, str] = {}
    if not folder.exists():
        return found
    steps = {path.parent for path in folder.rglob("step_*/state.*")}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name == "events.jsonl" or steps & set(path.parents):
            continue
        name = path.relative_to(folder).as_posix()
        if ".locks" in path.parts:  # of huggingface_hub, which leaves them
            continue
        if path.suffix == ".json":
            told = json.dumps(_settled(json.loads(path.read_text(encoding="utf-8"))))
            told = told.replace(str(folder), "FOLDER")
        elif path.suffix == ".html":
            told = "a page"
        elif path.name == "table.csv":  # of a benchmark, with minutes
            table = pd.read_csv(path)
            told = table.drop(columns=["minutes"], errors="ignore").to_csv()
        elif path.name == "table.md":
            told = "a table"
        elif path.suffix == ".zip" and is_zipfile(path):  # one half written is none
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
        and path.name != ".locks"  # of huggingface_hub, which leaves them
    ]
    # torch keeps a cache there, on purpose
    scratch = [path.name for path in command.scratch.iterdir()]
    return hidden + [name for name in scratch if not name.startswith("torchinductor")]


def differences(command: Command, expected: dict[str, str]) -> list[str]:
    """Say in what a result is another one than it should be, and what lies about."""
    told = []
    found = result_of(command.folder)
    differs = [key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)]
    if differs:
        told.append(f"another result: {sorted(differs)}")
    left = litter(command)
    if left:
        told.append(f"left behind: {left}")
    return told


class Workshop:
    """Images, runs and processes that the commands need, made when they are needed.

    Parameters
    ----------
    folder : Path
        Where they are made.
    tiny_base : callable
        Returns the folder of a tiny base.
    local_hub : module
        What makes a hub, see ``local_hub.py``.
    """

    def __init__(self, folder: Path, tiny_base: Callable[[], Path], local_hub: ModuleType) -> None:
        self._folder = folder
        self._tiny_base = tiny_base
        self._local_hub = local_hub
        self._nurseries: list[Nursery] = []
        self._open = ExitStack()

    def close(self) -> None:
        """End the processes, and the hub."""
        for nursery in self._nurseries:
            nursery.end()
        self._open.close()

    @cached_property
    def _hub(self) -> str:
        """The address of a hub with one model, which takes its time to send it."""
        hub = self._open.enter_context(self._local_hub.local_hub())
        hub.add("lab/tiny", self._local_hub.as_on_a_hub(self._tiny_base(), self._folder / "hub"))
        hub.pause = 0.2
        return str(hub.endpoint)

    def _nursery(self, *kind: str) -> Nursery:
        self._nurseries.append(Nursery(*kind))
        return self._nurseries[-1]

    @cached_property
    def _stand_in(self) -> Nursery:
        return self._nursery("stand-in")

    @cached_property
    def _real(self) -> Nursery:
        return self._nursery()

    @cached_property
    def _data(self) -> Path:
        """Twelve images of each condition."""
        rng = np.random.default_rng(0)
        for condition in ("untreated", "treated"):
            for number in range(12):
                pixels = rng.integers(1, 4000, (2, 96, 96), dtype=np.uint16)
                name = f"{condition[0]}{number:02d}"
                image = Image(pixels, ("DNA", "marker"), (0.5, 0.5), name)
                write_tiff(self._folder / "data" / condition / f"{name}.tif", image)
        return self._folder / "data"

    @cached_property
    def _fake_run(self) -> Path:
        run = self._folder / "fake" / "run"
        line = ["train", self._data, *_TRAIN, "--out", run, "--images-per-condition", 8]
        Command(run, [*line, "--steps", 9], nursery=self._stand_in).whole()
        return run

    @cached_property
    def _fake_result(self) -> Path:
        result = self._folder / "made" / "result"
        line = ["translate", self._fake_run, self._data, "--out", result]
        Command(result, line, nursery=self._stand_in).whole()
        return result

    def _tiny(self, out: Path) -> list[object]:
        return [
            "train", self._data, *_TRAIN, "--out", out, "--base", self._tiny_base(),
            "--batch-size", 2, "--images-per-condition", 3, "--reference-channels", "DNA",
            "--device", "cpu",
        ]  # fmt: skip

    @cached_property
    def _real_run(self) -> Path:
        run = self._folder / "real" / "run"
        Command(run, [*self._tiny(run), "--steps", 2], nursery=self._real).whole()
        return run

    def make(self, name: str, out: Path) -> Command:
        """Return a command that writes its result into a folder."""
        measure = ["measure", "area", self._data, "--channel", "marker", "--out", out / "t.csv"]
        match name:
            case "simulate":
                line = ["simulate", "golgi", "--out", out, "--images", 12]
                return Command(out, line, nursery=self._stand_in)
            case "simulate, from the start of the interpreter":
                return Command(out, ["simulate", "golgi", "--out", out, "--images", 12])
            case "measure":
                return Command(out, measure, nursery=self._stand_in)
            case "measure --workers 2":
                return Command(out, [*measure, "--workers", 2])
            case "train" | "train, from the start of the interpreter":
                line = ["train", self._data, *_TRAIN, "--out", out]
                line += ["--steps", 60, "--checkpoint-every", 7]
                nursery = None if "," in name else self._stand_in
                return Command(out, line, ["train", "--resume", out], nursery=nursery)
            case "translate" | "translate, from the start of the interpreter":
                line = ["translate", self._fake_run, self._data, "--out", out]
                return Command(out, line, nursery=None if "," in name else self._stand_in)
            case "translate --workers 2":
                line = ["translate", self._fake_run, self._data, "--out", out, "--workers", 2]
                return Command(out, line)
            case "figure":
                line = ["figure", self._fake_result, "--out", out / "f.png"]
                return Command(out, line, nursery=self._stand_in)
            case "evaluate":
                line = ["evaluate", self._fake_run, self._data, *_AREA, "--out", out]
                line += ["--images", 2, "--no-cycle"]
                return Command(out, line, nursery=self._stand_in)
            case "benchmark":
                line = ["benchmark", self._data, *_BOTH, *_AREA, "--out", out, "--steps", 40]
                line += ["--methods", "phenldiff", "--images-per-condition", 8, "--test-images", 3]
                return Command(out, line, nursery=self._stand_in)
            case "fetch":
                told = {"HF_HOME": str(out), "HF_ENDPOINT": self._hub, "HF_HUB_OFFLINE": "0"}
                told |= {"HF_HUB_DISABLE_TELEMETRY": "1"}
                return Command(out, ["fetch", "lab/tiny"], environment=told)
            case "merge":
                line = ["merge", self._real_run, "--out", out]
                return Command(out, line, nursery=self._real)
            case "export":
                out.mkdir(parents=True, exist_ok=True)
                line = ["export", self._real_run, "--out", out / "p.zip", "--inference-steps", 1]
                return Command(out, line, nursery=self._real)
            case "pretrain":
                line = ["pretrain", self._data, "--out", out, *_FEW_STEPS, "--steps", 12]
                line += ["--tile", 32, "--widths", "32,32", "--heads", "1,1", "--token-width", 16]
                line += ["--crops", 20, "--checkpoint-every", 3]
                return Command(out, line, nursery=self._real)
            case "train of a tiny base":
                line = [*self._tiny(out), "--steps", 6, "--checkpoint-every", 2]
                return Command(out, line, ["train", "--resume", out], nursery=self._real)
            case "train --processes 2 of a tiny base":
                line = [*self._tiny(out), "--steps", 6, "--checkpoint-every", 2]
                again = ["train", "--resume", out, "--processes", 2]
                return Command(out, [*line, "--processes", 2], again, nursery=self._real)
            case "translate by a tiny base":
                line = ["translate", self._real_run, self._data, "--out", out]
                line += ["--inference-steps", 2]
                return Command(out, line, nursery=self._real)
        raise ValueError(name)
