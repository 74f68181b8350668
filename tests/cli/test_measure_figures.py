from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.tables.measurement import read_measurement

RADII = {"small": 5.0, "large": 12.0, "reconstructed": 5.2, "translated": 10.0}


def disc(name: str, radius: float, seed: int) -> Image:
    y, x = np.mgrid[:48, :48] - 24
    noise = np.random.default_rng(seed).integers(0, 4, (1, 48, 48))
    pixels = noise + 200 * (np.hypot(y, x) < radius)[None]
    return Image(pixels.astype(np.uint8), ("actin",), None, name)


@pytest.fixture
def discs(tmp_path: Path) -> list[str]:
    for condition, radius in RADII.items():
        for i in range(6):
            image = disc(f"B0{i // 2}_{i}", radius + i / 4, seed=i)
            write_tiff(tmp_path / "discs" / condition / f"{image.name}.tif", image)
    return [str(tmp_path / "discs" / condition) for condition in RADII]


def test_effects_and_figures(discs, tmp_path, phenldiff):
    kinds = ("groups", "pairs", "effects", "gallery")
    figures = [f"--figure={kind}={tmp_path / 'figures' / kind}.png" for kind in kinds]
    code, out, _ = phenldiff(
        *("measure", "area", *discs, "--threshold", "100", "--out", tmp_path / "t.csv"),
        *("--source", "small", "--target", "large"),
        *("--effects", tmp_path / "effects.csv", *figures, "--wells", "image"),
    )
    assert code == 0
    table = pd.read_csv(tmp_path / "effects.csv")
    first = table.iloc[1]
    assert (first["measurement"], first["effect"]) == ("area_fraction", "translated")
    expected = (10.6**2 - 5.8**2) / (12.6**2 - 5.6**2)
    assert first["recovery"] == pytest.approx(expected, abs=0.06)
    # As many pixels are occupied as is the fraction of fields of one size.
    measurements = table["measurement"].nunique() - 1
    assert table["correction"][0] == f"Holm over {measurements} measurements"
    assert table["least_p_value"][0] == pytest.approx(measurements * 2 / 924)
    assert first["correction"] == "none"
    assert first["least_p_value"] == pytest.approx(2 / 2**6)
    for kind in kinds:
        picture = tmp_path / "figures" / f"{kind}.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert str(picture) in out


def test_wells_and_pairs(discs, tmp_path, phenldiff):
    code, _, _ = phenldiff(
        *("measure", "area", *discs[:2], "--threshold", "100", "--out", tmp_path / "t.csv"),
        *("--source", "large", "--target", "small", "--paired", "--wells", r"^B\d\d"),
        *("--effects", tmp_path / "e.csv", "--figure", f"pairs={tmp_path / 's.svg'}"),
        *("--theme", "dark"),
    )
    assert code == 0
    table = pd.read_csv(tmp_path / "e.csv")
    assert set(table["n_before"]) == {3}
    assert table["paired"].all()
    assert table["shift"].iloc[0] < 0
    assert (tmp_path / "s.svg").read_text(encoding="utf-8").count("<svg") == 1


def test_as_many_pairs_are_told_as_are_compared(discs, tmp_path, phenldiff):
    for name in ("B00_0", "B01_2"):
        Path(discs[0], f"{name}.tif").unlink()
    Path(discs[1], "B02_5.tif").unlink()
    code, out, said = phenldiff(
        *("measure", "area", *discs[:2], "--threshold", "100", "--out", tmp_path / "t.csv"),
        *("--source", "large", "--target", "small", "--paired", "--wells", "image"),
        *("--effects", tmp_path / "e.csv"),
    )
    assert code == 0
    assert "counted: images (3 pairs)" in out
    assert '2 images of large ("B00_0", "B01_2") and 1 of small ("B02_5")' in out + said
    table = pd.read_csv(tmp_path / "e.csv")
    assert set(table["n_before"]) == set(table["n_after"]) == {3}
    assert table["note"].str.contains("no partner").all()


