"""The objects of a measurement as labels layers, and the way from a row of a table to an object.

Each layer holds the objects of one condition. No number occurs twice in a layer, so that a row of
its features belongs to one object; row 0 is the background, as napari counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY
from napari_phenldiff.viewer.geometry import Geometry
from napari_phenldiff.viewer.image_places import move_sliders
from napari_phenldiff.viewer.layer_data import LayerDataTuple
from napari_phenldiff.viewer.layer_groups import LayerInfo
from napari_phenldiff.viewer.measuring import (
    TRANSLATED,
    Measured,
    MeasuredGroup,
    MeasuringRequest,
    parts_of_group,
)
from napari_phenldiff.viewer.objects_seen import objects_seen
from napari_phenldiff.viewer.side_by_side import side_by_side
from napari_phenldiff.viewer.turns import Later, add_quietly, in_turns, remove_layers

if TYPE_CHECKING:
    import pandas as pd
    from napari.components import ViewerModel
    from napari.layers import Labels

MEASUREMENT_METADATA_KEY = "napari-phenldiff-measurement"
"""Key of a labels layer's metadata with the measurement that it belongs to.

``identity`` of the measurement, ``condition`` (name of the group), ``group`` (condition, role and
translation of its image layers), ``lot`` (which of its lots), ``profile``, ``settings``,
``thresholds``, ``labels`` (layers used in place of thresholds), ``images``, ``strength`` and
``translation`` of the images, and ``offsets``: what is added to the numbers of the table of cells
in each of them.
"""

LINES = "centre lines"
"""What the layers show that have this as ``shows`` in their metadata."""


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
        One per group and image shape, over the images they were found in.
    """
    tuples: list[LayerDataTuple] = []
    for group in measured.groups:
        start = 0
        for index in range(len(group.lots)):
            end = start + len(group.lots[index].names)
            objects = group.objects[start:end]
            tuples.append(_lot(measured, group, index, objects, visible=group.name in visible))
            start = end
    return tuples


def _lot(
    measured: Measured,
    group: MeasuredGroup,
    index: int,
    objects: Sequence[np.ndarray],
    *,
    visible: bool,
) -> LayerDataTuple:
    lot = group.lots[index]
    offsets = _offsets(objects)
    large = max(int(x.max(initial=0)) + n for x, n in zip(objects, offsets, strict=True))
    kind = np.int32 if large <= np.iinfo(np.int32).max else np.int64
    planes = [
        np.where(found > 0, found.astype(kind) + offset, 0).astype(kind)
        for found, offset in zip(objects, offsets, strict=True)
    ]
    height, width = planes[0].shape
    size = "" if len(group.lots) == 1 else f" ({width} × {height})"
    measurement = measured.measurement
    arguments: dict[str, Any] = {
        "name": f"{group.name}: objects{size}",
        "features": _features(measured, group.name, lot.names, planes, offsets),
        "visible": visible,
        "opacity": 0.8,
        **lot.geometry.arguments(),
        "metadata": {
            MEASUREMENT_METADATA_KEY: {
                "identity": measured.identity,
                "condition": group.name,
                "group": group.group,
                "lot": index,
                "profile": measurement.profile.name,
                "settings": measurement.settings.model_dump(mode="json"),
                "thresholds": dict(measurement.thresholds),
                "labels": dict(measured.labels),
                "strength": measured.strength,
                "translation": group.group[2],
                "images": list(lot.names),
                "offsets": offsets,
            }
        },
    }
    return lot.like_layer(np.stack(planes)), arguments, "labels"


def is_line_layer(layer: Any) -> bool:
    """Tell whether a labels layer shows the lines of a measurement, not its objects."""
    entry = layer.metadata.get(MEASUREMENT_METADATA_KEY)
    return isinstance(entry, dict) and entry.get("shows") == LINES


