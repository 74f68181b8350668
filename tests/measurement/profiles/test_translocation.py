from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.measurement.figures.four_groups import four_groups
from napari_phenldiff.measurement.measure import labels, measure
from napari_phenldiff.measurement.profiles.profile import doubts_about_background
from napari_phenldiff.measurement.profiles.translocation import (
    TranslocationSettings,
    noise_of,
    ring_labels,
)
from napari_phenldiff.measurement.statistics.effects import compare_groups
from napari_phenldiff.measurement.statistics.two_groups import Groups
from napari_phenldiff.measurement.tables.measurement import read_measurement


@pytest.mark.parametrize("ratio", [0.5, 0.73, 1.0, 3.0, 6.6])
def test_finds_the_ratio_that_was_put_in(make_cells, ratio):
    found = measure("translocation", {"a": [make_cells(ratio)]})
    row = found.images.iloc[0]
    assert row.n_cells == row.n_measured == 4
    assert row.ratio == pytest.approx(ratio, rel=0.05)
    assert row.log2_ratio == pytest.approx(math.log2(row.ratio))
    assert row.background == pytest.approx(5, abs=1.5)
    assert found.cells is not None
    np.testing.assert_allclose(found.cells.ratio, ratio, rtol=0.06)
    assert row.reason == ""


def test_cells_are_where_they_are(make_cells):
    image = make_cells(2.0)
    found = measure("translocation", {"a": [image]})
    cells = found.cells
    assert cells is not None
    nuclei = labels("translocation", image, thresholds=found.thresholds)
    assert list(cells.label) == [1, 2, 3, 4]
    for cell in cells.itertuples():
        assert nuclei[round(cell.y), round(cell.x)] == cell.label
        assert (nuclei == cell.label).sum() == cell.area_px


def test_fraction_of_translocated_cells(make_cells):
    some, others = make_cells(3.0, centres=((30, 30),)), make_cells(0.5)
    data = np.where(np.arange(128) < 64, some.data, others.data)
    settings = TranslocationSettings(translocated_above=1.5)
    row = measure("translocation", {"a": [replace(some, data=data)]}, settings).images.iloc[0]
    assert row.n_cells == 3
    assert row.fraction_translocated == pytest.approx(1 / 3)


def test_dim_nuclei_are_found_beside_bright_ones(make_cells):
    groups = {"a": [make_cells(2.0, brightness=200)], "b": [make_cells(2.0, brightness=60)]}
    table = measure("translocation", groups).images
    assert list(table.n_cells) == [4, 4]
    np.testing.assert_allclose(table.ratio, 2.0, rtol=0.05)


def test_no_nucleus_is_told(make_cells):
    groups = {"a": [make_cells(2.0)], "empty": [make_cells(1.0, centres=())]}
    table = measure("translocation", groups, fit_on=["a"]).images.set_index("condition")
    assert table.n_cells["empty"] == 0
    assert math.isnan(table.ratio["empty"])
    assert table.reason["empty"] == "no nucleus"


def test_marker_without_signal_is_told(make_cells):
    image = make_cells(1.0)
    data = image.data.copy()
    # Everywhere at its background, but for one corner without cells.
    data[1] = 5
    data[1, -4:, :4] = 9
    row = measure("translocation", {"a": [replace(image, data=data)]}).images.iloc[0]
    assert (row.n_cells, row.n_measured) == (4, 0)
    assert math.isnan(row.ratio)
    assert "signal" in row.reason


@pytest.mark.parametrize(
    ("nucleus", "ring", "where"),
    [(0, 0, "nuclei and rings"), (300, 0, "rings"), (0, 300, "nuclei"), (300, 100, "")],
)
def test_ratios_of_noise_are_told(make_cells, nucleus, ring, where):
    """The background is a low percentile, so that even nothing is above it."""
    image = make_cells(1.0)
    objects = labels("translocation", image)
    rings = ring_labels(objects, 5, 1) > 0
    light = np.where(objects > 0, nucleus, np.where(rings, ring, 0))
    rng = np.random.default_rng(0)
    marker = 200 + light + rng.normal(0, 10, light.shape)
    data = np.stack([image.data[0].astype(np.float64), marker])
    found = measure("translocation", {"a": [replace(image, data=data)]})
    row = found.images.iloc[0]
    assert row.n_measured == 4
    assert np.isfinite(row.ratio)
    expected = f"what is above the background in the {where} is within its noise" if where else ""
    assert row.reason == expected
    told = [text for text in found.outcome.warnings() if "no more above the background" in text]
    assert len(told) == bool(where)
    assert all(text.startswith("In 1 of 1 image of a the marker") for text in told)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_noise_is_estimated_beside_edges(dtype):
    plane = np.random.default_rng(0).normal(500, 7, (100, 120))
    plane[20:60, 30:70] += 4000
    assert noise_of(plane.astype(dtype)) == pytest.approx(7, rel=0.05)


