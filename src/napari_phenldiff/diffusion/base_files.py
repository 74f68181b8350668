"""Check the files of a base model before any of them is loaded.

A folder may come from a hub or a colleague, or be incomplete because a disk was full. Its
configurations determine the size of the networks that are allocated, and an index could name files
in another format than safetensors. So sizes, names and shapes are checked first; non-finite numbers
can only be found in the weights themselves, see `finite`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import read_small

_MOST_SCALE = 1e4
"""Of latents, and how far they are shifted: those of any autoencoder are near 1."""

_MOST_BYTES = 2**20
"""Largest size of a configuration; those of Stable Diffusion have about 2,000 bytes."""

_MOST_BYTES_OF_INDEX = 2**24
"""Of an index, which names every weight of a network."""

_MOST_NESTED = 8
_MOST_ENTRIES = 64
_MOST = 2**15
"""Largest integer in a configuration."""

_MOST_OF = {
    "layers_per_block": 16,
    "transformer_layers_per_block": 16,
    "num_train_timesteps": 10**5,
    **dict.fromkeys(("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"), 2**18),
}
"""Other limits for some settings."""

VARIANTS = ("", "fp16", "bf16")
"""Precisions that weights are saved in, by what diffusers adds to the names of the files. The first
that is complete is loaded; plain names, which are mostly those of single precision, come first."""

_STEM = "diffusion_pytorch_model"
_STEMS = {"text_encoder": "model"}
"""Beginning of the names of weights, which transformers calls otherwise."""

_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Layers of the attention in the autoencoder of Stable Diffusion 1 and 2; diffusers renames them on
loading."""

FLOATS = {"F16", "BF16", "F32", "F64"}
"""Types of weights that are read."""
_PREDICTIONS = ("epsilon", "v_prediction")


def read_config(
    folder: Path, part: str, reference: str, name: str = "config.json"
) -> dict[str, Any]:
    """Read a configuration of a base model.

    Parameters
    ----------
    folder : Path
        Folder of the base.
    part : str
        Sub-folder, such as ``unet``.
    reference : str
        Name of the base, for messages.
    name : str
        Name of the file.

    Raises
    ------
    InputError
        If it is missing, is not a regular file, is not JSON, or has sizes that no base has.
    """
    path = folder / part / name
    try:
        config = _read_json(path, _MOST_BYTES)
        _check_sizes(config)
    except FileNotFoundError:
        raise InputError(
            f"{reference} is not a base model: it has no {part}/{name}; give a folder in "
            "diffusers' layout (unet, vae, scheduler)."
        ) from None
    except RecursionError:
        raise InputError(
            f"The file {path} of the base model cannot be read: it is nested too deeply; download "
            "or copy it again."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"The file {path} of the base model cannot be read: {error}; download or copy it again."
        ) from error
    return config


def check_configs(folder: Path, reference: str) -> None:
    """Refuse a base model by its configurations alone, before any weights are fetched or read.

    Parameters
    ----------
    folder : Path
        Folder of the base, which may have no weights yet.
    reference : str
        Name of the base, for messages.

    Raises
    ------
    InputError
        If a configuration is missing or damaged, or is that of a model that cannot be used.
    """
    vae = read_config(folder, "vae", reference)
    unet = read_config(folder, "unet", reference)
    check_class(unet, "UNet2DConditionModel", reference)
    check_schedule(read_config(folder, "scheduler", reference, "scheduler_config.json"), reference)
    if vae.get("_class_name") == "LappedAutoencoder":
        channels = _number(vae, "image_channels") * _number(vae, "coefficients")
    else:
        check_class(vae, "AutoencoderKL", reference)
        channels = _number(vae, "latent_channels")
        if _number(vae, "in_channels") < 1:
            raise InputError(
                f"The autoencoder of the base model {reference} does not say how many channels it "
                "takes (in_channels); download or copy it again."
            )
    _check_scale(vae, reference)
    check_unet(unet, reference, channels)
    if (folder / "conditioner" / "config.json").exists():
        check_class(read_config(folder, "conditioner", reference), "DescriptorEncoder", reference)


def _check_scale(vae: Mapping[str, Any], reference: str) -> None:
    """Refuse an autoencoder whose latents would be scaled or shifted out of all numbers."""
    for name in ("scale", "shift", "scaling_factor", "shift_factor"):
        value = vae.get(name)
        for one in value if isinstance(value, list) else [value]:
            if one is not None and not (
                isinstance(one, int | float)
                and abs(one) <= _MOST_SCALE
                and (name.startswith("shift") or one > 0)
            ):
                raise InputError(
                    f"The autoencoder of the base model {reference} has the {name} "
                    f"{str(one)[:40]}, with which no image can be made; download or copy it again."
                )


