"""OME-Zarr plates out (version 0.4, which more programs read than later ones)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_colors import channel_rgb
from napari_phenldiff.images.files import make_folder_atomic, write_atomic
from napari_phenldiff.images.image import Image

_VERSION = "0.4"
_PROVENANCE_KEY = "napari-phenldiff"
_CHUNK = 1024
_SMALL = 512
"""Side up to which an image needs no smaller copy for looking at it from afar."""

_LETTER_AND_NUMBER = re.compile(r"(?:well[ _-]?)?([A-P]|A[A-F])[ _-]*0*(\d{1,3})", re.I)
_ROW_AND_COLUMN = re.compile(r"r0*(\d{1,2})c0*(\d{1,2})", re.I)
_ROWS = [chr(ord("A") + k) for k in range(26)] + [f"A{chr(ord('A') + k)}" for k in range(6)]


@dataclass(frozen=True, slots=True, order=True)
class PlaceOnPlate:
    """Where an image lies in a plate.

    Attributes
    ----------
    row : int
        From 0.
    column : int
        From 1, as people count them.
    field : str
        Letters and digits.
    """

    row: int
    column: int
    field: str

    @property
    def well(self) -> str:
        """Path of the well in the plate: ``B/7``."""
        return f"{_ROWS[self.row]}/{self.column}"

    @property
    def path(self) -> str:
        """Path of the image in the plate: ``B/7/0``."""
        return f"{self.well}/{self.field}"


def well_on_plate(name: str) -> tuple[int, int] | None:
    """Return row (from 0) and column (from 1) of a well such as B07 or r02c07; None for others."""
    found = _LETTER_AND_NUMBER.fullmatch(name.strip())
    if found is not None:
        row, column = _ROWS.index(found[1].upper()), int(found[2])
    else:
        found = _ROW_AND_COLUMN.fullmatch(name.strip())
        if found is None:
            return None
        row, column = int(found[1]) - 1, int(found[2])
    return (row, column) if 0 <= row < len(_ROWS) and column >= 1 else None


def write_field(
    plate: Path,
    place: PlaceOnPlate,
    images: Sequence[Image],
    *,
    windows: Sequence[tuple[float, float]],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write an image, or the images of a stack, as a field of a plate: whole, or not at all.

    Fields may be written by several processes at once; `write_plate` makes them a plate.

    Parameters
    ----------
    plate : Path
        Folder of the plate.
    place : PlaceOnPlate
    images : sequence of Image
        Of one shape and dtype. One is written with the axes c, y, x; several with t before them.
    windows : sequence of (float, float)
        Grey values that viewers show as black and as bright, per channel.
    provenance : mapping, optional
        How the image was made, for `zarr_provenance`.
    """
    import zarr
    from zarr.storage import LocalStore

    first = images[0]
    shapes = {(image.data.shape, image.data.dtype) for image in images}
    if len(shapes) > 1:
        raise InputError(
            f"{first.name} and those of its stack differ in shape or data type; a field of a plate "
            "holds images of one shape: write TIFFs."
        )
    data = np.stack([image.data for image in images])
    axes = [
        *([{"name": "t", "type": "time"}] if len(images) > 1 else []),
        {"name": "c", "type": "channel"},
    ]
    unit = {} if first.pixel_size is None else {"unit": "micrometer"}
    axes += [{"name": name, "type": "space", **unit} for name in "yx"]
    place_of_it = plate / place.path
    shutil.rmtree(place_of_it, ignore_errors=True)  # of an image that has changed meanwhile
    with make_folder_atomic(place_of_it) as aside:
        group = zarr.open_group(LocalStore(aside), mode="a", zarr_format=2)
        datasets = []
        for level, pixels in enumerate(_levels(data if len(images) > 1 else data[0])):
            chunks = (*[1] * (pixels.ndim - 2), *(min(n, _CHUNK) for n in pixels.shape[-2:]))
            # A chunk of zeros would be left out, and could not be told from one that was lost.
            group.create_array(
                str(level), data=pixels, chunks=chunks, config={"write_empty_chunks": True}
            )
            size = first.pixel_size or (1.0, 1.0)
            scale = [1.0] * (pixels.ndim - 2) + [float(step) * 2**level for step in size]
            # The middle of the first of the smaller copy's pixels is that of four pixels.
            shift = [0.0] * (pixels.ndim - 2) + [float(step) * (2**level - 1) / 2 for step in size]
            changes = [{"type": "scale", "scale": scale}]
            if level:
                changes.append({"type": "translation", "translation": shift})
            datasets.append({"path": str(level), "coordinateTransformations": changes})
        attributes: dict[str, Any] = {
            "multiscales": [
                {"version": _VERSION, "name": first.name, "axes": axes, "datasets": datasets}
            ],
            "omero": {"version": _VERSION, "channels": _channels(first, windows)},
            **({} if provenance is None else {_PROVENANCE_KEY: _plain(provenance)}),
        }
        group.attrs.update(attributes)


