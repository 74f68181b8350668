"""Merge a run's adapter into the weights of its base model.

The folder that is written is a base model and a run at the same time. In diffusers' layout
(``unet/``, ``vae/``, ``scheduler/``, ``conditioner/``) it is a base that can be fine-tuned further;
with ``config.json`` and ``adapter/``, which holds the condition tokens and no weights, it is a run
that images can be translated with. With an autoencoder of Stable Diffusion, diffusers opens it as a
pipeline, too, unless the channels go through it in groups.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import diffusers
import torch

from napari_phenldiff.diffusion.adaptation import (
    SETTINGS,
    Adapter,
    adapter_files,
    load_adapter,
    read_adapter,
)
from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.base_weights import checked_base, weights_in
from napari_phenldiff.diffusion.conditioning import ConditionTokens
from napari_phenldiff.diffusion.network import save_model
from napari_phenldiff.diffusion.single_file import load_single_file
from napari_phenldiff.diffusion.strategies import Merged
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import make_folder_atomic
from napari_phenldiff.runs import checkpoints
from napari_phenldiff.runs.events import Finished, Noted, Step, append_event
from napari_phenldiff.runs.folder import Run, check_output_folder
from napari_phenldiff.runs.records import write_model

_PARTS = ("vae", "scheduler", "conditioner")
_WITHOUT = ("text_encoder", "tokenizer", "safety_checker", "feature_extractor", "image_encoder")


_NO_PIPELINE = (
    "The channels of this run go through the network in groups, which pipelines of diffusers do "
    "not know: the folder is none; phenldiff translates with it, and trains it further"
)


def merge(run: Run, out: Path) -> Run:
    """Write a base model with the adapter of a run merged in; the folder appears when complete.

    Parameters
    ----------
    run : Run
        A fine-tuned run with any strategy.
    out : pathlib.Path
        New folder. The network is written in single precision, since half precision would round
        away much of what was learned.

    Returns
    -------
    Run
        The new folder, opened as a run; it translates like `run`.

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
        if place.is_file():
            parts = load_single_file(place, str(place))
            save_model(parts.autoencoder, aside / "vae", torch.float32)
            parts.scheduler.save_pretrained(aside / "scheduler")
        for part in _PARTS:
            if (place / part).is_dir():
                _copy_part(place / part, aside / part)
        # pipelines know neither this autoencoder nor groups of channels
        if not isinstance(base.autoencoder, LappedAutoencoder) and adapter.links is None:
            _write_pipeline(aside)
        # what the run started from is in the weights by now
        config = run.config.model_copy(update={"base": str(out), "from_adapter": None})
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
            links=adapter.links,
        )
        checkpoints.write_folder(aside / "adapter", files)
        steps = [event.step for event in run.events()[0] if isinstance(event, Step)]
        text = f"Merged from {run.path.name} (strategy {adapter.strategy.name})"
        append_event(aside / "events.jsonl", Noted(text))
        if adapter.links is not None:
            append_event(aside / "events.jsonl", Noted(_NO_PIPELINE))
        append_event(aside / "events.jsonl", Finished(max(steps, default=run.config.steps)))
    return Run.open(out)


def merged_adapter(base: str) -> Adapter | None:
    """Return what a merged base has kept of its run besides the weights of the network.

    Parameters
    ----------
    base : str
        Name, folder or hub id of the base.

    Returns
    -------
    Adapter or None
        None for other bases.

    Raises
    ------
    InputError
        If the folder of the base is damaged.
    """
    folder = Path(base).expanduser() / "adapter"
    if base == "bundled" or not (folder / SETTINGS).is_file():
        return None
    known = read_adapter(folder)[0]
    return known if isinstance(known.strategy, Merged) else None


def with_known_tokens(
    known: ConditionTokens, conditions: Sequence[str], values: torch.Tensor, null: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Initialise condition tokens from learned ones, if they have the same shape.

    Parameters
    ----------
    known : ConditionTokens
        Learned tokens.
    conditions : sequence of str
        Conditions to train.
    values, null : torch.Tensor
        Their initial tokens otherwise, ``(conditions, tokens, width)`` and ``(tokens, width)``.

    Returns
    -------
    values, null : torch.Tensor
        If there are equally many tokens per condition, those of the conditions of the same names
        and the null tokens of `known`; otherwise the arguments.
    """
    if known.null.shape != null.shape:
        return values, null
    starts = values.clone()
    for i, name in enumerate(conditions):
        if name in known.conditions:
            starts[i] = known.values[known.conditions.index(name)].detach()
    return starts, known.null.detach().clone()


def _write_pipeline(folder: Path) -> None:
    """Write the file by which diffusers opens a folder as a pipeline.

    It has no text encoder: condition tokens are given as ``prompt_embeds``.
    """
    scheduler = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    parts = {
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "scheduler": ("diffusers", scheduler.get("_class_name", "DDIMScheduler")),
        **dict.fromkeys(_WITHOUT, (None, None)),
    }
    values = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": diffusers.__version__,
        "requires_safety_checker": False,
        **parts,
    }
    text = json.dumps(values, indent=1)
    (folder / "model_index.json").write_text(f"{text}\n", encoding="utf-8")


def _copy_part(source: Path, target: Path) -> None:
    """Copy the files of a part; a folder of the hub's cache has links and other formats."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.suffix in (".json", ".safetensors"):
            shutil.copyfile(path, target / path.name)
