"""Structure with brightness taken out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.measurement.structure import (
    SCALES,
    coherence,
    granularity,
    layout_correlation,
    mean_size,
    spot_density,
    spot_energy,
)

MEASURES = (coherence, granularity, spot_density, spot_energy)


def fibres(seed: int = 0, side: int = 96, n: int = 12) -> np.ndarray:
    """Draw straight bright lines of all directions over dim noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    plane = np.zeros((side, side))
    for _ in range(n):
        angle, place = rng.uniform(0, np.pi), rng.uniform(-side / 2, side / 2)
        away = (x - side / 2) * np.cos(angle) + (y - side / 2) * np.sin(angle) - place
        plane = np.maximum(plane, np.exp(-(away**2) / 4.5))
    return plane + rng.normal(0, 0.02, plane.shape)


def beads(seed: int = 0, side: int = 96) -> np.ndarray:
    """Draw the same lines, of which only beads are left."""
    plane = fibres(seed, side)
    keep = np.zeros_like(plane)
    keep[np.random.default_rng(seed).random(plane.shape) < 0.02] = 1
    return plane * ndi.gaussian_filter(keep, 1.5) * 14


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("plane", [fibres(), beads()], ids=["fibres", "beads"])
def test_a_dimmed_copy_has_the_same_structure(measure, plane: np.ndarray) -> None:
    known = measure(plane)
    for gain, offset in ((0.2, 0.0), (40.0, 0.0), (0.4, 300.0)):
        np.testing.assert_allclose(measure(gain * plane + offset), known, rtol=1e-6)


def test_coherence_is_what_its_formula_says() -> None:
    plane = fibres()
    smooth = ndi.gaussian_filter(plane, 1)
    smooth = smooth - ndi.gaussian_filter(smooth, 12)
    x, y = ndi.sobel(smooth, 1), ndi.sobel(smooth, 0)
    xx, yy, xy = (ndi.gaussian_filter(v, 4) for v in (x * x, y * y, x * y))
    expected = np.sqrt((xx - yy) ** 2 + 4 * xy**2).sum() / (xx + yy).sum()
    np.testing.assert_allclose(coherence(plane), expected)


def test_coherence_is_one_along_parallel_stripes() -> None:
    stripes = np.sin(np.arange(96) / 3)[None].repeat(96, 0)
    np.testing.assert_allclose(coherence(stripes), 1, atol=1e-6)


def test_fibres_that_fall_into_beads() -> None:
    before, after = fibres(), beads()
    assert coherence(before) > coherence(after) + 0.15
    assert spot_density(after) > 2 * spot_density(before)
    assert spot_energy(after) > 2 * spot_energy(before)


@pytest.mark.parametrize("radius", [3, 6, 12])
def test_granularity_finds_the_size_of_discs(radius: int) -> None:
    plane = np.zeros((128, 128))
    for y in range(24, 128, 40):
        for x in range(24, 128, 40):
            yy, xx = np.mgrid[:128, :128]
            plane[np.hypot(yy - y, xx - x) <= radius] = 1
    spectrum = granularity(plane, smoothing=0.3)
    # a disc goes with the first one that does not fit into it
    assert SCALES[int(spectrum.argmax())] == radius * 4 // 3
    np.testing.assert_allclose(spectrum.sum(), 1)
    assert (spectrum >= 0).all()
    assert radius < mean_size(spectrum) <= radius * 4 / 3


def test_spots_are_counted_once_each_per_area() -> None:
    plane = np.zeros((100, 100))
    for y in range(10, 100, 20):
        for x in range(10, 100, 20):
            plane[y, x] = 1
    spots = ndi.gaussian_filter(plane, 1.5)
    assert spot_density(spots) == 25
    assert spot_density(np.tile(spots, (2, 2))) == 25


def test_a_fibre_is_no_spot() -> None:
    line = np.zeros((100, 100))
    line[50] = 1
    assert spot_density(ndi.gaussian_filter(line, 1.5)) == 0


def test_layout_knows_what_moved() -> None:
    rng = np.random.default_rng(3)
    plane = ndi.gaussian_filter(rng.normal(size=(128, 128)), 8)
    fine = ndi.gaussian_filter(rng.normal(size=(128, 128)), 1) * plane.std()
    np.testing.assert_allclose(layout_correlation(0.3 * plane + 7, plane), 1)
    assert layout_correlation(plane + fine, plane) > 0.95
    assert layout_correlation(np.rot90(plane, 2), plane) < 0.5
    np.testing.assert_allclose(layout_correlation(-plane, plane), -1)
    with pytest.raises(ValueError, match="shapes"):
        layout_correlation(plane, plane[:64])


def test_any_number_of_planes_each_by_itself() -> None:
    stack = np.stack([fibres(0), beads(0), fibres(1), beads(1)]).reshape(2, 2, 96, 96)
    for measure in MEASURES:
        found = measure(stack)
        assert found.shape[:2] == (2, 2)
        np.testing.assert_allclose(found[1, 0], measure(fibres(1)))
    assert layout_correlation(stack, stack).shape == (2, 2)


@pytest.mark.parametrize(
    "plane",
    [np.zeros((32, 32)), np.full((32, 32), 0.1, np.float32), np.full((32, 32), np.nan)],
    ids=["black", "flat", "not finite"],
)
def test_a_plane_without_structure_has_none(plane: np.ndarray) -> None:
    for measure in MEASURES:
        assert np.isnan(measure(plane)).all()
    assert np.isnan(layout_correlation(plane, fibres(side=32)))
