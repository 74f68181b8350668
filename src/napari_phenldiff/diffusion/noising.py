"""Add noise to training latents, except to given ones, and compute the loss."""

from __future__ import annotations

import torch


def add_noise(
    clean: torch.Tensor,
    noise: torch.Tensor,
    alphas: torch.Tensor,
    given: torch.Tensor,
    *,
    prediction_type: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Add noise to latents, except to those that are given.

    Parameters
    ----------
    clean, noise : torch.Tensor
        ``(N, L, Y, X)``.
    alphas : torch.Tensor
        ``(N,)``: ``alpha_bar`` at the time step of each sample.
    given : torch.Tensor
        Bool, broadcastable to the shape of `clean`.
    prediction_type : str
        ``epsilon`` or ``v_prediction``.

    Returns
    -------
    noisy, target : torch.Tensor
        Input of the network and its target output.
    """
    signal = alphas.sqrt().view(-1, 1, 1, 1)
    spread = (1 - alphas).sqrt().view(-1, 1, 1, 1)
    noisy = torch.where(given, clean, signal * clean + spread * noise)
    targets = {"epsilon": noise, "v_prediction": signal * noise - spread * clean}
    return noisy, targets[prediction_type]


def noise_loss(output: torch.Tensor, target: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error over the latents that are not given."""
    asked = (~given).expand_as(target)
    return torch.nn.functional.mse_loss(output.float()[asked], target[asked])
