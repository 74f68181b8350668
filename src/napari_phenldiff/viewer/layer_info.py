"""What is known about one layer: condition, channels, and the images along its axes.

A layer made by this plugin says in ``layer.metadata["napari-phenldiff"]`` which condition and
channel it is and which images lie along its first axis. A layer made by something else has no such
entry; what can be told from its name and its axes is told here, so that both kinds are used in the
same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_phenldiff.images.layer_axes import LayerAxes
from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY, Role, entry_in
from napari_phenldiff.images.naming import file_safe
from napari_phenldiff.images.places import Site

if TYPE_CHECKING:
    from napari.layers import Layer

# "untreated: DNA" (this plugin) and "untreated [1]" (napari, for the channels of one array).
_NEEDED = {"condition", "channel", "channel_index", "images"}
"""What the metadata of a layer of this plugin say at least."""

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
    role : Role
        Whether a camera or the model made the image, and what it is for.
    part : int
        Images of one condition that differ in shape can't share a layer: which lot this is.
    translation : str or None
        Identity of the translation that made the layer; its layers have it in common.
    real_layer : str or None
        ``unique_id`` of the layer with the real image, for a layer that the model made.
    provenance : dict
        Run, base model, conditions, strength, seed, version: how the layer was made.
    channels : tuple of str
        Names of all channels, for a layer with more than one.
    sites : tuple of Site or None
        Plate, well and field of the images, in the same order; empty where none is known.
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
    channels: tuple[str, ...] = ()
    sites: tuple[Site | None, ...] = ()

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels of the layer, in their order."""
        return self.channels or (self.channel,)

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
        if self.channels:
            entry["channels"] = list(self.channels)
        if any(site is not None and site.columns() for site in self.sites):
            entry["sites"] = [None if site is None else site.columns() for site in self.sites]
        if self.role != "real":
            entry["translation"] = self.translation
            entry["real_layer"] = self.real_layer
            entry["provenance"] = dict(self.provenance)
        return {LAYER_METADATA_KEY: entry}

    @classmethod
    def of(cls, layer: Layer) -> LayerInfo:
        """Return what the metadata of a layer says, or else what its name suggests."""
        entry = entry_in(layer.metadata)
        if entry is None:
            return cls._from_name(layer)
        if not entry.keys() >= _NEEDED:  # damaged, but still not the image of a camera
            return replace(cls._from_name(layer), role=entry.get("role", "real"))
        return cls(
            condition=entry["condition"],
            channel=entry["channel"],
            channel_index=int(entry["channel_index"]),
            images=tuple(entry["images"]),
            paths=tuple(entry.get("paths", ())),
            role=entry.get("role", "real"),
            part=int(entry.get("part", 0)),
            translation=entry.get("translation"),
            real_layer=entry.get("real_layer"),
            provenance=entry.get("provenance", {}),
            channels=tuple(entry.get("channels", ())),
            sites=tuple(map(Site.told_by, entry.get("sites", ()))),
        )

    @classmethod
    def _from_name(cls, layer: Layer) -> LayerInfo:
        axes = LayerAxes.of(layer)
        parts = axes.channel_names() if axes is not None else ()
        match = _NAME.match(layer.name)
        if match is None or (parts and match["index"]):
            # Two layers of one name: napari numbers the second.
            condition, channel, index = layer.name, None, 0
        else:
            condition, channel = match["condition"], match["channel"]
            index = int(match["index"] or 0)
        # Conditions and images become names of folders and files.
        condition = file_safe(condition)
        if channel is not None:
            parts = tuple(f"{channel} {part}" for part in parts)
        n_images = axes.n_fields if axes is not None else 1
        images = (condition,) if n_images == 1 else _numbered(condition, n_images)
        return cls(
            condition,
            channel or f"channel {index}",
            index,
            images,
            (None,) * n_images,
            channels=parts,
        )


def condition_as_written(layer: Layer) -> str | None:
    """Return the condition in the name of a layer of others, with signs that no folder can have.

    None for a layer that this plugin made, whose metadata tell.
    """
    entry = entry_in(layer.metadata)
    if entry is not None and entry.keys() >= _NEEDED:
        return None
    match = _NAME.match(layer.name)
    return layer.name if match is None else match["condition"]


def _numbered(name: str, count: int) -> tuple[str, ...]:
    return tuple(f"{name}_{i:04d}" for i in range(count))
