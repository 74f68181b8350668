"""The foot of a dock: the button that starts and stops, why it can't, and how the job goes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from qtpy.compat import isalive
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import Job, JobState, duration
from napari_phenldiff.jobs.loss_in_words import about_the_loss
from napari_phenldiff.settings import without_options
from napari_phenldiff.viewer.turns import adding, turns
from napari_phenldiff.widgets.parts.folder_field import short_path
from napari_phenldiff.widgets.parts.form import Capped, note
from napari_phenldiff.widgets.parts.icons import set_icon
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.loss_curve import LossCurve
from napari_phenldiff.widgets.parts.theme import theme_color

if TYPE_CHECKING:
    from napari.viewer import Viewer


class Request(Protocol):
    """What a dock asks a job to do."""

    def validation_error(self) -> str | None:
        """Return why it cannot be done, if it cannot."""


def problem_with(request: Callable[[], Request]) -> str | None:
    """Return why what is filled in cannot be done, or not even be asked for; None if it can."""
    try:
        return request().validation_error()
    except InputError as error:
        return str(error)


_BAR = 200
"""Steps of the bar, at least: about as many as it has pixels."""

_REFRESH_MS = 200
"""A job may report many steps a second; progress is shown five times a second."""


class JobFoot(QWidget):
    """Button, message, progress and loss of one kind of job.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose theme the colours are taken from.
    start_text, stop_text : str
        What the button says when nothing runs, and when it does.
    noun : str
        What is counted: "step", "image".
    icon : str, optional
        Icon of the button that starts, see `parts.icons`.
    with_loss : bool
        Whether a loss curve is shown.
    """

    start_requested = Signal()
    ended = Signal()

    def __init__(
        self,
        viewer: Viewer,
        start_text: str,
        stop_text: str,
        noun: str,
        *,
        icon: str = "",
        with_loss: bool = False,
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._start_text, self._stop_text, self._noun = start_text, stop_text, noun
        self._start_tooltip = ""
        self._icon = icon
        self._start_style = ""
        self._error: str | None = None
        self._forecast = ""
        self._shown_state: JobState | None = None
        self._asked: object = None
        self._asked_then: object = None
        self.job: Job | None = None
        self.curve = LossCurve() if with_loss else None
        self.about_curve = note()
        self.about_curve.setVisible(False)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.setToolTip("How much of the work is done")
        self.status = note()
        self.warnings = note()
        self.notes = note()
        self.forecast = note()
        self.forecast.setToolTip("What the work will run on, how long it will take, and why")
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.setMaximumHeight(90)
        self.details.setToolTip("What the background process printed last")
        self.button = QPushButton(start_text)
        self.button.setMinimumHeight(28)
        self.button.clicked.connect(self._on_click)
        self.message = note()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        if self.curve is not None:
            layout.addWidget(self.curve)
        for widget in (
            self.bar,
            self.status,
            self.details,
            # What matters first comes first: two areas would each hide half of it in a low window.
            Capped(self.forecast, self.warnings, self.notes, self.about_curve, lines=7),
            self.button,
            self.message,
        ):
            layout.addWidget(widget)
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self.refresh)
        listen(self, viewer.events.theme, self._on_theme)
        turns.ended.connect(self._on_added)
        self._on_theme()
        self.refresh()

    # ---- what the widget tells ---------------------------------------------------------------

    def set_start(self, text: str, tooltip: str) -> None:
        """Say what the button would do now."""
        self._start_text, self._start_tooltip = text, tooltip
        self.refresh()

    def set_error(self, error: str | None) -> None:
        """Say beside the button why it can't be pressed; None if it can."""
        self._error = None if error is None else without_options(error)
        self.refresh()

    def set_forecast(self, text: str) -> None:
        """Say above the button what starting would mean."""
        self._forecast = text
        self.refresh()

    def set_asked(self, asked: object) -> None:
        """Tell what is filled in: a failure is not shown as one of what is filled in by now."""
        if asked != self._asked:
            self._asked = asked
            self.refresh()

    def set_job(self, job: Job | None) -> None:
        """Show a job: one just started, or one found again by a dock that was reopened."""
        self._asked_then = self._asked if job is not None and job.state.live else None
        if self.job is not None:
            self.job.changed.disconnect(self._on_changed, missing_ok=True)
            self.job.ended.disconnect(self._on_ended, missing_ok=True)
        self.job = job
        if job is not None:
            job.changed.connect(self._on_changed)
            job.ended.connect(self._on_ended)
            if job.state.live:
                self._timer.start()
        self.refresh()

    # ---- what is shown -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Show how things are now."""
        job = self.job
        live = job is not None and job.state.live
        self.status.setVisible(job is not None)
        self.bar.setVisible(live)
        self.details.setVisible(False)
        warned = "" if job is None else "\n".join(_marked(job.warnings))
        self.warnings.setText(warned)
        self.warnings.setVisible(bool(warned))
        noted = "" if job is None else "\n".join(f"{text.removesuffix('.')}." for text in job.notes)
        self.notes.setText(noted)
        self.notes.setVisible(bool(noted))
        lines = [line for line in self._forecast.splitlines() if line not in warned.splitlines()]
        self.forecast.setText("\n".join(lines))
        self.forecast.setVisible(bool(self._forecast) and not live)
        if self.curve is not None:
            self.curve.setVisible(job is not None and bool(job.losses or live))
            told = "" if job is None else about_the_loss(job.losses, job.validations)
            self.about_curve.setText(told)
            self.about_curve.setVisible(bool(told))
        if job is not None:
            self._show_job(job)
        if live and job is not None:
            stopping = job.state is JobState.STOPPING
            set_icon(self.button, "stop", self._viewer)
            self.button.setText("Stop now" if stopping else self._stop_text)
            self.button.setToolTip(
                "End the background process at once; what it has not saved yet is lost"
                if stopping
                else "Ask the job to stop"
            )
            self.button.setEnabled(not stopping or job.can_kill)
            self.button.setStyleSheet("")
            self.message.setVisible(False)
            return
        if self._icon:
            set_icon(self.button, self._icon, self._viewer)
        else:
            self.button.setIcon(QIcon())
        self.button.setStyleSheet(self._start_style)
        self.button.setText(self._start_text)
        self.button.setToolTip(self._error or self._start_tooltip)
        self.button.setEnabled(self._error is None)
        self.message.setText(self._error or "")
        self.message.setVisible(self._error is not None)

    def _show_job(self, job: Job) -> None:
        self._shown_state = job.state
        # A few long pieces of work are shown in parts: there is something to see within one too.
        parts = max(1, math.ceil(_BAR / max(1, job.total)))
        self.bar.setRange(0, parts * job.total)
        self.bar.setValue(min(round(parts * (job.done + job.part)), parts * job.total))
        # The first sentence says what happened; the last output of the process follows below.
        message, _, rest = job.message.partition("\n")
        failed = job.state is JobState.FAILED
        over = failed and self._asked_then is not None and self._asked != self._asked_then
        words = self._words(job, message)
        self.status.setText(f"Before: {words}" if over else words)
        color = theme_color(self._viewer, "error" if failed and not over else "text").name()
        self.status.setStyleSheet(f"color: {color};")
        if rest and not job.state.live and not over:
            self.details.setVisible(True)
            if self.details.toPlainText() != rest:
                self.details.setPlainText(rest)
        if self.curve is not None:
            self.curve.set_losses(job.losses, job.total, job.validations)

    def _words(self, job: Job, message: str) -> str:
        left = duration(job.seconds_left)
        count = f"{job.unit or self._noun} {job.done:,} of {job.total:,}"
        place = _place(job)
        match job.state:
            case JobState.STARTING:
                return f"{job.title}\n{_capital(message) or 'Starting'} …{place}"
            case JobState.RUNNING:
                where = f"on {job.device}" if job.device else ""
                parts = [_capital(count), f"{left} left" if left else "", where, message]
                return f"{job.title}\n" + " · ".join(part for part in parts if part) + place
            case JobState.STOPPING:
                return f"{job.title}\nStopping …{place}"
            case JobState.STOPPED:
                where = f" after {count}" if job.done else ""
                return f"{job.title}: stopped{where}.{place}"
            case JobState.FAILED:
                return f"{job.title} has failed. {message}"
            case JobState.FINISHED if adding(self._viewer) and job.kind != "train":
                return f"{job.title}\nShowing the result …{place}"
            case JobState.FINISHED:
                return f"{job.title}: finished.{place}"

    # ---- events ------------------------------------------------------------------------------

    def _on_click(self) -> None:
        if self.job is not None and self.job.state.live:
            self.job.stop()
        else:
            self.start_requested.emit()

    def _on_changed(self) -> None:
        # The timer shows progress; only a change of state is worth showing at once.
        if isalive(self) and self.job is not None and self.job.state is not self._shown_state:
            self.refresh()

    def _on_ended(self) -> None:
        if isalive(self):
            self._timer.stop()
            self.refresh()
            self.ended.emit()

    def _on_added(self, viewer: object) -> None:
        if isalive(self) and viewer is self._viewer:
            self.refresh()

    def _on_theme(self, event: object = None) -> None:
        if not isalive(self):
            return
        warning, accent = (theme_color(self._viewer, n).name() for n in ("warning", "current"))
        for label in (self.message, self.warnings):
            label.setStyleSheet(f"color: {warning};")
        # The one button that matters in a dock; while it says Stop it looks like any other.
        self._start_style = f"QPushButton:enabled {{ background-color: {accent}; }}"
        self.bar.setStyleSheet(f"QProgressBar::chunk {{ background-color: {accent}; }}")
        if self.curve is not None:
            self.curve.set_colors(
                theme_color(self._viewer, "text"), theme_color(self._viewer, "current")
            )
        self.refresh()


def _place(job: Job) -> str:
    """Return a line with the folder of a training, empty for what makes no run."""
    return f"\nRun folder: {short_path(job.path)}" if job.kind == "train" and job.path else ""


def _marked(warnings: list[str]) -> list[str]:
    """Return the first and the last warnings as lines that stand out without colour."""
    # What came first is about the images, and what came last about what became of them.
    shown = [*warnings[:4], *warnings[4:][-4:]]
    return [f"⚠ {text}" for text in shown]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
