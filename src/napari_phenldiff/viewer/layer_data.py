"""Images as layer data tuples for napari, one layer per channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import same_channels
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.viewer.colors import channel_colormaps
from napari_phenldiff.viewer.layer_groups import LayerInfo

LayerDataTuple = tuple[Any, dict[str, Any], str]
"""Data, arguments of ``add_<type>`` and type of one layer, as napari's readers return it."""

Limits = Sequence[tuple[float, float]]
"""Contrast limits per channel."""


def display_limits(images: Sequence[Image]) -> tuple[tuple[float, float], ...]:
    """Choose contrast limits per channel, the same for all images of an experiment.

    Parameters
    ----------
    images : sequence of Image
        All images of all conditions: with limits of its own, a dimmer condition would look as
        bright as the others.

    Returns
    -------
    tuple of (float, float)
        Low and high per channel; high is always above low, which napari asks for.
    """
    return tuple(_channel_limits(images, c) for c in range(images[0].n_channels))


def _channel_limits(images: Sequence[Image], channel: int) -> tuple[float, float]:
    name = images[0].channel_names[channel : channel + 1]
    planes = (
        replace(image, data=image.data[channel : channel + 1], channel_names=name)
        for image in images
    )
    try:
        scaling = IntensityScaling.fit(planes)
    except InputError:
        # A channel without any contrast can't be trained on, but it can be looked at.
        value = float(images[0].data[channel].flat[0])
        value = value if np.isfinite(value) else 0.0
        return value, value + 1.0
    return scaling.low[0], scaling.high[0]


def condition_layers(
    condition: str, images: Sequence[Image], limits: Limits, *, visible: bool = True
) -> list[LayerDataTuple]:
    """Make the layers of one condition: one per channel, images of a shape stacked.

    Parameters
    ----------
    condition : str
        Name of the condition.
    images : sequence of Image
        Its images, all with the same channels.
    limits : sequence of (float, float)
        Contrast limits per channel.
    visible : bool
        Whether the layers are shown at first.

    Returns
    -------
    list of LayerDataTuple
        Named ``condition: channel``. Data of shape (Y, X) for one image, otherwise (N, Y, X).
    """
    lots: dict[tuple[int, ...], list[Image]] = {}
    for image in images:
        lots.setdefault(image.data.shape, []).append(image)
    tuples: list[LayerDataTuple] = []
    for part, lot in enumerate(lots.values()):
        size = "" if len(lots) == 1 else f" ({lot[0].data.shape[2]} × {lot[0].data.shape[1]})"
        infos = [
            LayerInfo(
                condition,
                channel,
                index,
                tuple(image.name for image in lot),
                tuple(None if image.path is None else str(image.path) for image in lot),
                part=part,
                sites=tuple(image.site for image in lot),
            )
            for index, channel in enumerate(lot[0].channel_names)
        ]
        names = [f"{condition}: {info.channel}{size}" for info in infos]
        tuples += stack_layers(names, infos, lot, limits, visible=visible)
    return tuples


