from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs import lock
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.lock import SILENCE_SECONDS, hold, holder

HOLD = """
import sys, time
from pathlib import Path
from napari_phenldiff.runs.lock import hold
with hold(Path(sys.argv[1]), what="run x"):
    print("held", flush=True)
    time.sleep(60)
"""


def _write(path: Path, *, silent: bool = False, **changes: object) -> None:
    values = {"pid": os.getpid(), "host": socket.gethostname(), "started": 0.0, "token": "t"}
    path.write_text(json.dumps({**values, **changes}))
    if silent:
        then = time.time() - 2 * SILENCE_SECONDS
        os.utime(path, (then, then))


def test_a_lock_is_there_while_it_is_held(tmp_path: Path):
    path = tmp_path / "run.lock"
    assert holder(path) is None
    with hold(path, what="run x"):
        found = holder(path)
        assert found is not None
        assert found.alive
        assert (found.pid, found.host) == (os.getpid(), socket.gethostname())
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_released_when_its_holder_fails(tmp_path: Path):
    def fail() -> None:
        with hold(tmp_path / "run.lock", what="run x"):
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_could_not_be_written_is_none(tmp_path: Path, monkeypatch):
    def full(content: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_phenldiff.runs.lock.json.dumps", full)
    with pytest.raises(OSError, match="No space left"):
        hold(tmp_path / "run.lock", what="run x").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, python):
    path = tmp_path / "run.lock"
    first = python(HOLD, path)
    assert first.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"run x is in use by process {first.pid} on "):
        hold(path, what="run x").__enter__()
    assert holder(path).pid == first.pid

    first.send_signal(signal.SIGKILL)
    # Not waited for yet: the dead process is a zombie, whose id is still taken.
    deadline = time.monotonic() + 5
    while holder(path).alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not holder(path).alive
    with hold(path, what="run x"):
        assert holder(path).pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_process_id_that_was_given_to_another_process_does_not_count(tmp_path: Path):
    path = tmp_path / "run.lock"
    _write(path, silent=True)
    assert not holder(path).alive
    with hold(path, what="run x"):
        pass


def test_a_holder_on_another_machine_is_judged_by_when_it_was_heard_of(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.2)
    path = tmp_path / "run.lock"
    _write(path, host="elsewhere")
    with pytest.raises(InputError, match="on elsewhere"):
        hold(path, what="run x").__enter__()
    _write(path, host="elsewhere", silent=True)
    with hold(path, what="run x"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_a_lock_just_being_written_counts_as_held(tmp_path: Path, text):
    path = tmp_path / "run.lock"
    path.write_text(text)
    with pytest.raises(InputError, match="in use by another process"):
        hold(path, what="run x").__enter__()


def test_a_holder_touches_its_lock(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("napari_phenldiff.runs.lock.HEARTBEAT_SECONDS", 0.01)
    path = tmp_path / "run.lock"
    with hold(path, what="run x"):
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 5
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 0


def test_of_two_that_find_a_stale_lock_only_one_gets_it(tmp_path: Path, monkeypatch):
    """Another process takes over the stale lock after this one has looked at it."""
    path = tmp_path / "run.lock"
    _write(path, pid=2**22 + 1, token="stale")
    stale = holder(path)
    _write(path, pid=os.getpid(), token="fresh")
    monkeypatch.setattr(
        "napari_phenldiff.runs.lock.holder",
        lambda p, looked=[]: looked.append(p) or (stale if len(looked) == 1 else holder(p)),
    )
    with pytest.raises(InputError, match="in use"):
        hold(path, what="run x").__enter__()
    assert json.loads(path.read_text())["token"] == "fresh"


def test_a_process_in_another_container_is_not_looked_up_by_its_id(tmp_path: Path):
    """Containers may share a host name, and count their processes from 1 each."""
    path = tmp_path / "run.lock"
    content = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": 1.0, "token": "other"}
    path.write_text(json.dumps({**content, "namespace": "another boot, another container"}))
    found = lock.holder(path)
    assert found is not None
    assert not found.can_be_looked_up
    assert found.alive
    with pytest.raises(InputError, match="in use by process"), lock.hold(path, what="run"):
        pass


def test_a_silent_holder_elsewhere_that_is_heard_again_keeps_its_lock(tmp_path: Path, monkeypatch):
    """A clock that was set makes a lock look old; its holder goes on touching it."""
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.2)
    path = tmp_path / "run.lock"
    content = {"pid": 7, "host": "elsewhere", "started": 1.0, "token": "other"}
    path.write_text(json.dumps(content))
    os.utime(path, (1.0, 1.0))
    touch = threading.Timer(0.1, lambda: os.utime(path, (2.0, 2.0)))
    touch.start()
    with pytest.raises(InputError, match="in use by process 7"), lock.hold(path, what="run"):
        pass
    touch.join()
    with lock.hold(path, what="run") as held:  # silent for good now
        held.check()


def test_a_lock_that_was_taken_away_is_noticed_before_the_next_write(tmp_path: Path):
    path = tmp_path / "run.lock"
    with lock.hold(path, what="run A") as held:
        held.check()
        path.write_text(json.dumps({"pid": 9, "host": "b", "started": 1.0, "token": "taken"}))
        with pytest.raises(InputError, match="no longer held by this process but by process 9"):
            held.check()
    assert path.exists()  # the other one's


def test_a_run_whose_lock_was_taken_writes_no_checkpoint(tmp_path: Path):
    run = Run.create(
        tmp_path / "run",
        TrainingConfig(conditions=("a", "b")),
        scaling=IntensityScaling.fit(
            [Image(np.arange(16.0).reshape(1, 4, 4), ("DNA",), None, "a")]
        ),
        channel_names=("DNA",),
    )
    with run.lock():
        run.save_checkpoint(1, {"a": b"1"})
        (run.path / "run.lock").unlink()
        with pytest.raises(InputError, match="was removed"):
            run.save_checkpoint(2, {"a": b"2"})
        with pytest.raises(InputError, match="was removed"):
            run.save_adapter({"a": b"2"})
    assert [step for step, _ in [run.latest_checkpoint()]] == [1]
