"""Tiny bases with random weights, in diffusers' layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image


@pytest.fixture(scope="session")
def tiny_stable_diffusion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder shaped like Stable Diffusion 2: a KL autoencoder, epsilon, no conditioner."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny_sd")
    AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.18215,
    ).save_pretrained(folder / "vae")
    UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=24,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
    ).save_pretrained(folder / "unet")
    DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture
def experiment() -> Experiment:
    """Two conditions of four 32 px images with two channels; the second is brighter in one."""
    rng = np.random.default_rng(0)

    def smooth(level: int) -> np.ndarray:
        plane = ndi.gaussian_filter(rng.standard_normal((32, 32)), 3)
        plane = (plane - plane.min()) / np.ptp(plane)
        return np.rint(plane * level).astype(np.uint8)

    def images(level: int) -> list[Image]:
        return [
            Image(
                np.stack([smooth(200), smooth(level)]),
                ("DNA", "marker"),
                (0.5, 0.5),
                f"image_{i}",
            )
            for i in range(4)
        ]

    return Experiment.from_images({"untreated": images(60), "treated": images(200)})
