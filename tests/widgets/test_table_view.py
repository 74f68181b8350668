from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication

from napari_phenldiff.widgets.parts.table_view import Table


@pytest.fixture
def table(qtbot) -> Table:
    table = Table("One row per thing.")
    qtbot.addWidget(table)
    table.show_table(
        pd.DataFrame(
            {
                "condition": ["b", "a", "b", "a"],
                "n_cells": pd.array([3, 10, None, 2], dtype="Int64"),
                "ratio": [0.12345678, np.nan, 2.0, -1.0],
            }
        )
    )
    table.show()
    return table


def shown(table: Table, column: int) -> list[str]:
    model = table.model()
    return [model.index(row, column).data() for row in range(model.rowCount())]


def test_it_is_sorted_by_value_and_what_is_missing_comes_last(table: Table):
    assert shown(table, 1) == ["3", "10", "–", "2"]
    table.sortByColumn(1, Qt.SortOrder.AscendingOrder)
    assert shown(table, 1) == ["2", "3", "10", "–"]
    table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    assert shown(table, 2) == ["2", "0.1235", "-1", "–"]
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    assert shown(table, 0) == ["a", "a", "b", "b"]


def test_what_is_chosen_stays_chosen(table: Table):
    told: list[int] = []
    table.row_chosen.connect(told.append)
    table.choose(2)
    table.sortByColumn(2, Qt.SortOrder.DescendingOrder)
    assert table.chosen() == [2]
    table.filter("B")
    assert table.chosen() == [2]
    assert shown(table, 2) == ["2", "0.1235"]
    table.filter("a")
    assert table.chosen() == []
    table.filter("")
    assert table.model().rowCount() == 4
    assert told == []
    table.selectRow(1)
    assert told == table.chosen()


def test_chosen_rows_are_copied_with_headings_and_all_digits(qtbot, table: Table):
    table.sortByColumn(0, Qt.SortOrder.AscendingOrder)
    table.selectAll()
    qtbot.keyClick(table, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    clipboard = QGuiApplication.clipboard()
    assert clipboard is not None
    assert clipboard.text() == (
        "condition\tn_cells\tratio\na\t10\t\na\t2\t-1.0\nb\t3\t0.12345678\nb\t\t2.0\n"
    )


def test_a_hundred_thousand_rows_stay_smooth(qtbot):
    rng = np.random.default_rng(0)
    n = 100_000
    rows = pd.DataFrame(rng.random((n, 8)), columns=list("stuvwxyz"))
    rows.insert(0, "image", [f"image_{i // 100:04d}" for i in range(n)])
    table = Table("One row per cell.")
    qtbot.addWidget(table)
    table.show()
    seconds = []
    for act in (
        lambda: table.show_table(rows),
        lambda: table.sortByColumn(3, Qt.SortOrder.AscendingOrder),
        lambda: table.sortByColumn(0, Qt.SortOrder.DescendingOrder),
        lambda: table.filter("image_0012"),
        lambda: table.filter(""),
        lambda: table.choose(77_777),
    ):
        start = time.perf_counter()
        act()
        table.grab()
        seconds.append(time.perf_counter() - start)
    assert table.chosen() == [77_777]
    assert max(seconds) < 1.5, seconds
