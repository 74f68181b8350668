"""A pandas table to look at: sorted by a click, copied, rounded for the eye only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSortFilterProxyModel, Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

if TYPE_CHECKING:
    import pandas as pd

_SORT_ROLE = int(Qt.ItemDataRole.UserRole)


class _Model(QAbstractTableModel):
    def __init__(self, table: pd.DataFrame) -> None:
        super().__init__()
        self.table = table

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.table)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        return 0 if parent is not None and parent.isValid() else len(self.table.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        value = self.table.iat[index.row(), index.column()]
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return _shown(value)
        if role == _SORT_ROLE:
            return value if isinstance(value, str) else _sortable(value)
        if role == Qt.ItemDataRole.TextAlignmentRole and not isinstance(value, str):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        if orientation == Qt.Orientation.Horizontal:
            return str(self.table.columns[section]).replace("_", " ")
        return str(section + 1)


def _sortable(value: Any) -> float:
    """Return a number to sort by; what is missing comes first."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return -math.inf
    return -math.inf if math.isnan(number) else number


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    number = _sortable(value)
    if math.isinf(number):
        return "–"
    return f"{int(number):,}" if float(number).is_integer() else f"{number:.4g}"


class Table(QTableView):
    """Read only. `row_chosen` tells the number of the row in the table that was shown."""

    row_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.setSortingEnabled(True)
        self.setAlternatingRowColors(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setMinimumHeight(160)
        self.setToolTip("One row per image. Click a row to see the image, a heading to sort.")
        vertical = self.verticalHeader()
        assert vertical is not None
        vertical.setVisible(False)
        vertical.setDefaultSectionSize(20)
        self._proxy = QSortFilterProxyModel(self)
        self._proxy.setSortRole(_SORT_ROLE)
        self.setModel(self._proxy)
        self.clicked.connect(self._on_clicked)

    def show_table(self, table: pd.DataFrame) -> None:
        """Show a table, in its own order."""
        self._model = _Model(table)
        self._proxy.setSourceModel(self._model)
        self.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        header = self.horizontalHeader()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.resizeColumnsToContents()

    def _on_clicked(self, index: QModelIndex) -> None:
        self.row_chosen.emit(self._proxy.mapToSource(index).row())
