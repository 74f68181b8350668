"""Translated images as layers beside the real ones, linked with them channel by channel."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.experimental import link_layers

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.places import Site
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.settings import settings_in
from napari_phenldiff.viewer.colors import channel_colormaps
from napari_phenldiff.viewer.differences import (
    difference,
    difference_colormap,
    difference_limits,
)
from napari_phenldiff.viewer.image_places import Lot
from napari_phenldiff.viewer.layer_data import Limits, display_limits, layer_arguments
from napari_phenldiff.viewer.layer_groups import LayerInfo, Role, is_plain_image
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.viewer.translated_stack import TranslatedStack
from napari_phenldiff.viewer.turns import Later, add_quietly, in_turns, remove_layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

LINKED_ATTRIBUTES = ("contrast_limits", "gamma", "colormap")
"""What the layers of a channel have in common: how intensity is shown, never whether it is."""


@dataclass(frozen=True, slots=True, eq=False)
class NewTranslation:
    """Images that were translated, on their way into the viewer.

    Attributes
    ----------
    translated, reconstructed : sequence of Image
        The images, in the order in which they lie in the real layers.
    source, target : str
        Conditions between which was translated.
    strength : float
        How far was gone from the one to the other.
    provenance : mapping
        How the images were made; it is kept in the metadata of every layer.
    field : int, optional
        If only one image of a stack was translated, its place: the result appears there.
    corner : (int, int)
        If only a part of the image was translated, its first row and column.
    originals : sequence of Image
        The real images, where no layer shows them channel by channel: layers of them are added.
    stack : TranslatedStack, optional
        In place of `translated`, `reconstructed` and `originals`: images that come one at a time,
        or that are too many to be in memory.
    count : int
        How many images of the stack are shown, from the first on.
    sites : sequence of Site or None
        Plate, well and field of the images of the stack; empty where none is known.
    """

    translated: Sequence[Image]
    reconstructed: Sequence[Image]
    source: str
    target: str
    strength: float = 1.0
    provenance: Mapping[str, Any] = dataclass_field(default_factory=dict)
    field: int | None = None
    corner: tuple[int, int] = (0, 0)
    originals: Sequence[Image] = ()
    stack: TranslatedStack | None = None
    count: int = 0
    sites: Sequence[Site | None] = ()

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self._first.channel_names

    @property
    def pixel_size(self) -> tuple[float, float] | None:
        """Micrometres per pixel along y and x."""
        return self._first.pixel_size

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images that are shown."""
        if self.stack is not None:
            return self.stack.names[: self.count]
        return tuple(image.name for image in self.translated)

    @property
    def image_sites(self) -> tuple[Site | None, ...]:
        """Plate, well and field of the images that are shown."""
        if self.stack is not None:
            return tuple(self.sites[: self.count])
        return tuple(image.site for image in self.translated)

    @property
    def has_originals(self) -> bool:
        """Whether layers of the real images are added."""
        return bool(self.originals) if self.stack is None else self.stack.has_originals

    def limits_of_originals(self) -> Limits:
        """Return contrast limits per channel for the layers of the real images."""
        if self.stack is not None and self.stack.limits is not None:
            return self.stack.limits
        return display_limits(self.originals)

    def planes(self, role: Role, channel: int) -> Any:
        """Return one channel of the images that have a role, as an array of shape (N, Y, X)."""
        if self.stack is not None:
            return self.stack.layer_data(role, channel, self.count)
        if role == "difference":
            pairs = zip(self.translated, self.reconstructed, strict=True)
            return np.stack([difference(*pair, channel) for pair in pairs])
        images = {
            "original": self.originals,
            "reconstructed": self.reconstructed,
            "translated": self.translated,
        }[role]
        return np.stack([image.data[channel] for image in images])

    @property
    def _first(self) -> Image:
        return self.translated[0] if self.stack is None else self.stack.first


