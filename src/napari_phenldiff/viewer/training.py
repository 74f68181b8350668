"""What the user asks for when fine-tuning: checked before it starts, turned into a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.tiff import read_tiff, tiff_files
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.viewer.layers import LayerGroup

_DEFAULT = TrainingConfig.model_fields

MIN_IMAGES = 2
"""A condition of a single image has no variation to learn."""

_MUCH_CLIPPED = 0.01
"""Fraction of pixels outside of the intensity range that is worth telling."""

_MAX_PEEK = 32 * 2**20
"""Larger files, in bytes, are not read only to know the names of their channels."""


@dataclass(frozen=True, slots=True, eq=False)
class ConditionChoice:
    """A condition that can be chosen, from a folder or from open layers.

    Attributes
    ----------
    name : str
        What it is called.
    n_images : int
        How many images there are.
    channel_names : tuple of str
        Channels; empty where they were not looked at.
    group : LayerGroup, optional
        The layers, if it comes from the viewer.
    """

    name: str
    n_images: int
    channel_names: tuple[str, ...] = ()
    group: LayerGroup | None = None

    def label(self) -> str:
        """Return the name with the number of images, as it is shown in a list."""
        return f"{self.name} ({count(self.n_images, 'image')})"


def conditions_in_folder(folder: Path) -> tuple[ConditionChoice, ...]:
    """List the sub-folders that hold TIFFs, without reading more than one file of each.

    The number of images is that of the files: what is inside is looked at when training starts.
    """
    if not folder.is_dir():
        return ()
    choices = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.name.startswith("."):
            files = tiff_files(entry)
            if files:
                choices.append(ConditionChoice(entry.name, len(files), _channels(files[0])))
    return tuple(choices)


def _channels(path: Path) -> tuple[str, ...]:
    if path.stat().st_size > _MAX_PEEK:
        return ()
    try:
        return read_tiff(path)[0].channel_names
    except InputError:
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRequest:
    """A fine-tuning as the user has filled it in, valid or not.

    Attributes
    ----------
    source, target : ConditionChoice or None
        The two conditions; None if nothing is chosen.
    folder : Path or None
        Folder with one sub-folder per condition; None if the images are open layers.
    out : Path or None
        Run folder to make.
    base, strategy, images_per_condition, steps, seed, batch_size, device, precision
        As in `TrainingConfig`.
    """

    source: ConditionChoice | None
    target: ConditionChoice | None
    folder: Path | None
    out: Path | None
    base: str = _DEFAULT["base"].default
    strategy: str = _DEFAULT["strategy"].default
    images_per_condition: int | None = None
    steps: int = _DEFAULT["steps"].default
    seed: int = _DEFAULT["seed"].default
    batch_size: int = _DEFAULT["batch_size"].default
    device: str = _DEFAULT["device"].default
    precision: str = _DEFAULT["precision"].default

    def validation_error(self) -> str | None:
        """Return why this can't be trained, if it can't; None if it looks right.

        Only what is known without reading images is looked at, so this may be called on every
        keystroke. What comes to light later ends the job with a sentence of its own.
        """
        if self.source is None or self.target is None:
            where = "in this folder" if self.folder else "among the open layers"
            return f"Choose two conditions; there are not enough {where} yet."
        if self.source.name == self.target.name:
            return "Source and target are the same condition; choose two different ones."
        for choice in (self.source, self.target):
            # A file in a folder may be a stack of many images.
            if choice.n_images < MIN_IMAGES and self.folder is None:
                return (
                    f"Condition {choice.name} has one image; fine-tuning needs at least "
                    f"{MIN_IMAGES}, and about 100 to learn well."
                )
        ours, theirs = self.source.channel_names, self.target.channel_names
        if ours and theirs and ours != theirs:
            return (
                f"{self.source.name} has the channels {', '.join(ours)}, {self.target.name} has "
                f"{', '.join(theirs)}; both need the same."
            )
        if not self.base:
            return "Choose a base model: the bundled one, a folder, or the id of a hub model."
        if self.out is None:
            return "Name a run folder; the result of the fine-tuning is written there."
        if is_run(self.out):
            return f"{self.out.name} is a run already; name a new folder, or resume that run."
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            return f"{self.out.name} exists and is not empty; name a new folder for the run."
        return None

    def config(self) -> TrainingConfig:
        """Return the validated configuration.

        Raises
        ------
        InputError
            If something is missing; see `validation_error`.
        """
        error = self.validation_error()
        if error is not None or self.source is None or self.target is None:
            raise InputError(error or "Choose two conditions.")
        return TrainingConfig.model_validate(
            {
                "conditions": (self.source.name, self.target.name),
                "base": self.base,
                "strategy": self.strategy,
                "images_per_condition": self.images_per_condition,
                "steps": self.steps,
                "seed": self.seed,
                "batch_size": self.batch_size,
                "device": self.device,
                "precision": self.precision,
            }
        )

    def arguments(self) -> list[str]:
        """Return the arguments of ``phenldiff`` for images in a folder."""
        config = self.config()
        arguments = ["train", str(self.folder), "--source", config.conditions[0]]
        arguments += ["--target", config.conditions[1], "--out", str(self.out)]
        arguments += ["--base", config.base, "--strategy", config.strategy]
        arguments += ["--steps", str(config.steps), "--seed", str(config.seed)]
        arguments += ["--batch-size", str(config.batch_size), "--device", config.device]
        arguments += ["--precision", config.precision]
        if config.images_per_condition is not None:
            arguments += ["--images-per-condition", str(config.images_per_condition)]
        return arguments

    def prepare_layers(self) -> Iterator[str]:
        """Write the images of the chosen layers down as a run that ``train --resume`` starts.

        This reads and hashes all pixels: call it in a background thread, with groups that are
        snapshots.

        Yields
        ------
        str
            What the user should know: warnings about the images.

        Raises
        ------
        InputError
            If the images can't be trained on.
        """
        config = self.config()
        assert self.source is not None
        assert self.target is not None
        assert self.out is not None
        groups = {c.name: c.group for c in (self.source, self.target) if c.group is not None}
        experiment = Experiment.from_images({n: g.images() for n, g in groups.items()})
        if config.images_per_condition is not None:
            experiment = experiment.subset(config.images_per_condition, config.seed)
        experiment.check()
        yield from experiment.warnings()
        scaling = IntensityScaling.fit(experiment.images)
        for name, clipped in zip(scaling.channel_names, scaling.clipped, strict=True):
            if clipped > _MUCH_CLIPPED:
                yield f"{clipped:.1%} of the pixels of channel {name} are clipped in training."
        Run.from_experiment(self.out, config, experiment=experiment, scaling=scaling)


def suggest_run_folder(parent: Path, source: str, target: str) -> Path:
    """Return a folder that doesn't exist yet, named after the conditions."""
    stem = f"{source}-to-{target}".replace(" ", "_").replace("/", "_")
    number = 1
    while (parent / f"{stem}-{number:03d}").exists():
        number += 1
    return parent / f"{stem}-{number:03d}"
