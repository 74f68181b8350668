"""Commands that are ended from outside: what is left of them, and what they say."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Images that take some seconds to measure."""
    rng = np.random.default_rng(0)
    for condition in ("untreated", "treated"):
        for number in range(40):
            pixels = rng.integers(1, 4000, (2, 256, 256), dtype=np.uint16)
            image = Image(pixels, ("DNA", "marker"), (0.5, 0.5), f"{condition}{number}")
            write_tiff(tmp_path / "many" / condition / f"{image.name}.tif", image)
    return tmp_path / "many"


def wait_until(true, seconds: float = 90.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(true())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_the_command(many, tmp_path, start, how):
    process = start(
        "measure", "area", many, "--channel", "marker", "--workers", 2,
        "--out", tmp_path / "out" / "t.csv",
    )  # fmt: skip
    parent = psutil.Process(process.pid)
    assert wait_until(lambda: len(parent.children(recursive=True)) >= 3)
    children = parent.children(recursive=True)
    process.send_signal(how)
    _, err = process.communicate(timeout=90)
    assert wait_until(lambda: not any(child.is_running() for child in children), 30)
    if how == signal.SIGTERM:
        assert process.returncode == 143, err
        assert "ended by SIGTERM" in err
        assert "Traceback" not in err
    assert not list((tmp_path / "out").glob("*"))


def test_measuring_ends_on_sigterm_with_a_sentence(many, tmp_path, start):
    process = start("measure", "cells", many, "--out", tmp_path / "out" / "t.csv")
    assert "2 conditions" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 143, err
    assert err == "phenldiff: ended by SIGTERM; what was complete before is kept\n"


def test_a_simulation_that_is_ended_leaves_nothing(tmp_path, start):
    out = tmp_path / "here" / "out"
    process = start("simulate", "golgi", "--out", out, "--images", 500)
    assert wait_until(lambda: any((tmp_path / "here").glob(".out.*/*/*.tif")))
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 143, err
    assert "Traceback" not in err
    assert list((tmp_path / "here").iterdir()) == []


def test_what_a_killed_simulation_left_goes_with_the_next(tmp_path, start):
    out = tmp_path / "here" / "out"
    process = start("simulate", "golgi", "--out", out, "--images", 500)
    assert wait_until(lambda: any((tmp_path / "here").glob(".out.*/*/*.tif")))
    process.kill()
    process.communicate()
    assert list((tmp_path / "here").iterdir())
    again = start("simulate", "golgi", "--out", out, "--images", 2)
    assert again.wait(timeout=90) == 0
    assert list((tmp_path / "here").iterdir()) == [out]
