"""Two small conditions on disk, and the command line with a stand-in for the method."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.cli import main
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

STAND_IN = Path(__file__).with_name("fake_diffusion.py")
CONDITIONS = ("untreated", "treated")


def make_image(name: str, seed: int, n_channels: int = 2) -> Image:
    rng = np.random.default_rng(seed)
    data = rng.integers(1, 1000, (n_channels, 20, 16), dtype=np.uint16)
    return Image(data, ("DNA", "marker", "actin")[:n_channels], (0.5, 0.25), name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five images per condition."""
    for c, condition in enumerate(CONDITIONS):
        for i in range(5):
            name = f"{condition[0]}{i}"
            write_tiff(tmp_path / "data" / condition / f"{name}.tif", make_image(name, 10 * c + i))
    return tmp_path / "data"


@pytest.fixture
def fake_diffusion(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put the stand-in into this process; call the fixture to have it fail."""
    spec = importlib.util.spec_from_file_location("fake_diffusion", STAND_IN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    monkeypatch.setitem(sys.modules, "fake_diffusion", module)
    spec.loader.exec_module(module)
    for name, content in module.modules().items():
        monkeypatch.setitem(sys.modules, name, content)
    return lambda how: monkeypatch.setenv("FAKE_DIFFUSION", how)


@pytest.fixture
def phenldiff(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process; return exit code, output and errors."""

    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def trained(data: Path, tmp_path: Path, fake_diffusion, phenldiff) -> Path:
    """A run trained, by the stand-in, on three of five images per condition."""
    run = tmp_path / "run"
    code, _, _ = phenldiff(
        "train", data, "--source", "untreated", "--target", "treated", "--out", run,
        "--images-per-condition", 3, "--steps", 5,
    )  # fmt: skip
    assert code == 0
    return run


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command, with the stand-in, as a real process that takes its time."""
    monkeypatch.setenv("FAKE_DIFFUSION", "slow")
    started: list[subprocess.Popen[str]] = []

    def call(*args: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(STAND_IN), *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()
