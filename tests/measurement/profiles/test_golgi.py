from __future__ import annotations

import math

import numpy as np
import pytest

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import simulate_images
from napari_phenldiff.measurement.measure import labels, measure
from napari_phenldiff.measurement.profiles.golgi import GolgiSettings
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.measurement.statistics.compare import compare

NUCLEI = ((40, 40), (40, 120), (100, 80))
WITH_NUCLEI = GolgiSettings(nuclei_channel="DNA", segmentation=SegmentationSettings())


def field(spots, *, nuclei=NUCLEI, pixel_size=(0.5, 0.5), noise=0.3, name="field"):
    """Make round nuclei of radius 8, and Golgi as discs: (row, column, radius, brightness)."""
    rng = np.random.default_rng(0)
    golgi, dna = np.full((140, 160), 10.0), np.full((140, 160), 10.0)
    y, x = np.mgrid[:140, :160]
    for row, column in nuclei:
        dna[np.hypot(y - row, x - column) <= 8] = 110
    for row, column, radius, brightness in spots:
        golgi[np.hypot(y - row, x - column) <= radius] = 10 + brightness
    data = np.stack([golgi, dna]) + rng.normal(0, noise, (2, 140, 160))
    return Image(data.astype(np.float32), ("Golgi", "DNA"), pixel_size, name)


def one(image, settings=WITH_NUCLEI):
    found = measure("golgi", {"a": [image]}, settings, thresholds={"golgi": 60.0})
    return found.images.iloc[0], found.cells


def test_a_disc_is_compact():
    row, cells = one(field([(40, 55, 5, 100), (40, 105, 5, 100), (100, 95, 5, 100)]))
    assert row.reason == ""
    assert (row.n_cells, row.n_measured, row.n_fragments) == (3, 3, 3)
    area = row.area_px / 3
    assert row.fragment_area_px == row.cell_area_px == area == pytest.approx(math.pi * 25, rel=0.05)
    np.testing.assert_allclose(cells.compactness, 1, atol=0.02)
    np.testing.assert_allclose(cells.spread_px, 5 / math.sqrt(2), rtol=0.03)
    np.testing.assert_allclose(cells.scatter_centroid_px, 15, rtol=0.03)
    np.testing.assert_allclose(cells.scatter_px, 15 - 8, rtol=0.08)
    np.testing.assert_allclose(cells[["y", "x"]], NUCLEI, atol=0.2)
    assert row.half_area_px == pytest.approx(row.area_px / 2, rel=0.1)


def test_the_same_area_scattered():
    compact = [(40, 55, 4, 100)]
    around = [
        (40 + 20 * math.sin(angle), 40 + 20 * math.cos(angle), 2, 100)
        for angle in np.linspace(0, 2 * math.pi, 4, endpoint=False)
    ]
    one_cell = NUCLEI[:1]
    before, _ = one(field(compact, nuclei=one_cell))
    after, _ = one(field(around, nuclei=one_cell))
    assert after.area_px == pytest.approx(before.area_px, rel=0.08)
    assert (before.cell_n_fragments, after.cell_n_fragments) == (1, 4)
    assert before.spread_px == pytest.approx(4 / math.sqrt(2), rel=0.05)
    assert after.spread_px == pytest.approx(math.hypot(20, 2 / math.sqrt(2)), rel=0.02)
    assert after.scatter_centroid_px == pytest.approx(20, rel=0.03)
    assert after.compactness == pytest.approx(after.area_px / (2 * math.pi * 402), rel=0.03)
    assert after.compactness < 0.03 < 0.95 < before.compactness


def test_brighter_signal_weighs_more():
    spots = [(40, 52, 2, 300), (40, 70, 2, 100)]  # with the same area
    row, _ = one(field(spots, nuclei=NUCLEI[:1]))
    assert row.scatter_centroid_px == pytest.approx(0.75 * 12 + 0.25 * 30, rel=0.02)


