"""How a job tells what happens, and how it is asked to stop."""

from __future__ import annotations

from collections.abc import Callable

from napari_phenldiff.runs.events import Event

OnEvent = Callable[[Event], None]
ShouldStop = Callable[[], bool]


def ignore(event: Event) -> None:
    """Take no notice of what happens."""


def never() -> bool:
    """Do not ask for an end."""
    return False
