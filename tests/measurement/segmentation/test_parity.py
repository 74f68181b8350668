"""The command gives what CellProfiler gave, on every row of its results."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "cellprofiler_parity.py"


@pytest.fixture(scope="module")
def parity():
    spec = importlib.util.spec_from_file_location("cellprofiler_parity", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_row_agrees_with_cellprofiler(parity, shared_data):
    path = shared_data.parent / "reference" / "cellprofiler_area_occupied.csv"
    if not path.is_file():
        pytest.skip(f"no results of CellProfiler in {path}")
    reference = pd.read_csv(path)
    rows = parity.compare(reference, shared_data)
    assert len(rows) == len(reference)
    off = rows[~rows.agrees]
    assert off.empty, off.to_string()
    # Thresholds are written with eight digits: what is left is that.
    assert rows.threshold_error.max() < 1e-8
    assert (rows.our_area == rows.area_occupied).all()


def test_a_row_that_is_off_is_seen(parity, tmp_path):
    import numpy as np

    from napari_phenldiff.images.image import Image
    from napari_phenldiff.images.tiff import write_tiff

    plane = np.random.default_rng(0).integers(0, 3, (1, 30, 40)).astype(np.uint8)
    plane[0, 5:15, 5:15] += 100
    write_tiff(tmp_path / "set" / "dmso" / "a.tif", Image(plane, ("DNA",), None, "a"))
    # A square of 10 x 10 pixels, whose outline runs through the centres of its rim.
    row = {
        "dataset": "set", "condition": "dmso", "file": "a.tif", "channel": 0, "scale": 255.0,
        "method": "Otsu", "log_transform": False, "smoothing": 0.0, "threshold": 0.0,
        "area_occupied": 100, "perimeter": 36.0, "total_area": 1200,
    }  # fmt: skip
    first = parity.compare(pd.DataFrame([row]), tmp_path)
    assert not first.agrees[0]
    assert first.area_error[0] == first.perimeter_error[0] == 0
    row["threshold"] = first.our_threshold[0]
    assert parity.compare(pd.DataFrame([row]), tmp_path).agrees[0]
    for name, by in (("area_occupied", 1), ("perimeter", 0.5), ("total_area", 1)):
        assert not parity.compare(pd.DataFrame([row | {name: row[name] + by}]), tmp_path).agrees[0]
    table = parity.summary(first)
    assert (table["rows"][0], table.agree[0]) == (1, 0)
