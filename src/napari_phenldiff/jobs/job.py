"""What runs in the background, as objects that live longer than the dock that started them.

Qt sends no ``closeEvent`` to a dock that the user closes, so jobs do not belong to docks. A dock
that is opened asks `jobs` for the latest job of its kind and shows it.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from psygnal import Signal

from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Loading,
    Noted,
    Preview,
    Progress,
    Saved,
    Started,
    Step,
    Validated,
    Warned,
)

_WHEN_CLOSED = {
    "train": "goes on when napari is closed; Fine-tune shows it again",
    "evaluate": "goes on when napari is closed; Evaluate shows its result",
    "translate": "ends when napari is closed, without a result",
    "measure": "ends when napari is closed, without a result",
}


class JobState(StrEnum):
    """Where a job stands; the value is what the user reads."""

    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    FAILED = "Failed"
    FINISHED = "Finished"

    @property
    def live(self) -> bool:
        """Whether the job still goes on."""
        return self in (JobState.STARTING, JobState.RUNNING, JobState.STOPPING)


@dataclass(eq=False)
class Job:
    """One piece of background work, told by its events.

    All methods are called in the GUI's thread. `changed` is emitted after every event, `previewed`
    with every preview, and `ended` once.

    Attributes
    ----------
    kind : str
        What kind of work: ``"train"``, ``"translate"``, ``"measure"``.
    title : str
        What is done, in the user's words: "Fine-tuning untreated → treated".
    on_stop : callable
        Asks the work to stop; called again, ends it at once.
    path : Path, optional
        Where the result appears.
    state, message
        Where the job stands, and what it does or why it failed.
    done, total : int
        Pieces of work; total is 0 as long as it isn't known.
    part : float
        How much of the pieces that follow is done too, in pieces.
    seconds_left : float, optional
        Estimate by whoever does the work.
    losses : list of (int, float)
        Step and loss, for a training.
    validations : list of Validated
        Losses on images that are trained on and on images that are not, for a training.
    notes : list of str
        What was found out and stays worth knowing.
    unit : str
        What is counted, as far as the work has said.
    device : str
        What computes, in words.
    preview : Preview, optional
        The latest of a training.
    warnings : list of str
        What the user should know and stopped nothing.
    can_kill : bool
        Whether a second `stop` ends the work at once.
    result : object
        What the job leaves for `ended`.
    begun : float
        When it was asked for, in seconds since the epoch.
    asked : object
        What was asked for, for a dock that is opened meanwhile.
    """

    kind: str
    title: str
    on_stop: Callable[[], None] = lambda: None
    path: Path | None = None
    state: JobState = JobState.STARTING
    message: str = ""
    done: int = 0
    total: int = 0
    part: float = 0.0
    unit: str = ""
    seconds_left: float | None = None
    losses: list[tuple[int, float]] = field(default_factory=list)
    validations: list[Validated] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    device: str = ""
    preview: Preview | None = None
    warnings: list[str] = field(default_factory=list)
    can_kill: bool = True
    result: Any = None
    begun: float = field(default_factory=time.time)
    asked: Any = None

    _preparing: str = field(default="", init=False, repr=False)
    changed: ClassVar[Signal] = Signal()
    previewed: ClassVar[Signal] = Signal(Preview)
    ended: ClassVar[Signal] = Signal()

    @property
    def when_closed(self) -> str:
        """The title, with what becomes of the work when napari is closed meanwhile."""
        told = _WHEN_CLOSED.get(self.kind)
        return self.title if told is None else f"{self.title} ({told})"

    def apply(self, event: Event) -> None:
        """Take one event in. What comes after the end is ignored."""
        if not self.state.live:
            return
        match event:
            case Loading(message=message):
                self.message = self._preparing = message
            case Warned(message=message):
                if message not in self.warnings:
                    self.warnings.append(message)
            case Noted(message=message):
                if message not in self.notes:
                    self.notes.append(message)
            case Started(device=device):
                self.device = device
            case Validated():
                while self.validations and self.validations[-1].step >= event.step:
                    self.validations.pop()
                self.validations.append(event)
            case Step(step=step, total=total, loss=loss, seconds_left=left):
                self._advance(step, total, left)
                if self.message == self._preparing:
                    self.message = ""  # what was said before the first step is over
                # A training that was resumed does the steps since its last checkpoint again.
                while self.losses and self.losses[-1][0] >= step:
                    self.losses.pop()
                if math.isfinite(loss):
                    self.losses.append((step, loss))
            case Progress(done, total, message, left, unit, part):
                self._advance(done, total, left)
                self.part, self.unit = part, unit
                self.message = message
            case Saved(step=step):
                self.message = f"saved at step {step}"
            case Preview():
                self.preview = event
                self.previewed.emit(event)
            case Failed(message=message):
                # Who asked for the end is not told that the work has failed.
                # Nor what the process printed last, of which the message holds the end.
                if self.state is JobState.STOPPING:
                    self._end(JobState.STOPPED, "")
                else:
                    self._end(JobState.FAILED, message)
                return
            case Finished(step=step, stopped=stopped):
                self.done = max(self.done, step)
                self._end(JobState.STOPPED if stopped else JobState.FINISHED, "")
                return
        self.changed.emit()

    def stop(self) -> None:
        """Ask the work to stop. It ends when it says so by an event."""
        if self.state.live:
            self.state = JobState.STOPPING
            self.on_stop()
            self.changed.emit()

    def fail(self, message: str) -> None:
        """Tell that the work was done and its result can't be used after all."""
        self.result = None
        self.state, self.message = JobState.FAILED, message
        self.changed.emit()

    def _advance(self, done: int, total: int, seconds_left: float | None) -> None:
        if self.state is JobState.STARTING:
            self.state = JobState.RUNNING
            self.message = ""
        self.done, self.total, self.seconds_left = done, total, seconds_left

    def _end(self, state: JobState, message: str) -> None:
        self.state = state
        self.message = message
        self.seconds_left = None
        self.changed.emit()
        self.ended.emit()


