"""Load Stable Diffusion 1 and 2 from a single safetensors file, as it was first published.

Such a checkpoint has the weights of all networks under the names of the original code, and no
configurations. diffusers renames the weights; the configurations of Stable Diffusion 1 and 2 are
written here, since diffusers would ask its hub for them. What the weights do not tell is whether a
model of Stable Diffusion 2 predicts the noise or v, so the file or a YAML file beside it must.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import safe_open

from napari_phenldiff.diffusion.base_files import FLOATS
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.diffusion.weights_file import open_weights
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import scratch_folder

_UNET = "model.diffusion_model."
_AUTOENCODER = "first_stage_model."
_FIRST = f"{_UNET}input_blocks.0.0.weight"
_ATTENTION = f"{_UNET}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_XL_ATTENTION = f"{_UNET}input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
_CLASSES = f"{_UNET}label_emb."
_LATENT_CHANNELS = 4
_MOST_YAML = 2**20
_PARAMETERIZATION = re.compile(r"^\s*parameterization:\s*[\"']?(\w+)[\"']?\s*$", re.MULTILINE)

_SHAPE = {
    "in_channels": _LATENT_CHANNELS,
    "out_channels": _LATENT_CHANNELS,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "layers_per_block": 2,
}
UNETS: dict[int, dict[str, Any]] = {
    768: {**_SHAPE, "cross_attention_dim": 768, "attention_head_dim": 8},
    1024: {
        **_SHAPE,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
}
"""Configurations of the UNet, by the width of its conditioning: Stable Diffusion 1, and 2."""

AUTOENCODER: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": _LATENT_CHANNELS,
    "scaling_factor": 0.18215,
}
"""Configuration of the autoencoder of both."""

_NOISE_ONLY = 768
"""Width of Stable Diffusion 1, whose models predict the noise unless they say otherwise."""

_SIDES = {"epsilon": 64, "v_prediction": 96}
"""Native side in latents, by prediction type: models that predict v were trained on 768 px."""

_SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


@dataclass(frozen=True, slots=True, eq=False)
class SingleFile:
    """The parts of a checkpoint that a base model is made of, with float32 weights."""

    unet: UNet2DConditionModel
    autoencoder: AutoencoderKL
    scheduler: DDIMScheduler


def load_single_file(path: Path, reference: str) -> SingleFile:
    """Load a checkpoint of Stable Diffusion 1 or 2.

    Parameters
    ----------
    path : Path
        A safetensors file.
    reference : str
        Name of the base, for messages.

    Raises
    ------
    InputError
        If it is another format or model, is damaged, or does not say what it predicts.
    """
    shapes, metadata = _header(path, reference)
    width = _width(shapes, reference)
    prediction = _prediction(path, width, metadata, reference)
    side = _SIDES[prediction] if width != _NOISE_ONLY else _SIDES["epsilon"]
    unet = _load(
        UNet2DConditionModel, {**UNETS[width], "sample_size": side}, path, _UNET, reference
    )
    autoencoder = _load(AutoencoderKL, AUTOENCODER, path, _AUTOENCODER, reference)
    scheduler = DDIMScheduler(**_SCHEDULE, prediction_type=prediction)
    return SingleFile(unet, autoencoder, scheduler)


def _header(path: Path, reference: str) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Return names and shapes of all weights, and the metadata."""
    instead = "convert it, or give a folder in diffusers' layout"
    with open_weights(path, f"The base model {reference}", instead) as opened:
        shapes = {}
        for name in opened.keys():  # noqa: SIM118 - not a mapping
            part = opened.get_slice(name)
            used = name.startswith((_UNET, _AUTOENCODER))
            if used and part.get_dtype() not in FLOATS:
                raise ValueError(f"{name} has the type {part.get_dtype()}")
            shapes[name] = tuple(part.get_shape())
        return shapes, dict(opened.metadata() or {})


