"""Real, reconstructed, translated, difference and real target side by side, with one camera.

napari's grid does it, once the layers lie in the right order, every pane has the same number of
layers, and the stride is that number. Nobody wants to know about strides, so this is one switch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from psygnal import Signal

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.layer_groups import LayerInfo, is_plain_image

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_SPACING = 0.02
"""Gap between the panes, as a part of their size."""

_CAPTION_SIZE = 8.0
"""Size of the captions in points: three panes are narrow."""

_SMALLEST_CAPTION = 5.0
"""Smaller captions could not be read; longer ones than have room in this size are cut."""

_CAPTION_LETTER, _CAPTION_LINE, _CAPTION_PADDING = 0.95, 1.9, 12.0
"""Width of a letter and height of a line in canvas pixels per point, and what is around a line in
canvas pixels: rather too much than too little, since fonts differ."""

_CAPTION_PART = 0.33
"""Part of the height of a pane that its captions may take."""

_CAPTION_GROUND = (0.0, 0.0, 0.0, 0.85)
"""Ground of the captions: colours of channels can be read on black in any theme."""

_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""What red, green and blue add to the luminance (ITU-R BT.709)."""

_LEAST_LUMINANCE = 0.45
"""Of captions: red, blue and magenta are lightened until they can be read on the dark ground."""

_SCALE_OF_COLOURS = {
    "visible": True,
    "position": "bottom_left",  # captions are above, the scale bar is at the right
    "size": (10.0, 95.0),  # for the seven numbers that a scale may have
    "font_size": _CAPTION_SIZE,
    "color": (1.0, 1.0, 1.0, 1.0),
    "box": True,
    "box_color": _CAPTION_GROUND,
}
"""The colour bar of a difference: what its colours mean, in grey values."""


@dataclass(frozen=True, slots=True, eq=False)
class _Before:
    """How the viewer was before the panes were shown."""

    order: tuple[Layer, ...]
    visible: tuple[tuple[Layer, bool], ...]
    overlays: tuple[tuple[Any, dict[str, Any]], ...]
    grid: tuple[int, tuple[int, int], bool, float]
    scale_bar: tuple[bool, bool]
    camera: tuple[Any, float]


class SideBySide:
    """The switch that shows groups of layers in panes next to each other, and takes that back.

    Use `side_by_side`, which gives the same switch for the same viewer at any time. `switched` is
    emitted with the new state, also when the user ends it with napari's own grid button or adds or
    removes a layer, after which the panes would no longer fit.
    """

    switched = Signal(bool)

    def __init__(self, viewer: ViewerModel) -> None:
        # The viewer owns its switch, see `side_by_side`, and must not be kept alive by it.
        self._viewer_ref = ref(viewer)
        self._before: _Before | None = None
        self._switching = False

    @property
    def _viewer(self) -> ViewerModel:
        viewer = self._viewer_ref()
        assert viewer is not None, "only a viewer that exists has a switch to use"
        return viewer

    @property
    def is_on(self) -> bool:
        """Whether the panes are shown."""
        return self._before is not None

    @property
    def decides(self) -> bool:
        """Whether what is visible is no choice of the user: panes are shown, come or go."""
        return self.is_on or self._switching

    def on(self, panes: Sequence[Sequence[Layer]]) -> None:
        """Show one pane per group of layers, row by row, and hide all other layers.

        Parameters
        ----------
        panes : sequence of sequence of napari.layers.Layer
            The layers of each pane, the same channels in the same order in all of them.

        Raises
        ------
        InputError
            If there are fewer than two panes or they differ in their number of layers.
        """
        if len(panes) < 2 or len({len(pane) for pane in panes}) != 1 or not panes[0]:
            raise InputError("Side by side needs two or more groups with the same channels.")
        self.off()
        viewer, shown = self._viewer, [layer for pane in panes for layer in pane]
        grid, bar = viewer.canvas.grid, viewer.canvas.overlays.scale_bar
        shape = _shape_of_grid(viewer, shown[0], len(panes))
        size = _caption_size(viewer, panes, shape)
        changes = [(layer.name_overlay, _caption_of(layer, size)) for layer in shown]
        changes += [(layer.colorbar, _SCALE_OF_COLOURS) for layer in _scales(shown)]
        self._before = _Before(
            order=tuple(viewer.layers),
            visible=tuple((layer, layer.visible) for layer in viewer.layers),
            overlays=tuple((overlay, _values(overlay, new)) for overlay, new in changes),
            grid=(grid.stride, grid.shape, grid.enabled, grid.spacing),
            scale_bar=(bar.gridded, bar.visible),
            camera=(viewer.scene.camera.center, viewer.scene.camera.zoom),
        )
        # A bar that appears while it belongs into each pane is drawn before napari has one for each
        # of them, which fails: it is shown here, where there is one pane, and multiplied below.
        # Without a pixel size it would tell pixels, which says little.
        bar.gridded = False
        bar.visible = bar.visible or _has_unit(shown[0])
        _reorder(viewer, shown)
        for layer in viewer.layers:
            layer.visible = layer in shown
        for overlay, new in changes:
            _set(overlay, new)
        grid.stride = len(panes[0])
        grid.shape = shape
        grid.spacing = _SPACING
        grid.enabled = True
        bar.gridded = bar.visible
        bar.events.visible.connect(self._on_bar)
        viewer.reset_view()
        _look_at_smallest(viewer, shown)
        viewer.layers.events.inserted.connect(self._on_layers_changed)
        viewer.layers.events.removed.connect(self._on_layers_changed)
        grid.events.enabled.connect(self._on_grid_switched)
        self.switched.emit(True)

    def off(self) -> None:
        """Restore what `on` changed; without effect if the panes are not shown."""
        self._restore(reorder=True)

    def _restore(self, *, reorder: bool) -> None:
        if self._before is None:
            return
        self._switching = True
        try:
            self._take_back(reorder=reorder)
        finally:
            self._switching = False
        self.switched.emit(False)

    def _take_back(self, *, reorder: bool) -> None:
        assert self._before is not None
        before, self._before = self._before, None
        viewer = self._viewer
        grid = viewer.canvas.grid
        viewer.layers.events.inserted.disconnect(self._on_layers_changed)
        viewer.layers.events.removed.disconnect(self._on_layers_changed)
        grid.events.enabled.disconnect(self._on_grid_switched)
        bar = viewer.canvas.overlays.scale_bar
        bar.events.visible.disconnect(self._on_bar)
        bar.gridded = False  # before the panes go that it is drawn in
        grid.stride, grid.shape, grid.enabled, grid.spacing = before.grid
        bar.visible = before.scale_bar[1]
        bar.gridded = before.scale_bar[0]
        for overlay, values in before.overlays:
            _set(overlay, values)
        for layer, visible in before.visible:
            layer.visible = visible
        if reorder:
            _reorder(viewer, [layer for layer in before.order if layer in viewer.layers])
        viewer.scene.camera.center, viewer.scene.camera.zoom = before.camera

    def _on_layers_changed(self, event: Any = None) -> None:
        # Layers are not reordered here: code that adds or removes several relies on their order.
        self._restore(reorder=False)

    def _on_bar(self, event: Any = None) -> None:
        # While it is hidden, the panes may change in number without a bar for each of them.
        bar = self._viewer.canvas.overlays.scale_bar
        bar.gridded = bar.visible

    def _on_grid_switched(self, event: Any = None) -> None:
        if not self._viewer.canvas.grid.enabled:
            self.off()


