"""Translated images that were saved as TIFFs, opened again as what they are.

Opened like any other files they would pass for images of a camera, to be trained on and to find
thresholds in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.images.tiff import read_provenance, read_tiff
from napari_phenldiff.viewer.layer_data import LayerDataTuple, display_limits, stack_layers
from napari_phenldiff.viewer.layer_info import LayerInfo

Made = tuple[Path, dict[str, Any]]
"""A file and what it says about how it was made."""

_MOST_FILES = 16
"""A translation is saved as a few stacks; folders of hundreds of files aren't looked through."""

_NEEDED = frozenset({"kind", "condition", "translation", "source", "target"})


def split_made(
    sources: Mapping[str, Sequence[ImageSource]],
) -> tuple[dict[str, list[ImageSource]], list[Made]]:
    """Part the files that a model made, and the viewer saved, from all others.

    Parameters
    ----------
    sources : mapping of str to sequence of ImageSource
        Per condition, as `find_conditions` lists them.

    Returns
    -------
    others : dict of str to list of ImageSource
        Without the conditions of which nothing is left.
    made : list of (path, provenance)
    """
    others: dict[str, list[ImageSource]] = {}
    made: list[Made] = []
    for name, group in sources.items():
        for source in group:
            provenance = _provenance(source.path) if len(group) <= _MOST_FILES else {}
            kind = provenance.get("kind")
            if kind in ("reconstructed", "translated") and provenance.keys() >= _NEEDED:
                made.append((source.path, provenance))
            else:
                others.setdefault(name, []).append(source)
    return others, made


def _provenance(path: Path) -> dict[str, Any]:
    try:
        return read_provenance(path) or {}
    except InputError:
        return {}  # told when the file is read


def made_layers(made: Sequence[Made]) -> list[LayerDataTuple]:
    """Make the layers of files that `split_made` found: role, names and provenance are kept.

    Contrast limits are the same in files with the same channels.

    Raises
    ------
    InputError
        If a file can't be read.
    """
    opened = [(read_tiff(path), provenance) for path, provenance in made]
    layers: list[LayerDataTuple] = []
    for images, provenance in opened:
        channels = images[0].channel_names
        alike = [
            image for others, _ in opened for image in others if image.channel_names == channels
        ]
        names = tuple(str(name) for name in provenance.get("images", ()))
        if len(names) == len(images):
            images = [replace(x, name=name) for x, name in zip(images, names, strict=True)]
        role, condition = provenance["kind"], str(provenance["condition"])
        infos = [
            LayerInfo(
                condition,
                channel,
                index,
                tuple(image.name for image in images),
                (None,) * len(images),
                role=role,
                translation=str(provenance["translation"]),
                provenance=provenance,
                sites=tuple(map(Site.told_by, provenance.get("sites", ()))),
            )
            for index, channel in enumerate(channels)
        ]
        title = f"→ {condition}" if role == "translated" else "reconstructed"
        titles = [f"{title}: {channel}" for channel in channels]
        layers += stack_layers(titles, infos, images, display_limits(alike))
    return layers
