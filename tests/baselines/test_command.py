"""The command line on runs of baselines, with the real networks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.cli import main
from napari_phenldiff.images.simulate import simulate_images, simulate_pairs
from napari_phenldiff.images.tiff import read_image, write_tiff
from napari_phenldiff.measurement.translocation import Translocation, TranslocationSettings
from napari_phenldiff.runs.events import Saved
from napari_phenldiff.runs.folder import Run

NAMES = ("--source", "untreated", "--target", "treated")


def write_data(folder: Path, number: int, size: int) -> Path:
    for side, name in (("source", "untreated"), ("target", "treated")):
        first = 0 if side == "source" else number
        for image in simulate_images("translocation", side, number, size=size, first=first):
            write_tiff(folder / name / f"{image.name}.tif", image)
    return folder


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--method", "cyclegan", "--rank", "4"), "--method cyclegan has no --rank"),
        (("--method", "phendiff", "--base", "bundled"), "--method phendiff has no --base"),
        (("--preset", "cpu"), "--method phenldiff has no --preset"),
        (("--steps", "5", "--minutes", "1"), "--steps and --minutes both"),
        (("--method", "cyclegan", "--condition", "other", "--preset", "cpu"), "got 3"),
    ],
)
def test_options_that_do_not_belong_together_are_refused(options, told, tmp_path, capsys):
    code = main(["train", str(tmp_path), *NAMES, *options, "--out", str(tmp_path / "run")])
    assert code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", ["cyclegan", "phendiff"])
def test_train_resume_and_translate(method, tmp_path, capsys):
    data = write_data(tmp_path / "data", 3, 32)
    run, out = tmp_path / "run", tmp_path / "out"
    command = ["train", str(data), *NAMES, "--method", method, "--device", "cpu", "--steps", "2"]
    assert main([*command, "--batch-size", "1", "--out", str(run)]) == 0
    config = Run.open(run).config
    assert (config.method, config.preset, config.steps) == (method, "cpu", 2)
    assert main(["train", "--resume", str(run)]) == 0
    images = tmp_path / "one"
    images.mkdir()
    file = sorted((data / "untreated").iterdir())[0]
    (images / file.name).write_bytes(file.read_bytes())
    steps = ["--inference-steps", "2"] if method == "phendiff" else []
    assert main(["translate", str(run), str(images), "--out", str(out), *steps]) == 0
    assert read_image(out / "translated" / file.name).shape == (32, 32)
    record = json.loads((out / "translation.json").read_text())
    assert (record["method"], record["preset"], record["base"]) == (method, "cpu", "random")
    assert record["settings"]["guidance"] == 1.0
    assert record["settings"]["inference_steps"] == (2 if steps else 1)
    capsys.readouterr()
    refused = tmp_path / "refused"
    assert main(["translate", str(run), str(images), "--out", str(refused), "--depth", "0.3"]) == 2
    assert f"The method {method} has no depth" in capsys.readouterr().err
    assert not refused.exists()


@pytest.mark.slow
def test_a_training_that_is_killed_goes_on_to_the_same_weights(tmp_path):
    data = write_data(tmp_path / "data", 3, 32)
    common = [*NAMES, "--method", "cyclegan", "--device", "cpu", "--preset", "cpu"]
    common += ["--checkpoint-every", "5", "--steps", "60"]
    program = [sys.executable, "-m", "napari_phenldiff", "train"]
    run = tmp_path / "killed"
    with subprocess.Popen([*program, str(data), *common, "--out", str(run)]) as process:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            saved = run.is_dir() and any(isinstance(e, Saved) for e in Run.open(run).events()[0])
            if saved:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert Run.open(run).state == "interrupted"
    assert main(["train", "--resume", str(run)]) == 0
    straight = tmp_path / "straight"
    assert main(["train", str(data), *common, "--out", str(straight)]) == 0
    made = [Run.open(path).adapter_path / "weights.safetensors" for path in (run, straight)]
    assert made[0].read_bytes() == made[1].read_bytes()