def test_what_cannot_be_compared_is_told(discs, tmp_path, phenldiff):
    out = ("--threshold", "100", "--out", tmp_path / "t.csv")
    effects = ("--effects", tmp_path / "e.csv")
    code, _, said = phenldiff("measure", "area", discs[0], *out, *effects)
    assert (code, "two conditions" in said) == (2, True)
    code, _, said = phenldiff("measure", "area", *discs[:2], *out, *effects, "--target", "dead")
    assert (code, '"dead"' in said) == (2, True)
    pair = ("--source", "small", "--target", "large")
    pairs = ("--figure", f"pairs={tmp_path / 'p.png'}")
    code, _, said = phenldiff("measure", "area", *discs[:2], *out, *pairs, *pair)
    assert (code, "--paired" in said, "different cells" in said) == (2, True, True)
    assert not (tmp_path / "t.csv").exists()
    gallery = ("--figure", f"gallery={tmp_path / 'g.png'}")
    code, _, said = phenldiff("measure", "area", *discs[:2], *out, *gallery, *pair)
    assert (code, "--translated" in said) == (2, True)
    names = ("--column-names", "cellprofiler")
    code, _, said = phenldiff("measure", "area", *discs[:2], *out, *effects, *names)
    assert (code, "scikit-image" in said) == (2, True)
    with pytest.raises(SystemExit):
        phenldiff("measure", "area", *discs[:2], *out, "--figure", "pie=p.png")


def test_a_table_is_read_as_it_was_written(tmp_path):
    groups = {"07": [disc("01", 5, 0), disc("NA", 6, 1)], "blank": [disc("x", 0, 2)]}
    measured = measure("area", groups)
    measured.write(tmp_path / "t.csv")
    again = read_measurement(tmp_path / "t.csv")
    assert again.conditions == measured.conditions
    assert list(again.images["image"]) == ["01", "NA", "x"]
    assert list(again.images["reason"]) == list(measured.images["reason"])
    for condition in measured.conditions:
        np.testing.assert_array_equal(again.values(condition), measured.values(condition))
    assert again.settings == measured.settings


@pytest.mark.parametrize("name", ["image", "condition"])
def test_a_table_with_a_row_of_no_image_is_refused(discs, tmp_path, phenldiff, name):
    table = tmp_path / "t.csv"
    assert phenldiff("measure", "area", discs[0], "--out", table)[0] == 0
    rows = pd.read_csv(table)
    rows.loc[1, name] = None
    rows.to_csv(table, index=False)
    with pytest.raises(InputError, match=f"t.csv names no {name} in row 2"):
        read_measurement(table)


def test_wells_in_the_names_are_counted_and_one_well_gives_no_p_value(discs, tmp_path, phenldiff):
    command = ["measure", "area", *discs[:2], "--threshold", "100", "--out", tmp_path / "t.csv"]
    command += ["--effects", tmp_path / "effects.csv"]
    command += ["--source", "small", "--target", "large"]
    code, out, _ = phenldiff(*command)
    assert code == 0
    assert "counted: wells (3 and 3), not images" in out
    table = pd.read_csv(tmp_path / "effects.csv")
    assert set(table["n_before"]) == set(table["n_after"]) == {3}
    assert set(table["counted"]) == {"wells"}

    code, out, _ = phenldiff(*command, "--wells", "image")
    assert code == 0
    assert "counted: images (6 and 6)" in out
    assert "not images" not in out

    for i, path in enumerate(sorted(Path(discs[1]).iterdir())):
        path.rename(path.with_name(f"E04_y{i:03d}_x000.tif"))
    code, out, _ = phenldiff(*command, f"--figure=groups={tmp_path / 'groups.png'}")
    assert code == 0
    assert "All 6 images of large come from one well (E04)" in out
    assert (
        "there is no p-value. If the images are of several, say how wells are found (--wells)."
        in out
    )
    table = pd.read_csv(tmp_path / "effects.csv")
    assert table["p_value"].isna().all()
    assert table["note"].str.contains("one well").all()


def test_images_of_one_stack_give_no_p_value(discs, tmp_path, phenldiff):
    from napari_phenldiff.images.tiff import read_image, write_stack

    for folder in discs[:2]:
        files = sorted(Path(folder).iterdir())
        images = [read_image(path) for path in files]
        for path in files:
            path.unlink()
        write_stack(Path(folder) / "movie.tif", images)
    code, out, _ = phenldiff(
        *("measure", "area", *discs[:2], "--threshold", "100", "--out", tmp_path / "t.csv"),
        *("--effects", tmp_path / "effects.csv", "--source", "small", "--target", "large"),
    )
    assert code == 0
    assert "All 6 images of small come from one stack (movie)" in out
    assert pd.read_csv(tmp_path / "effects.csv")["p_value"].isna().all()
    assert read_measurement(tmp_path / "t.csv").images["part_of"].eq("movie").all()
