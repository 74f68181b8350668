"""Write the model card of a base, with gaps for what only its maker knows."""

from __future__ import annotations

from pathlib import PurePath

from napari_phenldiff import __version__
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig
from napari_phenldiff.diffusion.pretraining_folder import PoolRecord

# stated above the table, or irrelevant to users of the base
_NOT_TOLD = {"start", "steps", "device", "checkpoint_every", "preview_every"}


def model_card(name: str, config: PretrainingConfig, record: PoolRecord | None) -> str:
    """Return the text of a base's README.

    Parameters
    ----------
    name : str
        Name of the base.
    config : PretrainingConfig
        Settings of the pre-training.
    record : PoolRecord or None
        Sources of the training images, if they are recorded. Only the names of folders are
        written, not their paths.

    Returns
    -------
    str
        Markdown, with gaps that the maker has to fill in.
    """
    use = (
        "A base model of fluorescence images, made with `phenldiff pretrain` "
        f"(napari-phenldiff {__version__}). Use it with `phenldiff train --base {name}`."
    )
    limits = (
        "*To fill in: what it was not shown, and where it failed.* A translated image is a model's "
        "hypothesis and no observation. It is not for diagnosis."
    )
    licence = "*To fill in: that of the weights; licence and attribution of each collection below.*"
    training = (
        f"{config.steps} steps of {config.batch_size} images, seed {config.seed}, started from "
        f"{_start(config)}."
    )
    lines = [f"# {name}", "", use, ""]
    lines += ["## Intended use", "", "*To fill in: cells, stains, microscopes; who made it.*", ""]
    lines += ["## Limits", "", limits, "", "## Licence", "", licence, ""]
    lines += ["## Data", "", *_data(record), "", "## Training", "", training, ""]
    lines += ["| setting | value |", "|---|---|"]
    for key, value in config.model_dump(exclude=_NOT_TOLD).items():
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        lines.append(f"| {key} | {text} |")
    if record is not None:
        lines += ["", "Versions: " + ", ".join(f"{k} {v}" for k, v in record.versions.items())]
    return "\n".join(lines) + "\n"


def _data(record: PoolRecord | None) -> list[str]:
    if record is None:
        return ["*To fill in: the images were given by a program.*"]
    rows = ["| collection | images | channels | pieces of them |", "|---|---|---|---|"]
    for source in record.sources:
        channels = f"{source.channels}, composed" if source.composed else str(source.channels)
        rows.append(f"| {source.name} | {source.images} | {channels} | {source.crops} |")
    return rows


def _start(config: PretrainingConfig) -> str:
    if config.start == "random":
        return "random weights"
    return f"the base {'bundled' if config.start == 'bundled' else PurePath(config.start).name}"
