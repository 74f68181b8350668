"""What an evaluation found: the verdict in words, what it rests on, and a link to the report."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker
from qtpy.compat import isalive
from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.wording import OUTCOMES, cautions, headline
from napari_phenldiff.viewer.drawing import load_matplotlib
from napari_phenldiff.viewer.evaluations import ANSWERS, MARKS, FoundEvaluation
from napari_phenldiff.widgets.parts.figure_view import FigureView
from napari_phenldiff.widgets.parts.form import note
from napari_phenldiff.widgets.parts.icons import keep_icon
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.theme import is_dark, theme_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from napari.viewer import Viewer

_log = logging.getLogger(__name__)

_HEADLINE = "font-size: 15pt; font-weight: bold;"


class EvaluationView(QWidget):
    """One evaluation of a run, the verdict first.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose theme the colours are taken from.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._asked = 0
        self.found: FoundEvaluation | None = None
        self.verdict = note()
        self.reason = note()
        self.caution = note()
        self.what = note()
        self.report_button = QPushButton("Open the report")
        self.report_button.setToolTip(
            "Open the whole page in the browser: pictures, figures, all tables, provenance"
        )
        keep_icon(self.report_button, "report", viewer)
        self.report_button.clicked.connect(self.open_report)
        self.folder_button = QPushButton("Folder")
        self.folder_button.setToolTip("Show the folder with the page, the numbers and the table")
        self.folder_button.setAccessibleName("Show the folder of the evaluation")
        self.folder_button.clicked.connect(self._open_folder)
        self.rules = _rich()
        self.numbers = _rich()
        self.figure = FigureView()
        self.figure.setToolTip("The four groups, each large dot an image or a well")
        self.notes = note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(6)
        for widget in (self.verdict, self.reason, self.caution, self.what):
            layout.addWidget(widget)
        row = QHBoxLayout()
        row.addWidget(self.report_button, 1)
        row.addWidget(self.folder_button)
        layout.addLayout(row)
        for label in (self.rules, self.numbers, self.notes):
            layout.addWidget(label)
        layout.addWidget(self.figure)
        listen(self, viewer.events.theme, self._on_theme)

    def show_evaluation(self, folder: Path) -> None:
        """Show an evaluation in place of the one before, or say why it can't be shown."""
        try:
            self.found = FoundEvaluation.read(folder)
        except InputError as error:
            self.found = None
            self.verdict.setText("")
            self.reason.setText(str(error))
        self._write()
        self._draw()

    def open_report(self) -> None:
        """Open the page in the browser."""
        if self.found is not None:
            self._open(self.found.report)

    def _open_folder(self) -> None:
        if self.found is not None:
            self._open(self.found.folder)

    def _open(self, path: Path) -> None:
        if not path.exists():
            self.notes.setText(f"{path} is gone; evaluate again.")
            self.notes.setVisible(True)
        elif not open_url(QUrl.fromLocalFile(str(path.resolve()))):
            self.notes.setText(f"No program could be started for {path}; open it yourself.")
            self.notes.setVisible(True)

    # ---- what is shown -----------------------------------------------------------------------

    def _write(self) -> None:
        found = self.found
        for widget in (self.verdict, self.what, self.rules, self.numbers, self.figure):
            widget.setVisible(found is not None)
        for button in (self.report_button, self.folder_button):
            button.setEnabled(found is not None)
        told = () if found is None else cautions(found.metrics)
        rest = [] if found is None else [n for n in found.metrics.notes if n not in told]
        self.notes.setVisible(bool(rest))
        self.caution.setVisible(bool(told))
        self.caution.setText("\n".join(told))
        self.caution.setStyleSheet(f"color: {self._color('open')};")
        if found is None:
            return
        verdict = found.metrics.verdict
        outcome = ANSWERS.get(verdict.answer, "open")
        self.verdict.setText(f"{MARKS[outcome]} {headline(verdict)}")
        # In the style sheet, since that of napari sets the size of all text.
        self.verdict.setStyleSheet(f"{_HEADLINE} color: {self._color(outcome)};")
        self.reason.setText(verdict.reason)
        self.what.setText(found.what())
        self.rules.setText(
            "<b>What each rule said</b>"
            + _table(
                (
                    f'<span style="color: {self._color(outcome)}">{MARKS[outcome]}</span>',
                    f"<b>{escape(rule)}</b>: {OUTCOMES[outcome]}<br>{escape(text)}",
                )
                for rule, outcome, text in found.rules()
            )
        )
        self.numbers.setText(
            "<b>Main numbers</b> (95 % interval or quartiles)"
            + _table((escape(what), f"{escape(value)}") for what, value in found.numbers())
        )
        self.notes.setText("\n".join(f"To know: {text}" for text in rest))

    def _color(self, outcome: str) -> str:
        name = {"against": "error", "open": "warning"}.get(outcome, "text")
        return theme_color(self._viewer, name).name()

    def _draw(self) -> None:
        """Draw the four groups in the colours of the viewer's theme, in a thread."""
        found = self.found
        self._asked += 1
        if found is None:
            return
        asked, dark = self._asked, is_dark(self._viewer)
        self.figure.say("Drawing …")
        worker = create_worker(lambda: _drawn(found, dark=dark), _start_thread=False)
        worker.returned.connect(lambda figure: self._show(figure, asked))
        worker.start()

    def _show(self, figure: Figure | str, asked: int) -> None:
        if not isalive(self) or asked != self._asked:
            return  # another one has been asked for since
        if isinstance(figure, str):
            self.figure.clear()
            self.figure.say(figure)
        else:
            self.figure.show_figure(figure)

    def _on_theme(self, event: object = None) -> None:
        if isalive(self) and self.found is not None:
            self._write()
            self._draw()


def open_url(url: QUrl) -> bool:
    """Open something with the program of the system that is there for it."""
    return bool(QDesktopServices.openUrl(url))


def _rich() -> QLabel:
    """Return a label for a small table: it wraps, and its text can be copied."""
    label = note()
    label.setTextFormat(Qt.TextFormat.RichText)
    return label


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    cell = '<td style="padding: 2px 6px 2px 0">{}</td>'
    lines = ("".join(map(cell.format, row)) for row in rows)
    return f'<table width="100%"><tr>{"</tr><tr>".join(lines)}</tr></table>'


def _drawn(found: FoundEvaluation, *, dark: bool) -> Figure | str:
    """Draw the figure, or say why there is none."""
    try:
        load_matplotlib()
        return found.draw(theme="dark" if dark else "light")
    except InputError as error:
        return str(error)
    except Exception as error:
        _log.exception("the figure could not be drawn")
        return f"The figure could not be drawn: {type(error).__name__}: {error}"
