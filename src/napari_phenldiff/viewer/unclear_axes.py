"""Axes of layers whose kind no label or metadata tells, and what the user says they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_phenldiff.images.layer_axes import AxisKind, LayerAxes, label_axis
from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY
from napari_phenldiff.viewer.geometry import Geometry, indices_shown
from napari_phenldiff.viewer.layer_groups import LayerGroup

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_SETTLED: WeakKeyDictionary[Layer, int] = WeakKeyDictionary()
"""Axes of layers whose kind the user has told, so that another one can still be told."""


def unclear_axis(group: LayerGroup) -> int | None:
    """Return the axis of a group's only layer that may be fields, channels or z planes.

    Returns
    -------
    int or None
        None where the labels of the axes, the metadata or the other layers of the group tell.
    """
    if len(group.layers) > 1 or LAYER_METADATA_KEY in group.layers[0].metadata:
        return None
    layer = group.layers[0]
    axes = LayerAxes.of(layer)
    if axes is not None and axes.unclear is not None:
        return axes.unclear
    return _SETTLED.get(layer)


def unclear_layers(groups: Iterable[LayerGroup | None]) -> list[tuple[Layer, int]]:
    """Return the layers with an axis that may be several things, and this axis."""
    found = ((group, unclear_axis(group)) for group in groups if group is not None)
    return [(group.layers[0], axis) for group, axis in found if axis is not None]


def axis_kind(layer: Layer, axis: int) -> AxisKind:
    """Return what an axis of a layer is taken for."""
    axes = LayerAxes.of(layer)
    return "field" if axes is None else axes.kinds[axis]


def settle_axis(layer: Layer, axis: int, kind: AxisKind) -> None:
    """Tell what an axis of a layer is, by its label, which napari and other docks see too."""
    _SETTLED[layer] = axis
    layer.axis_labels = label_axis(layer.axis_labels, axis, kind)


def plane_of_slider(viewer: ViewerModel, group: LayerGroup) -> int:
    """Return which z plane of a group the sliders of the viewer show; 0 without a z axis."""
    layer = group.layers[0]
    axes = LayerAxes.of(layer)
    if axes is None or "z" not in axes.kinds:
        return 0
    place = indices_shown(viewer, Geometry.of(layer))[axes.kinds.index("z")]
    # The sliders may go further than the layer.
    return min(max(place or 0, 0), axes.n_planes - 1)
