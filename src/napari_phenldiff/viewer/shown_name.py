"""The name of the image that a viewer shows, in a corner of its canvas.

It is napari's own text: its size, colour and corner are set in the menu of the canvas, and a text
that somebody else has put there stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

from napari_phenldiff.images.layer_axes import LayerAxes
from napari_phenldiff.images.layer_metadata import entry_in
from napari_phenldiff.viewer.geometry import Geometry
from napari_phenldiff.viewer.image_places import Lot
from napari_phenldiff.viewer.layer_groups import is_plain_image

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_WRITTEN: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""By the viewers whose names are told, what was written last."""

_STARTED: WeakSet[Any] = WeakSet()
"""Viewers in which a name has been shown."""

_MOST = 3
"""Images that are named; of more at once, how many there are."""


def tell_names(viewer: ViewerModel) -> None:
    """Write the name of what is shown into the canvas of a viewer, from now on."""
    if viewer in _WRITTEN:
        return
    _WRITTEN[viewer] = ""
    watched = ref(viewer)

    def on_change(event: Any = None) -> None:
        there = watched()
        if there is not None:
            _write(there)

    def on_layers(event: Any) -> None:
        if event.type in ("inserted", "removed", "visible"):
            on_change()

    viewer.layers.events.connect(on_layers)
    viewer.dims.events.point.connect(on_change)
    on_change()


def names_shown(viewer: ViewerModel) -> tuple[str, ...]:
    """Return the names of the images that visible layers of this plugin show, each once."""
    found: dict[tuple[Any, ...], str | None] = {}
    for layer in viewer.layers:
        entry = entry_in(layer.metadata)
        if not layer.visible or entry is None or not is_plain_image(layer):
            continue
        if entry.get("role") == "preview":
            continue  # called after a step, and beside the image whose name is told
        # The channels of an image lie in layers of their own.
        key = (entry.get("condition"), entry.get("role"), entry.get("part"), layer.data.shape)
        if key not in found:
            found[key] = _name(viewer, layer, entry.get("images", ()))
    return tuple(dict.fromkeys(name for name in found.values() if name is not None))


def _name(viewer: ViewerModel, layer: Layer, names: Any) -> str | None:
    axes = LayerAxes.of(layer)
    if axes is None:
        return None
    place = Lot((), axes, Geometry.of(layer)).place_shown(viewer)
    return str(names[place]) if place is not None and place < len(names) else None


def _write(viewer: ViewerModel) -> None:
    text = viewer.canvas.overlays.text
    before = _WRITTEN[viewer]
    if text.text != before:
        return  # somebody else's
    names = names_shown(viewer)
    told = " | ".join(names) if len(names) <= _MOST else f"{len(names)} images"
    if told == before:
        return
    _WRITTEN[viewer] = told
    text.text = told
    if viewer not in _STARTED:
        # Only once: who hides it does not want it.
        _STARTED.add(viewer)
        text.box = True  # legible on any image, in any theme
        text.visible = True
