"""What the user asks for when fine-tuning: checked before it starts, turned into a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.channel_match import ChannelMatch, images_of_folder
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.destinations import why_no_folder
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.jobs.requests import TrainRequest
from napari_phenldiff.jobs.training import new_run
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import is_run
from napari_phenldiff.viewer.conditions import (
    ConditionChoice,
    conditions_in_folder,
    error_about_copies,
    needs_matching,
    why_no_pair,
    with_channels_of,
)
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.lazy_layers import folder_of_groups

__all__ = [
    "MIN_IMAGES",
    "ConditionChoice",
    "TrainingRequest",
    "conditions_in_folder",
    "suggest_run_folder",
]

MIN_IMAGES = 2
"""A condition of a single image has no variation to learn."""


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
    settings : mapping of str to object
        By the names of `TrainingConfig`; what is not named has its default.
    further : tuple of ConditionChoice
        More conditions to learn.
    match : ChannelMatch or None
        Which channel is which in all these conditions; None if they are the same everywhere.
    z : int, "max", "mean", "sum" or None
        Plane (from 0) or projection for images with a z axis.
    arrangement : Arrangement
        What folders and names do not tell of the files.
    """

    source: ConditionChoice | None
    target: ConditionChoice | None
    folder: Path | None
    out: Path | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    further: tuple[ConditionChoice, ...] = ()
    match: ChannelMatch | None = None
    z: int | Projection | None = None
    arrangement: Arrangement = field(default_factory=Arrangement)

    def setting(self, name: str) -> Any:
        """Return a setting by its name in `TrainingConfig`."""
        return self.settings.get(name, TrainingConfig.model_fields[name].default)

    @property
    def conditions(self) -> tuple[ConditionChoice, ...]:
        """Return the conditions that are chosen, source and target first."""
        chosen = (self.source, self.target, *self.further)
        return tuple(choice for choice in chosen if choice is not None)

    @property
    def needs_preparing(self) -> bool:
        """Whether the images have to be read here, since no folder holds them as they are."""
        return self.folder is None or needs_matching(self.match)

    def validation_error(self) -> str | None:
        """Return why this can't be trained, if it can't; None if it looks right.

        Only what is known without reading images is looked at, so this may be called on every
        keystroke. What comes to light later ends the job with a sentence of its own.
        """
        error = why_no_pair(self.source, self.target, self.folder)
        if error is not None:
            return error
        error = self._condition_error() or self._channel_error() or self._reference_error()
        if error is not None:
            return error
        if not self.setting("base"):
            return "Choose a base model: the bundled one, a folder, or the id of a hub model."
        if self.out is None:
            return "Name a run folder; the result of the fine-tuning is written there."
        if is_run(self.out):
            return f"{self.out.name} is a run already; name a new folder, or resume that run."
        if _is_taken(self.out):
            return f"{self.out.name} exists and is not empty; name a new folder for the run."
        return why_no_folder(self.out)

    def _condition_error(self) -> str | None:
        named = {choice.name: choice for choice in self.conditions}
        copies = error_about_copies(tuple(named.values()))
        if copies is not None:
            return copies
        names: set[str] = set()
        for choice in self.conditions:
            if choice.name in names:
                return f"Condition {choice.name} is chosen twice; choose each condition once."
            names.add(choice.name)
            # A file that can't be looked into may be a stack of many images.
            if choice.n_images < MIN_IMAGES and choice.channel_names:
                return (
                    f"Condition {choice.name} has one image; fine-tuning needs at least "
                    f"{MIN_IMAGES}, and about 100 to learn well."
                )
            if choice.n_planes > 1 and self.z is None:
                return (
                    f"The images of {choice.name} have {choice.n_planes} z planes; choose a "
                    "projection."
                )
        return None

    def _channel_error(self) -> str | None:
        if self.match is not None:
            return self.match.validation_error()
        first, *others = self.conditions
        for other in others:
            ours, theirs = first.channel_names, other.channel_names
            if ours and theirs and ours != theirs:
                return (
                    f"{first.name} has the channels {', '.join(ours)}, {other.name} has "
                    f"{', '.join(theirs)}; both need the same."
                )
        return None

    @property
    def _named_references(self) -> tuple[str, ...]:
        named = self.setting("reference_channels")
        return () if isinstance(named, str) else named

    def _reference_error(self) -> str | None:
        known = self.conditions[0].channel_names if self.match is None else self.match.names
        if not known:
            return None  # not known before the images are read
        for name in self._named_references:
            if name not in known:
                return f"There is no channel {name} to keep; there are {', '.join(known)}."
        if set(self._named_references) == set(known):
            return "All channels are to be kept, so none is left to translate; keep fewer."
        return None

    def config(self) -> TrainingConfig:
        """Return the validated configuration.

        Raises
        ------
        InputError
            If something is missing; see `validation_error`.
        """
        error = self.validation_error()
        if error is not None:
            raise InputError(error)
        names = tuple(choice.name for choice in self.conditions)
        return TrainingConfig.model_validate({"conditions": names, **self.settings})

    def job_request(self) -> TrainRequest:
        """Return what a process is asked for that trains on the images of a folder."""
        assert self.folder is not None
        assert self.out is not None
        return TrainRequest(
            data=self.folder,
            config=self.config(),
            out=self.out,
            z=self.z,
            arrangement=with_channels_of(self.arrangement, self.match),
        )

    def in_files(self) -> TrainingRequest:
        """Return the same request for the folder or table that the layers read their images from.

        That of layers that hold their images stays as it is. This looks for files: call it in a
        background thread.
        """
        groups = {c.name: c.group for c in self.conditions if c.group is not None}
        folder = None if self.folder is not None else folder_of_groups(groups)
        return self if folder is None else replace(self, folder=folder)

    def snapshot(self) -> TrainingRequest:
        """Return the same request with layers that another thread may read."""
        further = tuple(choice.snapshot() for choice in self.further)
        source, target = (choice and choice.snapshot() for choice in (self.source, self.target))
        return replace(self, source=source, target=target, further=further)

    def prepare(self) -> tuple[str, ...]:
        """Write the images down as a run that another process trains.

        This reads and hashes all pixels: call it in a background thread, with groups that are
        snapshots.

        Returns
        -------
        tuple of str
            What the user should know about the images; it is written into the run as well.

        Raises
        ------
        InputError
            If the images can't be trained on.
        """
        config = self.config()
        assert self.out is not None
        experiment = replace(Experiment.from_images(self._images()), left_out=self._left_out())
        new = new_run(experiment, config, self.out)
        for event in new.told():
            new.run.append(event)
        return new.warnings

    def _left_out(self) -> tuple[str, ...]:
        """Say what lies beside the images of the folder and is none."""
        if self.folder is None:
            return ()
        names = [choice.name for choice in self.conditions]
        found = Dataset.find(self.folder, self.arrangement, conditions=names, folders_only=True)
        return found.left_out

    def _images(self) -> dict[str, list[Image]]:
        """Read the images of the conditions, and bring their channels into one order."""
        names = [choice.name for choice in self.conditions]
        if self.folder is None:
            groups = {c.name: c.group for c in self.conditions if c.group is not None}
            images = {
                name: list(FieldImages(group, self.z, with_files=True))
                for name, group in groups.items()
            }
        else:
            images = images_of_folder(self.folder, names, self.match, self.z, self.arrangement)
        if self.match is None:
            return images
        return {name: self.match.apply(name, images[name]) for name in names}


def _is_taken(path: Path) -> bool:
    """Tell whether there is something that is no empty folder."""
    try:
        return path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError:
        return False  # `why_no_folder` tells


def suggest_run_folder(parent: Path, source: str, target: str) -> Path:
    """Return a folder that doesn't exist yet, named after the conditions."""
    stem = f"{source}-to-{target}".replace(" ", "_").replace("/", "_")
    number = 1
    while (parent / f"{stem}-{number:03d}").exists():
        number += 1
    return parent / f"{stem}-{number:03d}"
