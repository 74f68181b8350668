"""Save and load an adapter, the result of a fine-tuning.

An adapter folder holds two safetensors files, the trained weights and the condition tokens, and a
JSON file with the settings that are needed to apply both to the base model again. That of a LoRA
also holds the files by which peft loads it; diffusers loads it as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from diffusers import UNet2DConditionModel
from pydantic import BaseModel as Model
from pydantic import ConfigDict, Field, ValidationError
from safetensors.torch import load_file, save

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.conditioning import ConditionTokens
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.diffusion.strategies import Strategy, WeightMismatchError, strategy_from_dict
from napari_phenldiff.errors import InputError

TOKENS = "condition_tokens.safetensors"
SETTINGS = "adapter.json"
LINKS = "channel_links.safetensors"
"""What groups of channels see of each other, where there are several."""

_MOST_BYTES = 2**20
"""Of adapter.json."""

_LARGEST_RANK = 2**16


class _Settings(Model):
    """What is in adapter.json, of which anybody may have made the file; further keys say nothing.

    The settings of a strategy are those that its `to_dict` returns.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    strategy: str = "lora"
    rank: int | None = Field(default=None, ge=1, le=_LARGEST_RANK)
    alpha: float | None = Field(default=None, gt=0, le=_LARGEST_RANK, allow_inf_nan=False)
    layers: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None, min_length=1
    )
    conditions: tuple[str, ...] = Field(min_length=1)
    separation: dict[str, float] = {}
    reference_channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """The parts of a loaded adapter besides the trained weights of the network.

    Attributes
    ----------
    tokens : ConditionTokens
        Learned condition tokens.
    reference_channels : tuple of str
        Channels that were given in training and are not translated.
    strategy : Strategy
        Strategy that it was trained with.
    separation : mapping
        How well each channel separates the conditions, by channel name.
    links : torch.Tensor or None
        Weights of `GroupLinks`, where the channels go through the network in groups.
    """

    tokens: ConditionTokens
    reference_channels: tuple[str, ...]
    strategy: Strategy
    separation: Mapping[str, float]
    links: torch.Tensor | None = None

    def put_links_into(self, base: BaseModel) -> None:
        """Set what the groups of channels of a base see of each other, if it has groups.

        Raises
        ------
        InputError
            If this adapter was trained with other groups, or with none.
        """
        if base.links is None:
            return
        if self.links is None or self.links.shape != base.links.weight.shape:
            raise InputError(
                f"The adapter was trained with other groups of channels than its run has "
                f"({LINKS} does not fit): it is damaged; train the run again."
            )
        base.links.requires_grad_(False)
        base.links.weight.copy_(self.links)


@dataclass(frozen=True, slots=True)
class AdapterSize:
    """Number of trained parameters of an adapter.

    Attributes
    ----------
    network, tokens : int
        Trained parameters of the network and of the condition tokens.
    of : int
        Parameters of the network without the adapter.
    links : int
        Trained parameters of what groups of channels see of each other.
    """

    network: int
    tokens: int
    of: int
    links: int = 0

    def _part(self) -> str:
        if self.network == self.of:
            return "all of the network"
        return f"{100 * self.network / self.of:.2g} % of the network's {self.of:,}"

    def in_words(self, strategy: Strategy) -> str:
        """Describe the size in one sentence, for the user."""
        size = 4 * (self.network + self.tokens + self.links)
        written = f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"
        between = f" and {self.links:,} between groups of channels" if self.links else ""
        return (
            f"Strategy {strategy.name}: {self.network:,} numbers learn "
            f"({self._part()}), and "
            f"{self.tokens:,} in the condition tokens{between}; the adapter takes about {written}"
        )


def adapter_files(
    unet: UNet2DConditionModel,
    tokens: ConditionTokens,
    strategy: Strategy,
    base: str,
    *,
    separation: Mapping[str, float],
    reference_channels: Sequence[str],
    links: torch.Tensor | None = None,
) -> Mapping[str, bytes]:
    """Return the contents of an adapter folder, by file name."""
    state = strategy.state(unet)
    named = ((f"{strategy.prefix}{name}", value) for name, value in state.items())
    weights = _pack(named, strategy.metadata())
    settings = {
        **strategy.to_dict(),
        "trained_parameters": sum(value.numel() for value in state.values()),
        "token_parameters": sum(value.numel() for value in tokens.parameters()),
        "file_bytes": len(weights),
        "base": base,
        "conditions": list(tokens.conditions),
        "separation": {name: round(value, 4) for name, value in separation.items()},
        "reference_channels": list(reference_channels),
    }
    files = {
        TOKENS: _pack([("values", tokens.values), ("null", tokens.null)]),
        SETTINGS: json.dumps(settings, indent=1).encode(),
    }
    if links is not None:
        files[LINKS] = _pack([("weight", links)])
    others = strategy.files_for_others(state)
    return {strategy.file: weights, **files, **others} if strategy.file else files


