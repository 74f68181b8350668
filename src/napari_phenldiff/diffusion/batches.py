"""Draw the batch of a training step: tiles, time steps and noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from napari_phenldiff.diffusion.device import to_device
from napari_phenldiff.diffusion.latent_pool import LatentPool
from napari_phenldiff.diffusion.noising import add_noise
from napari_phenldiff.diffusion.streams import stream
from napari_phenldiff.runs.config import TrainingConfig

_JOINT = 0.25
"""Fraction of the samples in which reference channels are noised like the others, so that the
network can still generate whole images."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What goes through the network in a step; all tensors are on the device.

    Attributes
    ----------
    noisy, target : torch.Tensor
        ``(N, L, Y, X)`` float32: input of the network and its target output.
    given : torch.Tensor
        ``(N or 1, L, 1, 1)`` bool: latents that are not noised.
    time : torch.Tensor
        ``(N,)`` time steps.
    index, dropped : torch.Tensor
        ``(N,)`` numbers of the conditions, and whether the null tokens replace them.
    """

    noisy: torch.Tensor
    target: torch.Tensor
    given: torch.Tensor
    time: torch.Tensor
    index: torch.Tensor
    dropped: torch.Tensor

    def parts(self, size: int) -> list[Batch]:
        """Return the batch in parts of at most `size` samples."""
        given = self.given.expand(len(self.noisy), *self.given.shape[1:])
        whole = (self.noisy, self.target, given, self.time, self.index, self.dropped)
        return [Batch(*some) for some in zip(*(each.split(size) for each in whole), strict=True)]


def draw_batch(
    pool: LatentPool,
    config: TrainingConfig,
    number: int,
    *,
    alphas: torch.Tensor,
    padding: torch.Tensor,
    given: torch.Tensor,
    noise: torch.Tensor | None,
    prediction_type: str,
) -> Batch:
    """Draw the batch of a step.

    Every step has its own random stream, so that a resumed training draws the same numbers as an
    uninterrupted one, on every device.

    Parameters
    ----------
    pool : LatentPool
        Latents of all conditions.
    config : TrainingConfig
        For the seed, the batch size and the dropout of conditions.
    number : int
        Of the step, from 1.
    alphas : torch.Tensor
        ``alpha_bar`` of the training schedule.
    padding, given : torch.Tensor
        ``(1, L, 1, 1)`` bool: latents of channels that the images do not have, and these and those
        of the reference channels, see `given_latents`.
    noise : torch.Tensor or None
        ``(1, L, 1, 1)``: largest noise that is added to normalised channels.
    prediction_type : str
        As for `add_noise`.
    """
    device = alphas.device
    generator = stream(config.seed, number)
    n, conditions = config.batch_size, pool.conditions
    first = torch.randint(conditions, (1,), generator=generator)
    index = (torch.arange(n) + first) % conditions  # equally frequent
    clean = pool.draw(index, generator)
    t = to_device(torch.randint(0, len(alphas), (n,), generator=generator), device)
    added = to_device(torch.randn(clean.shape, generator=generator), device)
    dropped = torch.rand(n, generator=generator) < config.condition_dropout
    joint = to_device(torch.rand(n, generator=generator), device) < _JOINT
    joint = joint.view(-1, 1, 1, 1)
    given = torch.where(joint, padding, given)
    if noise is not None:
        amount = to_device(torch.rand(n, 1, 1, 1, generator=generator), device)
        more = to_device(torch.randn(clean.shape, generator=generator), device)
        # the targets of generated channels stay clean
        clean = clean + amount * ~joint * noise * more
    noisy, target = add_noise(clean, added, alphas[t], given, prediction_type=prediction_type)
    return Batch(noisy, target, given, t, to_device(index, device), to_device(dropped, device))
