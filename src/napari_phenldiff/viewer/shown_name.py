"""The name of the image that a viewer shows, in a corner of its canvas.

It is napari's own text: its size, colour and corner are set in the menu of the canvas, and a text
that somebody else has put there stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from napari_phenldiff.images.layer_axes import LayerAxes
from napari_phenldiff.images.layer_metadata import entry_in
from napari_phenldiff.viewer.geometry import Geometry
from napari_phenldiff.viewer.image_places import Lot
from napari_phenldiff.viewer.seen import layers_seen

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_MOST = 3
"""Images that are named; of more at once, how many there are."""

_CHANGES = ("inserted", "removed", "reordered", "visible", "opacity", "blending", "data")


class _Corner:
    """What is written into the canvas of a viewer: names, and before them words about what is seen.

    Attributes
    ----------
    tells : bool
        Whether names are written.
    words : str
        What is said before them.
    written : str
        What was written last: another text is somebody else's.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self.tells = False
        self.words = ""
        self.written = ""
        self._started = False
        self._before = (False, False)
        viewer.layers.events.connect(self._on_layers)
        grid, dims = viewer.canvas.grid.events, viewer.dims.events
        for event in (dims.point, dims.order, grid.enabled):
            event.connect(self._on_change)

    def say(self, words: str) -> None:
        """Write words, whatever is there; with none, bring back what was there before them."""
        viewer = self._viewer()
        if viewer is None or words == self.words == "":
            return
        text = viewer.canvas.overlays.text
        if words:
            if not self.words:
                self._before = (text.visible, text.box)
            self.words, self.written = words, text.text
            self.write()
            # The images may be dark where the theme is light.
            text.visible = text.box = True
        elif text.text == self.written:
            self.words = ""
            self.write()
            text.visible, text.box = self._before
        else:
            self.words = ""

    def write(self) -> None:
        """Write what is to be said now, unless somebody else has written something."""
        viewer = self._viewer()
        if viewer is None:
            return
        text = viewer.canvas.overlays.text
        if text.text != self.written:
            return
        names = names_shown(viewer) if self.tells else ()
        told = " | ".join(names) if len(names) <= _MOST else f"{len(names)} images"
        told = " · ".join(part for part in (self.words, told) if part)
        if told == self.written:
            return
        self.written = text.text = told
        if self.tells and not self._started:
            # Only once: who hides it does not want it.
            self._started = True
            text.box = True  # legible on any image, in any theme
            text.visible = True

    def _on_layers(self, event: Any) -> None:
        if event.type in _CHANGES:
            self._on_change()

    def _on_change(self, event: object = None) -> None:
        if self.tells:
            self.write()


_CORNERS: WeakKeyDictionary[Any, _Corner] = WeakKeyDictionary()


def _corner(viewer: ViewerModel) -> _Corner:
    if viewer not in _CORNERS:
        _CORNERS[viewer] = _Corner(viewer)
    return _CORNERS[viewer]


def tell_names(viewer: ViewerModel) -> None:
    """Write the name of what is shown into the canvas of a viewer, from now on."""
    corner = _corner(viewer)
    if not corner.tells:
        corner.tells = True
        corner.write()


def say(viewer: ViewerModel, words: str) -> None:
    """Write words into the canvas, before the name of what is shown; empty to take them away."""
    _corner(viewer).say(words)


def names_shown(viewer: ViewerModel) -> tuple[str, ...]:
    """Return the names of the images of this plugin that are seen, each once.

    Of several, what each of them is comes before its name: "untreated a1", "→ treated a1".
    """
    found: dict[tuple[Any, ...], tuple[str, str | None]] = {}
    for layer in reversed(layers_seen(viewer)):
        entry = entry_in(layer.metadata)
        if entry is None or entry.get("role") == "preview":
            # A preview is called after a step, and beside the image whose name is told.
            continue
        # The channels of an image lie in layers of their own.
        key = (entry.get("condition"), entry.get("role"), entry.get("part"), layer.data.shape)
        if key not in found:
            name = _name(viewer, layer, entry.get("images", ()))
            found[key] = (_kind(entry), name)
    kinds: dict[str, str] = {}
    for kind, name in found.values():
        if name is not None:
            kinds.setdefault(name, kind)
    if len(kinds) < 2:
        return tuple(kinds)
    return tuple(f"{kind} {name}".strip() for name, kind in kinds.items())


def _kind(entry: dict[str, Any]) -> str:
    """Say what images are: those of a condition, or what was made of them."""
    role, condition = entry.get("role", "real"), str(entry.get("condition") or "")
    if role == "translated":
        return f"→ {condition}"
    return condition if role in ("real", "original") else str(role)


def _name(viewer: ViewerModel, layer: Layer, names: Any) -> str | None:
    axes = LayerAxes.of(layer)
    if axes is None:
        return None
    place = Lot((), axes, Geometry.of(layer)).place_shown(viewer)
    return str(names[place]) if place is not None and place < len(names) else None
