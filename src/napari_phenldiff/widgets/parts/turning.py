"""Turn the dial of a translation: the layers follow, roughly within a second, then exactly."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, QTimer, Signal

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.jobs.process import follow
from napari_phenldiff.jobs.session import EVENTS_NAME, StrengthRequest
from napari_phenldiff.runs.events import Failed, Loading, Preview
from napari_phenldiff.viewer.model_session import KeptTranslation, session_of
from napari_phenldiff.viewer.shown_strength import show_at

if TYPE_CHECKING:
    from napari.viewer import Viewer

_log = logging.getLogger(__name__)

_PAUSE_MS = 30
"""A slider that is dragged emits many values a second; one value in so long is requested."""

_LOOK_EVERY = 0.02
"""Seconds between two checks for an answer; short, since the user is waiting for it."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a dial is turned to.

    Attributes
    ----------
    translation : str
        Identity of the translation.
    place : int
        Place of the field among its images.
    strength : float
        The strength.
    near : (float, float) or None
        Place (y, x) in pixels of the field that is looked at.
    """

    translation: str
    place: int
    strength: float
    near: tuple[float, float] | None = None


class Turning(QObject):
    """Follows the dial in one viewer; only the answer to the latest turn is shown.

    `told` is emitted with a few words about how it stands. It outlives the dock.
    """

    told = Signal(str)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer_ref = weakref.ref(viewer)
        self._wanted: Turn | None = None
        self._current: object = None
        self.words = ""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_PAUSE_MS)
        self._timer.timeout.connect(self._start)

    @property
    def busy(self) -> bool:
        """Whether an exact answer is still to come."""
        return self._current is not None or self._timer.isActive()

    def turn(self, turn: Turn) -> None:
        """Show a field at another strength, in its layers."""
        self._wanted = turn
        if not self._timer.isActive():
            self._timer.start()

    def _start(self) -> None:
        viewer, turn = self._viewer_ref(), self._wanted
        if viewer is None or turn is None:
            return
        dial = session_of(viewer).kept(turn.translation)
        if dial is None:
            self._say("Translate again to turn this dial.")
            return
        self._current = token = object()
        self._say("Looking …" if dial.session.running else "Loading the model again …")
        worker: Any = create_worker(
            _answers, dial, turn, lambda: worker.abort_requested, _start_thread=False
        )

        def on_yielded(answer: str | tuple[Image, bool]) -> None:
            if token is not self._current:
                return
            if isinstance(answer, str):
                self._say(answer)
                return
            image, exact = answer
            self._show(turn, image, exact)

        def on_finished() -> None:
            if token is self._current:
                self._current = None

        worker.yielded.connect(on_yielded)
        worker.finished.connect(on_finished)
        worker.start()

    def _show(self, turn: Turn, image: Image, exact: bool) -> None:
        viewer = self._viewer_ref()
        if viewer is None:
            return
        try:
            show_at(viewer.layers, turn.translation, turn.place, image, turn.strength)
        except InputError as error:
            self._say(str(error))
        except Exception as error:
            _log.exception("the dial could not be turned")
            self._say(f"It could not be shown: {type(error).__name__}: {error}")
        else:
            self._say(
                f"Shown at {turn.strength:.2f}" if exact else f"Rough look at {turn.strength:.2f} …"
            )

    def _say(self, words: str) -> None:
        self.words = words
        self.told.emit(words)


def _answers(
    dial: KeptTranslation, turn: Turn, should_stop: Callable[[], bool]
) -> Iterator[str | tuple[Image, bool]]:
    """Ask the session, and yield what it shows and says. Nothing may be raised in a worker."""
    number = None
    try:
        number, folder = dial.session.new_folder()
        process = dial.session.ask(
            StrengthRequest(
                number=number,
                of=dial.number,
                image=turn.place,
                strength=turn.strength,
                near=turn.near,
            )
        )
        answers = folder / EVENTS_NAME
        for event in follow(answers, process, interval=_LOOK_EVERY, should_stop=should_stop):
            match event:
                case Preview(path=path):
                    image = read_image(folder / path)
                    yield image, path.startswith("exact")
                case Loading(message=message):
                    yield f"{message} …"
                case Failed(message=message):
                    yield message.partition("\n")[0]
    except Exception as error:
        known = isinstance(error, InputError)
        if not known:
            _log.exception("the dial could not be turned")
        yield str(error) if known else f"An unexpected error: {type(error).__name__}: {error}"
    finally:
        if number is not None:
            dial.session.delete_request(number)


_TURNING: weakref.WeakKeyDictionary[Any, Turning] = weakref.WeakKeyDictionary()


def turning_of(viewer: Viewer) -> Turning:
    """Return what follows the dial in a viewer."""
    if viewer not in _TURNING:
        _TURNING[viewer] = Turning(viewer)
    return _TURNING[viewer]
