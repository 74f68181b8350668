"""Fine-tuning in several processes that share each batch, with a tiny model."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import load_file

from napari_phenldiff import InputError, TrainingConfig, train
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.events import Failed, Finished, Preview, Step
from napari_phenldiff.runs.folder import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")

CONDITIONS = ("untreated", "treated")
PHENLDIFF = (sys.executable, "-m", "napari_phenldiff")
TORCHRUN = (
    sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend",
    "c10d", "--rdzv_endpoint", "localhost:0", "-m", "napari_phenldiff",
)  # fmt: skip
"""What `accelerate launch` starts as well, where there are several GPUs."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six fields per condition that differ in more than their brightness."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("images")
    for condition in CONDITIONS:
        for k in range(6):
            data = rng.integers(1, 1000, (2, 40, 40), dtype=np.uint16)
            if condition == "treated":
                data[1] = np.repeat(np.repeat(data[1, ::4, ::4], 4, 0), 4, 1)
            image = Image(data, ("DNA", "marker"), (0.5, 0.5), f"{condition}{k}")
            write_tiff(folder / condition / f"{image.name}.tif", image)
    return folder


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Start the command as a real process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    started: list[subprocess.Popen[str]] = []

    def call(*args: object, by: tuple[str, ...] = PHENLDIFF) -> subprocess.Popen[str]:
        command = [*by, *map(str, args)]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


def command(images: Path, base: Path, out: Path, *more: object, steps: int = 6) -> list[object]:
    return [
        "train", images, "--source", "untreated", "--target", "treated", "--out", out,
        "--base", base, "--steps", steps, "--batch-size", 4, "--checkpoint-every", 2,
        "--preview-every", 3, "--device", "cpu", "--precision", "float32", "--validation-images", 2,
        "--reference-channels", "none", *more,
    ]  # fmt: skip


def losses(run: Path) -> dict[int, float]:
    return {
        event.step: event.loss for event in Run.open(run).events()[0] if isinstance(event, Step)
    }


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "adapter" / "pytorch_lora_weights.safetensors")


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "config.json").exists() and max(losses(run), default=0) >= step:
            return
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"step {step} was not reached: {process.communicate()}")


def trainers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the processes that train, in the order of their ranks."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        rank = child.environ().get("RANK")
        if rank is not None:
            found[int(rank)] = child
    return [found[rank] for rank in sorted(found)]


def all_gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=60)
    return not alive


