from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.events import Failed, Finished, Noted, Step, Warned, read_events
from napari_phenldiff.runs.folder import Run

NAMES = ("--source", "untreated", "--target", "treated")


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if run.exists() and any(
            isinstance(e, Step) and e.step >= step for e in Run.open(run).events()[0]
        ):
            return
        time.sleep(0.01)
    pytest.fail(f"step {step} was not reached: {process.communicate()}")


def test_a_run_is_trained(trained: Path):
    run = Run.open(trained)
    assert run.state == "finished"
    assert run.conditions == ("untreated", "treated")
    assert run.config.images_per_condition == 3
    trained_on = [r for r in run.images if not r.validation]
    assert [sum(r.condition == c for r in trained_on) for c in run.conditions] == [3, 3]
    # those that were left out are watched
    assert len(run.images) == 10
    assert len(run.trained_images) == 6
    assert run.has_adapter
    events = run.events()[0]
    assert events[-1] == Finished(5, time=events[-1].time)
    # five images are few, and the user is told
    assert any(isinstance(e, Warned) and "treated" in e.message for e in events)
    assert not (trained / "run.lock").exists()


def test_options_reach_the_configuration(data, tmp_path, fake_diffusion, phenldiff):
    run = tmp_path / "run"
    code, out, _ = phenldiff(
        "train", data, *NAMES, "--out", run, "--steps", 2, "--rank", 4, "--learning-rate", "2e-4",
        "--seed", 7, "--precision", "float32", "--base", data, "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    config = Run.open(run).config
    assert (config.steps, config.rank, config.learning_rate, config.seed) == (2, 4, 2e-4, 7)
    assert (config.precision, config.device) == ("float32", "cpu")
    # a folder given as base is found again from everywhere
    assert Path(config.base).is_absolute()
    assert "step 2/2" in out
    assert "Finished after 2" in out


def test_source_and_target_come_in_the_order_given(data, tmp_path, fake_diffusion, phenldiff):
    run = tmp_path / "run"
    code, _, _ = phenldiff(
        "train", data, "--source", "treated", "--target", "untreated", "--out", run, "--steps", 1
    )
    assert code == 0
    assert Run.open(run).conditions == ("treated", "untreated")


def test_how_many_wells_a_verdict_needs_is_said_at_once(tmp_path, fake_diffusion, phenldiff):
    rng = np.random.default_rng(3)
    for name, row in zip(("untreated", "treated"), "BC", strict=True):
        for well in range(6):
            for field in range(4):
                file = tmp_path / "data" / name / f"{row}{well + 1:02d}_f{field}.tif"
                file.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(file, rng.integers(0, 255, (16, 16), np.uint8))
    pair = ("--source", "untreated", "--target", "treated", "--steps", 5)
    code, said, told = phenldiff("train", tmp_path / "data", *pair, "--out", tmp_path / "one")
    assert code == 0
    assert "hold out 4 wells of each condition" in said + told
    assert "--held-out-wells" in said + told
    code, said, told = phenldiff(
        "train", tmp_path / "data", *pair, "--out", tmp_path / "four", "--held-out-wells", 4
    )
    assert code == 0
    assert "cannot tell" not in said + told
    assert len(Run.open(tmp_path / "four").trained_images) == 16


def test_it_is_said_at_once_that_nothing_stays_to_judge_with(
    data, tmp_path, fake_diffusion, phenldiff
):
    pair = ("--source", "untreated", "--target", "treated", "--steps", 5)
    code, said, told = phenldiff("train", data, *pair, "--out", tmp_path / "all")
    assert code == 0
    assert "No image of untreated and treated stays to evaluate with" in said + told
    assert "--images-per-condition" in said + told
    few = ("--images-per-condition", 3)
    code, said, told = phenldiff("train", data, *pair, *few, "--out", tmp_path / "few")
    assert code == 0
    assert "cannot tell: no test of so few (2 images of untreated" in said + told
    events, _ = read_events(tmp_path / "few" / "events.jsonl")
    assert any(isinstance(e, Noted) and "cannot tell" in e.message for e in events)


def test_more_images_than_there_are_is_a_warning(data, tmp_path, fake_diffusion, phenldiff):
    code, out, _ = phenldiff(
        "train", data, *NAMES, "--out", tmp_path / "run", "--images-per-condition", 50,
        "--steps", 1,
    )  # fmt: skip
    assert code == 0
    assert "has only 5 images; all of them are used" in out


def _missing_target(data: Path) -> None:
    shutil.rmtree(data / "treated")


def _one_image(data: Path) -> None:
    for path in sorted((data / "treated").iterdir())[1:]:
        path.unlink()


def _no_images(data: Path) -> None:
    for path in (data / "treated").iterdir():
        path.unlink()


def _truncated(data: Path) -> None:
    path = data / "treated" / "t2.tif"
    path.write_bytes(path.read_bytes()[:400])


def _other_channels(data: Path) -> None:
    from dataclasses import replace

    from napari_phenldiff.images.tiff import read_image

    for path in (data / "treated").iterdir():
        image = read_image(path)
        write_tiff(path, replace(image, data=image.data[:1], channel_names=("DNA",)))


def _constant(data: Path) -> None:
    from dataclasses import replace

    from napari_phenldiff.images.tiff import read_image

    for path in data.rglob("*.tif"):
        image = read_image(path)
        pixels = image.data.copy()
        pixels[1] = 7
        write_tiff(path, replace(image, data=pixels))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_missing_target, r'"treated"'),
        (_one_image, r"only one image"),
        (_no_images, r'"treated"'),
        (_truncated, r"t2\.tif"),
        (_other_channels, r"channel"),
        (_constant, r'"marker" has the same value'),
        (shutil.rmtree, r"does not exist"),
    ],
    ids=lambda p: getattr(p, "__name__", None),
)
def test_images_that_cannot_be_trained_on_are_refused(
    data, tmp_path, fake_diffusion, phenldiff, spoil, told
):
    spoil(data)
    before = everything(tmp_path)
    code, _, err = phenldiff("train", data, *NAMES, "--out", tmp_path / "run")
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("phenldiff: ")
    assert re.search(told, err), err
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--source", "untreated", "--target", "untreated"), "must differ"),
        (("--source", "untreated", "--target", "cured"), '"cured"'),
        ((*NAMES, "--steps", "0"), "steps"),
        ((*NAMES, "--strategy", "magic"), "strategy"),
        ((*NAMES, "--images-per-condition", "1"), "images_per_condition"),
        (("--source", "untreated"), "train needs --target"),
        ((*NAMES, "--condition", "treated"), "must differ"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    data, tmp_path, fake_diffusion, phenldiff, args, told
):
    before = everything(tmp_path)
    code, _, err = phenldiff("train", data, *args, "--out", tmp_path / "run")
    assert code == 2
    assert told in err
    assert everything(tmp_path) == before