def write_plate(plate: Path, name: str, places: Iterable[PlaceOnPlate]) -> None:
    """Write what makes fields a plate: of those that are there.

    Parameters
    ----------
    plate : Path
        Folder of the plate.
    name : str
        Of the plate.
    places : iterable of PlaceOnPlate
        Of all fields; those that are not written yet are left out.
    """
    found = sorted(place for place in places if has_field(plate, place))
    if not found:
        return
    wells: dict[tuple[int, int], list[PlaceOnPlate]] = {}
    for place in found:
        wells.setdefault((place.row, place.column), []).append(place)
    rows = sorted({row for row, _ in wells})
    columns = sorted({column for _, column in wells})
    _write_attributes(
        plate,
        {
            "plate": {
                "version": _VERSION,
                "name": name,
                "field_count": max(map(len, wells.values())),
                "rows": [{"name": _ROWS[row]} for row in rows],
                "columns": [{"name": str(column)} for column in columns],
                "wells": [
                    {
                        "path": fields[0].well,
                        "rowIndex": rows.index(row),
                        "columnIndex": columns.index(column),
                    }
                    for (row, column), fields in wells.items()
                ],
            }
        },
    )
    for fields in wells.values():
        images = [{"path": place.field} for place in fields]
        _write_attributes(plate / fields[0].well, {"well": {"version": _VERSION, "images": images}})
    for row in rows:
        _write_attributes(plate / _ROWS[row], None)


def has_field(plate: Path, place: PlaceOnPlate) -> bool:
    """Whether a field is written."""
    return (plate / place.path / ".zattrs").is_file()


def zarr_provenance(folder: Path) -> dict[str, Any] | None:
    """Return how an image was made, as `write_field` wrote it; None where it does not say so."""
    try:
        told = json.loads((folder / ".zattrs").read_text(encoding="utf-8"))
        found = told.get(_PROVENANCE_KEY)
    except (OSError, ValueError, RecursionError, AttributeError):
        return None
    return dict(found) if isinstance(found, Mapping) else None


def _levels(data: np.ndarray) -> list[np.ndarray]:
    """Return an image ``(..., Y, X)`` and smaller copies, each of means of four pixels."""
    levels = [data]
    while max(levels[-1].shape[-2:]) > _SMALL and min(levels[-1].shape[-2:]) > 1:
        last = levels[-1]
        height, width = (n // 2 * 2 for n in last.shape[-2:])
        parts = [
            last[..., y:height:2, x:width:2].astype(np.float64) for y in (0, 1) for x in (0, 1)
        ]
        mean = sum(parts[1:], parts[0]) / 4
        levels.append((mean if last.dtype.kind == "f" else np.rint(mean)).astype(last.dtype))
    return levels


def _channels(image: Image, windows: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    if image.data.dtype.kind in "ui":
        kind = np.iinfo(image.data.dtype)
        least, most = float(kind.min), float(kind.max)
    else:
        least, most = min(low for low, _ in windows), max(high for _, high in windows)
    return [
        {
            "label": name,
            "active": True,
            "color": "".join(f"{round(255 * part):02X}" for part in color),
            "window": {"min": least, "max": most, "start": float(low), "end": float(high)},
        }
        for name, color, (low, high) in zip(
            image.channel_names, channel_rgb(image.channel_names), windows, strict=True
        )
    ]


def _write_attributes(folder: Path, attributes: Mapping[str, Any] | None) -> None:
    """Make a folder a group of Zarr."""
    contents: dict[str, Mapping[str, Any]] = {".zgroup": {"zarr_format": 2}}
    if attributes is not None:
        contents[".zattrs"] = attributes
    for name, values in contents.items():
        with write_atomic(folder / name) as aside:
            aside.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON can hold."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=str))
    return plain
