"""Follow the runs there are, wherever they were started: in this window or in a terminal."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from weakref import ref

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.registry import RunIndex, RunSummary
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.widgets.parts.background import Lookup

_EVERY_MS = 1000

_SHARE = 10
"""A look that takes long is followed by a pause of so many times its duration."""


class RunWatch(QObject):
    """Tells when there is another run, or when one has come further.

    The folders of the runs are looked at once a second, in a thread, since nothing else tells what
    a command line does on a disk that may be far away. What is done in this process is told at
    once. One watch serves all docks, also those behind a tab, which Qt does not tell when they
    come to the front; see `run_watch`.
    """

    changed = Signal()
    """Emitted when runs have come, gone, or changed, or a training has begun or ended here."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: tuple[RunSummary, ...] = ()
        self._index = RunIndex()
        self._one_at_a_time = threading.Lock()
        self._took = 0.0
        self._lookup = Lookup(self)
        self._lookup.found.connect(self._take)
        self._timer = QTimer(self)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self.look)
        self._timer.start()
        jobs.listen(self._on_job)
        for job in jobs.live():
            self._on_job(job)

    def look(self) -> None:
        """Look the runs up in a thread; `changed` tells if they are others now."""
        folder = preferences().runs_folder
        self._lookup.ask(lambda: self._found(folder))

    def look_now(self) -> None:
        """Look the runs up at once, where the answer is needed for what is shown next."""
        self._take(self._found(preferences().runs_folder))

    def summary(self, path: Path | None) -> RunSummary | None:
        """Return what is known of the run in a folder, None if it is not among those known."""
        folder = None if path is None else path.absolute()
        return next((run for run in self.runs if run.path == folder), None)

    def _found(self, folder: Path) -> tuple[RunSummary, ...]:
        with self._one_at_a_time:
            begun = time.monotonic()
            runs = self._index.look([folder])
            self._took = time.monotonic() - begun
        return runs

    def _take(self, runs: tuple[RunSummary, ...]) -> None:
        self._timer.setInterval(max(_EVERY_MS, round(self._took * 1000 * _SHARE)))
        if runs != self.runs:
            self.runs = runs
            self.changed.emit()

    def _on_job(self, job: Job) -> None:
        if job.kind == "train" and isalive(self):
            job.ended.connect(self._on_ended)
            self.changed.emit()

    def _on_ended(self) -> None:
        if isalive(self):
            self.look_now()
            self.changed.emit()


_SHARED: list[ref[RunWatch]] = []


def run_watch() -> RunWatch:
    """Return the watch of this process; it lives as long as somebody holds it."""
    for known in _SHARED:
        watch = known()
        if watch is not None and isalive(watch):
            return watch
    watch = RunWatch()
    _SHARED[:] = [ref(watch)]
    return watch
