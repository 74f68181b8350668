"""The folder of a base that is being made.

::

    BASE/
      unet/ vae/ scheduler/ conditioner/   the base in diffusers' layout, as of the last checkpoint
      README.md         its model card, written at the end
      training/         not needed to use the base
        config.json     the settings
        pool.json       what was asked for, and where the images come from
        pool.npy        images that batches are drawn from
        checkpoints/    step_000500/ ...: what resuming needs, the last two
        previews/       step_000500.png ...
        events.jsonl    one event a line
        run.lock        present while somebody trains
"""

from __future__ import annotations

import json
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
# These may differ when a training goes on: they change what is watched, not what is learned.
_MAY_DIFFER = {"device", "checkpoint_every", "preview_every"}


class Source(BaseModel):
    """Images of one kind in the pool.

    Attributes
    ----------
    name : str
        Name of their folder, or what they are.
    images : int
        How many were read or made.
    crops : int
        How many pieces of them are in the pool.
    channels : int
        Channels that they have.
    composed : bool
        Whether they were combined into images of several channels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int
    crops: int
    channels: int
    composed: bool = False


class PoolRecord(BaseModel):
    """What pool.json holds: what was asked for, where the images come from, versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    asked: dict[str, Any]
    sources: tuple[Source, ...]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class PretrainingFolder:
    """The folder of a base that is being made; see the module.

    Parameters
    ----------
    path : pathlib.Path
        BASE, which need not exist.
    """

    path: Path

    @property
    def training(self) -> Path:
        """Folder of what using the base does not need."""
        return self.path / "training"

    @property
    def exists(self) -> bool:
        """Whether a pre-training was begun here."""
        return (self.training / "config.json").is_file()

    @property
    def config(self) -> PretrainingConfig:
        """The settings."""
        return read_model(self.training / "config.json", PretrainingConfig)

    @property
    def record(self) -> PoolRecord | None:
        """Where the images come from, if that was written down."""
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
                f"{path} is missing or damaged ({error}): put it back, or begin in a new folder."
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
        """Make the folder with its pool, whole or not at all.

        Parameters
        ----------
        path : pathlib.Path
            BASE, which must not exist or be empty.
        config, record
            What the json files will hold.
        write : callable
            Writes the pool at the path it is given.
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
        """Write the settings down, or see that they are those of the training that is here.

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
        """See that the training that is here was asked for in the same words.

        Raises
        ------
        InputError
            If it was not.
        """
        record = self.record
        before = {} if record is None else record.asked
        now = json.loads(json.dumps(asked))
        for key in sorted(before.keys() | now.keys()):
            if key not in _MAY_DIFFER and before.get(key) != now.get(key):
                raise InputError(
                    f"{self.path} holds a training that was asked for otherwise ({key} was "
                    f"{_plain(before.get(key))}, not {_plain(now.get(key))}): give another --out, "
                    f"or go on with it by `phenldiff pretrain --resume {self.path}`."
                )

    def append(self, event: Event) -> None:
        """Write down that something happened."""
        append_event(self.training / "events.jsonl", event)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the one who trains here, for as long as the context lasts.

        Raises
        ------
        InputError
            If another process does.
        """
        with lock.hold(self.training / "run.lock", what=f"the training in {self.path}"):
            checkpoints.remove_leftovers(self.training / "checkpoints")
            yield

    def save_checkpoint(self, step: int, write_state: Callable[[Path], object]) -> str:
        """Write what resuming after `step` needs; the checkpoint's path within the folder.

        Checkpoints are on the disk before they get their name, and the last two are kept: neither
        a killed process nor a loss of power costs more than the steps since the last one.
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
    """Words for a setting in a message."""
    if value is None:
        return "not given"
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)
