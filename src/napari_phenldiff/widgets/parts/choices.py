"""Lists to choose from that keep the choice when what can be chosen changes."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QComboBox

from napari_phenldiff.viewer.controls import suggest_pair

Choices = Sequence[tuple[str, object]]
"""What is shown, and the data that goes with it."""


def choice_box() -> QComboBox:
    """Return a list that doesn't grow wider with the longest name in it."""
    combo = QComboBox()
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    return combo


def fill_choices(combo: QComboBox, choices: Choices) -> None:
    """Replace the entries of a list, keeping what is chosen if it is still there.

    It emits ``currentIndexChanged`` only if the choice is another one now.
    """
    before = combo.currentText()
    combo.blockSignals(True)
    combo.clear()
    for text, data in choices:
        combo.addItem(text, data)
    combo.setCurrentIndex(max(combo.findText(before), 0) if choices else -1)
    combo.blockSignals(False)
    if combo.currentText() != before:
        combo.currentIndexChanged.emit(combo.currentIndex())


def fill_pair(source: QComboBox, target: QComboBox, choices: Choices) -> None:
    """Fill the lists for source and target; a control is suggested as the source.

    The suggestion is made when there is nothing chosen that could be kept.
    """
    texts = [text for text, _ in choices]
    kept = source.currentText() in texts and target.currentText() in texts
    for combo in (source, target):
        fill_choices(combo, choices)
    pair = suggest_pair(texts)
    if pair is not None and not kept:
        source.setCurrentIndex(pair[0])
        target.setCurrentIndex(pair[1])
