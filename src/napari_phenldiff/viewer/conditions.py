"""Conditions to choose from: those of open layers, and those of a folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.channel_match import ChannelMatch
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.viewer.image_places import parts_of
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers

if TYPE_CHECKING:
    from napari.layers import Layer

_MOST_FOLDERS = 400
"""What is looked through at every key that is typed into the path of a folder."""


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
    sources : tuple of ImageSource
        Where the images lie, if it comes from a folder or table.
    """

    name: str
    n_images: int
    channel_names: tuple[str, ...] = ()
    group: LayerGroup | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    dtype: str = ""
    n_planes: int = 1
    sources: tuple[ImageSource, ...] = ()

    def images(self) -> dict[str, str | None]:
        """Return the well or stack that each image is a part of, by the name of the image."""
        if self.group is not None:
            return parts_of(self.group)
        return {source.name: source.site.part_of for source in self.sources}

    def keys(self) -> frozenset[tuple[str, str]]:
        """Return by what its images are known in other conditions too, as far as they are files.

        A file that holds several images is one for each of them, known by their names.
        """
        pairs: list[tuple[str | None, str]] = []
        if self.group is not None:
            for infos in self.group.infos:
                pairs += zip(infos[0].paths, infos[0].images, strict=False)
        else:
            pairs += [(str(source.path), source.name) for source in self.sources]
        files = [(str(Path(path).absolute()), name) for path, name in pairs if path is not None]
        times = Counter(path for path, _ in files)
        return frozenset((path, name if times[path] > 1 else "") for path, name in files)

    def snapshot(self) -> ConditionChoice:
        """Return the same choice with layers that another thread may read."""
        return self if self.group is None else replace(self, group=self.group.snapshot())

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


def error_about_copies(chosen: Sequence[ConditionChoice]) -> str | None:
    """Return why conditions can't be compared that are the same files; None if they are not."""
    for one, other in combinations(chosen, 2):
        ours, theirs = one.keys(), other.keys()
        if ours and theirs and (ours <= theirs or theirs <= ours):
            return (
                f"{one.name} and {other.name} are the same files, opened twice: choose another "
                "condition, or remove one of the two from the viewer."
            )
    return None


def why_no_pair(
    source: ConditionChoice | LayerGroup | None,
    target: ConditionChoice | LayerGroup | None,
    folder: Path | None = None,
) -> str | None:
    """Return why two conditions are no source and target; None if they are.

    Parameters
    ----------
    source, target : ConditionChoice, LayerGroup or None
        What is chosen.
    folder : Path, optional
        Where the conditions are, if not among the open layers.
    """
    one = source or target
    if source is not None and target is not None:
        if source.name != target.name:
            return None
        return "Source and target are the same condition; choose two different ones."
    if folder is not None and one is None:
        return "Choose a folder with two conditions, each in a sub-folder of its own."
    if folder is not None and one is not None:
        return (
            f"A second condition is missing beside {one.name}: put its images into a sub-folder "
            "of its own."
        )
    if one is None:
        return "Open images of two conditions: drop TIFFs or folders of them on the viewer."
    return (
        f"A second condition is missing beside {one.name}: drop a folder with its images on the "
        "viewer."
    )


def warnings_about_copies(chosen: Sequence[ConditionChoice]) -> list[str]:
    """Tell of the images that are in two conditions."""
    told = []
    for one, other in combinations(chosen, 2):
        shared = len(one.keys() & other.keys())
        if shared:
            verb = "is" if shared == 1 else "are"
            told.append(
                f"{count(shared, 'image').capitalize()} {verb} in both {one.name} and "
                f"{other.name}: a model learns no difference from these."
            )
    return told


def needs_matching(match: ChannelMatch | None) -> bool:
    """Whether channels have to be brought into one order, which only reading the images does."""
    return match is not None and not match.changes_nothing and not match.only_leaves_out


def with_channels_of(arrangement: Arrangement, match: ChannelMatch | None) -> Arrangement:
    """Return an arrangement that reads only the channels that a match keeps."""
    if match is None or match.changes_nothing:
        return arrangement
    return arrangement.model_copy(update={"channels": match.names})


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
    """List the conditions of a folder, or of a table, looking at the metadata of one file of each.

    The number of images is that of the files, but that in the file where there is only one:
    what is inside the others is looked at when training starts.
    """
    return conditions_of_dataset(dataset_in(folder))


def conditions_of_dataset(found: Dataset | None) -> tuple[ConditionChoice, ...]:
    """List the conditions of images that were found, see `conditions_in_folder`."""
    if found is None:
        return ()
    return tuple(_choice(name, sources) for name, sources in found.conditions.items() if sources)


def dataset_in(folder: Path) -> Dataset | None:
    """Find the images of a folder or table; None where there are none."""
    try:
        return find_dataset(folder)
    except InputError:
        return None


def find_dataset(folder: Path, arrangement: Arrangement | None = None) -> Dataset:
    """Find the images of a folder or table that somebody is naming.

    Raises
    ------
    InputError
        If there are none, or so many folders that it can't be an experiment.
    """
    try:
        return Dataset.find(
            folder, arrangement, folders_only=True, most_folders=_MOST_FOLDERS, pictures=False
        )
    except (OSError, ValueError) as error:
        # While a path is typed, it passes through folders that may not be readable.
        raise InputError(f"{folder} cannot be read ({error}).") from error


def _choice(name: str, sources: Sequence[ImageSource]) -> ConditionChoice:
    peek = sources[0].peek()
    if peek is None:
        return ConditionChoice(name, len(sources), sources=tuple(sources))
    n_images = peek.n_images if len(sources) == 1 else len(sources)
    return ConditionChoice(
        name,
        n_images,
        peek.channel_names,
        sizes=(peek.size,),
        dtype=peek.dtype,
        n_planes=peek.n_planes,
        sources=tuple(sources),
    )
