"""The figures of a measurement: one at a time, chosen above it, and written to a file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker
from napari.utils.notifications import show_info
from qtpy.compat import isalive
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.figures.kinds import FIGURES, FigureKind
from napari_phenldiff.viewer.drawing import load_matplotlib
from napari_phenldiff.viewer.measured_figures import Figures
from napari_phenldiff.viewer.measuring import Measured
from napari_phenldiff.viewer.turns import adding, turns
from napari_phenldiff.widgets.parts.figure_view import FigureView
from napari_phenldiff.widgets.parts.figure_window import FigureWindow
from napari_phenldiff.widgets.parts.form import note
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.theme import is_dark

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from napari.viewer import Viewer

    from napari_phenldiff.measurement.figures.style import ThemeName

_log = logging.getLogger(__name__)

FORMATS = {
    "SVG": "Drawing with text that can be edited",
    "PNG": "Picture of 300 dots per inch",
    "PDF": "Drawing for a document",
    "CSV": "What the figure shows as numbers",
}
"""What a figure is saved as, and what that is."""

_TALL: tuple[FigureKind, ...] = ("effects", "gallery")
"""Figures that keep the height that they were made with: it depends on how much there is."""


class FigurePage(QWidget):
    """Buttons that choose a figure, the figure, and the way to a file.

    Figures are drawn in a thread. What there can't be of a measurement can't be chosen, and says
    why.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose theme the figure has.
    """

    drawn = Signal()
    """Emitted when there is a new figure to look at."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._figures: Figures | None = None
        self._asked = 0
        self._waits = False
        self.kind: FigureKind = "groups"
        self.view = FigureView()
        self.buttons: dict[FigureKind, QPushButton] = {}
        self.save_button = QPushButton("Save figure ▾")
        self.save_button.setToolTip("Write the figure as SVG, PNG or PDF, or its numbers as CSV")
        self.save_button.clicked.connect(self._on_formats)
        self.as_shown = QCheckBox("As shown")
        self.as_shown.setToolTip(
            "Write the figure on the ground of the viewer's theme; otherwise it is written on "
            "white, for paper"
        )
        self.window_button = QPushButton("Open larger")
        self.window_button.setToolTip("Show the figure in a window of its own")
        self.window_button.clicked.connect(self.open_window)
        self.said = note()
        self.said.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addLayout(self._make_buttons())
        layout.addWidget(self.view, 1)
        row = QHBoxLayout()
        for button in (self.window_button, self.save_button):
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            row.addWidget(button, 1)
        layout.addLayout(row)
        layout.addWidget(self.as_shown)
        layout.addWidget(self.said)
        listen(self, viewer.events.theme, self._on_theme)
        turns.ended.connect(self._on_added)

    def _make_buttons(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(2)
        group = QButtonGroup(self)
        for kind, words in FIGURES.items():
            button = self.buttons[kind] = QPushButton(words.title)
            button.setCheckable(True)
            # With a large font, all of them still fit beside each other.
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.setToolTip(words.shows)
            button.setChecked(kind == self.kind)
            button.clicked.connect(lambda checked=False, kind=kind: self.choose(kind))
            group.addButton(button)
            row.addWidget(button, 1)
        return row

    # ---- what is shown -----------------------------------------------------------------------

    def show_measured(self, measured: Measured) -> None:
        """Show the figures of a measurement, of the same kind as before if there is one."""
        # The figure of another measurement must not stand under the heading of this one.
        self.view.clear()
        self._figures = Figures(measured)
        for kind, button in self.buttons.items():
            why_not = self._figures.why_not(kind)
            button.setEnabled(not why_not)
            button.setToolTip(why_not or FIGURES[kind].shows)
        kind = self.kind if self.buttons[self.kind].isEnabled() else "groups"
        self.say("")
        self.choose(kind)

    def choose(self, kind: FigureKind) -> None:
        """Show another figure."""
        self.kind = kind
        self.buttons[kind].setChecked(True)
        self.view.setToolTip(FIGURES[kind].shows)
        self.draw()

    def draw(self) -> None:
        """Draw the chosen figure in the colours of the viewer's theme, in a thread.

        While layers are added it waits for them: a thread that computes would make each of them
        take several times as long.
        """
        figures, kind = self._figures, self.kind
        if figures is None:
            return
        self._asked += 1
        self.view.say("Drawing …")
        self._waits = adding(self._viewer)
        if self._waits:
            return
        asked, dark = self._asked, is_dark(self._viewer)
        worker = create_worker(lambda: _drawn(figures, kind, dark=dark), _start_thread=False)
        worker.returned.connect(lambda figure: self._show(figure, kind, asked))
        worker.start()

    def _on_added(self, viewer: object) -> None:
        """Draw what has waited."""
        if isalive(self) and viewer is self._viewer and self._waits:
            self.draw()

    def _show(self, figure: Figure | str, kind: FigureKind, asked: int) -> None:
        if not isalive(self) or asked != self._asked:
            return  # another one has been asked for since
        if isinstance(figure, str):
            self.view.clear()
            self.view.say(figure)
        else:
            self.view.show_figure(figure, keep_height=kind in _TALL)
            self.drawn.emit()
        self.save_button.setEnabled(not isinstance(figure, str))
        self.window_button.setEnabled(not isinstance(figure, str))

    def open_window(self) -> FigureWindow | None:
        """Show the figure in a window of its own, as it is written for paper."""
        figures, kind = self._figures, self.kind
        if figures is None:
            return None
        dark = is_dark(self._viewer)
        window = FigureWindow(
            self,
            FIGURES[kind].title,
            lambda: _drawn(figures, kind, dark=dark, narrow=False),
            lambda path: words_of(lambda: _saved(figures, kind, path, "light"), path),
            FORMATS,
        )
        window.draw()
        window.show()
        return window

    def _on_theme(self, event: object = None) -> None:
        if isalive(self):
            self.draw()

    def say(self, text: str) -> None:
        """Say a sentence below the figure."""
        if isalive(self):
            self.said.setText(text)
            self.said.setVisible(bool(text))

    # ---- saving ------------------------------------------------------------------------------

    def formats_menu(self) -> QMenu:
        """Make the menu of formats; it is gone when it is closed."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.setToolTipsVisible(True)
        for name, what in FORMATS.items():
            action = menu.addAction(f"{name}…")
            assert action is not None
            action.setToolTip(what)
            action.triggered.connect(lambda checked=False, name=name: self._on_save(name))
        return menu

    def _on_formats(self) -> None:
        button = self.save_button
        self.formats_menu().popup(button.mapToGlobal(button.rect().bottomLeft()))

    def _on_save(self, name: str) -> None:
        suffix = name.lower()
        called = "phenotype" if self.kind == "groups" else self.kind
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save figure", str(Path.home() / f"{called}.{suffix}"), f"{name} (*.{suffix})"
        )
        if chosen:
            path = Path(chosen)
            self.write(path if path.suffix else path.with_suffix(f".{suffix}"))

    def write(self, path: Path) -> None:
        """Write the chosen figure in a thread, and say below it how that went."""
        figures, kind = self._figures, self.kind
        if figures is None:
            return
        dark = self.as_shown.isChecked() and is_dark(self._viewer)
        self.say(f"Saving {path.name} …")

        worker = create_worker(
            lambda: words_of(
                lambda: _saved(figures, kind, path, "dark" if dark else "light"), path
            ),
            _start_thread=False,
        )
        worker.returned.connect(self.say)
        worker.returned.connect(show_info)
        worker.start()


def _saved(figures: Figures, kind: FigureKind, path: Path, theme: ThemeName) -> str:
    return f"Saved as {figures.save(kind, path, theme=theme)}"


def _drawn(figures: Figures, kind: FigureKind, *, dark: bool, narrow: bool = True) -> Figure | str:
    """Draw a figure, or say why there is none."""
    try:
        load_matplotlib()
        return figures.draw(kind, theme="dark" if dark else "light", narrow=narrow)
    except InputError as error:
        return str(error)
    except Exception as error:
        _log.exception("the figure could not be drawn")
        return f"The figure could not be drawn: {type(error).__name__}: {error}"


def words_of(save: Callable[[], str], path: Path) -> str:
    """Save something, and return the words for how that went."""
    try:
        return save()
    except (OSError, ValueError) as error:
        return f"{path} could not be written: {error}"
