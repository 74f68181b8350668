"""Save layers: images as OME-TIFFs with how they were made, measured objects as a table.

napari's own writer makes one file per layer and forgets channels, pixel size and provenance; the
measurements of labels it does not write at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff import __version__
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import check_output_file
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.layer_metadata import entry_in
from napari_phenldiff.images.layers import images_from_layers
from napari_phenldiff.images.naming import file_safe
from napari_phenldiff.images.tiff import TIFF_SUFFIXES, write_stack
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.tables.csv_files import write_csv
from napari_phenldiff.measurement.tables.measurement import write_settings
from napari_phenldiff.viewer.layer_data import LayerDataTuple
from napari_phenldiff.viewer.objects import MEASUREMENT_METADATA_KEY


@dataclass(frozen=True, slots=True, eq=False)
class _SavedLayer:
    """What `images_from_layers` reads of a layer, from what napari gives a writer."""

    data: Any
    name: str
    metadata: dict[str, Any] = field(default_factory=dict)
    scale: Sequence[float] = ()
    units: Sequence[Any] = ()
    axis_labels: Sequence[str] = ()
    rgb: bool = False
    multiscale: bool = False

    @classmethod
    def of(cls, saved: LayerDataTuple) -> _SavedLayer:
        data, arguments, _ = saved
        known = {key: arguments[key] for key in cls.__slots__ if key in arguments}
        known.setdefault("scale", (1.0,) * 2)
        return cls(data=data, **{key: value for key, value in known.items() if value is not None})

    @property
    def entry(self) -> dict[str, Any]:
        """What this plugin wrote into the metadata."""
        return entry_in(self.metadata) or {}

    @property
    def image(self) -> tuple[Any, ...]:
        """Equal for layers that are channels of the same images."""
        if not self.entry:
            return (self.name,)
        entry = self.entry
        return (
            entry.get("condition"),
            entry.get("role"),
            entry.get("translation"),
            entry.get("part"),
        )


def write_images(path: str, layers: list[LayerDataTuple]) -> list[str]:
    """Write image layers, as napari's *Save Selected Layers* asks for it.

    Parameters
    ----------
    path : str
        File to write. Where the layers are more than one image (or stack of images), each gets a
        file of its own with what it is added to the name.
    layers : list of (data, arguments, "image")
        One per layer.

    Returns
    -------
    list of str
        The files that were written: OME-TIFFs with channel names, pixel size, and, for layers that
        a translation made, how (see `napari_phenldiff.images.tiff.read_provenance`).

    Raises
    ------
    InputError
        If a layer cannot be written as an image, or channels of one image differ in shape.
    """
    target = Path(path)
    if target.suffix.lower() not in TIFF_SUFFIXES:
        target = target.with_name(f"{target.name}.tif")
    groups: dict[tuple[Any, ...], list[_SavedLayer]] = {}
    for saved in layers:
        layer = _SavedLayer.of(saved)
        groups.setdefault(layer.image, []).append(layer)
    images = {key: images_from_layers(str(key[0]), group) for key, group in groups.items()}
    written: list[str] = []
    for key, group in groups.items():
        file = target
        if len(groups) > 1:
            what = file_safe("_".join(_words(key, group[0], written)))
            file = target.with_name(f"{target.stem}_{what}{target.suffix}")
        check_output_file(file)
        write_stack(file, images[key], provenance=_provenance(group[0]))
        written.append(str(file))
    return written


def write_measurements(path: str, layers: list[LayerDataTuple]) -> list[str]:
    """Write the features of labels layers, as napari's *Save Selected Layers* asks for it.

    Parameters
    ----------
    path : str
        Table to write, ``T.csv``. Settings and thresholds of the measurement become
        ``T_settings.json``, as *Save tables* and ``phenldiff measure`` write them.
    layers : list of (data, arguments, "labels")
        Layers that a measurement made, or others with a table of features.

    Returns
    -------
    list of str
        The files that were written, the table first: one row per object, with the ``condition``
        (for layers of others their name) in front of the features. The background has no row.

    Raises
    ------
    InputError
        If a layer has no features, or the layers come from measurements with other settings.
    """
    import pandas as pd

    target = Path(path)
    if target.suffix.lower() != ".csv":
        target = target.with_name(f"{target.name}.csv")
    tables: list[pd.DataFrame] = []
    measurements: list[dict[str, Any]] = []
    for _, arguments, _ in layers:
        name = str(arguments.get("name", "labels"))
        features = pd.DataFrame(arguments.get("features"))
        if features.empty:
            raise InputError(f'Layer "{name}" has no measurements: measure first, and save then.')
        entry = (arguments.get("metadata") or {}).get(MEASUREMENT_METADATA_KEY)
        if isinstance(entry, dict):
            measurements.append(entry)
            name = str(entry["condition"])
        # Row 0 is the background, with or without numbers that say so.
        numbers = features.get("label", features.index)
        objects = features[np.asarray(numbers) != 0]
        # Whole numbers beside the missing ones of the background have become fractions.
        objects = objects.convert_dtypes()
        if "condition" not in objects:
            objects = objects.assign(condition=name)
        tables.append(objects[["condition", *objects.columns.drop("condition")]])
    if any(_made_with(entry) != _made_with(measurements[0]) for entry in measurements):
        raise InputError(
            "The layers come from measurements with different settings: save them one at a time."
        )
    written = [str(target)]
    with write_atomic(target) as temporary:
        write_csv(pd.concat(tables, ignore_index=True), temporary)
        # Both are complete before the first has its name.
        if measurements:
            profile, settings, thresholds = _made_with(measurements[0])
            beside = target.with_name(f"{target.stem}_settings.json")
            model = find_profile(profile).settings_type.model_validate(settings)
            write_settings(beside, profile, model, thresholds)
            written.append(str(beside))
    return written


def _made_with(entry: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, float]]:
    return entry["profile"], entry["settings"], entry["thresholds"]


def _words(key: tuple[Any, ...], layer: _SavedLayer, written: Sequence[str]) -> list[str]:
    """Return what tells this image from the others that are written with it."""
    words = [str(key[0])]
    if layer.entry.get("role", "real") != "real":
        words.append(str(layer.entry["role"]))
    if any(Path(file).stem.endswith("_".join(words)) for file in written):
        words.append(str(len(written) + 1))
    return words


def _provenance(layer: _SavedLayer) -> dict[str, Any]:
    entry = layer.entry
    provenance = dict(entry.get("provenance") or {})
    if entry:
        provenance |= {
            "kind": entry.get("role", "real"),
            "condition": entry.get("condition"),
            "images": list(entry.get("images", ())),
        }
        if entry.get("sites"):
            provenance["sites"] = list(entry["sites"])
        if entry.get("translation"):
            provenance["translation"] = entry["translation"]
    return {"saved_by": f"napari-phenldiff {__version__}", **provenance}
