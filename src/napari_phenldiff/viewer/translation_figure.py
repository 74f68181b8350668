"""A figure of a translation that is open: what is looked at, with the rectangles drawn on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.jobs.translation_figure import check_suffix, write_figure
from napari_phenldiff.measurement.figures.panel import Inset, translation_panel
from napari_phenldiff.viewer.colors import channel_rgb
from napari_phenldiff.viewer.drawing import DRAWING
from napari_phenldiff.viewer.image_places import FieldImages, image_shown, of_channels
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers
from napari_phenldiff.viewer.removed_layers import removed_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from napari.components import ViewerModel
    from napari.layers import Layer


@dataclass(frozen=True, slots=True, eq=False)
class TranslationFigure:
    """What a figure shows, taken from the layers; it may be drawn in another thread.

    Attributes
    ----------
    groups : mapping of str to LayerGroup
        ``real``, ``translated``, and ``reconstructed`` and ``target`` where they are open.
    names : tuple of str
        Of the images, the one that is seen first.
    source, target : str
        Names of the conditions.
    region : mapping of str to int or None
        The part of the real images that was translated, if it is only a part.
    insets : tuple of Inset
        What is shown larger.
    single_channels : bool
        Whether the channels are shown one by one too.
    strength : float or None
        At which the images are shown; None if it is not the same for all of them.
    reference_channels : tuple of str
        Channels that the model was given and did not change.
    targets : tuple of int
        For each of the images, the place of the real image of the target that is shown beside it.
    """

    groups: Mapping[str, LayerGroup]
    names: tuple[str, ...]
    source: str
    target: str
    region: Mapping[str, int] | None = None
    insets: tuple[Inset, ...] = ()
    single_channels: bool = False
    strength: float | None = 1.0
    reference_channels: tuple[str, ...] = ()
    targets: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        viewer: ViewerModel,
        translation: str,
        *,
        images: int = 3,
        single_channels: bool = False,
    ) -> TranslationFigure:
        """Take what is to be shown from the layers of a translation, in the GUI's thread.

        Parameters
        ----------
        viewer : napari.components.ViewerModel
            Rectangles in its visible Shapes layers are what is shown larger.
        translation : str
            Its identity, see `side_by_side.latest_translation`.
        images : int
            How many images at most, from the one that is seen.
        single_channels : bool
            Whether the channels are shown one by one too.

        Raises
        ------
        InputError
            If layers of the translation or of its real images are gone.
        """
        made = {
            role: next(
                (g for g in group_layers(viewer.layers, role) if g.translation == translation), None
            )
            for role in ("original", "reconstructed", "translated")
        }
        translated = made["translated"]
        if translated is None:
            raise InputError("The translated layers are gone; translate again.")
        info = translated.infos[0][0]
        source, target = (str(info.provenance.get(end, "")) for end in ("source", "target"))
        reals = group_layers(viewer.layers)
        wanted = set(info.images)
        real = made["original"] or next(
            (g for g in reals if g.name == source and wanted <= set(g.infos[0][0].images)), None
        )
        if real is None:
            raise InputError(f"The real images of {source} are gone; open them to compare.")
        removed = removed_layers(viewer.layers, translation, differences=False)
        if removed:
            raise InputError(removed)
        groups = {"real": real, "translated": translated}
        if made["reconstructed"] is not None:
            groups["reconstructed"] = made["reconstructed"]
        other = next((g for g in reals if g.name == target), None)
        targets: tuple[int, ...] = ()
        start = _place_shown(viewer, translated)
        names = (*info.images[start:], *info.images[:start])[:images]
        if other is not None and other.channel_names == real.channel_names:
            groups["target"] = other
            # What stands beside it when the slider shows it, as in a comparison.
            first = _place_shown(viewer, other) - start
            targets = tuple((first + info.images.index(name)) % other.n_images for name in names)
        return cls(
            {kind: group.snapshot() for kind, group in groups.items()},
            names,
            source,
            target,
            None if made["original"] is not None else info.provenance.get("region"),
            tuple(_insets(viewer.layers, translated, names)),
            single_channels,
            _strength(info.provenance, [info.images.index(name) for name in names]),
            tuple(map(str, info.provenance.get("reference_channels") or ())),
            targets,
        )

    def draw(self) -> Figure:
        """Draw the figure for paper.

        Raises
        ------
        InputError
            If the images do not fit together any longer.
        """
        shown = {
            kind: FieldImages(group).named(self.names)
            for kind, group in self.groups.items()
            if kind != "target"
        }
        names = shown["translated"][0].channel_names
        targets = None
        if "target" in self.groups:
            found = FieldImages(self.groups["target"])
            targets = [of_channels(found.at(place), names) for place in self.targets]
        known = self.groups["real"].channel_names
        colors = dict(zip(known, channel_rgb(known), strict=True))
        with DRAWING:
            return translation_panel(
                [self._part(of_channels(image, names)) for image in shown["real"]],
                shown["translated"],
                reconstructed=shown.get("reconstructed"),
                targets=targets,
                source=self.source,
                target=self.target,
                strength=self.strength,
                single_channels=self.single_channels,
                insets=self.insets,
                colors=[colors[name] for name in names if name in colors] or None,
                reference_channels=self.reference_channels,
            )

    def save(self, path: Path) -> Path:
        """Write the figure as SVG, PNG or PDF.

        Raises
        ------
        InputError
            As `draw`, or for another suffix.
        OSError
            If it can't be written there.
        """
        check_suffix(path)
        figure = self.draw()
        with DRAWING:
            write_figure(figure, path)
        return path

    def _part(self, image: Image) -> Image:
        if self.region is None:
            return image
        rows = slice(self.region["top"], self.region["bottom"])
        columns = slice(self.region["left"], self.region["right"])
        return replace(image, data=image.data[:, rows, columns], path=None)


def _strength(provenance: Mapping[str, Any], places: Iterable[int]) -> float | None:
    """Return the strength of the images at these places; None if they differ."""
    each = provenance.get("strengths") or ()
    found = {float(each[place]) for place in places if place < len(each)}
    if not found:
        return float(provenance.get("strength", 1.0))
    return found.pop() if len(found) == 1 else None


def _place_shown(viewer: ViewerModel, group: LayerGroup) -> int:
    """Return the place of the image that is seen; the first one, if none is."""
    try:
        return image_shown(viewer, group)
    except InputError:
        return 0


def _insets(layers: Iterable[Layer], group: LayerGroup, names: tuple[str, ...]) -> Iterable[Inset]:
    """Yield the rectangles of Shapes layers in the pixels of the translated images."""
    image, info = group.layers[0], group.infos[0][0]
    for layer in layers:
        if type(layer).__name__ != "Shapes" or not layer.visible:
            continue
        for kind, corners in zip(layer.shape_type, layer.data, strict=True):
            if kind == "rectangle":
                yield from _inset(layer, np.asarray(corners, float), image, info.images, names)


def _inset(
    shapes: Any, corners: np.ndarray, image: Any, all_names: tuple[str, ...], names: tuple[str, ...]
) -> Iterable[Inset]:
    world = np.array([shapes.data_to_world(corner) for corner in corners])
    if world.shape[1] < image.ndim:  # drawn in a plane: meant for all images
        world = np.pad(world, ((0, 0), (image.ndim - world.shape[1], 0)))
    pixels = np.array([image.world_to_data(corner[-image.ndim :]) for corner in world])
    low, high = pixels[:, -2:].min(axis=0), pixels[:, -2:].max(axis=0)
    top, left = (round(float(x)) for x in low)
    height, width = (max(1, round(float(x))) for x in high - low)
    rows: Iterable[int] = range(len(names))
    if corners.shape[1] >= 3 and image.ndim >= 3 and len(all_names) > 1:
        field = round(float(pixels[0, -3]))
        seen = all_names[field] if 0 <= field < len(all_names) else None
        rows = [k for k, name in enumerate(names) if name == seen]
    for row in rows:
        yield Inset(row, top, left, height, width)
