"""A fine-tuning as a folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import make_folder_atomic, write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs import checkpoints, lock
from napari_phenldiff.runs.config import TrainingConfig, validated
from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Step,
    Warned,
    append_event,
    read_events,
)
from napari_phenldiff.runs.process import LOCK_NAME, LOG_NAME
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

State = Literal["created", "running", "stopped", "failed", "finished", "interrupted"]

NOTE_NAME = "note.txt"

_KEPT_CHECKPOINTS = 2


class Run:
    """A fine-tuning: what was asked for, what happened, and what came out.

    The folder alone is enough to translate images on another machine. To resume training, the
    images must still be where they were.

    Make one with :meth:`create` or :meth:`from_experiment`, or open one that exists with
    :meth:`open`.
    """

    def __init__(self, path: Path, record: RunRecord, scaling: IntensityScaling) -> None:
        self.path = path
        self._record = record
        self.scaling = scaling

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    # ---- making and opening ------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        config: TrainingConfig,
        *,
        scaling: IntensityScaling,
        channel_names: Sequence[str],
        images: Iterable[ImageRecord | Mapping[str, Any]] = (),
        digest: str = "",
        versions: Mapping[str, str] | None = None,
        stored: Mapping[str, Image] | None = None,
    ) -> Run:
        """Make a run folder, whole or not at all.

        Parameters
        ----------
        path : path-like
            The folder, which must not exist or be empty.
        config : TrainingConfig
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
        config: TrainingConfig,
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
    def config(self) -> TrainingConfig:
        """What was asked for."""
        return self._record.config

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

    # ---- what happens ------------------------------------------------------------------------

    @property
    def events_path(self) -> Path:
        """File of the events, one a line."""
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        """File that a training process started by a program prints into."""
        return self.path / LOG_NAME

    def append(self, event: Event) -> None:
        """Write down that something happened."""
        append_event(self.events_path, event)

    def events(self, start: int = 0) -> tuple[list[Event], int]:
        """Return what happened since offset `start`, and the offset for the next call."""
        return read_events(self.events_path, start)

    @property
    def state(self) -> State:
        """Where the run is.

        "interrupted" is a run whose process went away without a word (killed, power lost): like
        one that was stopped or failed, it can be resumed.
        """
        if self.is_locked:
            return "running"
        events, _ = self.events()
        begun = any(isinstance(event, Step) for event in events)
        return state_after(events[-1] if events else None, begun=begun)

    @property
    def is_locked(self) -> bool:
        """Whether somebody trains this run now."""
        held = lock.holder(self._lock_path)
        return held is not None and held.alive

    @property
    def _lock_path(self) -> Path:
        return self.path / LOCK_NAME

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one who trains this run, for as long as the context lasts.

        Raises
        ------
        InputError
            If another process trains it.
        """
        with lock.hold(self._lock_path, what=f"run {self.path}"):
            checkpoints.remove_leftovers(self.path)
            checkpoints.remove_leftovers(self.path / "checkpoints")
            yield

    # ---- stopping ----------------------------------------------------------------------------

    @property
    def _stop_path(self) -> Path:
        return self.path / "stop"

    def request_stop(self) -> None:
        """Ask whoever trains this run to save its state and end."""
        self._stop_path.touch()

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked for an end."""
        return self._stop_path.exists()

    def clear_stop(self, *, before: float | None = None) -> None:
        """Forget that somebody asked for an end.

        Parameters
        ----------
        before : float, optional
            Forget only what was asked before this time (seconds since the epoch).
        """
        try:
            if before is None or self._stop_path.stat().st_mtime < before:
                self._stop_path.unlink()
        except FileNotFoundError:
            pass

    # ---- what people write down ---------------------------------------------------------------

    @property
    def note(self) -> str:
        """What somebody wrote down about this run: the text of ``note.txt``, "" without one."""
        try:
            return (self.path / NOTE_NAME).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    @note.setter
    def note(self, text: str) -> None:
        path = self.path / NOTE_NAME
        if not text.strip():
            path.unlink(missing_ok=True)
            return
        with write_atomic(path) as aside:
            aside.write_text(text.strip() + "\n", encoding="utf-8")

    # ---- what comes out ----------------------------------------------------------------------

    def save_checkpoint(self, step: int, files: Mapping[str, checkpoints.Content]) -> Path:
        """Write what resuming after `step` needs, and forget all but the last two checkpoints.

        Parameters
        ----------
        step : int
            Steps done.
        files : mapping
            By name, the bytes of each file or a function that writes it at the path it is given.

        Returns
        -------
        Path
            ``checkpoints/step_000100/``, which appears whole or not at all.
        """
        folder = self.path / "checkpoints"
        target = folder / f"step_{step:06d}"
        checkpoints.write_folder(target, files)
        checkpoints.keep_last(folder, _KEPT_CHECKPOINTS)
        return target

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """Return (step, folder) of the newest complete checkpoint, None if there is none."""
        found = checkpoints.steps_in(self.path / "checkpoints")
        return found[-1] if found else None

    def save_adapter(self, files: Mapping[str, checkpoints.Content]) -> Path:
        """Replace the result of this run; see :meth:`save_checkpoint` for `files`."""
        checkpoints.write_folder(self.path / "adapter", files)
        return self.path / "adapter"

    @property
    def adapter_path(self) -> Path:
        """Folder of the result, which does not exist before :meth:`save_adapter`."""
        return checkpoints.recover(self.path / "adapter")

    @property
    def has_adapter(self) -> bool:
        """Whether there is a result that images can be translated with."""
        return checkpoints.is_complete(self.adapter_path)

    @property
    def reference_channels(self) -> tuple[str, ...]:
        """Channels that the result leaves as they are; none before there is a result."""
        try:
            settings = json.loads((self.adapter_path / "adapter.json").read_text(encoding="utf-8"))
            return tuple(str(name) for name in settings["reference_channels"])
        except (OSError, ValueError, KeyError, TypeError):
            return ()  # no result yet, or a damaged one: whoever loads it says so


def state_after(last: Event | None, *, begun: bool) -> State:
    """Return where a run is that nobody trains now.

    Parameters
    ----------
    last : Event or None
        The last event in it.
    begun : bool
        Whether a step was done.
    """
    match last:
        case None:
            return "created"
        case Warned() if not begun:
            return "created"  # about the images, told by whoever made the run
        case Failed():
            return "failed"
        case Finished(stopped=stopped):
            return "stopped" if stopped else "finished"
        case _:
            return "interrupted"


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