def add_translation(
    viewer: ViewerModel, real: Sequence[Layer], new: NewTranslation, later: Later | None = None
) -> str:
    """Add the channels of some translated images, linked with the real ones.

    Per channel there is a layer each of the reconstructed image, of the translated one, and,
    hidden at first, of their difference.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where the layers are added.
    real : sequence of napari.layers.Image
        The layers of the real images, one per channel unless there are `originals`. Those that
        have left the viewer meanwhile lend their look but are not linked.
    new : NewTranslation
        What to add.
    later : callable, optional
        In a window: layers are added one at a time, see `in_turns`.

    Returns
    -------
    str
        Identity of the translation, as `translation_panes` takes it.

    Raises
    ------
    InputError
        If there are no images, or their channels don't match the layers.
    """
    if not new.names or len(new.translated) != len(new.reconstructed):
        raise InputError("There are no translated images to show; translate again.")
    channels = new.channel_names
    if not new.has_originals and len(channels) != len(real):
        raise InputError(
            f"The translated images have {count(len(channels), 'channel')}, the layers "
            f"{len(real)}; translate layers with the channels that the run was trained on."
        )
    identity = uuid.uuid4().hex
    before = made_before(viewer.layers, real, new)
    new = named_apart([layer for layer in viewer.layers if layer not in before], new)
    in_turns(viewer, adding_steps(viewer, real, new, identity, before), later)
    return identity


def adding_steps(
    viewer: ViewerModel,
    real: Sequence[Layer],
    new: NewTranslation,
    identity: str,
    before: Sequence[Layer],
) -> Iterator[None]:
    """Remove or add a layer in each step; see `add_translation`."""
    there = [layer for layer in before if layer in viewer.layers]
    for layer in there:
        remove_layers(viewer, [layer], collect=layer is there[-1])
        yield
    channels = new.channel_names
    # Of the layer as it lies now: it may have been moved since the images were taken.
    lot = Lot.of(real[0], LayerInfo.of(real[0]))
    whole = new.field is None and (new.has_originals or new.stack is not None)
    if whole and len(new.names) < len(lot.names):
        # Some were left out, or are still to come: those that are there follow each other.
        lot = lot.shortened(new.names)
    shown: Sequence[Layer] = real
    if new.has_originals:
        limits = new.limits_of_originals()
        no_real = [None] * len(channels)
        shown = yield from _add(viewer, "original", new, identity, no_real, lot, limits)
    looks = [
        {
            "contrast_limits": tuple(layer.contrast_limits),
            "colormap": layer.colormap,
            "gamma": layer.gamma,
        }
        for layer in shown
    ]
    linked: list[list[Layer]] = [[layer] if layer in viewer.layers else [] for layer in shown]
    ids = [str(layer.unique_id) for layer in shown]
    made: tuple[Role, ...] = ("reconstructed", "translated")
    for role in made:
        limits = [look["contrast_limits"] for look in looks]
        added = yield from _add(viewer, role, new, identity, ids, lot, limits, looks)
        for channel_layers, layer in zip(linked, added, strict=True):
            channel_layers.append(layer)
    for channel_layers in linked:
        # Meanwhile somebody may have removed one.
        there = [layer for layer in channel_layers if layer in viewer.layers]
        if len(there) > 1:
            link_layers(there, LINKED_ATTRIBUTES)
    colormap = difference_colormap(preferences().difference_colormap)
    limits = [difference_limits(look["contrast_limits"]) for look in looks]
    same = [{"colormap": colormap}] * len(channels)
    yield from _add(viewer, "difference", new, identity, ids, lot, limits, same)
    # What is looked at, and not the differences, which are hidden.
    if linked[-1][-1] in viewer.layers:
        viewer.layers.selection.active = linked[-1][-1]


def _described(
    new: NewTranslation, identity: str, role: Role, real_ids: Sequence[str | None]
) -> tuple[list[str], list[LayerInfo]]:
    """Return names and descriptions of the layers of one role."""
    names = new.names
    count = len(names)
    provenance = {
        **new.provenance,
        "source": new.source,
        "target": new.target,
        "strengths": [0.0 if role in ("original", "reconstructed") else new.strength] * count,
    }
    title = title_of(role, new.target, provenance["strengths"], str(provenance.get("named", "")))
    infos = [
        LayerInfo(
            new.target if role == "translated" else new.source,
            channel,
            index,
            names,
            (None,) * count,
            role=role,
            translation=identity,
            real_layer=real_ids[index],
            provenance=provenance,
            sites=new.image_sites,
        )
        for index, channel in enumerate(new.channel_names)
    ]
    return [f"{title}: {channel}" for channel in new.channel_names], infos


def title_of(role: Role, target: str, strengths: Sequence[float], named: str = "") -> str:
    """Return what the name of a layer starts with.

    Other strengths than 1 are told, and by `named` what tells it from earlier translations.
    """
    title = role if role != "translated" else f"→ {target}"
    if role == "translated" and len(set(strengths)) > 1:
        title += " × various"
    elif role == "translated" and strengths[0] != 1:
        title += f" × {strengths[0]:g}"
    return f"{title} · {named}" if named else title