class Jobs:
    """The latest job of each kind, per viewer; tells listeners of each one that begins."""

    def __init__(self) -> None:
        self._entries: list[tuple[weakref.ref[Any], Job]] = []
        self._listeners: list[weakref.WeakMethod[Callable[[Job], None]]] = []

    def listen(self, listener: Callable[[Job], None]) -> None:
        """Call a bound method with each job that begins, as long as its object lives.

        A signal of psygnal ends with an error, and reaches no further listener, if the garbage
        collector takes the object of one of them in another thread while it is emitted.
        """
        self._listeners.append(weakref.WeakMethod(listener))

    def add(self, job: Job, viewer: object) -> None:
        """Remember a job as the latest of its kind in this viewer."""
        self._entries = [
            (ref, old)
            for ref, old in self._entries
            if ref() is not None and not (ref() is viewer and old.kind == job.kind)
        ]
        self._entries.append((weakref.ref(viewer), job))
        self._listeners = [ref for ref in self._listeners if ref() is not None]
        for ref in tuple(self._listeners):
            listener = ref()
            if listener is not None:
                listener(job)

    def latest(self, kind: str, viewer: object) -> Job | None:
        """Return the latest job of a kind in this viewer, running or ended."""
        for ref, job in self._entries:
            if ref() is viewer and job.kind == kind:
                return job
        return None

    def live(self) -> Iterator[Job]:
        """Yield the jobs that still go on."""
        return (job for _, job in list(self._entries) if job.state.live)


jobs = Jobs()
"""The jobs of this process."""


def duration(seconds: float | None) -> str:
    """Tell a time that is left, roughly, as people say it: "2 min 10 s"."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10:
        tens = rest // 10 * 10
        return f"{minutes} min {tens} s" if tens else f"{minutes} min"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
