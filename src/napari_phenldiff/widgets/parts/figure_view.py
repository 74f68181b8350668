"""A matplotlib figure in a dock: drawn in a thread, shown as a picture."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from napari.qt.threading import create_worker
from qtpy.compat import isalive
from qtpy.QtCore import QSize, Qt, QTimer, Signal
from qtpy.QtGui import QImage, QPainter, QPaintEvent, QResizeEvent
from qtpy.QtWidgets import QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_phenldiff.viewer.drawing import DOTS, pixels_of
from napari_phenldiff.widgets.parts.form import note

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)

_HEIGHT = 330
"""In pixels: the same for all figures, so that nothing moves when another one is chosen."""

_PAUSE_MS = 80
"""Milliseconds without another size until the figure is laid out anew."""

_LEAST = 100
"""Pixels of a side; of a smaller view there is no room for axes, or it has not been laid out."""


class FigureView(QWidget):
    """Holds one figure at a time; one that is higher than the view scrolls within it.

    matplotlib takes a tenth of a second to lay out and draw a figure, and a gallery longer: that
    is done in a thread, and again when the view has another size. Meanwhile the picture before is
    stretched.
    """

    painted = Signal()
    """Emitted when the figure is seen at the size of the view."""

    def __init__(self) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._words = note()
        self._words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._picture = _Picture()
        self._picture.resized.connect(self._on_size)
        self._scroll = QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll.setWidget(self._picture)
        self._scroll.setVisible(False)
        layout.addWidget(self._words)
        layout.addWidget(self._scroll, 1)
        self.figure: Figure | None = None
        self._drawing = False
        self._seen: tuple[Figure, QSize] | None = None
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.timeout.connect(self._draw)
        self.setMinimumHeight(_HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

    @property
    def busy(self) -> bool:
        """Whether the figure is not seen yet as it will be."""
        return self._drawing or self._later.isActive()

    def say(self, text: str) -> None:
        """Show a sentence as long as there is no figure."""
        self._words.setText(text)
        self._words.setVisible(self.figure is None)

    def clear(self) -> None:
        """Show no figure."""
        self.figure = None
        self._later.stop()
        self._seen = None
        self._picture.show_pixels(None)
        self._scroll.setVisible(False)

    def show_figure(self, figure: Figure, *, keep_height: bool = False) -> None:
        """Show a figure in place of the one before.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
            Nobody else may change it from now on.
        keep_height : bool
            Whether it has at least the height that it was made with, however low the view is.
        """
        height = int(figure.get_figheight() * DOTS)
        self._words.setVisible(False)
        self.figure = figure
        self._picture.setMinimumSize(1, height if keep_height else 1)
        self._scroll.setVisible(True)
        self._later.start(0)  # when the layout has made room for it

    def _on_size(self) -> None:
        if self.figure is not None:
            self._later.start(_PAUSE_MS)

    def _draw(self) -> None:
        """Draw the figure as large as the view is, one drawing at a time."""
        figure, size, ratio = self.figure, self._picture.size(), self.devicePixelRatioF()
        if figure is None or self._drawing or (figure, size) == self._seen:
            return  # what has changed while it is drawn is seen when that ends
        if min(size.width(), size.height()) < _LEAST:
            return
        self._drawing = True
        wanted = (size.width(), size.height())
        worker = create_worker(lambda: _drawn(figure, wanted, ratio), _start_thread=False)
        worker.returned.connect(lambda pixels: self._show(figure, size, pixels, ratio))
        worker.start()

    def _show(self, figure: Figure, size: QSize, pixels: np.ndarray | str, ratio: float) -> None:
        if not isalive(self):
            return
        self._drawing = False
        if figure is not self.figure:
            self._draw()
        elif isinstance(pixels, str):
            self.clear()
            self.say(pixels)
        else:
            self._picture.show_pixels(pixels, ratio)
            self._seen = (figure, size)
            if size != self._picture.size():
                self._draw()
            else:
                self.painted.emit()


class _Picture(QWidget):
    """Paints pixels, stretched to its size where they were made for another one."""

    resized = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._image: QImage | None = None

    def show_pixels(self, pixels: np.ndarray | None, ratio: float = 1.0) -> None:
        self._image = None
        if pixels is not None:
            height, width, _ = pixels.shape
            kind = QImage.Format.Format_RGBA8888
            # The image does not own what it is made from, and a copy does.
            self._image = QImage(pixels.tobytes(), width, height, 4 * width, kind).copy()
            self._image.setDevicePixelRatio(ratio)
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        painter = QPainter(self)
        if self._image is None:
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "Drawing …")
        else:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(self.rect(), self._image)
        painter.end()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self.resized.emit()


def _drawn(figure: Figure, size: tuple[int, int], ratio: float) -> np.ndarray | str:
    """Draw a figure, or say why it can't be drawn."""
    try:
        return pixels_of(figure, size, ratio)
    except Exception as error:
        _log.exception("the figure could not be drawn")
        return f"The figure could not be drawn: {type(error).__name__}: {error}"
