"""Lists to choose from that keep the choice when what can be chosen changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QComboBox, QListWidget, QListWidgetItem
from superqt.utils import signals_blocked

from napari_phenldiff.images.control_names import suggest_pair

Choices = Sequence[tuple[str, object]]
"""What is shown, and the data that goes with it."""


CHECK_HEIGHT = 20
"""Height of an entry to tick, in pixels."""


def choice_box() -> QComboBox:
    """Return a list that doesn't grow wider with the longest name in it."""
    return keep_narrow(QComboBox())


def keep_narrow(combo: QComboBox) -> QComboBox:
    """Let a list not grow wider with the longest name in it."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    return combo


Key = Callable[[str, object], object]
"""What a choice is known by, from its text and data, as long as it is in the list."""


def _key(text: str, data: object) -> str:
    """Return what a choice is known by: its name, which stays when its number of images changes."""
    return str(getattr(data, "name", text))


def _chosen(combo: QComboBox) -> str:
    return _key(combo.currentText(), combo.currentData())


def fill_choices(combo: QComboBox, choices: Choices, key: Key = _key) -> None:
    """Replace the entries of a list, keeping what is chosen if it is still there.

    It emits ``currentIndexChanged`` only if the choice is another one now.
    """
    before = key(combo.currentText(), combo.currentData())
    keys = [key(text, data) for text, data in choices]
    with signals_blocked(combo):
        combo.clear()
        for text, data in choices:
            combo.addItem(text, data)
        combo.setCurrentIndex(keys.index(before) if before in keys else 0 if keys else -1)
    if key(combo.currentText(), combo.currentData()) != before:
        combo.currentIndexChanged.emit(combo.currentIndex())


def fill_checks(checks: QListWidget, choices: Choices) -> None:
    """Replace the entries of a list to tick, keeping the ticks of those that are still there."""
    ticked = {_key("", data) for data in ticked_choices(checks)}
    with signals_blocked(checks):
        checks.clear()
        for text, data in choices:
            item = QListWidgetItem(text, checks)
            item.setData(Qt.ItemDataRole.UserRole, data)
            item.setSizeHint(QSize(0, CHECK_HEIGHT))
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            on = _key("", data) in ticked
            item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)


def ticked_choices(checks: QListWidget) -> list[Any]:
    """Return the data of the entries that are ticked, in their order."""
    items = (checks.item(row) for row in range(checks.count()))
    return [
        item.data(Qt.ItemDataRole.UserRole)
        for item in items
        if item is not None and item.checkState() == Qt.CheckState.Checked
    ]


def fill_pair(source: QComboBox, target: QComboBox, choices: Choices) -> None:
    """Fill the lists for source and target; a control is suggested as the source.

    The suggestion is made when there is nothing chosen that could be kept. With one condition alone
    there is no target, so that the second one to come is suggested.
    """
    texts = [text for text, _ in choices]
    keys = [_key(text, data) for text, data in choices]
    kept = _chosen(source) in keys and _chosen(target) in keys
    fill_choices(source, choices)
    if len(choices) == 1 and not kept:
        _fill_unchosen(target, choices)
        return
    fill_choices(target, choices)
    pair = suggest_pair(texts)
    if pair is not None and not kept:
        source.setCurrentIndex(pair[0])
        target.setCurrentIndex(pair[1])


def _fill_unchosen(combo: QComboBox, choices: Choices) -> None:
    """Replace the entries of a list, with none of them chosen."""
    before = combo.currentIndex()
    with signals_blocked(combo):
        combo.clear()
        for text, data in choices:
            combo.addItem(text, data)
        combo.setCurrentIndex(-1)
    if before != -1:
        combo.currentIndexChanged.emit(-1)
