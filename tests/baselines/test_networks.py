from __future__ import annotations

import pytest
import torch

from napari_phenldiff.baselines.networks import ImagePool, PatchDiscriminator, ResnetGenerator
from napari_phenldiff.baselines.phendiff import build_network
from napari_phenldiff.diffusion.streams import stream
from napari_phenldiff.runs.baseline_config import CycleGANConfig, PhenDiffConfig


def size(network: torch.nn.Module) -> float:
    return round(sum(p.numel() for p in network.parameters()) / 1e6, 2)


def test_networks_have_the_published_sizes():
    config = CycleGANConfig(conditions=("a", "b"), preset="paper")
    with torch.device("meta"):
        assert size(ResnetGenerator(3, config.generator_filters, config.blocks)) == 7.84
        assert size(ResnetGenerator(3, 64, 9)) == 11.38
        assert size(PatchDiscriminator(3, config.discriminator_filters)) == 2.76
        phendiff = build_network(3, PhenDiffConfig(conditions=("a", "b"), preset="paper"))
    assert size(phendiff) == 62.83


def test_a_discriminator_sees_70_pixels():
    network = PatchDiscriminator(1, 2)
    for layer in network.modules():  # statistics of the whole image reach further
        if isinstance(layer, torch.nn.Sequential):
            for k, part in enumerate(layer):
                if isinstance(part, torch.nn.InstanceNorm2d):
                    layer[k] = torch.nn.Identity()
    image = torch.zeros(1, 1, 128, 128, requires_grad=True)
    scores = network(image)
    assert scores.shape == (1, 1, 14, 14)
    scores[0, 0, 7, 7].backward()
    seen = image.grad[0, 0].abs().sum(0).nonzero()
    assert int(seen.max() - seen.min()) + 1 == 70


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_any_number_of_channels(channels):
    images = torch.randn(2, channels, 32, 64)
    made = ResnetGenerator(channels, 4, 1)(images)
    assert made.shape == images.shape
    assert made.abs().max() <= 1


def test_weights_start_small():
    weight = ResnetGenerator(3, 32, 1).body[4].weight
    assert float(weight.std().detach()) == pytest.approx(0.02, rel=0.05)


def test_a_pool_shows_earlier_images_and_remembers_them():
    pool = ImagePool(3)
    first = torch.arange(3.0).view(3, 1, 1, 1)
    assert torch.equal(pool(first, stream(0)), first)
    shown = torch.cat([pool(torch.full((1, 1, 1, 1), 10.0 + k), stream(1, k)) for k in range(40)])
    assert {float(x) for x in shown} & {0.0, 1.0, 2.0}
    new = sum(float(x) == 10 + k for k, x in enumerate(shown))
    assert 10 < new < 30
    other = ImagePool(3)
    other.load_extra_state(pool.extra_state("pool"), "pool", torch.device("cpu"))
    more = torch.full((4, 1, 1, 1), 99.0)
    assert torch.equal(pool(more, stream(2)), other(more, stream(2)))


def test_a_pool_of_nothing_shows_what_is_new():
    images = torch.randn(3, 1, 2, 2)
    assert torch.equal(ImagePool(0)(images, stream(0)), images)