def test_golgi_belongs_to_the_nearest_nucleus():
    image = field([(40, 55, 3, 100), (40, 100, 3, 100), (40, 108, 2, 100)])
    found = measure("golgi", {"a": [image]}, WITH_NUCLEI)
    row = found.images.iloc[0]
    assert (row.n_cells, row.n_measured) == (3, 2)
    assert list(found.cells.cell_n_fragments) == [1, 2]
    shown = labels("golgi", image, WITH_NUCLEI, thresholds=found.thresholds)
    assert list(np.bincount(shown.ravel())[1:]) == list(found.cells.cell_area_px)
    assert shown[40, 55] == 1
    assert shown[40, 100] == shown[40, 108] == 2


def test_micrometres():
    spots = [(40, 55, 5, 100)]
    row, cells = one(field(spots))
    assert row.area_um2 == row.area_px / 4
    for name in ("scatter", "scatter_centroid", "spread"):
        assert row[f"{name}_um"] == pytest.approx(row[f"{name}_px"] / 2)
        assert cells[f"{name}_um"][0] == pytest.approx(cells[f"{name}_px"][0] / 2)
    oblong, _ = one(field(spots, pixel_size=(0.5, 1.0)))
    assert oblong.cell_area_um2 == oblong.cell_area_px / 2
    assert math.isnan(oblong.scatter_um)
    unknown, cells = one(field(spots, pixel_size=None))
    assert math.isnan(unknown.area_um2)
    assert "scatter_um" not in cells


def test_without_nuclei_fields_are_measured_and_told_why():
    image = field([(40, 55, 5, 100), (40, 105, 5, 100)])
    found = measure("golgi", {"a": [image]})
    row = found.images.iloc[0]
    assert row.reason == "no channel for the nuclei: nothing per cell"
    assert (row.n_fragments, found.main_column) == (2, "half_area_fraction")
    assert np.isfinite(found.values("a")).all()
    assert row[["scatter_px", "compactness", "spread_um"]].isna().all()
    assert found.cells is None or found.cells.empty
    assert labels("golgi", image).max() == 2


@pytest.mark.parametrize(
    ("nuclei", "reason"), [((), "no nucleus"), (None, "DNA: constant: nothing per cell")]
)
def test_useless_nuclei_leave_the_field(nuclei, reason):
    image = field([(40, 55, 5, 100)], nuclei=nuclei or ())
    if nuclei is None:
        image = Image(np.stack([image.data[0], np.ones((140, 160))]), ("Golgi", "DNA"), None, "x")
    found = measure("golgi", {"a": [image]}, WITH_NUCLEI, thresholds={"nuclei": 60.0})
    row = found.images.iloc[0]
    assert row.reason == reason
    assert row.n_fragments == 1
    assert math.isnan(row.compactness)


def test_no_golgi_is_an_area_of_zero():
    found = measure("golgi", {"a": [field([])]}, WITH_NUCLEI, thresholds={"golgi": 60.0})
    row = found.images.iloc[0]
    assert (row.area_px, row.n_fragments, row.n_cells, row.n_measured) == (0, 0, 3, 0)
    assert math.isnan(row.compactness)
    assert row.reason == "no Golgi above the threshold; no more light around the nuclei than noise"
    assert row[["half_compactness", "half_spread_um", "cell_half_area_px"]].isna().all()
    row = measure("golgi", {"a": [field([])]}, WITH_NUCLEI, thresholds={"golgi": -9.0}).images
    assert "whole field" in row.reason[0]
    assert row.area_px.isna()[0]


