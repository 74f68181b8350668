"""Make a base model of a fine-tuning: its adapter becomes part of the network's weights.

The folder that is written is both. In diffusers' layout it is a base (``unet/``, ``vae/``,
``scheduler/``, ``conditioner/``) that can be fine-tuned further; with ``config.json`` and
``adapter/``, which holds the condition tokens and no weights, it is a run that images can be
translated with.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from napari_phenldiff.diffusion.adaptation import (
    SETTINGS,
    adapter_files,
    load_adapter,
    read_adapter,
)
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.base_weights import checked_base, weights_in
from napari_phenldiff.diffusion.network import save_model
from napari_phenldiff.diffusion.strategies import Merged
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import make_folder_atomic
from napari_phenldiff.runs import checkpoints
from napari_phenldiff.runs.events import Finished, Noted, Step, append_event
from napari_phenldiff.runs.folder import Run, check_output_folder
from napari_phenldiff.runs.records import write_model

_PARTS = ("vae", "scheduler", "conditioner")


def merge(run: Run, out: Path) -> Run:
    """Write a base model with the result of a run merged in, whole or not at all.

    Parameters
    ----------
    run : Run
        A fine-tuning of any strategy.
    out : pathlib.Path
        New folder. The network is written in single precision: half would round away much of what
        was learned.

    Returns
    -------
    Run
        The folder, as a run that translates as `run` does.

    Raises
    ------
    InputError
        If the run has no adapter or its base is missing, or the folder is not empty.
    """
    out = out.resolve()
    check_output_folder(out)
    if not run.has_adapter:
        raise InputError(f"The run {run.path} has no adapter yet; train it first.")
    place = checked_base(run)
    base = BaseModel.load(str(place))
    adapter = load_adapter(run.adapter_path, base.unet)
    adapter.strategy.merge(base.unet)
    with make_folder_atomic(out) as aside:
        save_model(base.unet, aside / "unet", torch.float32)
        for part in _PARTS:
            if (place / part).is_dir():
                _copy_part(place / part, aside / part)
        config = run.config.model_copy(update={"base": str(out)})
        changed = {"config": config, "base_weights": weights_in(aside)}
        write_model(aside / "config.json", run.record.model_copy(update=changed))
        shutil.copyfile(run.path / "images.json", aside / "images.json")
        files = adapter_files(
            base.unet,
            adapter.tokens,
            Merged(),
            str(out),
            separation=adapter.separation,
            reference_channels=adapter.reference_channels,
        )
        checkpoints.write_folder(aside / "adapter", files)
        steps = [event.step for event in run.events()[0] if isinstance(event, Step)]
        text = f"Merged from {run.path.name} (strategy {adapter.strategy.name})"
        append_event(aside / "events.jsonl", Noted(text))
        append_event(aside / "events.jsonl", Finished(max(steps, default=run.config.steps)))
    return Run.open(out)


def with_merged_tokens(
    base: str, conditions: Sequence[str], values: torch.Tensor, null: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Start from the tokens that a merged base has been trained with.

    Parameters
    ----------
    base : str
        What the base is loaded by.
    conditions : sequence of str
        Conditions that are going to be trained.
    values, null : torch.Tensor
        What they start from otherwise, ``(conditions, tokens, width)`` and ``(tokens, width)``.

    Returns
    -------
    values, null : torch.Tensor
        Those of the base for conditions of the same name, and its null tokens, if it is a merged
        one with as many tokens per condition; else as they were.

    Raises
    ------
    InputError
        If the folder of the base is damaged.
    """
    folder = Path(base).expanduser() / "adapter"
    if base == "bundled" or not (folder / SETTINGS).is_file():
        return values, null
    known = read_adapter(folder)[0]
    if not isinstance(known.strategy, Merged) or known.tokens.null.shape != null.shape:
        return values, null
    starts = values.clone()
    for i, name in enumerate(conditions):
        if name in known.tokens.conditions:
            starts[i] = known.tokens.values[known.tokens.conditions.index(name)].detach()
    return starts, known.tokens.null.detach().clone()


def _copy_part(source: Path, target: Path) -> None:
    """Copy what a base is loaded from; a hub's folder has links, and may hold other formats."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix in (".json", ".safetensors"):
            shutil.copyfile(path, target / path.name)