def condition_planes(
    condition: str,
    stacks: Sequence[Sequence[Image]],
    limits: Limits,
    *,
    visible: bool = True,
) -> list[LayerDataTuple]:
    """Make the layers of one condition whose images have z planes.

    Parameters
    ----------
    condition, limits, visible
        As for `condition_layers`.
    stacks : sequence of sequence of Image
        Per image its planes, all of one shape and with the same channels.

    Returns
    -------
    list of LayerDataTuple
        Data of shape (Z, Y, X) for one image, otherwise (N, Z, Y, X); axes labelled "z" and
        "field".
    """
    lots: dict[tuple[int, ...], list[Sequence[Image]]] = {}
    for stack in stacks:
        lots.setdefault((len(stack), *stack[0].data.shape), []).append(stack)
    tuples: list[LayerDataTuple] = []
    for part, ((depth, _, height, width), lot) in enumerate(lots.items()):
        size = "" if len(lots) == 1 else f" ({width} × {height} × {depth})"
        images = tuple(stack[0].name for stack in lot)
        sites = tuple(stack[0].site for stack in lot)
        infos = [
            LayerInfo(condition, channel, index, images, (None,) * len(lot), part=part, sites=sites)
            for index, channel in enumerate(lot[0][0].channel_names)
        ]
        names = [f"{condition}: {info.channel}{size}" for info in infos]
        planes = [plane for stack in lot for plane in stack]
        lead = ("field", "z") if len(lot) > 1 else ("z",)
        for data, arguments, kind in stack_layers(names, infos, planes, limits, visible=visible):
            shape = (len(lot), depth, height, width)[-len(lead) - 2 :]
            arguments["axis_labels"] = (*lead, "y", "x")
            if "scale" in arguments:
                arguments["scale"] = (*[1.0] * len(lead), *arguments["scale"][-2:])
                arguments["units"] = (*["pixel"] * len(lead), *arguments["units"][-2:])
            tuples.append((np.reshape(data, shape), arguments, kind))
    return tuples


def stack_layers(
    names: Sequence[str],
    infos: Sequence[LayerInfo],
    images: Sequence[Image],
    limits: Limits,
    *,
    visible: bool = True,
    colormaps: Sequence[Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> list[LayerDataTuple]:
    """Make one layer per channel of images that have the same shape.

    Parameters
    ----------
    names, infos, limits : sequence
        Name, description and contrast limits of the layer, per channel.
    images : sequence of Image
        The images along the first axis. One image makes a layer without that axis.
    visible : bool
        Whether the layers are shown at first.
    colormaps : sequence, optional
        Per channel; chosen by the channels' names if not given.
    extra : mapping, optional
        More arguments for every layer.

    Returns
    -------
    list of LayerDataTuple
        One per channel.
    """
    stacked = len(images) > 1
    all_arguments = layer_arguments(
        names,
        infos,
        limits,
        lead=("field",) if stacked else (),
        pixel_size=images[0].pixel_size,
        visible=visible,
        colormaps=colormaps or channel_colormaps(images[0].channel_names),
    )
    tuples: list[LayerDataTuple] = []
    for c, arguments in enumerate(all_arguments):
        planes = [image.data[c] for image in images]
        data = np.stack(planes) if stacked else np.ascontiguousarray(planes[0])
        tuples.append((data, {**arguments, **(extra or {})}, "image"))
    return tuples


def layer_arguments(
    names: Sequence[str],
    infos: Sequence[LayerInfo],
    limits: Limits,
    *,
    lead: Sequence[str] = (),
    pixel_size: tuple[float, float] | None = None,
    visible: bool = True,
    colormaps: Sequence[Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the arguments of the layers of some channels.

    Parameters
    ----------
    names, infos, limits, visible, colormaps
        As for `stack_layers`.
    lead : sequence of str
        Labels of the axes before y and x.
    pixel_size : tuple of float or None
        Micrometres along y and x.
    """
    colours = colormaps or channel_colormaps([info.channel for info in infos])
    spatial = spatial_arguments(pixel_size, lead=len(lead))
    return [
        {
            "name": name,
            "colormap": colours[c],
            "contrast_limits": limits[c],
            "blending": "additive",
            "visible": visible,
            "metadata": info.to_metadata(),
            "axis_labels": (*lead, "y", "x"),
            **spatial,
        }
        for c, (name, info) in enumerate(zip(names, infos, strict=True))
    ]


def spatial_arguments(pixel_size: tuple[float, float] | None, *, lead: int = 0) -> dict[str, Any]:
    """Return scale and units of a layer with pixels of a size in micrometres (y, x).

    Parameters
    ----------
    pixel_size : tuple of float or None
    lead : int
        Number of axes before y and x.
    """
    if pixel_size is None:
        return {}
    return {
        "scale": (*[1.0] * lead, *pixel_size),
        "units": (*["pixel"] * lead, "um", "um"),
    }


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