_SWITCHES: WeakKeyDictionary[Any, SideBySide] = WeakKeyDictionary()


def side_by_side(viewer: ViewerModel) -> SideBySide:
    """Return the switch of a viewer, which outlives every widget."""
    if viewer not in _SWITCHES:
        _SWITCHES[viewer] = SideBySide(viewer)
    return _SWITCHES[viewer]


def translation_panes(layers: Iterable[Layer], translation: str) -> list[list[Layer]]:
    """Sort the layers of one translation into real, reconstructed, translated and difference.

    Parameters
    ----------
    layers : iterable of napari layers
        The layers of the viewer.
    translation : str
        Identity of the translation (`LayerInfo.translation`).

    Returns
    -------
    list of list of napari.layers.Image
        A pane each for the real, reconstructed and translated image and the difference of the last
        two, with the channels that all of them still have. A kind of which no layer is left has no
        pane; with no panes to compare, the list is empty.
    """
    layers = [layer for layer in layers if is_plain_image(layer)]
    by_id = {str(layer.unique_id): layer for layer in layers}
    kinds: dict[str, dict[int, Layer]] = {
        kind: {} for kind in ("real", "reconstructed", "translated", "difference")
    }
    for layer in layers:
        info = LayerInfo.of(layer)
        if info.translation == translation:
            kind = "real" if info.role == "original" else info.role
            kinds[kind][info.channel_index] = layer
            if info.real_layer in by_id:
                kinds["real"][info.channel_index] = by_id[info.real_layer]
    present = [channels for channels in kinds.values() if channels]
    if len(present) < 2:
        return []
    common = sorted(set.intersection(*(set(channels) for channels in present)))
    return [[channels[c] for c in common] for channels in present] if common else []


def comparison_panes(layers: Iterable[Layer], translation: str) -> list[list[Layer]]:
    """Return the panes of `translation_panes`, and one with real images of the target condition.

    The last one is there if layers of the target with the same channels are open. They are other
    cells, unless the experiment is simulated: what a translation should look like on the whole.
    """
    layers = list(layers)
    panes = translation_panes(layers, translation)
    if not panes:
        return []
    target = next(
        (
            str(info.provenance.get("target", ""))
            for info in map(LayerInfo.of, panes[-1])
            if info.translation == translation
        ),
        "",
    )
    taken = {id(layer) for pane in panes for layer in pane}
    by_channel: dict[str, Layer] = {}
    for layer in layers:
        info = LayerInfo.of(layer) if is_plain_image(layer) else None
        if info is not None and info.role == "real" and info.condition == target:
            by_channel.setdefault(info.channel, layer)
    wanted = [LayerInfo.of(layer).channel for layer in panes[-1]]
    found = [by_channel[name] for name in wanted if name in by_channel]
    if len(found) != len(wanted) or any(id(layer) in taken for layer in found):
        return panes
    return [*panes, found]


