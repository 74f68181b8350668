"""Choose a run: one that is known, or any folder."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QEvent, QObject, Signal
from superqt.utils import signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.registry import RunIndex
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.widgets.parts.choices import choice_box
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import Form, note

OTHER = "Another folder"


class RunChoice(QObject):
    """A list of the runs that have a result, a field for any other folder, and what a run knows.

    Parameters
    ----------
    form : Form
        Gets the rows.
    """

    changed = Signal()

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self._form = form
        self.known = choice_box()
        self.folder = FolderField("folder of a fine-tuning")
        self.note = note()
        form.row("Run", self.known, "The runs with a result, the latest first.")
        form.row("Run folder", self.folder, "A folder that Fine-tune has written. Drop it here.")
        form.wide(self.note)
        self.known.currentIndexChanged.connect(self._on_known)
        self.folder.changed.connect(self._on_folder)
        self._index = RunIndex()
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
        """Look for runs with a result; the latest is chosen if none was."""
        runs = [run for run in self._index.look([preferences().runs_folder]) if run.has_result]
        with signals_blocked(self.known):
            self.known.clear()
            for run in runs:
                self.known.addItem(run.name, run.path)
            self.known.addItem(OTHER, None)
        if self.path() is None and runs:
            self.folder.set_path(runs[0].path)
        else:
            self._select_known()

    def _on_known(self) -> None:
        path = self.known.currentData()
        if path is not None:
            self.set_path(path)
        else:
            self._form.show_row(self.folder, True)

    def _on_folder(self) -> None:
        self._select_known()
        run = self.run()
        self.note.setText("" if run is None else describe(run))
        self.note.setVisible(run is not None)
        self.changed.emit()

    def _select_known(self) -> None:
        path = self.path()
        index = next(
            (i for i in range(self.known.count()) if path and self.known.itemData(i) == path),
            self.known.count() - 1,
        )
        with signals_blocked(self.known):
            self.known.setCurrentIndex(index)
        self._form.show_row(self.folder, self.known.currentData() is None)


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
