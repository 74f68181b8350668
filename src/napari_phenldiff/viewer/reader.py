"""Open TIFFs and folders of conditions as layers, one per channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import fspath
from pathlib import Path

from napari.utils.notifications import show_info

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import same_channels, unified
from napari_phenldiff.images.companions import check_one_file_each
from napari_phenldiff.images.control_names import suggest_pair
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.peek import peek_tiff
from napari_phenldiff.images.tiff import (
    TIFF_SUFFIXES,
    files_left_out,
    read_planes,
    read_tiff,
    tiff_files,
)
from napari_phenldiff.viewer.layer_data import (
    LayerDataTuple,
    condition_layers,
    condition_planes,
    display_limits,
)
from napari_phenldiff.viewer.reopened import made_layers, split_made

PathOrPaths = str | Path | Sequence[str | Path]


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerDataTuple]] | None:
    """Return the reader if all that was dropped are TIFFs or folders with TIFFs, else None.

    napari calls this (see ``napari.yaml``); it looks at names only, so it is fast.
    """
    paths = _as_paths(path)
    if paths and all(_is_tiff(p) or _holds_tiffs(p) for p in paths):
        return read_layers
    return None


def read_layers(path: PathOrPaths) -> list[LayerDataTuple]:
    """Read files and folders as the layers of an experiment.

    Parameters
    ----------
    path : path or sequence of paths
        A folder with one sub-folder per condition; a folder of TIFFs (one condition); a TIFF (one
        condition, an image or a stack of them); or several of these. Several files from one folder
        are the images of one condition, named after the folder.

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
        If a file can't be read, nothing is found, conditions differ in their channels, or the
        channels of images are spread over several files.
    """
    files, made = split_made(condition_files(path))
    if made:
        return [*(read_layers(_flat(files)) if files else ()), *made_layers(made)]
    try:
        return experiment_layers({name: _read(paths) for name, paths in files.items()})
    except InputError:
        # That there are planes is only looked for where images can't be read without knowing it.
        if not any(has_planes(file) for paths in files.values() for file in paths):
            raise
    return planes_layers(
        {
            name: [stack for file in paths for stack in read_planes(file)]
            for name, paths in files.items()
        }
    )


def _flat(files: Mapping[str, Sequence[Path]]) -> list[Path]:
    return [path for paths in files.values() for path in paths]


def experiment_layers(conditions: dict[str, list[Image]]) -> list[LayerDataTuple]:
    """Make the layers of several conditions; see `read_layers`."""
    conditions = unified(conditions)
    check_same_channels(conditions)
    limits = display_limits([image for images in conditions.values() for image in images])
    first, _ = suggest_pair(list(conditions)) or (0, 0)
    layers: list[LayerDataTuple] = []
    for index, (name, images) in enumerate(conditions.items()):
        layers += condition_layers(name, images, limits, visible=index == first)
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
    first, _ = suggest_pair(list(conditions)) or (0, 0)
    layers: list[LayerDataTuple] = []
    for index, (name, stacks) in enumerate(conditions.items()):
        layers += condition_planes(name, stacks, limits, visible=index == first)
    return layers


def check_same_channels(conditions: Mapping[str, Sequence[Image]]) -> None:
    """Refuse images that can't share layers: with other numbers of channels, or other names.

    Conditions may call their channels differently: their layers are their own.

    Raises
    ------
    InputError
        Naming two such images.
    """
    for name, images in conditions.items():
        for image in images:
            if same_channels(images[0].channel_names, image.channel_names) is None:
                _refuse_other_names(name, images[0], image)
    channels = {
        tuple(image.channel_names): f"{image.name} of {name}"
        for name, images in conditions.items()
        for image in images
    }
    if len({len(names) for names in channels}) > 1:
        told = "; ".join(f"{where} has {', '.join(names)}" for names, where in channels.items())
        raise InputError(
            f"Images opened together need the same channels, but {told}: open them one by one."
        )


def _refuse_other_names(condition: str, first: Image, other: Image) -> None:
    if first.n_channels == other.n_channels and first.channel_names != other.channel_names:
        raise InputError(
            f"Images of one condition need the same channels, but in {condition} {first.name} has "
            f"{quoted(first.channel_names)} and {other.name} has {quoted(other.channel_names)}: "
            "open them one by one, or name their channels alike."
        )


def read_conditions(path: PathOrPaths) -> dict[str, list[Image]]:
    """Read files and folders as images per condition; see `read_layers`."""
    return unified({name: _read(paths) for name, paths in condition_files(path).items()})


def condition_files(path: PathOrPaths) -> dict[str, list[Path]]:
    """List the files of each condition; see `read_layers`.

    Raises
    ------
    InputError
        If there is none, or if the channels of images seem to be spread over several files.
    """
    conditions: dict[str, list[Path]] = {}
    files: dict[Path, list[Path]] = {}
    for entry in _as_paths(path):
        if not entry.is_dir():
            files.setdefault(entry.parent, []).append(entry)
        elif tiff_files(entry):
            _add_folder(conditions, entry)
        else:
            for folder in sorted(entry.iterdir()):
                if folder.is_dir() and not folder.name.startswith(".") and tiff_files(folder):
                    _add_folder(conditions, folder)
    for folder, members in files.items():
        name = members[0].name.split(".")[0] if len(members) == 1 else folder.name
        _add(conditions, name, members)
    if not conditions:
        raise InputError("There is no TIFF to open; choose .tif files or folders that hold some.")
    return conditions


def _add_folder(conditions: dict[str, list[Path]], folder: Path) -> None:
    for text in files_left_out(folder):
        show_info(text)
    _add(conditions, folder.name, tiff_files(folder))


def _add(conditions: dict[str, list[Path]], name: str, files: list[Path]) -> None:
    check_one_file_each(files)
    free, count = name, 1
    while free in conditions:
        count += 1
        free = f"{name} ({count})"
    conditions[free] = files


def _read(paths: Sequence[Path]) -> list[Image]:
    return [image for path in paths for image in read_tiff(path)]


def has_planes(path: Path) -> bool:
    """Tell whether a file has several z planes, by its metadata."""
    peek = peek_tiff(path)
    return peek is not None and peek.n_planes > 1


def _as_paths(path: PathOrPaths) -> list[Path]:
    if isinstance(path, (str, Path)):
        return [Path(path)]
    return [Path(fspath(p)) for p in path]


def _is_tiff(path: Path) -> bool:
    return path.suffix.lower() in TIFF_SUFFIXES


def _holds_tiffs(path: Path) -> bool:
    if not path.is_dir():
        return False
    return bool(tiff_files(path)) or any(tiff_files(p) for p in path.iterdir() if p.is_dir())
