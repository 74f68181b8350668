"""The images of open layers one at a time, and the place in the viewer that each of them has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layer_axes import LayerAxes, refused
from napari_phenldiff.images.layers import images_from_layers, stacks_of
from napari_phenldiff.images.naming import count, file_safe
from napari_phenldiff.viewer.layers import LayerGroup, LayerInfo, LayerSnapshot

if TYPE_CHECKING:
    from napari.layers import Layer


@dataclass(frozen=True, slots=True, eq=False)
class Lot:
    """Images of a group that share layers, and with them a shape and a place in the viewer.

    Attributes
    ----------
    names : tuple of str
        Names of the images, in the order of the axes that count fields.
    axes : LayerAxes
        Axes of the layers.
    geometry : dict
        Scale, units, translation and axis labels of the layers, as napari takes them.
    parts : tuple of str or None
        The stack that each image is a part of.
    """

    names: tuple[str, ...]
    axes: LayerAxes
    geometry: dict[str, Any]
    parts: tuple[str | None, ...] = ()

    @classmethod
    def of(cls, layer: Layer | LayerSnapshot, info: LayerInfo) -> Lot:
        """Describe the images of a layer.

        Raises
        ------
        InputError
            If its axes are not those of images.
        """
        axes = _axes(layer)
        names = info.images
        named = len(names) == axes.n_fields
        parts = stacks_of(str(layer.name), axes.n_fields, named=named, paths=info.paths)
        if not named:
            # Somebody has put other images into the layer.
            base = file_safe(str(layer.name))
            names = tuple(f"{base}_{i:04d}" for i in range(axes.n_fields))
        geometry = {
            "scale": tuple(float(step) for step in layer.scale),
            "translate": tuple(float(offset) for offset in layer.translate),
            "units": tuple(layer.units),
            "axis_labels": tuple(layer.axis_labels),
        }
        return cls(tuple(names), axes, geometry, parts)

    def index(self, place: int) -> tuple[slice, ...]:
        """Return what cuts one image out of the leading axes of a layer, keeping the axes."""
        lengths = [n for n, kind in self._leading() if kind == "field"]
        where = iter(np.unravel_index(place, lengths) if lengths else ())
        return tuple(
            slice(i := int(next(where)), i + 1) if kind == "field" else slice(None)
            for _, kind in self._leading()
        )

    def slider(self, place: int) -> dict[int, float]:
        """Return where the sliders stand for an image: a point per axis, counted from the last."""
        points: dict[int, float] = {}
        for axis, (cut, (_, kind)) in enumerate(
            zip(self.index(place), self._leading(), strict=True)
        ):
            if kind == "field":
                step, start = self.geometry["scale"][axis], self.geometry["translate"][axis]
                points[axis - len(self.axes.kinds) - 2] = start + cut.start * step
        return points

    def place_at(self, point: Sequence[float]) -> int | None:
        """Return the image that is seen at a point of the world; None if there is none."""
        place = 0
        for axis, (length, kind) in enumerate(self._leading()):
            if kind == "field":
                at = point[axis - len(self.axes.kinds) - 2]
                step, start = self.geometry["scale"][axis], self.geometry["translate"][axis]
                found = round((at - start) / step)
                if not 0 <= found < length:
                    return None
                place = place * length + found
        return place

    def like_layer(self, planes: np.ndarray) -> np.ndarray:
        """Bring labels of all images to the leading axes of the layers.

        Parameters
        ----------
        planes : numpy.ndarray of shape (N, Y, X)
            One for each image; or of one image alone.

        Returns
        -------
        numpy.ndarray
            With axes of fields as in the layers (of length 1 for one image alone). Along axes of
            channels the labels are the same: these take no memory, and can't be written to.
        """
        one = len(planes) == 1 and len(self.names) > 1
        fields, full = [], []
        for length, kind in self._leading():
            n = 1 if one and kind == "field" else length
            fields.append(n if kind == "field" else 1)
            full.append(n)
        size = planes.shape[-2:]
        shaped = planes.reshape(*fields, *size)
        return shaped if fields == full else np.broadcast_to(shaped, (*full, *size))

    def geometry_of(self, place: int) -> dict[str, Any]:
        """Return the geometry of a layer with one image alone, at its place."""
        translate = list(self.geometry["translate"])
        for axis, point in self.slider(place).items():
            translate[axis] = point
        return {**self.geometry, "translate": tuple(translate)}

    def _leading(self) -> list[tuple[int, str]]:
        return list(zip(self.axes.shape, self.axes.kinds, strict=False))


class FieldImages:
    """The images of a group in their order, each read out of the layers when it is asked for.

    Parameters
    ----------
    group : LayerGroup
        Layers, or their snapshots.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection, where the layers have z planes.

    Raises
    ------
    InputError
        If the channels of an image lie in layers with different numbers of images.
    """

    def __init__(self, group: LayerGroup, z: int | Projection | None = None) -> None:
        self._group, self._z = group, z
        self.lots = tuple(
            Lot.of(layers[0], infos[0])
            for layers, infos in zip(group.parts, group.infos, strict=True)
        )
        for layers, lot in zip(group.parts, self.lots, strict=True):
            for layer in layers[1:]:
                n_fields = _axes(layer).n_fields
                if n_fields != len(lot.names):
                    raise InputError(
                        f'Layer "{layer.name}" has {count(n_fields, "image")}, "{layers[0].name}" '
                        f"has {len(lot.names)}: channels of the same images need as many."
                    )

    def __len__(self) -> int:
        return sum(len(lot.names) for lot in self.lots)

    def __iter__(self) -> Iterator[Image]:
        return (
            self.image(part, place)
            for part, lot in enumerate(self.lots)
            for place in range(len(lot.names))
        )

    def image(self, part: int, place: int) -> Image:
        """Return one image of one part of the group.

        Raises
        ------
        InputError
            If the channels differ in shape, or nothing says what to make of z planes.
        """
        layers = [
            _one_field(layer, info, place, self.lots[part].names[place])
            for layer, info in zip(self._group.parts[part], self._group.infos[part], strict=True)
        ]
        image = images_from_layers(self._group.name, layers, z=self._z)[0]
        return replace(image, part_of=self.lots[part].parts[place])

    def named(self, names: Iterable[str]) -> list[Image]:
        """Return the images of these names, in their order; KeyError if there is no such image."""
        places = {
            name: (part, place)
            for part, lot in enumerate(self.lots)
            for place, name in enumerate(lot.names)
        }
        return [self.image(*places[name]) for name in names]


def points_of(viewer: Any) -> Sequence[float]:
    """Return the point of the world that the sliders of a viewer stand at."""
    return tuple(float(at) for at in viewer.dims.point)


def move_sliders(viewer: Any, points: Mapping[int, float]) -> None:
    """Move the sliders of a viewer to what `Lot.slider` says."""
    n_axes = viewer.dims.ndim
    for axis, point in points.items():
        if -axis <= n_axes:
            viewer.dims.set_point(n_axes + axis, point)


def _axes(layer: Any) -> LayerAxes:
    axes = LayerAxes.of(layer)
    if axes is None:
        raise refused(layer)
    return axes


def _one_field(layer: Any, info: LayerInfo, place: int, name: str) -> LayerSnapshot:
    data = layer.data[0] if layer.multiscale else layer.data
    # Without a path, since nobody asks here whether the file is still the same.
    info = replace(info, images=(name,), paths=(None,))
    cut = Lot.of(layer, info).index(place)
    return replace(LayerSnapshot.of(layer, info), data=data[cut], multiscale=False)
