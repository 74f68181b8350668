"""Measure the images of open layers."""

from __future__ import annotations

import uuid
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.jobs.translation_files import TRAINED_ON
from napari_phenldiff.measurement.figures.gallery import GalleryCrops, changed_images, crop_changes
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.statistics.units import Units, units_of, wells_by_pattern
from napari_phenldiff.measurement.tables.measurement import Measurement
from napari_phenldiff.viewer.image_places import FieldImages, Lot, of_channels
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers
from napari_phenldiff.viewer.measuring_request import RECONSTRUCTED as RECONSTRUCTED
from napari_phenldiff.viewer.measuring_request import TRANSLATED as TRANSLATED
from napari_phenldiff.viewer.measuring_request import MeasuringRequest as MeasuringRequest
from napari_phenldiff.viewer.removed_layers import removed_of
from napari_phenldiff.viewer.threshold_cache import thresholds

if TYPE_CHECKING:
    from napari.layers import Layer


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGroup:
    """The images of one group and the objects in them.

    Attributes
    ----------
    name : str
        Name of the group, in tables and figures.
    group : tuple of str
        Condition, role and translation of its layers, by which they are found again.
    lots : tuple of Lot
        The images, in the order of the table.
    objects : list of numpy.ndarray of shape (Y, X), int32
        Per image, its objects, from 1 on; 0 is background. Empty in a result that is kept.
    """

    name: str
    group: tuple[str, str, str | None]
    lots: tuple[Lot, ...]
    objects: list[np.ndarray] = field(default_factory=list)

    @property
    def image_names(self) -> tuple[str, ...]:
        """Names of the images, in their order."""
        return tuple(name for lot in self.lots for name in lot.names)

    def layers_in(self, layers: Any) -> tuple[Layer, ...]:
        """Return the image layers of the group that are still among some layers."""
        return tuple(layer for part in parts_of_group(self.group, layers) for layer in part)


def parts_of_group(
    identity: tuple[str, str, str | None], layers: Any
) -> tuple[tuple[Layer, ...], ...]:
    """Return the image layers of a group (`MeasuredGroup.group`), lot by lot, as far as open."""
    for found in group_layers(layers, "real", "reconstructed", "translated"):
        if _identity(found) == tuple(identity):
            return found.parts
    return ()


def _identity(group: LayerGroup) -> tuple[str, str, str | None]:
    return group.name, group.role, group.translation


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Tables and objects of a measurement.

    Attributes
    ----------
    source, target : str
        Names of the groups of real images.
    measurement : Measurement
        The tables.
    groups : tuple of MeasuredGroup
        What was measured, group by group, in the order of the tables.
    strength : float
        At which the images were translated.
    identity : str
        By which the layers with its objects are told from those of other measurements.
    gallery : GalleryCrops or None
        The images that translation changed most, cut out where they changed.
    no_gallery : str
        Why there are none, if there are none.
    labels : mapping of str to str
        By the name of the group, the labels layer that its objects were taken from; empty where
        thresholds were used.
    taken_from : tuple of (weakref.ref, int)
        The layers that were measured, and the identity of what they held; see `is_open`.
    wells : str or None
        What is counted, as it was asked for.
    told : tuple of str
        What else may be wrong with the translated images, as it was said when they were made.
    """

    source: str
    target: str
    measurement: Measurement
    groups: tuple[MeasuredGroup, ...]
    strength: float = 1.0
    identity: str = field(default_factory=lambda: uuid.uuid4().hex)
    gallery: GalleryCrops | None = None
    no_gallery: str = "A gallery shows translated images: choose a translation and measure again."
    labels: Mapping[str, str] = field(default_factory=dict)
    taken_from: tuple[tuple[weakref.ref[Any], int | None], ...] = ()
    wells: str | None = None
    told: tuple[str, ...] = ()

    def of_layers(self, groups: Iterable[LayerGroup]) -> Measured:
        """Return the same, which knows the layers that it was taken from."""
        layers = [layer for group in groups for layer in group.layers]
        return replace(self, taken_from=tuple((weakref.ref(x), _held_by(x)) for x in layers))

    def is_open(self, layers: Any) -> bool:
        """Tell whether the images that were measured are still open, and the same."""
        for reference, held in self.taken_from:
            layer = reference()
            if layer is None or layer not in layers or _held_by(layer) != held:
                return False
        return True

    def in_words(self) -> str:
        """Say what was measured of which images."""
        names = [group.name for group in self.groups]
        told = f"{self.measurement.profile.title}, {self.source} and {self.target}"
        if TRANSLATED in names or RECONSTRUCTED in names:
            at = "" if self.strength == 1 else f" at strength {self.strength:g}"
            told += f", with their translation{at}"
        return told

    def units(self) -> Units:
        """Return what is counted: wells, fields or images.

        Raises
        ------
        InputError
            If the pattern of the wells is not in a name.
        """
        measurement, pattern = self.measurement, self.wells
        return units_of(measurement, wells_by_pattern(measurement, pattern) if pattern else None)

    def without_pixels(self) -> Measured:
        """Return what a dock shows for hours, without the images that it doesn't."""
        groups = tuple(replace(group, objects=[]) for group in self.groups)
        return replace(self, groups=groups)

    def warnings(self) -> tuple[str, ...]:
        """Say what could not be measured, and what may be wrong with the images."""
        outcome = self.measurement.outcome
        return (*(() if outcome is None else outcome.warnings()), *self.told)

    def image_at(self, row: int) -> tuple[MeasuredGroup, Lot, int]:
        """Return group, lot and place in it of a row of the table of images.

        Raises
        ------
        IndexError
            If the table has no such row.
        """
        for group in self.groups:
            for lot in group.lots:
                if row < len(lot.names):
                    return group, lot, row
                row -= len(lot.names)
        raise IndexError(row)

    def names_of_groups(self) -> dict[str, Any]:
        """Return the names of the four groups as figures take them."""
        names = [group.name for group in self.groups]
        return {
            "source": self.source,
            "target": self.target,
            "translated": TRANSLATED if TRANSLATED in names else None,
            "reconstructed": RECONSTRUCTED if RECONSTRUCTED in names else None,
        }


