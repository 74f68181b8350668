"""Simulated experiments, a stand-in for the child process, and docks on a bare viewer model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from qtpy.QtCore import QMimeData, QPointF, Qt, QThreadPool, QUrl
from qtpy.QtGui import QDropEvent

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.process import ChildProcess
from napari_phenldiff.jobs.requests import Request, SessionRequest, TrainRequest, write_request
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer import model_session, preferences
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.viewer.turns import adding
from napari_phenldiff.widgets.parts import preload, tasks

_FAKE = Path(__file__).with_name("fake_phenldiff.py")

Conditions = dict[str, list[Image]]


@pytest.fixture(scope="session")
def simulated() -> Conditions:
    """Four small images each of cells before and after translocation."""
    pairs = list(simulate_pairs("translocation", 8, size=96))
    return {
        "treated": [pair.target for pair in pairs[4:]],
        "untreated": [pair.source for pair in pairs[:4]],
    }


@pytest.fixture
def data_folder(simulated: Conditions, tmp_path: Path) -> Path:
    for condition, images in simulated.items():
        for image in images:
            write_tiff(tmp_path / "data" / condition / f"{image.name}.tif", image)
    return tmp_path / "data"


@pytest.fixture
def open_simulated(simulated: Conditions) -> Callable[[Any], None]:
    """Open the simulated images in a viewer."""

    def add(viewer: Any) -> None:
        for data, arguments, _ in experiment_layers(simulated):
            viewer.add_image(data, **arguments)

    return add


@pytest.fixture
def model(open_simulated: Callable[[Any], None]) -> ViewerModel:
    """A viewer without a window, with the simulated images open: docks work with it as well."""
    viewer = ViewerModel()
    open_simulated(viewer)
    return viewer


@pytest.fixture
def drop() -> Callable[..., QDropEvent]:
    """Drop files on a widget; the event tells whether it took them."""

    def drop_on(widget: Any, *paths: Path) -> QDropEvent:
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
        event = QDropEvent(
            QPointF(1, 1),
            Qt.DropAction.CopyAction,
            data,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        event.setAccepted(False)
        widget.dropEvent(event)
        return event

    return drop_on


@pytest.fixture
def run_folder(simulated: Conditions, tmp_path: Path) -> Path:
    """A run that images can be translated with."""
    experiment = Experiment.from_images(simulated).select(("untreated", "treated"))
    run = Run.from_experiment(
        tmp_path / "run",
        TrainingConfig(conditions=("untreated", "treated"), steps=5),
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )
    run.save_adapter({"adapter.safetensors": b"weights"})
    return run.path


@dataclass
class FakeChild:
    """Starts the stand-in in place of ``phenldiff`` and keeps what it was asked for."""

    monkeypatch: pytest.MonkeyPatch
    requests: list[Request] = field(default_factory=list)
    processes: list[ChildProcess] = field(default_factory=list)

    def plan(self, **plan: Any) -> None:
        self.monkeypatch.setenv("FAKE_PHENLDIFF", json.dumps(plan))

    def train_elsewhere(self, data: Path, out: Path) -> ChildProcess:
        """Train as somebody else would, in another terminal."""
        config = TrainingConfig(conditions=("untreated", "treated"), steps=9)
        request = TrainRequest(data=data, config=config, out=out)
        aside = out.parent
        aside.mkdir(parents=True, exist_ok=True)
        return self.launch(request, aside / "theirs.json", aside / "their.log")

    def launch(self, request: Request, path: Path, log: Path) -> ChildProcess:
        self.requests.append(request)
        write_request(path, request)
        listens = isinstance(request, SessionRequest)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, str(_FAKE), "job", str(path)],
                stdin=subprocess.PIPE if listens else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.processes.append(ChildProcess(process, log))
        return self.processes[-1]


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeChild]:
    fake = FakeChild(monkeypatch)
    fake.plan()
    monkeypatch.setattr(tasks, "launch", lambda: fake.launch)
    monkeypatch.setattr(model_session, "launch", lambda environment: fake.launch)
    yield fake
    for process in fake.processes:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        process.close_stdin()


@pytest.fixture(autouse=True)
def no_thread_outlives_its_test() -> Iterator[None]:
    """Wait for previews that are still being made, as napari does when it is closed."""
    yield
    QThreadPool.globalInstance().waitForDone(20_000)


@pytest.fixture(autouse=True)
def _runs_folder_of_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Look for runs in a folder of the test: whoever runs it may have some of their own."""
    monkeypatch.setattr(preferences, "_home", lambda: tmp_path / "home")


@pytest.fixture(autouse=True)
def _no_model_is_loaded_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process in tests that start nothing."""
    monkeypatch.setattr(preload, "WAIT_MS", 10**8)


@pytest.fixture
def qtbot(qtbot):
    """Wait longer than by default: others may use the machine too."""
    qtbot.waitUntil = partial(qtbot.waitUntil, timeout=20_000)
    return qtbot


@pytest.fixture(autouse=True)
def _jobs_end(qapp) -> Iterator[None]:
    """Let no job outlive its test: its thread would tell of it in the middle of the next one."""
    yield
    from superqt.utils import WorkerBase

    for job in list(jobs.live()):
        job.stop()
        job.stop()
    WorkerBase.await_workers(10_000)
    qapp.processEvents()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home folder. Not for tests with a window: napari keeps its icons in the real one."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(folder))
    return folder


@pytest.fixture
def until_ended(qtbot) -> Callable[..., Job]:
    """Wait until the job shown in the foot of a dock has ended."""

    def wait(dock: Any, timeout: int = 30_000) -> Job:
        qtbot.waitUntil(lambda: not dock.job_foot.job.state.live, timeout=timeout)
        qtbot.waitUntil(lambda: not adding(dock.viewer), timeout=timeout)
        return dock.job_foot.job

    return wait
