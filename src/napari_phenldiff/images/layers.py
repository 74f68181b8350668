"""Images out of napari's layers, without importing napari."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection, projection_of
from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.images.image import Image, as_storable
from napari_phenldiff.images.layer_axes import LayerAxes, refused
from napari_phenldiff.images.layer_metadata import entry_in
from napari_phenldiff.images.metadata import micrometres
from napari_phenldiff.images.naming import file_safe
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.tiff import read_tiff

ReadFile = Callable[[Path], Sequence[Image]]


_RIGHT_ANGLE = 0.01
"""Largest cosine between y and x that is still taken for a right angle."""

_MOST_APART = 0.5
"""Pixels that the same pixel of two channels may lie apart in the viewer."""


def images_from_layers(
    condition: str,
    layers: Sequence[Any],
    *,
    z: int | Projection | None = None,
    read_file: ReadFile | None = None,
) -> list[Image]:
    """Copy images out of layers.

    Layers with the metadata of this package are put together by the images that they say they
    show. All others are the channels of the same fields, in the order given, and lend the
    channels their names. The channels of a layer that has several are named as those of a file:
    "channel 0" or "red", after the name of the layer if there are more layers.

    Parameters
    ----------
    condition : str
        Name of the condition, for messages.
    layers : sequence of layers
        Objects like napari's image layers, with ``data``, ``name``, ``metadata``, ``scale`` and
        ``units``, and where they have them ``rgb``, ``multiscale`` and ``axis_labels``. The data
        are (Y, X), (N, Y, X) for fields along the slider, or (N, C, Y, X); with ``rgb`` the
        colours come last, and alpha is left out. An axis labelled "c" or "channel" holds channels
        wherever it is, one labelled "z" planes, and any other label counts fields.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection for layers with a z axis. Means and sums of integers come as
        float32. Layers without a z axis are taken as they are.
    read_file : callable, optional
        Reads the images of a file that a layer says it shows, to tell whether the layer still
        shows them; by default `read_tiff`, once per file.

    Returns
    -------
    list of Image
        An image has a path only if the layer still shows what is in the file.

    Raises
    ------
    InputError
        If there is no layer, if layers that belong together differ in shape, lie at different
        places in the viewer or hold the same channel, or if a layer has too many axes, or a z axis
        and `z` doesn't say what to do.
    """
    if not layers:
        raise InputError(f'Condition "{condition}" has no layers: choose at least one.')
    groups: dict[tuple[str, ...], list[Any]] = {}
    if all(_own_metadata(layer).get("images") for layer in layers):
        for layer in layers:
            names = tuple(str(name) for name in _own_metadata(layer)["images"])
            groups.setdefault(names, []).append(layer)
    else:
        groups[()] = list(layers)
    read_file = cache(read_tiff) if read_file is None else read_file
    return [
        image
        for names, group in groups.items()
        for image in _images_of_group(names, group, read_file, z)
    ]


def _images_of_group(
    names: tuple[str, ...],
    layers: list[Any],
    read_file: ReadFile,
    z: int | Projection | None,
) -> list[Image]:
    """Images whose channels are spread over these layers."""
    if names:
        layers = sorted(layers, key=lambda layer: _own_metadata(layer).get("channel_index", 0))
    stacks: list[np.ndarray] = []
    channel_names: list[str] = []
    projection = None
    for layer in layers:
        stack, channels = _channels(layer, z, alone=len(layers) == 1)
        axes = LayerAxes.of(layer)
        projection = None if axes is None else projection_of(axes.n_planes, z)
        if stacks and stack[:, 0].shape != stacks[0][:, 0].shape:
            raise InputError(
                f'Layer "{layer.name}" has the shape {stack[:, 0].shape} but layer '
                f'"{layers[0].name}" has {stacks[0][:, 0].shape}: '
                "channels of the same fields need the same shape."
            )
        for channel in channels:
            if channel in channel_names:
                raise InputError(
                    f'Layer "{layer.name}" holds the channel "{channel}" again: '
                    "choose one layer per channel."
                )
        stacks.append(stack)
        channel_names += channels
    _check_places(layers, stacks[0].shape[-2:])
    data = np.ascontiguousarray(as_storable(np.concatenate(stacks, axis=1)))

    named = len(names) == len(data)
    if not named:
        base = file_safe(str(layers[0].name))
        names = (base,) if len(data) == 1 else tuple(f"{base}_{i:04d}" for i in range(len(data)))
    paths = list(_own_metadata(layers[0]).get("paths") or ())
    if len(paths) != len(data):
        paths = [None] * len(data)
    sites = sites_of(layers[0], len(data))
    parts = stacks_of(str(layers[0].name), len(data), named=named, paths=paths, sites=sites)
    return [
        Image(
            data=field,
            channel_names=tuple(channel_names),
            pixel_size=pixel_size_of(layers[0]),
            name=name,
            path=_unchanged_file(path, name, field, read_file),
            part_of=part_of,
            site=site,
            projection=projection,
        )
        for field, name, path, part_of, site in zip(data, names, paths, parts, sites, strict=True)
    ]


def stacks_of(
    layer_name: str,
    n: int,
    *,
    named: bool,
    paths: Sequence[str | None],
    sites: Sequence[Site | None] = (),
) -> tuple[str | None, ...]:
    """Say which well, or else which stack, each image of a layer is a part of.

    Parameters
    ----------
    layer_name : str
    n : int
        Images in the layer.
    named : bool
        Whether the layer names its images; those of a layer that does not are one stack.
    paths : sequence of str or None
        The file of each image, as far as they are known: several from one file are one stack.
    sites : sequence of Site or None
        Where each image was taken, as far as that is known.

    Returns
    -------
    tuple of str or None
        None for an image that is alone.
    """
    if not named:
        return (layer_name,) * n if n > 1 else (None,)
    stacks: list[str | None] = [None] * n
    if len(paths) == n:
        times = Counter(paths)
        stacks = [Path(p).stem if p is not None and times[p] > 1 else None for p in paths]
    if len(sites) != n:
        return tuple(stacks)
    wells = (None if site is None else site.part_of for site in sites)
    return tuple(well or stack for well, stack in zip(wells, stacks, strict=True))


def sites_of(layer: Any, n: int) -> tuple[Site | None, ...]:
    """Return where each of the `n` images of a layer was taken, None where it does not say."""
    told = list(_own_metadata(layer).get("sites") or ())
    return tuple(map(Site.told_by, told)) if len(told) == n else (None,) * n


def _own_metadata(layer: Any) -> Mapping[str, Any]:
    return entry_in(getattr(layer, "metadata", None)) or {}


def _channels(
    layer: Any, z: int | Projection | None, *, alone: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring one layer to the axes field, channel, y, x, and name its channels."""
    axes = LayerAxes.of(layer)
    if axes is None:
        raise refused(layer)
    if z is None and axes.n_planes > 1:
        raise InputError(
            f'Layer "{layer.name}" has {axes.n_planes} z planes: project it along z first.'
        )
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    stack = axes.to_ncyx(np.asarray(data), z)
    entry = _own_metadata(layer)
    name = str(entry.get("channel") or layer.name)
    told = tuple(str(channel) for channel in entry.get("channels") or ())
    if len(told) == axes.n_channels:
        return stack, told
    parts = axes.channel_names()
    if not parts:
        return stack, (name,)
    return stack, parts if alone else tuple(f"{name} {part}" for part in parts)


