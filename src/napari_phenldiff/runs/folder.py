"""The run folder: create, open and read a fine-tuning."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import (
    check_unused_folder,
    is_regular_file,
    is_there,
    why_no_folder,
)
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import make_folder_atomic, read_small, write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.survey import pixel_size_in_words
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.calibration import Calibration, read_calibration
from napari_phenldiff.runs.config import validated
from napari_phenldiff.runs.contents import RunContents, State, state_after
from napari_phenldiff.runs.records import (
    BaseWeights,
    ImageRecord,
    ImageRecords,
    RunRecord,
    package_versions,
    read_experiment,
    read_model,
    record_images,
    write_model,
)

_BASE_AT = "base_at.txt"
"""File with the new location of a base that was moved."""

__all__ = ["Run", "State", "check_output_folder", "is_run", "state_after"]


class Run(RunContents):
    """A fine-tuning: its configuration, events, checkpoints and result.

    With its base model, the folder is enough to translate images on another machine. To resume
    training, the images must still be in place.

    Create one with :meth:`create` or :meth:`from_experiment`, or open an existing one with
    :meth:`open`.
    """

    def __init__(self, path: Path, record: RunRecord, scaling: IntensityScaling) -> None:
        super().__init__(path)
        self._record = record
        self._base_at: Path | None = None
        self._is_new = False
        self.scaling = scaling

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # ---- making and opening ------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: AnyTrainingConfig,
        *,
        scaling: IntensityScaling,
        channel_names: Sequence[str],
        images: Iterable[ImageRecord | Mapping[str, Any]] = (),
        digest: str = "",
        versions: Mapping[str, str] | None = None,
        stored: Mapping[str, Image] | None = None,
        dtypes: Iterable[str] = (),
        pixel_sizes: Iterable[str] = (),
    ) -> Run:
        """Create a run folder; it appears when it is complete.

        Parameters
        ----------
        path : path-like
            The folder, which must be empty or not exist.
        config : AnyTrainingConfig
            Settings.
        scaling : IntensityScaling
            Conversion of grey values to [-1, 1].
        channel_names : sequence of str
            Channels that images must have, in order.
        images : iterable of ImageRecord or mapping
            The training images.
        digest : str
            ``Experiment.digest()`` of them.
        versions : mapping, optional
            Versions of packages; looked up by default.
        stored : mapping, optional
            Images to write into the run folder, by their path relative to it.
        dtypes, pixel_sizes : iterable of str
            Data types and pixel sizes of the training images, as in :class:`RunRecord`.

        Raises
        ------
        InputError
            If the folder is not empty, or a record is not valid.
        """
        path = Path(path).resolve()
        check_output_folder(path)
        record = RunRecord(
            created=time.time(),
            config=config,
            channel_names=tuple(channel_names),
            scaling=scaling.to_dict(),
            digest=digest,
            versions=dict(package_versions() if versions is None else versions),
            dtypes=tuple(sorted(set(dtypes))),
            pixel_sizes=tuple(sorted(set(pixel_sizes))),
        )
        records = [
            r if isinstance(r, ImageRecord) else validated(ImageRecord, r, where="image record")
            for r in images
        ]
        with make_folder_atomic(path) as aside:
            for name, image in (stored or {}).items():
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                write_tiff(aside / name, image)
            write_model(aside / "images.json", ImageRecords(images=tuple(records)))
            write_model(aside / "config.json", record)
        run = cls(path, record, scaling)
        run._is_new = True
        return run

    @classmethod
    def from_experiment(
        cls,
        path: str | os.PathLike[str],
        config: AnyTrainingConfig,
        *,
        experiment: Experiment,
        scaling: IntensityScaling,
        validation: Experiment | None = None,
    ) -> Run:
        """Create a run folder for the images of `experiment`.

        Images are recorded by the path of their file and the hash of their pixels. Images that
        cannot be read back from a single file (layers of a viewer, projections, one file per
        channel) are written into the run folder, so that the run can be resumed. Those in
        `validation` are not trained on.

        Raises
        ------
        InputError
            If the folder is not empty, or a condition of `config` is not in the experiment.
        """
        check_output_folder(Path(path))
        for name in config.conditions:
            _ = experiment[name]  # raises if it is unknown
        records, stored = record_images(experiment)
        if validation is not None:
            watched, more = record_images(validation, validation=True)
            records, stored = [*records, *watched], {**stored, **more}
        return cls.create(
            path,
            config,
            scaling=scaling,
            channel_names=experiment.channel_names,
            images=records,
            digest=experiment.digest(),
            stored=stored,
            dtypes=(str(image.dtype) for image in experiment.images),
            pixel_sizes=(pixel_size_in_words(image) for image in experiment.images),
        )

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, base_at: str | os.PathLike[str] | None = None
    ) -> Run:
        """Open a run folder.

        Parameters
        ----------
        path : path-like
            The folder.
        base_at : path-like, optional
            Folder or file of its base model, if that has moved, as on another machine, or has
            changed. If the run has a record of the weights of its base and they match, it remembers
            the place.

        Raises
        ------
        InputError
            If it is not a run, its config.json is damaged, its events are no file, or there is
            nothing at `base_at`.
        """
        path = Path(os.path.realpath(path))  # which does not fail in a loop of links
        if not is_run(path):
            raise InputError(
                f"{path} is not a run folder (it has no config.json); give the folder that "
                "`phenldiff train --out` wrote."
            )
        record = read_model(path / "config.json", RunRecord)
        try:
            scaling = IntensityScaling.from_dict(record.scaling)
        except (InputError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path / 'config.json'} is damaged (scaling: {error}); train again."
            ) from error
        run = cls(path, record, scaling)
        if is_there(run.events_path) and not is_regular_file(run.events_path):
            raise InputError(
                f"{run.events_path} is no file; remove it, or restore what the training wrote."
            )
        if base_at is not None:
            run._base_at = Path(base_at).expanduser().resolve()
            if not is_there(run._base_at):
                raise InputError(
                    f"There is nothing at {run._base_at}: give the place of the base model."
                )
        return run

    # ---- configuration -----------------------------------------------------------------------

    @property
    def config(self) -> AnyTrainingConfig:
        """Settings of the run."""
        return self._record.config

    def plan_steps(self, steps: int) -> None:
        """Set the number of steps of this run, without writing it down yet."""
        config = self._record.config.model_copy(update={"steps": steps})
        self._record = self._record.model_copy(update={"config": config})

    def record_steps(self, steps: int) -> None:
        """Record the number of steps of this run, once it is certain."""
        self.plan_steps(steps)
        write_model(self.path / "config.json", self._record)

    def record_scaling(self, scaling: IntensityScaling) -> None:
        """Record the intensity scaling with its normalised channels."""
        self.scaling = scaling
        self._record = self._record.model_copy(update={"scaling": scaling.to_dict()})
        write_model(self.path / "config.json", self._record)

    @property
    def is_new(self) -> bool:
        """Whether this process made the run, from settings that the user gave to it."""
        return self._is_new

    @property
    def base(self) -> str:
        """Folder, name or hub id of the base model; a merged run is its own base.

        A base from a hub is pinned to the commit that the run was trained on.
        """
        if self._base_at is not None:
            return str(self._base_at)
        if (self.path / "unet" / "config.json").is_file():
            return str(self.path)
        remembered = self._remembered_base()
        if remembered is not None:
            return str(remembered)
        reference = self._record.config.base
        commit = None if self.base_weights is None else self.base_weights.commit
        return reference if commit is None else f"{reference.partition('@')[0]}@{commit}"

    @property
    def base_weights(self) -> BaseWeights | None:
        """Record of the base's weights; None before the training and in runs of older versions."""
        return self._record.base_weights

    def record_base_weights(self, weights: BaseWeights) -> None:
        """Record the weights of the base that this run is trained on."""
        self._record = self._record.model_copy(update={"base_weights": weights})
        write_model(self.path / "config.json", self._record)

    @property
    def from_adapter_sha256(self) -> str | None:
        """Hash of the adapter that this run was started from; None if it was not, or not yet."""
        return self._record.from_adapter_sha256

    def record_from_adapter(self, sha256: str) -> None:
        """Record the hash of the adapter that this run is started from."""
        self._record = self._record.model_copy(update={"from_adapter_sha256": sha256})
        write_model(self.path / "config.json", self._record)

    @property
    def base_at(self) -> Path | None:
        """The `base_at` that was passed to `open`."""
        return self._base_at

    def record_base_location(self) -> None:
        """Record the `base_at` that was passed to `open`, if the folder is writable."""
        if self._base_at is not None and self._base_at != self._remembered_base():
            with suppress(OSError), write_atomic(self.path / _BASE_AT) as aside:
                aside.write_text(f"{self._base_at}\n", encoding="utf-8")

    def _remembered_base(self) -> Path | None:
        try:
            place = Path(read_small(self.path / _BASE_AT, most_bytes=2**16).strip())
        except (OSError, ValueError):
            return None
        return place if is_there(place) else None

    @property
    def record(self) -> RunRecord:
        """Content of config.json."""
        return self._record

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions, source and target first."""
        return self._record.config.conditions

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Channels that images must have, in order."""
        return self._record.channel_names

    @property
    def calibration(self) -> Calibration | None:
        """Guidance and freedom chosen for this run; None if it was not calibrated."""
        return read_calibration(self.path)

    @property
    def normalised_channels(self) -> tuple[str, ...]:
        """Channels that were brought to a common brightness before the training."""
        return self.scaling.normalised

    @property
    def digest(self) -> str:
        """Hash over all training images."""
        return self._record.digest

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that the run was created with."""
        return dict(self._record.versions)

    @property
    def created(self) -> float:
        """Time at which the run was created, in seconds since the epoch."""
        return self._record.created

    @cached_property
    def images(self) -> tuple[ImageRecord, ...]:
        """Records of the training and validation images."""
        return read_model(self.path / "images.json", ImageRecords).images

    @property
    def trained_images(self) -> frozenset[str]:
        """Hashes of the pixels of the training images (``sha256_of_array``)."""
        return frozenset(record.sha256 for record in self.images if not record.validation)

    @property
    def calibrated_images(self) -> frozenset[str]:
        """Hashes of the images that guidance and freedom were chosen on; none if they were not."""
        if self.calibration is None:
            return frozenset()
        return frozenset(record.sha256 for record in self.images if record.validation)

    def load_experiment(self) -> Experiment:
        """Read the training images and check that they have not changed.

        Raises
        ------
        InputError
            If one is missing or has changed.
        """
        records = [record for record in self.images if not record.validation]
        return read_experiment(self.path, records, self.conditions, self.channel_names)

    def load_validation(self) -> Experiment | None:
        """Read the validation images; None without any.

        Raises
        ------
        InputError
            If one is missing or has changed.
        """
        records = [record for record in self.images if record.validation]
        if not records:
            return None
        return read_experiment(self.path, records, self.conditions, self.channel_names)


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether a folder looks like a run; a cheap check for listing runs."""
    try:
        return (Path(path) / "config.json").is_file()
    except OSError:  # a name that is too long, say, while it is typed
        return False


def check_output_folder(path: Path) -> None:
    """Raise `InputError` unless `path` is an empty folder, or does not exist and can be made."""
    check_unused_folder(path)
    why = why_no_folder(path)
    if why is not None:
        raise InputError(why)
