"""Files and values that are damaged at random: a sentence or a right result, and no other error."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_tiff, write_tiff
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run

CONDITIONS = ("untreated", "treated")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set as Linux does")


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
def test_tiffs(torture, attempt, damaged, odd, data, tmp_path):
    whole = (data / "untreated" / "u0.tif").read_bytes()
    trial = torture("a damaged TIFF is read", 60)
    path = tmp_path / "damaged.tif"
    for rng in trial.tries():
        path.write_bytes(damaged(whole, rng))
        attempt(trial, "read", lambda: read_tiff(path))
    trial.check()


@pytest.mark.filterwarnings("ignore")
def test_tables(torture, attempt, damaged, odd, data, tmp_path):
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


def test_run_folders(torture, attempt, damaged, odd, run):
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


def test_locks_and_events_of_runs(torture, attempt, damaged, odd, run):
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


def test_settings_of_measurements(torture, attempt, damaged, odd, tmp_path):
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


def test_requests_of_docks(torture, attempt, damaged, odd, data, tmp_path):
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


def test_journals_of_translations(torture, attempt, damaged, odd, tmp_path):
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
