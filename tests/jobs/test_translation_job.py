from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.images import tiff
from napari_phenldiff.images.image import Image
from napari_phenldiff.jobs import translation_job
from napari_phenldiff.jobs.cell_count import CellCount
from napari_phenldiff.jobs.translation_files import check_files
from napari_phenldiff.jobs.translation_job import TranslationJob
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Event, Progress
from napari_phenldiff.runs.folder import Run


@dataclass
class Translation:
    """As a translator makes it, without torch."""

    name: str
    translated: Image
    reconstructed: Image
    residual: float
    seconds: float
    dial: None = None
    code_correlation: float = 0.5
    code_spread: float = 1.0


def taken(run: Run, folder: Path, **options) -> list[Image]:
    paths = sorted((folder / "untreated").iterdir())
    files, _ = check_files(run, paths, "untreated", CellCount(run.channel_names), **options)
    return [image for file in files for image in file.take(None)]


def test_an_image_that_fits_into_memory_is_read_once(run: Run, data_folder: Path, monkeypatch):
    reads: list[str] = []
    read_tiff = tiff.read_tiff
    monkeypatch.setattr(
        tiff, "read_tiff", lambda path, **how: reads.append(path.stem) or read_tiff(path, **how)
    )
    names = [f"untreated_{number}" for number in range(3)]
    n_bytes = 2 * 24 * 24

    kept = taken(run, data_folder, keep_bytes=3 * n_bytes)
    assert reads == names
    reads.clear()
    one_kept = taken(run, data_folder, keep_bytes=n_bytes)
    assert reads == [*names, *names[1:]]
    reads.clear()
    again = taken(run, data_folder)
    assert reads == [*names, *names]

    for images in (one_kept, again):
        assert [image.name for image in images] == names
        for image, first in zip(images, kept, strict=True):
            np.testing.assert_array_equal(image.data, first.data)


class InSteps:
    """Translates all images that it is given together, in ten steps of a second each."""

    def __init__(self, monkeypatch):
        self.together: list[int] = []
        self.now = 0.0
        monkeypatch.setattr(translation_job.time, "monotonic", lambda: self.now)

    def translate(self, images, config, *, keep=False):
        batch = list(images)
        self.together.append(len(batch))
        for step in range(1, 11):
            self.now += 1.0
            self.on_part(len(batch), step, 10)
        for image in batch:
            yield Translation(image.name, image, image, residual=0.0, seconds=10 / len(batch))


def test_steps_within_a_batch_are_told_and_the_first_image_comes_alone(
    run: Run, data_folder: Path, tmp_path: Path, monkeypatch
):
    paths = sorted((data_folder / "untreated").iterdir())[:3]
    cells = CellCount(run.channel_names)
    files, _ = check_files(run, paths, "untreated", cells)
    config = TranslationConfig(source="untreated", target="treated")
    job = TranslationJob(run, config, files, tmp_path / "out", None, cells)
    translator = InSteps(monkeypatch)
    events: list[Event] = []

    job.carry_out(translator, lambda: False, events.append)

    assert translator.together == [1, 2]
    progress = [event for event in events if isinstance(event, Progress)]
    done = [event.done + event.part for event in progress]
    assert done == sorted(done)
    assert done[-1] == 3
    assert {0.5, 2.0} <= set(done)  # half of the first image, and half of the two after it
    (half,) = (e for e in progress if e.done + e.part == 0.5)
    assert (half.message, half.seconds_left) == ("step 5 of 10", 25.0)
    (two,) = (e for e in progress if e.done + e.part == 2.0 and e.part)
    assert two.message == "2 images at once, step 5 of 10"
    assert two.seconds_left == pytest.approx(7.5)


def test_that_no_cell_is_lost_in_a_reference_channel_is_so_by_construction():
    counted = {"before": 70, "after": 70, "lost": 0, "invented": 0}
    for references, told in ((("DNA",), True), ((), False)):
        cells = CellCount(("DNA", "actin"), references)
        cells.add_counted(counted)
        text = cells.event().message
        assert text.startswith("Of 70 nuclei in DNA, 0 are lost in the translation and 0 invented")
        assert ("by construction: DNA is a reference channel" in text) is told
