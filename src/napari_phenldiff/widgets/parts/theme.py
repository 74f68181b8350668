"""Colours of the viewer's theme, for what is painted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtGui import QColor

if TYPE_CHECKING:
    from napari.viewer import Viewer


def plain_viewer(viewer: Any) -> Viewer:
    """Return the viewer itself, where napari hands a plugin a proxy of it.

    Jobs and switches are looked up by the viewer they belong to, and proxies come and go.
    """
    return getattr(viewer, "__wrapped__", viewer)


_READABLE = 4.5
"""Least contrast of text with its background (WCAG 2, level AA)."""


def theme_color(viewer: Viewer, name: str) -> QColor:
    """Return a colour of the viewer's theme: ``"text"``, ``"current"``, ``"error"``, ...

    What is written in ``"warning"`` and ``"error"`` can be read in every theme: napari's yellow is
    darkened on a light ground.
    """
    from napari.utils.theme import get_theme

    theme = get_theme(viewer.theme)
    color = QColor(getattr(theme, name).as_hex())
    if name in ("warning", "error"):
        ground = QColor(theme.background.as_hex())
        for _ in range(20):
            if contrast(color, ground) >= _READABLE:
                break
            color = color.lighter(110) if theme.type == "dark" else color.darker(110)
    return color


def contrast(one: QColor, other: QColor) -> float:
    """Return the contrast of two colours, 1 (the same) to 21 (black and white), as in WCAG 2."""
    dark, light = sorted(_luminance(color) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: QColor) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (color.redF(), color.greenF(), color.blueF())
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def is_dark(viewer: Viewer) -> bool:
    """Tell whether the viewer has light text on a dark background."""
    from napari.utils.theme import get_theme

    return get_theme(viewer.theme).type == "dark"
