"""Start a fine-tuning from an adapter (LoRA) that was trained before, here or by another program.

The programs write the same two factors of every layer under different names: peft, diffusers (as
it does today, and as it did in 2023), kohya's scripts, and this package. An adapter of any of them
has its own layers, ranks and scales. All of it is kept: layers that it has and the settings do not
are trained too, smaller ranks are filled up without effect, and scales go into the weights.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY

from napari_phenldiff.diffusion.adaptation import SETTINGS, Adapter, read_adapter
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.diffusion.strategies import Lora
from napari_phenldiff.diffusion.weights_file import open_weights
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.runs.folder import Run

_FILES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
_PEFT_SETTINGS = "adapter_config.json"
_MOST_BYTES = 2**20

_TEXT = ("text_encoder", "lora_te")
_PREFIXES = ("base_model.model.", "unet.")
_KOHYA = "lora_unet_"
_FACTOR = re.compile(
    r"(?P<layer>.+?)(?:\.lora)?[._](?:lora_)?(?P<factor>A|B|down|up)(?:\.default)?\.weight"
)
_OLD_LAYER = re.compile(r"(?P<attention>.+)\.processor\.(?P<name>to_(?:q|k|v|out))_lora")
_OTHER_KINDS = {
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """Factors of one layer: ``scale * up @ down`` is added to its weights."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """An adapter that a fine-tuning starts from.

    Attributes
    ----------
    place : Path
        Its file.
    layers : mapping of str to _Layer
        Its factors, by the name of the layer in the network.
    text_encoder : int
        Number of layers of a text encoder in it, which is not used here.
    adapter : Adapter or None
        Its condition tokens and what belongs to them, if it is of this package.
    """

    place: Path
    layers: Mapping[str, _Layer]
    text_encoder: int = 0
    adapter: Adapter | None = None

    @property
    def rank(self) -> int:
        """Largest rank of a layer."""
        return max(layer.down.shape[0] for layer in self.layers.values())

    def widen(self, strategy: Lora) -> Lora:
        """Return a strategy with room for this adapter; the scale of the updates is the same."""
        rank = max(strategy.rank, self.rank)
        more = [
            name
            for name in sorted(self.layers)
            if not any(name == end or name.endswith(f".{end}") for end in strategy.layers)
        ]
        scale = strategy.alpha / strategy.rank
        return replace(strategy, rank=rank, alpha=scale * rank, layers=(*strategy.layers, *more))

    def put_into(self, unet: UNet2DConditionModel, strategy: Lora) -> None:
        """Set the weights that `strategy` has added to a network to those of this adapter."""
        state = {name: value.clone() for name, value in strategy.state(unet).items()}
        ours = strategy.alpha / strategy.rank
        for name, layer in self.layers.items():
            rank = layer.down.shape[0]
            state[f"{name}.lora_A.weight"][:rank] = layer.down
            state[f"{name}.lora_B.weight"][:, :rank] = layer.up * (layer.scale / ours)
        strategy.restore(unet, state)

    def in_words(self) -> str:
        """Describe what is taken of the adapter, for the user."""
        text = f"Started from {self.place}: {count(len(self.layers), 'layer')}, rank {self.rank}"
        if self.text_encoder:
            text += (
                f"; {count(self.text_encoder, 'layer')} of a text encoder are left out, since none "
                "is used here"
            )
        return text


def adapter_file(place: Path) -> Path:
    """Return the file with the weights of an adapter: `place` itself, or one in its folder.

    Raises
    ------
    InputError
        If there is none.
    """
    place = place.expanduser()
    if place.is_file():
        return place
    for folder in (place / "adapter", place):
        for name in _FILES:
            if (folder / name).is_file():
                return folder / name
    if (place / "adapter" / SETTINGS).is_file() or (place / SETTINGS).is_file():
        raise InputError(
            f"The adapter in {place} was not trained with LoRA, and only a LoRA can be started "
            "from: merge the run (`phenldiff merge`) and give the result as the base model "
            "(--base)."
        )
    raise InputError(
        f"There is no adapter at {place}: give a safetensors file of a LoRA, a run, or a folder "
        f"with {' or '.join(_FILES)}."
    )


def record_start(run: Run) -> None:
    """Record which adapter a run is started from; a resumed run must still find the same one.

    Raises
    ------
    InputError
        If it is not there, or has changed.
    """
    place = getattr(run.config, "from_adapter", None)  # a baseline has none
    if place is None:
        return
    path = adapter_file(Path(place))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    known = run.from_adapter_sha256
    if known is None:
        run.record_from_adapter(found)
    elif known != found:
        raise InputError(
            f"The adapter {path} is not the one that {run.path} was started from (SHA-256 "
            f"{found[:12]}, not {known[:12]}): put that one back, or train anew."
        )


def read_start(place: Path, unet: UNet2DConditionModel) -> Start:
    """Read an adapter to start from.

    Parameters
    ----------
    place : Path
        A safetensors file as diffusers, peft or kohya's scripts write it, a folder with one, or a
        run of this package.
    unet : UNet2DConditionModel
        The network of the base, without an adapter.

    Raises
    ------
    InputError
        If it is none, is damaged, is of another kind than LoRA, or does not fit to the network.
    """
    path = adapter_file(place)
    tensors, metadata = _read(path)
    for mark, kind in _OTHER_KINDS.items():
        if any(mark in name for name in tensors):
            raise InputError(
                f"The adapter {path} is a {kind}, and only a LoRA can be started from; merge it "
                "into its base with the program that made it, and give that as the base model "
                "(--base)."
            )
    modules = dict(unet.named_modules())
    kohya = {f"{_KOHYA}{name.replace('.', '_')}": name for name in modules}
    factors: dict[str, dict[str, torch.Tensor]] = {}
    alphas: dict[str, float] = {}
    text: set[str] = set()
    for name, value in tensors.items():
        if name.startswith(_TEXT):
            text.add(name.split(".lora")[0].removesuffix(".alpha"))
        elif name.endswith(".alpha"):
            alphas[_layer(name.removesuffix(".alpha"), kohya)] = float(value)
        elif (found := _FACTOR.fullmatch(name)) is not None:
            layer = _layer(_joined(found), kohya)
            down = found["factor"] in ("A", "down")
            factors.setdefault(layer, {})["down" if down else "up"] = value
        else:
            raise InputError(
                f"The adapter {path} has weights that are not those of a LoRA ({name}); give one "
                "of diffusers, peft or kohya's scripts."
            )
    settings = _settings(path, metadata)
    layers = {}
    for layer, pair in factors.items():
        layers[layer] = _checked(path, layer, pair, modules, _scale(layer, pair, alphas, settings))
    if not layers:
        raise InputError(
            f"The adapter {path} has no layers of the network, only of a text encoder, which is "
            "not used here; give another."
        )
    return Start(path, layers, len(text), _adapter_beside(path))


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with open_weights(path, f"The adapter {path}") as opened:
        # every name is asked for on its own, since a file may come from anyone
        names = list(opened.keys())
        tensors = {name: opened.get_tensor(name).float() for name in names}
        metadata = dict(opened.metadata() or {})
    check_weights(tensors, f"The adapter {path}", "it is damaged, so use another")
    return tensors, metadata


def _joined(found: re.Match[str]) -> str:
    """Return the layer of a factor, also of names that diffusers gave in 2023."""
    layer = found["layer"]
    old = _OLD_LAYER.fullmatch(layer)
    if old is None:
        return layer
    name = "to_out.0" if old["name"] == "to_out" else old["name"]
    return f"{old['attention']}.{name}"


def _layer(name: str, kohya: Mapping[str, str]) -> str:
    """Return the name of a layer in the network."""
    if name.startswith(_KOHYA):
        return kohya.get(name, name)
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the settings of peft say about scales."""

    alpha: float | None = None
    patterns: Mapping[str, float] = field(default_factory=dict)
    by_root: bool = False


