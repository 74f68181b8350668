"""Events of a run, appended to a file as lines of JSON that other processes can follow."""

from __future__ import annotations

import json
import math
import time as clock
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter

from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.images.files import append_line


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """Time at which an event was created, in seconds since the epoch; keyword-only."""

    time: float = field(default_factory=clock.time)

    def to_json(self) -> str:
        """Return the event as one line of strict JSON, without a line break."""
        values: dict[str, Any] = {"event": type(self).__name__.lower()}
        for key, value in asdict(self).items():
            # JSON has neither NaN nor infinity; a diverged loss is written as null.
            lost = isinstance(value, float) and not math.isfinite(value)
            values[key] = None if lost else value
        return json.dumps(values, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Loading(_Timed):
    """A preparation that takes a while has begun; `message` says which."""

    message: str


@dataclass(frozen=True, slots=True)
class Warned(_Timed):
    """A warning for the user; the work continues."""

    message: str


@dataclass(frozen=True, slots=True)
class Noted(_Timed):
    """A result or decision to report to the user."""

    message: str


@dataclass(frozen=True, slots=True)
class Started(_Timed):
    """Computation has started on `device` of the machine `host`, in `precision`."""

    device: str
    host: str
    precision: str = "float32"


@dataclass(frozen=True, slots=True)
class Step(_Timed):
    """Optimisation step number `step`, from 1 to `total`, is done."""

    step: int
    total: int
    loss: float
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Preview(_Timed):
    """A preview was written to `path`, relative to the run folder.

    It shows a tile of an image of condition `source`, translated to `target`.
    """

    step: int
    path: str
    source: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Validated(_Timed):
    """The loss on validation images, and on equally many training images with the same noise."""

    step: int
    loss: float
    training_loss: float


@dataclass(frozen=True, slots=True)
class Saved(_Timed):
    """A checkpoint or the adapter was written to `path`, relative to the run folder."""

    step: int
    path: str


@dataclass(frozen=True, slots=True)
class Progress(_Timed):
    """`done` of `total` items of work other than training are done; `unit` says what is counted.

    `part` is how much of the following items is done too, in items: of four images that are
    translated together and are half through, it is 2.
    """

    done: int
    total: int
    message: str = ""
    seconds_left: float | None = None
    unit: str = "image"
    part: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed(_Timed):
    """The work failed; `message` says why and what to do."""

    message: str


@dataclass(frozen=True, slots=True)
class Finished(_Timed):
    """The work ended after `step` steps, as planned or because it was asked to stop."""

    step: int
    stopped: bool = False


Event = (
    Loading
    | Warned
    | Noted
    | Started
    | Step
    | Preview
    | Validated
    | Saved
    | Progress
    | Failed
    | Finished
)

_KINDS: dict[str, type[Event]] = {kind.__name__.lower(): kind for kind in get_args(Event)}
_CHECKS: dict[str, TypeAdapter[Event]] = {name: TypeAdapter(kind) for name, kind in _KINDS.items()}


def event_from_json(line: str) -> Event:
    """Return the event that `line` describes.

    Unknown fields are ignored, so that runs of newer versions can be followed.

    Raises
    ------
    ValueError
        If the line is damaged, or the kind of event is unknown.
    """
    try:
        values = json.loads(line)
        kind = _KINDS[str(values["event"])]
    except (KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"not an event: {line[:200]!r}") from error
    known = {f.name for f in fields(kind)}
    given = {key: value for key, value in values.items() if key in known}
    for key in ("loss", "training_loss"):
        if key in given and given[key] is None:
            given[key] = math.nan
    # values of another type would fail far from here, in whatever shows them
    return _CHECKS[values["event"]].validate_python(given)


def append_event(path: Path, event: Event) -> None:
    """Append `event` to the file `path` as one line, in a single unbuffered write.

    The event is in the file even if the process is killed right after this call. If an earlier
    writer was killed in the middle of a line, that line is ended first, so that only that one is
    lost.
    """
    append_line(path, event.to_json())


def read_events(path: Path, start: int = 0) -> tuple[list[Event], int]:
    """Read the events after offset `start`.

    Parameters
    ----------
    path : Path
        File of events, which may not exist yet.
    start : int
        Offset in bytes, as the previous call returned it.

    Returns
    -------
    events : list of Event
        Complete lines only. A last line that is still being written is left for the next call, and
        a line that a killed process left half written is skipped.
    offset : int
        Offset for the next call.
    """
    if not is_regular_file(path):
        return [], start  # not there yet, or a pipe, which would be waited for
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return [], start
    complete = data.rfind(b"\n") + 1
    events: list[Event] = []
    for line in data[:complete].splitlines():
        try:
            events.append(event_from_json(line.decode()))
        except ValueError:
            continue
    return events, start + complete
