"""OME-Zarr images and plates for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr

ROWS, COLUMNS, FIELDS = ("A", "B"), ("1", "2", "3"), 2


def put(group: Any, version: str, contents: dict[str, Any]) -> None:
    if version == "0.4":
        group.attrs.update(contents)
    else:
        group.attrs["ome"] = {"version": version, **contents}


def write_image(
    group: Any, data: np.ndarray, version: str, *, unit: str = "micrometer", step: float = 0.5
) -> None:
    """Write (C, Z, Y, X) with a reduced copy."""
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    datasets = []
    for level in range(2):
        small = data[..., :: 2**level, :: 2**level]
        group.create_array(str(level), data=small, chunks=(1, 1, *small.shape[-2:]))
        scale = [1, 1, step * 2**level, step * 2**level]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    scales = {"version": version, "axes": axes, "datasets": datasets}
    channels = [{"label": "DAPI"}, {"label": "GFP"}]
    put(group, version, {"multiscales": [scales], "omero": {"channels": channels}})


def field(row: str, seed: int, side: int = 64, depth: int = 1) -> np.ndarray:
    """Cells whose marker is larger in row B."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    data = rng.normal(200, 10, (2, depth, side, side))
    for cy, cx in rng.uniform(8, side - 8, (6, 2)):
        distance = (y - cy) ** 2 + (x - cx) ** 2
        data[0] += 2000 * np.exp(-distance / 50)
        data[1] += 3000 * np.exp(-distance / (32 if row == "A" else 98))
    return data.clip(0, 65535).astype(np.uint16)


def write_plate(path: Path, version: str = "0.4", *, depth: int = 1) -> Path:
    root = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    places = [(row, column) for row in ROWS for column in COLUMNS]
    wells = [
        {"path": f"{r}/{c}", "rowIndex": ROWS.index(r), "columnIndex": COLUMNS.index(c)}
        for r, c in places
    ]
    plate = {
        "name": "P1",
        "rows": [{"name": name} for name in ROWS],
        "columns": [{"name": name} for name in COLUMNS],
        "wells": wells,
    }
    put(root, version, {"plate": plate})
    for k, (row, column) in enumerate(places):
        well = root.create_group(f"{row}/{column}")
        put(well, version, {"well": {"images": [{"path": str(f)} for f in range(FIELDS)]}})
        for f in range(FIELDS):
            image = well.create_group(str(f))
            write_image(image, field(row, k * FIELDS + f, depth=depth), version)
    return path


def write_layout(path: Path) -> Path:
    lines = [f"{r}{c},{'ctrl' if r == 'A' else 'drug'}" for r in ROWS for c in COLUMNS]
    path.write_text("\n".join(["well,condition", *lines]))
    return path
