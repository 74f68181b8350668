"""Flip between the real and the translated image in place, with one key.

The eye finds a change at once where one image takes the place of the other, and misses it where
they lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary, ref

from napari_phenldiff.viewer.layer_groups import LayerInfo, is_plain_image
from napari_phenldiff.viewer.shown_name import say
from napari_phenldiff.viewer.side_by_side import (
    chosen_translation,
    side_by_side,
    translation_panes,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

FLIP_KEY = "W"
"""Under the left hand while the right one is at the mouse, and none of napari's own keys."""


def flip(viewer: ViewerModel) -> str | None:
    """Show the real channels where the translated ones were seen, and the other way round.

    All other images are hidden, so that nothing else is seen to change. What is shown of the
    channels stays: one that the user has hidden is hidden in both.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        The viewer. The translation is that of the selected layers, else the one on top.

    Returns
    -------
    str or None
        What is shown now, ``"real"`` or ``"translated"``; None if there is no translation.
    """
    translation = chosen_translation(viewer)
    if translation is None:
        return None
    side_by_side(viewer).off()
    panes = translation_panes(viewer.layers, translation)
    kinds = {kind_of(pane[0], translation): pane for pane in panes}
    if "translated" not in kinds or "real" not in kinds:
        return None
    shown = "real" if any(layer.visible for layer in kinds["translated"]) else "translated"
    hidden = "translated" if shown == "real" else "real"
    wanted = [layer.visible for layer in kinds[hidden]]
    if not any(wanted):
        wanted = [True] * len(wanted)
    for layer in _others(viewer.layers, [*kinds["real"], *kinds["translated"]]):
        layer.visible = False
    for layer, visible in zip(kinds[shown], wanted, strict=True):
        layer.visible = visible
    for layer in kinds[hidden]:
        layer.visible = False
    info = LayerInfo.of(kinds["translated"][0])
    words = f"real: {info.provenance.get('source', '')}"
    if shown == "translated":
        words = f"translated → {info.provenance.get('target', '')}"
    _Said.of(viewer).say(words, kinds[shown])
    return shown


class _Said:
    """What the canvas says one sees after a flip, until something else is shown or hidden."""

    _ALL: ClassVar[WeakKeyDictionary[Any, _Said]] = WeakKeyDictionary()

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self._seen: list[Layer] = []
        viewer.layers.events.connect(self._on_event)
        viewer.layers.events.removed.connect(self._on_event)
        viewer.layers.events.inserted.connect(self._on_event)

    @classmethod
    def of(cls, viewer: ViewerModel) -> _Said:
        if viewer not in cls._ALL:
            cls._ALL[viewer] = cls(viewer)
        return cls._ALL[viewer]

    def say(self, words: str, seen: list[Layer]) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        self._seen = [layer for layer in seen if layer.visible]
        say(viewer, words)

    def _on_event(self, event: Any) -> None:
        """Take the words away when other images are seen than those that were flipped to."""
        viewer = self._viewer()
        if viewer is None or not self._seen or event.type not in _CHANGES:
            return
        shown = [layer for layer in viewer.layers if is_plain_image(layer) and layer.visible]
        if set(shown) != set(self._seen):
            say(viewer, "")
            self._seen = []


_CHANGES = ("visible", "removed", "inserted")


def kind_of(layer: Layer, translation: str) -> str:
    """Return the role of a layer in a translation; what it was made from is ``"real"``."""
    info = LayerInfo.of(layer)
    made = info.translation == translation and info.role != "original"
    return info.role if made else "real"


def _others(layers: Iterable[Layer], kept: list[Layer]) -> list[Layer]:
    return [layer for layer in layers if is_plain_image(layer) and layer not in kept]


def bind_flip(viewer: ViewerModel) -> None:
    """Let `FLIP_KEY` flip in this viewer, unless the key does something else there."""

    def on_key(viewer: Any) -> None:
        """Flip between real and translated."""
        flip(viewer)

    if not any(str(key) == FLIP_KEY for key in viewer.keymap):
        viewer.bind_key(FLIP_KEY, on_key)
