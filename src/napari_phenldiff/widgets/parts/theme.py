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


def theme_color(viewer: Viewer, name: str) -> QColor:
    """Return a colour of the viewer's theme: ``"text"``, ``"current"``, ``"error"``, ..."""
    from napari.utils.theme import get_theme

    return QColor(getattr(get_theme(viewer.theme), name).as_hex())


def is_dark(viewer: Viewer) -> bool:
    """Tell whether the viewer has light text on a dark ground."""
    from napari.utils.theme import get_theme

    return get_theme(viewer.theme).type == "dark"
