from __future__ import annotations

from pathlib import Path

from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.jobs.translation_files import run_warnings, unfinished
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Finished, append_event
from napari_phenldiff.runs.folder import Run


def make_run(path: Path) -> Run:
    scaling = IntensityScaling(("DNA",), (0.0,), (200.0,), (0.0,))
    config = TrainingConfig(conditions=("a", "b"), steps=150)
    return Run.create(path, config, scaling=scaling, channel_names=["DNA"], versions={})


def test_a_run_that_was_not_trained_to_its_end_is_told(tmp_path: Path):
    run = make_run(tmp_path / "run")
    assert unfinished(run) == ""  # nothing can be shown with it yet
    run.save_checkpoint(19, {"state.safetensors": b"x"})
    append_event(run.events_path, Finished(19, stopped=True))
    assert "(19 of 150 steps)" in unfinished(run)
    assert unfinished(run) in run_warnings(run)
    run.save_checkpoint(150, {"state.safetensors": b"x"})
    append_event(run.events_path, Finished(150))
    assert unfinished(run) == ""