def _offsets(objects: Sequence[np.ndarray]) -> list[int]:
    """Return what is added to the numbers of each image, so that none occurs twice in a layer.

    Nothing, where none does: then objects have the numbers in the layer that they came with.
    """
    own = np.concatenate([np.unique(found[found > 0]) for found in objects])
    if len(np.unique(own)) == len(own):
        return [0] * len(objects)
    highest = [int(found.max(initial=0)) for found in objects]
    return [0, *np.cumsum(highest[:-1]).tolist()]


def _features(
    measured: Measured,
    condition: str,
    names: Sequence[str],
    planes: Sequence[np.ndarray],
    offsets: Sequence[int],
) -> pd.DataFrame:
    """Return one row per object, in the order of their numbers; the first is the background.

    Where numbers have gaps, napari is told by a column ``index`` which row is which object's.
    """
    import pandas as pd

    found = [np.unique(plane[plane > 0]) for plane in planes]
    numbers = np.concatenate([[0], *found]).astype(np.int64)
    images = np.repeat(np.array(names, dtype=object), [len(own) for own in found])
    features = pd.DataFrame({"label": numbers, "image": ["", *images]}, index=numbers).sort_index()
    cells = measured.measurement.cells
    if cells is not None and not cells.empty:
        mine = cells[(cells["condition"] == condition) & cells["image"].isin(names)]
        rows = _numbers(mine, names, offsets)
        values = mine.drop(columns=["image", "condition", "label"]).set_axis(rows, axis=0)
        features = features.join(values)
    if len(features) <= int(numbers.max()):
        features.insert(0, "index", features["label"])
    return features.reset_index(drop=True)


def _numbers(cells: pd.DataFrame, names: Sequence[str], offsets: Sequence[int]) -> np.ndarray:
    """Return the numbers in the layer of cells that all lie in these images."""
    shift = dict(zip(names, offsets, strict=False))
    return cells["label"].to_numpy(dtype=int) + cells["image"].map(shift).to_numpy(dtype=int)


def measurement_of(layer: Any) -> dict[str, Any] | None:
    """Return what a labels layer says about its measurement; None if it is from none."""
    entry = layer.metadata.get(MEASUREMENT_METADATA_KEY)
    return entry if isinstance(entry, dict) and "identity" in entry else None


def outdated_labels(request: MeasuringRequest) -> tuple[str, ...]:
    """Say which labels layers show the objects of another translation than the one measured.

    They were cut out before its dial was turned, or are those of another one: where objects have
    moved or changed their size, the labels lie beside them.
    """
    told = []
    for name, group in request.groups().items():
        layer = (request.labels or {}).get(name)
        entry = None if layer is None else measurement_of(layer)
        if (
            layer is None
            or entry is None
            or entry.get("condition") != name
            or "strength" not in entry
        ):
            continue
        if entry.get("translation") != group.translation:
            told.append(
                f'The labels layer "{layer.name}" shows the objects of another translation: cut '
                "them out anew, with thresholds or by hand."
            )
        elif name == TRANSLATED and entry["strength"] != request.strength():
            told.append(
                f'The labels layer "{layer.name}" is older than its images: its objects are those '
                f"of strength {entry['strength']:g}, and strength {request.strength():g} is shown. "
                "Cut them out anew, with thresholds or by hand."
            )
    return tuple(told)


def make_layers(tuples: Iterable[LayerDataTuple]) -> list[Labels]:
    """Make labels layers, with outlines, for `add_objects`.

    In a thread: colours for labels are made and functions compiled, which takes half a second when
    it is the first time.
    """
    from napari.layers import Labels

    layers = []
    for data, arguments, _ in tuples:
        layer = Labels(data, **arguments)
        # Outlines, because what was cut out has to be judged by the image under it.
        layer.contour = 0 if is_line_layer(layer) else 1
        if not data.flags.writeable:
            layer.editable = False
        layers.append(layer)
    return layers