def test_simulated_scatter_is_seen_where_area_hardly_changes():
    groups = {kind: simulate_images("golgi", kind, 12, size=256) for kind in ("source", "target")}
    found = measure("golgi", groups, GolgiSettings(nuclei_channel="DNA"))
    assert found.main_column == "half_compactness"

    def effect(column):
        values = (found.values(name, column) for name in groups)
        return compare(*values, n_resamples=0).cliffs_delta

    assert effect("compactness") < -0.95
    assert effect("half_compactness") < -0.95
    columns = ("scatter_um", "scatter_centroid_um", "spread_um", "cell_n_fragments")
    for column in (*columns, "half_spread_um", "n_half_fragments", "half_area_fraction"):
        assert effect(column) > 0.9, column
    assert abs(effect("area_fraction")) < 0.8
    medians = [np.median(found.values(name, "compactness")) for name in groups]
    assert medians[0] > 4 * medians[1]


def dimmed(image, part):
    """Keep a part of what is brighter than the background of the Golgi, as a weaker stain would."""
    data = image.data.astype(np.float64)
    background = np.median(data[0])
    data[0] = background + part * (data[0] - background)
    return Image(data, image.channel_names, image.pixel_size, image.name)


def test_scatter_is_seen_where_the_scattered_golgi_is_dimmer():
    groups = {kind: simulate_images("golgi", kind, 6, size=192) for kind in ("source", "target")}
    settings = GolgiSettings(nuclei_channel="DNA")
    bright = measure("golgi", groups, settings)
    groups["target"] = [dimmed(image, 0.4) for image in groups["target"]]
    found = measure("golgi", groups, settings)
    values = [found.values(kind) for kind in groups]
    assert np.isfinite(values).all()
    assert compare(*values, n_resamples=0).cliffs_delta == -1
    np.testing.assert_allclose(values[1], bright.values("target"), rtol=0.02)
    # What one threshold leaves of it says the contrary, or nothing.
    values = [found.values(kind, "compactness") for kind in groups]
    assert np.isnan(values[1]).any() or np.median(values[1]) > np.median(values[0])


def test_half_of_the_light_of_each_cell():
    spots = [(40, 55, 5, 100), (40, 105, 5, 40)]  # none beside the third
    row, cells = one(field(spots))
    assert row.n_measured == 1  # of the second, nothing is above 60
    # Half of the pixels of an even disc, anywhere in it.
    assert cells.cell_half_area_px[0] == pytest.approx(cells.cell_area_px[0] / 2, abs=2)
    np.testing.assert_allclose(cells.half_spread_px, 5 / math.sqrt(2), rtol=0.1)
    np.testing.assert_allclose(cells.half_compactness, 0.5, atol=0.1)
    # In the image, both cells that have light count.
    assert row.half_compactness == pytest.approx(0.5, abs=0.1)
    dim, cells = one(field(spots[1:]))
    assert cells is None or cells.empty
    assert dim.reason == "no Golgi above the threshold"
    assert dim.half_spread_px == pytest.approx(5 / math.sqrt(2), rel=0.1)
    assert dim.cell_half_area_um2 == dim.cell_half_area_px / 4


def test_brefeldin_spreads_the_golgi(shared_data):
    conditions = Experiment.from_folder(shared_data / "golgi_bfa").conditions
    groups = {condition.name: condition.images for condition in conditions}
    # The dispersed Golgi is dimmer than any one threshold for both.
    per_image = GolgiSettings(
        segmentation=SegmentationSettings(threshold=ThresholdSettings(scope="image"))
    )
    found = measure("golgi", groups, per_image)
    for column in (None, "area_um2", "half_area_px", "n_fragments"):
        values = found.values("before_bfa", column), found.values("after_bfa", column)
        assert compare(*values, n_resamples=0).cliffs_delta == 1.0, column
    assert np.median(found.values("before_bfa", "area_px")) == pytest.approx(276, abs=2)
    # No threshold is needed for the main column, nor for the number of pieces.
    found = measure("golgi", groups)
    for column in (None, "n_half_fragments"):
        values = [found.values(name, column) for name in ("before_bfa", "after_bfa")]
        assert compare(*values, n_resamples=0).cliffs_delta == 1.0, column
