"""Translated images as layers beside the real ones, linked with them channel by channel."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari.experimental import link_layers

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.viewer.layers import LayerInfo, Role
from napari_phenldiff.viewer.tuples import stack_layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

LINKED_ATTRIBUTES = ("contrast_limits", "gamma", "colormap")
"""What the layers of a channel have in common: how intensity is shown, never whether it is."""


def add_translation(
    viewer: ViewerModel,
    real: Sequence[Layer],
    translated: Sequence[Image],
    reconstructed: Sequence[Image],
    *,
    source: str,
    target: str,
    provenance: Mapping[str, Any],
    field: int | None = None,
) -> str:
    """Add the reconstructed and translated channels of some images, linked with the real ones.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where the layers are added.
    real : sequence of napari.layers.Image
        The layers of the real images, one per channel. Those that have left the viewer meanwhile
        lend their look but are not linked.
    translated, reconstructed : sequence of Image
        The images, in the order in which they lie in the real layers.
    source, target : str
        Conditions between which was translated.
    provenance : mapping
        How the images were made; it is kept in the metadata of every layer.
    field : int, optional
        If only one image of a stack was translated, its place: the result appears there.

    Returns
    -------
    str
        Identity of the translation, as `translation_panes` takes it.

    Raises
    ------
    InputError
        If there are no images, or their channels don't match the layers.
    """
    if not translated or len(translated) != len(reconstructed):
        raise InputError("There are no translated images to show; translate again.")
    channels = translated[0].channel_names
    if len(channels) != len(real):
        raise InputError(
            f"The translated images have {len(channels)} channels, the layers {len(real)}; "
            "translate layers with the channels that the run was trained on."
        )
    limits = [tuple(layer.contrast_limits) for layer in real]
    colours = [layer.colormap for layer in real]
    gammas = [layer.gamma for layer in real]
    identity = uuid.uuid4().hex
    kinds: tuple[tuple[Role, str, Sequence[Image]], ...] = (
        ("reconstructed", "reconstructed", reconstructed),
        ("translated", f"→ {target}", translated),
    )
    provenance = {"source": source, "target": target, **provenance}
    linked: list[list[Layer]] = [[layer] if layer in viewer.layers else [] for layer in real]
    for role, title, images in kinds:
        infos = [
            LayerInfo(
                target if role == "translated" else source,
                channel,
                index,
                tuple(image.name for image in images),
                (None,) * len(images),
                role=role,
                translation=identity,
                real_layer=str(real[index].unique_id),
                provenance=provenance,
            )
            for index, channel in enumerate(channels)
        ]
        names = [f"{title}: {channel}" for channel in channels]
        tuples = stack_layers(names, infos, images, limits, colormaps=colours)
        for channel_layers, gamma, (data, arguments, _) in zip(linked, gammas, tuples, strict=True):
            arguments["gamma"] = gamma
            if channel_layers is linked[0]:
                # The lowest channel covers what lies below: hiding the translated layers brings the
                # reconstructed ones to light, and hiding these the real ones, all in place.
                arguments["blending"] = "opaque"
            if field is not None:
                _put_into_stack(arguments, field)
                data = data[None]
            channel_layers.append(viewer.add_image(data, **arguments))
    for channel_layers in linked:
        link_layers(channel_layers, LINKED_ATTRIBUTES)
    return identity


def _put_into_stack(arguments: dict[str, Any], field: int) -> None:
    """Give a layer of shape (1, Y, X) the place of one field in a stack."""
    arguments["axis_labels"] = ("field", "y", "x")
    arguments["translate"] = (float(field), 0.0, 0.0)
    if "scale" in arguments:
        arguments["scale"] = (1.0, *arguments["scale"])
        arguments["units"] = ("pixel", *arguments["units"])
