from __future__ import annotations

import math

import numpy as np
import pytest

from napari_phenldiff.evaluation.identity import (
    correlations,
    kept_nuclei,
    match_cells,
    match_nuclei,
    nuclei_thresholds,
    own_source,
)
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.stains import nuclei_channel


def squares(*corners, side=6, shape=(40, 40)):
    labels = np.zeros(shape, np.int32)
    for number, (y, x) in enumerate(corners, start=1):
        labels[y : y + side, x : x + side] = 3 * number  # numbers with gaps
    return labels


def image(data, name="field"):
    data = np.asarray(data, np.float32)
    return Image(data, tuple(f"c{k}" for k in range(len(data))), None, name)


def test_all_are_matched_to_themselves():
    labels = squares((2, 2), (20, 20))
    found = match_nuclei(labels, labels[::1] * 2)
    assert (found.n_before, found.n_after, found.n_matched) == (2, 2, 2)
    assert (found.kept, found.overlap, found.distance) == (1, 1, 0)


def test_one_moved_one_gone_one_new():
    before = squares((2, 2), (20, 20), (30, 2))
    after = squares((20, 21), (2, 30), (30, 2))
    found = match_nuclei(before, after)
    assert found.n_matched == 2
    assert found.kept == pytest.approx(2 / 3)
    assert found.overlap == pytest.approx((1 + 30 / 42) / 2)
    assert found.distance == pytest.approx(0.5)


def test_no_nucleus_counts_for_two():
    before = squares((2, 2), (2, 8))
    merged = np.where(before > 0, 1, 0)
    # half of the union is exactly the limit
    assert match_nuclei(before, merged).n_matched == 1


def test_without_nuclei():
    none, some = squares(), squares((2, 2))
    assert math.isnan(match_nuclei(none, none).kept)
    assert match_nuclei(none, some).kept == 0
    assert match_nuclei(some, none).n_matched == 0


def test_correlation_per_channel():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(3, 20, 20))
    other = np.stack([2 * one[0] + 5, -one[1], np.zeros((20, 20))])
    found = correlations([image(one)], [image(other)])
    np.testing.assert_allclose(found[0, :2], [1, -1], atol=1e-6)
    assert math.isnan(found[0, 2])


def test_own_source_tells_a_translation_from_any_cells():
    rng = np.random.default_rng(0)
    sources = [image(rng.normal(size=(2, 16, 16))) for _ in range(8)]
    changed = [image(s.data + rng.normal(0, 1, s.data.shape)) for s in sources]
    others = [image(rng.normal(size=(2, 16, 16))) for _ in range(8)]
    assert own_source(sources, changed) == 1
    assert own_source(sources, others) == pytest.approx(0.5, abs=0.25)
    assert own_source(sources, [sources[0]] * 8) < 0.6
    assert own_source(sources, [image(np.zeros((2, 16, 16)))] * 8) == 0.5
    assert math.isnan(own_source(sources[:1], changed[:1]))
    # a channel that was given says nothing about the one that was drawn
    given = [image(np.stack([s.data[0], o.data[1]])) for s, o in zip(sources, others, strict=True)]
    first, second = sources[0].channel_names
    assert own_source(sources, given) == 1
    assert own_source(sources, given, [first]) == pytest.approx(0.5, abs=0.25)
    assert own_source(sources, given, [second]) == 1
    assert math.isnan(own_source(sources, given, [first, second]))


def test_nuclei_are_cut_out_alike():
    rng = np.random.default_rng(0)

    def field(labels, level):
        plane = 5 + rng.normal(0, 0.5, labels.shape)
        return image([np.where(labels > 0, level, plane)])

    labels = squares((2, 2), (20, 20), side=9)
    before, after = field(labels, 100), field(squares((2, 2), side=9), 100)
    (found,) = kept_nuclei([before], [after], "c0", fit_on=[before])
    assert (found.n_before, found.n_after, found.n_matched) == (2, 1, 1)


def lit(labels, level, seed=0):
    rng = np.random.default_rng(seed)
    return image([np.where(labels > 0, level, 5) + rng.normal(0, 0.5, labels.shape)])


def test_a_cell_whose_nucleus_shrinks_is_still_there():
    before = squares((2, 2), (20, 20), side=12)
    found = match_nuclei(before, squares((4, 4), (22, 22), side=6))
    assert (found.n_matched, found.n_same) == (0, 2)
    moved = match_nuclei(before, squares((2, 20), (20, 2), side=12))
    assert moved.n_same == 0


@pytest.mark.parametrize("gain", [0.3, 0.6, 1.0, 2.5])
def test_dimmer_nuclei_are_not_lost(gain):
    labels = squares((2, 2), (20, 20), (2, 24), side=9)
    before = lit(labels, 100)
    thresholds = nuclei_thresholds([before], "c0")
    found = match_cells(before, lit(labels, 100 * gain, seed=1), "c0", thresholds)
    assert (found.n_before, found.n_after, found.n_same) == (3, 3, 3)


@pytest.mark.parametrize("gain", [0.4, 1.0])
def test_lost_and_invented_nuclei_are_counted_one_to_one(gain):
    before = lit(squares((2, 2), (20, 20), (2, 24), side=9), 100)
    after = lit(squares((2, 2), (2, 24), (28, 4), side=9), 100 * gain, seed=1)
    found = match_cells(before, after, "c0", nuclei_thresholds([before], "c0"))
    assert (found.n_before, found.n_after, found.n_same) == (3, 3, 2)
    gone = match_cells(before, lit(squares(), 100), "c0", nuclei_thresholds([before], "c0"))
    assert (gone.n_before, gone.n_after, gone.n_same) == (3, 0, 0)


def test_channels_that_sound_like_nuclei():
    assert nuclei_channel(("nuclear protein", "DNA")) == "DNA"
    assert nuclei_channel(("FKHR-GFP", "DNA (DRAQ)")) == "DNA (DRAQ)"
    assert nuclei_channel(("tubulin", "actin")) is None
