"""A pandas table to look at: sorted by a click, filtered, copied, rounded for the eye only.

Sorted and filtered with numpy and not by Qt's proxy, which asks Python for every value it compares:
a table of 100,000 cells would take many seconds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    Qt,
    Signal,
)
from qtpy.QtGui import QAction, QGuiApplication, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

if TYPE_CHECKING:
    import pandas as pd

_DESCENDING = Qt.SortOrder.DescendingOrder
_LOOKED_AT = 60
"""Rows that the widths of the columns are taken from."""


class _Model(QAbstractTableModel):
    """A table of which some rows are shown, in some order."""

    def __init__(self, table: pd.DataFrame | None = None) -> None:
        super().__init__()
        self.names: list[str] = [] if table is None else [str(name) for name in table.columns]
        self._columns: list[np.ndarray] = (
            []
            if table is None
            else [table[name].to_numpy(dtype=object, na_value=None) for name in table.columns]
        )
        self.n_all = 0 if table is None else len(table)
        self._kept = np.arange(self.n_all)
        self._sorted_by: tuple[int, Qt.SortOrder] = (-1, Qt.SortOrder.AscendingOrder)
        self.shown = self._kept

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.shown)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self._columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return _shown(self.value(index.row(), index.column()))
        if role == Qt.ItemDataRole.TextAlignmentRole:
            if isinstance(self.value(index.row(), index.column()), str):
                return None
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if orientation == Qt.Orientation.Horizontal:
            return self.names[section].replace("_", " ")
        return str(section + 1)

    def value(self, row: int, column: int) -> Any:
        """Return what the table holds at a row that is shown."""
        return self._columns[column][self.shown[row]]

    def keep(self, rows: np.ndarray) -> None:
        """Show these rows only."""
        self.beginResetModel()
        self._kept = rows
        self._order()
        self.endResetModel()

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; what is missing comes last. -1 is the order of the table."""
        self.beginResetModel()
        self._sorted_by = column, order
        self._order()
        self.endResetModel()

    def _order(self) -> None:
        column, order = self._sorted_by
        self.shown = self._kept
        if not 0 <= column < len(self._columns) or not self._kept.size:
            return
        values = self._columns[column][self._kept]
        if any(isinstance(value, str) for value in values[:_LOOKED_AT]):
            keys = np.array([value or "" for value in values], dtype=str)
            missing = keys == ""
            ranks = np.unique(keys, return_inverse=True)[1].astype(float)
        else:
            ranks = np.array([_number(value) for value in values])
            missing = np.isnan(ranks)
        ranks = np.where(missing, np.inf, -ranks if order == _DESCENDING else ranks)
        self.shown = self._kept[np.argsort(ranks, kind="stable")]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = _number(value)
    if not math.isfinite(number):
        return "–"
    return f"{int(number):,}" if number.is_integer() else f"{number:.4g}"


def _copied(value: Any) -> str:
    """Return a value for a spreadsheet: all of its digits, nothing for what is missing."""
    if isinstance(value, str):
        return value.replace("\t", " ").replace("\n", " ")
    number = _number(value)
    return "" if math.isnan(number) else str(value)


