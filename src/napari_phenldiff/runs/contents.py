"""The files in a run folder: events, lock, note, checkpoints and result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

from napari_phenldiff.images.files import read_small, sha256_of, write_atomic
from napari_phenldiff.runs import checkpoints, lock
from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Step,
    Warned,
    append_event,
    read_events,
)

State = Literal["created", "running", "stopped", "failed", "finished", "interrupted"]

LOCK_NAME = "run.lock"
LOG_NAME = "train.log"
NOTE_NAME = "note.txt"

_KEPT_CHECKPOINTS = 2

_MOST_BYTES = 2**20
_TAIL = 16 * 1024
"""Bytes at the end of a file of events in which its last steps are found."""


class RunContents:
    """The part of a `Run` that only depends on its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: lock.Held | None = None

    # ---- events ------------------------------------------------------------------------------

    @property
    def events_path(self) -> Path:
        """File of the events, one per line."""
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        """File with the output of a training that a widget started."""
        return self.path / LOG_NAME

    def append(self, event: Event) -> None:
        """Append an event to the file of events."""
        append_event(self.events_path, event)

    def events(self, start: int = 0) -> tuple[list[Event], int]:
        """Return the events since offset `start`, and the offset for the next call."""
        return read_events(self.events_path, start)

    @property
    def state(self) -> State:
        """The state of the run.

        A run is "interrupted" if its process ended without writing an event (killed, power
        failure). Like one that was stopped or failed, it can be resumed.
        """
        if self.is_locked:
            return "running"
        done, last = self.progress
        return state_after(last, begun=done > 0)

    @property
    def progress(self) -> tuple[int, Event | None]:
        """Steps done and the last event, read from the end of the file of events.

        The file is only read again when it has changed, so this may be asked on every keystroke.
        """
        try:
            stat = self.events_path.stat()
        except FileNotFoundError:
            return 0, None
        return _progress(self.events_path, stat.st_mtime_ns, stat.st_size)

    @property
    def is_locked(self) -> bool:
        """Whether a process trains this run now."""
        held = lock.holder(self._lock_path)
        return held is not None and held.alive

    @property
    def _lock_path(self) -> Path:
        return self.path / LOCK_NAME

    def remove_dead_lock(self) -> None:
        """Remove the lock that a killed process has left, where there is nothing more to do."""
        lock.remove_if_dead(self._lock_path, what=f"run {self.path}")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this run inside the context.

        Raises
        ------
        InputError
            If another process trains this run.
        """
        with lock.hold(self._lock_path, what=f"run {self.path}") as held:
            checkpoints.remove_leftovers(self.path)
            checkpoints.remove_leftovers(self.path / "checkpoints")
            self._held = held
            try:
                yield
            finally:
                self._held = None

    def _check_held(self) -> None:
        if self._held is not None:
            self._held.check()

    # ---- stopping ----------------------------------------------------------------------------

    @property
    def _stop_path(self) -> Path:
        return self.path / "stop"

    def request_stop(self) -> None:
        """Ask the process that trains this run to save its state and end."""
        self._stop_path.touch()

    @property
    def stop_requested(self) -> bool:
        """Whether the training has been asked to stop."""
        return self._stop_path.exists()

    def clear_stop(self, *, before: float | None = None) -> None:
        """Remove a request to stop.

        Parameters
        ----------
        before : float, optional
            Only remove a request made before this time (seconds since the epoch).
        """
        try:
            if before is None or self._stop_path.stat().st_mtime < before:
                self._stop_path.unlink()
        except FileNotFoundError:
            pass

    # ---- note ---------------------------------------------------------------------------------

    @property
    def note(self) -> str:
        """The user's note about this run, from ``note.txt``; "" without one."""
        try:
            note = read_small(self.path / NOTE_NAME, most_bytes=_MOST_BYTES, errors="replace")
            return note.strip()
        except (OSError, ValueError):
            return ""

    @note.setter
    def note(self, text: str) -> None:
        path = self.path / NOTE_NAME
        if not text.strip():
            path.unlink(missing_ok=True)
            return
        with write_atomic(path) as aside:
            aside.write_text(text.strip() + "\n", encoding="utf-8")

    # ---- checkpoints and result --------------------------------------------------------------

    def save_checkpoint(self, step: int, files: Mapping[str, checkpoints.Content]) -> Path:
        """Write a checkpoint, and remove all but the last two.

        Parameters
        ----------
        step : int
            Number of steps done.
        files : mapping
            For each file name, its bytes or a function that takes a path and writes the file.

        Returns
        -------
        Path
            ``checkpoints/step_000100/``, which appears when it is complete.
        """
        self._check_held()
        folder = self.path / "checkpoints"
        target = folder / f"step_{step:06d}"
        checkpoints.write_folder(target, files)
        self._check_held()
        checkpoints.keep_last(folder, _KEPT_CHECKPOINTS)
        return target

    def latest_checkpoint(self) -> tuple[int, Path] | None:
        """Return (step, folder) of the newest complete checkpoint, None if there is none."""
        found = checkpoints.steps_in(self.path / "checkpoints")
        return found[-1] if found else None

    def save_adapter(self, files: Mapping[str, checkpoints.Content]) -> Path:
        """Replace the adapter of this run; see :meth:`save_checkpoint` for `files`."""
        self._check_held()
        checkpoints.write_folder(self.path / "adapter", files)
        self._check_held()
        return self.path / "adapter"

    @property
    def adapter_path(self) -> Path:
        """Folder of the adapter, which does not exist before :meth:`save_adapter`."""
        return checkpoints.recover(self.path / "adapter")

    @property
    def has_adapter(self) -> bool:
        """Whether there is an adapter to translate images with."""
        return checkpoints.is_complete(self.adapter_path)

    def adapter_hashes(self) -> tuple[tuple[str, str], ...]:
        """Return the SHA-256 of each file of weights of the adapter, by its name in the folder."""
        folder = self.adapter_path
        return tuple(
            (path.relative_to(folder).as_posix(), sha256_of(path))
            for path in sorted(folder.rglob("*.safetensors"))
        )

    @property
    def reference_channels(self) -> tuple[str, ...]:
        """Channels that a translation does not change; empty before there is an adapter."""
        try:
            text = read_small(self.adapter_path / "adapter.json", most_bytes=_MOST_BYTES)
            settings = json.loads(text)
            return tuple(str(name) for name in settings["reference_channels"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ()  # no adapter yet, or a damaged one, which loading it reports


@lru_cache(maxsize=1024)
def _progress(path: Path, changed: int, size: int) -> tuple[int, Event | None]:
    """Return the steps done and the last event; `changed` and `size` tell versions of it apart."""
    for start in (max(0, size - _TAIL), 0):
        events, _ = read_events(path, start)
        steps = [event.step for event in events if isinstance(event, Step | Finished)]
        if steps or start == 0:
            break
    return (steps[-1] if steps else 0), (events[-1] if events else None)


def state_after(last: Event | None, *, begun: bool) -> State:
    """Return the state of a run that no process trains.

    Parameters
    ----------
    last : Event or None
        The last event of the run.
    begun : bool
        Whether a step has been done.
    """
    match last:
        case None:
            return "created"
        case Warned() if not begun:
            return "created"  # about the images, written when the run was created
        case Failed():
            return "failed"
        case Finished(stopped=stopped):
            return "stopped" if stopped else "finished"
        case _:
            return "interrupted"
