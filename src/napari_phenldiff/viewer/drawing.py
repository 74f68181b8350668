"""Figures drawn in threads: one at a time, and as pixels that a window only has to show."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.viewer.collector import collector

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWING = threading.Lock()
"""matplotlib's defaults, which a theme sets for one figure, are those of all threads."""

DOTS = 100.0
"""Dots per inch of figures on a screen with one dot per pixel."""


def load_matplotlib() -> None:
    """Import what draws figures; call it in a thread, before a figure has to be shown.

    The collector waits meanwhile: a pass would be due in the middle of so large an import.
    """
    with collector.paused():
        import matplotlib.backends.backend_agg  # noqa: F401


def pixels_of(figure: Figure, size: tuple[int, int], ratio: float = 1.0) -> np.ndarray:
    """Lay out and draw a figure at a size; it takes a tenth of a second, so do it in a thread.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Its size and resolution are changed.
    size : (int, int)
        Width and height, in pixels of a screen with one dot per pixel.
    ratio : float
        Dots per pixel of the screen that it is for.

    Returns
    -------
    numpy.ndarray
        (Y, X, 4), uint8: red, green, blue and opacity; sides are `ratio` times as long as asked.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    width, height = (max(1, side) for side in size)
    with DRAWING:
        figure.set_dpi(DOTS * ratio)
        figure.set_size_inches(width / DOTS, height / DOTS)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.array(canvas.buffer_rgba())