def _settings(path: Path, metadata: Mapping[str, str]) -> _Settings:
    """Read peft's settings, from the header of the file or from the file beside it."""
    values: dict[str, Any] = {}
    try:
        if LORA_ADAPTER_METADATA_KEY in metadata:
            values = json.loads(metadata[LORA_ADAPTER_METADATA_KEY])
            values = {key.removeprefix("unet."): value for key, value in values.items()}
        elif path.name == _FILES[1]:
            beside = path.with_name(_PEFT_SETTINGS)
            if beside.stat().st_size > _MOST_BYTES:
                raise ValueError("it is too large")
            values = json.loads(beside.read_text(encoding="utf-8"))
        if values.get("use_dora"):
            raise InputError(
                f"The adapter {path} is a DoRA, and only a LoRA can be started from; merge it into "
                "its base with the program that made it, and give that as the base model (--base)."
            )
        alpha = values.get("lora_alpha")
        patterns = {str(k): float(v) for k, v in (values.get("alpha_pattern") or {}).items()}
        return _Settings(
            None if alpha is None else float(alpha), patterns, bool(values.get("use_rslora"))
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The settings of the adapter {path} cannot be read ({type(error).__name__}: {error}); "
            f"{_PEFT_SETTINGS} belongs beside it."
        ) from error


def _scale(
    layer: str,
    pair: Mapping[str, torch.Tensor],
    alphas: Mapping[str, float],
    settings: _Settings,
) -> float:
    rank = pair["down"].shape[0] if "down" in pair else 1
    alpha = alphas.get(layer, settings.alpha)
    for pattern, value in settings.patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):
            alpha = value
    if alpha is None:
        return 1.0
    return alpha / (math.sqrt(rank) if settings.by_root else rank)


def _checked(
    path: Path,
    layer: str,
    pair: Mapping[str, torch.Tensor],
    modules: Mapping[str, torch.nn.Module],
    scale: float,
) -> _Layer:
    """Return the factors of a layer, in the shape of its weights; refuse those of another base."""
    weight = getattr(modules.get(layer), "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim < 2 or len(pair) != 2:
        raise InputError(
            f"The adapter {path} was made for another base model, or is not complete: the network "
            f"of this base has no layer for {layer}."
        )
    down, up = pair["down"], pair["up"]
    rank = down.shape[0]
    wanted = (rank, *weight.shape[1:]), (weight.shape[0], rank, *(1,) * (weight.ndim - 2))
    if down.numel() != math.prod(wanted[0]) or up.numel() != math.prod(wanted[1]):
        raise InputError(
            f"The adapter {path} was made for another base model: {layer} has another size here."
        )
    return _Layer(down.reshape(wanted[0]), up.reshape(wanted[1]), scale)


def _adapter_beside(path: Path) -> Adapter | None:
    """Return what belongs to an adapter of this package besides its weights."""
    if not (path.parent / SETTINGS).is_file():
        return None
    return read_adapter(path.parent)[0]