def _held_by(layer: Layer) -> int | None:
    """Return the identity of the pixels of a layer; None where each look makes an object anew."""
    return None if layer.multiscale else id(layer.data)


def run_measurement(
    request: MeasuringRequest,
    on_image: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Measured:
    """Measure all groups with thresholds fitted on the real images, and keep the objects.

    Parameters
    ----------
    request : MeasuringRequest
        What is asked for. In a thread, its `snapshot`.
    on_image : callable
        Called with the number of images done, their total, and what is being done with them; what
        it raises ends the measurement.

    Raises
    ------
    InputError
        If the images can't be measured.
    """
    error = request.validation_error()
    if error is not None:
        raise InputError(error)
    images = request.images()
    total = sum(len(group) for group in images.values())

    def on_fitted(done: int, n_real: int) -> None:
        on_image(0, total, f"finding the threshold over {count(n_real, 'image')}")

    objects: dict[str, list[np.ndarray]] = {name: [] for name in images}
    measurement = measure(
        request.profile,
        images,
        request.chosen_settings(),
        fit_on=request.real(),
        thresholds=thresholds.fit(request, on_fitted),
        given_labels=request.given_labels(),
        on_image=lambda done: on_image(done, total, ""),
        on_objects=lambda name, found: objects[name].append(found),
    )
    assert measurement.outcome is not None
    measurement.outcome.check()
    measurement.outcome.doubts.extend(thresholds.doubts(request))
    told: tuple[str, ...] = ()
    if request.translated is not None:
        record = request.translated.infos[0][0].provenance.get("record", {})
        made = (image.get("residual") for image in record.get("images", ()))
        measurement.outcome.add_residuals(TRANSLATED, made)
        said = map(str, request.translated.infos[0][0].provenance.get("warnings") or ())
        told = tuple(f"{TRANSLATED}: {text}" for text in said if text.startswith(TRAINED_ON))
    groups = [
        MeasuredGroup(
            name,
            _identity(group),
            images[name].lots,
            objects[name],
        )
        for name, group in request.groups().items()
    ]
    source, target = request.real()
    measured = Measured(
        source,
        target,
        measurement,
        tuple(groups),
        request.strength(),
        labels={name: str(layer.name) for name, layer in (request.labels or {}).items()},
        wells=request.wells,
        told=told,
    )
    removed = removed_of((request.reconstructed, request.translated))
    return replace(measured, no_gallery=removed) if removed else _with_gallery(measured, images)


def _with_gallery(measured: Measured, images: Mapping[str, FieldImages]) -> Measured:
    """Cut out what a gallery shows as long as the layers hold what was measured."""
    names = measured.names_of_groups()
    if names["translated"] is None:
        return measured
    roles = {role: names[role] for role in ("source", "reconstructed", "translated")}
    try:
        shown = changed_images(measured.measurement, **roles)

        def picked(role: str) -> list[Image]:
            return images[roles[role]].named(shown)

        translated = picked("translated")
        crops = crop_changes(
            [of_channels(image, translated[0].channel_names) for image in picked("source")],
            translated,
            reconstructed=None if roles["reconstructed"] is None else picked("reconstructed"),
            captions=list(shown.values()),
            source=measured.source,
            target=measured.target,
        )
    except InputError as error:
        return replace(measured, no_gallery=str(error))
    return replace(measured, gallery=crops)


def translations(layers: Any) -> dict[str, dict[str, LayerGroup]]:
    """Return the translations among the layers, the latest first.

    Returns
    -------
    dict of str to dict
        By the identity of the translation, its groups ``"reconstructed"`` and ``"translated"``.
    """
    found: dict[str, dict[str, LayerGroup]] = {}
    for group in group_layers(layers, "reconstructed", "translated"):
        if group.translation is not None:
            found.setdefault(group.translation, {})[group.role] = group
    return dict(reversed(found.items()))