def pixel_size_of(layer: Any) -> tuple[float, float] | None:
    """Return the micrometres per pixel (y, x) of a layer, None where its units are pixels.

    What the layer is turned, stretched or sheared by counts, too. Where that leaves no right angle
    between y and x, a pixel has no height and width.
    """
    factors = _units_in_plane(layer)
    if factors is None:
        return None
    steps = _steps_in_plane(layer) * factors[:, np.newaxis]
    y, x = (float(length) for length in np.linalg.norm(steps, axis=0))
    if not y or not x or abs(float(steps[:, 0] @ steps[:, 1])) > _RIGHT_ANGLE * y * x:
        return None
    return y, x


def _steps_in_plane(layer: Any) -> np.ndarray:
    """Return what one pixel along y, and one along x, is in the world: (2, 2), as columns."""
    steps = np.diag([float(step) for step in layer.scale][-2:])
    _, moved = _place_in_plane(layer)
    # A layer that is only scaled has its scale to the last digit.
    return steps if np.allclose(np.abs(moved), np.abs(steps), rtol=1e-6, atol=0) else moved


def _place_in_plane(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return where in the world, along y and x, the first pixel lies, and its steps (2, 2)."""
    to_world = getattr(layer, "data_to_world", None)
    if to_world is None:
        return np.zeros(2), np.diag([float(step) for step in layer.scale][-2:])
    n_axes = len(layer.scale)
    origin = np.asarray(to_world(np.zeros(n_axes)))
    places = np.eye(n_axes)[-2:]
    steps = np.array([np.asarray(to_world(place)) - origin for place in places]).T[-2:]
    return origin[-2:], steps


def _check_places(layers: Sequence[Any], shape: tuple[int, ...]) -> None:
    """Refuse channels that the viewer shows at different places: they are read pixel by pixel.

    Who has laid one upon the other there, by a translation or a scale, would have what lies beside
    it measured. A layer that was never placed, as plugins return them, is taken for what it is a
    channel of.
    """
    first, *others = layers
    units = [_units_in_plane(layer) for layer in layers]
    known = all(unit is not None for unit in units)
    height, width = shape
    corners = np.array([(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]).T

    def corners_of(layer: Any, unit: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        origin, steps = _place_in_plane(layer)
        factor = np.ones(2) if unit is None or not known else unit
        steps = steps * factor[:, np.newaxis]
        return (origin * factor)[:, np.newaxis] + steps @ corners, steps

    places, steps = corners_of(first, units[0])
    for layer, unit in zip(others, units[1:], strict=True):
        moved, _ = corners_of(layer, unit)
        pair = (layer, first)
        if _never_placed(*pair) or _never_placed(*reversed(pair)):
            continue
        apart = float(np.abs(np.linalg.solve(steps, moved - places)).max())
        if apart > _MOST_APART:
            raise InputError(
                f'Layer "{layer.name}" lies elsewhere in the viewer than layer "{first.name}", up '
                f"to {apart:.3g} pixels apart, but channels are read pixel by pixel: give both "
                "the same scale, translation and rotation, and shift the pixels themselves where "
                "channels have to be aligned."
            )


def _never_placed(layer: Any, other: Any) -> bool:
    """Whether a layer lies as if nothing was said of it, and the other is only scaled."""
    (origin, steps), (start, scale) = _place_in_plane(layer), _place_in_plane(other)
    plain = not origin.any() and np.array_equal(steps, np.eye(2))
    return bool(
        plain
        and not start.any()
        and np.array_equal(scale, np.diag(np.diag(scale)))
        and (np.diag(scale) > 0).all()
    )


def _units_in_plane(layer: Any) -> np.ndarray | None:
    """Return the micrometres in a unit along y and x; None where they are no lengths."""
    units = [micrometres(str(unit)) for unit in (getattr(layer, "units", None) or ())][-2:]
    return None if len(units) != 2 or None in units else np.array(units, float)


def _unchanged_file(
    path: str | None, name: str, data: np.ndarray, read_file: ReadFile
) -> Path | None:
    """Path of an image's file if the file still gives these pixels, else None.

    A layer may have been cropped or painted on since it was opened, and the file changed.
    """
    if path is None:
        return None
    file = Path(path)
    if not is_regular_file(file):  # a device or a pipe may keep whoever reads it waiting
        return None
    try:
        images = read_file(file)
    except InputError:
        return None
    for image in images:
        same_kind = image.name == name and image.data.dtype == data.dtype
        if same_kind and np.array_equal(image.data, data):
            return file
    return None
