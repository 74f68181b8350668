"""Choose the device and the precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import psutil  # type: ignore[import-untyped]
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from napari_phenldiff.errors import InputError

_SMALL_MAP = 32
"""Largest side of a latent for which the attention matrix is small."""


def choose_device(wanted: str = "auto") -> torch.device:
    """Return the device for a setting, if it is available.

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
    """Return the dtype of the network's passes; trained weights stay float32."""
    if wanted == "float32":
        return torch.float32
    if wanted == "bfloat16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    # a CPU without bfloat16 instructions emulates them, which is slower
    native = device.type == "cpu" and (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return torch.bfloat16 if native else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Return an autocast context, or a null context for float32."""
    if dtype is torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype)


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device, or in the machine's memory."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Move values that the processor has made to a device, without waiting for a GPU."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def use_fast_attention(
    network: UNet2DConditionModel,
    device: torch.device,
    side: int | None = None,
    *,
    learns: bool = True,
) -> None:
    """Set the fastest attention implementation for a device; outputs agree up to rounding.

    On a CPU, explicit matrix products are faster than PyTorch's fused attention, whose backward
    pass takes a third of a training step of the bundled base (`docs/notes/pretraining.md`). They
    are only used for small feature maps, since the attention matrix of a large one would not fit
    into memory.

    Parameters
    ----------
    network : UNet2DConditionModel
        Changed in place.
    device : torch.device
        Where it computes.
    side : int, optional
        Side of the latents that it is used for; by default that which it was made for.
    learns : bool
        Whether there are backward passes; without, the fused attention is faster everywhere.
    """
    side = int(network.config.sample_size) if side is None else side
    if learns and device.type == "cpu" and side <= _SMALL_MAP:
        network.set_attn_processor(AttnProcessor())
    else:
        network.set_attn_processor(AttnProcessor2_0())


def prepare_passes(network: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Bring a network to the form in which its passes are fastest; outputs agree up to rounding.

    What does not learn is converted to the precision of the passes. On a GPU the channels of a
    pixel lie beside each other, as its matrix units want them; a CPU is slower that way
    (`docs/notes/pretraining.md`).
    """
    cast_weights(network, dtype)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def cast_weights(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Convert the large weights of a network that do not learn to the precision of its passes.

    Autocast would convert them to the same values again at every pass, which takes a quarter of the
    time of a small batch, and would keep both. Weights that learn stay in single precision.
    """
    if dtype is torch.float32:
        return
    for module in network.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)
