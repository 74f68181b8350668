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
    return squared_error(output, target, given) / number_asked(target, given)


def squared_error(output: torch.Tensor, target: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Return the sum of the squared errors of the latents that are not given.

    Nothing is selected by a mask, since a GPU would have to tell how much that is.
    """
    return (output.float() - target).masked_fill(given, 0).square().sum()


def number_asked(target: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Return the number of latents of `target` that are not given, on its device."""
    return (~given).expand_as(target).sum()
