"""What is counted: the wells that were found, each image, or what a pattern finds."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QLineEdit
from superqt.utils import signals_blocked

from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.images.wells import EACH_IMAGE
from napari_phenldiff.viewer.wells_found import Images, wells_in_words
from napari_phenldiff.widgets.parts.choices import keep_narrow
from napari_phenldiff.widgets.parts.form import Form, note
from napari_phenldiff.widgets.parts.setting_rows import SettingRows

_FOUND, _EACH, _PATTERN = "as names or the table tell", "each image", "by a pattern"


class WellsChoice(QObject):
    """Rows for what is counted, and a line that says what that is of the chosen images.

    Parameters
    ----------
    form : Form
        Gets the rows.
    rows : SettingRows, optional
        Of `EvaluationConfig`, which describes the setting.
    """

    changed = Signal()

    def __init__(self, form: Form, rows: SettingRows | None = None) -> None:
        super().__init__(form)
        self._form = form
        self._images: dict[str, dict[str, str | None]] = {}
        self.kind = keep_narrow(QComboBox())
        self.kind.addItems([_FOUND, _EACH, _PATTERN])
        self.pattern = QLineEdit()
        self.pattern.setPlaceholderText("^[A-H][0-9]+")
        self.words = note()
        rows = rows or SettingRows(EvaluationConfig, form)
        rows.add_own(form, "wells", self.kind)
        form.row(
            "Pattern of wells",
            self.pattern,
            "Regular expression that is looked for in the name of each image: its groups, or all "
            "of it if it has none, name the well.",
        )
        form.wide(self.words)
        self.kind.currentIndexChanged.connect(self._on_change)
        self.pattern.textChanged.connect(self._on_change)
        self._show()

    def value(self) -> str | None:
        """Return what is chosen, as `EvaluationConfig.wells` has it."""
        kind = self.kind.currentText()
        if kind == _EACH:
            return EACH_IMAGE
        return self.pattern.text().strip() or None if kind == _PATTERN else None

    def setText(self, text: str) -> None:
        """Choose what a text means: nothing, ``"image"`` or a pattern."""
        if text == (self.value() or ""):
            return
        kind = _EACH if text == EACH_IMAGE else _PATTERN if text else _FOUND
        with signals_blocked(self.kind), signals_blocked(self.pattern):
            self.kind.setCurrentText(kind)
            self.pattern.setText(text if kind == _PATTERN else "")
        self._on_change()

    def show_images(self, conditions: Mapping[str, Images]) -> None:
        """Say what is counted of these images."""
        images = {name: dict(group) for name, group in conditions.items()}
        if images != self._images:
            self._images = images
            self._show()

    def _on_change(self) -> None:
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        self._form.show_row(self.pattern, self.kind.currentText() == _PATTERN)
        text = wells_in_words(self._images, self.value())
        self.words.setText(text)
        self.words.setVisible(bool(text))
