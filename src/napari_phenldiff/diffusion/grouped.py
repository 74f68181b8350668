"""Pass groups of channels through a network and an autoencoder that take one group at a time.

The latents of every group are, for the network, those of one picture as it knows them, so what was
pretrained is used as it is: each group has its own pass, with condition tokens of its own. What a
group has to know of the others comes in at the first layer, by one convolution of their latents
that starts at zero, as additional inputs of Stable Diffusion do (inpainting; InstructPix2Pix,
Brooks et al. 2023; the zero convolutions of ControlNet, Zhang et al. 2023). At the start the
network makes of each group what the base makes of it alone; in training it learns how a group looks
beside the others at the same place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from torch import nn

from napari_phenldiff.diffusion.channel_groups import ChannelGroups

if TYPE_CHECKING:
    from napari_phenldiff.diffusion.base import Autoencoder


class GroupedAutoencoder:
    """Encodes and decodes groups of channels one after the other; their latents lie side by side.

    Parameters
    ----------
    within : Autoencoder
        Takes one group.
    groups : ChannelGroups
        Which channels go together.
    most : int
        Channels that `within` takes; what a group lacks is black.
    """

    def __init__(self, within: Autoencoder, groups: ChannelGroups, most: int) -> None:
        self.within, self.groups, self.most = within, groups, most
        self.latent_channels = len(groups) * within.latent_channels

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """See `Autoencoder`."""
        found = []
        for members in self.groups.members:
            padded = images.new_full((len(images), self.most, *images.shape[2:]), -1.0)
            padded[:, : len(members)] = images[:, list(members)]
            found.append(self.within.encode(padded))
        return torch.cat(found, 1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Autoencoder`."""
        parts = latents.chunk(len(self.groups), 1)
        decoded = [
            self.within.decode(part)[:, : len(members)]
            for part, members in zip(parts, self.groups.members, strict=True)
        ]
        places = torch.tensor([k for members in self.groups.members for k in members])
        return torch.cat(decoded, 1)[:, places.argsort()]

    def to(self, device: torch.device) -> None:
        """See `Autoencoder`."""
        self.within.to(device)


class GroupLinks(nn.Module):
    """What each group sees of the others: weights that are added to the network's first layer.

    Parameters
    ----------
    groups : int
        Number of groups.
    unet : UNet2DConditionModel
        The network, which takes the latents of one group.

    Attributes
    ----------
    weight : torch.nn.Parameter
        ``(G, W, (G - 1) * L, k, k)`` float32, zero at the start: for each group a convolution of
        the latents of the others, in their order, to the features of the first layer.
    """

    def __init__(self, groups: int, unet: UNet2DConditionModel) -> None:
        super().__init__()
        first = unet.conv_in
        self._padding = first.padding
        others = (groups - 1) * first.in_channels
        self.weight = nn.Parameter(
            torch.zeros(groups, first.out_channels, others, *first.kernel_size)
        )

    def forward(self, latents: torch.Tensor, asked: list[int]) -> torch.Tensor:
        """Return features ``(N * len(asked), W, Y, X)`` of what the groups `asked` see.

        `latents` ``(N, G, L, Y, X)`` are those of all groups.
        """
        groups = range(latents.shape[1])
        others = [[k for k in groups if k != group] for group in asked]
        seen = latents[:, others].flatten(1, 3)
        weight = self.weight[asked].flatten(0, 1)
        features = nn.functional.conv2d(seen, weight, padding=self._padding, groups=len(asked))
        return features.unflatten(1, (len(asked), -1)).flatten(0, 1)


class _GroupedPass:
    """Takes the place of the network's ``forward``: latents and tokens of all groups go in."""

    def __init__(self, unet: UNet2DConditionModel, links: GroupLinks) -> None:
        self._unet, self._links = unet, links

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        given: torch.Tensor | None = None,
        **options: Any,
    ) -> UNet2DConditionOutput:
        """Return the output for all groups.

        Parameters
        ----------
        sample : torch.Tensor
            ``(N, G * L, Y, X)``.
        timestep : torch.Tensor or number
            One for all, or ``(N,)``.
        encoder_hidden_states : torch.Tensor
            ``(N, G * tokens, width)``, those of the first group first.
        given : torch.Tensor, optional
            ``(1, G * L, 1, 1)`` bool: groups that are given as a whole are not asked of the
            network, and their output is 0.
        **options
            As the network takes them.
        """
        unet, groups = self._unet, len(self._links.weight)
        latents = sample.unflatten(1, (groups, -1))
        asked = list(range(groups))
        if given is not None:
            whole = given.view(groups, -1).all(1).tolist()
            asked = [group for group in asked if not whole[group]]
        result = torch.zeros_like(latents)
        if asked:
            seen = self._links(latents, asked)
            tokens = encoder_hidden_states.unflatten(1, (groups, -1))[:, asked].flatten(0, 1)
            if isinstance(timestep, torch.Tensor) and timestep.ndim:
                timestep = timestep.repeat_interleave(len(asked))
            # Only for this pass: a strategy may put another layer in its place, or wrap it.
            added = unet.conv_in.register_forward_hook(lambda layer, given, made: made + seen)
            try:
                made = (
                    type(unet)
                    .forward(
                        unet,
                        latents[:, asked].flatten(0, 1),
                        timestep,
                        encoder_hidden_states=tokens,
                        **options,
                    )
                    .sample
                )
            finally:
                added.remove()
            made = made.unflatten(0, (-1, len(asked)))
            result = (
                made
                if len(asked) == groups
                else result.to(made).index_copy(1, torch.tensor(asked, device=made.device), made)
            )
        return UNet2DConditionOutput(sample=result.flatten(1, 2))


def pass_in_groups(unet: UNet2DConditionModel, links: GroupLinks) -> None:
    """Make a network take the latents and tokens of all groups at once.

    Its weights, their names and its configuration stay what they are.
    """
    unet.forward = _GroupedPass(unet, links)
