"""A matplotlib figure in a dock, loaded only when there is one to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_phenldiff.widgets.parts.form import note

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_LEAST_HEIGHT = 260
"""In pixels."""


class FigureView(QWidget):
    """Holds one figure at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._canvas: Any = None
        self._words = note()
        self._words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._layout.addWidget(self._words)
        self.figure: Figure | None = None
        self.setMinimumHeight(_LEAST_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def say(self, text: str) -> None:
        """Show a sentence as long as there is no figure."""
        self._words.setText(text)
        self._words.setVisible(self._canvas is None)

    def clear(self) -> None:
        """Show no figure."""
        if self._canvas is not None:
            self._layout.removeWidget(self._canvas)
            self._canvas.deleteLater()
        self._canvas = self.figure = None
        self.setMinimumHeight(_LEAST_HEIGHT)

    def show_figure(self, figure: Figure, *, keep_height: bool = False) -> None:
        """Show a figure in place of the one before.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
        keep_height : bool
            Whether it has at least the height that it was made with, however low the dock is.
        """
        # Importing matplotlib takes a second, so it is imported when the first figure is shown.
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg

        height = int(figure.get_figheight() * figure.get_dpi())
        self.clear()
        if keep_height:
            self.setMinimumHeight(max(_LEAST_HEIGHT, height))
        self._words.setVisible(False)
        self.figure = figure
        self._canvas = FigureCanvasQTAgg(figure)
        self._canvas.setMinimumSize(1, 1)
        self._layout.addWidget(self._canvas)
