"""Which images a canvas shows: their layers are visible, and no other covers them.

Translated images lie upon the real ones, and where fewer were translated than are open, the slider
tells which of the two is seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.images.layer_axes import LayerAxes
from napari_phenldiff.viewer.geometry import Geometry, indices_shown
from napari_phenldiff.viewer.layer_groups import is_plain_image

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_COVERING = ("opaque", "translucent", "translucent_no_depth")
"""Ways of blending in which a layer covers what lies below, unless it is made transparent."""


def layers_seen(viewer: ViewerModel) -> list[Layer]:
    """Return the layers of images of which something is seen in the canvas, the topmost first."""
    seen: list[Layer] = []
    covers: list[np.ndarray] = []
    for layer in reversed(viewer.layers):
        if not layer.visible or not is_plain_image(layer) or not is_at_sliders(viewer, layer):
            continue
        extent = layer.extent.world[:, -2:]
        if any(_lies_over(cover, extent) for cover in covers):
            continue
        seen.append(layer)
        in_panes = viewer.canvas.grid.enabled  # each in a pane of its own
        if str(layer.blending) in _COVERING and layer.opacity == 1 and not in_panes:
            covers.append(extent)
    return seen


def is_at_sliders(viewer: ViewerModel, layer: Layer) -> bool:
    """Tell whether a layer of images has one where the sliders stand."""
    shown = indices_shown(viewer, Geometry.of(layer))
    return all(
        index is None or 0 <= index < length
        for index, length in zip(shown, lengths_of(layer), strict=True)
    )


def lengths_of(layer: Layer) -> tuple[int, ...]:
    """Return the lengths of the axes of a layer of images, without that of colours."""
    axes = LayerAxes.of(layer)
    assert axes is not None
    return axes.shape[: len(axes.kinds) + 2]


def _lies_over(cover: np.ndarray, extent: np.ndarray) -> bool:
    """Tell whether a rectangle, its lowest and highest corner, covers another one as a whole."""
    slack = 1e-3 * (extent[1] - extent[0])
    return bool((cover[0] <= extent[0] + slack).all() and (cover[1] >= extent[1] - slack).all())
