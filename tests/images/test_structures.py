from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.images.structures import (
    STRUCTURES,
    draw_beaded,
    draw_structure,
    random_lines,
)


@pytest.mark.parametrize("kind", STRUCTURES)
def test_every_structure_changes_with_its_dose_and_only_with_it(kind):
    draw = STRUCTURES[kind]
    first, again, half, full = (
        draw(np.random.default_rng(3), 64, dose) for dose in (0.0, 0.0, 0.5, 1.0)
    )
    assert np.array_equal(first, again)
    assert first.shape[1:] == (64, 64)
    assert not np.allclose(first[0], full[0], atol=0.05)
    assert not np.allclose(half[0], full[0], atol=0.01)


def test_fields_differ_in_kind_and_number_of_channels_and_are_finite():
    fields = [draw_structure(np.random.default_rng(i), 48) for i in range(60)]
    assert {len(field) for field in fields} == {1, 2}
    assert all(np.isfinite(field).all() and field.min() >= 0 for field in fields)
    assert all(field.dtype == np.float32 for field in fields)
    assert np.median([field[0].max() for field in fields]) > 0.3


def test_filaments_become_rows_of_beads_in_their_places():
    rng = np.random.default_rng(0)
    lines = random_lines(rng, 128, 12, order=0.9, bend=0.01)
    whole, beaded = (
        draw_beaded(np.random.default_rng(1), 128, lines, dose, width=1.0) for dose in (0.0, 1.0)
    )

    def blocks(plane):
        return plane.reshape(16, 8, 16, 8).mean((1, 3)).ravel()

    assert np.corrcoef(blocks(whole), blocks(beaded))[0, 1] > 0.6
    assert _coherence(whole) > _coherence(beaded) + 0.15


def test_lines_lie_in_one_direction_where_there_is_order():
    y, x, number = random_lines(np.random.default_rng(2), 64, 40, order=1.0, bend=0.001)
    ends = [(y[number == n][[0, -1]], x[number == n][[0, -1]]) for n in range(40)]
    angles = np.array([np.arctan2(a[1] - a[0], b[1] - b[0]) for a, b in ends])
    assert np.abs(np.exp(2j * angles).mean()) > 0.9
    y, x, number = random_lines(np.random.default_rng(2), 64, 40, order=0.0, bend=0.001)
    ends = [(y[number == n][[0, -1]], x[number == n][[0, -1]]) for n in range(40)]
    angles = np.array([np.arctan2(a[1] - a[0], b[1] - b[0]) for a, b in ends])
    assert np.abs(np.exp(2j * angles).mean()) < 0.5


def _coherence(plane):
    dy, dx = np.gradient(plane)

    def blocks(values):
        return values.reshape(16, 8, 16, 8).mean((1, 3))

    yy, xx, xy = blocks(dy * dy), blocks(dx * dx), blocks(dy * dx)
    return np.hypot(yy - xx, 2 * xy).sum() / (yy + xx).sum()
