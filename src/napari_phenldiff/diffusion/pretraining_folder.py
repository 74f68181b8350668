"""The folder of a base in pre-training.

::

    BASE/
      unet/ vae/ scheduler/ conditioner/   the base in diffusers' layout, as of the last checkpoint
      README.md         its model card, written at the end
      training/         not needed to use the base
        config.json     the settings
        pool.json       command line options, and sources of the images
        pool.npy        images that batches are drawn from
        checkpoints/    step_000500/ ...: the last two checkpoints, for resuming
        previews/       step_000500.png ...
        events.jsonl    one event per line
        run.lock        present while a process trains
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from napari_phenldiff.diffusion.pool import ImagePool
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import make_folder_atomic
from napari_phenldiff.runs import checkpoints, lock
from napari_phenldiff.runs.events import Event, append_event
from napari_phenldiff.runs.folder import check_output_folder
from napari_phenldiff.runs.records import read_model, write_model

_KEPT_CHECKPOINTS = 2
# These may change on a resume: they do not affect what is learned.
_MAY_DIFFER = {"device", "checkpoint_every", "preview_every"}


class Source(BaseModel):
    """Images of one source in the pool.

    Attributes
    ----------
    name : str
        Name of their folder, or their kind.
    images : int
        Number of images read or simulated.
    crops : int
        Number of their crops in the pool.
    channels : int
        Number of channels of the images.
    composed : bool
        Whether they were combined into images with several channels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int
    crops: int
    channels: int
    composed: bool = False


class PoolRecord(BaseModel):
    """Content of pool.json: command line options, sources of the images, versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    asked: dict[str, Any]
    sources: tuple[Source, ...]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class PretrainingFolder:
    """The folder of a base in pre-training; the module describes its content.

    Parameters
    ----------
    path : pathlib.Path
        BASE, which may not exist yet.
    """

    path: Path

    @property
    def training(self) -> Path:
        """Folder with the files that are only needed for training."""
        return self.path / "training"

    @property
    def exists(self) -> bool:
        """Whether the folder holds a pre-training."""
        return os.path.isfile(self.training / "config.json")  # noqa: PTH113 - of any name

    @property
    def config(self) -> PretrainingConfig:
        """The settings."""
        return read_model(self.training / "config.json", PretrainingConfig)

    @property
    def record(self) -> PoolRecord | None:
        """Record of the sources of the images, if there is one."""
        path = self.training / "pool.json"
        return read_model(path, PoolRecord) if path.is_file() else None

    @property
    def pool(self) -> ImagePool:
        """Images that batches are drawn from.

        Raises
        ------
        InputError
            If there are none, or the file is damaged.
        """
        path = self.training / "pool.npy"
        try:
            return ImagePool.open(path)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path} is missing or damaged ({error}): put it back, or start in a new folder."
            ) from error

    @property
    def finished(self) -> bool:
        """Whether all steps are done and everything is written."""
        newest = self.latest_checkpoint()
        done = 0 if newest is None else newest[0]
        return done >= self.config.steps and (self.path / "README.md").is_file()

    @classmethod
    def create(
        cls,
        path: Path,
        config: PretrainingConfig,
        record: PoolRecord,
        write: Callable[[Path], None],
    ) -> PretrainingFolder:
        """Make the folder with its pool; it appears when it is complete.

        Parameters
        ----------
        path : pathlib.Path
            BASE, which must be empty or not exist.
        config, record
            Contents of the JSON files.
        write : callable
            Takes a path and writes the pool there.
        """
        check_output_folder(path)
        with make_folder_atomic(path) as aside:
            folder = cls(aside)
            folder.training.mkdir()
            write(folder.training / "pool.npy")
            write_model(folder.training / "pool.json", record)
            write_model(folder.training / "config.json", config)
        return cls(path.resolve())

    def begin(self, config: PretrainingConfig) -> None:
        """Write the settings, or check that they are those of the training in this folder.

        Raises
        ------
        InputError
            If the folder holds a training with other settings.
        """
        if not self.exists:
            write_model(self.training / "config.json", config)
            return
        before, now = self.config.model_dump(), config.model_dump()
        for key in before.keys() - _MAY_DIFFER:
            if before[key] != now[key]:
                raise InputError(
                    f"{self.path} holds a training with other settings ({key} is "
                    f"{_plain(before[key])} there, not {_plain(now[key])}): give another folder, "
                    "or the same settings."
                )

    def check_asked(self, asked: Mapping[str, Any]) -> None:
        """Check that the training in this folder was started with the same options.

        Raises
        ------
        InputError
            If an option differs.
        """
        record = self.record
        before = {} if record is None else record.asked
        now = json.loads(json.dumps(asked))
        for key in sorted(before.keys() | now.keys()):
            if key not in _MAY_DIFFER and before.get(key) != now.get(key):
                raise InputError(
                    f"{self.path} holds a training with other options ({key} was "
                    f"{_plain(before.get(key))}, not {_plain(now.get(key))}): give another --out, "
                    f"or resume it with `phenldiff pretrain --resume {self.path}`."
                )

    def append(self, event: Event) -> None:
        """Append an event to the file of events."""
        append_event(self.training / "events.jsonl", event)

    @contextmanager
    def lock(self) -> Iterator[lock.Held]:
        """Hold the lock of the training inside the context.

        Yields
        ------
        Held
            The lock; its `check` tells whether the folder is still this process's.

        Raises
        ------
        InputError
            If another process holds it.
        """
        with lock.hold(self.training / "run.lock", what=f"the training in {self.path}") as held:
            checkpoints.remove_leftovers(self.training / "checkpoints")
            yield held

    def save_checkpoint(self, step: int, write_state: Callable[[Path], object]) -> str:
        """Write a checkpoint after `step`; returns its path within the folder.

        A checkpoint is synchronised to disk before it gets its name, and the last two are kept, so
        a killed process or a power failure only costs the steps since the last one.
        """
        parent = self.training / "checkpoints"
        target = parent / f"step_{step:06d}"
        checkpoints.write_folder(target, {"state.safetensors": write_state})
        checkpoints.keep_last(parent, _KEPT_CHECKPOINTS)
        return target.relative_to(self.path).as_posix()

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """Return step and file of the newest complete checkpoint, None if there is none."""
        found = checkpoints.steps_in(self.training / "checkpoints")
        return (found[-1][0], found[-1][1] / "state.safetensors") if found else None


def _plain(value: object) -> str:
    """Format a setting for a message."""
    if value is None:
        return "not given"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)
