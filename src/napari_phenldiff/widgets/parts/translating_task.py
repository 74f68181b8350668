"""Translate in a session, a process per viewer that keeps the model in memory.

Functions and not methods of the dock, because a translation goes on when its dock is closed.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QMainWindow, QWidget

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.process import ChildProcess, follow
from napari_phenldiff.jobs.session import (
    EVENTS_NAME,
    IMAGES_NAME,
    Session,
    TranslateRequest,
)
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.preferences import Preferences, preferences
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.translation import TranslationRequest, TranslationResult, read_output
from napari_phenldiff.widgets.parts.background import (
    Result,
    ShouldStop,
    run_in_background,
    when_finished,
)

if TYPE_CHECKING:
    from napari.viewer import Viewer

_MAX_DIALS = 3
"""Translations of a viewer whose dial can be turned: their images are kept on disk."""


def launch(arguments: Sequence[str], log: Path, environment: dict[str, str]) -> ChildProcess:
    """Start ``phenldiff`` with these arguments in a process that reads its standard input."""
    return ChildProcess.start(arguments, log=log, environment=environment, reads_stdin=True)


@dataclass(frozen=True, slots=True, eq=False)
class Turnable:
    """A translation whose dial can be turned.

    Attributes
    ----------
    session : Session
        Who has the inversions.
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
        self._turnable: dict[str, Turnable] = {}
        self.windows: weakref.WeakSet[QWidget] = weakref.WeakSet()

    def get(self, run: Run, base_at: Path | None = None) -> Session:
        """Return a session for a run as it is now, with the preferences as they are now."""
        wishes = preferences()
        trained = run.adapter_path.stat().st_mtime_ns
        key = (run.path, trained, wishes.device, wishes.precision, wishes.models_folder, base_at)
        if self._session is None or key != self._key:
            self.close()
            self._key, self._session = key, _new_session(run.path, wishes, base_at)
        return self._session

    def remember(self, translation: str, turnable: Turnable) -> None:
        """Keep a translation's dial, and forget the oldest."""
        self._turnable[translation] = turnable
        while len(self._turnable) > _MAX_DIALS:
            old = self._turnable.pop(next(iter(self._turnable)))
            old.session.delete_request(old.number)

    def turnable(self, translation: str | None) -> Turnable | None:
        """Return the dial of a translation; None if it is not kept any longer."""
        return None if translation is None else self._turnable.get(translation)

    def free_memory(self) -> None:
        """End the process; a dial that is turned later starts it again."""
        if self._session is not None:
            self._session.close()

    def close(self) -> None:
        """End the process and delete what it has been sent."""
        self._turnable.clear()
        if self._session is not None:
            self._session.close()
            shutil.rmtree(self._session.folder, ignore_errors=True)
            self._session = None


def _new_session(run: Path, wishes: Preferences, base_at: Path | None) -> Session:
    folder = Path(tempfile.mkdtemp(prefix="phenldiff-session-"))
    arguments = ["session", str(run), "--folder", str(folder)]
    arguments += ["--device", wishes.device, "--precision", wishes.precision]
    if base_at is not None:
        arguments += ["--base-at", str(base_at)]
    return Session(folder, lambda log: launch(arguments, log, wishes.environment()))


_SESSIONS: weakref.WeakKeyDictionary[Any, ViewerSession] = weakref.WeakKeyDictionary()


def session_of(viewer: Viewer) -> ViewerSession:
    """Return the session of a viewer; it ends with the viewer."""
    if viewer not in _SESSIONS:
        made = _SESSIONS[viewer] = ViewerSession()
        # At the end of Python too: a process would end by itself, but its folder would stay.
        weakref.finalize(viewer, made.close)
    return _SESSIONS[viewer]


def end_with_window(viewer: Viewer, dock: QWidget) -> None:
    """End the session of a viewer when the window that a dock lies in is closed.

    A dock alone may be closed: the model stays in memory for when it is opened again.
    """
    host = session_of(viewer)
    window: QWidget | None = dock
    while window is not None and not isinstance(window, QMainWindow):
        window = window.parentWidget()
    if window is not None and window not in host.windows:
        host.windows.add(window)
        window.destroyed.connect(host.close)


def start_translation(viewer: Viewer, request: TranslationRequest) -> Job:
    """Translate in the viewer's session, and add the result to the viewer when it is there.

    Raises
    ------
    InputError
        If what is asked for can't be translated.
    """
    error = request.validation_error()
    if error is not None or request.group is None or request.run is None:
        raise InputError(error or "Choose the images to translate.")
    real = request.group
    host = session_of(viewer)
    session = host.get(Run.open(request.run), request.base_at)
    asked_to_stop: list[bool] = []

    def stop() -> None:
        if asked_to_stop:
            session.kill()
        else:
            session.cancel()
        asked_to_stop.append(True)

    title = f"Translating {real.name} → {request.target}"
    job = Job("translate", title, on_stop=stop, path=request.run)
    prepared = replace(request, group=real.snapshot())

    def work(should_stop: ShouldStop) -> Iterator[Event | Result]:
        number, folder = session.new_folder()
        done = False
        try:
            yield Loading("writing the images for the background process")
            names = prepared.write_input(folder / IMAGES_NAME)
            if asked_to_stop:
                yield Finished(0, stopped=True)
                return
            yield Loading("asking the background process")
            process = session.ask(TranslateRequest(number=number, config=prepared.config()))
            for event in follow(folder / EVENTS_NAME, process, should_stop=should_stop):
                if isinstance(event, Failed):
                    # Sentences are written for the command line.
                    here = "“Base model” below “Advanced”"
                    text = event.message.replace("--base-at FOLDER", here)
                    event = replace(event, message=text)
                if isinstance(event, Finished) and not event.stopped:
                    result = read_output(prepared, names, folder)
                    for kind in ("translated", "reconstructed"):
                        shutil.rmtree(folder / kind, ignore_errors=True)
                    yield Result((number, result))
                    done = True
                yield event
        finally:
            if not done:
                session.cancel()
                session.delete_request(number)

    def show(viewer: Viewer, result: tuple[int, TranslationResult]) -> str:
        number, images = result
        translation = add_translation(
            viewer,
            real.parts[0],
            NewTranslation(
                images.translated,
                images.reconstructed,
                source=request.source,
                target=request.target,
                strength=request.strength,
                provenance=images.provenance,
                field=request.field,
                corner=(0, 0)
                if request.region is None
                else (request.region.top, request.region.left),
                originals=images.originals,
            ),
        )
        host.remember(translation, Turnable(session, number))
        return translation

    def after() -> None:
        # The viewer has been closed in the middle: nobody will ask for anything any more.
        if job.state.live:
            host.close()

    when_finished(job, viewer, show)
    jobs.add(job, viewer)
    run_in_background(job, work, after=after)
    return job
