"""Load the model of the chosen run while the user is still choosing what to translate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_phenldiff.jobs import estimate
from napari_phenldiff.jobs.job import jobs
from napari_phenldiff.jobs.session import Session
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.model_session import session_of
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.widgets.parts.background import Lookup

if TYPE_CHECKING:
    from napari.viewer import Viewer

WAIT_MS = 700
"""Time that a choice has to last."""


_PATIENCE = 120.0
"""Seconds that loading a model may take before nobody waits for its speed any more."""


class Preload(QTimer):
    """Starts the viewer's session once a choice has lasted for a moment.

    Importing torch and loading a model takes longer than translating an image. Each run is loaded
    early once only, so that a process that has ended because nobody needed it is not started again.

    Parameters
    ----------
    dock : QWidget
        Where the run is chosen. Nothing is loaded while it is hidden.
    viewer : napari.viewer.Viewer
        Whose session it is.
    """

    told = Signal()
    """Emitted when it is known how fast this machine is, see `estimate.KNOWN`."""

    def __init__(self, dock: QWidget, viewer: Viewer) -> None:
        super().__init__(dock)
        self._dock, self._viewer = dock, viewer
        self._wanted: tuple[Run, Path | None] | None = None
        self._loaded: tuple[Path, int, Path | None] | None = None
        self._lookup = Lookup(self)
        self._lookup.found.connect(lambda found: self.told.emit())
        self.setSingleShot(True)
        self.setInterval(WAIT_MS)
        self.timeout.connect(self._load)

    def want(self, run: Run | None, base_at: Path | None) -> None:
        """Take note of what could be translated with now; None if nothing could be."""
        self._wanted = None if run is None else (run, base_at)
        if run is None:
            self.stop()
        elif not self.isActive():
            self.start()

    def _load(self) -> None:
        if self._wanted is None or not self._dock.isVisible() or any(jobs.live()):
            return
        run, base_at = self._wanted
        try:
            key = (run.path, run.adapter_path.stat().st_mtime_ns, base_at)
        except OSError:  # it was deleted meanwhile
            return
        session = session_of(self._viewer).early(run, base_at)
        if session is not None and key != self._loaded:
            self._loaded = key
            wishes = preferences()
            self._lookup.ask(lambda: _prepare(session, (wishes.device, wishes.precision)))


def _prepare(session: Session, key: tuple[str, str]) -> None:
    try:
        session.prepare()
    except OSError:
        return  # whoever translates is told
    hardware = session.hardware(_PATIENCE)
    if hardware is not None:
        estimate.KNOWN[key] = hardware
