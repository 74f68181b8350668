"""What is compared with what: the source is what was translated, whatever it is called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

# Real names, and those that programs take for something else.
NAMES = (
    "untreated", "treated", "control", "drug", "NA", "nan", "None", "null", "07", "7", "1e5",
    "true", "inf", "-", "dose=0", "1,5 µM", "wild type", "zzz", "ÄÖ", "source", "target", "real",
)  # fmt: skip
SMALL, LARGE = 4.0, 9.0


def disc(name: str, radius: float, seed: int) -> Image:
    y, x = np.mgrid[:32, :32] - 16
    noise = np.random.default_rng(seed).integers(0, 4, (1, 32, 32))
    pixels = noise + 200 * (np.hypot(y, x) < radius)[None]
    return Image(pixels.astype(np.uint8), ("actin",), None, name)


def write_condition(folder: Path, radius: float, seed: int, **provenance: object) -> None:
    for i in range(5):
        image = disc(f"f{i}", radius + i / 5, seed + i)
        write_tiff(folder / f"{image.name}.tif", image, provenance=provenance or None)


def write_translation(folder: Path, data: Path, source: str, target: str, *, account: bool) -> None:
    """A perfect translation: small discs become large ones."""
    settings = {"source": source, "target": target}
    for kind, radius in (("reconstructed", SMALL), ("translated", LARGE)):
        more = {} if account else {"kind": kind, "settings": settings}
        write_condition(folder / kind, radius, 40, **more)
    if account:
        images = [{"source_file": str((data / source / f"f{i}.tif").resolve())} for i in range(5)]
        contents = {"settings": settings, "images": images}
        (folder / "translation.json").write_text(json.dumps(contents))


def measure_effects(phenldiff, tmp_path: Path, *inputs: object) -> tuple[int, str, pd.DataFrame]:
    table = tmp_path / "effects.csv"
    table.unlink(missing_ok=True)
    code, _, said = phenldiff(
        *("measure", "area", *inputs, "--threshold", "100", "--out", tmp_path / "t.csv"),
        *("--effects", table),
    )
    found = pd.DataFrame()
    if code == 0:
        found = pd.read_csv(table, keep_default_na=False, na_values=[""], dtype={"group": str})
    return code, said, found


@pytest.mark.parametrize("account", [True, False])
def test_the_source_is_the_condition_that_was_translated(tmp_path, phenldiff, account):
    data, result = tmp_path / "data", tmp_path / "result"
    write_condition(data / "untreated", SMALL, 0)
    write_condition(data / "treated", LARGE, 20)
    write_translation(result, data, "untreated", "treated", account=account)
    code, _, table = measure_effects(phenldiff, tmp_path, data, result)
    assert code == 0
    row = table.iloc[1]
    assert row["recovery"] == pytest.approx(1, abs=0.1)
    assert row["recovery_low"] > 0.5


@pytest.mark.parametrize("seed", range(12))
def test_whatever_conditions_are_called_and_in_whatever_order_they_come(
    tmp_path, phenldiff, seed: int
):
    rng = np.random.default_rng(seed)
    source, target, third = rng.permutation([*NAMES])[:3].tolist()
    data, result = tmp_path / "data", tmp_path / "result"
    write_condition(data / source, SMALL, 0)
    write_condition(data / target, LARGE, 20)
    write_condition(data / third, 6.0, 30)
    write_translation(result, data, source, target, account=bool(rng.integers(2)))
    inputs = [data / source, data / target, data / third]
    inputs += [result / "translated", result / "reconstructed"]
    if rng.random() < 0.3:  # under names of the user's own
        inputs[:2] = [f"before={inputs[0]}", f"after={inputs[1]}"]
    inputs = [inputs[i] for i in rng.permutation(len(inputs))]
    code, said, table = measure_effects(phenldiff, tmp_path, *inputs)
    assert code == 0, said
    real, translated = (table[table["effect"] == e].iloc[0] for e in ("real", "translated"))
    assert real["shift"] > 0
    assert translated["recovery"] == pytest.approx(1, abs=0.1)
    assert {real["compared_with"], real["group"]} & {source, target, "before", "after"}


def test_where_nothing_says_which_is_the_source_it_is_asked_for(tmp_path, phenldiff):
    data = tmp_path / "data"
    write_condition(data / "a", SMALL, 0)
    write_condition(data / "b", LARGE, 20)
    write_condition(data / "c", LARGE, 30)
    for more in (("--effects", tmp_path / "e.csv"), ("--figure", f"pairs={tmp_path / 's.png'}")):
        out = ("--threshold", "100", "--out", tmp_path / "t.csv", *more)
        for inputs in ((data / "a", data / "b"), (data,)):
            code, _, said = phenldiff("measure", "area", *inputs, *out)
            assert code == 2
            assert "--source and --target" in said
        # With three, naming one does not name the others.
        code, _, said = phenldiff("measure", "area", data, *out, "--source", "b")
        assert (code, "--target" in said) == (2, True)
        assert not (tmp_path / "t.csv").exists()
    code, _, _ = phenldiff(
        *("measure", "area", data / "a", data / "b", "--threshold", "100"),
        *("--out", tmp_path / "t.csv", "--effects", tmp_path / "e.csv", "--target", "a"),
    )
    assert code == 0
    assert pd.read_csv(tmp_path / "e.csv")["shift"].iloc[0] < 0


def test_a_direction_against_that_of_the_translation_is_refused(tmp_path, phenldiff):
    data, result = tmp_path / "data", tmp_path / "result"
    write_condition(data / "untreated", SMALL, 0)
    write_condition(data / "treated", LARGE, 20)
    write_translation(result, data, "untreated", "treated", account=True)
    out = ("--threshold", "100", "--out", tmp_path / "t.csv", "--effects", tmp_path / "e.csv")
    code, _, said = phenldiff("measure", "area", data, result, *out, "--source", "treated")
    assert code == 2
    assert "untreated was translated to treated" in said
    code, _, _ = phenldiff("measure", "area", data, result, *out, "--source", "untreated")
    assert code == 0


def test_a_real_condition_called_translated_is_none_that_a_model_made(tmp_path, phenldiff):
    data, result = tmp_path / "data", tmp_path / "result"
    write_condition(data / "translated", SMALL, 0)
    write_condition(data / "reconstructed", LARGE, 20)
    write_translation(result, data, "translated", "reconstructed", account=False)
    inputs = (f"x={data / 'translated'}", f"y={data / 'reconstructed'}", result)
    code, said, table = measure_effects(phenldiff, tmp_path, *inputs)
    assert code == 0, said
    assert table.iloc[1]["recovery"] == pytest.approx(1, abs=0.1)


def test_two_results_are_not_mixed(tmp_path, phenldiff):
    data = tmp_path / "data"
    write_condition(data / "a", SMALL, 0)
    write_condition(data / "b", LARGE, 20)
    for name, names in (("r1", ("a", "b")), ("r2", ("b", "a"))):
        write_translation(tmp_path / name, data, *names, account=True)
    inputs = (data, tmp_path / "r1" / "translated", tmp_path / "r2" / "reconstructed")
    code, said, _ = measure_effects(phenldiff, tmp_path, *inputs)
    assert code == 2
    assert "one translation" in said
    inputs = (data, f"r1={tmp_path / 'r1'}", f"r2={tmp_path / 'r2'}")
    code, said, _ = measure_effects(phenldiff, tmp_path, *inputs)
    assert code == 2
    assert "--reconstructed" in said or "--translated" in said


def test_conditions_come_in_the_order_of_source_and_target(tmp_path, phenldiff):
    data = tmp_path / "data"
    for name, radius in (("a", LARGE), ("b", SMALL)):
        write_condition(data / name, radius, 0)
    roles = ("--source", "b", "--target", "a", "--effects", tmp_path / "e.csv")
    code, said, _ = phenldiff(
        "measure", "area", data, "--threshold", "100", "--out", tmp_path / "t.csv", *roles
    )
    assert code == 0
    assert said.index("b: 5 images") < said.index("a: 5 images")
    assert list(pd.read_csv(tmp_path / "t.csv")["condition"].unique()) == ["b", "a"]
