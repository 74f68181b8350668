"""Settings of a measurement from a file and into one, and the thresholds that came with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_phenldiff.widgets.parts.form import note

_FILES = "Settings (*.json)"


class SettingsFiles(QWidget):
    """Two buttons, a note below them, and a box that keeps thresholds of a file.

    `load_requested` and `save_requested` tell which file the user has chosen; `changed` that he
    wants the thresholds of the file, or doesn't any more.
    """

    load_requested = Signal(Path)
    save_requested = Signal(Path)
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.load = QPushButton("Load settings…")
        self.load.setToolTip(
            "Take profile, settings and thresholds from the JSON file of another measurement"
        )
        self.load.clicked.connect(self._on_load)
        self.save = QPushButton("Save settings…")
        self.save.setToolTip(
            "Write profile, settings and thresholds as JSON, which phenldiff measure --settings "
            "takes as well"
        )
        self.save.clicked.connect(self._on_save)
        self.keep = QCheckBox()
        self.keep.setToolTip(
            "Measure with the thresholds of the file that was loaded, so that results can be "
            "compared; otherwise thresholds are found in these images. Another threshold setting "
            "ends this."
        )
        self.keep.setAccessibleName("Thresholds of the file")
        self.keep.toggled.connect(self.changed)
        self.said = note()
        self._thresholds: Mapping[str, float] = {}
        self._basis: Any = None
        buttons = QHBoxLayout()
        for button in (self.load, self.save):
            # In a narrow dock both shrink alike.
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            buttons.addWidget(button, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.keep)
        layout.addLayout(buttons)
        layout.addWidget(self.said)
        self.keep.setVisible(False)
        self.say("")

    def thresholds(self) -> Mapping[str, float] | None:
        """Return the thresholds of the file, if they are to be used."""
        return self._thresholds if self._thresholds and self.keep.isChecked() else None

    def set_thresholds(self, thresholds: Mapping[str, float] | None, basis: Any) -> None:
        """Offer thresholds; None takes the offer back.

        Parameters
        ----------
        thresholds : mapping of str to float or None
            As `read_settings` returned them.
        basis : object
            What they depend on, as `threshold_basis` returns it.
        """
        self._thresholds, self._basis = thresholds or {}, basis
        words = ", ".join(f"{name} {value:.4g}" for name, value in self._thresholds.items())
        self.keep.setText(f"Thresholds of the file ({words})")
        with signals_blocked(self.keep):
            self.keep.setChecked(bool(thresholds))
        self.keep.setVisible(bool(thresholds))

    def check(self, basis: Any) -> bool:
        """Take the offer back if the thresholds depend on something else now; tell if so."""
        if not self._thresholds or basis == self._basis:
            return False
        self.set_thresholds(None, None)
        return True

    def say(self, text: str) -> None:
        """Say below the buttons how it went."""
        self.said.setText(text)
        self.said.setVisible(bool(text))

    def _on_load(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Load settings", str(Path.home()), _FILES)
        if name:
            self.load_requested.emit(Path(name))

    def _on_save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save settings", str(Path.home() / "phenotype_settings.json"), _FILES
        )
        if name:
            path = Path(name)
            self.save_requested.emit(path if path.suffix else path.with_suffix(".json"))
