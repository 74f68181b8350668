"""Pack the state of an optimisation into tensors for a safetensors checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from napari_phenldiff.diffusion.ema import MovingAverage

_MOMENTS = ("exp_avg", "exp_avg_sq")


def pack_state(average: MovingAverage, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Collect the weights, their averages and Adam's moments on the CPU."""
    state: dict[str, torch.Tensor] = {}
    for i, parameter in enumerate(average.parameters):
        state[f"online.{i}"] = parameter.detach()
        state[f"average.{i}"] = average.averages[i]
        for key in _MOMENTS:
            # weights that the network does not use have no moments
            moments = optimizer.state.get(parameter, {})
            state[f"{key}.{i}"] = moments.get(key, torch.zeros_like(parameter))
    return {key: value.contiguous().cpu() for key, value in state.items()}


@torch.no_grad()
def unpack_state(
    state: Mapping[str, torch.Tensor],
    average: MovingAverage,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    """Restore the state that `pack_state` collected after optimisation step `step`.

    Raises
    ------
    KeyError, RuntimeError
        If the state belongs to other weights.
    """
    for i, parameter in enumerate(average.parameters):
        parameter.copy_(state[f"online.{i}"])
        average.averages[i].copy_(state[f"average.{i}"])
        # in the memory format of the weights, as fused optimisers need them
        moments = {key: torch.empty_like(parameter).copy_(state[f"{key}.{i}"]) for key in _MOMENTS}
        # fused optimisers need their step counter on the device of the weights
        counter = torch.tensor(float(step), device=parameter.device)
        optimizer.state[parameter] = {"step": counter, **moments}
