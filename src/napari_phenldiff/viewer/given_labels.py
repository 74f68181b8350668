"""Labels layers in place of thresholds, so that what Cellpose or StarDist found is measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.viewer.image_places import FieldImages, Lot
from napari_phenldiff.viewer.layer_groups import LayerGroup

if TYPE_CHECKING:
    from napari.layers import Labels

NOT_GIVEN_METADATA_KEY = "napari-phenldiff-not-objects"
"""Key of the metadata of labels layers that only show something: they hold no objects."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelsSnapshot:
    """A labels layer that another thread may read; the array is shared."""

    name: str
    data: Any

    @classmethod
    def of(cls, layer: Any) -> LabelsSnapshot:
        """Take what is read of a labels layer."""
        data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
        return cls(str(layer.name), data)


def label_layers(layers: Iterable[Any]) -> list[Labels]:
    """Return the labels layers whose objects can be measured, in their order."""
    from napari.layers import Labels

    return [
        layer
        for layer in layers
        if isinstance(layer, Labels) and NOT_GIVEN_METADATA_KEY not in layer.metadata
    ]


class LabelPlanes:
    """The labels of the images of a group, each read when it is asked for.

    Parameters
    ----------
    labels : napari.layers.Labels or LabelsSnapshot
        One plane for each image, in the order of the images.
    group : LayerGroup
        The images that are measured.
    source : LayerGroup, optional
        What a model made the images from: labels of these do as well, and are looked up by the
        images' names.

    Raises
    ------
    InputError
        If they do not fit together.
    """

    def __init__(self, labels: Any, group: LayerGroup, source: LayerGroup | None = None) -> None:
        self._labels = LabelsSnapshot.of(labels)
        lot = _only_lot(group)
        home = lot
        if not self._fits(lot) and source is not None:
            real = _only_lot(source)
            if self._fits(real) and real.axes.size == lot.axes.size:
                home = real
        names = set(home.names)
        if not self._fits(home) or not names.issuperset(lot.names):
            height, width = lot.axes.size
            shape = " × ".join(str(length) for length in self._labels.data.shape)
            raise InputError(
                f'The labels layer "{self._labels.name}" does not fit {group.name}: it has '
                f"{shape} pixels, and there are {count(len(lot.names), 'image')} of "
                f"{height} × {width}. Choose one with a plane for each image."
            )
        if len(names) < len(home.names):
            raise InputError(
                f"Images of {group.name} have the same name: give each a name of its own, so that "
                "labels can be found for it."
            )
        self._lot = home
        self._places = {name: place for place, name in enumerate(home.names)}

    def plane(self, name: str) -> np.ndarray:
        """Return the labels of an image, of shape (Y, X)."""
        data, place = self._labels.data, self._places[name]
        if tuple(data.shape) == self._lot.axes.shape and self._lot.axes.n_planes == 1:
            cut = np.asarray(data[self._lot.index(place)])
            # Along an axis of channels, labels are the same.
            plane: np.ndarray = cut.reshape(-1, *cut.shape[-2:])[0]
            return plane
        return np.asarray(data[np.unravel_index(place, data.shape[:-2])])

    def _fits(self, lot: Lot) -> bool:
        shape = tuple(int(length) for length in self._labels.data.shape)
        if shape == lot.axes.shape and lot.axes.n_planes == 1:
            return not lot.axes.is_color
        n_fields = int(np.prod(shape[:-2], dtype=int))
        return shape[-2:] == tuple(lot.axes.size) and n_fields == len(lot.names)


def _only_lot(group: LayerGroup) -> Lot:
    lots = FieldImages(group).lots
    if len(lots) > 1:
        raise InputError(
            f"The images of {group.name} have {len(lots)} different sizes: labels layers can be "
            "used where all have the same; use thresholds, or open images of one size."
        )
    return lots[0]


def why_not_given(labels: Any, group: LayerGroup, source: LayerGroup | None = None) -> str:
    """Return why a labels layer can't be used for a group; empty if it can."""
    try:
        LabelPlanes(labels, group, source)
    except InputError as error:
        return str(error)
    return ""


def suggested(
    layers: Sequence[Any], group: LayerGroup, of_source: Any = None, *, known_as: str = ""
) -> Any:
    """Return the labels layer that is called like a group, among those that fit it.

    Parameters
    ----------
    layers : sequence of napari.layers.Labels
        Those that fit.
    group : LayerGroup
    of_source : napari.layers.Labels, optional
        For what a model made, the labels of the images that it was made from.
    known_as : str
        What the group is called in tables, if not by its condition.

    Returns
    -------
    napari.layers.Labels or None
        None if no name tells: labels of other images may have the same shape.
    """
    word = re.compile(rf"(?<![^\W_]){re.escape(known_as or group.name)}(?![^\W_])", re.I)
    named = [layer for layer in layers if word.search(str(layer.name))]
    if named:
        return named[-1]
    return of_source if of_source in layers else None


class GivenByLayers:
    """The labels of all groups: what `measure` takes as ``given_labels``.

    Parameters
    ----------
    labels : mapping of str to labels layer
        By the name of the group.
    groups : mapping of str to LayerGroup
    source : LayerGroup
        What a model made images from.

    Raises
    ------
    InputError
        If a group has no labels, or those it has do not fit.
    """

    def __init__(
        self, labels: Mapping[str, Any], groups: Mapping[str, LayerGroup], source: LayerGroup
    ) -> None:
        self._planes: dict[str, LabelPlanes] = {}
        for name, group in groups.items():
            if labels.get(name) is None:
                raise InputError(
                    f"Choose a labels layer for {name}, or use thresholds: all conditions have "
                    "to be cut out in the same way."
                )
            made = group.role != "real"
            self._planes[name] = LabelPlanes(labels[name], group, source if made else None)

    def __call__(self, condition: str, image: Image) -> np.ndarray:
        """Return the labels of an image of a group, of shape (Y, X)."""
        return self._planes[condition].plane(image.name)
