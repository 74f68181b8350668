"""A small experiment on disk, and processes that tests can kill."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run

CONDITIONS = ("untreated", "treated")


def random_image(name: str, seed: int) -> Image:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 255, (2, 16, 12), dtype=np.uint8)
    return Image(data, ("DNA", "marker"), (0.5, 0.5), name)


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """Three images per condition."""
    for c, condition in enumerate(CONDITIONS):
        for i in range(3):
            name = f"{condition}_{i}"
            path = tmp_path / "data" / condition / f"{name}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tiff(path, random_image(name, 10 * c + i))
    return tmp_path / "data"


@pytest.fixture
def experiment(data_folder: Path) -> Experiment:
    return Experiment.from_folder(data_folder).select(CONDITIONS)


@pytest.fixture
def config() -> TrainingConfig:
    return TrainingConfig(conditions=CONDITIONS, steps=20)


@pytest.fixture
def run(tmp_path: Path, experiment: Experiment, config: TrainingConfig) -> Run:
    return Run.from_experiment(
        tmp_path / "run",
        config,
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def python() -> Iterator[Start]:
    """Start real Python processes on a piece of code; they do not outlive the test."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, args)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
