from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtGui import QColor, QImage
from qtpy.QtWidgets import QPushButton

from napari_phenldiff.widgets.parts.icons import keep_icon
from napari_phenldiff.widgets.parts.theme import contrast, theme_color

NAMES = sorted(
    path.name.removesuffix(".svg")
    for path in files("napari_phenldiff.widgets").joinpath("icons").iterdir()
)


def inked(button: QPushButton) -> np.ndarray:
    """Return the colours (N, 3) of the pixels of an icon that are drawn full."""
    image = button.icon().pixmap(48, 48).toImage().convertToFormat(QImage.Format.Format_RGBA8888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    pixels = np.frombuffer(bits, np.uint8).reshape(-1, 4)
    return pixels[pixels[:, 3] == 255, :3]


@pytest.mark.parametrize("name", NAMES)
def test_an_icon_is_drawn_and_follows_the_theme(qtbot, name: str):
    viewer = ViewerModel()
    button = QPushButton("Text stays")
    qtbot.addWidget(button)

    viewer.theme = "dark"
    keep_icon(button, name, viewer)
    dark = inked(button)
    viewer.theme = "light"
    light = inked(button)

    assert len(dark) > 20
    assert dark.mean() > 200  # light strokes on the dark theme
    assert light.mean() < 100


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("name", ["text", "warning", "error"])
def test_what_is_written_can_be_read(theme: str, name: str):
    viewer = ViewerModel()
    viewer.theme = theme

    assert contrast(theme_color(viewer, name), theme_color(viewer, "background")) >= 4.5


def test_contrast_is_that_of_the_standard():
    assert contrast(QColor("black"), QColor("white")) == pytest.approx(21)
    assert contrast(QColor("#777777"), QColor("white")) == pytest.approx(4.48, abs=0.01)
