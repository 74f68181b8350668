"""The objects of the image that is shown, cut out with the current settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.profiles.fitting import complete_thresholds, threshold_basis
from napari_phenldiff.measurement.profiles.profile import Profile, measurable_plane
from napari_phenldiff.measurement.segmentation.segmenters import Given, with_segmenter
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.viewer.given_labels import NOT_GIVEN_METADATA_KEY
from napari_phenldiff.viewer.image_places import FieldImages, Lot
from napari_phenldiff.viewer.measuring import MeasuringRequest
from napari_phenldiff.viewer.threshold_cache import thresholds
from napari_phenldiff.viewer.turns import remove_layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

PREVIEW_METADATA_KEY = "napari-phenldiff-preview"
"""Key of the metadata of the layer with the preview, by which it is found again."""

PREVIEW_NAME = "preview: objects"

# Yellow and light blue stand out on blue, green, magenta and grey, and from each other.
_OBJECT_COLOUR = (1.0, 0.84, 0.0, 1.0)
_RING_COLOUR = (0.55, 0.85, 1.0, 0.75)


@dataclass(frozen=True, slots=True, eq=False)
class PreviewTarget:
    """One image of the conditions that are to be measured.

    Attributes
    ----------
    request : MeasuringRequest
        What is asked for, as a snapshot.
    group : str
        Name of the group that is seen.
    part, place : int
        Part of the group, and place in it along the first axis of the layers.
    """

    request: MeasuringRequest
    group: str
    part: int
    place: int


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPreview:
    """What was cut out of an image.

    Attributes
    ----------
    labels : numpy.ndarray of shape (Y, X), int32
        The objects have the odd numbers 1, 3, ..., and what is measured around each the even
        number after it: one colour for either.
    lot : Lot
        Where the layers of the image lie.
    place : int
        The place of the image in them.
    text : str
        Thresholds, number and area in words, or why there is nothing to see.
    thresholds : mapping of str to float
        The thresholds, in units of the scaled grey values.
    """

    labels: np.ndarray
    lot: Lot
    place: int
    text: str
    thresholds: Mapping[str, float]


class SupersededError(Exception):
    """Raised by a listener of `outline` when its result isn't wanted any more."""


def preview_target(viewer: ViewerModel, request: MeasuringRequest) -> PreviewTarget:
    """Find the image that is shown: the topmost visible one, at the place of the slider.

    Called in the GUI's thread.

    Raises
    ------
    InputError
        If none of the images to measure is looked at.
    """
    error = request.validation_error()
    if error is not None:
        raise InputError(error)
    if viewer.canvas.grid.enabled:
        raise InputError("There is no preview while layers are side by side.")
    groups = request.groups()
    homes = {layer: name for name, group in groups.items() for layer in group.layers}
    seen = [homes[x] for x in reversed(viewer.layers) if x.visible and x in homes]
    if not seen:
        raise InputError("Make a layer of the conditions visible to see its objects.")
    for name in dict.fromkeys(seen):
        # Images of another shape, and other conditions, may lie at other places of the slider.
        lots = FieldImages(groups[name]).lots
        for part, (layers, lot) in enumerate(zip(groups[name].parts, lots, strict=True)):
            place = lot.place_shown(viewer)
            if place is not None and any(layer.visible for layer in layers):
                return PreviewTarget(request.snapshot(), name, part, place)
    raise InputError(f"There is no image of {seen[0]} at this place of the slider.")


def outline(
    target: PreviewTarget, on_step: Callable[[str], None] = lambda doing: None
) -> ObjectPreview:
    """Cut the objects out of one image, with the thresholds that a measurement would have.

    Parameters
    ----------
    target : PreviewTarget
        What `preview_target` returned.
    on_step : callable
        Told in a few words what takes a while; what it raises ends the work.

    Raises
    ------
    InputError
        If the images can't be read out of the layers, or lack a channel.
    """
    request = target.request
    profile, settings = find_profile(request.profile), request.chosen_settings()

    def on_image(done: int, total: int) -> None:
        on_step(f"Finding the threshold over {count(total, 'image')} …")

    fitted = thresholds.fit(request, on_image)
    on_step("")
    group = request.groups()[target.group]
    images = FieldImages(group, request.z)
    image = images.image(target.part, target.place)
    given = request.given_labels()
    if given is not None:
        settings = with_segmenter(settings, Given(given(target.group, image)))
    complete = complete_thresholds(profile, image, settings, fitted)
    on_step("")
    objects = profile.labels(image, settings, complete)
    on_step("")
    n_objects = len(np.unique(objects[objects > 0]))
    text = _words(target, profile, settings, image, objects, complete)
    around = profile.surroundings(objects, settings) if n_objects else None
    shown = np.where(objects > 0, 2 * objects - 1, 0).astype(np.int32)
    if around is not None:
        shown = np.where(around > 0, 2 * around, shown).astype(np.int32)
    return ObjectPreview(shown, images.lots[target.part], target.place, text, complete)


