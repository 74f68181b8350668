"""The phenotypes that can be simulated, and how their cells are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import ndimage as ndi
from scipy import special

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.structures import draw_beaded, random_lines

_MARGIN = 24
_REACH = 8.0
"""Radii around the centre of a cell beyond which all of it is below 1e-10 of full scale."""

Window = tuple[slice, slice]
"""Rows and columns of a field."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A field before it is photographed.

    Attributes
    ----------
    planes : numpy.ndarray of shape (C, Y, X), float64
        Without noise, in units of full scale.
    truth : mapping of str to float
        The true measurements.
    masks : mapping of str to numpy.ndarray of shape (Y, X)
        Where structures are. ``nuclei`` (int32) has a number for each nucleus, up to the middle
        of its soft edge, and 0 elsewhere; ``golgi`` and ``neurons`` are bool.
    """

    planes: np.ndarray
    truth: dict[str, float]
    masks: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Phenotype:
    """A simulated difference between two conditions.

    Attributes
    ----------
    name : str
        What it is called on the command line.
    source, target : str
        Names of the two conditions.
    channel_names : tuple of str
        Channels in the order of the image's first axis.
    draw : callable
        ``draw(rng, size, dose) -> Drawing``. `dose` is 0 for the source and 1 for the target;
        equal `rng` states give equal cells.
    """

    name: str
    source: str
    target: str
    channel_names: tuple[str, ...]
    draw: Callable[[np.random.Generator, int, float], Drawing]


def get_phenotype(name: str) -> Phenotype:
    """Look up a phenotype; `InputError` names the known ones."""
    try:
        return PHENOTYPES[name]
    except KeyError:
        known = ", ".join(PHENOTYPES)
        raise InputError(f"Unknown phenotype {name!r}; choose one of: {known}.") from None


def _texture(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Smooth positive random field ``(size, size)`` of mean about 1."""
    field = ndi.gaussian_filter(rng.standard_normal((size, size)), scale, mode="wrap")
    return np.exp(0.35 * field / field.std())


def _cells(
    rng: np.random.Generator, size: int, spacing: float, radius: tuple[float, float]
) -> list[dict[str, float]]:
    """Centres and shapes of cells that keep a distance from each other."""
    wanted = rng.poisson(((size + 2 * _MARGIN) / spacing) ** 2 * rng.uniform(0.5, 0.95))
    cells: list[dict[str, float]] = []
    centres = np.empty((max(2, wanted), 2))
    for _ in range(max(2, wanted) * 8):
        y, x = rng.uniform(-_MARGIN, size + _MARGIN, 2)
        away = np.hypot(*(centres[: len(cells)] - (y, x)).T)
        if (away > 0.72 * spacing).all():
            centres[len(cells)] = y, x
            cells.append(
                {
                    "y": y,
                    "x": x,
                    "radius": rng.uniform(*radius),
                    "aspect": rng.uniform(0.7, 1.0),
                    "angle": rng.uniform(0, np.pi),
                    "stain": np.exp(rng.normal(0, 0.3)),
                    "seed": float(rng.integers(2**31)),
                }
            )
        if len(cells) >= max(2, wanted):
            break
    return cells


def _around(cell: Mapping[str, float], size: int) -> Window:
    """Return the part of a field that a cell may be seen in; its work does not grow with that."""
    reach = int(np.ceil(_REACH * cell["radius"]))

    def part(centre: float) -> slice:
        return slice(max(0, int(centre) - reach), max(0, min(size, int(centre) + reach + 1)))

    return part(cell["y"]), part(cell["x"])


def _polar(cell: Mapping[str, float], window: Window, rng: np.random.Generator) -> np.ndarray:
    """Distance from the cell's centre in units of its wobbly elliptic outline ``(Y, X)``."""
    y, x = np.mgrid[window].astype(float)
    y, x = y - cell["y"], x - cell["x"]
    cos, sin = np.cos(cell["angle"]), np.sin(cell["angle"])
    u, v = cos * x + sin * y, (cos * y - sin * x) / cell["aspect"]
    theta = np.arctan2(v, u)
    wobble = sum(
        rng.normal(0, 0.05) * np.cos(k * theta + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4)
    )
    return np.hypot(u, v) / (cell["radius"] * (1 + wobble))


def _inside(distance: np.ndarray, limit: float, softness: float) -> np.ndarray:
    """1 inside of `limit`, 0 outside, with a soft edge."""
    return special.expit((limit - distance) / softness)


def _brighten(plane: np.ndarray, with_this: np.ndarray) -> None:
    """Keep the brighter value of each pixel, in place."""
    np.maximum(plane, with_this, out=plane)