def _width(shapes: Mapping[str, tuple[int, ...]], reference: str) -> int:
    """Return the width of the conditioning, by which the versions differ; refuse other models."""
    if _FIRST not in shapes:
        adapter = any("lora" in name for name in shapes)
        what = (
            "is an adapter (LoRA) and no model: start from it (--from-adapter)"
            if adapter
            else "has no UNet of Stable Diffusion under the names of the original code: give a "
            "checkpoint of Stable Diffusion 1 or 2, or a folder in diffusers' layout"
        )
        raise InputError(f"The file {reference} {what}.")
    taken = shapes[_FIRST][1] if len(shapes[_FIRST]) == 4 else 0
    wide = shapes.get(_ATTENTION, (0,))[-1]
    if _XL_ATTENTION in shapes and shapes[_XL_ATTENTION][-1] > 1024:
        kind = "is a Stable Diffusion XL model, which needs a second text embedding and image sizes"
    elif any(name.startswith(_CLASSES) for name in shapes):
        kind = "takes class embeddings, as unCLIP models and upscalers do"
    elif taken != _LATENT_CHANNELS:
        kind = f"takes {taken} latent channels, as models for inpainting, depth or upscaling do"
    elif wide not in UNETS:
        kind = f"has a conditioning width of {wide}"
    elif not any(name.startswith(_AUTOENCODER) for name in shapes):
        kind = "has no autoencoder; give a complete checkpoint"
    else:
        return wide
    raise InputError(
        f"The base model {reference} {kind}: Stable Diffusion 1 and 2 for text to image, and bases "
        "made with phenldiff, can be fine-tuned here."
    )


def _prediction(path: Path, width: int, metadata: Mapping[str, str], reference: str) -> str:
    """Return what the network predicts, as the file or a YAML file beside it says."""
    said = metadata.get("modelspec.prediction_type", "").lower()
    if not said and metadata.get("modelspec.architecture", "").startswith("stable-diffusion-v2"):
        said = "v" if metadata["modelspec.architecture"].endswith("-v") else "epsilon"
    beside = path.with_suffix(".yaml")
    if not said and beside.is_file() and beside.stat().st_size <= _MOST_YAML:
        found = _PARAMETERIZATION.search(beside.read_text(encoding="utf-8", errors="replace"))
        said = found[1] if found else "eps"
    if said in ("v", "v_prediction", "v-prediction"):
        return "v_prediction"
    if said in ("eps", "epsilon") or (not said and width == _NOISE_ONLY):
        return "epsilon"
    if said:
        raise InputError(
            f"The base model {reference} predicts {said}; give one that predicts epsilon or v."
        )
    raise InputError(
        f"{reference} is a model of Stable Diffusion 2 that does not say whether it predicts the "
        f"noise or v: put its YAML file beside it as {beside.name}, or give a folder in diffusers' "
        "layout."
    )


def _load(kind: Any, config: Mapping[str, Any], path: Path, prefix: str, reference: str) -> Any:
    """Load a network by diffusers, from those of the weights that belong to it."""
    what = f"The {'UNet' if prefix == _UNET else 'autoencoder'} in {reference}"
    try:
        with safe_open(str(path), framework="pt") as opened:
            names = [name for name in opened.keys() if name.startswith(prefix)]  # noqa: SIM118
            weights = {name: opened.get_tensor(name) for name in names}
        with scratch_folder() as folder:
            values = {"_class_name": kind.__name__, **config}
            (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
            model = kind.from_single_file(
                weights, config=str(folder), local_files_only=True, torch_dtype=torch.float32
            )
    except NotImplementedError as error:  # diffusers moves a network that has no data in places
        raise InputError(_not_complete(what)) from error
    except Exception as error:
        raise InputError(
            f"{what} cannot be loaded ({type(error).__name__}: "
            f"{(str(error).splitlines() or ['no reason given'])[0]}); it is not one of Stable "
            "Diffusion 1 or 2, or damaged: download or copy it again."
        ) from error
    if any(value.is_meta for value in model.state_dict().values()):
        raise InputError(_not_complete(what))
    check_weights(
        model.state_dict(), what, "it is damaged, so use another base or download it again"
    )
    return model


def _not_complete(what: str) -> str:
    return f"{what} lacks weights: it is not complete, so download or copy it again."
