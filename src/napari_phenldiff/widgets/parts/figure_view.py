"""A matplotlib figure in a dock, loaded only when there is one to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_phenldiff.widgets.parts.form import note

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_HEIGHT = 330
"""In pixels: the same for all figures, so that nothing moves when another one is chosen."""


class FigureView(QWidget):
    """Holds one figure at a time; one that is higher than the view scrolls within it."""

    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._canvas: Any = None
        self._words = note()
        self._words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setVisible(False)
        layout.addWidget(self._words)
        layout.addWidget(self._scroll, 1)
        self.figure: Figure | None = None
        self.setMinimumHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    def say(self, text: str) -> None:
        """Show a sentence as long as there is no figure."""
        self._words.setText(text)
        self._words.setVisible(self._canvas is None)

    def clear(self) -> None:
        """Show no figure."""
        if self._canvas is not None:
            self._scroll.takeWidget()
            self._canvas.deleteLater()
        self._canvas = self.figure = None
        self._scroll.setVisible(False)

    def show_figure(self, figure: Figure, *, keep_height: bool = False) -> None:
        """Show a figure in place of the one before.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
        keep_height : bool
            Whether it has at least the height that it was made with, however low the view is.
        """
        # Importing matplotlib takes a second, so it is imported when the first figure is shown.
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg

        height = int(figure.get_figheight() * figure.get_dpi())
        self.clear()
        self._words.setVisible(False)
        self.figure = figure
        self._canvas = FigureCanvasQTAgg(figure)
        self._canvas.setMinimumSize(1, height if keep_height else 1)
        if keep_height:
            # The wheel is for the view that scrolls, and not for the figure.
            self._canvas.wheelEvent = lambda event: event.ignore()
        self._scroll.setWidget(self._canvas)
        self._scroll.setVisible(True)