def latest_translation(layers: Iterable[Layer]) -> str | None:
    """Return the identity of the translation that is seen, None without any.

    That is the one whose layers lie on top among those that are visible: side by side, the layers
    of other translations lie above the panes, hidden. If none is visible, it is the topmost.
    """
    candidates = [layer for layer in reversed(list(layers)) if is_plain_image(layer)]
    for layer in sorted(candidates, key=lambda layer: not layer.visible):
        translation = LayerInfo.of(layer).translation
        if translation is not None:
            return translation
    return None


def chosen_translation(viewer: ViewerModel) -> str | None:
    """Return the translation of the selected layers, else the one that is seen."""
    selected = [layer for layer in viewer.layers if layer in viewer.layers.selection]
    return latest_translation(selected) or latest_translation(viewer.layers)


def _reorder(viewer: ViewerModel, first: Sequence[Layer]) -> None:
    """Move the given layers to the beginning of the list, in this order."""
    for place, layer in enumerate(first):
        index = viewer.layers.index(layer)
        if index != place:
            viewer.layers.move(index, place)


def _caption_size(
    viewer: ViewerModel, panes: Sequence[Sequence[Layer]], shape: tuple[int, int]
) -> float:
    """Return the size in points in which captions fit into the panes, one below the other."""
    height, width = (size / n for size, n in zip(viewer.canvas.size, shape, strict=True))
    longest = max(len(layer.name) for pane in panes for layer in pane)
    fits = min(
        (width - _CAPTION_PADDING) / longest / _CAPTION_LETTER,
        (height * _CAPTION_PART / len(panes[0]) - _CAPTION_PADDING) / _CAPTION_LINE,
    )
    return float(min(_CAPTION_SIZE, max(_SMALLEST_CAPTION, fits)))


def _caption_of(layer: Layer, size: float) -> dict[str, Any]:
    """Return what names a layer: a caption and, as all channels of a pane have one, a legend."""
    return {
        "color": _colour_of(layer),
        "font_size": size,
        "box": True,
        "box_color": _CAPTION_GROUND,
        "visible": True,
    }


def _scales(shown: Sequence[Layer]) -> list[Layer]:
    """Return the differences whose colours are explained: one of those that share a scale."""
    found: dict[tuple[float, ...], Layer] = {}
    for layer in shown:
        if LayerInfo.of(layer).role == "difference":
            found.setdefault(tuple(layer.contrast_limits), layer)
    return list(found.values())


def _values(overlay: Any, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(overlay, name) for name in names}


def _set(overlay: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        setattr(overlay, name, value)


def _colour_of(layer: Layer) -> Any:
    """Return a colour for the caption: the brightest of the layer's colormap, and not too dark."""
    colour = np.asarray(layer.colormap.map([1.0])[0], float)
    luminance = float(colour[:3] @ _LUMINANCE)
    white = max(0.0, (_LEAST_LUMINANCE - luminance) / (1 - luminance or 1.0))
    return (*(colour[:3] + white * (1 - colour[:3])), 1.0)


def _has_unit(layer: Layer) -> bool:
    return str(layer.units[-1]) not in ("pixel", "dimensionless")


def _look_at_smallest(viewer: ViewerModel, shown: Sequence[Layer]) -> None:
    """Turn the camera to the part of the field that was translated, where it is only a part."""
    extents = [layer.extent.world[:, -2:] for layer in shown]
    small = min(extents, key=lambda extent: float((extent[1] - extent[0]).prod()))
    large = max(extents, key=lambda extent: float((extent[1] - extent[0]).prod()))
    ratio = float(((large[1] - large[0]) / (small[1] - small[0]).clip(1e-9)).min())
    if ratio > 1.05:
        center = small.mean(axis=0)
        viewer.scene.camera.center = (*viewer.scene.camera.center[:-2], *center)
        viewer.scene.camera.zoom *= ratio


def _shape_of_grid(viewer: ViewerModel, layer: Layer, n: int) -> tuple[int, int]:
    """Return the rows and columns in which images of this shape are shown largest."""
    height, width = viewer.canvas.size
    low, high = layer.extent.world[:, -2:]
    shapes = [(rows, -(-n // rows)) for rows in range(1, n + 1)]

    def scale(shape: tuple[int, int]) -> float:
        rows, columns = shape
        size = high - low
        return min(height / rows / max(size[0], 1e-9), width / columns / max(size[1], 1e-9))

    # One row is easiest to read: another shape has to be clearly larger.
    return max(shapes, key=lambda shape: scale(shape) * (1.15 if shape[0] == 1 else 1.0))
