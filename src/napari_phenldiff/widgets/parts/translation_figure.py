"""The window with a figure of a translation, and what can be chosen about it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QLabel, QSpinBox, QWidget

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.drawing import load_matplotlib
from napari_phenldiff.viewer.side_by_side import chosen_translation
from napari_phenldiff.viewer.translation_figure import TranslationFigure
from napari_phenldiff.widgets.parts.figure_page import FORMATS, words_of
from napari_phenldiff.widgets.parts.figure_window import FigureWindow

if TYPE_CHECKING:
    from napari.viewer import Viewer

_log = logging.getLogger(__name__)
_MOST_IMAGES = 12


class TranslationFigureWindow(FigureWindow):
    """Shows a translation as a figure: a row per image, from real to real target.

    Parameters
    ----------
    parent : QWidget
        The dock.
    viewer : napari.viewer.Viewer
        Whose layers are shown.
    """

    def __init__(self, parent: QWidget, viewer: Viewer) -> None:
        formats = {name: what for name, what in FORMATS.items() if name != "CSV"}
        super().__init__(parent, "translation", self._drawn, self._saved, formats)
        self.setWindowTitle("Figure of the translation")
        self._viewer = viewer
        self._what: TranslationFigure | str = ""
        self.images = QSpinBox()
        self.images.setRange(1, _MOST_IMAGES)
        self.images.setValue(3)
        self.images.setToolTip("How many images, from the one that the slider shows")
        self.images.setAccessibleName("Images")
        self.single = QCheckBox("Single channels")
        self.single.setToolTip("Show the channels one by one below their overlay")
        hint = QLabel("Rectangles in a Shapes layer are shown larger.")
        for widget in (QLabel("Images"), self.images, self.single, hint):
            self.options.addWidget(widget)
        self.images.valueChanged.connect(self.take)
        self.single.toggled.connect(self.take)
        self.keeps_height = True
        self.take()

    def take(self, _: object = None) -> None:
        """Take what is shown from the layers, and draw it."""
        translation = chosen_translation(self._viewer)
        try:
            if translation is None:
                raise InputError("There is no translation; translate images first.")
            self._what = TranslationFigure.of(
                self._viewer,
                translation,
                images=self.images.value(),
                single_channels=self.single.isChecked(),
            )
        except InputError as error:
            self._what = str(error)
        self.draw()

    def _drawn(self) -> object:
        what = self._what
        if isinstance(what, str):
            return what
        try:
            load_matplotlib()
            return what.draw()
        except InputError as error:
            return str(error)
        except Exception as error:
            _log.exception("the figure could not be drawn")
            return f"The figure could not be drawn: {type(error).__name__}: {error}"

    def _saved(self, path: Path) -> str:
        what = self._what
        if isinstance(what, str):
            return what
        return words_of(lambda: f"Saved as {what.save(path)}", path)
