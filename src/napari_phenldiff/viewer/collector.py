"""Keep Python's garbage collector from passing over all that a window holds while it is at work.

A pass over what napari holds takes a tenth of a second or two, in whichever thread it falls due,
and all others wait for it.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Collector:
    """Who wants the collector to wait, counted over all threads; the last one lets it go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting_for = 0
        self._was_on = False

    def pause(self) -> None:
        """Make no pass until `resume` was called as often."""
        with self._lock:
            if not self._waiting_for:
                self._was_on = gc.isenabled()
                gc.disable()
            self._waiting_for += 1

    def resume(self) -> None:
        """Take one `pause` back."""
        with self._lock:
            self._waiting_for -= 1
            if not self._waiting_for and self._was_on:
                gc.enable()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Make no pass within a block, such as a large import."""
        self.pause()
        try:
            yield
        finally:
            self.resume()


collector = Collector()
"""The collector of this process."""


@contextmanager
def nothing_to_look_at() -> Iterator[None]:
    """Make passes that are asked for within a block short: all that is there now is passed over."""
    ours = not gc.get_freeze_count()
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