_NOT_TOLD = {"source", "target", "strength"}
"""Settings that a title has anyway, or by which translations are sorted."""


def named_apart(layers: Iterable[Layer], new: NewTranslation) -> NewTranslation:
    """Return a translation whose layers have names that tell it from earlier ones."""
    named = told_apart(layers, new)
    return replace(new, provenance={**new.provenance, "named": named}) if named else new


def told_apart(layers: Iterable[Layer], new: NewTranslation) -> str:
    """Say how a translation differs from earlier ones to the same condition; empty if it is alone.

    That is told by the settings, the run and the images: "guidance 3", "image_004".
    """
    before = [
        info.provenance
        for info in _translated(layers)
        if info.provenance.get("target") == new.target
    ]
    told = []
    for name, setting in settings_in(TranslationConfig).items():
        value = new.provenance.get(name)
        others = [made[name] for made in before if name in made]
        if name not in _NOT_TOLD and value is not None and any(x != value for x in others):
            words = f"{value:g}" if isinstance(value, float) else str(value)
            told.append(f"{setting.label.lower()} {words}")
    run = str(new.provenance.get("run", ""))
    if run and any(made.get("run", run) != run for made in before):
        told.append(Path(run).name)
    images = list(new.names)
    if any(list(made.get("source_images", images)) != images for made in before):
        told.append(images[0] if len(images) == 1 else count(len(images), "image"))
    return ", ".join(told)


def made_before(layers: Iterable[Layer], real: Sequence[Layer], new: NewTranslation) -> list[Layer]:
    """Return the layers of an earlier translation of the same images with the same settings."""
    ids = {str(layer.unique_id) for layer in real}
    same = {
        info.translation
        for info in _translated(layers)
        if (new.has_originals or info.real_layer in ids) and _is_same(info.provenance, new)
    }
    return [layer for layer in layers if is_plain_image(layer) and _of(layer) in same]


def _is_same(made: Mapping[str, Any], new: NewTranslation) -> bool:
    asked = {**new.provenance, "source": new.source, "target": new.target}
    names = {"run", "region", *settings_in(TranslationConfig)} - {"strength"}
    return (
        all(made.get(name) == asked.get(name) for name in names)
        and "run" in asked  # what did not come out of a session is not known well enough
        and list(made.get("source_images", ())) == list(new.names)
        and list(made.get("strengths", ())) == [new.strength] * len(new.names)
    )


def _translated(layers: Iterable[Layer]) -> list[LayerInfo]:
    """Return what is known of the translated layers, once for each translation."""
    infos = (LayerInfo.of(layer) for layer in layers if is_plain_image(layer))
    return list({i.translation: i for i in infos if i.role == "translated"}.values())


def _of(layer: Layer) -> str | None:
    return LayerInfo.of(layer).translation


def _add(
    viewer: ViewerModel,
    role: Role,
    new: NewTranslation,
    identity: str,
    real_ids: Sequence[str | None],
    lot: Lot,
    limits: Limits,
    looks: Sequence[Mapping[str, Any]] = (),
) -> Generator[None, None, list[Layer]]:
    """Add the layers of one role upon the real ones, the lowest covering what lies below."""
    from napari.layers import Image as ImageLayer

    all_arguments = layer_arguments(
        *_described(new, identity, role, real_ids),
        limits,
        lead=("field",) if len(new.names) > 1 else (),
        pixel_size=new.pixel_size,
        visible=role != "difference",
        colormaps=[look["colormap"] for look in looks] or channel_colormaps(new.channel_names),
    )
    added: list[Layer] = []
    for index, arguments in enumerate(all_arguments):
        if looks and "gamma" in looks[index]:
            arguments["gamma"] = looks[index]["gamma"]
        if index == 0:
            # Hiding the translated layers brings the reconstructed ones to light, and hiding these
            # the real ones, all in place.
            arguments["blending"] = "opaque"
        if new.stack is not None and new.stack.is_lazy:
            arguments["cache"] = False  # napari would keep what it has read, for each channel
        planes = new.planes(role, index)
        data, geometry = lot.channel_layer(planes, new.field, new.corner)
        layer = ImageLayer(data, **{**arguments, **geometry.arguments()})
        yield from add_quietly(viewer, layer)
        added.append(layer)
        yield
    return added
