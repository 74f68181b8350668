"""Open TIFFs and folders of conditions as layers, one per channel."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import fspath
from pathlib import Path

from napari.utils.notifications import show_info

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import unified
from napari_phenldiff.images.control_names import is_control, suggest_pair
from napari_phenldiff.images.dataset import Dataset, may_hold_images
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.places import well_named
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.images.spreadsheet import is_table
from napari_phenldiff.images.survey import lacking_in_words
from napari_phenldiff.images.table import lists_images
from napari_phenldiff.images.tiff import is_image_file
from napari_phenldiff.viewer.layer_data import (
    LayerDataTuple,
    check_same_channels,
    condition_layers,
    condition_planes,
    display_limits,
)
from napari_phenldiff.viewer.lazy_layers import are_many, lazy_layers
from napari_phenldiff.viewer.reopened import made_layers, split_made

_MOST_STACKS = 16
"""Files that are looked into, whether each holds many images."""

PathOrPaths = str | Path | Sequence[str | Path]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerDataTuple]] | None:
    """Return the reader if all that was dropped are images, tables of images or folders with some.

    napari calls this (see ``napari.yaml``); it looks at names only, so it is fast.
    """
    paths = _as_paths(path)
    if paths and all(_is_ours(p) for p in paths):
        return read_layers
    return None


def read_layers(path: PathOrPaths) -> list[LayerDataTuple]:
    """Read files and folders as the layers of an experiment.

    Parameters
    ----------
    path : path or sequence of paths
        A folder with one sub-folder per condition; a folder of TIFFs (one condition); a TIFF (one
        condition, an image or a stack of them); a table that lists images; an OME-Zarr; or several
        of these. Several files from one folder are the images of one condition, named after the
        folder, unless each holds many images or some are named like a control.

    Returns
    -------
    list of LayerDataTuple
        Per condition one layer per channel. Contrast limits are the same for a channel in all
        conditions, and only the first condition is visible, because the images of two conditions
        on top of each other show nothing. Images with a z axis keep it: the docks ask what to make
        of it.

    Raises
    ------
    InputError
        If a file can't be read, nothing is found, or conditions differ in their channels.
    """
    found = find_conditions(path)
    return dataset_layers(found.sources, found.where)


def dataset_layers(
    conditions: Mapping[str, Sequence[ImageSource]], where: Path | None = None
) -> list[LayerDataTuple]:
    """Make the layers of images that were found; see `read_layers`.

    Parameters
    ----------
    conditions : mapping of str to sequence of ImageSource
        Where the images of each condition lie.
    where : Path, optional
        The folder or table that holds just these images, if it tells their conditions by itself.

    Raises
    ------
    InputError
        If a file can't be read, or conditions differ in their channels.
    """
    sources, made = split_made(conditions)
    layers = made_layers(made) if made else []
    return [*_layers_of(sources, where), *layers] if sources else layers


def _layers_of(
    sources: Mapping[str, Sequence[ImageSource]], where: Path | None
) -> list[LayerDataTuple]:
    first = shown_first(list(sources))
    if are_many(sources):
        layers = lazy_layers(sources, first, where)
        if layers is not None:
            number = sum(map(len, sources.values()))
            show_info(
                f"{number:,} images are read from their files as they are shown or used: leave the "
                "files where they are."
            )
            return layers
    try:
        images = {name: _read(group) for name, group in sources.items()}
        _tell_lacking(image for group in images.values() for image in group)
        return experiment_layers(images)
    except InputError:
        # That there are planes is only looked for where images can't be read without knowing it.
        if not any(has_planes(source) for group in sources.values() for source in group):
            raise
    stacks = {
        name: [stack for source in group for stack in source.read_planes()]
        for name, group in sources.items()
    }
    _tell_lacking(plane for group in stacks.values() for stack in group for plane in stack)
    return planes_layers(stacks)


def _tell_lacking(images: Iterable[Image]) -> None:
    for text in lacking_in_words(image.lacking for image in images):
        show_info(text)


def experiment_layers(conditions: dict[str, list[Image]]) -> list[LayerDataTuple]:
    """Make the layers of several conditions; see `read_layers`."""
    conditions = unified(conditions)
    check_same_channels(conditions)
    limits = display_limits([image for images in conditions.values() for image in images])
    first = shown_first(list(conditions))
    layers: list[LayerDataTuple] = []
    for name, images in conditions.items():
        layers += condition_layers(name, images, limits, visible=name == first)
    return layers


def planes_layers(conditions: dict[str, list[tuple[Image, ...]]]) -> list[LayerDataTuple]:
    """Make the layers of several conditions whose images are stacks of z planes."""
    flat = unified(
        {
            name: [plane for stack in stacks for plane in stack]
            for name, stacks in conditions.items()
        }
    )
    check_same_channels(flat)
    planes = {name: iter(found) for name, found in flat.items()}
    conditions = {
        name: [tuple(next(planes[name]) for _ in stack) for stack in stacks]
        for name, stacks in conditions.items()
    }
    limits = display_limits([plane for planes in flat.values() for plane in planes])
    first = shown_first(list(conditions))
    layers: list[LayerDataTuple] = []
    for name, stacks in conditions.items():
        layers += condition_planes(name, stacks, limits, visible=name == first)
    return layers


def shown_first(conditions: Sequence[str]) -> str:
    """Return the condition that is visible at first: the control, if there seems to be one."""
    first, _ = suggest_pair(list(conditions)) or (0, 0)
    return conditions[first]


@dataclass(frozen=True, slots=True)
class Found:
    """Where the images of some paths lie.

    Attributes
    ----------
    sources : mapping of str to tuple of ImageSource
        By their condition.
    where : Path or None
        The folder or table that was given, if it was one alone.
    """

    sources: Mapping[str, tuple[ImageSource, ...]]
    where: Path | None = None


def find_conditions(path: PathOrPaths) -> Found:
    """List where the images of each condition lie; see `read_layers`.

    What was grouped, chosen or left out is told in a notification.

    Raises
    ------
    InputError
        If there is none.
    """
    conditions: dict[str, tuple[ImageSource, ...]] = {}
    files: dict[Path, list[Path]] = {}
    paths = _as_paths(path)
    for entry in paths:
        if not entry.is_dir() and not is_table(entry):
            files.setdefault(entry.parent, []).append(entry)
        else:
            _add(conditions, Dataset.find(entry))
    for folder, members in files.items():
        name = members[0].name.split(".")[0] if len(members) == 1 else folder.name
        _add(conditions, _by_name(Dataset.of_files(members, name=name)))
    if not conditions:
        raise InputError("There is no TIFF to open; choose .tif files or folders that hold some.")
    return Found(conditions, paths[0] if len(paths) == 1 else None)


def _by_name(found: Dataset) -> Dataset:
    """Part files of one folder, if they seem to be of several conditions, and say what they are.

    Those are files that hold many images each, and files of which some are named like a control.
    """
    ((folder, sources),) = found.conditions.items()
    if len(sources) == 1:
        return found
    parted: dict[str, tuple[ImageSource, ...]]
    if len(sources) <= _MOST_STACKS and all(_holds_many(source) for source in sources):
        parted = {source.name: (source,) for source in sources}
    else:
        words: dict[str, list[ImageSource]] = {}
        for source in sources:
            words.setdefault(_without_numbers(source.name), []).append(source)
        several = len(words) > 1 and "" not in words and any(map(is_control, words))
        parted = (
            {word: tuple(group) for word, group in words.items()} if several else {folder: sources}
        )
    told = f"The images of {folder} are one condition, called like their folder."
    if len(parted) > 1:
        told = f"The images of {folder} are {len(parted)} conditions by their names."
    told += " Put images of each condition into a folder of its own to have it otherwise."
    return replace(found, conditions=parted, remarks=(*found.remarks, told))


def _holds_many(source: ImageSource) -> bool:
    peek = source.peek()
    return peek is not None and peek.n_images > 1


def _without_numbers(name: str) -> str:
    """Return what is left of a name without wells and numbers, which count images."""
    well = well_named(name)
    rest = name if well is None else name.replace(well, " ", 1)
    return "_".join(re.findall(r"[^\W\d_]+", rest))


def _add(conditions: dict[str, tuple[ImageSource, ...]], found: Dataset) -> None:
    for text in (*found.remarks, *found.left_out):
        show_info(text)
    for name, sources in found.conditions.items():
        free, count = name, 1
        while free in conditions:
            count += 1
            free = f"{name} ({count})"
        conditions[free] = sources


def _read(sources: Sequence[ImageSource]) -> list[Image]:
    return [image for source in sources for image in source.read()]


def has_planes(source: ImageSource) -> bool:
    """Tell whether an image has several z planes, by its metadata."""
    peek = source.peek()
    return peek is not None and peek.n_planes > 1


def _as_paths(path: PathOrPaths) -> list[Path]:
    if isinstance(path, (str, Path)):
        return [Path(path)]
    return [Path(fspath(p)) for p in path]


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return may_hold_images(path)
    return is_image_file(path) or (is_table(path) and path.is_file() and lists_images(path))
