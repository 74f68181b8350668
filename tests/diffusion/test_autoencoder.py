from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder, fit_scale, lapped_basis


def test_basis_is_orthonormal_with_its_shifts():
    basis, parity = lapped_basis(64)
    flat = basis.reshape(64, 256).astype(float)
    assert np.allclose(flat @ flat.T, np.eye(64), atol=1e-6)
    for dy, dx in ((8, 0), (0, 8), (8, 8)):
        overlap = (
            basis[:, 0, dy:, dx:].reshape(64, -1)
            @ basis[:, 0, : 16 - dy, : 16 - dx].reshape(64, -1).T
        )
        assert np.abs(overlap).max() < 1e-6
    assert np.allclose(basis[:, 0, ::-1], basis[:, 0] * parity[:, :1, None], atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (32, 64)])
def test_all_coefficients_give_the_image_back_borders_included(shape):
    autoencoder = LappedAutoencoder(2, 64, (1.7,) * 64, shift=-0.8)
    images = torch.rand(3, 2, *shape) * 2 - 1
    assert torch.allclose(autoencoder.decode(autoencoder.encode(images)), images, atol=1e-5)


def test_encoding_a_decoded_latent_gives_it_back():
    autoencoder = LappedAutoencoder(3, 16, tuple(np.linspace(1, 5, 16)))
    latents = torch.randn(2, 48, 4, 6)
    again = autoencoder.encode(autoencoder.decode(latents))
    assert torch.allclose(again, latents, atol=1e-4)


def test_channels_do_not_leak():
    autoencoder = LappedAutoencoder(3, 16, (1.0,) * 16)
    images = torch.rand(1, 3, 32, 32)
    other = images.clone()
    other[:, 1] = torch.rand(32, 32)
    changed = (autoencoder.encode(images) != autoencoder.encode(other)).any(-1).any(-1)[0]
    assert changed[16:32].all()
    assert not changed[:16].any()
    assert not changed[32:].any()


def test_fitted_scale_gives_unit_variance():
    images = torch.rand(64, 1, 32, 32) ** 3
    plain = LappedAutoencoder(1, 16, (1.0,) * 16, 0.25)
    scale = fit_scale(plain.encode(images), 16)
    latents = LappedAutoencoder(1, 16, scale, 0.25).encode(images)
    assert float(latents.std()) == pytest.approx(1, abs=0.05)


def test_real_images_survive(shared_data):
    """The goals for images no base was fitted to; peak to peak is 2."""
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.images.intensity import IntensityScaling

    goals = {"bbbc013_translocation": 34, "hela_sirna": 36, "neurite_axotomy": 32}
    autoencoder = LappedAutoencoder(1, 16, (1.0,) * 16)
    for name, goal in goals.items():
        images = Experiment.from_folder(shared_data / name).images[::10]
        scaling = IntensityScaling.fit(images)
        pixels = torch.from_numpy(np.concatenate([scaling.apply(i.data) for i in images]))[:, None]
        error = (autoencoder.decode(autoencoder.encode(pixels)) - pixels).square().mean()
        assert float(10 * torch.log10(4 / error)) >= goal, name