def load_adapter(folder: Path, unet: UNet2DConditionModel) -> Adapter:
    """Apply a saved adapter to a network and freeze the network.

    Raises
    ------
    InputError
        If the folder is damaged or belongs to another base.
    """
    adapter = apply_adapter(folder, unet)
    adapter.strategy.freeze(unet)
    return adapter


def apply_adapter(folder: Path, unet: UNet2DConditionModel) -> Adapter:
    """Apply a saved adapter to a network that can be trained further.

    Raises
    ------
    InputError
        As `load_adapter`.
    """
    adapter, weights = read_adapter(folder)
    try:
        adapter.strategy.add_to(unet)
        adapter.strategy.restore(unet, weights)
    except (WeightMismatchError, ValueError, TypeError) as error:  # layers that there are not
        raise _other_base(folder) from error
    if adapter.tokens.values.shape[-1] != unet.config.cross_attention_dim:
        raise _other_base(folder)
    return adapter


def read_adapter(folder: Path) -> tuple[Adapter, dict[str, torch.Tensor]]:
    """Read a saved adapter and its trained weights, without applying them.

    Raises
    ------
    InputError
        If the folder is damaged.
    """
    try:
        if (folder / SETTINGS).stat().st_size > _MOST_BYTES:
            raise ValueError(f"{SETTINGS} is too large")
        values = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        settings = _Settings.model_validate(values)
        strategy = strategy_from_dict(settings.model_dump(exclude_none=True) | _layers_of(values))
        kept = load_file(str(folder / strategy.file)) if strategy.file else {}
        weights = {name.removeprefix(strategy.prefix): value for name, value in kept.items()}
        learned = load_file(str(folder / TOKENS))
        _check_tokens(settings.conditions, learned["values"], learned["null"])
        tokens = ConditionTokens(settings.conditions, learned["values"], learned["null"])
        if (folder / LINKS).is_file():
            learned["links"] = load_file(str(folder / LINKS))["weight"]
    except Exception as error:
        raise InputError(
            f"The adapter in {folder} cannot be read ({_why(error)}); train the run again."
        ) from error
    ranks = {value.shape[0] for name, value in weights.items() if ".lora_A." in name}
    if ranks - {settings.rank}:
        raise _other_base(folder)
    check_weights({**weights, **learned}, f"The adapter in {folder}", "train the run again")
    tokens.requires_grad_(False)
    adapter = Adapter(
        tokens, settings.reference_channels, strategy, settings.separation, learned.get("links")
    )
    return adapter, weights


def _layers_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layers where they are said to be all, which is not the same as not said."""
    return {"layers": None} if values.get("layers", ()) is None else {}


def _check_tokens(conditions: Sequence[str], values: torch.Tensor, null: torch.Tensor) -> None:
    if values.ndim != 3 or null.shape != values.shape[1:]:
        raise ValueError(f"tokens of the shapes {tuple(values.shape)} and {tuple(null.shape)}")
    if len(values) != len(conditions) or len(set(conditions)) != len(conditions):
        raise ValueError(f"{len(values)} tokens for {len(set(conditions))} conditions")


def _why(error: Exception) -> str:
    """Return in a few words what is wrong with the files of an adapter."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        return f"{SETTINGS}, {place}: {first['msg']}"
    if type(error) is ValueError:
        return str(error)
    return type(error).__name__


def _pack(
    values: Iterable[tuple[str, torch.Tensor]], metadata: dict[str, str] | None = None
) -> bytes:
    tensors = {key: value.detach().float().contiguous().cpu() for key, value in values}
    return save(tensors, metadata or None)


def _other_base(folder: Path) -> InputError:
    return InputError(
        f"The adapter in {folder} was made for another base model; give the one of its run."
    )