def _words(
    target: PreviewTarget,
    profile: Profile[Any],
    settings: Settings,
    image: Image,
    objects: np.ndarray,
    complete: dict[str, float],
) -> str:
    labels = target.request.labels
    common = dict(threshold_basis(profile, settings))
    said = []
    for name, (channel, segmentation) in profile.segmented(settings).items():
        _, reason = measurable_plane(image, channel)
        if reason:
            return f"{image.name}: nothing can be measured. {reason[:1].upper()}{reason[1:]}."
        if segmentation.segmenter is not None and labels is not None:
            said.append(f'{name} from the labels layer "{labels[target.group].name}"')
            continue
        if math.isnan(complete[name]):
            return f"{image.name}: no threshold for {name} can be found."
        grey = complete[name] * segmentation.threshold.scale
        over = " over the background" if segmentation.background_radius else ""
        where = "for all images" if name in common else "for this image"
        if isinstance(segmentation.threshold.method, float | int):
            where = "as given"
        said.append(f"{name} from {grey:.4g} grey values{over} ({where})")
    area = np.count_nonzero(objects)
    n_objects = len(np.unique(objects[objects > 0]))
    found = f"no objects in {image.name}"
    if n_objects:
        size = f"{area:,} px"
        if image.pixel_size is not None:
            size = f"{area * math.prod(image.pixel_size):,.4g} µm²"
        found = f"{count(n_objects, 'object')}, {area / objects.size:.1%} of the field ({size})"
    return f"{target.group}: {found}; {', '.join(said)}."


def preview_layer(viewer: ViewerModel) -> Labels | None:
    """Return the layer with the preview, None if there is none."""
    return next((x for x in viewer.layers if PREVIEW_METADATA_KEY in x.metadata), None)


def make_preview_layer(preview: ObjectPreview) -> Labels:
    """Make a layer for a preview, in a thread: the first labels of a session take a second."""
    from napari.layers import Labels

    layer = Labels(
        preview.lot.like_layer(preview.labels[None]),
        name=PREVIEW_NAME,
        colormap=_colours(),
        metadata={PREVIEW_METADATA_KEY: True, NOT_GIVEN_METADATA_KEY: True},
        **preview.lot.geometry_of(preview.place).arguments(),
    )
    layer.contour = 1
    layer.editable = False
    return layer


def show_preview(viewer: ViewerModel, preview: ObjectPreview, new: Labels | None = None) -> None:
    """Show a preview in its layer, in the GUI's thread. What is selected stays selected.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where it is shown.
    preview : ObjectPreview
        What `outline` returned.
    new : napari.layers.Labels, optional
        The layer to add if there is none yet; it is made here if not given.
    """
    layer = preview_layer(viewer)
    data = preview.lot.like_layer(preview.labels[None])
    if layer is not None and layer.ndim != data.ndim:
        remove_layers(viewer, [layer], collect=False)
        layer = None
    if layer is None:
        selected = set(viewer.layers.selection)
        active = viewer.layers.selection.active
        viewer.add_layer(make_preview_layer(preview) if new is None else new)
        viewer.layers.selection.clear()
        viewer.layers.selection.update(selected)
        viewer.layers.selection.active = active
        return
    layer.data = data
    preview.lot.geometry_of(preview.place).move(layer)


def remove_preview(viewer: ViewerModel) -> None:
    """Remove the layer with the preview, if there is one."""
    layer = preview_layer(viewer)
    if layer is not None:
        remove_layers(viewer, [layer], collect=False)


def _colours() -> Any:
    """Return one colour for odd numbers and one for even ones.

    Cyclic, since a colormap with a colour for each number has to be compiled for a second or two.
    """
    from napari.utils.colormaps import CyclicLabelColormap

    clear = (0.0, 0.0, 0.0, 0.0)
    return CyclicLabelColormap(colors=np.array([clear, _OBJECT_COLOUR, _RING_COLOUR]))
