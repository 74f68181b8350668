"""Listen to napari's models for as long as a widget lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import finalize, ref

from qtpy.QtCore import QObject


def listen(owner: QObject, emitter: Any, method: Callable[..., Any]) -> None:
    """Connect a method of a Qt object, and disconnect it when the object is gone.

    napari holds methods weakly, but forgets those of objects that are gone only when it next has
    something to tell: the theme changes once a year, and a dock is opened a hundred times till
    then.

    Listening again to what is listened to has no effect.

    Parameters
    ----------
    owner : QObject
        The object with the method.
    emitter : napari.utils.events.EventEmitter
        For example ``viewer.events.theme``.
    method : callable
        A method of `owner`. It may still be called while Qt takes the object apart, so it asks
        `isalive` first.
    """
    # As napari knows it, and without holding the object: it may have gone by then.
    known_as = (ref(owner), method.__name__)
    if known_as in emitter.callbacks:
        return
    emitter.connect(method)
    # Not by `destroyed`: a function that Qt calls at that time may be taken apart in the middle.
    finalize(owner, emitter.disconnect, known_as).atexit = False
