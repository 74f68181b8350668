"""The way from one dock to the next: fine-tune, translate, measure, evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QMainWindow, QPushButton, QWidget

from napari_phenldiff.viewer import commands
from napari_phenldiff.widgets.parts.drops import DropPanel, dock_of

if TYPE_CHECKING:
    from napari.viewer import Viewer

_OPEN = {
    "Translate": commands.open_translate,
    "Measure": commands.open_measure,
    "Evaluate": commands.open_evaluate,
}


class NextStep(QWidget):
    """Two buttons at the foot of a dock, disabled until there is something to go on with.

    They have their place from the beginning: a row that appeared would move what lies above it
    under the mouse, and the next click would start work that nobody asked for.

    The first one opens the next dock, aims it at what this one has made, and starts it with what
    is filled in there. The second one leaves the start to the user, who may change things first.

    Parameters
    ----------
    text : str
        What the first button says.
    tooltip : str
        What it does.
    before : str
        What has to be done before, told as long as it has not.
    """

    asked = Signal(bool)
    """Emitted with whether the next dock is to start."""

    def __init__(self, text: str, tooltip: str, before: str) -> None:
        super().__init__()
        self._before = before
        self.go = QPushButton(text)
        self.set_up = QPushButton("Set up first")
        self._tooltips = {
            self.go: tooltip,
            self.set_up: "Open the next dock, aimed at the same, and start nothing yet",
        }
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.go, 2)
        row.addWidget(self.set_up, 1)
        self.go.clicked.connect(lambda: self.asked.emit(True))
        self.set_up.clicked.connect(lambda: self.asked.emit(False))
        self.set_ready(False)

    def set_ready(self, ready: bool) -> None:
        """Let the buttons be pressed or not."""
        for button, tooltip in self._tooltips.items():
            button.setEnabled(ready)
            button.setToolTip(tooltip if ready else self._before)


def open_dock(beside: DropPanel, title: str) -> Any:
    """Open a dock in the window of another one, in front of the others, and return its widget.

    None where there is no window.
    """
    viewer: Viewer = beside.viewer
    holder = dock_of(beside)
    window = None if holder is None else holder.parentWidget()
    if not isinstance(window, QMainWindow):
        return None
    panel = _panel_in(window, title)
    if panel is None:
        _OPEN[title](viewer)
        panel = _panel_in(window, title)
        new = None if panel is None else dock_of(panel)
        if new is not None and holder is not None and not holder.isFloating():
            # At once: below each other for a moment, the two would make the window higher.
            window.tabifyDockWidget(holder, new)
    dock = None if panel is None else dock_of(panel)
    if dock is not None:
        dock.show()
        dock.raise_()
    return panel


def _panel_in(window: QMainWindow, title: str) -> DropPanel | None:
    return next((p for p in window.findChildren(DropPanel) if p.title == title), None)