@pytest.fixture(scope="module")
def alone(images, tiny_base, tmp_path_factory) -> Path:
    """What one process learns."""
    out = tmp_path_factory.mktemp("alone") / "run"
    done = subprocess.run(
        [*PHENLDIFF, *map(str, command(images, tiny_base, out))],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.slow
@pytest.mark.parametrize("by", [PHENLDIFF, TORCHRUN], ids=["--processes", "torchrun"])
def test_two_processes_learn_what_one_does(images, tiny_base, tmp_path, alone, start, by):
    one, two = alone, tmp_path / "two"
    more = ("--processes", 2) if by is PHENLDIFF else ()
    process = start(*command(images, tiny_base, two, *more), by=by)
    said, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert said.count("2 processes share each batch of 4") == 1
    assert said.count("The run is in") == 1
    if by is PHENLDIFF:
        assert err == ""
    runs = [Run.open(path) for path in (one, two)]
    assert [run.state for run in runs] == ["finished", "finished"]
    assert losses(two).keys() == losses(one).keys()
    for step, loss in losses(one).items():
        assert losses(two)[step] == pytest.approx(loss, rel=1e-4), step
    there, here = weights(two), weights(one)
    assert there.keys() == here.keys()
    for name, value in here.items():
        np.testing.assert_allclose(there[name], value, atol=2e-4, err_msg=name)
    previews = [[e for e in run.events()[0] if isinstance(e, Preview)] for run in runs]
    assert len(previews[0]) == len(previews[1]) > 0
    files = [
        sorted(path.relative_to(run.path) for path in run.path.rglob("*") if path.is_file())
        for run in runs
    ]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_one_ends_all_and_the_run_goes_on(images, tiny_base, tmp_path, start, rank):
    run = tmp_path / "run"
    process = start(*command(images, tiny_base, run, "--processes", 2, steps=200))
    wait_for_step(run, 5, process)
    members = trainers(process)
    assert len(members) == 2
    members[rank].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1
    assert all_gone(members)
    # The one that is left may be asked to end before it notices that it is alone.
    told = [line for line in err.splitlines() if line and "Ending after this step" not in line]
    assert len(told) == 1, err
    assert f"Process {rank + 1} of 2 was ended (by signal 9)" in err
    assert f"phenldiff train --resume {run} --processes 2" in err
    opened = Run.open(run)
    assert opened.state in ("failed", "interrupted")
    if rank:
        assert isinstance(opened.events()[0][-1], Failed)
    saved, _ = opened.latest_checkpoint()
    assert saved >= 4

    again = start("train", "--resume", run, "--processes", 2)
    wait_for_step(run, saved + 3, again)
    steps = [event.step for event in opened.events()[0] if isinstance(event, Step)]
    assert saved + 1 in steps[steps.index(saved) + 1 :]  # not from the beginning
    # SIGTERM, as a cluster sends it before the time is over, ends all of them with all saved.
    again.send_signal(signal.SIGTERM)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 143, err
    assert "Traceback" not in err
    last = opened.events()[0][-1]
    assert isinstance(last, Finished)
    assert last.stopped
    assert opened.latest_checkpoint()[0] == last.step
    assert list(run.rglob("*.part")) == []


@pytest.mark.slow
@pytest.mark.parametrize("by", [PHENLDIFF, TORCHRUN], ids=["--processes", "torchrun"])
def test_a_finished_run_keeps_no_process_waiting_and_can_be_trained_longer(
    alone, tmp_path, start, by
):
    run = tmp_path / "run"
    shutil.copytree(alone, run)
    steps = Run.open(run).config.steps
    several = ("--processes", 2) if by is PHENLDIFF else ()
    out, err = start("train", "--resume", run, *several, by=by).communicate(timeout=120)
    assert "is finished; there is nothing to resume" in out, err
    longer = start("train", "--resume", run, "--steps", steps + 2, *several, by=by)
    _, err = longer.communicate(timeout=240)
    assert longer.returncode == 0, err
    assert Run.open(run).latest_checkpoint()[0] == steps + 2


@pytest.mark.slow
def test_processes_do_not_outlive_who_has_started_them(
    images, tiny_base, tmp_path, start, monkeypatch
):
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = start(*command(images, tiny_base, run, "--processes", 2, steps=2000))
    wait_for_step(run, 2, process)
    members = trainers(process)
    process.kill()
    assert all_gone(members)
    assert Run.open(run).state == "stopped"
    assert not list(scratch.glob("phenldiff-*"))


def test_what_several_processes_cannot_do_is_refused(images, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    out = tmp_path / "run"
    common = {"conditions": CONDITIONS, "base": str(tiny_base), "device": "cpu"}
    with pytest.raises(InputError, match="cannot be shared by 3 processes"):
        train(images, TrainingConfig(**common, batch_size=4), out)
    with pytest.raises(InputError, match="told how long to train by --steps"):
        train(images, TrainingConfig(**common, batch_size=6, minutes=2), out)
    assert not out.exists()


def test_numbers_of_processes_that_make_no_sense(images, tiny_base, tmp_path, phenldiff):
    out = tmp_path / "run"
    code, _, err = phenldiff(*command(images, tiny_base, out, "--processes", 0))
    assert (code, "give at least 1" in err) == (2, True)
    assert "PHENLDIFF_LAUNCHER" not in os.environ
    assert not out.exists()


_STUCK = """
import os, signal, subprocess, sys, time
if len(sys.argv) == 1:
    child = subprocess.Popen(
        [sys.executable, sys.argv[0], "child"],
        env=os.environ | {"PHENLDIFF_LAUNCHER": str(os.getpid())},
    )
    time.sleep(600)
from napari_phenldiff.jobs import taking_part
from napari_phenldiff.runs.scratch import make_scratch
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as if it waited for another process
taking_part._GRACE_SECONDS = 1
taking_part.end_with_the_launcher()
make_scratch("copy")
print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_a_process_that_hears_no_signal_ends_with_its_launcher(tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "stuck.py").write_text(_STUCK)
    launcher = subprocess.Popen(
        [sys.executable, str(tmp_path / "stuck.py")], stdout=subprocess.PIPE, text=True
    )
    stuck = psutil.Process(int(launcher.stdout.readline()))
    launcher.kill()
    launcher.wait()
    psutil.wait_procs([stuck], timeout=60)
    assert not stuck.is_running()
    assert list((tmp_path / "scratch").iterdir()) == []
    launcher.stdout.close()
