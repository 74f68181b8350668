"""A plate of OME-Zarr and a LoadData table, trained on, translated and measured by well."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

_spec = importlib.util.spec_from_file_location(
    "zarr_plates", Path(__file__).parents[1] / "images" / "zarr_plates.py"
)
assert _spec is not None
assert _spec.loader is not None
plates = importlib.util.module_from_spec(_spec)
sys.modules["zarr_plates"] = plates
_spec.loader.exec_module(plates)

PAIR = ("--source", "ctrl", "--target", "drug")


@pytest.fixture
def plate(tmp_path) -> tuple[object, ...]:
    layout = plates.write_layout(tmp_path / "layout.csv")
    return plates.write_plate(tmp_path / "plate.zarr"), "--layout", layout


@pytest.fixture
def table(tmp_path) -> tuple[object, ...]:
    """CellProfiler's LoadData: one file per channel, two fields of three wells each."""
    files = "FileName_DAPI,PathName_DAPI,FileName_GFP,PathName_GFP"
    lines = [f"Metadata_Plate,Metadata_Well,Metadata_Site,Metadata_Treatment,{files}"]
    (tmp_path / "images").mkdir()
    for k, (row, column) in enumerate((r, c) for r in plates.ROWS for c in plates.COLUMNS):
        for field in range(plates.FIELDS):
            data = plates.field(row, k * plates.FIELDS + field)[:, 0]
            names = [f"{row}0{column}_s{field}_w{w}.tif" for w in (1, 2)]
            for plane, name in zip(data, names, strict=True):
                tifffile.imwrite(tmp_path / "images" / name, plane)
            condition = "ctrl" if row == "A" else "drug"
            lines.append(
                f"P1,{row}0{column},{field},{condition},{names[0]},images,{names[1]},images"
            )
    path = tmp_path / "load_data.csv"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return (path,)


@pytest.mark.parametrize("kind", ["plate", "table"])
def test_a_whole_experiment_is_trained_on_translated_and_measured_by_well(
    kind, request, tmp_path, fake_diffusion, phenldiff
):
    given = request.getfixturevalue(kind)
    run, made, out = tmp_path / "run", tmp_path / "made", tmp_path / "area.csv"
    code, said, error = phenldiff("train", *given, *PAIR, "--out", run, "--steps", 2)
    assert code == 0, error
    assert "2 conditions (ctrl: 6 images, drug: 6 images) · 6 wells on 1 plate" in said
    code, said, error = phenldiff("translate", run, *given, *PAIR, "--out", made)
    assert code == 0, error
    assert len(list((made / "translated").iterdir())) == 6
    options = ("--channel", "GFP", "--out", out, "--effects", tmp_path / "effects.csv")
    code, said, error = phenldiff("measure", "area", made, *given, *options, *PAIR)
    assert code == 0, error
    assert "counted: wells (3 and 3), not images" in said
    images = pd.read_csv(out)
    assert set(images["condition"]) == {"ctrl", "drug", "reconstructed", "translated"}
    assert set(images["plate"]) == {"P1"}
    assert sorted(set(images["well"])) == ["A01", "A02", "A03", "B01", "B02", "B03"]
    assert set(images["field"]) == {0, 1}
    effects = pd.read_csv(tmp_path / "effects.csv")
    assert set(effects["counted"]) == {"wells"}
    assert set(effects["n_before"]) == {3}
    assert not {"plate", "well", "field"} & set(effects["measurement"])
    code, said, error = phenldiff(
        "evaluate", run, *given, "--profile", "area", "--channel", "GFP", "--trained-too",
        "--images", 2, "--out", tmp_path / "judged",
    )  # fmt: skip
    assert code == 0, error


def test_channels_are_chosen_by_every_command(tmp_path, fake_diffusion, phenldiff):
    rng = np.random.default_rng(0)
    for condition in ("ctrl", "drug"):
        for k in range(3):
            path = tmp_path / "data" / condition / f"f{k}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = rng.integers(0, 4000, (5, 64, 64)).astype(np.uint16)
            data[1] = 0  # one channel is empty
            names = ["DNA", "empty", "GFP, 488/525", "AGP", "Mito"]
            tifffile.imwrite(path, data, ome=True, photometric="minisblack",
                             metadata={"axes": "CYX", "Channel": {"Name": names}})  # fmt: skip
    data, run = tmp_path / "data", tmp_path / "run"
    code, _, error = phenldiff("train", data, *PAIR, "--out", run, "--steps", 2)
    assert (code, 'Channel "empty" has the same value' in error) == (2, True)
    assert "--channels" in error
    chosen = ("--channels", "GFP, 488/525", "--channels", "DNA")
    code, said, error = phenldiff("train", data, *PAIR, "--out", run, "--steps", 2, *chosen)
    assert code == 0, error
    assert "2 channels (GFP, 488/525, DNA)" in said
    code, said, error = phenldiff("translate", run, data, *PAIR, "--out", tmp_path / "made")
    assert code == 0, error
    assert "Left out the channels empty, AGP, Mito" in said
    with tifffile.TiffFile(tmp_path / "made" / "translated" / "f0.tif") as tif:
        assert tif.series[0].shape == (2, 64, 64)
    out = ("--out", tmp_path / "t.csv")
    code, said, error = phenldiff("measure", "area", data, "--channels", "AGP", *out)
    assert code == 0, error
    assert "Channels: channel AGP" in said or "Channels: AGP" in said
    code, _, error = phenldiff("measure", "area", data, "--channels", "Golgi", *out)
    assert (code, 'has no channel "Golgi"' in error) == (2, True)
    code, _, error = phenldiff("train", "--resume", run, "--channels", "DNA")
    assert (code, "leave out --channels" in error) == (2, True)
