"""The process that translates for a viewer: one at a time, which keeps a run's model in memory."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_phenldiff.jobs.background import Launch, launcher
from napari_phenldiff.jobs.requests import REQUEST_NAME, SessionRequest
from napari_phenldiff.jobs.session import Session
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.scratch import make_scratch, remove_scratch
from napari_phenldiff.viewer.preferences import Preferences, preferences

_MAX_KEPT = 3
"""Translations of a viewer whose dial can be turned: their images are kept on disk."""


def launch(environment: dict[str, str]) -> Launch:
    """Return what starts a session."""
    return launcher(environment, reads_stdin=True)


@dataclass(frozen=True, slots=True, eq=False)
class KeptTranslation:
    """A translation whose images can be shown at another strength.

    Attributes
    ----------
    session : Session
        Which keeps the inversions.
    number : int
        Of the request that translated the images.
    """

    session: Session
    number: int


class ViewerSession:
    """The session of a viewer: for one run at a time, replaced when another one is asked for."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._session: Session | None = None
        self._kept: dict[str, KeptTranslation] = {}
        self.windows: weakref.WeakSet[Any] = weakref.WeakSet()  # that close it with them

    def get(self, run: Run, base_at: Path | None = None) -> Session:
        """Return a session for a run as it is now, with the preferences as they are now."""
        wishes = preferences()
        key = _key(run, wishes, base_at)
        if self._session is None or key != self._key:
            self.close()
            self._key, self._session = key, _new_session(run.path, wishes, base_at)
        return self._session

    def early(self, run: Run, base_at: Path | None = None) -> Session | None:
        """Return the session that `get` would, before it is needed.

        None if the translations of another run would have to be forgotten for it.
        """
        if self._kept and _key(run, preferences(), base_at) != self._key:
            return None
        return self.get(run, base_at)

    def remember(self, translation: str, kept: KeptTranslation) -> None:
        """Keep a translation, and forget the oldest."""
        self._kept[translation] = kept
        while len(self._kept) > _MAX_KEPT:
            old = self._kept.pop(next(iter(self._kept)))
            old.session.delete_request(old.number)

    def kept(self, translation: str | None) -> KeptTranslation | None:
        """Return a translation by its identity; None if it is not kept any longer."""
        return None if translation is None else self._kept.get(translation)

    def free_memory(self) -> None:
        """End the process; a dial that is turned later starts it again."""
        if self._session is not None:
            self._session.close()

    def close(self) -> None:
        """End the process and delete what it has been sent."""
        self._kept.clear()
        if self._session is not None:
            self._session.close()
            remove_scratch(self._session.folder)
            self._session = None


def _key(run: Run, wishes: Preferences, base_at: Path | None) -> tuple[Any, ...]:
    trained = run.adapter_path.stat().st_mtime_ns
    return (run.path, trained, wishes.device, wishes.precision, wishes.models_folder, base_at)


def _new_session(run: Path, wishes: Preferences, base_at: Path | None) -> Session:
    folder = make_scratch("session")
    request = SessionRequest(
        run=run,
        folder=folder,
        device=wishes.device,
        precision=wishes.precision,
        base_at=base_at,
    )
    start = launch(wishes.environment())
    return Session(folder, lambda log: start(request, folder / REQUEST_NAME, log))


_SESSIONS: weakref.WeakKeyDictionary[Any, ViewerSession] = weakref.WeakKeyDictionary()


def session_of(viewer: Any) -> ViewerSession:
    """Return the session of a viewer; it ends with the viewer."""
    if viewer not in _SESSIONS:
        made = _SESSIONS[viewer] = ViewerSession()
        # At the end of Python too: a process would end by itself, but its folder would stay.
        weakref.finalize(viewer, made.close)
    return _SESSIONS[viewer]
