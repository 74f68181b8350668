"""What the user asks for when judging a run: checked before it starts, turned into a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.channel_match import ChannelMatch, images_of_folder
from napari_phenldiff.images.destinations import why_no_folder
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import default_channel_names, some_of
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs.requests import EvaluateRequest
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.settings import in_message
from napari_phenldiff.viewer.conditions import (
    ConditionChoice,
    needs_matching,
    why_no_pair,
    with_channels_of,
)
from napari_phenldiff.viewer.evaluations import folder_of
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.lazy_layers import folder_of_groups
from napari_phenldiff.viewer.run_state import why_unusable

_TRANSLATION = TranslationConfig.model_fields

MIN_IMAGES = 2
"""With fewer images of a condition there is nothing to compare."""


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationRequest:
    """An evaluation as the user has filled it in, valid or not.

    Attributes
    ----------
    run : Path or None
        Run folder that is judged.
    source, target : ConditionChoice or None
        The two conditions; None if nothing is chosen.
    folder : Path or None
        Folder with one sub-folder per condition; None if the images are open layers.
    profile : str
        What is measured.
    settings : Settings or None
        Of the profile; None for its defaults.
    name : str
        Of the evaluation: a folder in that of the run, which must not exist.
    evaluation : mapping of str to object
        Settings of the evaluation, by the names of `EvaluationConfig`; what is not named has its
        default.
    shuffled, half_split : Path or None
        Control runs.
    translation : dict
        Settings of the translation, by the names of `TranslationConfig`.
    base_at : Path or None
        Folder of the run's base model, if it is not where it was.
    device : str
        ``"auto"`` or a torch device.
    match : ChannelMatch or None
        Which channel is which in the two conditions; None if they are the same.
    z : int, "max", "mean", "sum" or None
        Plane (from 0) or projection for images with a z axis.
    arrangement : Arrangement
        What folders and names do not tell of the files.
    """

    run: Path | None
    source: ConditionChoice | None
    target: ConditionChoice | None
    folder: Path | None
    profile: str
    settings: Settings | None = None
    name: str = ""
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    shuffled: Path | None = None
    half_split: Path | None = None
    translation: Mapping[str, Any] = field(default_factory=dict)
    base_at: Path | None = None
    device: str = "auto"
    match: ChannelMatch | None = None
    z: int | Projection | None = None
    arrangement: Arrangement = field(default_factory=Arrangement)

    @property
    def out(self) -> Path:
        """Folder of the results; the run must be known."""
        assert self.run is not None, "no run is chosen"
        return folder_of(self.run.resolve(), self.name)

    @property
    def conditions(self) -> tuple[ConditionChoice, ...]:
        """Source and target, as far as they are chosen."""
        return tuple(choice for choice in (self.source, self.target) if choice is not None)

    @property
    def needs_images(self) -> bool:
        """Whether the images have to be written down for the command."""
        return self.folder is None or needs_matching(self.match)

    # ---- is it valid? ------------------------------------------------------------------------

    def validation_error(self) -> str | None:
        """Return why this can't be evaluated, if it can't; None if it looks right.

        Only what is known without reading images is looked at, so this may be called on every
        keystroke. What comes to light later ends the job with a sentence of its own.
        """
        error = why_unusable(self.run)
        if error is not None or self.run is None:
            return error
        run = Run.open(self.run)
        error = why_no_pair(self.source, self.target, self.folder)
        if error is not None:
            return error
        for choice in self.conditions:
            error = self._condition_error(choice, run) or self._trained_error(choice, run)
            if error is not None:
                return error
        return (
            self._channel_error(run)
            or self._wells_error()
            or _control_error(self.shuffled)
            or _control_error(self.half_split)
            or self._name_error()
        )

    def _condition_error(self, choice: ConditionChoice, run: Run) -> str | None:
        if choice.name not in run.conditions:
            return (
                f"{run.path.name} was not trained on condition {choice.name}; it knows "
                f"{', '.join(run.conditions)}."
            )
        # A file that can't be looked into may be a stack of many images.
        if choice.n_images < MIN_IMAGES and choice.channel_names:
            return f"Condition {choice.name} has one image; an evaluation needs at least two."
        if choice.n_planes > 1 and self.z is None:
            return (
                f"The images of {choice.name} have {choice.n_planes} z planes; choose a projection."
            )
        return None

    def _trained_error(self, choice: ConditionChoice, run: Run) -> str | None:
        """Return that hardly any image of a condition is new to the run, as the files tell it."""
        if self.evaluation.get("trained_too") or not choice.channel_names:
            return None
        trained = {
            record.path
            for record in run.images
            if record.condition == choice.name and not record.validation
        }
        files = _files_of(choice)
        # Nothing is looked up where more images are there than were trained on.
        if len(files) < choice.n_images or choice.n_images - len(trained) >= MIN_IMAGES:
            return None
        known = sum(str(path.resolve()) in trained for path in files)
        if len(files) - known >= MIN_IMAGES:
            return None
        if not known:
            return f"Of {choice.name} there is only one image: open at least two."
        return (
            f"The run was trained on {some_of(known, len(files), 'image')} of {choice.name}: "
            f"open at least two others, or choose {in_message(EvaluationConfig, 'trained_too')}, "
            "which shows less."
        )

    def _channel_error(self, run: Run) -> str | None:
        assert self.source is not None
        if self.match is not None and (error := self.match.validation_error()) is not None:
            return error
        ours = self.source.channel_names if self.match is None else self.match.names
        unnamed = ours == default_channel_names(len(run.channel_names))
        if ours and ours != run.channel_names and not unnamed:
            return (
                f"{self.source.name} has the channels {', '.join(ours)}, the run was trained on "
                f"{', '.join(run.channel_names)}; evaluate with the same channels."
            )
        return None

    def _wells_error(self) -> str | None:
        try:
            re.compile(self.evaluation.get("wells") or "")
        except re.error as error:
            return f"The pattern of the wells is not a regular expression: {error}."
        return None

    def _name_error(self) -> str | None:
        name = self.name
        if not name:
            return "Name the evaluation; its results are written into a folder of that name."
        if name.startswith(".") or re.search(r'[/\\:*?"<>|]', name):
            return 'The name becomes a folder: leave out / \\ : * ? " < > | and a leading dot.'
        if self.out.exists():
            return f"{name} is an evaluation of this run already; choose another name."
        return why_no_folder(self.out)

    # ---- what it becomes ---------------------------------------------------------------------

    def in_files(self) -> EvaluationRequest:
        """Return the same request for the folder or table that the layers read their images from.

        That of layers that hold their images stays as it is. This looks for files: call it in a
        background thread.
        """
        groups = {c.name: c.group for c in self.conditions if c.group is not None}
        folder = None if self.folder is not None else folder_of_groups(groups)
        return self if folder is None else replace(self, folder=folder)

    def snapshot(self) -> EvaluationRequest:
        """Return the same request with layers that another thread may read."""
        source, target = (choice and choice.snapshot() for choice in (self.source, self.target))
        return replace(self, source=source, target=target)

    def prepare(self, aside: Path) -> EvaluateRequest:
        """Write down the images that no folder holds as they are, and return what is asked for.

        This may read and write all images: call it in a background thread, with a snapshot.

        Parameters
        ----------
        aside : Path
            Folder for the images.

        Raises
        ------
        InputError
            If this is not valid, or the images can't be read.
        """
        error = self.validation_error()
        if error is not None:
            raise InputError(error)
        assert self.run is not None
        assert self.source is not None
        assert self.target is not None
        data = self.folder
        if self.needs_images or data is None:
            data = aside / "images"
            for condition, images in self._images().items():
                for index, image in enumerate(images):
                    # Wells and pairs are found by the names; they stay unless two are the same.
                    path = data / condition / f"{image.name}.tif"
                    if path.exists():
                        path = path.with_stem(f"{path.stem}_{index:05d}")
                    write_tiff(path, image)
        # What a method lacks is refused where it is asked for, so only what was changed is named.
        changed = {
            name: value
            for name, value in self.translation.items()
            if value != _TRANSLATION[name].default
        }
        return EvaluateRequest(
            run=self.run,
            data=data,
            out=self.out,
            profile=self.profile,
            settings={} if self.settings is None else self.settings.model_dump(mode="json"),
            config=EvaluationConfig(**self.evaluation),
            translation={"source": self.source.name, "target": self.target.name, **changed},
            shuffled=() if self.shuffled is None else (self.shuffled,),
            half_split=() if self.half_split is None else (self.half_split,),
            device=self.device,
            base_at=self.base_at,
            z=None if self.needs_images else self.z,
            arrangement=Arrangement()
            if self.needs_images
            else with_channels_of(self.arrangement, self.match),
        )

    def _images(self) -> dict[str, list[Image]]:
        choices = self.conditions
        if self.folder is None:
            images = {
                c.name: list(FieldImages(c.group, self.z)) for c in choices if c.group is not None
            }
        else:
            names = [choice.name for choice in choices]
            images = images_of_folder(self.folder, names, self.match, self.z, self.arrangement)
        if self.match is None:
            return images
        return {name: self.match.apply(name, found) for name, found in images.items()}


def _files_of(choice: ConditionChoice) -> set[Path]:
    """Name the files of a condition, as far as each holds one image."""
    files = {source.paths[0] for source in choice.sources if len(source.paths) == 1}
    if choice.group is not None:
        files |= {Path(path) for infos in choice.group.infos for path in infos[0].paths if path}
    return files


def _control_error(path: Path | None) -> str | None:
    """Return why a run cannot be a control; none has to be chosen."""
    return None if path is None else why_unusable(path)