def add_objects(
    viewer: ViewerModel,
    layers: Sequence[Labels],
    later: Later | None = None,
    keep: Collection[Any] = (),
) -> None:
    """Add labels layers; a measurement made again takes the place of the one before.

    A layer that the user has renamed or painted in is kept, and so are those of ``keep``, which the
    measurement took its objects from: what is new lies beside them. The one that is shown is active
    afterwards, so that napari's own table of features shows its objects. They are shown and hidden
    with their images from then on, see `ObjectsSeen`. In a window they are added one at a time, see
    `in_turns`.
    """
    in_turns(viewer, _adding(viewer, layers, [*keep]), later)


def _adding(viewer: ViewerModel, layers: Sequence[Labels], keep: Sequence[Any]) -> Iterator[None]:
    """Add a layer in each step, after those that they replace were removed in one."""
    there = [layer for layer in viewer.layers if layer not in keep]
    replaced = []
    for layer in layers:
        old = next((x for x in there if _is_former(x, layer.name)), None)
        if old is not None:
            layer.visible = objects_seen(viewer).is_wanted(old)
            replaced.append(old)
    if replaced:
        remove_layers(viewer, replaced)
        yield
    for layer in layers:
        layer.events.paint.connect(_remember_paint)
        yield from add_quietly(viewer, layer)
        yield
    objects_seen(viewer).follow({x: _images_of(x, viewer.layers) for x in layers})
    shown = [layer for layer in layers if layer.visible]
    wanted = shown[0] if shown else layers[0]
    if wanted in viewer.layers:
        viewer.layers.selection.active = wanted


def _images_of(layer: Labels, layers: Iterable[Any]) -> tuple[Any, ...]:
    """Return the layers of the images that the objects of a measurement were found in."""
    entry = measurement_of(layer) or {}
    parts = parts_of_group(entry["group"], layers) if "group" in entry else ()
    return parts[entry["lot"]] if entry.get("lot", 0) < len(parts) else ()


_NUMBER = re.compile(r" \[\d+\]$")
"""What napari adds to a name that is there already."""

_PAINTED = "painted"
"""Key of `MEASUREMENT_METADATA_KEY` that is there once the user has painted in a layer."""


def _is_former(layer: Any, name: str) -> bool:
    """Tell whether a layer is one that a measurement made under a name, as it made it."""
    entry = measurement_of(layer)
    return entry is not None and _PAINTED not in entry and _NUMBER.sub("", layer.name) == name


def _remember_paint(event: Any) -> None:
    entry = measurement_of(event.source)
    if entry is not None:
        entry[_PAINTED] = True


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPlace:
    """Where an object of the table of cells is in the viewer.

    Attributes
    ----------
    layer : napari.layers.Labels
        The layer it is in.
    number : int
        Its number there.
    place : int
        Its image among those of the layer.
    """

    layer: Labels
    number: int
    place: int


class ObjectRows:
    """The rows of a table of cells and their objects in the viewer, both ways.

    Parameters
    ----------
    measured : Measured
        The measurement.
    layers : iterable of napari layers
        Layers of the viewer; those with objects of this measurement are used.
    """

    def __init__(self, measured: Measured, layers: Iterable[Any]) -> None:
        self._rows: dict[Any, dict[int, int]] = {}
        cells = measured.measurement.cells
        n_cells = 0 if cells is None else len(cells)
        self._layer = np.full(n_cells, -1)
        self._number = np.zeros(n_cells, int)
        self._place = np.zeros(n_cells, int)
        self.layers: tuple[Labels, ...] = tuple(
            layer
            for layer in layers
            if (measurement_of(layer) or {}).get("identity") == measured.identity
            and not is_line_layer(layer)
        )
        if cells is None or cells.empty:
            return
        for index, layer in enumerate(self.layers):
            entry = measurement_of(layer)
            assert entry is not None
            names, offsets = entry["images"], entry["offsets"]
            here = (cells["condition"] == entry["condition"]) & cells["image"].isin(names)
            rows = np.flatnonzero(here.to_numpy())
            mine = cells.iloc[rows]
            numbers = _numbers(mine, names, offsets)
            self._layer[rows], self._number[rows] = index, numbers
            places = {name: place for place, name in enumerate(names)}
            self._place[rows] = mine["image"].map(places).to_numpy(dtype=int)
            self._rows[layer] = dict(zip(numbers.tolist(), rows.tolist(), strict=True))

    def place_of(self, row: int) -> ObjectPlace | None:
        """Return the object of a row; None if its layer is gone."""
        if not 0 <= row < len(self._layer) or self._layer[row] < 0:
            return None
        layer = self.layers[self._layer[row]]
        return ObjectPlace(layer, int(self._number[row]), int(self._place[row]))

    def row_of(self, layer: Any, number: int) -> int | None:
        """Return the row of an object; None for the background and what was not measured."""
        return self._rows.get(layer, {}).get(int(number))