def test_an_output_folder_with_something_in_it_is_refused(data, tmp_path, phenldiff):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    before = everything(tmp_path)
    code, _, err = phenldiff("train", data, *NAMES, "--out", tmp_path / "run")
    assert code == 2
    assert "not empty" in err
    assert everything(tmp_path) == before


def test_a_run_refused_before_its_first_step_leaves_nothing(
    data, tmp_path, fake_diffusion, phenldiff
):
    """A base model that takes fewer channels, say: only the method can tell."""
    fake_diffusion("refuse")
    before = everything(tmp_path)
    code, _, err = phenldiff("train", data, *NAMES, "--out", tmp_path / "run")
    assert code == 2
    assert "takes 1 channel at most" in err
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("how", "told", "traceback"),
    [
        ("memory", "not enough memory: use a smaller batch size", False),
        ("disk", "disk is full", False),
        ("defect", "ZeroDivisionError: division by zero", True),
    ],
)
def test_a_failure_is_the_last_event_and_the_run_can_be_resumed(
    data, tmp_path, fake_diffusion, phenldiff, monkeypatch, how, told, traceback
):
    fake_diffusion(how)
    path = tmp_path / "run"
    args = ("train", data, *NAMES, "--out", path, "--steps", 6, "--checkpoint-every", 2)
    code, _, err = phenldiff(*args)
    assert code == 1
    assert told in err
    assert ("Traceback" in err) == traceback
    run = Run.open(path)
    assert run.state == "failed"
    last = run.events()[0][-1]
    assert isinstance(last, Failed)
    assert told in last.message
    assert "\n" not in last.message

    monkeypatch.delenv("FAKE_DIFFUSION")
    code, _, _ = phenldiff("train", "--resume", path)
    assert code == 0
    assert run.state == "finished"
    steps = [e.step for e in run.events()[0] if isinstance(e, Step)]
    assert steps == [1, 2, 3, 3, 4, 5, 6]


def test_a_disk_too_full_for_the_event_still_ends_with_a_sentence(
    trained, fake_diffusion, phenldiff, monkeypatch
):
    def full(self: Run, event: object) -> None:
        raise OSError(28, "No space left on device", str(self.events_path))

    (trained / "events.jsonl").unlink()
    monkeypatch.setattr(Run, "append", full)
    code, _, err = phenldiff("train", "--resume", trained)
    assert code == 1
    assert "disk is full" in err
    assert "events.jsonl" in err
    assert not (trained / "run.lock").exists()


def test_a_run_made_beforehand_is_started_by_resuming(data, tmp_path, fake_diffusion, phenldiff):
    """This is how the widget trains on layers."""
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.images.intensity import IntensityScaling
    from napari_phenldiff.runs.config import TrainingConfig

    config = TrainingConfig(conditions=("untreated", "treated"), steps=3)
    experiment = Experiment.from_folder(data).select(config.conditions)
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.from_experiment(tmp_path / "run", config, experiment=experiment, scaling=scaling)
    # A wish to stop that is older than the process is not meant for it.
    run.request_stop()
    os.utime(run.path / "stop", (0, 0))
    code, _, _ = phenldiff("train", "--resume", run.path)
    assert code == 0
    assert run.state == "finished"
    assert not run.stop_requested