def check_class(config: Mapping[str, Any], name: str, reference: str) -> None:
    """Raise `InputError` unless a configuration is that of the class `name`."""
    if config.get("_class_name") != name:
        raise InputError(
            f"The base model {reference} has a {config.get('_class_name')} where a {name} is "
            "needed; Stable Diffusion 1 and 2 and bases made with phenldiff work."
        )


def check_unet(config: Mapping[str, Any], reference: str, latent_channels: int) -> None:
    """Refuse a UNet that needs inputs that a fine-tuning does not provide.

    Parameters
    ----------
    config : mapping
        Its configuration.
    reference : str
        Name of the base, for messages.
    latent_channels : int
        Latent channels of the base's autoencoder.

    Raises
    ------
    InputError
        If it is another kind of model; the message says which.
    """
    if config.get("addition_embed_type") not in (None, "text"):
        kind = "is a Stable Diffusion XL model, which needs a second text embedding and image sizes"
    elif any(config.get(name) is not None for name in ("class_embed_type", "num_class_embeds")):
        kind = "takes class embeddings, as unCLIP models and upscalers do"
    elif any(config.get(name) is not None for name in ("encoder_hid_dim", "encoder_hid_dim_type")):
        kind = "takes embeddings of images or of other encoders"
    else:
        taken, made = config.get("in_channels"), config.get("out_channels")
        width = config.get("cross_attention_dim")
        if taken == made == latent_channels and isinstance(width, int):
            return
        if taken != latent_channels:
            raise InputError(
                f"The parts of the base model {reference} do not fit together: its UNet takes "
                f"{taken} latent channels, its autoencoder makes {latent_channels}; models for "
                "inpainting or upscaling take more, so give one for text to image."
            )
        kind = f"makes {made} channels of {taken}, with a conditioning width of {width}"
    raise InputError(
        f"The base model {reference} {kind}: Stable Diffusion 1 and 2 for text to image, and bases "
        "made with phenldiff, can be fine-tuned here."
    )


def check_schedule(config: Mapping[str, Any], reference: str) -> None:
    """Refuse the configuration of a noise schedule that cannot be used.

    Raises
    ------
    InputError
        If it cannot be used; the message says why.
    """
    predicted = config.get("prediction_type", "epsilon")
    if predicted not in _PREDICTIONS:
        raise InputError(
            f"The base model {reference} predicts {predicted}; give one that predicts epsilon or "
            "v_prediction."
        )
    steps = config.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 10:
        raise InputError(
            f"The schedule of the base model {reference} has {steps!r} time steps where at least "
            "10 are needed; its configuration is damaged, so download or copy it again."
        )


def check_shapes(kind: Any, config: Mapping[str, Any], folder: Path, reference: str) -> None:
    """Compare names and shapes of the weights in a folder with those of a network.

    The network is built without allocating its weights, and only the headers of the files are read.

    Parameters
    ----------
    kind : type
        Class of the network in diffusers.
    config : mapping
        Its configuration.
    folder : Path
        Folder with the weights.
    reference : str
        Name of the base, for messages.

    Raises
    ------
    InputError
        If weights are missing, are too many, or have another shape.
    """
    what = f"The {folder.name} of the base model {reference}"
    try:
        with torch.device("meta"):
            network = kind.from_config(dict(config))
    except Exception as error:
        raise InputError(
            f"{what} cannot be made from its configuration ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}); download or copy "
            "it again."
        ) from error
    wanted = {
        name_of_today(name): tuple(tensor.shape) for name, tensor in network.state_dict().items()
    }
    found = weight_shapes(folder, reference)
    for names, are in ((wanted.keys() - found, "lacks"), (found.keys() - wanted, "has too many")):
        if names:
            first = min(names)
            raise InputError(
                f"{what} {are} weights ({len(names)} of {len(wanted)}, the first is {first}): its "
                "files are those of another model or not complete, so download or copy it again."
            )
    for name, shape in wanted.items():
        if found[name] != shape:
            raise InputError(
                f"{what} has weights of another shape than its configuration says ({name}: "
                f"{_times(found[name])}, not {_times(shape)}); download or copy it again."
            )


