"""Procedural structures of cells: filaments, spots, stacks and textures, each at any dose.

Few collections of real images show what a treatment makes of a structure, none at every dose. So
a base model is also shown drawings in which one thing changes continuously while all else varies
widely: filaments break into beads, spots dissolve, a ribbon scatters, a texture gets coarse. They
look like structures, not like cells of any kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy import ndimage as ndi
from scipy.signal import lfilter

Lines = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Rows, columns and numbers ``(lines,)`` of points along lines; a line has one number."""

_MARGIN = 16


def draw_structure(rng: np.random.Generator, size: int, dose: float | None = None) -> np.ndarray:
    """Draw one field of some structure.

    Parameters
    ----------
    rng : numpy.random.Generator
        Which structure it is, and everything about it.
    size : int
        Height and width in pixels.
    dose : float, optional
        How far the structure has changed, from 0 to 1; drawn at random if it is not given.

    Returns
    -------
    numpy.ndarray of shape (C, size, size), float32
        One to three channels from 0 to about 1, the structure first; without the camera's noise.
    """
    names = tuple(STRUCTURES)
    kind = STRUCTURES[names[int(rng.choice(len(names), p=_SHARES))]]
    if dose is None:
        dose = float(rng.choice([0, 1, rng.random()]))
    planes = kind(rng, size, dose)
    haze = rng.uniform(0, 0.25) * ndi.gaussian_filter(planes, (0, 9, 9), mode="nearest")
    planes = ndi.gaussian_filter(planes, (0, *[rng.uniform(0.2, 1.1)] * 2)) + haze
    background = rng.uniform(0, 0.25) ** 2 * 4 * _smooth(rng, size, rng.uniform(25, 80))
    return np.asarray(planes + background * rng.uniform(0, 1, (len(planes), 1, 1)), np.float32)


def filaments(rng: np.random.Generator, size: int, dose: float) -> np.ndarray:
    """Draw a network or bundles of filaments that break into beads ``(1 or 2, size, size)``."""
    lines = random_lines(
        rng,
        size,
        int(np.exp(rng.uniform(np.log(3), np.log(90)))),
        order=float(rng.uniform(0, 1)),
        bend=float(np.exp(rng.uniform(np.log(0.003), np.log(0.12)))),
        bundles=float(rng.choice([0, rng.random()])),
    )
    plane = draw_beaded(rng, size, lines, dose, width=float(rng.uniform(0.5, 1.6)))
    return _beside_nuclei(rng, size, plane)


def spots(rng: np.random.Generator, size: int, dose: float) -> np.ndarray:
    """Draw bodies of cells whose marker is in spots, or dissolved ``(2, size, size)``."""
    bodies, nuclei = _bodies(rng, size)
    inside = np.clip(bodies * (1 - rng.uniform(0, 1) * nuclei), 1e-6, None)
    diffuse = inside * _smooth(rng, size, rng.uniform(2, 6))
    n = int(np.exp(rng.uniform(np.log(20), np.log(500))))
    y, x = _places(rng, n, inside)
    level = rng.lognormal(0, 0.6, n)
    wide = rng.random(n) < rng.uniform(0, 0.4)
    fine = _blobs(size, y[~wide], x[~wide], level[~wide], rng.uniform(0.6, 1.4))
    coarse = _blobs(size, y[wide], x[wide], level[wide], rng.uniform(1.4, 3.0))
    marker = (1 - dose) * np.minimum(fine + coarse, 1.5) + (0.08 + 0.5 * dose) * diffuse
    return np.stack([rng.uniform(0.4, 1) * marker, rng.uniform(0.3, 1) * nuclei])


def stacks(rng: np.random.Generator, size: int, dose: float) -> np.ndarray:
    """Draw ribbons beside nuclei that scatter over the cell ``(2, size, size)``."""
    bodies, nuclei, centres, radius = _cells(rng, size)
    plane = np.zeros((size, size))
    for cy, cx in centres:
        side, pieces = rng.uniform(0, 2 * np.pi), int(rng.integers(10, 40))
        spread = rng.uniform(0.2, 0.6)
        near = side + rng.normal(0, spread, pieces), rng.uniform(1.0, 1.4, pieces)
        far = rng.uniform(0, 2 * np.pi, pieces), rng.uniform(1.0, 2.3, pieces)
        scattered = rng.random(pieces) < dose * rng.uniform(0.7, 1)
        angle, reach = (np.where(scattered, b, a) for a, b in zip(near, far, strict=True))
        y, x = cy + reach * radius * np.sin(angle), cx + reach * radius * np.cos(angle)
        level = rng.uniform(0.4, 1, pieces)
        plane += _blobs(size, y, x, level, rng.uniform(0.8, 1.8))
        # a ribbon is drawn out along the arc around its nucleus
        arc = np.linspace(side - 2 * spread, side + 2 * spread, 60)
        away = (1.2 + 0.1 * np.sin(rng.uniform(2, 9) * arc)) * radius
        ribbon = _scatter(size, cy + away * np.sin(arc), cx + away * np.cos(arc), np.full(60, 0.5))
        plane += (1 - dose) * ndi.gaussian_filter(ribbon, 1.0) * 3
    plane = np.minimum(plane, 1.4) * (0.2 + 0.8 * bodies)
    return np.stack([rng.uniform(0.4, 1) * plane, rng.uniform(0.3, 1) * nuclei])


