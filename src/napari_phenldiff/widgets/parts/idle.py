"""Work that waits for a turn of the event loop, so that the window answers in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QTimer

from napari_phenldiff.viewer.turns import Later

_PAUSE_MS = 30
"""Pause between two layers that are added, in which the window reacts to the user."""


def when_idle(work: Callable[[], None]) -> None:
    """Do some work later, with at least one turn of the event loop before it.

    A timer that has run out while the canvas was being drawn fires at once after that; the second
    one begins to run only then.
    """
    QTimer.singleShot(_PAUSE_MS, lambda: QTimer.singleShot(_PAUSE_MS, work))


def later_in(viewer: Any) -> Later | None:
    """Return how layers are added to a viewer: one at a time where there is a window to block."""
    return when_idle if getattr(viewer, "window", None) is not None else None
