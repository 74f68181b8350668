"""What names do not tell of the files of an experiment: rows that are folded in at first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QListWidget
from superqt.utils import signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.spreadsheet import is_table, read_spreadsheet
from napari_phenldiff.widgets.parts.choices import CHECK_HEIGHT, fill_checks, ticked_choices
from napari_phenldiff.widgets.parts.folder_field import FolderField, TableField
from napari_phenldiff.widgets.parts.form import Panel
from napari_phenldiff.widgets.parts.setting_rows import SettingRows

_MOST_ROWS = 4
"""Columns that are seen at once; more of them scroll."""


class ArrangementForm(QObject):
    """Pattern and layout of a folder, columns and root of a table.

    Parameters
    ----------
    panel : Panel
        Gets the fold with the rows.
    """

    changed = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._panel = panel
        self._table: Path | None = None
        self.columns = QListWidget()
        self.layout_table = TableField("none")
        self.root = FolderField("the folder of the table")
        self._form = form = panel.fold("Which images")
        self.rows = rows = SettingRows(Arrangement, panel)
        rows.add_own(form, "condition_columns", self.columns)
        rows.add_own(form, "root", self.root)
        rows.add(form, "pattern")
        rows.add_own(form, "layout", self.layout_table)
        self.pattern = rows["pattern"]
        self.columns.itemChanged.connect(self.changed)
        self.root.changed.connect(self.changed)
        self.layout_table.changed.connect(self.changed)
        rows.changed.connect(self.changed)
        self.offer(None)

    def offer(self, where: Path | None) -> None:
        """Show the rows that fit a path: a table has others than a folder; no path has none."""
        table = where if where is not None and is_table(where) and where.is_file() else None
        self._panel.show_fold(self._form, where is not None)
        for field in (self.columns, self.root):
            self._form.show_row(field, table is not None)
        for field in (self.pattern, self.layout_table):
            self._form.show_row(field, table is None)
        if table is not None and table != self._table:
            self._list_columns(table)
        self._table = table

    def arrangement(self) -> Arrangement:
        """Return what is filled in and shown."""
        values: dict[str, Any]
        if self._table is not None:
            values = {
                "condition_columns": tuple(ticked_choices(self.columns)),
                "root": self.root.path(),
            }
        else:
            values = {**self.rows.values(), "layout": self.layout_table.path()}
        return Arrangement.model_validate(values)

    def _list_columns(self, table: Path) -> None:
        try:
            names = read_spreadsheet(table).columns
        except InputError:  # told when its images are looked for
            names = ()
        with signals_blocked(self.columns):
            self.columns.clear()
            fill_checks(self.columns, [(name, name) for name in names])
        self.columns.setFixedHeight(min(max(len(names), 1), _MOST_ROWS) * CHECK_HEIGHT + 6)
