"""Build, load and save the networks of a base in pre-training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save

from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder, fit_scale
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.conditioning import DescriptorEncoder, describe_all
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig
from napari_phenldiff.diffusion.widening import widened
from napari_phenldiff.images.files import write_atomic


def build_unet(config: PretrainingConfig) -> UNet2DConditionModel:
    """Build a network with random weights for latents of a `LappedAutoencoder`.

    Condition tokens enter by cross-attention on every level and, pooled, through the time embedding
    (``addition_embed_type="text"``), which scales and shifts every ResNet block, because a
    condition also affects the image as a whole.
    """
    levels = len(config.widths)
    latent_channels = config.image_channels * config.coefficients
    return UNet2DConditionModel(
        sample_size=config.tile // 8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=config.widths,
        layers_per_block=config.layers,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=config.token_width,
        # the number of heads, despite its name (a known misnomer in diffusers' configs)
        attention_head_dim=config.heads,
        use_linear_projection=True,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def count_parameters(config: PretrainingConfig) -> int:
    """Count the weights of the network for `config` without allocating them."""
    with torch.device("meta"):
        unet = build_unet(config)
    return sum(parameter.numel() for parameter in unet.parameters())


def build_scheduler() -> DDIMScheduler:
    """Return the schedule of pre-trained bases: linear, v-prediction, no clipping of latents."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
    )


@dataclass(frozen=True, slots=True)
class Networks:
    """The parts of a base model in training, all in single precision.

    Attributes
    ----------
    autoencoder : LappedAutoencoder
        Converts between images and latents; not trained.
    unet : UNet2DConditionModel
        The network.
    encoder : DescriptorEncoder
        Maps descriptors to condition tokens.
    scheduler : DDIMScheduler
        The noise schedule.
    """

    autoencoder: LappedAutoencoder
    unet: UNet2DConditionModel
    encoder: DescriptorEncoder
    scheduler: DDIMScheduler

    @classmethod
    def random(cls, config: PretrainingConfig, images: torch.Tensor) -> Networks:
        """Initialise with random weights and scales fitted to `images` ``(N, C, Y, X)``.

        The weights are drawn from torch's global random generator.
        """
        autoencoder = _fit_autoencoder(images, config)
        unet = build_unet(config)
        descriptors = torch.cat(
            [
                describe_all(autoencoder.encode(part), config.coefficients)
                for part in images.split(64)
            ]
        )
        encoder = DescriptorEncoder(
            descriptors.shape[1], config.coefficients, config.tokens, config.token_width
        )
        encoder.calibrate(descriptors)
        return cls(autoencoder, unet, encoder, build_scheduler())

    @classmethod
    def load(cls, folder: Path) -> Networks:
        """Load a base made by `pretrain`; its weights were saved in half precision."""
        base = BaseModel.load(str(folder))
        if not isinstance(base.autoencoder, LappedAutoencoder) or base.encoder is None:
            raise TypeError(f"{folder} was checked to be a base made with `pretrain`")
        frozen = {id(base.encoder.mean), id(base.encoder.spread)}
        for model in (base.unet, base.encoder):
            model.train()
            for parameter in model.parameters():
                parameter.requires_grad_(id(parameter) not in frozen)
        scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
        return cls(base.autoencoder, base.unet, base.encoder, scheduler)

    def for_channels(self, channels: int) -> Networks:
        """Return these parts, or copies that take more channels, see `widened`."""
        if channels == self.autoencoder.config.image_channels:
            return self
        parts = widened(self.autoencoder, self.unet, self.encoder, channels)
        parts[0].requires_grad_(False)
        return Networks(*parts, self.scheduler)

    def to(self, device: torch.device) -> Networks:
        """Move the parts to a device and return them."""
        for model in (self.autoencoder, self.unet, self.encoder):
            model.to(device)
        return self

    @property
    def learned(self) -> list[torch.nn.Parameter]:
        """Trained weights."""
        both = (*self.unet.parameters(), *self.encoder.parameters())
        return [parameter for parameter in both if parameter.requires_grad]

    @property
    def fixed(self) -> dict[str, torch.Tensor]:
        """Untrained parameters, by name; the files of the base only hold them rounded."""
        return {
            "fixed.mean": self.encoder.mean.data,
            "fixed.spread": self.encoder.spread.data,
            "fixed.weights": self.autoencoder.weights.data,
        }

    def save(self, folder: Path) -> None:
        """Write a base in diffusers' layout; each file is replaced atomically."""
        parts = {"vae": self.autoencoder, "unet": self.unet, "conditioner": self.encoder}
        for name, model in parts.items():
            save_half(model, folder / name)
        _save_config(self.scheduler, folder / "scheduler" / "scheduler_config.json")


def save_half(model: torch.nn.Module, folder: Path) -> None:
    """Write a diffusers model as float16 safetensors with its config."""
    save_model(model, folder, torch.float16)


def save_model(model: torch.nn.Module, folder: Path, dtype: torch.dtype) -> None:
    """Write a diffusers model as safetensors with `dtype` and its config."""
    weights = {k: v.detach().to(dtype).contiguous().cpu() for k, v in model.state_dict().items()}
    check_weights(
        weights,
        f"The {folder.name}, as {dtype},",
        "it cannot be saved, so use a lower learning rate",
    )
    with write_atomic(folder / "diffusion_pytorch_model.safetensors") as temporary:
        # through bytes, since files that safetensors writes itself are only readable by their owner
        temporary.write_bytes(save(weights, metadata={"format": "pt"}))
    _save_config(model, folder / "config.json")


def _save_config(model: Any, path: Path) -> None:
    config = json.loads(model.to_json_string())
    config.pop("_name_or_path", None)  # a path on this machine
    with write_atomic(path) as temporary:
        temporary.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _fit_autoencoder(images: torch.Tensor, config: PretrainingConfig) -> LappedAutoencoder:
    # missing channels are black and would bias the spread downwards
    lit = images.flatten(0, 1)
    lit = lit[lit.flatten(1).std(1) > 0.02][:, None]
    if not len(lit):  # all channels are nearly black: use them all the same
        lit = images.flatten(0, 1)[:, None]
    shift = float(lit.mean())
    plain = LappedAutoencoder(1, config.coefficients, (1.0,) * config.coefficients, shift)
    latents = torch.cat([plain.encode(part) for part in lit.split(256)])
    scale = fit_scale(latents, config.coefficients)
    return LappedAutoencoder(config.image_channels, config.coefficients, scale, shift)