def textures(rng: np.random.Generator, size: int, dose: float) -> np.ndarray:
    """Draw cells filled with grains or fibres whose scale and direction change ``(2, ...)``."""
    bodies, nuclei = _bodies(rng, size)
    fine, coarse = rng.uniform(0.6, 1.5), rng.uniform(2, 5)
    scale = np.exp((1 - dose) * np.log(fine) + dose * np.log(coarse))
    stretch = rng.uniform(1, 6)
    noise = rng.standard_normal((size, size))
    field = ndi.gaussian_filter(noise, (scale, scale * stretch), mode="wrap")
    field = ndi.rotate(field, rng.uniform(0, 180), reshape=False, mode="wrap", order=1)
    field = np.clip(field / field.std() * rng.uniform(0.3, 1) + rng.uniform(0, 1), 0, None)
    where = (
        bodies * (1 - rng.uniform(0, 0.8) * np.minimum(nuclei, 1)) if rng.random() < 0.7 else 1.0
    )
    return np.stack([rng.uniform(0.2, 0.5) * field * where, rng.uniform(0.3, 1) * nuclei])


STRUCTURES: Mapping[str, Callable[[np.random.Generator, int, float], np.ndarray]] = {
    "filaments": filaments,
    "spots": spots,
    "stacks": stacks,
    "textures": textures,
}
_SHARES = (0.5, 0.2, 0.15, 0.15)


