"""Measure the images of open layers, and show the objects that were measured as layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.profiles import (
    Measurement,
    labels,
    measure,
)
from napari_phenldiff.measurement.threshold import Settings
from napari_phenldiff.viewer.layers import LayerGroup, group_layers
from napari_phenldiff.viewer.tuples import LayerDataTuple, spatial_arguments

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from napari.layers import Layer

    from napari_phenldiff.measurement.theme import ThemeName

RECONSTRUCTED, TRANSLATED = "reconstructed", "translated"
"""Names of the groups that the model made, in tables and figures."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuringRequest:
    """A measurement as the user has filled it in, valid or not.

    Attributes
    ----------
    profile : str
        Name of the profile.
    source, target : LayerGroup or None
        Real images of the two conditions.
    reconstructed, translated : LayerGroup or None
        Layers of one translation, measured in the same way.
    settings : Settings or None
        Settings of the profile; None for its defaults.
    """

    profile: str
    source: LayerGroup | None
    target: LayerGroup | None
    reconstructed: LayerGroup | None = None
    translated: LayerGroup | None = None
    settings: Settings | None = None

    def groups(self) -> dict[str, LayerGroup]:
        """Return what is measured, by the name it has in tables and figure."""
        named: dict[str, LayerGroup] = {}
        if self.source is not None:
            named[self.source.name] = self.source
        if self.target is not None:
            named[self.target.name] = self.target
        if self.reconstructed is not None:
            named[RECONSTRUCTED] = self.reconstructed
        if self.translated is not None:
            named[TRANSLATED] = self.translated
        return named

    def real(self) -> list[str]:
        """Return the names of the groups that thresholds are fitted on."""
        return [group.name for group in (self.source, self.target) if group is not None]

    def validation_error(self) -> str | None:
        """Return why this can't be measured, if it can't; None if it looks right."""
        if self.source is None or self.target is None:
            return "Open images of two conditions: drop TIFFs or folders of them on the viewer."
        if self.source.name == self.target.name:
            return "Source and target are the same condition; choose two different ones."
        ours, theirs = self.source.channel_names, self.target.channel_names
        if ours != theirs:
            return (
                f"{self.source.name} has the channels {', '.join(ours)}, {self.target.name} has "
                f"{', '.join(theirs)}; choose conditions with the same."
            )
        return None

    def snapshot(self) -> MeasuringRequest:
        """Return the same request with layers that another thread may read."""

        def taken(group: LayerGroup | None) -> LayerGroup | None:
            return None if group is None else group.snapshot()

        return replace(
            self,
            source=taken(self.source),
            target=taken(self.target),
            reconstructed=taken(self.reconstructed),
            translated=taken(self.translated),
        )


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGroup:
    """The images of one group and the objects in them.

    Attributes
    ----------
    name : str
        Name of the group.
    image_names : tuple of str
        Names of the images, in their order.
    images : list of Image
        What was measured; empty in a result that is kept.
    objects : list of numpy.ndarray of shape (Y, X), int
        Per image, its objects, from 1 on; 0 is background. Empty in a result that is kept.
    field : int or None
        If the layers show one image of a longer stack, its place.
    """

    name: str
    image_names: tuple[str, ...]
    images: list[Image]
    objects: list[np.ndarray]
    field: int | None


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
    """

    source: str
    target: str
    measurement: Measurement
    groups: tuple[MeasuredGroup, ...]

    def without_pixels(self) -> Measured:
        """Return what a dock shows for hours, without the images that it doesn't."""
        groups = tuple(replace(group, images=[], objects=[]) for group in self.groups)
        return replace(self, groups=groups)


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
    images = {name: group.images() for name, group in request.groups().items()}
    total = sum(len(group) for group in images.values())
    measurement = measure(
        request.profile,
        images,
        request.settings,
        fit_on=request.real(),
        on_image=lambda done: on_image(done, total, ""),
    )
    done = 0
    groups = []
    for name, group in images.items():
        objects = []
        for image in group:
            objects.append(
                labels(request.profile, image, request.settings, thresholds=measurement.thresholds)
            )
            on_image(done := done + 1, total, "outlining the objects")
        names = tuple(image.name for image in group)
        groups.append(MeasuredGroup(name, names, group, objects, _field(request.groups()[name])))
    source, target = request.real()
    return Measured(source, target, measurement, tuple(groups))


