"""Opening shows an image: the sliders stand where something visible has one.

napari puts the sliders in the middle of the first layer. Where another condition with fewer images
is the one that is visible, there would be nothing to see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet, ref

from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY
from napari_phenldiff.viewer.geometry import Geometry, indices_shown
from napari_phenldiff.viewer.layer_groups import is_plain_image
from napari_phenldiff.viewer.seen import is_at_sliders, lengths_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

_WATCHED: WeakSet[Any] = WeakSet()


def keep_something_shown(viewer: ViewerModel) -> None:
    """Move the sliders of a viewer whenever layers of this plugin are added and none shows."""
    if viewer.layers in _WATCHED:
        return
    _WATCHED.add(viewer.layers)
    watched = ref(viewer)

    def on_added(event: Any) -> None:
        there = watched()
        if there is not None and LAYER_METADATA_KEY in event.value.metadata:
            show_something(there)

    # After napari itself, which is told of the layer by the same event.
    viewer.layers.events.inserted.connect(on_added, position="last")


def show_something(viewer: ViewerModel) -> None:
    """Move the sliders to an image of a visible layer, if they show none of any visible layer."""
    visible = [layer for layer in viewer.layers if layer.visible and is_plain_image(layer)]
    if not visible or any(is_at_sliders(viewer, layer) for layer in visible):
        return
    layer = visible[0]
    geometry, lengths = Geometry.of(layer), lengths_of(layer)
    shown = indices_shown(viewer, geometry)
    axes = [axis for axis, index in enumerate(shown) if index is not None]
    place = [
        index if 0 <= (index := shown[axis] or 0) < lengths[axis] else (lengths[axis] - 1) // 2
        for axis in axes
    ]
    n_axes = viewer.dims.ndim
    for axis, point in zip(axes, geometry.to_points(place, axes, viewer.dims.units), strict=True):
        viewer.dims.set_point(n_axes - len(lengths) + axis, float(point))
