"""Choose a run: one that is known, or any folder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, Signal
from superqt.utils import signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import Job, jobs
from napari_phenldiff.jobs.registry import RunSummary
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.viewer.run_state import is_being_prepared, why_unusable
from napari_phenldiff.widgets.parts.choices import choice_box
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import Form, note
from napari_phenldiff.widgets.parts.run_watch import run_watch

if TYPE_CHECKING:
    from napari.viewer import Viewer

OTHER = "Another folder"


class RunChoice(QObject):
    """A list of the runs that have a result, a field for any other folder, and what a run knows.

    As long as the user has not chosen a run, it is that of the latest training in this viewer, or
    a later one that was made elsewhere. A training that ends in this viewer is chosen then, unless
    the user has chosen something else since it began.

    Parameters
    ----------
    form : Form
        Gets the rows.
    viewer : napari.viewer.Viewer
        Whose trainings are followed.
    """

    changed = Signal()
    """Emitted when another run is chosen, or when there is a run now in the folder."""

    updated = Signal()
    """Emitted when the run is the same and something else is known of it: its state, its result."""

    def __init__(self, form: Form, viewer: Viewer) -> None:
        super().__init__(form)
        self._form, self._viewer = form, viewer
        self._chosen_by_user = False
        self._chosen_at = 0.0
        self._choosing = False
        self._there = False
        self.known = choice_box()
        self.folder = FolderField("folder of a fine-tuning")
        self.note = note()
        form.row("Run", self.known, "The runs with a result, the latest first.")
        form.row("Run folder", self.folder, "A folder that Fine-tune has written. Drop it here.")
        form.wide(self.note)
        self.known.currentIndexChanged.connect(self._on_known)
        self.folder.changed.connect(self._on_folder)
        self._watch = run_watch()
        self._watch.changed.connect(self._on_runs)
        jobs.listen(self._on_job)
        training = jobs.latest("train", viewer)
        if training is not None and training.state.live:
            training.ended.connect(self._on_trained)
        self._on_folder()
        self.list_runs()
        form.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Look for new runs when the dock comes to the front."""
        if event is not None and event.type() == QEvent.Type.Show:
            self.list_runs()
        return super().eventFilter(watched, event)

    def path(self) -> Path | None:
        """Return the folder of the run."""
        return self.folder.path()

    def set_path(self, path: Path | None) -> None:
        """Choose the run in a folder."""
        if path == self.folder.path():
            self._on_folder()
        else:
            self.folder.set_path(path)

    def aim(self, path: Path) -> None:
        """Choose a run for the user, who may choose another one."""
        with self._by_itself():
            self.set_path(path)
        self._chosen_by_user = False

    def run(self) -> Run | None:
        """Return the run, None if there is none in the folder."""
        path = self.path()
        if path is None or not is_run(path):
            return None
        try:
            return Run.open(path)
        except InputError:
            return None

    def list_runs(self) -> None:
        """Look for runs now."""
        self._watch.look_now()
        self._show_runs()

    # ---- what is followed --------------------------------------------------------------------

    @contextmanager
    def _by_itself(self) -> Iterator[None]:
        """Do inside what is not the user's choice."""
        self._choosing = True
        try:
            yield
        finally:
            self._choosing = False

    def _on_runs(self) -> None:
        """Show what has changed among the runs, unless the dock is being taken apart."""
        if isalive(self):
            self._show_runs()

    def _show_runs(self) -> None:
        before = self.path()
        self._list()
        if not self._chosen_by_user:
            wanted = self._to_follow()
            if wanted is not None and wanted != before:
                with self._by_itself():
                    self.folder.set_path(wanted)
        self._select_known()
        if self.path() == before:
            self._describe()
            if self._there != (self.run() is not None):
                self._there = not self._there
                self.changed.emit()
            else:
                self.updated.emit()

    def _list(self) -> None:
        """List the runs that can be used, and those that soon can be."""
        choices: list[tuple[str, Path | None]] = [
            (run.name, run.path) for run in self._watch.runs if run.has_result
        ]
        choices += [
            (f"{run.name} (being trained)", run.path)
            for run in self._watch.runs
            if not run.has_result and run.state == "running"
        ]
        training = jobs.latest("train", self._viewer)
        if training is not None and training.path is not None and is_being_prepared(training.path):
            choices.append((f"{training.path.name} (being prepared)", training.path))
        choices.append((OTHER, None))
        there = [
            (self.known.itemText(i), self.known.itemData(i)) for i in range(self.known.count())
        ]
        if choices != there:
            with signals_blocked(self.known):
                self.known.clear()
                for text, path in choices:
                    self.known.addItem(text, path)

    def _to_follow(self) -> Path | None:
        """Return the run that is meant if the user has not said which; None for the same as now."""
        newest = self._newest()
        training = jobs.latest("train", self._viewer)
        if training is not None and training.path is not None and _is_usable(training.path):
            later = newest is not None and newest.created > training.begun
            return newest.path if later and newest is not None else training.path
        if newest is None:
            return training.path if training is not None and self.path() is None else None
        chosen = self._watch.summary(self.path())
        if chosen is not None and chosen.has_result and chosen.created >= newest.created:
            return None  # of two of the same age, the one that is chosen stays
        return newest.path

    def _newest(self) -> RunSummary | None:
        return next((run for run in self._watch.runs if run.has_result), None)

    def _on_job(self, job: Job) -> None:
        if isalive(self) and job is jobs.latest("train", self._viewer):
            job.ended.connect(self._on_trained)

    def _on_trained(self) -> None:
        """Choose the run that has just been trained, unless another was chosen since it began."""
        job = jobs.latest("train", self._viewer)
        if not isalive(self) or job is None or job.path is None or self._chosen_at > job.begun:
            return
        if _is_usable(job.path):
            self.aim(job.path)

    # ---- what is chosen ----------------------------------------------------------------------

    def _on_known(self) -> None:
        path = self.known.currentData()
        if path is not None:
            self.set_path(path)
        else:
            self._form.show_row(self.folder, True)

    def _on_folder(self) -> None:
        self._chosen_by_user = not self._choosing and self.path() is not None
        if self._chosen_by_user:
            self._chosen_at = time.time()
        self._select_known()
        self._there = self.run() is not None
        self._describe()
        self.changed.emit()

    def _describe(self) -> None:
        run = self.run()
        lines = [] if run is None else [describe(run)]
        lines += [
            f"Being trained: {other.name}, step {other.done:,} of {other.total:,}."
            for other in self._watch.runs
            if other.state == "running" and other.path != self.path()
        ]
        newer = self._newer(run)
        if newer is not None:
            lines.append(f"Newer than this one: {newer.name}.")
        self.note.setText("\n".join(lines))
        self.note.setVisible(bool(lines))

    def _newer(self, run: Run | None) -> RunSummary | None:
        """Return a run that is newer than the one chosen by the user."""
        newest = self._newest()
        if run is None or newest is None or not self._chosen_by_user:
            return None
        return newest if newest.created > run.created else None

    def _select_known(self) -> None:
        path = self.path()
        index = next(
            (i for i in range(self.known.count()) if path and self.known.itemData(i) == path),
            self.known.count() - 1,
        )
        with signals_blocked(self.known):
            self.known.setCurrentIndex(index)
        self._form.show_row(self.folder, self.known.currentData() is None)


def _is_usable(path: Path) -> bool:
    """Tell whether there is a run in a folder that images can be translated with."""
    return why_unusable(path) is None


def describe(run: Run) -> str:
    """Tell what a run knows, in a line."""
    done = run.latest_checkpoint()
    steps = f"{run.config.steps:,} steps"
    if run.state != "finished" and done is not None:
        steps = f"{done[0]:,} of {steps}"
    text = (
        f"{' → '.join(run.conditions[:2])} · {', '.join(run.channel_names)} · {steps} · {run.state}"
    )
    if run.config.method != "phenldiff":
        text += f" · method {run.config.method}, preset {run.config.preset}"
    if run.reference_channels:
        text += f" · reference, left as it is: {', '.join(run.reference_channels)}"
    if run.normalised_channels:
        text += f" · normalised: {', '.join(run.normalised_channels)}"
    return text
