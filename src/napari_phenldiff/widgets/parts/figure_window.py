"""A figure in a window of its own: as large as one likes, and the way to a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from napari.qt.threading import create_worker
from napari.utils.notifications import show_info
from qtpy.compat import isalive
from qtpy.QtCore import QPoint, QSize, Qt
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_phenldiff.viewer.drawing import DOTS
from napari_phenldiff.widgets.parts.figure_view import FigureView
from napari_phenldiff.widgets.parts.form import note

_OF_SCREEN = 0.9
"""How much of the screen a window takes at most, of each side."""

Draw = Callable[[], object]
"""Returns a matplotlib figure, or a sentence that says why there is none. Called in a thread."""

Save = Callable[[Path], str]
"""Writes the figure, and returns the words for how that went. Called in a thread."""


class FigureWindow(QDialog):
    """Shows a figure, larger than a dock can.

    Parameters
    ----------
    parent : QWidget
        The dock that it comes from; the window closes with it.
    title : str
        Of the window, and the name that is proposed for the file.
    draw : callable
        See `Draw`.
    save : callable
        See `Save`.
    formats : mapping of str to str
        What a figure is saved as, and what that is.
    """

    def __init__(
        self, parent: QWidget, title: str, draw: Draw, save: Save, formats: Mapping[str, str]
    ) -> None:
        super().__init__(parent)
        self._draw, self._save, self._formats = draw, save, formats
        self._title, self._asked = title, 0
        self._fitted = False
        self.keeps_height = False  # of a figure with many rows: it scrolls
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.setWindowFlag(Qt.WindowType.WindowMaximizeButtonHint)
        self.view = FigureView()
        self.options = QHBoxLayout()
        self.save_button = QPushButton("Save figure…")
        self.save_button.setToolTip(f"Write the figure as {', '.join(formats)}")
        self.save_button.clicked.connect(self._on_save)
        self.said = note()
        self.said.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        row = QHBoxLayout()
        row.addLayout(self.options)
        row.addStretch(1)
        row.addWidget(self.save_button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.view, 1)
        layout.addLayout(row)
        layout.addWidget(self.said)
        self.resize(900, 640)

    def draw(self) -> None:
        """Draw the figure in a thread."""
        self._asked += 1
        asked = self._asked
        self.view.say("Drawing …")
        worker = create_worker(self._draw, _start_thread=False)
        worker.returned.connect(lambda figure: self._show(figure, asked))
        worker.start()

    def _show(self, figure: object, asked: int) -> None:
        if not isalive(self) or asked != self._asked:
            return
        self.save_button.setEnabled(not isinstance(figure, str))
        if isinstance(figure, str):
            self.view.clear()
            self.view.say(figure)
            return
        self.view.show_figure(figure, keep_height=self.keeps_height)  # type: ignore[arg-type]
        if not self._fitted:
            self._fitted = True
            self._fit(figure)

    def _fit(self, figure: Any) -> None:
        """Take the shape of the first figure, as far as the screen has room."""
        screen = self.screen()
        if screen is None:
            return
        available = screen.availableGeometry()
        room = available.size() * _OF_SCREEN
        width, height = (round(float(side) * DOTS) for side in figure.get_size_inches())
        around = self.sizeHint().height() - self.view.sizeHint().height()
        wanted = QSize(max(width, self.width()), height + around)
        self.resize(wanted.boundedTo(room))
        # It grows to the right and downwards, and would reach beyond the screen from where it is.
        frame = self.frameGeometry()
        last = available.bottomRight() - QPoint(frame.width() - 1, frame.height() - 1)
        self.move(
            max(available.left(), min(self.x(), last.x())),
            max(available.top(), min(self.y(), last.y())),
        )

    def _on_save(self) -> None:
        filters = ";;".join(f"{name} (*.{name.lower()})" for name in self._formats)
        chosen, kind = QFileDialog.getSaveFileName(
            self, "Save figure", str(Path.home() / f"{self._title}.svg"), filters
        )
        if chosen:
            path = Path(chosen)
            suffix = kind.partition(" ")[0].lower() or "svg"
            self.write(path if path.suffix else path.with_suffix(f".{suffix}"))

    def write(self, path: Path) -> None:
        """Write the figure in a thread, and say how that went here and in the viewer."""
        self.said.setText(f"Saving {path.name} …")
        save = self._save
        worker = create_worker(lambda: save(path), _start_thread=False)
        worker.returned.connect(self._on_saved)
        worker.start()

    def _on_saved(self, words: str) -> None:
        if isalive(self):
            self.said.setText(words)
        show_info(words)
