from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_phenldiff.runs import threads
from napari_phenldiff.runs.threads import WAITING, share_cores


@pytest.fixture
def machine(monkeypatch):
    def make(cores: int, busy: float) -> None:
        monkeypatch.setattr(threads, "usable_cores", lambda: cores)
        monkeypatch.setattr(threads, "busy_cores", lambda: busy)

    return make


@pytest.mark.parametrize(
    ("cores", "busy", "expected"),
    [(2, 1.0, 1), (2, 1.9, 1), (8, 3.2, 5), (8, 7.8, 1), (2, 0.3, None), (1, 1.0, None)],
)
def test_threads_are_as_many_as_cores_are_free(machine, cores, busy, expected):
    machine(cores, busy)
    environment: dict[str, str] = {}
    assert share_cores(environment) == expected
    assert environment.get("OMP_NUM_THREADS") == (None if expected is None else str(expected))
    assert WAITING.items() <= environment.items()


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "WORLD_SIZE"])
def test_what_the_user_has_set_is_left(machine, name):
    machine(2, 1.0)
    environment = {name: "7"}
    assert share_cores(environment) is None
    assert environment == {name: "7", **WAITING}


@pytest.mark.parametrize("name", list(WAITING))
def test_settings_of_the_user_are_kept(machine, name):
    machine(2, 0.0)
    environment = {name: "as I said"}
    share_cores(environment)
    assert environment == {name: "as I said"}


def test_low_priority_does_not_count():
    before = dict.fromkeys(("user", "nice", "system", "idle", "iowait", "guest"), 7.0)
    spent = {"user": 0.06, "nice": 0.1, "system": 0.02, "idle": 0.01, "iowait": 0.01, "guest": 0.06}
    after = {name: time + spent[name] for name, time in before.items()}
    assert threads._busy(before, after, with_nice=False) == pytest.approx(0.4)
    assert threads._busy(before, after, with_nice=True) == pytest.approx(0.9)
    assert threads._busy(before, before, with_nice=True) == 0


def test_busy_cores_are_detected():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        # The interpreter takes its time to start.
        found = max(threads.busy_cores() for _ in range(8))
    finally:
        busy.kill()
        busy.wait()
    assert 0.4 < found <= (os.cpu_count() or 1)


def test_the_command_says_so_before_torch_is_loaded():
    """A process of the command, as docks, sessions and the demo start it."""
    code = (
        "import os, sys\n"
        "from napari_phenldiff import cli\n"
        "from napari_phenldiff.cli import device\n"
        "def run(args):\n"
        "    print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'),"
        " os.environ.get('OMP_WAIT_POLICY'))\n"
        "    return 0\n"
        "device.run = run\n"
        "sys.argv = ['phenldiff', 'device']\n"
        "sys.exit(cli.main())\n"
    )
    clean = {k: v for k, v in os.environ.items() if k not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "0", "PASSIVE"]
