"""Small icons on buttons, shipped with the package and drawn in the colour of the theme."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QByteArray, QObject, QSize, Qt
from qtpy.QtGui import QIcon, QPainter, QPixmap
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import QAbstractButton

from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.theme import theme_color

if TYPE_CHECKING:
    from napari.viewer import Viewer

_SIZE = 16
_SHARPNESS = 3
"""Pixels drawn per pixel shown, for screens that have them."""


def set_icon(button: QAbstractButton, name: str, viewer: Viewer) -> None:
    """Give a button an icon, drawn in the theme's colour of text now.

    Parameters
    ----------
    button : QAbstractButton
        The button. Its text stays: an icon alone explains nothing.
    name : str
        Name of a file in ``widgets/icons``, without ``.svg``.
    viewer : napari.viewer.Viewer
        Whose theme it is. Call again when it has changed, or use `keep_icon`.
    """
    button.setIcon(_drawn(name, theme_color(viewer, "text").name()))
    button.setIconSize(QSize(_SIZE, _SIZE))


def keep_icon(button: QAbstractButton, name: str, viewer: Viewer) -> None:
    """Give a button an icon that follows the theme, as long as both live."""
    _Keeper(button, name, viewer)


class _Keeper(QObject):
    """A child of the button: it goes with it, and the viewer holds its method weakly."""

    def __init__(self, button: QAbstractButton, name: str, viewer: Viewer) -> None:
        super().__init__(button)
        self._button, self._name, self._viewer = button, name, viewer
        listen(self, viewer.events.theme, self._follow)
        self._follow()

    def _follow(self, event: object = None) -> None:
        if isalive(self._button):
            set_icon(self._button, self._name, self._viewer)


@cache
def _drawn(name: str, color: str) -> QIcon:
    source = files("napari_phenldiff.widgets").joinpath("icons", f"{name}.svg")
    svg = source.read_text(encoding="utf-8").replace("#000", color)
    icon = QIcon()
    # Qt's own way to gray an icon leaves a white one white.
    for mode, opacity in ((QIcon.Mode.Normal, 1.0), (QIcon.Mode.Disabled, 0.35)):
        pixmap = QPixmap(_SIZE * _SHARPNESS, _SIZE * _SHARPNESS)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        painter.setOpacity(opacity)
        QSvgRenderer(QByteArray(svg.encode())).render(painter)
        painter.end()
        icon.addPixmap(pixmap, mode)
    return icon