def fields_without_background(make_cells, n, only_nucleus, only_ring):
    """Fields whose background was subtracted; some cells have all of the marker on one side."""
    fields = []
    for number in range(n):
        image = make_cells(0.5, noise=0, name=f"{number}")
        data = image.data.copy()
        data[1] -= 5
        quarters = [np.s_[y : y + 64, x : x + 64] for y in (0, 64) for x in (0, 64)]
        for k, place in enumerate(quarters):
            marker, nucleus = data[1][place], data[0][place] > 60
            if k < only_nucleus:
                marker[...] = np.where(nucleus, 40, 0)
            elif k < only_nucleus + only_ring:
                marker[nucleus] = 0
        fields.append(replace(image, data=data))
    return fields


def test_cells_that_moved_fully_are_not_lost(make_cells, tmp_path):
    groups = {
        "none": fields_without_background(make_cells, 3, 0, 0),
        "some": fields_without_background(make_cells, 3, 1, 1),
        "most": fields_without_background(make_cells, 3, 3, 0),
        "empty": fields_without_background(make_cells, 3, 0, 3),
    }
    found = measure("translocation", groups)
    table = found.images.groupby("condition").first()
    assert list(found.images.n_measured) == [4] * 12
    assert table.fraction_translocated.to_dict() == {
        "none": 0,
        "some": 0.25,
        "most": 0.75,
        "empty": 0,
    }
    assert table.log2_ratio["none"] == table.log2_ratio["some"] == pytest.approx(-1)
    assert math.isnan(table.ratio["most"])
    assert table.ratio["empty"] == 0
    assert table.log2_ratio[["most", "empty"]].isna().all()
    assert "no signal in the ring" in table.reason["most"]
    assert "no signal in the nucleus" in table.reason["empty"]
    told = " ".join(found.outcome.warnings())
    assert "most: 3 of 3 images could not be measured" in told
    assert "fraction_translocated" in told
    assert "have no ratio" not in told
    # Infinite ratios of cells are in the tables, and nothing that reads these minds.
    assert found.cells is not None
    assert np.isinf(found.cells.ratio).sum() == 3 + 9
    again = read_measurement(found.write(tmp_path / "t.csv")[-1])
    np.testing.assert_allclose(again.cells.log2_ratio, found.cells.log2_ratio)
    four_groups(again, source="none", target="some")
    assert len(compare_groups(again, Groups("none", "some")))


def test_many_cells_without_a_ratio_are_told(make_cells):
    fields = fields_without_background(make_cells, 3, 0, 0)
    for image in fields:
        image.data[1][:64, :64] = 0
    found = measure("translocation", {"a": fields})
    assert list(found.images.n_measured) == [3] * 3
    told = [text for text in found.outcome.warnings() if "no ratio" in text]
    assert len(told) == 1
    assert "a: 3 of 12 cells (25%) have no ratio" in told[0]


def test_a_background_that_is_cytoplasm_is_told(make_cells):
    def confluent(image):
        data = image.data.copy()
        data[1] = np.where(data[1] < 15, data[1] + 20, data[1])
        return replace(image, data=data)

    sparse = [make_cells(1.5, seed=seed, name=f"{seed}") for seed in range(4)]
    dense = [confluent(image) for image in sparse]
    told = measure("translocation", {"a": sparse, "b": [*dense, sparse[0]]}).outcome.warnings()
    about = [text for text in told if "the background of the marker (median" in text]
    assert len(about) == 1
    assert "In 4 of 5 images of b the background" in about[0]
    assert "background_percentile" in about[0]
    # Neither where all have empty space, nor where the marker has left the rings.
    groups = {"a": [make_cells(0.5, seed=s) for s in range(4)], "b": sparse}
    for image in sparse:
        image.data[1][image.data[1] < 27] = 6 + image.data[0][image.data[1] < 27] / 20
    assert not any("gaps" in text for text in measure("translocation", groups).outcome.warnings())


def test_a_control_without_stain_has_no_doubtful_background():
    rng = np.random.default_rng(0)

    def levels(ring, nucleus, n=30):
        background = 100 + rng.normal(0, 1.5, n)
        return background, background + ring, background + max(ring, nucleus)

    def doubts(**conditions):
        each = [
            dict(zip(conditions, part, strict=True))
            for part in zip(*conditions.values(), strict=True)
        ]
        return doubts_about_background(*each, "the rings around nuclei")

    stained, weak = levels(200, 300), levels(4, 5)
    assert doubts(untreated=stained, treated=levels(150, 600), no_antibody=levels(1.5, 2.5)) == []
    assert doubts(a=weak, b=levels(4, 6)) == []
    confluent = tuple(part + 150 for part in levels(50, 150))
    assert len(doubts(untreated=stained, confluent=confluent)) == 1


def test_rings_are_shared_and_hold_no_nucleus():
    nuclei = np.zeros((30, 40), int)
    nuclei[10:20, 5:15] = 1
    nuclei[10:20, 19:29] = 2
    rings = ring_labels(nuclei, width=5, gap=1)
    assert not rings[nuclei > 0].any()
    assert rings[15, 15] == 0  # in the gap
    assert (rings[15, 16], rings[15, 17]) == (1, 2)  # nearest nucleus
    assert rings[15, 29:36].tolist() == [0, 2, 2, 2, 2, 2, 0]
    outer = ring_labels(nuclei, width=5, gap=0)
    assert outer[15, 29:35].tolist() == [2, 2, 2, 2, 2, 0]
