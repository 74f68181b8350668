"""Work in a process of its own, as whoever waits for it sees it: started, followed, stopped.

This is the part that needs no Qt: a generator of events, to be iterated in a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Protocol

from napari_phenldiff.jobs.process import ChildProcess, follow
from napari_phenldiff.jobs.requests import EVENTS_NAME, REQUEST_NAME, Request
from napari_phenldiff.jobs.telling import ShouldStop, never
from napari_phenldiff.runs import lock
from napari_phenldiff.runs.contents import LOCK_NAME
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading
from napari_phenldiff.runs.scratch import make_scratch, remove_scratch

PATIENCE = 30.0
"""Seconds that a process has for ending after its last event."""

_LOOK_EVERY = 0.05
"""Seconds between two looks whether a process has ended."""


class Launch(Protocol):
    """Starts the process that carries out a request; see `ChildProcess.carry_out`."""

    def __call__(self, request: Request, path: Path, log: Path) -> ChildProcess:
        """Write the request down as `path`; what the process prints goes into `log`."""


def launcher(environment: Mapping[str, str], *, reads_stdin: bool = False) -> Launch:
    """Return what starts processes in an environment.

    One that reads its standard input is waited for; others let the window of the viewer go first.
    """

    def launch(request: Request, path: Path, log: Path) -> ChildProcess:
        return ChildProcess.carry_out(
            request,
            path,
            log=log,
            environment=environment,
            reads_stdin=reads_stdin,
            low_priority=not reads_stdin,
        )

    return launch


@dataclass(frozen=True, slots=True)
class Answered:
    """A request, and where its process says what happens.

    Attributes
    ----------
    request : Request
        What is asked for.
    events : Path or None
        File that the process writes its events into; beside the request where None.
    log : Path or None
        File that what it prints is appended to; beside the request where None.
    start : int
        Where in the file of events those of this process begin.
    """

    request: Request
    events: Path | None = None
    log: Path | None = None
    start: int = 0


class BackgroundJob:
    """A process that does what a request asks for, or one that somebody else has started.

    Parameters
    ----------
    launch : callable
        Starts the process.
    ask_to_stop : callable, optional
        Asks the work to save what it has and end; returns False where there is nothing to ask yet.
        By default the process is sent SIGTERM.
    """

    def __init__(self, launch: Launch, *, ask_to_stop: Callable[[], bool] | None = None) -> None:
        self._launch = launch
        self._ask_to_stop = ask_to_stop
        self._process: ChildProcess | None = None
        self._stop = ThreadEvent()

    def stop(self) -> None:
        """Ask for an end; called again, end the process at once.

        The process may not have been started yet: then it never is.
        """
        first = not self._stop.is_set()
        self._stop.set()
        if first and self._ask_to_stop is not None and self._ask_to_stop():
            return
        if self._process is None or self._process.poll() is not None:
            return
        if first and self._ask_to_stop is None:
            self._process.terminate()
        else:
            self._process.kill()

    def carry_out(
        self,
        prepare: Callable[[Path], Answered],
        *,
        preparing: str = "",
        should_stop: ShouldStop = never,
    ) -> Iterator[Event]:
        """Prepare a request, start its process, and yield its events until it has ended.

        Parameters
        ----------
        prepare : callable
            Returns what is asked for. Given an empty folder for what the process reads, which is
            deleted when the process has ended.
        preparing : str
            What `prepare` does, in words, where it takes a while.
        should_stop : callable
            Ends the watching, not the process, when it returns True: the process goes on when the
            viewer is closed, and its results are found again.
        """
        aside = make_scratch("job")
        try:
            if preparing:
                yield Loading(preparing)
            asked = prepare(aside)
            yield Loading("starting the background process")
            if self._stop.is_set():
                yield Finished(0, stopped=True)
                return
            self._process = self._launch(
                asked.request, aside / REQUEST_NAME, asked.log or aside / "log"
            )
            if self._stop.is_set():  # meanwhile
                self._process.terminate()
            events = asked.events or aside / EVENTS_NAME
            yield from self._followed(events, asked.start, should_stop)
        finally:
            if self._process is None or self._process.poll() is not None:
                remove_scratch(aside)

    def join(
        self, events: Path, *, start: int = 0, should_stop: ShouldStop = never
    ) -> Iterator[Event]:
        """Yield the events of a process that somebody else has started; parameters as above."""
        yield from self._followed(events, start, should_stop)

    def _followed(self, events: Path, start: int, should_stop: ShouldStop) -> Iterator[Event]:
        for event in follow(events, self._process, should_stop=should_stop, start=start):
            if isinstance(event, Failed | Finished):
                # Whoever hears that it has ended may begin the next at once, or delete its folder.
                self._wait_for_end(events, should_stop)
            yield event

    def _wait_for_end(self, events: Path, should_stop: ShouldStop) -> None:
        until = time.monotonic() + PATIENCE
        while not self._has_ended(events) and time.monotonic() < until and not should_stop():
            time.sleep(_LOOK_EVERY)

    def _has_ended(self, events: Path) -> bool:
        if self._process is not None:
            return self._process.poll() is not None
        held = lock.holder(events.with_name(LOCK_NAME))
        return held is None or not held.alive