class _Nuclei:
    """Labels of nuclei `(Y, X)`, made from their distances one by one."""

    def __init__(self, size: int) -> None:
        self.labels = np.zeros((size, size), np.int32)
        self._nearest = np.ones((size, size))
        self._count = 0

    def add(self, distance: np.ndarray, window: Window) -> None:
        """Add a nucleus, given the distance in units of its outline in a window `(Y, X)`."""
        own = distance < self._nearest[window]
        self._count += 1
        self.labels[window][own] = self._count
        self._nearest[window][own] = distance[own]


def _draw_translocation(rng: np.random.Generator, size: int, dose: float) -> Drawing:
    planes, nuclei = np.zeros((2, size, size)), _Nuclei(size)
    chromatin, cytosol = _texture(rng, size, 2.0), _texture(rng, size, 3.0)
    field_shift = rng.normal(0, 0.6)
    ratios = []
    for cell in _cells(rng, size, spacing=34, radius=(8.5, 11.5)):
        own = np.random.default_rng(int(cell["seed"]))
        window = _around(cell, size)
        distance = _polar(cell, window, own)
        nuclei.add(distance, window)
        nucleus = _inside(distance, 1.0, 0.05)
        body = _inside(distance, own.uniform(1.9, 2.6), 0.12)
        # cells differ in where the marker is, and in how much of it the treatment moves
        response = 1.2 * dose * own.uniform(0.4, 1.6)
        log_ratio = -0.3 + response + field_shift + own.normal(0, 1.1)
        amount = cell["stain"] * own.uniform(0.35, 0.6)
        # the amount of marker is the cell's own; the condition only moves it
        areas = nucleus.sum() + 1e-9, (body * (1 - nucleus)).sum() + 1e-9
        ratio = np.exp(log_ratio)
        cyto_level = amount * sum(areas) / (ratio * areas[0] + areas[1])
        _brighten(planes[0][window], 0.75 * cell["stain"] * nucleus * chromatin[window])
        marker = cyto_level * cytosol[window] * (body * (1 - nucleus) + ratio * nucleus)
        _brighten(planes[1][window], marker)
        ratios.append(ratio)
    return Drawing(planes, {"ratio": float(np.median(ratios))}, {"nuclei": nuclei.labels})


def _draw_golgi(rng: np.random.Generator, size: int, dose: float) -> Drawing:
    planes, nuclei = np.zeros((3, size, size)), _Nuclei(size)
    chromatin, fibres = _texture(rng, size, 2.0), _texture(rng, size, 1.0)
    pixels = np.arange(size, dtype=float)
    for cell in _cells(rng, size, spacing=40, radius=(8.5, 11.5)):
        own = np.random.default_rng(int(cell["seed"]))
        window = _around(cell, size)
        distance = _polar(cell, window, own)
        nuclei.add(distance, window)
        nucleus = _inside(distance, 1.0, 0.05)
        body = _inside(distance, own.uniform(2.0, 2.7), 0.15)
        _brighten(planes[2][window], 0.75 * cell["stain"] * nucleus * chromatin[window])
        tubulin = 0.4 * cell["stain"] * fibres[window] * body * (1 - 0.7 * nucleus)
        _brighten(planes[1][window], tubulin)
        side, stacks = own.uniform(0, 2 * np.pi), int(own.integers(14, 26))
        compactness = own.uniform(0.25, 0.5)
        for _ in range(stacks):
            # compact: around one place beside the nucleus; scattered: anywhere in the cell
            near = side + own.normal(0, compactness), own.uniform(1.05, 1.45)
            far = own.uniform(0, 2 * np.pi), own.uniform(1.1, 2.1)
            strength, width = own.uniform(0.5, 1.0), own.uniform(1.0, 1.6)
            scattered = own.uniform() < dose * own.uniform(0.8, 1.0)
            angle, reach = far if scattered else near
            angle, reach = angle + cell["angle"], reach * cell["radius"]
            # a round spot is the product of its two profiles, which are quick to make
            y, x = cell["y"] + reach * np.sin(angle), cell["x"] + reach * np.cos(angle)
            rows, columns = (
                np.exp(-((pixels[part] - at) ** 2) / (2 * width**2))
                for part, at in zip(window, (y, x), strict=True)
            )
            spot = np.outer(0.55 * cell["stain"] * strength * rows, columns) * body
            planes[0][window] += spot
    planes[0] = 1.2 * (1 - np.exp(-planes[0] / 1.2))
    golgi = planes[0] > 0.2
    return Drawing(planes, {"area": float(golgi.sum())}, {"golgi": golgi, "nuclei": nuclei.labels})


