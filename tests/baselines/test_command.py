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

from napari_phenldiff.baselines.loading import load_translator, train
from napari_phenldiff.cli import main
from napari_phenldiff.images.simulate import simulate_images, simulate_pairs
from napari_phenldiff.images.tiff import read_image, write_tiff
from napari_phenldiff.jobs.process import ChildProcess, follow
from napari_phenldiff.jobs.requests import SessionRequest
from napari_phenldiff.jobs.session import Session, StrengthRequest, TranslateRequest
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Failed, Finished, Saved
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


@pytest.mark.slow
def test_cyclegan_moves_the_marker_into_the_nuclei(tmp_path):
    data = write_data(tmp_path / "data", 40, 64)
    run = tmp_path / "run"
    common = [*NAMES, "--method", "cyclegan", "--device", "cpu", "--preset", "cpu"]
    common += ["--steps", "300", "--validation-images", "0", "--checkpoint-every", "300"]
    assert main(["train", str(data), *common, "--out", str(run)]) == 0
    pairs = list(simulate_pairs("translocation", 12, seed=7, size=64))
    config = TranslationConfig(source="untreated", target="treated")
    results = list(load_translator(run).translate([pair.source for pair in pairs], config))
    groups = {
        "untreated": [pair.source for pair in pairs],
        "treated": [pair.target for pair in pairs],
        "reconstructed": [result.reconstructed for result in results],
        "translated": [result.translated for result in results],
    }
    measured = measure("translocation", groups, fit_on=("untreated", "treated"))
    ratio = {name: float(np.nanmean(measured.values(name))) for name in groups}
    moved = ratio["translated"] - ratio["reconstructed"]
    assert moved > 0.3 * (ratio["treated"] - ratio["untreated"]) > 0, ratio


@pytest.mark.slow
def test_the_session_of_the_viewer_translates_and_tells_that_there_is_no_dial(
    tmp_path, experiment, make_run
):
    run = make_run("run", "cyclegan", experiment, steps=1)
    list(train(experiment, run))

    def start(log: Path) -> ChildProcess:
        request = SessionRequest(run=run.path, folder=log.parent, idle=60)
        return ChildProcess.carry_out(
            request, log.parent / "request.json", log=log, reads_stdin=True
        )

    (tmp_path / "session").mkdir()
    session = Session(tmp_path / "session", start)
    try:
        number, folder = session.new_folder()
        write_tiff(folder / "images" / "a.tif", experiment["untreated"].images[0])
        config = TranslationConfig(source="untreated", target="treated")
        session.ask(TranslateRequest(number=number, config=config))
        *_, last = follow(folder / "events.jsonl", session.process, interval=0.05)
        assert last == Finished(1, time=last.time)
        assert (folder / "translated" / "a.tif").is_file()
        number, turned = session.new_folder()
        session.ask(StrengthRequest(number=number, of=number - 1, image=0, strength=0.5))
        *_, last = follow(turned / "events.jsonl", session.process, interval=0.05)
        assert isinstance(last, Failed)
        assert "no dial" in last.message
    finally:
        session.close()
