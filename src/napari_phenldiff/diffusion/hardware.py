"""Detect the device, the reason for choosing it, and its speed, before anything is started."""

from __future__ import annotations

import platform
import shutil
import subprocess
import time
import warnings

import psutil  # type: ignore[import-untyped]
import torch

from napari_phenldiff.diffusion.device import autocast, choose_device, choose_precision
from napari_phenldiff.images.naming import count
from napari_phenldiff.runs.hardware import Hardware

_SMALL = 8
"""Rounds of small operations per convolution in the timed work."""

_SECONDS = 0.3
"""Duration of the speed measurement, without the first round, which is not counted."""


def detect_hardware(
    wanted: str = "auto", precision: str = "auto", *, measure: bool = True
) -> Hardware:
    """Return the device, precision and speed that fine-tuning and translating would use.

    Parameters
    ----------
    wanted : str
        ``"auto"`` or a torch device.
    precision : str
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    measure : bool
        Whether to time a small piece of work.

    Raises
    ------
    InputError
        If the device is unknown or absent.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of old drivers, which `reason` explains
        device = choose_device(wanted)
    dtype = choose_precision(precision, device)
    memory, free = _memory(device)
    return Hardware(
        device=str(device),
        name=device_name(device),
        reason=_reason(device, wanted),
        precision=str(dtype).removeprefix("torch."),
        torch=str(torch.__version__),
        memory=memory,
        free=free,
        seconds=_time(device, dtype) if measure else 0.0,
    )


def device_name(device: torch.device) -> str:
    """Return the name of a device for the user."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "mps":
        return f"GPU of this {platform.machine()} Mac"
    return f"CPU, {count(torch.get_num_threads(), 'core')}"


def _memory(device: torch.device) -> tuple[int, int]:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(total), int(free)
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _reason(device: torch.device, wanted: str) -> str:
    if device.type != "cpu":
        return ""
    if wanted != "auto":
        return "it was chosen in the settings"
    found = _nvidia_gpus()
    cuda = torch.version.cuda
    if found:
        there = f"a GPU is there ({found[0]}), but this PyTorch"
        if cuda is None:
            return f"{there} is built without CUDA; install its CUDA build from pytorch.org"
        return f"{there} for CUDA {cuda} cannot use it; update the GPU's driver"
    if platform.system() == "Darwin":
        return "no GPU that PyTorch can use was found"
    built = "this PyTorch is built without CUDA" if cuda is None else "no NVIDIA GPU was found"
    return f"no NVIDIA GPU was found, and {built}" if cuda is None else built


def _nvidia_gpus() -> list[str]:
    """Return the names of the GPUs that the driver lists, whether or not torch can use them."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        told = subprocess.run(
            [command, "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]


def _time(device: torch.device, dtype: torch.dtype) -> float:
    """Time a piece of work with the same mixture of operations as a training step.

    The shortest of several rounds counts. With the bundled base and a batch of 16, a step takes
    about `napari_phenldiff.jobs.estimate.STEP` times as long.
    """
    x = torch.randn(16, 128, 16, 16, device=device)
    mixing = torch.nn.Conv2d(128, 128, 3, padding=1).to(device)
    norm = torch.nn.GroupNorm(8, 128).to(device)
    projection = torch.nn.Linear(128, 128).to(device)

    def work() -> float:
        started = time.perf_counter()
        with autocast(device, dtype):
            y = mixing(x)
            for _ in range(_SMALL):
                y = y + torch.nn.functional.silu(norm(y))
                y = projection(y.movedim(1, -1)).movedim(-1, 1)
            loss = y.square().mean()
        loss.backward()
        loss.item()  # waits for the GPU
        return time.perf_counter() - started

    work()
    # other programs slow some of the rounds down, so the shortest one counts
    rounds = [work() for _ in range(3)]
    while sum(rounds) < _SECONDS:
        rounds.append(work())
    return min(rounds)
