from __future__ import annotations

import math

import numpy as np
import pytest

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import simulate_images
from napari_phenldiff.measurement.measure import labels, measure
from napari_phenldiff.measurement.profiles.neurons import NeuronsSettings
from napari_phenldiff.measurement.statistics.compare import compare

HALF = {"neurons": 60.0}
BARS = ((20, 20, 150), (60, 20, 150), (100, 20, 150))  # row, first and last column


def field(*, nuclei=(), marker=40.0, pixel_size=(0.5, 0.5), name="field"):
    """Make a field of three horizontal neurites, one with a branch; nuclei where they are put."""
    rng = np.random.default_rng(0)
    neurons, dna = np.full((128, 170), 10.0), np.full((128, 170), 10.0)
    for row, start, end in BARS:
        neurons[row - 1 : row + 2, start:end] = 110
    neurons[60:90, 79:82] = 110
    y, x = np.mgrid[:128, :170]
    for row, column in nuclei:
        dna[np.hypot(y - row, x - column) < 6] = 110
    synuclein = np.where(neurons > 50, marker, 5.0)
    data = np.stack([neurons, synuclein, dna]) + rng.normal(0, 0.5, (3, 128, 170))
    return Image(data.astype(np.float32), ("neurons", "a-syn", "DNA"), pixel_size, name)


def test_finds_the_lines_that_were_drawn():
    row = measure("neurons", {"a": [field()]}, thresholds=HALF).images.iloc[0]
    assert row.reason == ""
    assert row.area_px == pytest.approx(3 * 3 * 130 + 3 * 28, rel=0.05)
    assert row.neurite_length_px == pytest.approx(3 * 130 + 29, rel=0.05)
    assert (row.n_branch_points, row.n_end_points, row.n_segments) == (1, 7, 5)
    assert row.segment_length_px == row.neurite_length_px / 5
    assert row.area_um2 == row.area_px / 4
    assert row.neurite_length_um == row.neurite_length_px / 2
    assert row.segment_length_um == row.segment_length_px / 2
    assert np.isnan(row.marker_mean)
    assert row.isna().n_somas


def test_lengths_in_micrometres_only_for_square_pixels():
    groups = {"a": [field(pixel_size=(0.5, 1.0)), field(pixel_size=None, name="unknown")]}
    found = measure("neurons", groups).images
    assert found.area_um2[0] == found.area_px[0] / 2
    assert found.area_um2.isna()[1]
    assert found.neurite_length_um.isna().all()


def test_a_background_that_is_part_of_the_neurons_is_told():
    settings = NeuronsSettings(marker_channel="a-syn")
    full = field(marker=40.0)
    full.data[1] = np.minimum(full.data[1] + 30, 50)
    groups = {"a": [field(marker=40.0)] * 3, "b": [full] * 3}
    found = measure("neurons", groups, settings)
    told = [text for text in found.outcome.warnings() if "as bright as the neurons" in text]
    assert len(told) == 1
    assert "3 of 3 images of b" in told[0]


def test_marker_in_the_neurons():
    settings = NeuronsSettings(marker_channel="a-syn")
    groups = {"a": [field(marker=40.0)], "b": [field(marker=60.0)]}
    found = measure("neurons", groups, settings, thresholds=HALF)
    for value, row in zip((40, 60), found.images.itertuples(), strict=True):
        assert row.marker_mean == pytest.approx(value, rel=0.05)
        assert row.marker_background == pytest.approx(4.2, abs=0.5)
        assert row.marker_above_background == row.marker_mean - row.marker_background


def test_somas_are_nuclei_in_neurons():
    image = field(nuclei=((20, 40), (90, 30)))
    data = image.data.copy()
    y, x = np.mgrid[:128, :170]
    data[0][np.hypot(y - 20, x - 40) < 9] = 110  # a cell body around one of them
    image = Image(data, image.channel_names, image.pixel_size, image.name)
    row = measure("neurons", {"a": [image]}, NeuronsSettings(nuclei_channel="DNA")).images.iloc[0]
    assert row.n_somas == 1
    assert row.reason == ""


def test_no_neurons_are_a_length_of_zero():
    groups = {"a": [field(), Image(field().data[[2, 2, 2]], field().channel_names, None, "empty")]}
    settings = NeuronsSettings(marker_channel=1)
    found = measure("neurons", groups, settings, thresholds={"neurons": 60.0}).images
    empty = found.iloc[1]
    assert (empty.area_px, empty.neurite_length_px, empty.n_segments) == (0, 0, 0)
    assert math.isnan(empty.segment_length_px)
    assert math.isnan(empty.marker_mean)
    assert "no neuron" in empty.reason


def test_useless_optional_channels_cost_only_their_own_columns():
    image = field()
    data = image.data.copy()
    data[1:] = 7
    image = Image(data, image.channel_names, None, "flat")
    settings = NeuronsSettings(marker_channel="a-syn", nuclei_channel="DNA")
    row = measure("neurons", {"a": [image]}, settings).images.iloc[0]
    assert row.neurite_length_px > 0
    assert "DNA: constant" in row.reason
    assert "a-syn: constant" in row.reason


def test_whole_field_has_no_lines():
    row = measure("neurons", {"a": [field()]}, thresholds={"neurons": -100.0}).images.iloc[0]
    assert math.isnan(row.neurite_length_px)
    assert "whole field" in row.reason


def test_labels_agree_with_the_table():
    image = field()
    found = measure("neurons", {"a": [image]})
    shown = labels("neurons", image, thresholds=found.thresholds)
    assert (shown > 0).sum() == found.images.area_px[0]
    assert shown.max() == 3


def test_simulated_loss_of_neurites():
    groups = {kind: simulate_images("neurons", kind, 24, size=128) for kind in ("source", "target")}
    found = measure("neurons", groups)
    for column, least in (("area_fraction", 0.3), ("neurite_length_px", 0.6)):
        values = (found.values(name, column) for name in groups)
        assert compare(*values, n_resamples=0).cliffs_delta < -least


def test_cut_neurites_lose_area_and_length(shared_data):
    conditions = Experiment.from_folder(shared_data / "neurite_axotomy").conditions
    groups = {condition.name: condition.images[::4] for condition in conditions}
    found = measure("neurons", groups)
    for before in ("uncut", "cut_before"):
        for column in ("area_px", "neurite_length_um", "n_branch_points", "segment_length_px"):
            values = found.values(before, column), found.values("cut", column)
            result = compare(*values, n_resamples=0)
            assert result.cliffs_delta < -0.7, column
            assert result.p_value < 0.001
    assert np.nanmedian(found.values("cut")) < 0.2 < 0.3 < np.nanmedian(found.values("uncut"))