def weight_shapes(folder: Path, reference: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights in a folder, by name, from the headers of their files.

    Raises
    ------
    InputError
        If a file is damaged, or is not safetensors.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(folder, reference):
        try:
            with safe_open(str(path), framework="np") as opened:
                for name in opened.keys():  # noqa: SIM118 - not a mapping
                    if name.endswith(".position_ids"):
                        continue  # those of 2022 have them, and they are no weights
                    part = opened.get_slice(name)
                    if part.get_dtype() not in FLOATS:
                        raise ValueError(f"{name} has the type {part.get_dtype()}")
                    shapes[name_of_today(name)] = tuple(part.get_shape())
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(
                f"The {folder.name} of the base model {reference} cannot be loaded "
                f"({path.name}: {type(error).__name__}: {error}); download or copy it again."
            ) from error
    return shapes


def name_of_today(name: str) -> str:
    """Return the current name of a weight saved in 2022, of an autoencoder or a text encoder."""
    name = name.removeprefix("text_model.")
    for old, new in _RENAMED.items():
        head, found, tail = name.rpartition(f".{old}.")
        if found and "attentions" in head:
            return f"{head}.{new}.{tail}"
    return name


@dataclass(frozen=True, slots=True)
class ChosenWeights:
    """Which of the weights in a folder are loaded.

    Attributes
    ----------
    variant : str or None
        What diffusers calls their precision; None for those with plain names.
    file : str
        Name of the file of all weights, or of the index of their shards.
    in_shards : bool
        Whether `file` is an index.
    """

    variant: str | None
    file: str
    in_shards: bool


def choose_weights(names: Collection[str], part: str, reference: str) -> ChosenWeights:
    """Choose among the files of a part of a base model, which may have weights several times.

    Parameters
    ----------
    names : collection of str
        Names of the files in the folder of the part.
    part : str
        Name of the part, for messages.
    reference : str
        Name of the base, for messages.

    Raises
    ------
    InputError
        If none of them are safetensors weights under the names of diffusers.
    """
    stem = _STEMS.get(part, _STEM)
    for variant in VARIANTS:
        dotted = f".{variant}" if variant else ""
        whole = f"{stem}{dotted}.safetensors"
        index = f"{stem}.safetensors.index{dotted}.json"
        for name in (whole, index):
            if name in names:
                return ChosenWeights(variant or None, name, in_shards=name == index)
    raise InputError(
        f"The base model {reference} has no safetensors weights in {part}/; other "
        "formats can run code and are not read, so convert it first."
    )


def weight_files(folder: Path, reference: str) -> list[Path]:
    """Return the files of the weights in a folder: one file, or the shards in an index.

    Raises
    ------
    InputError
        If there are none, if the index names anything but safetensors files in its folder, or if
        one of them is missing.
    """
    chosen = _chosen_in(folder, reference)
    if not chosen.in_shards:
        return [folder / chosen.file]
    names = shards_in(folder / chosen.file, reference)
    for name in names:
        if not (folder / name).is_file():
            raise InputError(
                f"The base model {reference} is not complete: {folder.name}/{name} is missing."
            )
    return [folder / name for name in names]


def variant_in(folder: Path, reference: str) -> str | None:
    """Return the variant of the weights in a folder, as diffusers is asked for it.

    Raises
    ------
    InputError
        If there are none.
    """
    return _chosen_in(folder, reference).variant


def shards_in(index: Path, reference: str) -> list[str]:
    """Return the names of the files that an index says the weights are in.

    Raises
    ------
    InputError
        If the index is damaged, or names anything but safetensors files in its folder.
    """
    names = sorted({str(name) for name in _read_index(index, reference).values()})
    for name in names:
        if PurePosixPath(name).name != name or not name.endswith(".safetensors"):
            raise InputError(
                f"The index {index.parent.name}/{index.name} of the base model {reference} names "
                f"{name!r}: only safetensors files beside it are read, since other formats can run "
                "code."
            )
    return names


def _chosen_in(folder: Path, reference: str) -> ChosenWeights:
    found = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else ()
    return choose_weights(found, folder.name, reference)


def _read_json(path: Path, most_bytes: int) -> dict[str, Any]:
    """Read an object from a file that may come from anyone; ValueError if it holds none."""
    values = json.loads(read_small(path, most_bytes=most_bytes))
    if not isinstance(values, dict):
        raise ValueError("it is not a configuration")
    return values


def _read_index(path: Path, reference: str) -> dict[str, Any]:
    """Return which weights an index says are in which file."""
    try:
        found = _read_json(path, _MOST_BYTES_OF_INDEX)["weight_map"]
        if not isinstance(found, dict) or not found:
            raise ValueError("it names no weights")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"The file {path} of the base model {reference} cannot be read: {error}; download "
            "or copy it again."
        ) from error
    return found


def _check_sizes(config: Mapping[str, Any]) -> None:
    """Raise ValueError if a configuration has sizes that no base has."""

    def check(name: str, value: Any, depth: int) -> None:
        if depth > _MOST_NESTED:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else ((name, v) for v in value)
            if len(value) > (_MOST_ENTRIES if isinstance(value, list) else 10 * _MOST_ENTRIES):
                if name == "trained_betas":
                    return
                raise ValueError(f"{name} has {len(value)} entries")
            for key, inner in items:
                check(str(key), inner, depth + 1)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        elif isinstance(value, int) and abs(value) > _MOST_OF.get(name, _MOST):
            raise ValueError(f"{name} is {value:,}")

    check("it", config, 0)


def _number(config: Mapping[str, Any], name: str) -> int:
    """Return an integer of a configuration; 0, which fits to nothing, where it has none."""
    value = config.get(name)
    return value if isinstance(value, int) else 0


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
