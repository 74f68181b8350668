"""Which device and which precision, decided in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from napari_phenldiff.errors import InputError

_SMALL_MAP = 32
"""Side of a latent, in places, up to which all pairs of places are few."""


def choose_device(wanted: str = "auto") -> torch.device:
    """Turn the user's wish into a device that is there.

    Parameters
    ----------
    wanted : str
        ``"auto"`` (CUDA, else Apple's MPS, else the CPU) or a torch device name.

    Raises
    ------
    InputError
        If the device is unknown or absent.
    """
    cuda = torch.cuda.is_available()
    mps = torch.backends.mps.is_available()
    if wanted == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise InputError(f"Unknown device {wanted!r}; use auto, cpu, cuda or mps.") from None
    if (device.type == "cuda" and not cuda) or (device.type == "mps" and not mps):
        raise InputError(f"The device {wanted!r} is not available here; use auto or cpu.")
    return device


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Type of the network's passes; weights that learn stay float32."""
    if wanted == "float32":
        return torch.float32
    if wanted == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # without instructions for it bfloat16 is emulated on a CPU, and slower
    native = device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Mixed precision where `dtype` is not float32."""
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)


def quicken(network: UNet2DConditionModel, device: torch.device) -> None:
    """Choose the attention that is quickest on a device; outputs are the same up to rounding.

    On a CPU that is matrix products one after the other, as long as the maps are small: the way
    back through PyTorch's fused attention takes a third of a training step of the bundled base
    there (`docs/notes/pretraining.md`). Of large maps their products would not fit into memory.
    """
    if device.type == "cpu" and int(network.config.sample_size) <= _SMALL_MAP:
        network.set_attn_processor(AttnProcessor())


def keep_in(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Keep a network's large weights in the precision that its passes use.

    Autocast converts them to the same values, but again at every pass: a quarter of the time of a
    small batch. Only for a network that no longer learns.
    """
    if dtype is torch.float32:
        return
    for module in network.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            module.to(dtype)
