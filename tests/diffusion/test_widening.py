from __future__ import annotations

import pytest
import torch

from napari_phenldiff.diffusion.network import Networks
from napari_phenldiff.diffusion.pretraining_config import base_folder, shape_of, with_shape_of
from napari_phenldiff.errors import InputError


@pytest.fixture(scope="module")
def bundled() -> Networks:
    return Networks.load(base_folder("bundled"))


def test_a_wider_base_answers_as_before_where_there_are_as_few_channels(bundled):
    before = int(bundled.autoencoder.config.image_channels)
    wide = bundled.for_channels(before + 2)
    images = torch.rand(2, before, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    black = torch.full((2, 2, 64, 64), -1.0)
    latents = bundled.autoencoder.encode(images)
    wider = wide.autoencoder.encode(torch.cat([images, black], 1))
    n = latents.shape[1]
    assert torch.equal(wider[:, :n], latents)
    tokens = bundled.encoder(bundled.encoder.standardise(latents))
    assert torch.allclose(wide.encoder(wide.encoder.standardise(wider)), tokens, atol=1e-5)
    t = torch.tensor([50, 700])
    with torch.no_grad():
        answers = bundled.unet(latents, t, encoder_hidden_states=tokens).sample
        wider_answers = wide.unet(wider, t, encoder_hidden_states=tokens).sample
    assert torch.allclose(wider_answers[:, :n], answers, atol=1e-4)
    assert not wider_answers[:, n:].any()


def test_new_channels_can_be_learned(bundled):
    wide = bundled.for_channels(int(bundled.autoencoder.config.image_channels) + 1)
    latents = torch.randn(1, wide.autoencoder.latent_channels, 8, 8)
    tokens = wide.encoder(wide.encoder.standardise(latents))
    out = wide.unet(latents, torch.tensor([10]), encoder_hidden_states=tokens).sample
    out[:, -16:].sum().backward()
    assert wide.unet.conv_out.weight.grad[-16:].abs().sum() > 0


def test_as_many_channels_are_the_same_networks(bundled):
    assert bundled.for_channels(int(bundled.autoencoder.config.image_channels)) is bundled


def test_a_base_is_started_from_with_more_channels_and_not_with_fewer():
    known = shape_of("bundled")["image_channels"]
    assert with_shape_of("bundled", {"image_channels": known + 1})["image_channels"] == known + 1
    with pytest.raises(InputError, match=f"has image_channels {known}, not {known - 1}"):
        with_shape_of("bundled", {"image_channels": known - 1})