def show_image(viewer: ViewerModel, measured: Measured, row: int) -> None:
    """Show the image of a row of the table of images: its place of the slider, its layers."""
    group, lot, place = measured.image_at(row)
    move_sliders(viewer, lot, place)
    show_group(viewer, measured, group)


def show_object(viewer: ViewerModel, measured: Measured, found: ObjectPlace) -> None:
    """Pick an object in the viewer: its field, its layer, its number, in view of the camera."""
    layer = found.layer
    entry = measurement_of(layer)
    assert entry is not None, "only layers of measurements have objects"
    group = next(group for group in measured.groups if group.name == entry["condition"])
    lot = group.lots[entry["lot"]]
    # Panes side by side have no place for one more layer.
    side_by_side(viewer).off()
    move_sliders(viewer, lot, found.place)
    show_group(viewer, measured, group)
    layer.visible = True
    viewer.layers.selection.active = layer
    layer.selected_label = found.number
    _bring_into_view(viewer, layer, found.number, lot.index(found.place))


def show_group(viewer: ViewerModel, measured: Measured, group: MeasuredGroup) -> None:
    """Show the layers of one group that was measured, and hide those of all other conditions.

    Without effect while the groups are side by side.
    """
    if side_by_side(viewer).is_on:
        return
    members = {other.name: other.layers_in(viewer.layers) for other in measured.groups}
    # The channels that are looked at stay the same.
    channels = {
        LayerInfo.of(layer).channel_index
        for layers in members.values()
        for layer in layers
        if layer.visible
    }
    chosen = members[group.name]
    for layer in viewer.layers:
        if layer in chosen:
            layer.visible = not channels or LayerInfo.of(layer).channel_index in channels
        elif LAYER_METADATA_KEY in layer.metadata or any(layer in m for m in members.values()):
            layer.visible = False
    for layer in viewer.layers:
        entry = measurement_of(layer)
        if entry is not None and entry["identity"] == measured.identity:
            layer.visible = entry["condition"] == group.name


def _bring_into_view(
    viewer: ViewerModel, layer: Labels, number: int, cut: tuple[slice, ...]
) -> None:
    """Centre the camera on an object that is not in view; its zoom stays."""
    if viewer.dims.ndisplay != 2:
        return
    pixels = np.argwhere(np.asarray(layer.data[cut]) == number)[:, -2:]
    if not len(pixels):
        return  # somebody has painted over it
    corners = np.array([pixels.min(axis=0), pixels.max(axis=0)])
    geometry, lead = Geometry.of(layer), [part.start or 0 for part in cut]
    # All four: a layer may be turned.
    points = [geometry.to_world([*lead, y, x])[-2:] for y in corners[:, 0] for x in corners[:, 1]]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    camera = viewer.scene.camera
    half = np.array(viewer.canvas.size) / 2 / camera.zoom
    centre = np.array(camera.center[-2:])
    if (low < centre - half).any() or (high > centre + half).any():
        y, x = (low + high) / 2
        camera.center = (camera.center[0], y, x)
