"""The runs there are: a table with notes, to go on with one or to look at how it went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.registry import RunIndex, RunSummary
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.widgets.parts.background import Lookup
from napari_phenldiff.widgets.parts.form import note

_REFRESH_MS = 1000
_COLUMNS = ("Run", "State", "Made", "Note")
_NOTE = 3


class RunsList(QWidget):
    """Table of the runs that are known, the newest first.

    It looks the runs up in a thread, once a second while it is on the screen.
    """

    chosen = Signal()
    """Another run is selected, or none any more."""

    listed = Signal()
    """The runs have been looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.index = RunIndex()
        self.runs: tuple[RunSummary, ...] = ()
        self._lookup = Lookup(self)
        self._lookup.found.connect(self._show)
        self._timer = QTimer(self)
        self._timer.setInterval(_REFRESH_MS)
        self._timer.timeout.connect(self._on_tick)

        self.table = _Table()
        self.note = QLineEdit()
        self.note.setPlaceholderText("Note on this run")
        self.note.setAccessibleName("Note on this run")
        self.note.setToolTip(
            "What you want to remember about the run; kept as note.txt in its folder"
        )
        self.new = QPushButton("New run")
        self.new.setToolTip("Select no run: the button below starts a new one again")
        self.forget = QPushButton("Forget")
        self.forget.setToolTip("Take the run off this list; nothing is deleted")
        self.details = note()
        buttons = QHBoxLayout()
        buttons.addWidget(self.note, 1)
        buttons.addWidget(self.forget)
        buttons.addWidget(self.new)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.table)
        layout.addWidget(self.details)
        layout.addLayout(buttons)

        self.table.itemSelectionChanged.connect(self._on_selection)
        self.table.itemChanged.connect(self._on_edited)
        self.note.editingFinished.connect(self._on_note)
        self.forget.clicked.connect(self._on_forget)
        self.new.clicked.connect(self.table.clearSelection)
        self._on_selection()
        self.refresh()

    def current(self) -> RunSummary | None:
        """Return the run that is selected."""
        items = self.table.selectedItems()
        path = items[0].data(0, Qt.ItemDataRole.UserRole) if items else None
        return next((run for run in self.runs if run.path == path), None)

    def remember(self, path: Path) -> None:
        """Put a run on the list."""
        self.index.registry.register(path)
        self.refresh()

    def set_remarks(self, remarks: Sequence[str]) -> None:
        """Say below the table what is known about the selected run besides."""
        run = self.current()
        self.details.setVisible(run is not None)
        if run is not None:
            base = "bundled base" if run.base == "bundled" else f"base {run.base}"
            if run.method != "phenldiff":
                base = f"method {run.method}"
            line = f"{' → '.join(run.conditions[:2])} · {', '.join(run.channels)} · {base}"
            self.details.setText("\n".join([line, *remarks]))
            self.details.setToolTip(str(run.path))

    def refresh(self) -> None:
        """Look the runs up, in a thread."""
        index, folder = self.index, preferences().runs_folder
        self._lookup.ask(lambda: index.look([folder]))

    # ---- events ------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent | None) -> None:
        """Refresh the list regularly while it is shown."""
        self._timer.start()
        super().showEvent(event)

    def hideEvent(self, event: QHideEvent | None) -> None:
        """Stop refreshing."""
        self._timer.stop()
        super().hideEvent(event)

    def _on_tick(self) -> None:
        # Qt counts the list as shown even if it is folded in or scrolled out of view.
        if not self.visibleRegion().isEmpty():
            self.refresh()

    def _show(self, runs: tuple[RunSummary, ...]) -> None:
        before = self.current()
        if runs != self.runs:
            self.runs = runs
            with signals_blocked(self.table):
                self.table.fill(runs, before)
            if before is not None and self.current() is None:
                self._on_selection()
        self.listed.emit()

    def _on_selection(self) -> None:
        run = self.current()
        for widget in (self.note, self.forget, self.new):
            widget.setEnabled(run is not None)
        self.note.setText("" if run is None else run.note)
        self.set_remarks(())
        self.chosen.emit()

    def _on_note(self) -> None:
        self._write_note(self.note.text())

    def _on_edited(self, item: QTreeWidgetItem, column: int) -> None:
        if column == _NOTE and item.isSelected():
            self.note.setText(item.text(_NOTE))
            self._write_note(item.text(_NOTE))

    def _write_note(self, text: str) -> None:
        run = self.current()
        if run is None or text.strip() == run.note:
            return
        try:
            Run.open(run.path).note = text
        except (InputError, OSError) as error:
            self.details.setVisible(True)
            self.details.setText(f"The note could not be written: {error}")
            return
        self.refresh()

    def _on_forget(self) -> None:
        run = self.current()
        if run is not None:
            self.index.registry.forget(run.path)
            self.table.clearSelection()
            self._show(tuple(other for other in self.runs if other.path != run.path))


class _Table(QTreeWidget):
    """The rows; a run's folder is the data of its first column."""

    def __init__(self) -> None:
        super().__init__()
        self.setColumnCount(len(_COLUMNS))
        self.setHeaderLabels(_COLUMNS)
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setAlternatingRowColors(True)
        # Names of runs differ at their end, so the beginning is cut off.
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setStyleSheet("QTreeView::item { padding: 2px 0; }")
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setAccessibleName("Runs")
        self.setToolTip("Select a run to see how it went, and to go on with it or watch it")
        header = self.header()
        assert header is not None
        header.setStretchLastSection(True)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        header.setMinimumSectionSize(30)
        for column, width in enumerate((128, 104, 46)):
            self.setColumnWidth(column, width)

    def sizeHint(self) -> QSize:
        """Room for five runs."""
        return QSize(280, 6 * (self.fontMetrics().height() + 7))

    def fill(self, runs: Sequence[RunSummary], selected: RunSummary | None) -> None:
        """Show these runs; rows that are there already are changed in place."""
        root = self.invisibleRootItem()
        assert root is not None
        while root.childCount() > len(runs):
            root.removeChild(root.child(root.childCount() - 1))
        while root.childCount() < len(runs):
            new = QTreeWidgetItem(root)
            new.setFlags(new.flags() | Qt.ItemFlag.ItemIsEditable)
        for row, run in enumerate(runs):
            item = root.child(row)
            assert item is not None
            item.setData(0, Qt.ItemDataRole.UserRole, run.path)
            made = datetime.fromtimestamp(run.created)
            recent = made.date() == datetime.now().date()
            texts = (run.name, run.state_words, f"{made:%H:%M}" if recent else f"{made:%d %b}")
            for column, text in enumerate((*texts, run.note.replace("\n", " "))):
                if item.text(column) != text:
                    item.setText(column, text)
            tip = (
                f"{run.path}\n{' → '.join(run.conditions[:2])} · {', '.join(run.channels)}\n"
                f"{run.state_words}; made {made:%d %B %Y, %H:%M}"
            )
            for column in range(len(_COLUMNS)):
                item.setToolTip(column, f"{tip}\n{run.note}".strip())
            item.setSelected(selected is not None and run.path == selected.path)

    def edit(self, index, trigger, event) -> bool:  # type: ignore[no-untyped-def, override]
        """Edit notes alone."""
        return index.column() == _NOTE and bool(super().edit(index, trigger, event))
