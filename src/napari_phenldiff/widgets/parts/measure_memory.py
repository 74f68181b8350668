"""What is filled in for a measurement, per viewer, kept while the dock is closed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary


@dataclass(slots=True)
class MeasureMemory:
    """What a dock that is opened again starts from.

    Attributes
    ----------
    profile : str or None
        Name of the profile that was chosen; None as long as it is only proposed.
    settings : dict
        By the name of the profile, what was filled in for it.
    thresholds : dict
        By the name of the profile, thresholds that came with settings from a file.
    choices : dict
        What was chosen as source, target and translation, as it was shown.
    preview : bool
        Whether the objects of the current image are to be shown.
    ended : bool
        Whether the preview waits for a change, since the images have been measured.
    """

    profile: str | None = None
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    thresholds: dict[str, Mapping[str, float]] = field(default_factory=dict)
    choices: dict[str, str] = field(default_factory=dict)
    preview: bool = True
    ended: bool = False


_MEMORIES: WeakKeyDictionary[Any, MeasureMemory] = WeakKeyDictionary()


def measure_memory(viewer: Any) -> MeasureMemory:
    """Return what is remembered for a viewer; the same object every time."""
    return _MEMORIES.setdefault(viewer, MeasureMemory())
