from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.figures.gallery import GalleryCrops
from napari_phenldiff.measurement.figures.kinds import FIGURES
from napari_phenldiff.measurement.profiles.area import Area, AreaSettings
from napari_phenldiff.measurement.tables.measurement import Measurement, image_table
from napari_phenldiff.viewer.measured_figures import Figures, save_figure
from napari_phenldiff.viewer.measuring import RECONSTRUCTED, TRANSLATED, Measured, MeasuredGroup


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


def test_what_there_is_no_figure_of_says_why(measured: Measured, tmp_path: Path):
    figures = Figures(measured)
    assert figures.why_not("groups") == figures.why_not("effects") == ""
    assert "Pairs need a translation" in figures.why_not("pairs")
    assert "choose a translation" in figures.why_not("gallery")
    for kind in ("pairs", "gallery"):
        with pytest.raises(InputError, match="translation"):
            figures.draw(kind, theme="dark")
        with pytest.raises(InputError, match="translation"):
            figures.save(kind, tmp_path / "figure.csv")
    assert not list(tmp_path.iterdir())


def test_real_images_of_the_same_names_are_no_pairs(measured: Measured, tmp_path: Path):
    images = measured.measurement.images
    images["image"] = images["image"].str[-1]
    figures = Figures(measured)
    assert "Pairs need a translation" in figures.why_not("pairs")
    assert "different cells" in figures.why_not("pairs")
    with pytest.raises(InputError, match="different cells"):
        figures.draw("pairs", theme="light")
    with pytest.raises(InputError, match="different cells"):
        figures.save("pairs", tmp_path / "pairs.csv")


def test_effects_are_worked_out_once(measured: Measured, tmp_path: Path, monkeypatch):
    from napari_phenldiff.measurement.statistics import effects

    original, calls = effects.effects, []

    def counted(*args, **kwargs):
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(effects, "effects", counted)
    figures = Figures(measured)
    for theme in ("light", "dark"):
        figures.draw("effects", theme=theme, narrow=True)
    table = pd.read_csv(figures.save("effects", tmp_path / "effects.csv"))
    assert len(calls) == 1
    assert table["measurement"][0] == "area_fraction"
    assert {"p_value", "test", "cliffs_delta_low"} <= set(table)
    assert set(FIGURES) == {"groups", "pairs", "effects", "gallery"}


def test_a_gallery_has_the_numbers_of_its_images_where_wells_are_counted(tmp_path: Path):
    rng = np.random.default_rng(0)
    groups = {"control": ("control", "real"), "drug": ("drug", "real")}
    groups |= {RECONSTRUCTED: ("control", "reconstructed"), TRANSLATED: ("control", "translated")}
    names = [f"B0{1 + i // 2}_f{i}" for i in range(6)]
    rows = [
        {"image": name, "condition": group, "area_fraction": rng.normal(0.5, 0.02)}
        for group in groups
        for name in names
    ]
    measurement = Measurement(Area(), image_table(Area(), rows), None, AreaSettings())
    image = Image(np.zeros((1, 4, 4), np.uint8), ("stain",), None, names[3])
    measured = Measured(
        "control",
        "drug",
        measurement,
        tuple(MeasuredGroup(name, (*told, None), ()) for name, told in groups.items()),
        gallery=GalleryCrops(
            ("real", "translated"), ((image, image),), np.zeros(1), np.ones(1), ("",)
        ),
    )
    assert measured.units().counted == "wells"
    table = pd.read_csv(save_figure(measured, tmp_path / "gallery.csv", kind="gallery"))
    assert list(table["image"]) == [names[3]]
    assert table["before"].notna().all()