def _draw_neurons(rng: np.random.Generator, size: int, dose: float) -> Drawing:
    planes, nuclei = np.zeros((2, size, size)), _Nuclei(size)
    chromatin = _texture(rng, size, 2.0)
    field_density = np.exp(rng.normal(0, 0.3))
    for cell in _cells(rng, size, spacing=46, radius=(5.0, 7.5)):
        own = np.random.default_rng(int(cell["seed"]))
        window = _around(cell, size)
        distance = _polar(cell, window, own)
        nuclei.add(distance, window)
        stained = 0.75 * cell["stain"] * _inside(distance, 1.0, 0.06) * chromatin[window]
        _brighten(planes[1][window], stained)
        _brighten(planes[0][window], 0.6 * cell["stain"] * _inside(distance, 1.5, 0.1))
        for _ in range(1 + own.poisson(3.0 * field_density)):
            length, keep = own.uniform(25, 80), own.uniform()
            start, curve = own.uniform(0, 2 * np.pi), own.normal(0, 0.12, 90).cumsum()
            level = cell["stain"] * own.uniform(0.3, 0.6)
            beads, width = own.uniform(0, 1, 90), own.uniform(0.6, 1.1)
            if keep < 0.45 * dose:
                continue
            length *= 1 - 0.4 * dose
            steps = np.arange(int(length))
            angle = start + curve[: len(steps)]
            ys = cell["y"] + cell["radius"] * np.sin(start) + np.cumsum(np.sin(angle))
            xs = cell["x"] + cell["radius"] * np.cos(start) + np.cumsum(np.cos(angle))
            _stroke(planes[0], ys, xs, level * (0.7 + 0.6 * beads[: len(steps)]), width)
    masks = {"neurons": planes[0] > 0.15, "nuclei": nuclei.labels}
    return Drawing(planes, {"area": float(masks["neurons"].sum())}, masks)


def _draw_beading(rng: np.random.Generator, size: int, dose: float) -> Drawing:
    planes, nuclei = np.zeros((2, size, size)), _Nuclei(size)
    chromatin = _texture(rng, size, 2.0)
    for cell in _cells(rng, size, spacing=46, radius=(6.0, 8.5)):
        window = _around(cell, size)
        distance = _polar(cell, window, np.random.default_rng(int(cell["seed"])))
        nuclei.add(distance, window)
        stained = 0.75 * cell["stain"] * _inside(distance, 1.0, 0.06) * chromatin[window]
        _brighten(planes[1][window], stained)
    n = 4 + rng.poisson(14 * np.exp(rng.normal(0, 0.4)) * size / 128)
    lines = random_lines(rng, size, int(n), order=float(rng.uniform(0.5, 1)), bend=0.02)
    # how the neurites break must not depend on how many numbers the beads took
    beads = np.random.default_rng(int(rng.integers(2**31)))
    planes[0] = 0.8 * draw_beaded(beads, size, lines, dose, width=float(rng.uniform(0.7, 1.1)))
    masks = {"beading": planes[0] > 0.12, "nuclei": nuclei.labels}
    return Drawing(planes, {"area": float(masks["beading"].sum())}, masks)


def _stroke(
    plane: np.ndarray, ys: np.ndarray, xs: np.ndarray, level: np.ndarray, width: float
) -> None:
    """Draw a line of Gaussian profile into `plane`, in place, keeping the brighter value."""
    size, reach = plane.shape[0], 3
    for y, x, value in zip(ys, xs, level, strict=True):
        top, left = int(y) - reach, int(x) - reach
        rows = slice(max(top, 0), min(top + 2 * reach + 1, size))
        columns = slice(max(left, 0), min(left + 2 * reach + 1, size))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        dy = np.arange(rows.start, rows.stop)[:, None] - y
        dx = np.arange(columns.start, columns.stop)[None] - x
        profile = value * np.exp(-(dy**2 + dx**2) / (2 * width**2))
        _brighten(plane[rows, columns], profile)


PHENOTYPES: Mapping[str, Phenotype] = {
    kind.name: kind
    for kind in (
        Phenotype("translocation", "untreated", "treated", ("DNA", "marker"), _draw_translocation),
        Phenotype("golgi", "control", "scattered", ("Golgi", "tubulin", "DNA"), _draw_golgi),
        Phenotype("neurons", "wild_type", "mutant", ("neurons", "DNA"), _draw_neurons),
        Phenotype("beading", "intact", "beaded", ("neurites", "DNA"), _draw_beading),
    )
}
