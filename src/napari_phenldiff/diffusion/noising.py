"""What a network is trained on: latents with noise, beside latents that are given."""

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
    """Noise latents, except those that are given.

    Parameters
    ----------
    clean, noise : torch.Tensor
        ``(N, L, Y, X)``.
    alphas : torch.Tensor
        ``(N,)``: ``alpha_bar`` of each one's time step.
    given : torch.Tensor
        Bool, of a shape that broadcasts to that of `clean`.
    prediction_type : str
        ``epsilon`` or ``v_prediction``.

    Returns
    -------
    noisy, target : torch.Tensor
        What the network sees, and what it should say.
    """
    signal = alphas.sqrt().view(-1, 1, 1, 1)
    spread = (1 - alphas).sqrt().view(-1, 1, 1, 1)
    noisy = torch.where(given, clean, signal * clean + spread * noise)
    targets = {"epsilon": noise, "v_prediction": signal * noise - spread * clean}
    return noisy, targets[prediction_type]


def noise_loss(output: torch.Tensor, target: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
    """Mean squared error over the latents that are not given."""
    asked = (~given).expand_as(target)
    return torch.nn.functional.mse_loss(output.float()[asked], target[asked])
