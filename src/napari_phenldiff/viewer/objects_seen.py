"""Objects are seen with their images: outlines over the image of somebody else would mislead.

A layer of objects goes when its images are hidden or covered, and comes back with them. What the
user shows or hides meanwhile stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

from napari_phenldiff.viewer.seen import layers_seen
from napari_phenldiff.viewer.side_by_side import side_by_side

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

_CHANGES = ("visible", "inserted", "removed", "reordered", "opacity", "blending", "data")


class ObjectsSeen:
    """The layers of objects in a viewer that are shown and hidden with their images.

    Use `objects_seen`, which gives the same one for the same viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self._images: WeakKeyDictionary[Labels, WeakSet[Layer]] = WeakKeyDictionary()
        self._seen: WeakKeyDictionary[Labels, bool] = WeakKeyDictionary()
        self._put_away: WeakSet[Labels] = WeakSet()
        self._at_work = False
        viewer.layers.events.connect(self._on_layers)
        for event in (viewer.dims.events.point, viewer.dims.events.order):
            event.connect(self._on_change)
        side_by_side(viewer).switched.connect(self._on_change)

    def follow(self, images: Mapping[Labels, Iterable[Layer]]) -> None:
        """Show and hide layers of objects with the layers of their images, from now on."""
        for layer, belongs_to in images.items():
            self._images[layer] = WeakSet(belongs_to)
            self._seen[layer] = True  # until it is found that they are not
        self._on_change()

    def is_wanted(self, layer: Any) -> bool:
        """Tell whether objects are shown, or would be if their images were."""
        return bool(layer.visible) or layer in self._put_away

    def _on_layers(self, event: Any) -> None:
        if event.type in _CHANGES:
            self._on_change()

    def _on_change(self, event: object = None) -> None:
        viewer = self._viewer()
        if viewer is None or self._at_work or not self._images:
            return
        if side_by_side(viewer).decides:
            return
        followed = [layer for layer in viewer.layers if layer in self._images]
        if not followed:
            return
        seen = set(layers_seen(viewer))
        self._at_work = True
        try:
            for layer in followed:
                self._show(layer, not seen.isdisjoint(self._images[layer]))
        finally:
            self._at_work = False

    def _show(self, layer: Labels, seen: bool) -> None:
        """Act when it changes whether the images are seen: what the user does between stays."""
        if seen == self._seen[layer]:
            return
        self._seen[layer] = seen
        if seen and layer in self._put_away:
            layer.visible = True
        elif not seen and layer.visible:
            layer.visible = False
            self._put_away.add(layer)
            return
        self._put_away.discard(layer)


_OF: WeakKeyDictionary[Any, ObjectsSeen] = WeakKeyDictionary()


def objects_seen(viewer: ViewerModel) -> ObjectsSeen:
    """Return what shows and hides the objects of a viewer, which outlives every widget."""
    if viewer not in _OF:
        _OF[viewer] = ObjectsSeen(viewer)
    return _OF[viewer]
