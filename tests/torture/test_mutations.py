"""Files and values that are damaged at random: a sentence or a right result, and no other error."""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_tiff, write_tiff
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set as Linux does")

_SECONDS = 30
_MEMORY = 2**30
CONDITIONS = ("untreated", "treated")


class TooSlow(Exception):
    """Raised where something hangs."""


@contextmanager
def bounded() -> Iterator[None]:
    """Refuse more than a GiB of memory on top, and more than half a minute."""

    def stop(*_: object) -> None:
        raise TooSlow(f"it took more than {_SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY, hard))
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def attempt(trial, what: str, work: Callable[[], object]) -> None:
    """Do something that may refuse with a sentence, and take note if it does anything else."""
    try:
        with bounded():
            work()
    except InputError as error:
        text = str(error)
        if not text or "Traceback" in text or len(text) > 2000:
            trial.lose(f"{what}: not a sentence: {text[:200]!r}")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        trial.lose(f"{what}: {type(error).__name__}: {str(error)[:150]} ({place})")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes in one of several ways."""
    changed = bytearray(data)
    match rng.randrange(5):
        case 0:  # some bytes are others
            for _ in range(rng.randint(1, 8)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        case 1:  # in the header, where a byte means much
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(min(400, len(changed)))] = rng.randrange(256)
        case 2:  # the end is missing
            del changed[rng.randrange(len(changed)) :]
        case 3:  # something in between is missing
            start = rng.randrange(len(changed))
            del changed[start : start + rng.randint(1, 200)]
        case _:  # something is there twice
            start = rng.randrange(len(changed))
            changed[start:start] = changed[start : start + rng.randint(1, 200)]
    return bytes(changed)


_ODD = (None, True, -1, 0, 10**400, 1e308, float("nan"), "", "x" * 500, [], {}, [[]], "\ud800")


def odd(value: object, rng: random.Random) -> object:
    """Return JSON with one value, somewhere in it, that nobody expects there."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: odd(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        number = rng.randrange(len(value))
        return [*value[:number], odd(value[number], rng), *value[number + 1 :]]
    return rng.choice(_ODD)


def as_text(value: object) -> str:
    return json.dumps(value)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for condition in CONDITIONS:
        for number in range(3):
            pixels = rng.integers(1, 4000, (2, 24, 24), dtype=np.uint16)
            image = Image(pixels, ("DNA", "marker"), (0.5, 0.5), f"{condition[0]}{number}")
            write_tiff(tmp_path / "data" / condition / f"{image.name}.tif", image)
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Run:
    experiment = Experiment.from_folder(data)
    return Run.from_experiment(
        tmp_path / "run",
        TrainingConfig(conditions=CONDITIONS),
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )


@pytest.mark.filterwarnings("ignore")
def test_tiffs(torture, data, tmp_path):
    whole = (data / "untreated" / "u0.tif").read_bytes()
    trial = torture("a damaged TIFF is read", 60)
    path = tmp_path / "damaged.tif"
    for rng in trial.tries():
        path.write_bytes(damaged(whole, rng))
        attempt(trial, "read", lambda: read_tiff(path))
    trial.check()


@pytest.mark.filterwarnings("ignore")
def test_tables(torture, data, tmp_path):
    rows = ["Metadata_Well,Metadata_Compound,FileName_DNA,PathName_DNA"]
    for condition in CONDITIONS:
        rows += [f"A0{k},{condition},{condition[0]}{k}.tif,{data / condition}" for k in range(3)]
    whole = "\n".join(rows).encode()
    trial = torture("a damaged table of images is read", 40)
    path = tmp_path / "table.csv"
    for rng in trial.tries():
        path.write_bytes(damaged(whole, rng))
        attempt(trial, "read", lambda: Dataset.find(path).read())
    trial.check()


def test_run_folders(torture, run):
    trial = torture("a run's config.json or images.json holds odd values", 60)
    names = ("config.json", "images.json")
    whole = {name: (run.path / name).read_text(encoding="utf-8") for name in names}
    for rng in trial.tries():
        name = rng.choice(names)
        if rng.random() < 0.7:
            text = as_text(odd(json.loads(whole[name]), rng)).encode("utf-8", "surrogatepass")
        else:
            text = damaged(whole[name].encode(), rng)
        (run.path / name).write_bytes(text)

        def work() -> None:
            opened = Run.open(run.path)
            opened.load_experiment()
            opened.load_validation()

        attempt(trial, name, work)
        (run.path / name).write_text(whole[name], encoding="utf-8")
    trial.check()


def test_locks_and_events_of_runs(torture, run):
    trial = torture("a run's lock, note and events hold anything", 40)
    line = b'{"event": "step", "step": 3, "total": 9, "loss": 0.5, "time": 1.0}\n'
    lock = b'{"pid": 12, "host": "here", "started": 1.0, "token": "a"}'
    for rng in trial.tries():
        (run.path / "events.jsonl").write_bytes(damaged(line * 3, rng))
        (run.path / "run.lock").write_bytes(damaged(lock, rng))
        (run.path / "note.txt").write_bytes(damaged(b"a note", rng))

        def work() -> None:
            _ = run.state, run.progress, run.note, run.events()

        attempt(trial, "state", work)
    trial.check()


def test_settings_of_measurements(torture, tmp_path):
    from napari_phenldiff.measurement.profiles import find_profile
    from napari_phenldiff.measurement.tables.measurement import read_settings, write_settings

    path = tmp_path / "t_settings.json"
    write_settings(path, "cells", find_profile("cells").settings_type(), {"nuclei": 3.0})
    whole = path.read_text(encoding="utf-8")
    trial = torture("a file of settings of a measurement holds odd values", 60)
    for rng in trial.tries():
        if rng.random() < 0.7:
            path.write_text(as_text(odd(json.loads(whole), rng)), encoding="utf-8")
        else:
            path.write_bytes(damaged(whole.encode(), rng))
        attempt(trial, "read", lambda: read_settings(path))
    trial.check()


def test_requests_of_docks(torture, data, tmp_path):
    from napari_phenldiff.jobs.requests import TrainRequest, read_request, write_request

    config = TrainingConfig(conditions=CONDITIONS)
    request = TrainRequest(data=data, config=config, out=tmp_path / "out")
    path = tmp_path / "request.json"
    write_request(path, request)
    whole = path.read_text(encoding="utf-8")
    trial = torture("a request of a dock holds odd values", 40)
    for rng in trial.tries():
        path.write_text(as_text(odd(json.loads(whole), rng)), encoding="utf-8")
        attempt(trial, "read", lambda: read_request(path))
    trial.check()


def test_journals_of_translations(torture, tmp_path):
    from napari_phenldiff.jobs import journal

    asked = {"run": "x", "settings": {"strength": 1.0}}
    journal.begin(tmp_path, asked)
    journal.add(tmp_path, "a.tif", ["0"], [{"image": "a", "cells": None}])
    whole = (tmp_path / journal.NAME).read_bytes()
    trial = torture("the journal of a translation is damaged", 60)
    for rng in trial.tries():
        (tmp_path / journal.NAME).write_bytes(damaged(whole, rng))
        attempt(trial, "read", lambda: journal.done_files(tmp_path, asked))
    trial.check()
