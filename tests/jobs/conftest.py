"""Two small conditions on disk, a run of them, and processes that do not outlive their test."""

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


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """Three images per condition, of two channels and random pixels."""
    rng = np.random.default_rng(0)
    for condition in CONDITIONS:
        for number in range(3):
            pixels = rng.integers(0, 255, (2, 24, 24), dtype=np.uint8)
            image = Image(pixels, ("DNA", "marker"), (0.5, 0.5), f"{condition}_{number}")
            write_tiff(tmp_path / "data" / condition / f"{image.name}.tif", image)
    return tmp_path / "data"


@pytest.fixture
def run(tmp_path: Path, data_folder: Path) -> Run:
    experiment = Experiment.from_folder(data_folder).select(CONDITIONS)
    return Run.from_experiment(
        tmp_path / "run",
        TrainingConfig(conditions=CONDITIONS, steps=20),
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )


@pytest.fixture
def python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start real Python processes on a piece of code."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *args: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, *map(str, args)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
