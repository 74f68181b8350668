"""How large a base model is, read from the headers of its files; torch is not imported here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import Any

from napari_phenldiff.diffusion.channel_groups import ChannelGroups
from napari_phenldiff.diffusion.hub_reference import HubModel
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import is_there

_LONGEST_HEADER = 100e6
_VARIANT = re.compile(r"\.(fp16|bf16)(?=[.-])")
_VARIANTS = ("", "fp16", "bf16")
"""Precisions of weights, in the order in which a base is looked for."""

_NETWORK = "model.diffusion_model."
"""What the names of the network's weights begin with in a single file of Stable Diffusion."""

_FIRST = f"{_NETWORK}input_blocks.0.0.weight"
_ATTENTION = f"{_NETWORK}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_CHANNELS = 3
"""Of an image, for the autoencoder of Stable Diffusion."""

_SIDES = {False: 512, True: 768}
"""Native side of Stable Diffusion in pixels, by whether it predicts v."""


@dataclass(frozen=True, slots=True)
class BaseSize:
    """How large a base model is.

    Attributes
    ----------
    weights : int
        Of the network.
    tile : int
        Native side in pixels.
    latents : int
        Channels of the latents.
    channels : int or None
        Channels of an image that its autoencoder mixes: more go through in groups. None if each has
        latents of its own.
    """

    weights: int
    tile: int
    latents: int
    channels: int | None = None

    def groups(self, channels: int, references: int = 0) -> int:
        """Return in how many groups the channels of images go through, see `ChannelGroups`.

        Parameters
        ----------
        channels : int
            Channels of an image.
        references : int
            How many of them are named as reference channels.
        """
        if self.channels is None:
            return 1
        return max(1, len(ChannelGroups.of(channels, range(references), self.channels)))


def base_size(base: str) -> BaseSize | None:
    """Return the size of a base model; None if it is not on this machine, or not one.

    Parameters
    ----------
    base : str
        As in `TrainingConfig`: bundled, a folder, a single file, or a model on a hub, which is
        looked for where an earlier download left it.
    """
    try:
        place = _place(base)
        return None if place is None else _measured(place, place.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None


@lru_cache(maxsize=16)
def _measured(place: Path, changed: int) -> BaseSize | None:
    """Measure a base; `changed` is only part of the cache key."""
    return _of_file(place) if place.is_file() else _of_folder(place)


def _place(base: str) -> Path | None:
    if base == "bundled":
        return Path(str(files("napari_phenldiff") / "diffusion" / "bundled"))
    place = Path(base).expanduser()
    return place if is_there(place) else _downloaded(base)


def _downloaded(base: str) -> Path | None:
    """Return where a model of a hub lies in the cache; the network is not used."""
    try:
        model = HubModel.parse(base)
    except InputError:
        return None
    if model is None:
        return None
    from huggingface_hub import constants, try_to_load_from_cache

    name = model.file or "unet/config.json"
    found = try_to_load_from_cache(
        model.name, name, revision=model.revision, cache_dir=constants.HF_HUB_CACHE
    )
    if not isinstance(found, str):
        return None
    return Path(found) if model.file else Path(found).parent.parent


def _of_folder(folder: Path) -> BaseSize | None:
    unet = json.loads((folder / "unet" / "config.json").read_text(encoding="utf-8"))
    found = sorted((folder / "unet").glob("*.safetensors"))
    by_variant: dict[str, list[Path]] = {}
    for path in found:
        if ".non_ema" not in path.name:
            variant = _VARIANT.search(path.name)
            by_variant.setdefault(variant[1] if variant else "", []).append(path)
    paths: Iterable[Path] = next((by_variant[v] for v in _VARIANTS if v in by_variant), ())
    weights = sum(_count(_header(path)) for path in paths)
    if not weights:
        return None
    channels = _channels_mixed(folder / "vae" / "config.json")
    return BaseSize(weights, 8 * int(unet["sample_size"]), int(unet["in_channels"]), channels)


def _channels_mixed(path: Path) -> int | None:
    """Return how many channels an autoencoder mixes; None if it mixes none, or is not there yet."""
    if not path.is_file():
        return None
    vae = json.loads(path.read_text(encoding="utf-8"))
    mixes = vae.get("_class_name") != "LappedAutoencoder"
    return max(1, int(vae["in_channels"])) if mixes else None


def _of_file(path: Path) -> BaseSize | None:
    header = _header(path)
    weights = _count({k: part for k, part in header.items() if k.startswith(_NETWORK)})
    if not weights or _FIRST not in header:
        return None
    said = header.get("__metadata__", {})
    wide = int(header[_ATTENTION]["shape"][-1]) > 768
    prediction = str(said.get("modelspec.prediction_type", "")).lower()
    predicts_v = prediction.startswith("v") or said.get("modelspec.architecture", "").endswith("-v")
    latents = int(header[_FIRST]["shape"][1])
    return BaseSize(weights, _SIDES[wide and predicts_v], latents, _CHANNELS)


def _header(path: Path) -> Mapping[str, Any]:
    """Return the header of a safetensors file: shapes by name."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LONGEST_HEADER:
            return {}
        header: Mapping[str, Any] = json.loads(file.read(length))
        return header


def _count(header: Mapping[str, Any]) -> int:
    """Count the numbers that a header tells of."""
    return sum(prod(part["shape"]) for name, part in header.items() if name != "__metadata__")
