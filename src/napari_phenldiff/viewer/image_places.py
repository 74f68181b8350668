"""The images of open layers one at a time, and the place in the viewer that each of them has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layer_axes import LayerAxes, refused
from napari_phenldiff.images.layers import images_from_layers, stacks_of
from napari_phenldiff.images.naming import count, file_safe
from napari_phenldiff.images.sources import choose_channels
from napari_phenldiff.images.tiff import read_tiff
from napari_phenldiff.viewer.geometry import Geometry, axes_displayed, indices_shown
from napari_phenldiff.viewer.layer_groups import LayerGroup, LayerInfo, LayerSnapshot
from napari_phenldiff.viewer.lazy_layers import stack_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
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
    geometry : Geometry
        Where the layers lie in the world.
    parts : tuple of str or None
        The well, or the stack, that each image is a part of.
    """

    names: tuple[str, ...]
    axes: LayerAxes
    geometry: Geometry
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
        parts = stacks_of(
            str(layer.name), axes.n_fields, named=named, paths=info.paths, sites=info.sites
        )
        if not named:
            # Somebody has put other images into the layer.
            base = file_safe(str(layer.name))
            names = tuple(f"{base}_{i:04d}" for i in range(axes.n_fields))
        return cls(tuple(names), axes, geometry_of(layer), parts)

    def index(self, place: int) -> tuple[slice, ...]:
        """Return what cuts one image out of the leading axes of a layer, keeping the axes."""
        lengths = [n for n, kind in self._leading() if kind == "field"]
        where = iter(np.unravel_index(place, lengths) if lengths else ())
        return tuple(
            slice(i := int(next(where)), i + 1) if kind == "field" else slice(None)
            for _, kind in self._leading()
        )

    def slider(self, place: int, units: Sequence[Any] | None = None) -> dict[int, float]:
        """Return where the sliders stand for an image: a point per axis, counted from the last.

        Parameters
        ----------
        place : int
            The image.
        units : sequence, optional
            Units of the viewer, where they are not those of the layers.
        """
        axes = self._fields()
        if not axes:
            return {}
        cut = self.index(place)
        points = self.geometry.to_points([cut[axis].start for axis in axes], axes, units)
        n_axes = len(self.axes.kinds) + 2
        return {axis - n_axes: float(at) for axis, at in zip(axes, points, strict=True)}

    def place_shown(self, viewer: ViewerModel) -> int | None:
        """Return the image that a viewer shows; None if it shows none, or several at once."""
        place = 0
        shown = indices_shown(viewer, self.geometry)
        for index, (length, kind) in zip(shown, self._leading(), strict=False):
            if index is not None and not 0 <= index < length:
                return None
            if kind == "field":
                if index is None and length > 1:
                    return None
                place = place * length + (index or 0)
        return place if shown[-2] is shown[-1] is None else None

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

    def geometry_of(self, place: int, corner: tuple[int, int] = (0, 0)) -> Geometry:
        """Return the geometry of a layer with one image alone, or a part of it, at its place."""
        return self.geometry.starting_at([*(cut.start or 0 for cut in self.index(place)), *corner])

    def channel_layer(
        self, planes: np.ndarray, place: int | None = None, corner: tuple[int, int] = (0, 0)
    ) -> tuple[np.ndarray, Geometry]:
        """Bring one channel of the images to axes with which it lies upon the layers.

        Parameters
        ----------
        planes : numpy.ndarray of shape (N, Y, X)
            All images, or one.
        place : int, optional
            Which of the images it is, if it is one of several.
        corner : (int, int)
            First row and column, where it is a part of the image.

        Returns
        -------
        data : numpy.ndarray
            With the axes of the layers. That of the channels is left out, or of length 1 where it
            lies between others, which it must not shift.
        geometry : Geometry
            Where it lies.

        Raises
        ------
        InputError
            If the layers do not hold as many images.
        """
        kinds = list(self.axes.kinds)
        if len(planes) != (len(self.names) if place is None else 1) or (place or 0) >= len(
            self.names
        ):
            raise InputError(
                "The layers no longer hold the images that were translated; translate again."
            )
        geometry = self.geometry_of(place or 0, corner)
        fields = [n if place is None else 1 for n, kind in self._leading() if kind == "field"]
        lengths = iter(fields)
        shape = [next(lengths) if kind == "field" else 1 for kind in kinds]
        if "channel" in kinds:
            axis = kinds.index("channel")
            if axis == 0:
                shape, geometry = shape[1:], geometry.without(0)
            else:
                geometry = geometry.stretched(axis, self.axes.n_channels)
        return planes.reshape(*shape, *planes.shape[-2:]), geometry

    def shortened(self, names: Sequence[str]) -> Lot:
        """Return the place of fewer images, one after the other from where the first lies.

        Raises
        ------
        InputError
            If several axes count images.
        """
        axes = self._fields()
        if len(axes) != 1:
            raise InputError(
                "The images lie along several axes, so some of them can't be shown: translate all."
            )
        shape = tuple(
            len(names) if axis == axes[0] else n for axis, n in enumerate(self.axes.shape)
        )
        parts = (None,) * len(names)
        return replace(self, names=tuple(names), axes=replace(self.axes, shape=shape), parts=parts)

    def _fields(self) -> list[int]:
        return [axis for axis, kind in enumerate(self.axes.kinds) if kind == "field"]

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
    with_files : bool
        Whether an image has the path of its file, where that still holds the same pixels: each file
        is read to see that.

    Raises
    ------
    InputError
        If the channels of an image lie in layers with different numbers of images.
    """

    def __init__(
        self,
        group: LayerGroup,
        z: int | Projection | None = None,
        *,
        with_files: bool = False,
    ) -> None:
        self._group, self._z = group, z
        # The images of a stack follow each other, so keeping the last file reads each once.
        self._read_file = lru_cache(maxsize=1)(read_tiff) if with_files else None
        # Layers of large experiments read their images from files, and know more of them.
        self._stacks = tuple(stack_of(layers) for layers in group.parts)
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
        lot = self.lots[part]
        layers = [
            _one_field(layer, info, place, lot.names[place], with_file=self._read_file is not None)
            for layer, info in zip(self._group.parts[part], self._group.infos[part], strict=True)
        ]
        stack, read_file = self._stacks[part], self._read_file
        if stack is None:
            (image,) = images_from_layers(self._group.name, layers, z=self._z, read_file=read_file)
            return replace(image, part_of=lot.parts[place])
        planes = stack.planes(place)
        (image,) = images_from_layers(
            self._group.name, layers, z=self._z, read_file=lambda path: planes
        )
        told = planes[0]
        part_of = lot.parts[place] or told.part_of
        return replace(image, part_of=part_of, site=image.site or told.site)

    def at(self, index: int) -> Image:
        """Return one image, counted over all parts of the group.

        Raises
        ------
        IndexError
            If there are not as many.
        """
        for part, lot in enumerate(self.lots):
            if index < len(lot.names):
                return self.image(part, index)
            index -= len(lot.names)
        raise IndexError(f"there is no image {index} more")

    def named(self, names: Iterable[str]) -> list[Image]:
        """Return the images of these names, in their order; KeyError if there is no such image."""
        places = {
            name: (part, place)
            for part, lot in enumerate(self.lots)
            for place, name in enumerate(lot.names)
        }
        return [self.image(*places[name]) for name in names]


def parts_of(group: LayerGroup) -> dict[str, str | None]:
    """Return the well or stack that each image of a group is a part of, by its name."""
    found: dict[str, str | None] = {}
    for layers, infos in zip(group.parts, group.infos, strict=True):
        lot = Lot.of(layers[0], infos[0])
        found |= dict(zip(lot.names, lot.parts, strict=True))
    return found


def image_shown(viewer: ViewerModel, group: LayerGroup) -> int:
    """Return which image of a group a viewer shows, counted over all of its images.

    Raises
    ------
    InputError
        If it shows none of them, or several at once.
    """
    start = 0
    for lot in FieldImages(group).lots:
        place = lot.place_shown(viewer)
        if place is not None:
            return start + place
        start += len(lot.names)
    if any(_hides_images(viewer, lot) for lot in FieldImages(group).lots):
        raise InputError(
            f"The viewer does not show {group.name} image by image: show y and x in two "
            "dimensions, or choose all images."
        )
    raise InputError(
        f"There is no image of {group.name} at this place of the slider: move it to one, or choose "
        "all images."
    )


def _hides_images(viewer: ViewerModel, lot: Lot) -> bool:
    displayed = axes_displayed(viewer, lot.geometry)
    n_axes = len(lot.axes.kinds) + 2
    return set(displayed) != {n_axes - 2, n_axes - 1}


def move_sliders(viewer: ViewerModel, lot: Lot, place: int) -> None:
    """Move the sliders of a viewer to an image."""
    n_axes = viewer.dims.ndim
    for axis, point in lot.slider(place, viewer.dims.units).items():
        if -axis <= n_axes:
            viewer.dims.set_point(n_axes + axis, point)


def of_channels(image: Image, names: Sequence[str]) -> Image:
    """Return an image with these channels alone, where it has more: what was made has fewer."""
    if image.n_channels <= len(names) or not set(names) <= set(image.channel_names):
        return image
    return choose_channels(image, names)


def geometry_of(layer: Any) -> Geometry:
    """Return where a layer, or its snapshot, lies in the world."""
    return layer.geometry if isinstance(layer, LayerSnapshot) else Geometry.of(layer)


def _axes(layer: Any) -> LayerAxes:
    axes = LayerAxes.of(layer)
    if axes is None:
        raise refused(layer)
    return axes


def _one_field(
    layer: Any, info: LayerInfo, place: int, name: str, *, with_file: bool
) -> LayerSnapshot:
    data = layer.data[0] if layer.multiscale else layer.data
    path = info.paths[place] if with_file and place < len(info.paths) else None
    sites = info.sites[place : place + 1]
    info = replace(info, images=(name,), paths=(path,), sites=sites)
    cut = Lot.of(layer, info).index(place)
    return replace(LayerSnapshot.of(layer, info), data=data[cut], multiscale=False)
