"""TIFFs dropped on a dock, opened by this plugin without a question."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, ClassVar

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QShowEvent
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_phenldiff.viewer.reader import get_reader
from napari_phenldiff.widgets.parts.form import Panel

if TYPE_CHECKING:
    from napari.viewer import Viewer


_NUMBERS = count()


class DropPanel(Panel):
    """A dock that opens the TIFFs and folders dropped on it as layers.

    Dropped on the canvas, TIFFs make napari ask which of the plugins that know TIFFs shall open
    them, and each file is opened on its own. Here they are opened together, as one experiment.
    """

    title: ClassVar[str] = ""
    """What stands on the tab; napari would add the name of the plugin, and cut off both."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.setAcceptDrops(True)
        self.number = next(_NUMBERS)
        self._has_been_shown = False

    def showEvent(self, event: QShowEvent | None) -> None:
        """Lie behind a tab with the other docks of the plugin, which are as tall as the window."""
        super().showEvent(event)
        if not self._has_been_shown:
            self._has_been_shown = True
            QTimer.singleShot(0, self._join_tabs)

    def _join_tabs(self) -> None:
        if not isalive(self):
            return
        own = dock_of(self)
        if own is not None and self.title:
            own.setWindowTitle(self.title)
        window = own.parentWidget() if own is not None else None
        if own is None or own.isFloating() or not isinstance(window, QMainWindow):
            return
        shown: list[tuple[int, QDockWidget]] = []
        for dock in window.findChildren(QDockWidget):
            panel = dock.findChild(DropPanel)
            if panel is not None and not dock.isFloating() and not dock.isHidden():
                shown.append((panel.number, dock))
        # The oldest dock is not moved: the user may have chosen its place.
        _, oldest = min(shown, key=lambda entry: entry[0], default=(0, own))
        if oldest is not own:
            window.tabifyDockWidget(oldest, own)
            own.raise_()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept what can be opened."""
        if event is not None and get_reader(_paths_in(event)) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Open what was dropped."""
        if event is not None and get_reader(_paths_in(event)) is not None:
            event.acceptProposedAction()
            paths = _paths_in(event)
            # Stacked in the words of napari: the reader gets all paths in one call.
            self.viewer.open(paths, plugin="napari-phenldiff", stack=len(paths) > 1)


def dock_of(widget: QWidget) -> QDockWidget | None:
    """Return the dock that a widget lies in, None without one."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent


def _paths_in(event: QDropEvent) -> list[str]:
    data = event.mimeData()
    return [url.toLocalFile() for url in data.urls()] if data is not None else []
