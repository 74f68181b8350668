"""Which weights learn, and how what they learned is kept.

An adapter is a folder of two small safetensors files and a JSON: the low-rank updates (LoRA, paper
section 3.2), the condition tokens, and what is needed to put both onto the base again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save

from napari_phenldiff.diffusion.conditioning import ConditionTokens
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TrainingConfig

WEIGHTS = "pytorch_lora_weights.safetensors"
TOKENS = "condition_tokens.safetensors"
SETTINGS = "adapter.json"

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The paper's choice: the projections of self- and cross-attention."""

EVERYWHERE = (*ATTENTION, "conv1", "conv2", "time_emb_proj", "net.0.proj", "net.2", "proj_out")
"""Also the convolutions and what the condition reaches through the time embedding."""


@dataclass(frozen=True, slots=True)
class Lora:
    """Low-rank updates ``W' = W + (alpha / rank) B A`` of chosen layers.

    Parameters
    ----------
    rank : int
        Of the updates; ``alpha`` equals it.
    layers : tuple of str
        Endings of the names of the layers that get one.
    """

    rank: int = 16
    layers: tuple[str, ...] = ATTENTION

    @classmethod
    def from_config(cls, config: TrainingConfig) -> Lora:
        """As a fine-tuning asks for it."""
        return cls(config.rank, EVERYWHERE if config.layers == "everywhere" else ATTENTION)

    def add_to(self, unet: UNet2DConditionModel) -> list[torch.nn.Parameter]:
        """Put fresh updates (zero effect) onto a network; returns the weights that learn."""
        unet.requires_grad_(False)
        unet.add_adapter(
            LoraConfig(
                r=self.rank,
                lora_alpha=self.rank,
                target_modules=list(self.layers),
                init_lora_weights=True,
            )
        )
        trainable = [p for p in unet.parameters() if p.requires_grad]
        for parameter in trainable:
            parameter.data = parameter.data.float()
        return trainable

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"strategy": "lora", "rank": self.rank, "layers": list(self.layers)}


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """What a saved adapter adds to the network that it was put onto.

    Attributes
    ----------
    tokens : ConditionTokens
        Learned condition tokens.
    reference_channels : tuple of str
        Channels that were given in training and are not translated.
    """

    tokens: ConditionTokens
    reference_channels: tuple[str, ...]


def adapter_files(
    unet: UNet2DConditionModel,
    tokens: ConditionTokens,
    lora: Lora,
    base: str,
    *,
    separation: Mapping[str, float],
    reference_channels: Sequence[str],
) -> Mapping[str, bytes]:
    """Return what belongs into an adapter folder, by file name."""
    weights = {
        key: value.detach().float().contiguous().cpu()
        for key, value in get_peft_model_state_dict(unet).items()
    }
    learned = {
        "values": tokens.values.detach().float().contiguous().cpu(),
        "null": tokens.null.detach().float().contiguous().cpu(),
    }
    settings = {
        **lora.to_dict(),
        "base": base,
        "conditions": list(tokens.conditions),
        "separation": {name: round(value, 4) for name, value in separation.items()},
        "reference_channels": list(reference_channels),
    }
    return {
        WEIGHTS: save(weights),
        TOKENS: save(learned),
        SETTINGS: json.dumps(settings, indent=1).encode(),
    }


def load_adapter(folder: Path, unet: UNet2DConditionModel) -> Adapter:
    """Put a saved adapter onto a network and return the rest of it.

    Raises
    ------
    InputError
        If the folder is damaged or belongs to another base.
    """
    try:
        settings = json.loads((folder / SETTINGS).read_text())
        weights = load_file(str(folder / WEIGHTS))
        learned = load_file(str(folder / TOKENS))
        lora = Lora(int(settings["rank"]), tuple(str(name) for name in settings["layers"]))
        tokens = ConditionTokens(settings["conditions"], learned["values"], learned["null"])
        references = tuple(str(name) for name in settings.get("reference_channels", ()))
    except Exception as error:
        raise InputError(
            f"The adapter in {folder} cannot be read ({type(error).__name__}); train the run again."
        ) from error
    lora.add_to(unet)
    try:
        result = set_peft_model_state_dict(unet, weights)
    except RuntimeError as error:
        raise _misfit(folder) from error
    if result.unexpected_keys or tokens.values.shape[-1] != unet.config.cross_attention_dim:
        raise _misfit(folder)
    unet.requires_grad_(False)
    tokens.requires_grad_(False)
    return Adapter(tokens, references)


def _misfit(folder: Path) -> InputError:
    return InputError(
        f"The adapter in {folder} was made for another base model; give the one of its run."
    )
