"""How images lie in the viewer: layers with one or more channels, sorted into conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.layer_axes import LayerAxes
from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY, Role
from napari_phenldiff.images.naming import count
from napari_phenldiff.viewer.geometry import Geometry
from napari_phenldiff.viewer.layer_info import LayerInfo, condition_as_written

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = [
    "LayerGroup",
    "LayerInfo",
    "LayerSnapshot",
    "Role",
    "find_group",
    "group_layers",
    "is_plain_image",
]


@dataclass(frozen=True, slots=True, eq=False)
class LayerGroup:
    """The layers that together are the images of one condition.

    Attributes
    ----------
    name : str
        The condition, with a number where two groups would have the same name.
    role : {"real", "reconstructed", "translated"}
        Whether a camera or the model made the images.
    parts : tuple of tuple of napari.layers.Image
        Per lot of images of one shape: its channels, in order.
    infos : tuple of tuple of LayerInfo
        What is known about each of these layers.
    """

    name: str
    role: Role
    parts: tuple[tuple[Layer, ...], ...]
    infos: tuple[tuple[LayerInfo, ...], ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers, part by part."""
        return tuple(layer for part in self.parts for layer in part)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, in their order."""
        return tuple(name for info in self.infos[0] for name in info.channel_names)

    @property
    def one_layer_per_channel(self) -> bool:
        """Whether the layers are planes of one channel each, which others can be linked with.

        Otherwise a layer has several channels or is in colour, or has z planes.
        """
        if self.n_planes > 1:
            return False
        return all(
            len(info.channel_names) == 1 and not getattr(layer, "rgb", False)
            for part, infos in zip(self.parts, self.infos, strict=True)
            for layer, info in zip(part, infos, strict=True)
        )

    @property
    def n_planes(self) -> int:
        """Number of z planes; with more than one, a plane or projection has to be named."""
        return max((axes.n_planes for axes in self._axes()), default=1)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Heights and widths of the images in pixels, each size once."""
        return tuple(dict.fromkeys(axes.size for axes in self._axes()))

    @property
    def dtype(self) -> np.dtype:
        """Data type of the first layer."""
        return np.dtype(self.layers[0].dtype)

    def _axes(self) -> list[LayerAxes]:
        return [axes for layer in self.layers if (axes := LayerAxes.of(layer)) is not None]

    @property
    def n_images(self) -> int:
        """Number of images, over all parts."""
        return sum(len(part[0].images) for part in self.infos)

    @property
    def translation(self) -> str | None:
        """Identity of the translation that made these layers."""
        return self.infos[0][0].translation

    def label(self) -> str:
        """Return the name with the number of images, as it is shown in a list."""
        return f"{self.name} ({count(self.n_images, 'image')})"

    def snapshot(self) -> LayerGroup:
        """Return the same group with layers that another thread may read.

        The arrays are shared, names and metadata are copied.
        """
        parts = tuple(
            tuple(LayerSnapshot.of(layer, info) for layer, info in zip(part, infos, strict=True))
            for part, infos in zip(self.parts, self.infos, strict=True)
        )
        return LayerGroup(self.name, self.role, parts, self.infos)


@dataclass(frozen=True, slots=True, eq=False)
class LayerSnapshot:
    """The parts of a layer that `images_from_layers` reads, safe to hand to a thread."""

    data: Any
    name: str
    metadata: dict[str, Any]
    geometry: Geometry
    ndim: int
    dtype: Any
    axis_labels: tuple[str, ...] = ()
    rgb: bool = False
    multiscale: bool = False

    @property
    def scale(self) -> np.ndarray:
        """Steps of the axes, as `Layer.scale` has them."""
        return np.asarray(self.geometry.arguments()["scale"])

    @property
    def units(self) -> tuple[Any, ...]:
        """Units of the axes."""
        return self.geometry.units

    def data_to_world(self, position: Sequence[float]) -> np.ndarray:
        """Return the point of the world where a place in the data lies."""
        return self.geometry.to_world(position)

    @classmethod
    def of(cls, layer: Layer | LayerSnapshot, info: LayerInfo) -> LayerSnapshot:
        """Copy what is needed of a layer; `info` fills in what its metadata lacks."""
        return cls(
            data=layer.data,
            name=layer.name,
            metadata=info.to_metadata(),
            geometry=layer.geometry if isinstance(layer, cls) else Geometry.of(layer),
            ndim=layer.ndim,
            dtype=layer.dtype,
            axis_labels=tuple(layer.axis_labels),
            rgb=layer.rgb,
            multiscale=layer.multiscale,
        )


