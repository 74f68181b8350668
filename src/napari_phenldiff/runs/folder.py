"""A fine-tuning as a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import make_folder_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.survey import pixel_size_in_words
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.config import validated
from napari_phenldiff.runs.contents import RunContents, State, state_after
from napari_phenldiff.runs.records import (
    ImageRecord,
    ImageRecords,
    RunRecord,
    package_versions,
    read_experiment,
    read_model,
    record_images,
    write_model,
)

__all__ = ["Run", "State", "check_output_folder", "is_run", "state_after"]


class Run(RunContents):
    """A fine-tuning: what was asked for, what happened, and what came out.

    The folder alone is enough to translate images on another machine. To resume training, the
    images must still be where they were.

    Make one with :meth:`create` or :meth:`from_experiment`, or open one that exists with
    :meth:`open`.
    """

    def __init__(self, path: Path, record: RunRecord, scaling: IntensityScaling) -> None:
        super().__init__(path)
        self._record = record
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
        """Make a run folder, whole or not at all.

        Parameters
        ----------
        path : path-like
            The folder, which must not exist or be empty.
        config : AnyTrainingConfig
            What is asked for.
        scaling : IntensityScaling
            How grey values become numbers in [-1, 1].
        channel_names : sequence of str
            Channels that images must have, in order.
        images : iterable of ImageRecord or mapping
            The images trained on.
        digest : str
            ``Experiment.digest()`` of them.
        versions : mapping, optional
            Versions of packages; looked up by default.
        stored : mapping, optional
            Images to write into the run folder, by their path relative to it.
        dtypes, pixel_sizes : iterable of str
            Of the images trained on, as :class:`RunRecord` has them.

        Raises
        ------
        InputError
            If the folder is not empty, or a record is not one.
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
        return cls(path, record, scaling)

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
        """Make a run folder for the images of `experiment`.

        Images are referred to by the path of their file and the hash of their pixels. Those that
        no file gives back (layers of a viewer, projections, one file per channel) are written
        into the run folder, so that it can be resumed. Those in `validation` are watched and not
        trained on.

        Raises
        ------
        InputError
            If the folder is not empty, or a condition of `config` is not in the experiment.
        """
        check_output_folder(Path(path))
        for name in config.conditions:
            _ = experiment[name]  # refuses an unknown one
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
            dtypes=(str(image.data.dtype) for image in experiment.images),
            pixel_sizes=(pixel_size_in_words(image) for image in experiment.images),
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open a run folder.

        Raises
        ------
        InputError
            If it is not one, or its config.json is damaged.
        """
        path = Path(path).resolve()
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
        return cls(path, record, scaling)

    # ---- what was asked for ------------------------------------------------------------------

    @property
    def config(self) -> AnyTrainingConfig:
        """What was asked for."""
        return self._record.config

    def fix_steps(self, steps: int) -> None:
        """Write down how many steps this run takes, once that has been measured."""
        config = self._record.config.model_copy(update={"steps": steps})
        self._record = self._record.model_copy(update={"config": config})
        write_model(self.path / "config.json", self._record)

    @property
    def base(self) -> str:
        """What the base model is loaded by: a merged run is its own, wherever it lies now."""
        is_merged = (self.path / "unet" / "config.json").is_file()
        return str(self.path) if is_merged else self._record.config.base

    @property
    def record(self) -> RunRecord:
        """What config.json holds."""
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
    def digest(self) -> str:
        """Hash over all images trained on."""
        return self._record.digest

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the packages that the run was made with."""
        return dict(self._record.versions)

    @property
    def created(self) -> float:
        """When the run was made, in seconds since the epoch."""
        return self._record.created

    @cached_property
    def images(self) -> tuple[ImageRecord, ...]:
        """The images trained on, and those that were watched meanwhile."""
        return read_model(self.path / "images.json", ImageRecords).images

    @property
    def trained_images(self) -> frozenset[str]:
        """Hashes of the pixels of the images trained on (``sha256_of_array``)."""
        return frozenset(record.sha256 for record in self.images if not record.validation)

    def load_experiment(self) -> Experiment:
        """Read the images trained on and verify that they are the same as then.

        Raises
        ------
        InputError
            If one is missing or has changed.
        """
        records = [record for record in self.images if not record.validation]
        return read_experiment(self.path, records, self.conditions, self.channel_names)

    def load_validation(self) -> Experiment | None:
        """Read the images that are watched and not trained on; None without any.

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
    """Whether a folder looks like a run: cheap, for listing the runs in a folder."""
    return (Path(path) / "config.json").is_file()


def check_output_folder(path: Path) -> None:
    """Raise InputError unless `path` can become a new folder."""
    if path.is_dir():
        if any(path.iterdir()):
            raise InputError(f"{path} exists and is not empty; name a new folder for the output.")
    elif path.exists():
        raise InputError(f"{path} is a file; name a new folder for the output.")
