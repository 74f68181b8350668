"""Fine-tuning strategies: which weights of the network are trained (paper, section 3.2).

*LoRA* adds low-rank matrices and *SVDiff* shifts singular values; both train few parameters, and
the paper finds that they generalise from 50 to 100 images. *Attention* trains the attention modules
and *full* the whole network; both memorise small sets.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import save

from napari_phenldiff.diffusion.svdiff import add_shifts, fold_shifts, shifts
from napari_phenldiff.runs.config import TrainingConfig

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The paper's choice: the projections of self- and cross-attention."""

EVERYWHERE = (
    *ATTENTION,
    *("conv_in", "conv_out", "conv1", "conv2", "conv", "conv_shortcut"),
    *("proj_in", "proj_out", "net.0.proj", "net.2"),
    *("linear_1", "linear_2", "time_emb_proj"),
)
"""Also all convolutions, feed-forward layers and the embeddings of time step and condition."""

_NORM_RATE = 1e-3
"""Learning rate of the shifts of normalisations, relative to those of matrices (1e-6 for 1e-3)."""


class WeightMismatchError(ValueError):
    """Raised when saved weights do not belong to a network."""


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Parameters that share optimiser settings.

    Attributes
    ----------
    parameters : list of torch.nn.Parameter
        Trained parameters, float32.
    rate : float
        Learning rate, relative to that of the configuration.
    decays : bool
        Whether weight decay applies.
    """

    parameters: list[torch.nn.Parameter]
    rate: float = 1.0
    decays: bool = True


class Strategy(ABC):
    """Decides which weights are trained, and how they are saved and restored."""

    name: ClassVar[str]
    """As in `TrainingConfig.strategy`."""

    file: ClassVar[str]
    """Name of the file of the trained weights."""

    prefix: ClassVar[str] = ""
    """What the names of the weights in that file begin with."""

    @abstractmethod
    def add_to(self, unet: UNet2DConditionModel) -> list[Group]:
        """Make the strategy's weights trainable, and no others; the output does not change."""

    @abstractmethod
    def state(self, unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
        """Return the trained weights, and no others, by name."""

    @abstractmethod
    def restore(self, unet: UNet2DConditionModel, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the result of `state` in a network after `add_to`.

        Raises
        ------
        WeightMismatchError
            If it belongs to another network, or is incomplete.
        """

    @abstractmethod
    def merge(self, unet: UNet2DConditionModel) -> None:
        """Merge the trained weights into the network's own weights, under their original names."""

    def freeze(self, unet: UNet2DConditionModel) -> None:
        """Freeze a network after training; its weights do not change."""
        unet.requires_grad_(False)

    def metadata(self) -> dict[str, str]:
        """Return what the header of the file says, for other programs that read it."""
        return {}

    def files_for_others(self, state: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
        """Return files, by name, that other programs want beside that of the weights.

        Parameters
        ----------
        state : mapping of str to torch.Tensor
            The trained weights, as `state` returns them.
        """
        return {}

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values, for `strategy_from_dict`."""


@dataclass(frozen=True, slots=True)
class Lora(Strategy):
    """Low-rank updates ``W' = W + (alpha / rank) B A`` of chosen layers, with peft.

    Parameters
    ----------
    rank : int
        Rank of the updates.
    layers : tuple of str
        Endings of the names of the layers to update.
    alpha : float
        Numerator of the scale of the updates.
    """

    name: ClassVar[str] = "lora"
    file: ClassVar[str] = "pytorch_lora_weights.safetensors"
    prefix: ClassVar[str] = "unet."  # as pipelines of diffusers save and load it
    rank: int = 16
    layers: tuple[str, ...] = ATTENTION
    alpha: float = 16.0

    def add_to(self, unet: UNet2DConditionModel) -> list[Group]:
        """Add new updates with zero effect, drawn from torch's global random generator."""
        unet.requires_grad_(False)
        unet.add_adapter(self._config())
        return [Group(_in_float32(unet))]

    def metadata(self) -> dict[str, str]:
        """Return peft's configuration, from which diffusers reads rank, scale and layers."""
        settings = {f"{self.prefix}{name}": value for name, value in self._settings().items()}
        text = json.dumps(settings, indent=1, sort_keys=True)
        # one entry only: the order of several is not the same in every process
        return {LORA_ADAPTER_METADATA_KEY: text}

    def files_for_others(self, state: Mapping[str, torch.Tensor]) -> dict[str, bytes]:
        """Return the files that peft reads: settings, and the weights under peft's names."""
        weights = {
            f"base_model.model.{name}": value.detach().float().contiguous().cpu()
            for name, value in state.items()
        }
        return {
            "adapter_config.json": json.dumps(self._settings(), indent=1, sort_keys=True).encode(),
            "adapter_model.safetensors": save(weights, {"format": "pt"}),
        }

    def _settings(self) -> dict[str, Any]:
        """Return peft's configuration as JSON values."""
        values = self._config().to_dict()
        return {n: sorted(v) if isinstance(v, set) else v for n, v in values.items()}

    def _config(self) -> LoraConfig:
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=list(self.layers),
            init_lora_weights=True,
        )

    def state(self, unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
        """Return both factors of every update."""
        return dict(get_peft_model_state_dict(unet))

    def restore(self, unet: UNet2DConditionModel, state: Mapping[str, torch.Tensor]) -> None:
        """See `Strategy`."""
        if get_peft_model_state_dict(unet).keys() != state.keys():
            raise WeightMismatchError("other layers")
        try:
            set_peft_model_state_dict(unet, dict(state))
        except RuntimeError as error:
            raise WeightMismatchError("other shapes") from error

    def merge(self, unet: UNet2DConditionModel) -> None:
        """See `Strategy`."""
        unet.fuse_lora()
        unet.unload_lora()

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "strategy": self.name,
            "rank": self.rank,
            "alpha": self.alpha,
            "layers": list(self.layers),
        }


@dataclass(frozen=True, slots=True)
class Svdiff(Strategy):
    """Shifts of the singular values, see `SingularValueShift`.

    The single singular value of a normalisation is trained too, a thousand times slower. Biases are
    not trained.

    Parameters
    ----------
    layers : tuple of str or None
        Endings of the names of the layers; None for all linear layers, convolutions and
        normalisations (225,877 shifts in Stable Diffusion 2).
    """

    name: ClassVar[str] = "svdiff"
    file: ClassVar[str] = "singular_value_shifts.safetensors"
    layers: tuple[str, ...] | None = None

    def add_to(self, unet: UNet2DConditionModel) -> list[Group]:
        """Decompose the weights and add shifts of zero."""
        add_shifts(unet, self.layers)
        matrices = [found.shift for _, found, is_norm in shifts(unet) if not is_norm]
        norms = [found.shift for _, found, is_norm in shifts(unet) if is_norm]
        groups = [Group(matrices, decays=False), Group(norms, _NORM_RATE, decays=False)]
        return [group for group in groups if group.parameters]

    def state(self, unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
        """Return the shifts by the name of their layer."""
        return {f"{name}.shift": found.shift for name, found, _ in shifts(unet)}

    def restore(self, unet: UNet2DConditionModel, state: Mapping[str, torch.Tensor]) -> None:
        """See `Strategy`."""
        _copy(state, self.state(unet))

    def merge(self, unet: UNet2DConditionModel) -> None:
        """See `Strategy`."""
        fold_shifts(unet)

    def freeze(self, unet: UNet2DConditionModel) -> None:
        """Compute the shifted weights once instead of at every pass."""
        fold_shifts(unet)
        unet.requires_grad_(False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "strategy": self.name,
            "layers": None if self.layers is None else list(self.layers),
        }


@dataclass(frozen=True, slots=True)
class Weights(Strategy):
    """The network's own weights: all, or those of modules with `part` in their name.

    They are saved in single precision and not as a difference to the base, which would be as large
    and would have to be rounded when it is added again.
    """

    file: ClassVar[str] = "weights.safetensors"
    part: ClassVar[str] = ""

    def add_to(self, unet: UNet2DConditionModel) -> list[Group]:
        """See `Strategy`."""
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(self.part in name.rpartition(".")[0])
        return [Group(_in_float32(unet))]

    def state(self, unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
        """Return the weights by their name in the network."""
        return {
            name: parameter
            for name, parameter in unet.named_parameters()
            if self.part in name.rpartition(".")[0]
        }

    def restore(self, unet: UNet2DConditionModel, state: Mapping[str, torch.Tensor]) -> None:
        """See `Strategy`."""
        _copy(state, self.state(unet))

    def merge(self, unet: UNet2DConditionModel) -> None:
        """Do nothing: the weights are part of the network already."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"strategy": self.name}


class Attention(Weights):
    """All weights of every module whose name contains ``attentions``, as PhenDiff trains them.

    These are whole transformer blocks: normalisations, projections and feed-forward layers too.
    """

    name: ClassVar[str] = "attention"
    part: ClassVar[str] = "attentions"


class Full(Weights):
    """All weights of the network."""

    name: ClassVar[str] = "full"


class Merged(Strategy):
    """No weights: they have been merged into the base, see `merge`."""

    name: ClassVar[str] = "merged"
    file: ClassVar[str] = ""

    def add_to(self, unet: UNet2DConditionModel) -> list[Group]:
        """See `Strategy`."""
        return []

    def state(self, unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
        """See `Strategy`."""
        return {}

    def restore(self, unet: UNet2DConditionModel, state: Mapping[str, torch.Tensor]) -> None:
        """See `Strategy`."""

    def merge(self, unet: UNet2DConditionModel) -> None:
        """See `Strategy`."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"strategy": self.name}


def strategy_of(config: TrainingConfig) -> Strategy:
    """Return the strategy of a configuration."""
    everywhere = config.layers == "everywhere"
    match config.strategy:
        case "lora":
            return Lora(config.rank, EVERYWHERE if everywhere else ATTENTION, config.lora_alpha)
        case "svdiff":
            return Svdiff(None if everywhere else ATTENTION)
        case "attention":
            return Attention()
        case _:  # "full"; the configuration has already resolved "auto"
            return Full()


def strategy_from_dict(values: Mapping[str, Any]) -> Strategy:
    """Return the strategy from the result of `to_dict`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the values do not describe a strategy.
    """
    match values.get("strategy", Lora.name):
        case Lora.name:
            rank = int(values["rank"])
            layers = tuple(str(name) for name in values["layers"])
            # adapters made before it could be chosen have no alpha
            return Lora(rank, layers, float(values.get("alpha", rank)))
        case Svdiff.name:
            layers = values["layers"]
            return Svdiff(None if layers is None else tuple(str(name) for name in layers))
        case Attention.name:
            return Attention()
        case Full.name:
            return Full()
        case Merged.name:
            return Merged()
        case other:
            raise ValueError(f"unknown strategy {other!r}")


def _in_float32(unet: UNet2DConditionModel) -> list[torch.nn.Parameter]:
    trainable = [p for p in unet.parameters() if p.requires_grad]
    for parameter in trainable:
        parameter.data = parameter.data.float()
    return trainable


@torch.no_grad()
def _copy(state: Mapping[str, torch.Tensor], into: Mapping[str, torch.Tensor]) -> None:
    if state.keys() != into.keys():
        raise WeightMismatchError("other layers")
    for name, value in state.items():
        if value.shape != into[name].shape:
            raise WeightMismatchError(f"another shape of {name}")
    for name, value in state.items():
        into[name].copy_(value)
