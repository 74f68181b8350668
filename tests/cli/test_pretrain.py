from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs import interruption as interruptions
from napari_phenldiff.runs.events import Failed, Finished, Preview, Step, Warned, read_events

TINY = (
    "--tile", 32, "--widths", "32,32", "--heads", "1,1", "--token-width", 16, "--crops", 20,
    "--batch-size", 2, "--device", "cpu", "--preview-every", 0,
)  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Four fields of two channels."""
    rng = np.random.default_rng(0)
    for i in range(4):
        data = rng.integers(1, 1000, (2, 48, 48), dtype=np.uint16)
        image = Image(data, ("DNA", "marker"), None, f"f{i}")
        write_tiff(tmp_path / "images" / f"plate {i % 2}" / f"f{i}.tif", image)
    return tmp_path / "images"


def events_of(base: Path) -> list[object]:
    return list(read_events(base / "training" / "events.jsonl")[0])


def result(base: Path) -> list[bytes]:
    found = [p.read_bytes() for p in sorted(base.glob("*/*.safetensors"))]
    assert len(found) == 3
    return found


def assert_equal(one: Path, other: Path) -> None:
    """Two bases are equal to the bit; if not, it says where and how much."""
    from safetensors.numpy import load

    for file in sorted(one.glob("*/*.safetensors")):
        theirs = load((other / file.relative_to(one)).read_bytes())
        for name, value in load(file.read_bytes()).items():
            np.testing.assert_array_equal(value, theirs[name], err_msg=f"{file.name}: {name}")
    assert result(one) == result(other)


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "napari_phenldiff", "pretrain", *map(str, args)]


def wait_for_step(base: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(isinstance(e, Step) and e.step >= step for e in events_of(base)):
            return
        time.sleep(0.02)
    process.kill()
    pytest.fail(f"step {step} was not reached: {process.communicate()}")


def test_a_base_is_made_from_images(images, tmp_path, phenldiff):
    base = tmp_path / "base"
    broken = images / "plate 0" / "broken.tif"
    broken.write_bytes(b"II*\0")
    code, out, _ = phenldiff("pretrain", images, "--out", base, *TINY, "--steps", 3,
                             "--preview-every", 2)  # fmt: skip
    assert code == 0
    assert "image 5/5" in out
    assert "step 3/3" in out
    assert "warning: 1 file of 5 could not be read" in out
    assert f"phenldiff train --base {base}" in out
    events = events_of(base)
    assert isinstance(events[0], Warned)
    assert events[-1] == Finished(3, time=events[-1].time)
    previews = [e.path for e in events if isinstance(e, Preview)]
    assert len(previews) == 2
    assert all((base / path).is_file() for path in previews)
    assert not (base / "training" / "run.lock").exists()

    from napari_phenldiff.diffusion.base import BaseModel

    loaded = BaseModel.load(str(base))
    assert (loaded.image_channels, loaded.tile) == (2, 32)
    card = (base / "README.md").read_text()
    assert "| images | 4 | 2 | 16 |" in card
    assert str(tmp_path) not in card


def test_the_same_command_goes_on_and_so_does_resume(images, tmp_path, phenldiff, monkeypatch):
    whole, base, again = (tmp_path / name for name in ("whole", "base", "again"))
    assert phenldiff("pretrain", images, "--out", whole, *TINY, "--steps", 4)[0] == 0

    # Ctrl-C during the second step
    def stop_at_once(self: object) -> bool:
        return True

    for out, resume in ((base, ("--resume", base)), (again, ())):
        ask = ("pretrain", images, "--out", out, *TINY, "--steps", 4)
        with monkeypatch.context() as patched:
            patched.setattr(interruptions.Interruption, "__bool__", stop_at_once)
            code, text, _ = phenldiff(*ask)
        assert code == 0
        assert "Stopped after 1 step" in text
        assert f"phenldiff pretrain --resume {out}" in text
        code, text, _ = phenldiff("pretrain", *resume) if resume else phenldiff(*ask)
        assert code == 0
        assert "Finished after 4 steps" in text
        assert [e.step for e in events_of(out) if isinstance(e, Step)] == [1, 2, 3, 4]
        assert result(out) == result(whole)
        before = everything(out)
        code, text, _ = phenldiff(*ask)
        assert code == 0
        assert "is finished" in text
        assert everything(out) == before


def test_other_options_in_the_same_folder_are_refused(images, tmp_path, phenldiff):
    base = tmp_path / "base"
    ask = ("pretrain", images, "--out", base, *TINY, "--steps", 1)
    assert phenldiff(*ask)[0] == 0
    before = result(base)
    for folders, more, told in (
        ([images], ("--seed", 3), r"seed was 0, not 3"),
        ([images], ("--channels", 3), r"image_channels was not given, not 3"),
        ([images / "plate 0"], (), r"images was .*images, not .*plate 0"),
        ([images], ("--z", "max"), r"z was not given, not max"),
    ):
        code, _, err = phenldiff("pretrain", *ask[2:], *more, *folders)
        assert code == 2
        assert err.count("\n") == 1
        assert re.search(told, err), err
        assert "--resume" in err
    assert result(base) == before


def test_a_base_can_be_trained_on(images, tmp_path, phenldiff, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    assert phenldiff("pretrain", images, "--out", first, *TINY, "--steps", 1)[0] == 0
    monkeypatch.chdir(tmp_path)
    ask = (
        "pretrain", images, "--from", "first", "--out", second, "--crops", 10, "--batch-size", 2,
        "--steps", 1, "--device", "cpu",
    )  # fmt: skip
    code, _, _ = phenldiff(*ask)
    assert code == 0
    assert "started from the base first" in (second / "README.md").read_text()
    code, out, _ = phenldiff(*ask)
    assert code == 0
    assert "is finished" in out
    code, _, err = phenldiff(*ask[:4], "--out", tmp_path / "third", "--tile", 64)
    assert code == 2
    assert "has tile 32, not 64: leave this setting out" in err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "needs IMAGES and --out"),
        (("--out", "base"), "needs IMAGES and --out"),
        (("images", "--out", "base", "--steps", 0), "steps: input should be greater"),
        (("images", "--out", "images"), "exists and is not empty"),
        (("images", "--out", "base", "--compose", *TINY), "nothing to compose"),
        (("images", "--out", "base", *TINY, "--channels", 1), "and the base takes 1"),
        (("images", "--out", "base", "--from", "images"), "not a base that can be trained further"),
        (("--resume", "images"), "holds no pre-training that could be resumed"),
        (("images", "--resume", "base", "--channels", 2, "--from", "bundled"),
         "leave out --channels, --from, IMAGES"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(images, tmp_path, phenldiff, monkeypatch, args, told):
    monkeypatch.chdir(tmp_path)
    before = everything(tmp_path)
    code, _, err = phenldiff("pretrain", *args)
    assert code == 2
    assert err.count("\n") == 1
    assert told in err
    assert everything(tmp_path) == before


def test_numbers_that_are_none_are_refused(phenldiff, capsys):
    with pytest.raises(SystemExit):
        phenldiff("pretrain", "images", "--out", "base", "--widths", "32,wide")
    assert "argument --widths" in capsys.readouterr().err


def test_a_batch_that_processes_cannot_share_is_refused(images, tmp_path, phenldiff, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    code, _, err = phenldiff("pretrain", images, "--out", tmp_path / "base", *TINY)
    assert code == 2
    assert "A batch of 2 cannot be shared by 3 processes" in err
    assert not (tmp_path / "base").exists()


def test_a_failure_is_written_down_and_can_be_resumed(images, tmp_path, phenldiff, monkeypatch):
    from napari_phenldiff.diffusion import pretrain

    base = tmp_path / "base"

    def fail(*args: object, **more: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(pretrain, "generate", fail)
        code, _, err = phenldiff(
            "pretrain", images, "--out", base, *TINY, "--steps", 2, "--preview-every", 1
        )
    assert code == 1
    assert "not enough memory" in err
    assert isinstance(events_of(base)[-1], Failed)
    assert phenldiff("pretrain", "--resume", base)[0] == 0


@pytest.mark.slow
def test_a_killed_process_costs_no_more_than_the_steps_since_the_checkpoint(
    images, tmp_path, phenldiff
):
    base, whole = tmp_path / "base", tmp_path / "whole"
    # Many more steps than are waited for, so that it is not done before the signal.
    ask = (*TINY, "--steps", 200, "--checkpoint-every", 7)
    process = subprocess.Popen(command(images, "--out", base, *ask), stdout=subprocess.DEVNULL)
    wait_for_step(base, 30, process)
    process.kill()
    process.wait()
    stopped = subprocess.Popen(command("--resume", base), stdout=subprocess.DEVNULL)
    wait_for_step(base, 45, stopped)
    if os.name == "posix":
        stopped.send_signal(signal.SIGINT)
        assert stopped.wait(60) == 130
    else:
        stopped.kill()
        stopped.wait()
    assert phenldiff("pretrain", "--resume", base)[0] == 0
    assert phenldiff("pretrain", images, "--out", whole, *ask)[0] == 0
    assert_equal(base, whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torch has no gloo for processes there")
def test_two_processes_make_the_base_that_one_makes(images, tmp_path, phenldiff):
    from safetensors.numpy import load

    both, alone = tmp_path / "both", tmp_path / "alone"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ask = (*TINY, "--steps", 3)
    shared = {
        **os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            command(images, "--out", both, *ask),
            env={**shared, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("1", "0")
    ]
    told = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    # the first alone speaks and writes
    assert told[0] == ""
    assert "Finished after 3 steps" in told[1]
    assert [e.step for e in events_of(both) if isinstance(e, Step)] == [1, 2, 3]
    assert phenldiff("pretrain", images, "--out", alone, *ask)[0] == 0
    # Other numbers of channels are given in the halves of a batch: each latent counts alike.
    losses = [[e.loss for e in events_of(x) if isinstance(e, Step)] for x in (both, alone)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    for one, other in zip(map(load, result(alone)), map(load, result(both)), strict=True):
        for key in one:
            assert np.allclose(one[key], other[key], atol=1e-3), key