def test_a_run_whose_images_changed_is_not_resumed_and_says_so(
    trained, data, fake_diffusion, phenldiff
):
    run = Run.open(trained)
    (trained / "events.jsonl").unlink()
    path = Path(run.images[0].path)
    tifffile.imwrite(path, np.zeros((2, 8, 8), np.uint8))
    code, _, err = phenldiff("train", "--resume", trained)
    assert code == 2
    assert f"{path} has changed" in err
    assert run.state == "failed"
    assert "has changed" in run.events()[0][-1].message


def test_a_finished_run_is_left_alone(trained, phenldiff):
    before = Run.open(trained).events()[0]
    code, out, _ = phenldiff("train", "--resume", trained)
    assert code == 0
    assert "nothing to resume" in out
    assert Run.open(trained).events()[0] == before


def test_the_lock_of_one_that_was_killed_at_its_very_end_goes(trained, phenldiff):
    lock = trained / "run.lock"
    held = (
        "import os, sys; from pathlib import Path; from napari_phenldiff.runs.lock import hold\n"
        "with hold(Path(sys.argv[1]), what='run'): os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", held, lock], check=False)
    assert lock.exists()
    assert phenldiff("train", "--resume", trained)[0] == 0
    assert not lock.exists()


def test_only_runs_are_resumed_and_only_with_their_own_options(data, trained, phenldiff):
    code, _, err = phenldiff("train", "--resume", data)
    assert (code, "is not a run folder" in err) == (2, True)
    code, _, err = phenldiff("train", "--resume", trained, "--steps", 5, "--seed", 1)
    assert code == 2
    assert "leave out --seed" in err
    code, _, err = phenldiff("train", data, "--resume", trained)
    assert (code, "DATA" in err) == (2, True)
    code, _, err = phenldiff("train", "--resume", trained, "--steps", 1)
    assert (code, "steps already: give more" in err) == (2, True)


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda process, run: process.send_signal(signal.SIGINT), 130),
        (lambda process, run: process.terminate(), 143),
        (lambda process, run: Run.open(run).request_stop(), 0),
    ],
    ids=["Ctrl-C", "SIGTERM", "stop"],
)
def test_a_stop_leaves_a_usable_run_that_goes_on_where_it_was(
    data, tmp_path, start, phenldiff, fake_diffusion, ask: Callable[..., None], code: int
):
    path = tmp_path / "run"
    process = start("train", data, *NAMES, "--out", path, "--steps", 2000)
    wait_for_step(path, 3, process)
    run = Run.open(path)
    assert run.state == "running"
    ask(process, path)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Stopped after" in out
    assert f"phenldiff train --resume {path}" in out
    assert run.state == "stopped"
    assert run.has_adapter
    assert not run.stop_requested
    last = run.events()[0][-1]
    assert run.latest_checkpoint()[0] == last.step


def test_a_second_trainer_is_refused_and_a_killed_one_is_replaced(
    data, tmp_path, start, phenldiff, fake_diffusion, monkeypatch
):
    path = tmp_path / "run"
    steps = 400  # so that it is not done before the other one is refused
    ask = ("--steps", steps, "--checkpoint-every", 1)
    process = start("train", data, *NAMES, "--out", path, *ask)
    wait_for_step(path, 3, process)
    run = Run.open(path)
    code, _, err = phenldiff("train", "--resume", path)
    assert code == 2
    assert f"in use by process {process.pid}" in err
    # The refused one wrote nothing into the other's run.
    assert not any(isinstance(e, Failed) for e in run.events()[0])

    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run.state == "interrupted"
    reached = run.latest_checkpoint()[0]
    monkeypatch.delenv("FAKE_DIFFUSION")
    code, _, _ = phenldiff("train", "--resume", path)
    assert code == 0
    assert run.state == "finished"
    done = [e.step for e in run.events()[0] if isinstance(e, Step)]
    assert done[-1] == steps
    assert done.index(reached + 1, reached) >= reached


def test_nobody_needs_to_read_what_is_printed(data, tmp_path, start):
    """As in ``phenldiff train ... | head -1``."""
    path = tmp_path / "run"
    process = start("train", data, *NAMES, "--out", path, "--steps", 30)
    process.stdout.close()
    assert process.wait(60) in (0, 120)
    assert Run.open(path).state == "finished"
    process.stdout = None


def test_a_second_ctrl_c_ends_a_step_that_hangs(data, tmp_path, start, monkeypatch):
    monkeypatch.setenv("FAKE_DIFFUSION", "hang")
    path = tmp_path / "run"
    process = start("train", data, *NAMES, "--out", path, "--checkpoint-every", 1)
    wait_for_step(path, 3, process)
    while Run.open(path).latest_checkpoint() != (3, path / "checkpoints" / "step_000003"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    while "once more ends at once" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    run = Run.open(path)
    assert run.state == "interrupted"
    assert run.latest_checkpoint()[0] == 3
    assert not (path / "run.lock").exists()