def _field(group: LayerGroup) -> int | None:
    layer = group.layers[0]
    if layer.ndim == 3 and len(layer.data) == 1:
        return round(float(layer.translate[0]))
    return None


def object_layers(measured: Measured, visible: Sequence[str] = ()) -> list[LayerDataTuple]:
    """Make labels layers of the objects that were measured, with their measurements as features.

    Parameters
    ----------
    measured : Measured
        What `run_measurement` returned.
    visible : sequence of str
        Names of the groups whose objects are shown at first.

    Returns
    -------
    list of LayerDataTuple
        One per group and image shape. No number occurs twice in a layer, so that a row of the
        features belongs to one object; row 0 is the background, as napari counts.
    """
    tuples: list[LayerDataTuple] = []
    for group in measured.groups:
        lots: dict[tuple[int, ...], list[int]] = {}
        for index, objects in enumerate(group.objects):
            lots.setdefault(objects.shape, []).append(index)
        for lot in lots.values():
            tuples.append(_objects_of(measured, group, lot, visible=group.name in visible))
    return tuples


def _objects_of(
    measured: Measured, group: MeasuredGroup, lot: list[int], *, visible: bool
) -> LayerDataTuple:
    planes, offsets, offset = [], [], 0
    for index in lot:
        objects = group.objects[index].astype(np.int32)
        offsets.append(offset)
        planes.append(np.where(objects > 0, objects + offset, 0).astype(np.int32))
        offset += int(objects.max(initial=0))
    stacked = len(planes) > 1 or group.field is not None
    first = group.images[lot[0]]
    arguments: dict[str, Any] = {
        "name": f"{group.name}: objects",
        "features": _features(measured, group, lot, offsets, offset),
        "visible": visible,
        "opacity": 0.8,
        "axis_labels": ("field", "y", "x") if stacked else ("y", "x"),
        **spatial_arguments(first.pixel_size, stacked=stacked),
        "metadata": {
            "napari-phenldiff-measurement": {
                "profile": measured.measurement.profile.name,
                "settings": measured.measurement.settings.model_dump(mode="json"),
                "thresholds": dict(measured.measurement.thresholds),
                "images": [group.images[index].name for index in lot],
            }
        },
    }
    if group.field is not None:
        arguments["translate"] = (float(group.field), 0.0, 0.0)
    return np.stack(planes) if stacked else planes[0], arguments, "labels"


def _features(
    measured: Measured, group: MeasuredGroup, lot: list[int], offsets: list[int], n_objects: int
) -> pd.DataFrame:
    """Return one row per label from 0 on: 0 is background, objects follow in their order."""
    import pandas as pd

    names = [group.images[index].name for index in lot]
    counts = np.diff([*offsets, n_objects])
    features = pd.DataFrame(
        {
            "label": np.arange(n_objects + 1),
            "image": ["", *np.repeat(np.array(names, dtype=object), counts)],
        }
    )
    cells = measured.measurement.cells
    if cells is None or cells.empty:
        return features
    mine = cells[cells["condition"] == group.name]
    shift: Mapping[str, int] = dict(zip(names, offsets, strict=True))
    mine = mine[mine["image"].isin(shift)]
    rows = mine["label"].to_numpy(dtype=int) + mine["image"].map(shift).to_numpy(dtype=int)
    values = mine.drop(columns=["image", "condition", "label"]).set_axis(rows, axis=0)
    return features.join(values)


def translations(layers: Sequence[Layer]) -> dict[str, dict[str, LayerGroup]]:
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


def four_group_figure(measured: Measured, *, theme: ThemeName) -> Figure:
    """Draw the main column of all groups: real, reconstructed and translated.

    Parameters
    ----------
    measured : Measured
        What `run_measurement` returned.
    theme : {"light", "dark"}
        Ground that the figure is put on.
    """
    from napari_phenldiff.measurement.figures import four_groups

    groups = [group.name for group in measured.groups]
    return four_groups(
        measured.measurement,
        source=measured.source,
        target=measured.target,
        translated=TRANSLATED if TRANSLATED in groups else None,
        reconstructed=RECONSTRUCTED if RECONSTRUCTED in groups else None,
        theme=theme,
    )
