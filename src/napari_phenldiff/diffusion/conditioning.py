"""Learned condition tokens and their initial values.

A condition is represented by a few learned vectors that replace an encoded text prompt. There is no
padding and no text encoder. (PhenDiff's latent variant learns one vector and pads it with 76 zeros,
which dilutes the attention it gets.)

A base may come with a `DescriptorEncoder`, if it was pre-trained with simple statistics of the
latents of each image as its condition (brightness, granularity, correlation of the channels). The
tokens of a new condition are then initialised from the average statistics of its images, so that
the base distinguishes the conditions before the first step of fine-tuning. Bases without an encoder
(Stable Diffusion) start from small random tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from napari_phenldiff.images.naming import composed

_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_FLOOR = 1e-2
_AT_ONCE = 64
"""Latents that are described at once: that takes several times their memory."""

Batches = torch.Tensor | Iterable[torch.Tensor]
"""Latents ``(N, L, Y, X)``, all at once or some at a time."""


def in_batches(latents: Batches) -> Iterable[torch.Tensor]:
    """Return latents some at a time."""
    return latents.split(_AT_ONCE) if isinstance(latents, torch.Tensor) else latents


def describe(latents: torch.Tensor, coefficients: int) -> torch.Tensor:
    """Describe latents by statistics that do not depend on position.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, C * coefficients, Y, X)`` float32.
    coefficients : int
        Latent channels per image channel; the first of them is the local mean.

    Returns
    -------
    torch.Tensor
        ``(N, D)``: for each image channel the quantiles and the mean of the local mean, for each
        latent channel the logarithm of its standard deviation, and for each pair of image channels
        their correlation at each frequency.
    """
    z = latents.float().unflatten(1, (-1, coefficients)).flatten(3)
    local_mean = z[:, :, 0]
    levels = torch.tensor(_QUANTILES, device=z.device)
    quantiles = torch.quantile(local_mean, levels, dim=-1).permute(1, 2, 0)
    centred = z - z.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1).sqrt()
    first, second = torch.triu_indices(z.shape[1], z.shape[1], 1)
    covariance = (centred[:, first] * centred[:, second]).mean(-1)
    correlation = covariance / (deviation[:, first] * deviation[:, second] + _FLOOR**2)
    parts = (
        quantiles,
        local_mean.mean(-1, keepdim=True),
        (deviation + _FLOOR).log(),
        correlation,
    )
    return torch.cat([part.flatten(1) for part in parts], 1)


def describe_structure(latents: torch.Tensor, coefficients: int) -> torch.Tensor:
    """Describe the structures in latents, independent of their brightness.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, C * coefficients, Y, X)`` float32 of a `LappedAutoencoder`.
    coefficients : int
        Latent channels per image channel, at least 3.

    Returns
    -------
    torch.Tensor
        ``(N, D)``: for each image channel the sparsity of three frequency bands (mean amplitude
        over its root mean square: 1 for a uniform texture, near 0 for a few spots), and the
        coherence of the structure tensor, with the two lowest odd coefficients as gradients (near 1
        for parallel filaments, near 0 for spots).
    """
    z = latents.float().unflatten(1, (-1, coefficients))
    bands = [band for band in torch.arange(1, coefficients).tensor_split(3) if len(band)]
    sparse = []
    for band in bands:
        energy = z[:, :, band].square().mean(2).flatten(2)
        sparse.append(energy.sqrt().mean(-1) / (energy.mean(-1).sqrt() + _FLOOR))
    # the coherence is the same whichever of the two is the gradient along y
    first, second = z[:, :, 1], z[:, :, 2]
    average = torch.nn.functional.avg_pool2d
    products = [
        average(part, 3, stride=1, padding=1, count_include_pad=False)
        for part in (first * first, second * second, first * second)
    ]
    yy, xx, xy = (part.flatten(2) for part in products)
    agreement = torch.sqrt((yy - xx).square() + 4 * xy.square()).mean(-1)
    coherence = agreement / ((yy + xx).mean(-1) + _FLOOR**2)
    return torch.stack([*sparse, coherence], -1).flatten(1)


def describe_all(latents: torch.Tensor, coefficients: int) -> torch.Tensor:
    """Concatenate `describe` and, with at least 3 coefficients, `describe_structure`."""
    parts = [describe(latents, coefficients)]
    if coefficients >= 3:
        parts.append(describe_structure(latents, coefficients))
    return torch.cat(parts, 1)


class DescriptorEncoder(ModelMixin, ConfigMixin):
    """Maps descriptors of images to condition tokens; also holds the null tokens.

    Parameters
    ----------
    descriptor_size : int
        ``D`` of `describe_all`, or of `describe` alone in bases that are older than
        `describe_structure`.
    coefficients : int
        Latent channels per image channel.
    tokens : int
        Tokens per condition.
    width : int
        The UNet's ``cross_attention_dim``.
    """

    @register_to_config
    def __init__(
        self, descriptor_size: int, coefficients: int = 16, tokens: int = 4, width: int = 256
    ) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(descriptor_size), requires_grad=False)
        self.spread = nn.Parameter(torch.ones(descriptor_size), requires_grad=False)
        self.project = nn.Sequential(
            nn.Linear(descriptor_size, width), nn.SiLU(), nn.Linear(width, tokens * width)
        )
        self.null = nn.Parameter(torch.randn(tokens, width) * 0.5)

    def calibrate(self, descriptors: torch.Tensor) -> None:
        """Set the standardisation to the mean and spread of descriptors ``(N, D)``."""
        with torch.no_grad():
            self.mean.copy_(descriptors.mean(0))
            self.spread.copy_(descriptors.std(0).clamp_min(1e-3))

    def standardise(self, latents: torch.Tensor) -> torch.Tensor:
        """Return descriptors ``(N, D)`` of latents, standardised to the pre-training images."""
        descriptors = describe_all(latents, int(self.config.coefficients))[:, : len(self.mean)]
        return ((descriptors - self.mean) / self.spread).clamp(-5, 5)

    def forward(self, standardised: torch.Tensor) -> torch.Tensor:
        """Return tokens ``(N, tokens, width)`` of standardised descriptors ``(N, D)``."""
        tokens: torch.Tensor = self.project(standardised)
        return tokens.unflatten(1, (int(self.config.tokens), int(self.config.width)))


class ConditionTokens(nn.Module):
    """The learned tokens of each condition, and the null tokens (no condition).

    Parameters
    ----------
    conditions : sequence of str
        Names, in the order of `values`.
    values : torch.Tensor
        Initial tokens ``(conditions, tokens, width)``.
    null : torch.Tensor
        Initial tokens of the null condition ``(tokens, width)``.
    """

    def __init__(self, conditions: Sequence[str], values: torch.Tensor, null: torch.Tensor) -> None:
        super().__init__()
        self.conditions = tuple(composed(name) for name in conditions)
        self.values = nn.Parameter(values.clone())
        self.null = nn.Parameter(null.clone())

    def forward(self, index: torch.Tensor, dropped: torch.Tensor | None = None) -> torch.Tensor:
        """Return tokens ``(N, tokens, width)`` of `index` ``(N,)``; null tokens where `dropped`."""
        tokens = self.values[index]
        if dropped is not None:
            tokens = torch.where(dropped.view(-1, 1, 1), self.null.expand_as(tokens), tokens)
        return tokens

    def mixed(self, source: str, target: str, strength: float) -> torch.Tensor:
        """Interpolate the tokens ``(tokens, width)`` from source (0) to target (1)."""
        start = self.values[self.conditions.index(source)]
        end = self.values[self.conditions.index(target)]
        return torch.lerp(start, end, strength)


def initial_tokens(
    latents: Sequence[Batches],
    encoder: DescriptorEncoder | None,
    *,
    tokens: int,
    width: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the initial tokens of the conditions.

    Parameters
    ----------
    latents : sequence of torch.Tensor or of iterable of torch.Tensor
        For each condition its latents ``(N, C, Y, X)``, or some of them at a time.
    encoder : DescriptorEncoder or None
        The encoder of the base, if it has one.
    tokens, width : int
        Shape of one condition's tokens if there is no encoder.
    generator : torch.Generator
        For random initial tokens without an encoder.

    Returns
    -------
    values : torch.Tensor
        ``(conditions, tokens, width)``.
    null : torch.Tensor
        ``(tokens, width)``.
    """
    if encoder is None:
        values = 0.02 * torch.randn(len(latents), tokens, width, generator=generator)
        return values, torch.zeros(tokens, width)
    with torch.no_grad():
        means = [
            encoder(torch.cat([encoder.standardise(z) for z in in_batches(one)])).mean(0)
            for one in latents
        ]
    return torch.stack(means), encoder.null.detach().clone()
