"""Learned condition tokens, and what they start from.

A condition is a handful of learned vectors that take the place of an encoded text (PhenDiff's
latent variant learns one vector and pads it with 76 zeros, which dilutes it; here there is no
padding and no text encoder).

A base may come with a `DescriptorEncoder`: it was pre-trained to be told, per image, simple
statistics of the latents (how bright, how fine-grained, how correlated the channels are). Tokens
for a new condition then start from the average statistics of that condition's images, so the base
already tells two conditions apart before the first step of fine-tuning. Bases without one (Stable
Diffusion) start from small random tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from napari_phenldiff.images.naming import composed

_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_FLOOR = 1e-2


def describe(latents: torch.Tensor, coefficients: int) -> torch.Tensor:
    """Summarise latents by statistics that know nothing of places.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, C * coefficients, Y, X)`` float32.
    coefficients : int
        Latent channels per image channel; the first of them is the local mean.

    Returns
    -------
    torch.Tensor
        ``(N, D)``: per image channel the quantiles and mean of the local mean, per latent channel
        the logarithm of its deviation, per pair of image channels and frequency the correlation.
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
    """Summarise what structures latents hold, whatever their brightness.

    Parameters
    ----------
    latents : torch.Tensor
        ``(N, C * coefficients, Y, X)`` float32 of a `LappedAutoencoder`.
    coefficients : int
        Latent channels per image channel, at least 3.

    Returns
    -------
    torch.Tensor
        ``(N, D)``: per image channel how sparse three bands of frequency are (mean amplitude over
        its root mean square: 1 where it is the same everywhere, near 0 for few spots), and how
        much neighbouring places agree in direction (the coherence of the structure tensor, with the
        two lowest odd coefficients for gradients): near 1 for parallel filaments, near 0 for spots.
    """
    z = latents.float().unflatten(1, (-1, coefficients))
    bands = [band for band in torch.arange(1, coefficients).tensor_split(3) if len(band)]
    sparse = []
    for band in bands:
        energy = z[:, :, band].square().mean(2).flatten(2)
        sparse.append(energy.sqrt().mean(-1) / (energy.mean(-1).sqrt() + _FLOOR))
    # which of the two is along y and which along x does not matter for the coherence
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
    """`describe` and, behind it, `describe_structure`, where there are enough coefficients."""
    parts = [describe(latents, coefficients)]
    if coefficients >= 3:
        parts.append(describe_structure(latents, coefficients))
    return torch.cat(parts, 1)


class DescriptorEncoder(ModelMixin, ConfigMixin):
    """From descriptors of images to condition tokens; also keeps the null tokens.

    Parameters
    ----------
    descriptor_size : int
        ``D`` of `describe`, or of `describe` and `describe_structure` together. Bases made before
        there was the latter know the former only.
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
        """Take mean and spread of descriptors ``(N, D)`` as the zero and unit of each entry."""
        with torch.no_grad():
            self.mean.copy_(descriptors.mean(0))
            self.spread.copy_(descriptors.std(0).clamp_min(1e-3))

    def standardise(self, latents: torch.Tensor) -> torch.Tensor:
        """Descriptors of latents in units of the pre-training images ``(N, D)``."""
        descriptors = describe_all(latents, int(self.config.coefficients))[:, : len(self.mean)]
        return ((descriptors - self.mean) / self.spread).clamp(-5, 5)

    def forward(self, standardised: torch.Tensor) -> torch.Tensor:
        """Tokens ``(N, tokens, width)`` of standardised descriptors ``(N, D)``."""
        tokens: torch.Tensor = self.project(standardised)
        return tokens.unflatten(1, (int(self.config.tokens), int(self.config.width)))


class ConditionTokens(nn.Module):
    """One set of learned tokens per condition, and one for *no condition*.

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
        """Tokens ``(N, tokens, width)`` of conditions `index` ``(N,)``; null where `dropped`."""
        tokens = self.values[index]
        if dropped is not None:
            tokens = torch.where(dropped.view(-1, 1, 1), self.null.expand_as(tokens), tokens)
        return tokens

    def mixed(self, source: str, target: str, strength: float) -> torch.Tensor:
        """Tokens ``(tokens, width)`` at `strength` of the way from source to target."""
        start = self.values[self.conditions.index(source)]
        end = self.values[self.conditions.index(target)]
        return torch.lerp(start, end, strength)


def initial_tokens(
    latents: Sequence[torch.Tensor],
    encoder: DescriptorEncoder | None,
    *,
    tokens: int,
    width: int,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Start values for the tokens of conditions.

    Parameters
    ----------
    latents : sequence of torch.Tensor
        Per condition ``(N, C, Y, X)``.
    encoder : DescriptorEncoder or None
        Of the base, where it has one.
    tokens, width : int
        Shape of one condition's tokens where there is no encoder.
    generator : torch.Generator
        For the random start without an encoder.

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
        means = [encoder(encoder.standardise(z)).mean(0) for z in latents]
    return torch.stack(means), encoder.null.detach().clone()
