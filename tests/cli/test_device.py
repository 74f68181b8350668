from __future__ import annotations

import json
import subprocess

import pytest
import torch

from napari_phenldiff.diffusion import hardware
from napari_phenldiff.runs.hardware import Hardware


def test_the_device_is_told_to_people(phenldiff):
    code, out, _ = phenldiff("device", "--device", "cpu", "--precision", "float32")
    assert code == 0
    assert "CPU" in out
    assert "chosen in the settings" in out
    assert "float32" in out


def test_the_device_is_told_to_programs(phenldiff, monkeypatch):
    monkeypatch.setattr(hardware, "_SECONDS", 0.0)
    monkeypatch.setattr(hardware, "_SMALL", 1)
    code, out, _ = phenldiff("device", "--device", "cpu", "--json")
    assert code == 0
    found = Hardware.from_json(out)
    assert json.loads(out)["device"] == "cpu"
    assert found.memory > found.free > 0
    assert found.torch == torch.__version__


def test_a_device_that_is_not_there_is_refused(phenldiff):
    code, _, err = phenldiff("device", "--device", "banana")
    assert (code, "Unknown device" in err) == (2, True)


@pytest.mark.parametrize(
    ("gpus", "cuda", "told"),
    [
        (["RTX 4090"], None, "a GPU is there (RTX 4090), but this PyTorch is built without CUDA"),
        (["RTX 4090"], "12.8", "cannot use it; update the GPU's driver"),
        ([], None, "no NVIDIA GPU was found, and this PyTorch is built without CUDA"),
        ([], "12.8", "no NVIDIA GPU was found"),
    ],
)
def test_why_there_is_no_gpu_is_told(monkeypatch, gpus, cuda, told):
    monkeypatch.setattr(hardware, "_nvidia_gpus", lambda: gpus)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(hardware.platform, "system", lambda: "Linux")
    assert told in hardware._reason(torch.device("cpu"), "auto")


def test_a_driver_that_hangs_is_no_gpu(monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(hardware.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(hardware.subprocess, "run", hang)
    assert hardware._nvidia_gpus() == []
