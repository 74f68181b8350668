"""Settings of a pre-training. Does not import torch, so that ``--help`` is fast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, model_validator

from napari_phenldiff.errors import InputError
from napari_phenldiff.settings import SETTINGS, Shown

_GROUPS = 32  # of the group normalisation in every block of the UNet
_POOLING_HEADS = 4  # see network.build_unet


class PretrainingConfig(BaseModel):
    """Settings of a pre-training."""

    model_config = SETTINGS

    image_channels: Annotated[
        int,
        Field(ge=1, le=64),
        Shown(option="--channels", default="those of the base, or of the image with the most"),
    ] = 3
    """Channels of the base; images with fewer are padded with black."""

    tile: Annotated[int, Field(ge=16, multiple_of=8), Shown(unit="px")] = 128
    """Native side of an image."""

    coefficients: Annotated[int, Field(ge=1, le=64)] = 16
    """Latent channels per image channel, at most 64; more keep finer detail."""

    widths: Annotated[
        tuple[Annotated[int, Field(ge=_GROUPS, multiple_of=_GROUPS)], ...], Field(min_length=1)
    ] = (128, 160, 224)
    """Channels of the UNet's levels."""

    layers: Annotated[int, Field(ge=1)] = 1
    """Residual blocks per level."""

    heads: tuple[Annotated[int, Field(ge=1)], ...] = (4, 5, 7)
    """Attention heads of the UNet's levels."""

    token_width: Annotated[int, Field(ge=_POOLING_HEADS, multiple_of=_POOLING_HEADS)] = 192
    """Width of a condition token."""

    tokens: Annotated[int, Field(ge=1)] = 4
    """Tokens of one condition."""

    start: Annotated[str, Field(min_length=1), Shown(option="--from")] = "random"
    """Base to start from: random (for random weights), bundled, or a folder."""

    crops: Annotated[int, Field(ge=1)] = 10_000
    """Number of crops of the size of a tile that are drawn from the images to train on."""

    compose: bool = False
    """Compose images with several channels from images with one."""

    simulated: Annotated[int, Field(ge=0)] = 0
    """Simulated fields that are added to the crops."""

    steps: Annotated[int, Field(ge=1)] = 6000
    """Optimisation steps."""

    batch_size: Annotated[int, Field(ge=1)] = 16
    """Images per step, over all processes."""

    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False), Shown(advanced=True)] = 4e-4
    """Peak learning rate."""

    warmup: Annotated[int, Field(ge=0), Shown(unit="steps", advanced=True)] = 200
    """Steps over which the learning rate rises to its peak."""

    ema: Annotated[float, Field(ge=0, lt=1), Shown(advanced=True)] = 0.999
    """Decay of the averaged weights that are saved; 0 for none."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of everything that is random."""

    descriptor_dropout: Annotated[float, Field(ge=0, le=1), Shown(advanced=True)] = 0.15
    """Probability, per sample, that the descriptor of the image is replaced by null tokens."""

    descriptor_noise: Annotated[float, Field(ge=0, allow_inf_nan=False), Shown(advanced=True)] = 0.3
    """Standard deviation of Gaussian noise on the standardised descriptors, so that the network
    generalises to averages over many images."""

    given_share: Annotated[float, Field(ge=0, le=1), Shown(advanced=True)] = 0.6
    """Fraction of the samples in which some channels are given and only the others are noised, so
    that the base learns how channels relate."""

    course: Annotated[Literal["cosine", "constant"], Shown(advanced=True)] = "cosine"
    """Learning rate schedule after the warm-up: cosine, down to a hundredth of the peak, or
    constant, for a training of unknown length, whose averaged weights can be used at any time."""

    noise_levels: Annotated[Literal["uniform", "middle"], Shown(advanced=True)] = "middle"
    """Distribution of the time steps: uniform, or middle, in which more than half of them come from
    a logit-normal distribution around the noise levels at which outlines of structures emerge.
    See Esser et al. 2024, Scaling rectified flow transformers, section 3.1."""

    checkpoint_every: Annotated[int, Field(ge=1), Shown(unit="steps", advanced=True)] = 500
    """Steps between two checkpoints."""

    preview_every: Annotated[int, Field(ge=0), Shown(unit="steps")] = 500
    """Steps between two previews; 0 for none."""

    precision: Annotated[Literal["auto", "float32", "bfloat16"], Shown(advanced=True)] = "auto"
    """Precision of the network's passes. ``auto`` takes bfloat16 where the device is faster with
    it."""

    device: Annotated[str, Field(min_length=1)] = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1 or mps."""

    @model_validator(mode="after")
    def _levels_fit(self) -> PretrainingConfig:
        levels = len(self.widths)
        if len(self.heads) != levels:
            raise ValueError(f"there are {levels} widths and {len(self.heads)} heads")
        for width, heads in zip(self.widths, self.heads, strict=True):
            if width % heads:
                raise ValueError(f"a width of {width} cannot be shared by {heads} heads")
        multiple = 8 * 2 ** (levels - 1)
        if self.tile % multiple:
            raise ValueError(f"with {levels} levels the tile must be a multiple of {multiple}")
        return self

    @model_validator(mode="after")
    def _simulated_fit(self) -> PretrainingConfig:
        if self.simulated and self.image_channels < 3:
            raise ValueError(
                f"simulated fields have up to 3 channels and the base {self.image_channels}"
            )
        return self


def base_folder(reference: str) -> Path:
    """Return the folder of a base: the bundled one, or the folder that was given."""
    if reference == "bundled":
        return Path(str(files("napari_phenldiff") / "diffusion" / "bundled"))
    return Path(reference).expanduser()


def shape_of(reference: str) -> dict[str, Any]:
    """Read the network settings of a base that was made by a pre-training of this package.

    Raises
    ------
    InputError
        If there is no base, or if it was not made by `pretrain`: other bases have no descriptor
        encoder, and their autoencoder mixes channels.
    """
    folder = base_folder(reference)
    try:
        vae, unet, encoder = (
            json.loads((folder / part / "config.json").read_text(encoding="utf-8"))
            for part in ("vae", "unet", "conditioner")
        )
        if vae["_class_name"] != "LappedAutoencoder":
            raise ValueError(f"its autoencoder is a {vae['_class_name']}")
        return {
            "image_channels": vae["image_channels"],
            "tile": unet["sample_size"] * 8,
            "coefficients": vae["coefficients"],
            "widths": tuple(unet["block_out_channels"]),
            "layers": unet["layers_per_block"],
            "heads": tuple(unet["attention_head_dim"]),
            "token_width": unet["cross_attention_dim"],
            "tokens": encoder["tokens"],
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"no {error.filename}" if isinstance(error, FileNotFoundError) else error
        raise InputError(
            f"{reference} is not a base that can be trained further ({reason}): give bundled, or a "
            "folder that `phenldiff pretrain` wrote."
        ) from error


def with_shape_of(reference: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Add the network settings of the base to start from.

    Raises
    ------
    InputError
        If a setting contradicts it, or if the base cannot be trained on.
    """
    shape = shape_of(reference)
    for key, value in shape.items():
        if key == "image_channels" and values.get(key, 0) > value:
            continue  # a base can be widened to more channels, see `widening`
        if key in values and values[key] != value:
            raise InputError(
                f"The base {reference} has {key} {_told(value)}, not {_told(values[key])}: leave "
                "this setting out, or start from random weights."
            )
    return {**shape, **values}


def _told(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
