"""Fixtures and settings shared by all rooms."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import xdist

_ROOT = Path(__file__).resolve().parents[1]
CANNED_EVALUATION = Path(__file__).with_name("canned_evaluation.py")
LOCAL_HUB = Path(__file__).with_name("local_hub.py")
_NEED_A_WINDOW = {"display", "make_napari_viewer", "make_napari_viewer_proxy"}

# Before anything imports napari or the hub's client: leaked widgets fail the test that leaked
# them, no test reaches the network, and none reads or changes what the user has set in napari.
os.environ.setdefault("NAPARI_STRICT_QT", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["NAPARI_CONFIG"] = ""


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def pytest_sessionstart(session: pytest.Session) -> None:
    # pytest-xvfb has set DISPLAY by now if it could. Without a screen Qt's default platform
    # aborts the whole process; widgets alone, without a viewer, work offscreen. With `-n` this
    # process has no display and runs no test, but its workers take its environment over.
    if xdist.is_xdist_controller(session):
        return
    # Shells start what runs in the background with Ctrl-C ignored, and commands leave that so;
    # those that tests start shall hear it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _has_display():
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _has_display():
        return
    skip = pytest.mark.skip(reason="needs a window, and there is neither a display nor Xvfb")
    for item in items:
        if _NEED_A_WINDOW.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def user_data(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder in place of the one with the user's list of runs, which no test may touch."""
    folder = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("PHENLDIFF_USER_DATA", str(folder))
    return folder


@pytest.fixture(autouse=True)
def hardware(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a child process with torch would tell a dock that is opened; none is started."""
    from napari_phenldiff.jobs import estimate
    from napari_phenldiff.runs.hardware import Hardware

    found = Hardware("cpu", "CPU, 2 cores", "no NVIDIA GPU was found", seconds=0.04)
    monkeypatch.setattr(estimate, "ask_hardware", lambda device, precision: found)
    monkeypatch.setattr(estimate, "KNOWN", {})
    return found


@pytest.fixture(scope="session")
def display() -> str:
    """Name of the display; a test that opens a window without napari's fixtures asks for it.

    Such tests, and all that use napari's viewer fixtures, are skipped where there is no display.
    """
    return os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY", "")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real two-condition images, or skip.

    They are not part of the repository. The folder is looked for in the environment variable
    ``PHENLDIFF_DATA`` and then beside the checkout.
    """
    folder = Path(os.environ.get("PHENLDIFF_DATA", _ROOT.parent / "shared" / "data"))
    if not (folder / "bbbc013_translocation").is_dir():
        pytest.skip(f"no real images in {folder} (set PHENLDIFF_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a base for 3 channels of 32 pixels, as `pretrain` writes it."""
    import torch

    from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder
    from napari_phenldiff.diffusion.conditioning import DescriptorEncoder, describe
    from napari_phenldiff.diffusion.pretrain import (
        PretrainingConfig,
        build_scheduler,
        build_unet,
        save_half,
    )

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny_base")
    config = PretrainingConfig(widths=(32, 64), heads=(1, 2), token_width=16, tile=32)
    size = describe(torch.zeros(1, 48, 4, 4), 16).shape[1]
    save_half(build_unet(config), folder / "unet")
    save_half(DescriptorEncoder(size, 16, 4, 16), folder / "conditioner")
    save_half(LappedAutoencoder(3, 16, (0.7,) * 16), folder / "vae")
    build_scheduler().save_pretrained(folder / "scheduler")
    return folder


def _module(path: Path) -> Any:
    """Import a file of the tests that is no test."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def write_evaluation() -> Callable[..., None]:
    """Write an evaluation with made-up numbers into a new folder."""
    return _module(CANNED_EVALUATION).write_evaluation


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A hub on loopback, which huggingface_hub asks in this test, with an empty cache."""
    from huggingface_hub import constants

    module = _module(LOCAL_HUB)
    with module.local_hub() as hub:
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        hub.as_on_a_hub = module.as_on_a_hub
        yield hub


@pytest.fixture
def add_translated() -> Callable[..., None]:
    """Add images to a viewer as layers that a translation made, without a model."""
    from napari_phenldiff.viewer.layer_data import stack_layers
    from napari_phenldiff.viewer.layer_groups import LayerInfo

    def add(viewer, reconstructed, translated, *, identity="t1", field=None) -> None:
        kinds = (
            ("reconstructed", "untreated", reconstructed),
            ("translated", "treated", translated),
        )
        for role, condition, images in kinds:
            names = images[0].channel_names
            infos = [
                LayerInfo(
                    condition,
                    channel,
                    index,
                    tuple(image.name for image in images),
                    (None,) * len(images),
                    role=role,
                    translation=identity,
                    provenance={"source": "untreated", "target": "treated"},
                )
                for index, channel in enumerate(names)
            ]
            titles = [f"{role}: {channel}" for channel in names]
            limits = [(0, 255)] * len(names)
            for data, arguments, _ in stack_layers(titles, infos, images, limits):
                if field is not None:
                    data = data[None]
                    arguments["axis_labels"] = ("field", "y", "x")
                    arguments["translate"] = (float(field), 0.0, 0.0)
                    if "scale" in arguments:
                        arguments["scale"] = (1.0, *arguments["scale"])
                        arguments["units"] = ("pixel", *arguments["units"])
                viewer.add_image(data, **arguments)

    return add
