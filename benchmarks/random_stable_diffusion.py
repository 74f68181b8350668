"""A folder of the shape and size of Stable Diffusion 2, with random weights, to measure speed with.

    python benchmarks/random_stable_diffusion.py FOLDER

The network has 865.9 million parameters, the autoencoder 83.7 and the text encoder 340.4; they are
saved in bfloat16 (2.6 GB). Nothing is downloaded: the sizes are those of the configurations that
are published with Stable Diffusion 2 (base, 512 px).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

NETWORK = 865_910_724
"""Parameters of the network, as published."""


def make(folder: Path) -> Path:
    """Write the folder, unless it is complete already; returns it."""
    done = folder / "scheduler" / "scheduler_config.json"
    if done.is_file():
        return folder
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        cross_attention_dim=1024,
        attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    )
    assert sum(p.numel() for p in unet.parameters()) == NETWORK
    unet.to(torch.bfloat16).save_pretrained(folder / "unet")
    del unet
    AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
        sample_size=768,
        scaling_factor=0.18215,
    ).to(torch.bfloat16).save_pretrained(folder / "vae")
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=23,
            num_attention_heads=16,
            max_position_embeddings=77,
            hidden_act="gelu",
            projection_dim=512,
        )
    ).to(torch.bfloat16).save_pretrained(folder / "text_encoder")
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(make(parser.parse_args().folder))
