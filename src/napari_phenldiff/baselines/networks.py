"""Networks of CycleGAN (Zhu et al. 2017), following the paper and junyanz' public code."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

_SPREAD = 0.02
"""Standard deviation of the initial weights."""


class _Residual(nn.Module):
    """Residual block with two 3 x 3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class ResnetGenerator(nn.Module):
    """Generator: 7 x 7 convolution, two strided ones, residual blocks, and the way back.

    Parameters
    ----------
    channels : int
        Channels of the images.
    filters : int
        Filters of the first layer; 64 in the paper.
    blocks : int
        Number of residual blocks; in the paper 6 for 128 pixels and 9 for 256.
    """

    def __init__(self, channels: int, filters: int = 64, blocks: int = 6) -> None:
        super().__init__()
        wide = 4 * filters
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels, filters, 7)]
        layers += [nn.InstanceNorm2d(filters), nn.ReLU()]
        for width in (filters, 2 * filters):
            layers.append(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1))
            layers += [nn.InstanceNorm2d(2 * width), nn.ReLU()]
        layers += [_Residual(wide) for _ in range(blocks)]
        for width in (wide, wide // 2):
            layers.append(
                nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
            )
            layers += [nn.InstanceNorm2d(width // 2), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.ReflectionPad2d(3))
        self.head = nn.Conv2d(filters, channels, 7)
        _initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``(N, C, Y, X)`` in [-1, 1], with sides divisible by 4, to float32 images."""
        features = self.body(x)
        # near -1, the background, bfloat16 has fewer values than an image has grey levels
        with torch.autocast(x.device.type, enabled=False):
            return torch.tanh(self.head(features.float()))


class PatchDiscriminator(nn.Module):
    """Discriminator that scores overlapping patches of 70 x 70 pixels.

    Parameters
    ----------
    channels : int
        Channels of the images.
    filters : int
        Filters of the first layer; 64 in the paper.
    """

    def __init__(self, channels: int, filters: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, filters, 4, stride=2, padding=1)]
        layers.append(nn.LeakyReLU(0.2))
        for k, stride in ((1, 2), (2, 2), (4, 1)):
            layers.append(nn.Conv2d(k * filters, 2 * k * filters, 4, stride=stride, padding=1))
            layers += [nn.InstanceNorm2d(2 * k * filters), nn.LeakyReLU(0.2)]
        layers.append(nn.Conv2d(8 * filters, 1, 4, padding=1))
        self.body = nn.Sequential(*layers)
        _initialise(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``(N, C, Y, X)`` to scores ``(N, 1, y, x)``: 1 for real, 0 for generated."""
        scores: torch.Tensor = self.body(x)
        return scores


class ImagePool:
    """Pool of generated images of earlier steps, which replace half of the new ones.

    Parameters
    ----------
    size : int
        Number of images in the pool; 0 for no pool.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Exchange images ``(N, C, Y, X)`` with the pool; they are returned while it fills up."""
        shown = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image)
            elif self.size and float(torch.rand(1, generator=generator)) < 0.5:
                k = int(torch.randint(self.size, (1,), generator=generator))
                image, self.images[k] = self.images[k], image
            shown.append(image)
        return torch.stack(shown)

    def extra_state(self, name: str) -> dict[str, torch.Tensor]:
        """Return the pool as one tensor for a checkpoint; empty if the pool is empty."""
        return {name: torch.stack(self.images).cpu()} if self.images else {}

    def load_extra_state(
        self, state: Mapping[str, torch.Tensor], name: str, device: torch.device
    ) -> None:
        """Restore the result of `extra_state`."""
        self.images = list(state[name].to(device)) if name in state else []


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, _SPREAD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
