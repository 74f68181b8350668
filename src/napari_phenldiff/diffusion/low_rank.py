"""LoRA layers that learn in fewer passes over memory than peft's.

peft converts the input of each layer to single precision, and autocast converts it back: three
copies of the same input for the queries, keys and values of an attention alone, each of which is
kept for the backward pass. Here the low-rank update is added by the matrix product that makes it,
and all layers share their input. The result is the same up to rounding; the layers stay peft's, so
saving, merging and loading are too. ``docs/notes/speed.md`` has the figures.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from peft.tuners.lora.layer import Conv2d as PeftConv2d
from peft.tuners.lora.layer import Linear as PeftLinear
from peft.tuners.lora.layer import LoraLayer
from torch import nn
from torch.autograd.function import once_differentiable


def use_fast_updates(network: UNet2DConditionModel) -> None:
    """Make the LoRA layers of a network compute their updates together with the layer.

    Where a layer has several adapters, one that is disabled or merged, dropout, or anything but a
    plain low-rank update, peft computes it as before.

    Parameters
    ----------
    network : UNet2DConditionModel
        Changed in place; merging or unloading the adapter removes the change with the layers.
    """
    for layer in network.modules():
        if isinstance(layer, (PeftLinear, PeftConv2d)):
            layer.forward = partial(_forward, layer, type(layer).forward)


def _forward(layer: LoraLayer, otherwise: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    base = layer.base_layer
    if args or kwargs or not _is_plain(layer, base):
        return otherwise(layer, x, *args, **kwargs)
    (name,) = layer.active_adapters
    a, b = layer.lora_A[name], layer.lora_B[name]
    dtype = _precision(x)
    factors = (x, base.weight, base.bias, a.weight, b.weight, layer.scaling[name], dtype)
    if isinstance(base, nn.Linear):
        return _LowRankLinear.apply(*factors)
    return _LowRankConvolution.apply(*factors, (base.stride, base.padding, base.dilation))


def _is_plain(layer: LoraLayer, base: nn.Module) -> bool:
    if layer.disable_adapters or layer.merged or len(layer.active_adapters) != 1:
        return False
    (name,) = layer.active_adapters
    if name not in layer.lora_A or name in layer.lora_variant or layer.lora_bias[name]:
        return False
    if not isinstance(layer.lora_dropout[name], nn.Identity) or base.weight.requires_grad:
        return False
    if isinstance(base, nn.Conv2d):
        return base.groups == 1 and base.padding_mode == "zeros"
    return type(base) is nn.Linear


def _precision(x: torch.Tensor) -> torch.dtype:
    """Return the precision that a layer computes in: autocast's, or that of its input."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


class _LowRankLinear(torch.autograd.Function):
    """``y = x W^T + bias + scale (x A^T) B^T`` of a frozen `W`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        source = x.dtype
        x, weight, a, b = (value.to(dtype) for value in (x, weight, a, b))
        rows = x.flatten(0, -2)
        down = rows @ a.t()
        y = nn.functional.linear(rows, weight, None if bias is None else bias.to(dtype))
        y.addmm_(down, b.t(), alpha=scale)
        ctx.save_for_backward(x, weight, a, b, down)
        ctx.scale, ctx.source = scale, source
        return y.unflatten(0, x.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, down = ctx.saved_tensors
        shape = x.shape
        rows, g = x.flatten(0, -2), gradient.flatten(0, -2).to(x.dtype)
        up = (g @ b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = (g @ weight).addmm_(up, a).view(shape).to(ctx.source)
        to_a = (up.t() @ rows).float()
        to_b = (g.t() @ down).float().mul_(ctx.scale)
        return to_x, None, None, to_a, to_b, None, None


class _LowRankConvolution(torch.autograd.Function):
    """``y = conv(x, W) + bias + scale B conv(x, A)`` of a frozen `W`; `B` has kernels of 1 x 1."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
        dtype: torch.dtype,
        geometry: tuple[Any, Any, Any],
    ) -> torch.Tensor:
        source = x.dtype
        x, weight, a, b = (value.to(dtype) for value in (x, weight, a, b))
        matrix = b.flatten(1)
        y = nn.functional.conv2d(x, weight, None if bias is None else bias.to(dtype), *geometry)
        down = nn.functional.conv2d(x, a, None, *geometry)
        if _in_order(y) and _in_order(down):
            # in place, since this is a large part of the memory that a layer moves
            factor = matrix.expand(len(x), -1, -1)
            y.flatten(2).baddbmm_(factor, down.flatten(2), alpha=scale)
        else:
            y.add_(nn.functional.conv2d(down, b), alpha=scale)
        ctx.save_for_backward(x, weight, a, b, down)
        ctx.scale, ctx.source, ctx.geometry = scale, source, geometry
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, a, b, down = ctx.saved_tensors
        g = gradient.to(x.dtype)
        wanted = ctx.needs_input_grad[0]
        if _in_order(g) and _in_order(down):
            up = (b.flatten(1).t() @ g.flatten(2)).unflatten(2, g.shape[2:])
            to_b = torch.bmm(g.flatten(2), down.flatten(2).transpose(1, 2)).float().sum(0)
        else:
            up = nn.functional.conv_transpose2d(g, b)
            to_b = _back(g, down, b, ((1, 1), (0, 0), (1, 1)), [False, True])[1].float()
        up = up.mul_(ctx.scale)
        through, to_a, _ = _back(up, x, a, ctx.geometry, [wanted, True])
        to_x = None
        if wanted:
            to_x = _back(g, x, weight, ctx.geometry, [True, False])[0]
            to_x = to_x.add_(through).to(ctx.source)
        to_b = to_b.mul_(ctx.scale).view(b.shape)
        return to_x, None, None, to_a.float(), to_b, None, None, None


def _in_order(x: torch.Tensor) -> bool:
    """Whether pixels lie beside each other, and not the channels of one (channels-last)."""
    return x.is_contiguous()


def _back(
    gradient: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    geometry: tuple[Any, Any, Any],
    wanted: list[bool],
) -> Any:
    """Return the gradients to input and weight of a convolution, those that are wanted."""
    stride, padding, dilation = geometry
    return torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, [0, 0], 1, [*wanted, False]
    )
