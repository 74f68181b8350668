"""The Golgi apparatus of each cell: what is nearest to one nucleus."""

from __future__ import annotations

import math

import numpy as np

from napari_phenldiff.measurement.half_light import half_light
from napari_phenldiff.measurement.segment import components

OVER_THRESHOLD = (
    "cell_area_px",
    "cell_n_fragments",
    "scatter_px",
    "scatter_centroid_px",
    "spread_px",
    "compactness",
)
OVER_HALF = ("cell_half_area_px", "half_spread_px", "half_compactness")
CELL_COLUMNS = ("label", "y", "x", *OVER_THRESHOLD, *OVER_HALF)


def measure_cells(
    plane: np.ndarray, mask: np.ndarray, nuclei: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, float]]:
    """Measure the Golgi of each nucleus.

    Parameters
    ----------
    plane : numpy.ndarray of shape (Y, X)
        The Golgi, in grey values.
    mask : numpy.ndarray of shape (Y, X), bool
        What of it is above the threshold.
    nuclei : numpy.ndarray of shape (Y, X), int
        0 is background, nuclei are 1, 2, ... without gaps.

    Returns
    -------
    objects : numpy.ndarray of shape (Y, X), int32
        The mask with the numbers of the rows.
    cells : dict of str to numpy.ndarray
        A row per nucleus that has Golgi in the mask; lengths in pixels.
    medians : dict of str to float
        Over these rows; of `OVER_HALF` over all nuclei around which there is light.
    """
    from scipy import ndimage as ndi

    objects = np.zeros(mask.shape, np.int32)
    empty = {name: np.empty(0) for name in CELL_COLUMNS}
    if not nuclei.any():
        return objects, empty, {}
    distance, nearest = ndi.distance_transform_edt(nuclei == 0, return_indices=True)
    owners = nuclei[tuple(nearest)]
    half = _over_half(plane, owners)
    medians = {n: float(np.nanmedian(v)) for n, v in half.items() if np.isfinite(v).any()}
    if not mask.any():
        return objects, empty, medians

    present, cell = np.unique(owners[mask], return_inverse=True)
    n_cells = present.size
    objects[mask] = owners[mask]
    centres = np.array(ndi.center_of_mass(nuclei > 0, nuclei, present))
    places = np.argwhere(mask).astype(np.float64)
    golgi = plane[mask].astype(np.float64)
    # A pixel at the very threshold still counts a little, however that is chosen.
    weights = np.maximum(golgi - np.median(plane[~mask]), 0) + 1e-9 * max(np.ptp(golgi), 1.0)
    pairs = np.unique(np.stack([cell, components(mask)[mask]]), axis=1)
    area = np.bincount(cell, minlength=n_cells)
    found = {
        "cell_area_px": area,
        "cell_n_fragments": np.bincount(pairs[0], minlength=n_cells),
        # From the edge between two pixels, not from the centre of the outermost one.
        "scatter_px": _mean(np.maximum(distance[mask] - 0.5, 0), cell, weights),
        "scatter_centroid_px": _mean(np.hypot(*(places - centres[cell]).T), cell, weights),
        "spread_px": np.sqrt(_variance(places, cell, weights)),
        "compactness": area / (2 * math.pi * _variance(places, cell, np.ones_like(weights))),
    }
    medians |= {name: float(np.median(values)) for name, values in found.items()}
    cells = {
        "label": present,
        "y": centres[:, 0],
        "x": centres[:, 1],
        **found,
        **{name: values[present - 1] for name, values in half.items()},
    }
    return objects, cells, medians


def _over_half(plane: np.ndarray, owners: np.ndarray) -> dict[str, np.ndarray]:
    """Measure the brightest pixels that hold half of the light around each nucleus.

    Returns one value per nucleus, NaN where there is no more light than noise could give.
    """
    half = half_light(plane, owners, above_noise=True)
    present, cell = np.unique(owners[half], return_inverse=True)
    found = {name: np.full(int(owners.max()), math.nan) for name in OVER_HALF}
    if present.size:
        area = np.bincount(cell)
        variance = _variance(np.argwhere(half).astype(np.float64), cell, np.ones(cell.size))
        measured = (area, np.sqrt(variance), area / (2 * math.pi * variance))
        for name, values in zip(OVER_HALF, measured, strict=True):
            found[name][present - 1] = values
    return found


def _mean(values: np.ndarray, cell: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of the pixels of each cell, which are numbered from 0 without gaps."""
    return np.asarray(np.bincount(cell, weights * values) / np.bincount(cell, weights))


def _variance(places: np.ndarray, cell: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared distance from the cell's own centroid, a pixel being a square and no point."""
    squares = np.full(int(cell.max()) + 1, 1 / 6)
    for along in places.T:
        centre = _mean(along, cell, weights)
        squares += _mean((along - centre[cell]) ** 2, cell, weights)
    return squares
