from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.measurement.area import Area, AreaSettings
from napari_phenldiff.measurement.tables import Measurement, image_table
from napari_phenldiff.viewer.figures import save_figure
from napari_phenldiff.viewer.measuring import Measured, MeasuredGroup


@pytest.fixture
def measured() -> Measured:
    rng = np.random.default_rng(0)
    rows = [
        {"image": f"{name}{i}", "condition": name, "area_fraction": rng.normal(mean, 0.02)}
        for name, mean in (("control", 0.2), ("drug", 0.6))
        for i in range(5)
    ]
    measurement = Measurement(Area(), image_table(Area(), rows), None, AreaSettings())
    groups = [MeasuredGroup(name, (name, "real", None), ()) for name in ("control", "drug")]
    return Measured("control", "drug", measurement, tuple(groups))


def test_text_of_an_svg_is_text(measured: Measured, tmp_path: Path):
    assert save_figure(measured, tmp_path / "figure") == tmp_path / "figure.svg"
    svg = (tmp_path / "figure.svg").read_text()
    assert "control</" in svg
    assert "area occupied" in svg


def test_figures_are_written_for_paper_unless_asked_otherwise(measured: Measured, tmp_path: Path):
    white, dark = "fill: #ffffff", "fill: #16181d"
    save_figure(measured, tmp_path / "a.svg")
    assert white in (tmp_path / "a.svg").read_text()
    save_figure(measured, tmp_path / "b.svg", theme="dark")
    assert dark in (tmp_path / "b.svg").read_text()
    assert dark not in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_other_formats(measured: Measured, tmp_path: Path, suffix: str, start: bytes):
    path = save_figure(measured, tmp_path / f"figure.{suffix}")
    assert path.read_bytes().startswith(start)


def test_numbers_are_a_table(measured: Measured, tmp_path: Path):
    table = pd.read_csv(save_figure(measured, tmp_path / "figure.csv"))
    assert list(table["what"].unique()) == ["image", "median", "shift"]


def test_nothing_is_left_of_a_format_that_there_is_not(measured: Measured, tmp_path: Path):
    with pytest.raises(ValueError, match="xyz"):
        save_figure(measured, tmp_path / "figure.xyz")
    assert not list(tmp_path.iterdir())
