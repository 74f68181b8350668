"""The runs that this user has made or opened, found again after napari was closed.

What is remembered is only where they are, in one small file. Everything else is in the run folders.
They are looked up every second while the list is on the screen, so what has not changed is kept.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import platformdirs

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.jobs.job import Job
from napari_phenldiff.runs.events import Event, Failed, Finished, Preview
from napari_phenldiff.runs.folder import Run, State, is_run, state_after

_log = logging.getLogger(__name__)

USER_DATA = "PHENLDIFF_USER_DATA"
"""Environment variable with the folder of the registry, in place of the user's own."""

_MOST = 500
"""Runs that are remembered; the oldest ones are dropped."""

_MOST_ENTRIES = 2000
"""Folders with more entries than that are no folders of runs, and are not searched."""

T = TypeVar("T")


def registry_path() -> Path:
    """Return the file that the runs of this user are remembered in."""
    own = os.environ.get(USER_DATA)
    folder = Path(own) if own else Path(platformdirs.user_data_dir("napari-phenldiff", False))
    return folder / "runs.json"


class RunRegistry:
    """The folders of the runs that the user has made or opened.

    A registry that is damaged or can't be written is never a reason to fail: the runs themselves
    are somewhere else.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    @property
    def file(self) -> Path:
        """Where it is written; looked up each time, since tests turn it elsewhere."""
        return self._file or registry_path()

    def registered(self) -> tuple[Path, ...]:
        """Return the run folders, the latest first. They may have vanished meanwhile."""
        return tuple(Path(text) for text in reversed(self._read()["runs"]))

    def forgotten(self) -> frozenset[Path]:
        """Return the runs that the user doesn't want to see any more."""
        return frozenset(Path(text) for text in self._read()["forgotten"])

    def register(self, path: Path) -> None:
        """Remember a run; one that was forgotten is remembered again."""
        self._change(path, known=True)

    def forget(self, path: Path) -> None:
        """Take a run off the list. Its folder is left as it is."""
        self._change(path, known=False)

    def _change(self, path: Path, *, known: bool) -> None:
        text = str(path.expanduser().absolute())
        values = {key: [t for t in texts if t != text] for key, texts in self._read().items()}
        values["runs" if known else "forgotten"].append(text)
        content = {"format": 1, **{key: texts[-_MOST:] for key, texts in values.items()}}
        try:
            with write_atomic(self.file) as aside:
                aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            _log.warning("The list of runs could not be written: %s", error)

    def _read(self) -> dict[str, list[str]]:
        values: Any = {}
        with suppress(OSError, ValueError):
            values = json.loads(self.file.read_text(encoding="utf-8"))
        found: dict[str, list[str]] = {}
        for key in ("runs", "forgotten"):
            texts = values.get(key) if isinstance(values, dict) else None
            found[key] = [t for t in texts if isinstance(t, str)] if isinstance(texts, list) else []
        return found


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a list says about a run.

    Attributes
    ----------
    path : Path
        Its folder; the name of it is the name of the run.
    conditions, channels : tuple of str
        What it is trained on.
    base : str
        Base model, as in `TrainingConfig`; "random" of a baseline.
    created : float
        When it was made, in seconds since the epoch.
    done, total : int
        Optimisation steps.
    state : str
        See `Run.state`; "damaged" if its folder cannot be read.
    note : str
        What somebody wrote down, or what is damaged.
    own : bool
        Whether this user has made or opened it, and not merely one beside it.
    method : str
        "phenldiff", or that of a baseline.
    has_result : bool
        Whether images can be translated with it.
    """

    path: Path
    conditions: tuple[str, ...]
    channels: tuple[str, ...]
    base: str
    created: float
    done: int
    total: int
    state: State | Literal["damaged"]
    note: str
    own: bool
    method: str = "phenldiff"
    has_result: bool = False

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def state_words(self) -> str:
        """The state, with how far it has come where that says something."""
        word = "Not started" if self.state == "created" else self.state.capitalize()
        whole = self.state in ("created", "finished", "damaged")
        return word if whole else f"{word} {self.done}/{self.total}"

    @property
    def resumable(self) -> bool:
        """Whether it can go on."""
        return self.state not in ("running", "finished", "damaged")


@dataclass
class RunIndex:
    """Looks the runs up, and keeps what has not changed since the last look.

    One thread at a time may use it.
    """

    registry: RunRegistry = field(default_factory=RunRegistry)
    _kept: dict[tuple[str, Path], tuple[object, Any]] = field(default_factory=dict)

    def look(self, folders: Iterable[Path] = ()) -> tuple[RunSummary, ...]:
        """Return the known runs, those beside them, and those in `folders`; the newest first."""
        own = [path for path in self.registry.registered() if is_run(path)]
        parents = dict.fromkeys([*folders, *(path.parent for path in own)])
        beside = [run for parent in parents for run in self._runs_in(parent)]
        forgotten = self.registry.forgotten()
        found = []
        for path in dict.fromkeys([*own, *beside]):
            if path in forgotten:
                continue
            try:
                found.append(self._summary(path, own=path in own))
            except FileNotFoundError:
                continue  # gone since
            except (InputError, OSError, ValueError) as error:
                found.append(_damaged(path, str(error), own=path in own))
        return tuple(sorted(found, key=lambda run: (-run.created, run.name)))

    def _runs_in(self, folder: Path) -> tuple[Path, ...]:
        def search() -> tuple[Path, ...]:
            with os.scandir(folder) as entries:
                names = [
                    entry.name for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False)
                ]
            if len(names) == _MOST_ENTRIES:
                return ()
            return tuple(
                folder / name for name in names if name[0] != "." and is_run(folder / name)
            )

        try:
            return self._unless_changed("folder", folder, search)
        except OSError:
            return ()

    def _summary(self, path: Path, *, own: bool) -> RunSummary:
        run = self._unless_changed("run", path / "config.json", lambda: Run.open(path))
        done, last = run.progress
        return RunSummary(
            path=path,
            conditions=run.conditions,
            channels=run.channel_names,
            base=run.config.base,
            created=run.created,
            done=done,
            total=run.config.steps,
            state="running" if run.is_locked else state_after(last, begun=done > 0),
            note=run.note,
            own=own,
            method=run.config.method,
            has_result=run.has_adapter,
        )

    def _unless_changed(self, kind: str, path: Path, look: Callable[[], T]) -> T:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        before, value = self._kept.get((kind, path), (None, None))
        if before != stamp:
            value = look()
            self._kept[kind, path] = (stamp, value)
        found: T = value
        return found


def _damaged(path: Path, why: str, *, own: bool) -> RunSummary:
    return RunSummary(
        path=path,
        conditions=(),
        channels=(),
        base="",
        created=0.0,
        done=0,
        total=0,
        state="damaged",
        note=why,
        own=own,
    )


def past_job(path: Path) -> Job:
    """Return a job that has ended, to look at how a run went.

    Raises
    ------
    InputError
        If there is no run, or it is damaged.
    """
    run = Run.open(path)
    source, target = run.conditions[:2]
    job = Job("train", f"{path.name}, {source} → {target}", path=path)
    job.total = run.config.steps
    events, _ = run.events()
    for event in so_far(events):
        job.apply(event)
    match run.state:
        case "finished":
            job.apply(Finished(job.done))
        case "created" | "running":
            job.apply(Finished(job.done, stopped=True))
        case "interrupted":
            job.apply(Failed("Its process went away; what was saved can be resumed."))
        case _:
            job.apply(events[-1])
    return job


def so_far(events: Sequence[Event]) -> list[Event]:
    """Return the events of a run for somebody who joins late.

    How an earlier process ended is left out, and all previews but the last one.
    """
    left_out = Failed | Finished | Preview
    previews = [event for event in events if isinstance(event, Preview)]
    return [*(event for event in events if not isinstance(event, left_out)), *previews[-1:]]
