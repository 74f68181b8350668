"""How images lie in the viewer: one layer per channel, named, scaled, with their condition.

A layer made by this plugin says in ``layer.metadata["napari-phenldiff"]`` which condition and
channel it is and which images lie along its first axis. A layer made by something else has no such
entry; what can be told from its name is told here, so that both kinds are used in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layers import LAYER_METADATA_KEY, images_from_layers
from napari_phenldiff.images.naming import count, file_safe

if TYPE_CHECKING:
    from napari.layers import Layer

Role = Literal["real", "reconstructed", "translated"]

# "untreated: DNA" (this plugin) and "untreated [1]" (napari, for the channels of one array).
_NAME = re.compile(r"^(?P<condition>.+?)(?:: (?P<channel>.+)| \[(?P<index>\d+)\])?$")


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """What is known about one layer.

    Attributes
    ----------
    condition : str
        Condition of the cells, as they look (a translated layer has the target's).
    channel : str
        Name of the channel.
    channel_index : int
        Its place among the channels of the image.
    images : tuple of str
        Names of the images along the first axis; one name for a layer of shape (Y, X).
    paths : tuple of str or None
        The files that the images came from, in the same order; None where there is none.
    role : {"real", "reconstructed", "translated"}
        Whether a camera or the model made the image.
    part : int
        Images of one condition that differ in shape can't share a layer: which lot this is.
    translation : str or None
        Identity of the translation that made the layer; its layers have it in common.
    real_layer : str or None
        ``unique_id`` of the layer with the real image, for a layer that the model made.
    provenance : dict
        Run, base model, conditions, strength, seed, version: how the layer was made.
    """

    condition: str
    channel: str
    channel_index: int
    images: tuple[str, ...]
    paths: tuple[str | None, ...] = ()
    role: Role = "real"
    part: int = 0
    translation: str | None = None
    real_layer: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, Any]:
        """Return the mapping to pass to napari as ``metadata``."""
        entry: dict[str, Any] = {
            "condition": self.condition,
            "channel": self.channel,
            "channel_index": self.channel_index,
            "images": list(self.images),
            "paths": list(self.paths),
            "role": self.role,
            "part": self.part,
        }
        if self.role != "real":
            entry["translation"] = self.translation
            entry["real_layer"] = self.real_layer
            entry["provenance"] = dict(self.provenance)
        return {LAYER_METADATA_KEY: entry}

    @classmethod
    def of(cls, layer: Layer) -> LayerInfo:
        """Return what the metadata of a layer says, or else what its name suggests."""
        entry = layer.metadata.get(LAYER_METADATA_KEY)
        if not isinstance(entry, Mapping):
            return cls._from_name(layer)
        return cls(
            condition=str(entry["condition"]),
            channel=str(entry["channel"]),
            channel_index=int(entry["channel_index"]),
            images=tuple(entry["images"]),
            paths=tuple(entry.get("paths", ())),
            role=entry.get("role", "real"),
            part=int(entry.get("part", 0)),
            translation=entry.get("translation"),
            real_layer=entry.get("real_layer"),
            provenance=entry.get("provenance", {}),
        )

    @classmethod
    def _from_name(cls, layer: Layer) -> LayerInfo:
        match = _NAME.match(layer.name)
        # Conditions and images become names of folders and files.
        condition = file_safe(match["condition"] if match else layer.name)
        index = int(match["index"]) if match and match["index"] else 0
        channel = match["channel"] if match and match["channel"] else f"channel {index}"
        n_images = len(layer.data) if layer.ndim > 2 else 1
        images = (condition,) if n_images == 1 else _numbered(condition, n_images)
        return cls(condition, channel, index, images, (None,) * n_images)


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i:04d}" for i in range(count))


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
        return tuple(info.channel for info in self.infos[0])

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

    def images(self) -> list[Image]:
        """Return the images in the order of the layers.

        Returns
        -------
        list of Image
            Each of shape (C, Y, X), in the dtype of the layers.

        Raises
        ------
        InputError
            If the channels differ in shape or number of images.
        """
        return images_from_layers(self.name, self.layers)


@dataclass(frozen=True, slots=True, eq=False)
class LayerSnapshot:
    """The parts of a layer that `images_from_layers` reads, safe to hand to a thread."""

    data: Any
    name: str
    metadata: dict[str, Any]
    scale: np.ndarray
    translate: np.ndarray
    units: tuple[Any, ...]
    ndim: int

    @classmethod
    def of(cls, layer: Layer, info: LayerInfo) -> LayerSnapshot:
        """Copy what is needed of a layer; `info` fills in what its metadata lacks."""
        return cls(
            data=layer.data,
            name=layer.name,
            metadata=info.to_metadata(),
            scale=np.array(layer.scale),
            translate=np.array(layer.translate),
            units=tuple(layer.units),
            ndim=layer.ndim,
        )


def is_plain_image(layer: Layer) -> bool:
    """Tell whether a layer is one channel of one image (Y, X) or of a stack (N, Y, X)."""
    from napari.layers import Image as ImageLayer

    return isinstance(layer, ImageLayer) and not layer.rgb and layer.ndim in (2, 3)


def group_layers(layers: Iterable[Layer], *roles: Role) -> tuple[LayerGroup, ...]:
    """Sort the image layers of a viewer into conditions.

    Parameters
    ----------
    layers : iterable of napari layers
        Layers of all kinds; what is no scalar image is passed over.
    *roles : {"real", "reconstructed", "translated"}
        Which images are wanted; by default the real ones.

    Returns
    -------
    tuple of LayerGroup
        In the order in which the layers lie in the viewer. Layers of one condition that show a
        channel twice (the same folder opened again) make groups of their own.
    """
    wanted = roles or ("real",)
    members: dict[tuple[str, Role, str | None], list[tuple[Layer, LayerInfo]]] = {}
    for layer in layers:
        if not is_plain_image(layer):
            continue
        info = LayerInfo.of(layer)
        if info.role in wanted:
            key = (info.condition, info.role, info.translation)
            members.setdefault(key, []).append((layer, info))
    groups: list[LayerGroup] = []
    used: dict[tuple[str, Role], int] = {}
    for (condition, role, _), pairs in members.items():
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
    copies: list[dict[tuple[int, int], _Pair]] = []
    for layer, info in pairs:
        place = (info.part, info.channel_index)
        home = next((c for c in copies if place not in c), None)
        if home is None:
            copies.append(home := {})
        home[place] = (layer, info)
    return [
        [
            [copy[place] for place in sorted(copy) if place[0] == part]
            for part in sorted({part for part, _ in copy})
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