class Table(QTableView):
    """Read only. `row_chosen` tells the number of the row in the table that was shown.

    Parameters
    ----------
    tooltip : str
        What a row is, and what choosing it does.
    """

    row_chosen = Signal(int)

    def __init__(self, tooltip: str) -> None:
        super().__init__()
        self.setSortingEnabled(True)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setMinimumHeight(160)
        self.setToolTip(f"{tooltip} A click on a heading sorts; Ctrl+C copies the chosen rows.")
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        vertical = self.verticalHeader()
        assert vertical is not None
        vertical.setVisible(False)
        vertical.setDefaultSectionSize(20)
        vertical.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        header = self.horizontalHeader()
        assert header is not None
        header.setResizeContentsPrecision(_LOOKED_AT)
        copy = QAction("Copy rows", self)
        copy.triggered.connect(self.copy_selection)
        self.addAction(copy)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)
        self._words: np.ndarray | None = None
        self._table: pd.DataFrame | None = None
        self._quiet = False
        self._before: list[int] = []
        self._model = _Model()
        # Emitted for the current row too: the viewer may show something else by now.
        self.clicked.connect(self._on_clicked)
        self._set_model(self._model)

    def show_table(self, table: pd.DataFrame) -> None:
        """Show a table, in its own order."""
        self._table, self._words = table, None
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self._set_model(_Model(table))
        header = self.horizontalHeader()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.resizeColumnsToContents()

    def filter(self, text: str) -> None:
        """Show the rows in whose words (not numbers) all words of a text occur."""
        chosen = self.chosen()
        wanted = text.casefold().split()
        rows = np.arange(self._model.n_all)
        if wanted and self._table is not None:
            if self._words is None:
                words = self._table.select_dtypes(["object", "string", "category"])
                lines = [""] * len(rows)
                for name in words.columns:
                    texts = words[name].astype(str)
                    lines = [f"{a} {b}" for a, b in zip(lines, texts, strict=True)]
                self._words = np.array([line.casefold() for line in lines], dtype=object)
            rows = rows[[all(word in line for word in wanted) for line in self._words]]
        self._model.keep(rows)
        self._choose_all(chosen)

    def chosen(self) -> list[int]:
        """Return the chosen rows, as numbers in the table, in the order they are shown in."""
        selection = self.selectionModel()
        if selection is None:
            return []
        rows = sorted(index.row() for index in selection.selectedRows())
        return [int(self._model.shown[row]) for row in rows]

    def choose(self, row: int | None) -> None:
        """Choose a row by its number in the table and scroll to it, without telling of it.

        None chooses no row, and so does a row that the filter hides.
        """
        self._choose_all([] if row is None else [row])

    def copy_selection(self) -> None:
        """Copy the chosen rows with the headings, separated by tabs."""
        selection = self.selectionModel()
        clipboard = QGuiApplication.clipboard()
        if selection is None or clipboard is None or not selection.hasSelection():
            return
        columns = range(self._model.columnCount())
        lines = ["\t".join(self._model.names)]
        for row in sorted(index.row() for index in selection.selectedRows()):
            lines.append("\t".join(_copied(self._model.value(row, c)) for c in columns))
        clipboard.setText("\n".join(lines) + "\n")

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Copy on Ctrl+C; the table's own way copies one value."""
        if event is not None and event.matches(QKeySequence.StandardKey.Copy):
            self.copy_selection()
            event.accept()
        else:
            super().keyPressEvent(event)

    def _set_model(self, model: _Model) -> None:
        # The previous models are deleted only when the view no longer uses them.
        old_model, old_selection = self._model, self.selectionModel()
        self._model = model
        model.setParent(self)
        self.setModel(model)
        if old_selection is not None:
            old_selection.deleteLater()
        if old_model is not model:
            old_model.deleteLater()
        selection = self.selectionModel()
        assert selection is not None
        selection.currentRowChanged.connect(self._on_current)
        # Sorting clears the selection of Qt, so the chosen rows are selected again.
        model.modelAboutToBeReset.connect(self._on_about_to_reset)
        model.modelReset.connect(self._on_reset)

    def _on_about_to_reset(self) -> None:
        self._before = self.chosen()

    def _on_reset(self) -> None:
        self._choose_all(self._before)

    def _choose_all(self, rows: list[int]) -> None:
        selection = self.selectionModel()
        if selection is None:
            return
        last = max(0, self._model.columnCount() - 1)
        ranges = QItemSelection()
        places = np.flatnonzero(np.isin(self._model.shown, rows))
        for place in places:
            ranges.select(self._model.index(int(place), 0), self._model.index(int(place), last))
        self._quiet = True
        try:
            selection.clearSelection()
            if len(places):
                first = self._model.index(int(places[0]), 0)
                flags = QItemSelectionModel.SelectionFlag.NoUpdate
                selection.setCurrentIndex(first, flags)
                selection.select(ranges, QItemSelectionModel.SelectionFlag.ClearAndSelect)
                self.scrollTo(first)
        finally:
            self._quiet = False

    def _on_clicked(self, index: QModelIndex) -> None:
        self.row_chosen.emit(int(self._model.shown[index.row()]))

    def _on_current(self, index: QModelIndex, before: QModelIndex | None = None) -> None:
        if not self._quiet and index.isValid():
            self.row_chosen.emit(int(self._model.shown[index.row()]))