def random_lines(
    rng: np.random.Generator,
    size: int,
    n: int,
    *,
    order: float,
    bend: float,
    bundles: float = 0.0,
) -> Lines:
    """Walk `n` lines through a field, half a pixel a step.

    Parameters
    ----------
    rng : numpy.random.Generator
    size : int
        Height and width of the field in pixels; lines begin and end outside.
    n : int
        Number of lines.
    order : float
        0 for lines in all directions, 1 for parallel ones.
    bend : float
        Standard deviation, in radians per pixel, of the change of direction.
    bundles : float
        Part of the lines that run along another one.
    """
    length = 2 * (size + 2 * _MARGIN)
    direction = rng.uniform(0, 2 * np.pi)
    start = direction + (1 - order) * rng.uniform(-np.pi, np.pi, n) + rng.normal(0, 0.08, n)
    turns = rng.normal(0, bend, (n, length))
    # lines wander, and come back to the direction in which they set out
    angle = start[:, None] + _decaying_sum(turns, 0.995)
    middle = rng.uniform(-_MARGIN, size + _MARGIN, (2, n))
    steps = np.stack([np.sin(angle), np.cos(angle)]) * 0.5
    walked = np.cumsum(steps, -1)
    path = middle[..., None] + walked - walked[..., length // 2 : length // 2 + 1]
    along = np.flatnonzero(rng.random(n) < bundles)
    leaders = rng.integers(0, max(1, n // 6), len(along))
    apart = ndi.gaussian_filter1d(rng.standard_normal((2, len(along), length)), 25, axis=-1)
    path[:, along] = path[:, leaders] + apart * rng.uniform(4, 20)
    number = np.repeat(np.arange(n), length)
    return path[0].ravel(), path[1].ravel(), number


def draw_beaded(
    rng: np.random.Generator, size: int, lines: Lines, dose: float, *, width: float
) -> np.ndarray:
    """Draw lines that are whole at dose 0, and rows of beads with gaps between them at dose 1.

    Returns
    -------
    numpy.ndarray of shape (size, size)
        From 0 to about 1.
    """
    y, x, number = lines
    n = int(number.max()) + 1
    brightness = rng.uniform(0.4, 1)
    level = rng.lognormal(0, 0.5, n)[number]
    ripple = ndi.gaussian_filter1d(rng.standard_normal(len(y)), 12)
    ripple /= ripple.std() + 1e-9
    whole = level * np.clip(1 + 0.25 * ripple, 0.2, None)
    # where the line is still there once it breaks: `dose` orders the places, whatever it is
    fragile = ndi.gaussian_filter1d(rng.standard_normal(len(y)), rng.uniform(3, 14))
    fragile = np.argsort(np.argsort(fragile)) / len(fragile)
    kept = fragile > dose * rng.uniform(0.85, 1.0)
    fibre = ndi.gaussian_filter(_scatter(size, y, x, whole * kept), width) * width
    unbroken = ndi.gaussian_filter(_scatter(size, y, x, whole), width) * width
    spacing = rng.uniform(8, 30)
    beads = np.flatnonzero(rng.random(len(y)) < 1 / spacing)
    beads = beads[rng.random(len(beads)) < dose]
    jitter = rng.normal(0, 0.8, (2, len(beads)))
    bright = level[beads] * rng.lognormal(0, 0.6, len(beads))
    radius = rng.uniform(1.0, 2.2)
    big = rng.random(len(beads)) < 0.15
    spots = _blobs(size, y[beads] + jitter[0], x[beads] + jitter[1], bright, radius)
    spots += _blobs(size, y[beads[big]], x[beads[big]], bright[big], 1.7 * radius)
    debris = ndi.gaussian_filter(
        _scatter(size, y + rng.normal(0, 2, len(y)), x + rng.normal(0, 2, len(y)), level), 2.0
    )
    plane = fibre + dose * (0.5 * spots + 0.25 * debris)
    scale = np.percentile(unbroken, 99.5) + 1e-6
    return np.asarray(brightness * np.minimum(plane / scale, 1.6))


def _beside_nuclei(rng: np.random.Generator, size: int, plane: np.ndarray) -> np.ndarray:
    if rng.random() < 0.5:
        return plane[None]
    _, nuclei = _bodies(rng, size)
    return np.stack([plane, rng.uniform(0.3, 1) * nuclei])


def _cells(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Bodies and nuclei ``(size, size)`` in [0, 1], centres ``(n, 2)``, radius of the nuclei."""
    radius = float(np.exp(rng.uniform(np.log(5), np.log(22))))
    spacing = radius * rng.uniform(2.6, 4.5)
    grid = np.arange(-spacing, size + spacing, spacing)
    centres = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    centres = centres + rng.uniform(-0.35, 0.35, centres.shape) * spacing
    centres = centres[rng.random(len(centres)) < rng.uniform(0.3, 1)]
    if not len(centres):
        centres = np.full((1, 2), size / 2)
    warp = np.stack([_smooth(rng, size, 6), _smooth(rng, size, 6)]) - 1
    y, x = np.mgrid[:size, :size] + warp * radius * 0.35
    nuclei, bodies = np.zeros((size, size)), np.zeros((size, size))
    for cy, cx in centres:
        angle, aspect = rng.uniform(0, np.pi), rng.uniform(0.65, 1)
        u = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy)
        v = (np.cos(angle) * (y - cy) - np.sin(angle) * (x - cx)) / aspect
        distance = np.hypot(u, v) / radius
        level = rng.lognormal(0, 0.25)
        nuclei = np.maximum(nuclei, level / (1 + np.exp((distance - 1) * 0.8 * radius)))
        bodies = np.maximum(bodies, 1 / (1 + np.exp((distance - rng.uniform(1.8, 2.6)) * 6)))
    chromatin = _smooth(rng, size, rng.uniform(1.2, 3)) ** rng.uniform(0.2, 1)
    return bodies, nuclei * chromatin * 0.8, centres, radius


def _bodies(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    bodies, nuclei, _, _ = _cells(rng, size)
    return bodies, nuclei


def _smooth(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Positive random field ``(size, size)`` of mean about 1."""
    field = ndi.gaussian_filter(rng.standard_normal((size, size)), scale, mode="wrap")
    field -= field.mean()
    return np.asarray(np.exp(0.35 * field / (field.std() + 1e-12)))


def _places(rng: np.random.Generator, n: int, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw `n` places, the more likely the larger `where` is."""
    chance = where.ravel() / where.sum()
    index = rng.choice(len(chance), n, p=chance)
    return tuple(part + rng.uniform(0, 1, n) for part in np.unravel_index(index, where.shape))  # type: ignore[return-value]


def _blobs(size: int, y: np.ndarray, x: np.ndarray, level: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian spots whose peak is about `level`."""
    return np.asarray(
        ndi.gaussian_filter(_scatter(size, y, x, level), sigma) * (2 * np.pi * sigma**2)
    )


def _scatter(size: int, y: np.ndarray, x: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Add levels to the four pixels around each place; places outside are left out."""
    inside = (y >= 0) & (x >= 0) & (y < size - 1) & (x < size - 1)
    y, x, level = y[inside], x[inside], level[inside]
    row, column = y.astype(np.intp), x.astype(np.intp)
    dy, dx = y - row, x - column
    plane = np.zeros(size * size)
    for down, weight_y in ((0, 1 - dy), (1, dy)):
        for right, weight_x in ((0, 1 - dx), (1, dx)):
            index = (row + down) * size + column + right
            plane += np.bincount(index, level * weight_y * weight_x, minlength=size * size)
    return plane.reshape(size, size)


def _decaying_sum(values: np.ndarray, keep: float) -> np.ndarray:
    """Sum along the last axis that forgets."""
    return np.asarray(lfilter([1.0], [1.0, -keep], values, axis=-1))