def is_plain_image(layer: Layer) -> bool:
    """Tell whether a layer holds images: one or a stack of them, of one channel or several.

    Labels, points, volumes of more axes than anybody has named, and complex numbers do not.
    """
    from napari.layers import Image as ImageLayer

    return isinstance(layer, ImageLayer) and LayerAxes.of(layer) is not None


def group_layers(layers: Iterable[Layer], *roles: Role) -> tuple[LayerGroup, ...]:
    """Sort the image layers of a viewer into conditions.

    Parameters
    ----------
    layers : iterable of napari layers
        Layers of all kinds; those that are no images are passed over.
    *roles : {"real", "reconstructed", "translated"}
        Which images are wanted; by default the real ones.

    Returns
    -------
    tuple of LayerGroup
        In the order in which the layers lie in the viewer. Layers of one condition that show a
        channel twice (the same folder opened again) make groups of their own.
    """
    wanted = roles or ("real",)
    members: dict[tuple[str, ...], list[tuple[Layer, LayerInfo]]] = {}
    for layer in layers:
        if not is_plain_image(layer):
            continue
        info = LayerInfo.of(layer)
        if info.role in wanted:
            # As it is written: "A/B" and "A:B" become folders of one name, and are two conditions.
            written = condition_as_written(layer) or info.condition
            key = (info.condition, info.role, info.translation or "", written)
            members.setdefault(key, []).append((layer, info))
    groups: list[LayerGroup] = []
    used: dict[tuple[str, Role], int] = {}
    for pairs in members.values():
        condition, role = pairs[0][1].condition, pairs[0][1].role
        for parts in _copies(pairs):
            number = used[condition, role] = used.get((condition, role), 0) + 1
            name = condition if number == 1 else f"{condition} ({number})"
            groups.append(
                LayerGroup(
                    name,
                    role,
                    tuple(tuple(layer for layer, _ in part) for part in parts),
                    tuple(tuple(info for _, info in part) for part in parts),
                )
            )
    return tuple(groups)


_Pair = tuple["Layer", LayerInfo]


def _copies(pairs: Sequence[_Pair]) -> list[list[list[_Pair]]]:
    """Split layers of one condition into copies, each a list of parts, each a list of channels."""
    copies: list[dict[tuple[int, int, str], _Pair]] = []
    for layer, info in pairs:
        # A layer named "control: GFP" by somebody else doesn't say which channel in the row it is.
        told = LAYER_METADATA_KEY in layer.metadata
        place = (info.part, info.channel_index, "" if told else info.channel)
        home = next((c for c in copies if place not in c), None)
        if home is None:
            copies.append(home := {})
        home[place] = (layer, info)
    return [
        [
            # Stable: channels without a number stay in the order of the layers.
            [copy[place] for place in sorted(copy, key=lambda p: p[:2]) if place[0] == part]
            for part in sorted({place[0] for place in copy})
        ]
        for copy in copies
    ]


def find_group(groups: Iterable[LayerGroup], name: str) -> LayerGroup:
    """Return the group of a condition.

    Raises
    ------
    InputError
        If no open layers are of that condition.
    """
    known = []
    for group in groups:
        if group.name == name:
            return group
        known.append(group.name)
    raise InputError(
        f"No open layers are of condition {name!r}; open are {', '.join(known) or 'none'}."
    )
