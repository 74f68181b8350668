"""Run a job's work in a thread, so that whatever happens there arrives as an event."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

from napari.qt.threading import create_worker
from qtpy.QtCore import QObject, Signal

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import Job, JobState
from napari_phenldiff.runs.events import Event, Failed
from napari_phenldiff.runs.failures import explain, is_expected

if TYPE_CHECKING:
    from napari.viewer import Viewer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What the work hands to `Job.result`; to be yielded before the event that ends the job."""

    value: Any


@dataclass(frozen=True, slots=True)
class Partial:
    """What there is of the result while the work still goes on."""

    value: Any


def when_finished(job: Job, viewer: Viewer, show: Callable[[Viewer, Any], Any]) -> None:
    """Show the result of a job in its viewer, once it is there and if the viewer still is.

    Parameters
    ----------
    job : Job
        The job, not started yet.
    viewer : napari.viewer.Viewer
        Where the result goes. It is not kept alive by the job.
    show : callable
        Called in the GUI's thread with the viewer and `Job.result`; what it returns is the result
        from then on.
    """
    viewer_ref = ref(viewer)

    def on_ended() -> None:
        there = viewer_ref()
        if there is None or job.state is not JobState.FINISHED:
            return
        try:
            job.result = show(there, job.result)
        except InputError as error:
            job.fail(str(error))
        except Exception as error:
            # The viewer may be half closed. Nobody catches what a callback raises.
            _log.exception("the result of %s could not be shown", job.title)
            job.fail(f"The result could not be shown: {type(error).__name__}: {error}")

    job.ended.connect(on_ended)


ShouldStop = Callable[[], bool]
Work = Callable[[ShouldStop], Iterator[Event | Result | Partial]]


def run_in_background(
    job: Job,
    work: Work,
    *,
    after: Callable[[], None] = lambda: None,
    on_partial: Callable[[Any], None] = lambda value: None,
) -> None:
    """Run a generator of events in a thread and apply them to a job in the GUI's thread.

    Parameters
    ----------
    job : Job
        The job, new.
    work : callable
        Called in the thread with a function that turns True when the thread shall end (the viewer
        is closed); it returns an iterator of events, of which the last is Finished or Failed.
    after : callable
        Called in the GUI's thread when the thread has ended, for whatever reason.
    on_partial : callable
        Called in the GUI's thread with the value of each `Partial`.

    Notes
    -----
    Nothing may be raised from here on: a RuntimeError in a worker that is a generator is swallowed,
    without a signal, and running out of GPU memory is such an error. It is caught here and told.
    """
    abort = [False]

    # A function in the form that napari expects; its name is what napari shows when it is closed
    # while the job runs.
    def guarded() -> Iterator[Event | Result | Partial]:
        try:
            yield from work(lambda: abort[0] or worker.abort_requested)
        except Exception as error:
            if not is_expected(error):
                _log.exception("%s has failed", job.title)
            yield Failed(explain(error))

    guarded.__qualname__ = job.when_closed

    def on_event(event: Event | Result | Partial) -> None:
        if isinstance(event, Result):
            job.result = event.value
        elif isinstance(event, Partial):
            try:
                on_partial(event.value)
            except Exception:
                # It is shown once more when all is there, and what fails then is told.
                _log.exception("a part of the result of %s could not be shown", job.title)
        else:
            job.apply(event)

    def on_finished() -> None:
        abort[0] = True
        after()
        # Without effect unless the work ended without saying so: then the viewer is being closed.
        job.apply(Failed("The viewer was closed."))

    worker = create_worker(guarded, _start_thread=False)
    worker.yielded.connect(on_event)
    worker.finished.connect(on_finished)
    worker.start()


class Lookup(QObject):
    """Asks a slow question in a thread: what is on a disk that may be far away, say.

    Nobody waits for the answer and nobody has to be told of its end, so this is a plain thread and
    no worker of napari's, which napari would mention when it is closed.

    Parameters
    ----------
    parent : QObject
        Who asks; an answer that comes after its end is dropped.
    """

    found = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether the last question is not answered yet."""
        return self._thread is not None and self._thread.is_alive()

    def ask(self, question: Callable[[], Any]) -> None:
        """Ask, unless the last question is not answered yet; `found` tells the answer."""
        if self.busy:
            return

        def answer() -> None:
            try:
                value = question()
            except Exception:
                _log.exception("a look-up has failed")
                return
            with suppress(RuntimeError):  # the widget is gone
                self.found.emit(value)

        self._thread = threading.Thread(target=answer, name="phenldiff-lookup", daemon=True)
        self._thread.start()
