"""Start condition tokens from prompts, as the text encoder of a base reads them.

A base of Stable Diffusion knows its conditions as the output of a text encoder. A prompt such as "a
fluorescence image of cells" is a start with a meaning where the base knows its words. The text
encoder is only needed for that: it reads each prompt once, and is freed again. Nothing of it is
trained, and a translation does not need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from napari_phenldiff.diffusion.base_files import (
    check_shapes,
    name_of_today,
    read_config,
    weight_files,
)
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count

_ENCODER, _TOKENIZER = "text_encoder", "tokenizer"
_CLASS = "CLIPTextModel"
_MOST_BYTES = 2**25
"""Of a file of the tokenizer; those of CLIP have 1 MB."""


class _TextEncoder:
    """Makes the text encoder, as `check_shapes` makes networks of diffusers."""

    @staticmethod
    def from_config(config: Mapping[str, Any]) -> Any:
        from transformers import CLIPTextConfig, CLIPTextModel

        return CLIPTextModel(CLIPTextConfig.from_dict(dict(config)))


def read_prompts(
    folder: Path, reference: str, prompts: Mapping[str, str], *, tokens: int, width: int
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Encode the prompts of conditions.

    Parameters
    ----------
    folder : Path
        The base.
    reference : str
        Name of the base, for messages.
    prompts : mapping of str to str
        Text by condition.
    tokens : int
        Tokens of a condition. A shorter prompt is filled up as the text encoder was trained.
    width : int
        Width of a token.

    Returns
    -------
    values : dict of str to torch.Tensor
        ``(tokens, width)`` float32 by condition.
    null : torch.Tensor
        ``(tokens, width)``: the same of a prompt without words.

    Raises
    ------
    InputError
        If the base has no text encoder, it is damaged, or a prompt has more tokens.
    """
    config = _checked_config(folder, reference, tokens, width)
    ids = _token_ids(folder, reference, {**prompts, "": ""}, tokens, int(config["vocab_size"]))
    encoder = _loaded(folder, reference, config)
    with torch.no_grad():
        values = {name: encoder(torch.tensor([one]))[0][0].float() for name, one in ids.items()}
    return values, values.pop("")


def with_prompts(
    read: tuple[Mapping[str, torch.Tensor], torch.Tensor],
    conditions: Sequence[str],
    values: torch.Tensor,
    groups: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Replace initial condition tokens by those of prompts.

    Parameters
    ----------
    read : (mapping of str to torch.Tensor, torch.Tensor)
        What `read_prompts` returns.
    conditions : sequence of str
        Names, in the order of `values`.
    values : torch.Tensor
        ``(conditions, groups * tokens, width)``, which are kept where there is no prompt.
    groups : int
        Groups of channels, all of which start from the same prompt.

    Returns
    -------
    values, null : torch.Tensor
    """
    known, null = read
    starts = values.clone()
    for i, name in enumerate(conditions):
        if name in known:
            starts[i] = known[name].repeat(groups, 1)
    return starts, null.repeat(groups, 1)


def _checked_config(folder: Path, reference: str, tokens: int, width: int) -> dict[str, Any]:
    """Return the configuration of the text encoder, once it is known to fit."""
    lacks = [part for part in (_ENCODER, _TOKENIZER) if not (folder / part).is_dir()]
    if lacks:
        where = (
            "is a single file, of which the text encoder is not read"
            if folder.is_file()
            else f"has no text encoder here (no {' and no '.join(lacks)})"
        )
        raise InputError(
            f"The base model {reference} {where}: give a folder in diffusers' layout with "
            f"{_ENCODER} and {_TOKENIZER}, or no prompts."
        )
    config = read_config(folder, _ENCODER, reference)
    if config.get("architectures") != [_CLASS]:
        raise InputError(
            f"The text encoder of the base model {reference} is not a {_CLASS}, as that of Stable "
            "Diffusion 1 and 2 is; train without prompts."
        )
    sizes = {
        name: config.get(name) for name in ("hidden_size", "max_position_embeddings", "vocab_size")
    }
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(
                f"The text encoder of the base model {reference} has the {name} {str(value)[:40]}; "
                "download or copy it again."
            )
    most = int(config["max_position_embeddings"])
    if config["hidden_size"] != width:
        raise InputError(
            f"The parts of the base model {reference} do not fit together: its text encoder makes "
            f"tokens of the width {config['hidden_size']}, and its UNet takes {width}."
        )
    if tokens > most:
        raise InputError(
            f"The text encoder of the base model {reference} makes {most} tokens, and a condition "
            f"has {tokens}: with prompts, give at most {most} tokens per condition "
            "(--tokens-per-condition)."
        )
    return config


def _token_ids(
    folder: Path, reference: str, prompts: Mapping[str, str], tokens: int, known: int
) -> dict[str, list[int]]:
    """Return the numbers of the tokens of each prompt, filled up to `tokens`."""
    from transformers import CLIPTokenizer

    place = folder / _TOKENIZER
    try:
        for path in place.iterdir():
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes")
        tokenizer = CLIPTokenizer.from_pretrained(str(place), local_files_only=True)
        found = {
            name: [int(one) for one in tokenizer(text, truncation=False).input_ids]
            for name, text in prompts.items()
        }
        filler = int(tokenizer.pad_token_id)
    except Exception as error:
        raise InputError(
            f"The tokenizer of the base model {reference} cannot be loaded "
            f"({type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}); "
            "download or copy it again."
        ) from error
    for name, ids in found.items():
        if len(ids) > tokens:
            whose = f"The prompt of {name}" if name else "A prompt without words"
            raise InputError(
                f"{whose} has {count(len(ids), 'token')}, with those of its beginning and end, and "
                f"a condition has {tokens}: shorten it, or give more tokens per condition "
                "(--tokens-per-condition), as far as the text encoder makes them."
            )
        if not all(0 <= one < known for one in (*ids, filler)):
            raise InputError(
                f"The parts of the base model {reference} do not fit together: its tokenizer "
                "knows tokens that its text encoder does not; download or copy it again."
            )
    return {name: ids + [filler] * (tokens - len(ids)) for name, ids in found.items()}


def _loaded(folder: Path, reference: str, config: Mapping[str, Any]) -> Any:
    """Return the text encoder, with weights in single precision."""
    place = folder / _ENCODER
    check_shapes(_TextEncoder, config, place, reference)
    encoder = _TextEncoder.from_config(config).float().eval().requires_grad_(False)
    weights = {
        name_of_today(name): value.float()
        for path in weight_files(place, reference)
        for name, value in load_file(str(path)).items()
    }
    check_weights(
        weights,
        f"The text encoder of the base model {reference}",
        "it is damaged, so use another base or download it again",
    )
    own = encoder.state_dict()
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name_of_today(name)])
    return encoder
