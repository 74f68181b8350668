"""What the metadata of an OME-Zarr tell: axes, resolutions, names of channels and pixel size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.metadata import micrometres
from napari_phenldiff.images.naming import count, default_channel_names, quoted
from napari_phenldiff.images.zarr_arrays import path_within, told_of_array

_OF_TYPES = {"time": "N", "channel": "C"}
_OF_NAMES = {"t": "N", "time": "N", "c": "C", "ch": "C", "channel": "C"}
_OF_NAMES |= {letter.lower(): letter for letter in "ZYX"}
"""Axes whose type is not told."""

OF_OLD = ("t", "c", "z", "y", "x")
"""Axes of images of versions before 0.4, which do not name them."""


def ome_attributes(group: Any) -> Mapping[str, Any]:
    """Return what OME says of a group, in any version."""
    attributes = dict(group.attrs)
    # From version 0.5 on, all that OME says is in one place.
    own = attributes.get("ome")
    return own if isinstance(own, Mapping) else attributes


def axis_letters(axes: Sequence[Mapping[str, Any]], shape: Sequence[int]) -> str:
    """Tell what each axis is, by its type and then by its name: N, C, Z, Y or X.

    Axes of space may have any name: those that are not called x, y or z are the last of these that
    are left, in the order z, y, x.

    Raises
    ------
    InputError
        If it cannot be told.
    """
    names = [str(axis.get("name")) for axis in axes]
    types = [str(axis.get("type") or "").lower() for axis in axes]
    letters = []
    for name, kind in zip(names, types, strict=True):
        by_name = _OF_NAMES.get(name.lower(), "")
        if kind == "space":
            letters.append(by_name if by_name and by_name in "ZYX" else "")
        else:
            letters.append(_OF_TYPES.get(kind) or by_name)
    left = [letter for letter in "ZYX" if letter not in letters]
    for k in reversed(range(len(axes))):
        if not letters[k] and types[k] == "space" and left:
            letters[k] = left.pop()
        elif not letters[k] and shape[k] == 1:
            letters[k] = "N"
    for name, kind, letter in zip(names, types, letters, strict=True):
        if not letter:
            told = f' of the type "{kind}"' if kind else ""
            raise InputError(
                f'It has an axis "{name}"{told}, of which it is not known whether it counts '
                "channels, planes or images: give it the type channel, space or time, or save what "
                "lies along it as images of their own."
            )
    if letters.count("Z") > 1:
        raise InputError("It has several axes z: an image has one.")
    return "".join(letters)


def zarr_channel_names(
    attributes: Mapping[str, Any], n_channels: int
) -> tuple[tuple[str, ...], str | None]:
    """Return names of the channels, and what is wrong with those that are told."""
    channels: Sequence[Any] = (attributes.get("omero") or {}).get("channels") or ()
    labels = [channel.get("label") for channel in channels]
    told = ["" if label is None else str(label).strip() for label in labels]
    default = default_channel_names(n_channels)
    if len(told) == n_channels:
        names = tuple(name or other for name, other in zip(told, default, strict=True))
        return names, None
    if not any(told):
        return default, None
    wrong = (
        f"It names {count(len(told), 'channel')} ({quoted(told)}) but has {n_channels}, so that no "
        "name is taken, since it is not told whose they are."
    )
    return default, wrong


def zarr_pixel_size(
    scale: Mapping[str, Any],
    dataset: Mapping[str, Any],
    axes: Sequence[Mapping[str, Any]],
    letters: str,
) -> tuple[float, float] | None:
    """Return height and width of a pixel in micrometres; None where that is not told.

    Parameters
    ----------
    scale : mapping
        What is told of all resolutions.
    dataset : mapping
        The resolution that is read.
    axes : sequence of mapping
    letters : str
        What these are, see `axis_letters`.
    """
    steps = [1.0] * len(axes)
    known = False
    of_all = scale.get("coordinateTransformations") or []
    for change in [*(dataset.get("coordinateTransformations") or []), *of_all]:
        if change.get("type") == "scale" and len(change.get("scale", [])) == len(axes):
            steps = [a * float(b) for a, b in zip(steps, change["scale"], strict=True)]
            known = True
    sizes = {}
    for axis, letter, step in zip(axes, letters, steps, strict=True):
        unit = micrometres(str(axis.get("unit") or ""))
        if known and unit is not None and step > 0:
            sizes[letter] = step * unit
    return (sizes["Y"], sizes["X"]) if {"X", "Y"} <= sizes.keys() else None


def largest_dataset(path: Path, datasets: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the full resolution of an image: it should be the first, but some list it last."""

    def size(dataset: Mapping[str, Any]) -> int:
        shape = told_of_array(path / path_within(path, dataset["path"])).get("shape")
        return math.prod(map(int, shape)) if isinstance(shape, Sequence) else 0

    def step(dataset: Mapping[str, Any]) -> float:
        changes = dataset.get("coordinateTransformations") or []
        told = [change["scale"] for change in changes if change.get("type") == "scale"]
        return math.prod(map(float, told[0])) if told else math.inf

    if len(datasets) == 1:
        return datasets[0]
    sizes = [size(dataset) for dataset in datasets]
    largest = datasets[sizes.index(max(sizes))]
    lost = [one for one, n in zip(datasets, sizes, strict=True) if n == 0]
    # Without the one that should be it, any other would be a smaller copy.
    finer = [one for one in lost if one is datasets[0] or step(one) < step(largest)]
    return finer[0] if finer else largest
