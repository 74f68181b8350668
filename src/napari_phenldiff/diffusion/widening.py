"""Widen a base to more channels; for images with the old channels its output is the same."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel

from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder
from napari_phenldiff.diffusion.conditioning import _QUANTILES, DescriptorEncoder, describe_all


@torch.no_grad()
def widened(
    autoencoder: LappedAutoencoder,
    unet: UNet2DConditionModel,
    encoder: DescriptorEncoder,
    channels: int,
) -> tuple[LappedAutoencoder, UNet2DConditionModel, DescriptorEncoder]:
    """Copy the parts of a base into ones for more channels.

    The weights of the new channels are zero, so that the output for images in which these channels
    are black is unchanged to the bit. The same holds for the descriptor encoder, which also gets
    the descriptors of structure if the base did not have them.

    Parameters
    ----------
    autoencoder, unet, encoder
        Parts of a base.
    channels : int
        Image channels of the new base, at least as many as before.

    Returns
    -------
    autoencoder, unet, encoder
        New modules, in single precision.
    """
    before = int(autoencoder.config.image_channels)
    coefficients = int(autoencoder.config.coefficients)
    wide = LappedAutoencoder.from_config({**autoencoder.config, "image_channels": channels})
    wide.weights.copy_(autoencoder.weights)
    latents = channels * coefficients
    network = UNet2DConditionModel.from_config(
        {**unet.config, "in_channels": latents, "out_channels": latents}
    )
    state, old = network.state_dict(), unet.state_dict()
    for name, value in old.items():
        if state[name].shape == value.shape:
            state[name].copy_(value)
            continue
        state[name].zero_()
        state[name][tuple(slice(n) for n in value.shape)] = value
    network.load_state_dict(state)
    return wide, network, _widened_encoder(encoder, before, channels, coefficients)


def _widened_encoder(
    encoder: DescriptorEncoder, before: int, channels: int, coefficients: int
) -> DescriptorEncoder:
    old = _entries(before, coefficients)[: len(encoder.mean)]
    new = _entries(channels, coefficients)
    config: dict[str, Any] = {**encoder.config, "descriptor_size": len(new)}
    wide = DescriptorEncoder.from_config(config)
    state = encoder.state_dict()
    weight_before = state.pop("project.0.weight")
    weight = torch.zeros(len(weight_before), len(new))
    position = {entry: i for i, entry in enumerate(old)}
    kinds: dict[object, list[int]] = {}
    for i, (kind, _) in enumerate(old):
        kinds.setdefault(kind, []).append(i)
    for i, entry in enumerate(new):
        if entry in position:
            j = position[entry]
            wide.mean[i], wide.spread[i] = encoder.mean[j], encoder.spread[j]
            weight[:, i] = weight_before[:, j]
        elif entry[0] in kinds:  # mean of the old channels
            like = kinds[entry[0]]
            wide.mean[i], wide.spread[i] = encoder.mean[like].mean(), encoder.spread[like].mean()
        else:  # descriptors of structure, between 0 and 1
            wide.mean[i], wide.spread[i] = 0.5, 0.25
    state |= {"project.0.weight": weight, "mean": wide.mean.data, "spread": wide.spread.data}
    wide.load_state_dict(state)
    return wide


def _entries(channels: int, coefficients: int) -> list[tuple[object, tuple[int, ...]]]:
    """List the kind and the channels of each entry of a descriptor, in order."""
    entries: list[tuple[object, tuple[int, ...]]] = []
    for c in range(channels):
        entries += [(("quantile", q), (c,)) for q in _QUANTILES]
    entries += [("mean", (c,)) for c in range(channels)]
    for c in range(channels):
        entries += [(("deviation", k), (c,)) for k in range(coefficients)]
    for i in range(channels):
        for j in range(i + 1, channels):
            entries += [(("correlation", k), (i, j)) for k in range(coefficients)]
    known = len(entries)
    total = describe_all(torch.zeros(1, channels * coefficients, 4, 4), coefficients).shape[1]
    each = (total - known) // channels
    for c in range(channels):
        entries += [(("structure", k), (c,)) for k in range(each)]
    return entries
