"""Trainings on more images than fit into memory, or than anybody needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.images import tiff
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs import training
from napari_phenldiff.jobs.training import new_run
from napari_phenldiff.runs.config import TrainingConfig

CONDITIONS = ("untreated", "treated")


def write_images(folder: Path, number: int, size: int) -> Path:
    rng = np.random.default_rng(0)
    for condition in CONDITIONS:
        for k in range(number):
            pixels = rng.integers(0, 4000, (2, size, size), dtype=np.uint16)
            image = Image(pixels, ("DNA", "marker"), (0.5, 0.5), f"{condition}_{k:03d}")
            write_tiff(folder / condition / f"{image.name}.tif", image)
    return folder


def config(**settings) -> TrainingConfig:
    return TrainingConfig(conditions=CONDITIONS, steps=1, **settings)


@pytest.fixture
def read(monkeypatch) -> set[str]:
    """The files that are read."""
    seen: set[str] = set()
    before = tiff.read_tiff

    def note(path, **how):
        seen.add(Path(path).stem)
        return before(path, **how)

    monkeypatch.setattr(tiff, "read_tiff", note)
    return seen


def test_of_very_many_images_some_are_read_and_that_is_said(tmp_path, read, monkeypatch):
    monkeypatch.setattr(training, "_FEWEST_READ", 5)
    monkeypatch.setattr(training, "_MOST_PIXELS", 7 * 2 * 16 * 16)
    data = write_images(tmp_path / "data", 12, 16)
    told = []
    new = new_run(data, config(), tmp_path / "one", on_event=lambda e: told.append(str(e)))
    assert [len(one.images) for one in new.training.conditions] == [7, 7]
    assert len(read) == 14
    assert any("Of each condition 7 of up to 12 files are read" in text for text in told)
    assert any("--images-per-condition" in text for text in told)
    again = new_run(data, config(), tmp_path / "again")
    assert again.run.digest == new.run.digest
    other = new_run(data, config(seed=1), tmp_path / "other")
    assert other.run.digest != new.run.digest


def test_all_images_are_read_if_their_number_is_asked_for(tmp_path, read, monkeypatch):
    monkeypatch.setattr(training, "_FEWEST_READ", 5)
    monkeypatch.setattr(training, "_MOST_PIXELS", 1)
    data = write_images(tmp_path / "data", 12, 16)
    asked = config(images_per_condition=12, validation_images=0)
    new = new_run(data, asked, tmp_path / "run")
    assert [len(one.images) for one in new.training.conditions] == [12, 12]
    assert len(read) == 24


def test_few_images_are_all_read_and_nothing_is_said(tmp_path):
    told = []
    data = write_images(tmp_path / "data", 4, 16)
    new_run(data, config(), tmp_path / "run", on_event=lambda e: told.append(str(e)))
    assert not any("files are read" in text for text in told)


PEAK = """
import resource, sys
from napari_phenldiff import TrainingConfig, train
from napari_phenldiff.diffusion import latents
from napari_phenldiff.images import image_in_file

# What is kept in memory on purpose is small here, so that a test need not write gigabytes.
image_in_file.KEPT_BYTES = 2**22
latents.MOST_IN_MEMORY = 2**20
data, base, out = sys.argv[1:]
config = TrainingConfig(
    conditions=("untreated", "treated"), base=base, steps=1, rank=2, batch_size=2,
    preview_every=0, validation_images=0, reference_channels=(),
)
train(data, config, out)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told in other units there")
def test_memory_of_a_training_does_not_grow_with_its_images(tmp_path, tiny_base):
    peaks = []
    for number in (4, 60):
        data = write_images(tmp_path / f"data{number}", number, 512)
        command = [sys.executable, "-c", PEAK, data, tiny_base, tmp_path / f"run{number}"]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    # The pixels of the second are 110 MB more, their tiles 220 MB, and their latents the more.
    assert peaks[1] - peaks[0] < 60e6
