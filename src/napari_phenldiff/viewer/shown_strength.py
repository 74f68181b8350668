"""Show a field of a translation at another strength, in the layers that are there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY
from napari_phenldiff.viewer.image_places import Lot
from napari_phenldiff.viewer.layer_groups import LayerInfo, is_plain_image
from napari_phenldiff.viewer.results import title_of

if TYPE_CHECKING:
    from napari.layers import Layer


def layers_of(layers: Iterable[Layer], translation: str, role: str) -> dict[int, Layer]:
    """Return the layers of a translation that have a role, by the place of their channel."""
    found = {}
    for layer in layers:
        if is_plain_image(layer):
            info = LayerInfo.of(layer)
            if info.translation == translation and info.role == role:
                found[info.channel_index] = layer
    return found


def show_at(
    layers: Iterable[Layer], translation: str, place: int, image: Image, strength: float
) -> None:
    """Put a field, generated at another strength, into the layers of its translation.

    The translated layers and the differences change; names and metadata tell the strength.

    Parameters
    ----------
    layers : iterable of napari layers
        The layers of the viewer.
    translation : str
        Identity of the translation.
    place : int
        Place of the field among the images of the translation.
    image : Image
        The field at the new strength.
    strength : float
        The strength.

    Raises
    ------
    InputError
        If no layer is left to show it in, or what is left has another shape.
    """
    layers = list(layers)
    translated = layers_of(layers, translation, "translated")
    reconstructed = layers_of(layers, translation, "reconstructed")
    differences = layers_of(layers, translation, "difference")
    if not translated:
        raise InputError("The translated layers have been removed; translate again.")
    for channel, plane in enumerate(image.data):
        layer = translated.get(channel)
        if layer is not None:
            _put(layer, place, plane)
            _tell(layer, place, strength)
        base, change = reconstructed.get(channel), differences.get(channel)
        if base is not None and change is not None:
            source = _plane(base, place)
            if source.shape == plane.shape:
                _put(change, place, plane.astype(np.float32) - source.astype(np.float32))
                _tell(change, place, strength)


def strengths_of(layers: Iterable[Layer], translation: str) -> list[float]:
    """Return the strength that each image of a translation is shown at; empty without layers."""
    for layer in layers_of(layers, translation, "translated").values():
        return [float(s) for s in LayerInfo.of(layer).provenance.get("strengths", ())]
    return []


def _plane(layer: Layer, place: int) -> np.ndarray:
    """Return the plane of an image, whatever axes the layer has."""
    lot = Lot.of(layer, LayerInfo.of(layer))
    if place >= len(lot.names):
        raise InputError(f"{layer.name} no longer has image {place + 1}; translate again.")
    data = np.asarray(layer.data[lot.index(place)])
    plane: np.ndarray = data.reshape(-1, *data.shape[-2:])[0]
    return plane


def _put(layer: Layer, place: int, plane: np.ndarray) -> None:
    if _plane(layer, place).shape != plane.shape:
        raise InputError(f"{layer.name} has another shape than before; translate again.")
    lot = Lot.of(layer, LayerInfo.of(layer))
    if len(lot.names) > 1:
        layer.data[lot.index(place)] = plane
        layer.refresh()
    else:
        # The array of a single image may be somebody else's too.
        layer.data = plane.reshape(layer.data.shape)


def _tell(layer: Layer, place: int, strength: float) -> None:
    """Write the strength into the metadata, and into a name that nobody has changed."""
    info = LayerInfo.of(layer)
    target = str(info.provenance.get("target", info.condition))
    before = list(info.provenance.get("strengths", ()))
    after = [strength if i == place else s for i, s in enumerate(before)]
    entry = {**layer.metadata[LAYER_METADATA_KEY]}
    entry["provenance"] = {**info.provenance, "strengths": after}
    if len(set(after)) == 1:
        entry["provenance"]["strength"] = after[0]
    layer.metadata = {**layer.metadata, LAYER_METADATA_KEY: entry}
    named = str(info.provenance.get("named", ""))
    old = f"{title_of(info.role, target, before, named)}: {info.channel}"
    # napari numbers a name that is there already: "→ treated: DNA [1]"
    if before and layer.name.startswith(old):
        rest = layer.name.removeprefix(old)
        name = f"{title_of(info.role, target, after, named)}: {info.channel}{rest}"
        if name != layer.name:
            layer.name = name
