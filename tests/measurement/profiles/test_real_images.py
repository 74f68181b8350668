"""The changes that the real images are known to show, and CellProfiler's own results."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.measurement.statistics.compare import compare

_METHODS = {"Otsu": "otsu", "Minimum Cross-Entropy": "minimum-cross-entropy"}


def load(folder, step=1):
    """Load every step-th image per condition."""
    conditions = Experiment.from_folder(folder).conditions
    return {condition.name: condition.images[::step] for condition in conditions}


def area(**threshold):
    return SegmentationSettings(threshold=ThresholdSettings(**threshold))


def medians(measurement, column):
    return [np.nanmedian(measurement.values(name, column)) for name in measurement.conditions]


def test_translocation_of_tiles(shared_data):
    found = measure("translocation", load(shared_data / "bbbc013_translocation", step=4))
    treated, untreated = medians(found, "ratio")
    assert found.conditions == ("treated", "untreated")
    assert untreated == pytest.approx(0.73, abs=0.04)
    assert treated == pytest.approx(6.6, rel=0.06)
    result = compare(found.values("untreated"), found.values("treated"), n_resamples=0)
    assert result.p_value < 1e-15
    assert result.cliffs_delta > 0.99
    assert medians(found, "n_cells") == pytest.approx([8, 9], abs=1)


def test_translocation_of_fields(shared_data):
    groups = load(shared_data / "bbbc013_translocation_fields", step=3)
    treated, untreated = medians(measure("translocation", groups), "ratio")
    assert untreated == pytest.approx(0.72, abs=0.04)
    assert treated == pytest.approx(6.2, rel=0.06)


def test_actin_area(shared_data):
    settings = AreaSettings(channel="F-actin (TRITC)")
    found = measure("area", load(shared_data / "hela_sirna"), settings)
    assert found.thresholds["area"] == pytest.approx(39, abs=0.5)
    control, toxic, kinase = medians(found, "area_fraction")
    assert control == pytest.approx(0.229, abs=0.001)
    assert toxic == pytest.approx(0.010, abs=0.001)
    assert kinase > control
    result = compare(found.values("RLUC_siRNA"), found.values("UBC_siRNA"), n_resamples=0)
    assert result.p_value < 1e-20
    # Nothing is above the threshold in some of the toxic tiles: that is measured.
    assert (found.images.reason == "").all()


def test_neurite_area(shared_data):
    found = measure("area", load(shared_data / "neurite_axotomy"))
    cut, _, uncut = medians(found, "area_fraction")
    assert uncut == pytest.approx(0.375, abs=0.002)
    assert cut == pytest.approx(0.115, abs=0.002)


def test_golgi_area(shared_data):
    settings = AreaSettings(segmentation=area(scope="image"))
    found = measure("area", load(shared_data / "golgi_bfa"), settings)
    after, before = medians(found, "area_px")
    assert before == pytest.approx(276, abs=2)
    assert after == pytest.approx(927, rel=0.03)
    assert found.images.area_um2.notna().all()


@pytest.mark.slow
def test_directions_and_sizes_are_those_of_the_readmes(shared_data):
    path = Path(__file__).parents[3] / "benchmarks" / "real_directions.py"
    spec = importlib.util.spec_from_file_location("real_directions", path)
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = benchmark  # where dataclasses look their types up
    spec.loader.exec_module(benchmark)
    rows = [benchmark.row(shared_data, said) for said in benchmark.statements()]
    assert len(rows) == 32
    assert [row for row in rows if row["off"]] == []
    # Those that go wrong are known, and are told.
    assert sum("no**" in row["direction"] for row in rows) == 1


@cache
def read_once(path):
    return read_image(path)


@pytest.fixture(scope="module")
def reference(shared_data):
    path = shared_data.parent / "reference" / "cellprofiler_area_occupied.csv"
    if not path.is_file():
        pytest.skip(f"no results of CellProfiler in {path}")
    return pd.read_csv(path)


@pytest.mark.parametrize(
    ("method", "log_transform", "smoothing"),
    [
        ("Otsu", False, 0.0),
        ("Otsu", False, 1.3488),
        ("Otsu", True, 0.0),
        ("Minimum Cross-Entropy", False, 0.0),
        ("Minimum Cross-Entropy", False, 1.3488),
    ],
)
def test_parity_with_cellprofiler(reference, shared_data, method, log_transform, smoothing):
    """Threshold within 1e-4 of the range, area within 0.5 %, perimeter within 1 %: every row."""
    chosen = reference[
        (reference.method == method)
        & (reference.log_transform == log_transform)
        & (reference.smoothing == smoothing)
    ]
    assert len(chosen) == 112
    for row in chosen.itertuples():
        path = shared_data / row.dataset / row.condition / row.file
        threshold = area(
            method=_METHODS[method],
            scope="image",
            scale=row.scale,
            log_transform=log_transform,
            smoothing=smoothing,
        )
        settings = AreaSettings(channel=row.channel, segmentation=threshold)
        ours = measure("area", {"a": [read_once(path)]}, settings).images.iloc[0]
        what = f"{row.dataset}/{row.condition}/{row.file} channel {row.channel}"
        assert ours.threshold == pytest.approx(row.threshold, abs=1e-4), what
        assert ours.area_px == pytest.approx(row.area_occupied, rel=0.005), what
        assert ours.perimeter_px == pytest.approx(row.perimeter, rel=0.01), what
        assert ours.total_px == row.total_area, what
