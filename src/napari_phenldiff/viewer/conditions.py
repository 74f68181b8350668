"""Conditions to choose from: those of open layers, and those of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.images.channel_match import ChannelMatch
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.peek import peek_tiff
from napari_phenldiff.images.tiff import tiff_files
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers

if TYPE_CHECKING:
    from napari.layers import Layer


@dataclass(frozen=True, slots=True, eq=False)
class ConditionChoice:
    """A condition that can be chosen, from a folder or from open layers.

    Attributes
    ----------
    name : str
        What it is called.
    n_images : int
        How many images there are.
    channel_names : tuple of str
        Channels; empty where they are not known.
    group : LayerGroup, optional
        The layers, if it comes from the viewer.
    sizes : tuple of (int, int)
        Heights and widths in pixels, as far as they are known.
    dtype : str
        Data type, for example ``"uint8"``; empty where it is not known.
    n_planes : int
        Number of z planes.
    """

    name: str
    n_images: int
    channel_names: tuple[str, ...] = ()
    group: LayerGroup | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    dtype: str = ""
    n_planes: int = 1

    def label(self) -> str:
        """Return the name with the number of images, as it is shown in a list."""
        return f"{self.name} ({count(self.n_images, 'image')})"

    def format(self) -> str:
        """Return size and depth of the images, ``"128 × 128 px · 8 bit"``; empty if not known."""
        words = []
        if len(self.sizes) == 1:
            (height, width), *_ = self.sizes
            words.append(f"{width} × {height} px")
        elif self.sizes:
            words.append(f"{len(self.sizes)} sizes")
        if self.dtype:
            dtype = np.dtype(self.dtype)
            words.append(f"{dtype.itemsize * 8} bit{' float' if dtype.kind == 'f' else ''}")
        if self.n_planes > 1:
            words.append(f"{self.n_planes} z planes")
        return " · ".join(words)


def describe(chosen: Sequence[ConditionChoice], match: ChannelMatch | None) -> str:
    """Tell in a line or two what is trained on.

    Parameters
    ----------
    chosen : sequence of ConditionChoice
        At least one, the source first.
    match : ChannelMatch or None
        Which channel is which, as far as it is known.
    """
    source, *others = chosen
    names = source.channel_names if match is None else match.names
    channels = f"Channels: {', '.join(names) or ('unknown' if match is None else 'none')}"
    text = " · ".join(part for part in (channels, source.format()) if part)
    unlike = [f"{c.name}: {c.format()}" for c in others if c.format() != source.format()]
    return "\n".join([text, *(line for line in unlike if not line.endswith(": "))])


def conditions_of_layers(layers: Iterable[Layer]) -> tuple[ConditionChoice, ...]:
    """List the conditions that layers are of, see `group_layers`."""
    return tuple(
        ConditionChoice(
            group.name,
            group.n_images,
            group.channel_names,
            group,
            group.sizes,
            str(group.dtype),
            group.n_planes,
        )
        for group in group_layers(layers)
    )


def conditions_in_folder(folder: Path) -> tuple[ConditionChoice, ...]:
    """List the sub-folders that hold TIFFs, looking at the metadata of one file of each.

    The number of images is that of the files, but that in the file where there is only one:
    what is inside the others is looked at when training starts.
    """
    choices = []
    for entry in _entries(folder):
        if not entry.name.startswith("."):
            # While a path is typed, it passes through folders that may not be readable.
            with suppress(OSError):
                files = tiff_files(entry) if entry.is_dir() else []
                if files:
                    choices.append(_choice(entry.name, files))
    return tuple(choices)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (OSError, ValueError):  # nobody may look into it, or it can't be a path
        return []


def _choice(name: str, files: list[Path]) -> ConditionChoice:
    peek = peek_tiff(files[0])
    if peek is None:
        return ConditionChoice(name, len(files))
    n_images = peek.n_images if len(files) == 1 else len(files)
    return ConditionChoice(
        name,
        n_images,
        peek.channel_names,
        sizes=(peek.size,),
        dtype=peek.dtype,
        n_planes=peek.n_planes,
    )
