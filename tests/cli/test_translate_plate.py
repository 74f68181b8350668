"""Translations that are written as plates of OME-Zarr."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.tiff import read_image, read_provenance, write_stack

NAMES = ("--source", "untreated", "--target", "treated")
ZARR = ("--format", "ome-zarr")
WELLS = ("A01_s1", "A01_s2", "B12_s1", "B12_s2", "C03_s7")


@pytest.fixture
def plate(data: Path, trained: Path) -> Path:
    """The images of the source, named after wells."""
    folder = data / "untreated"
    for path, name in zip(sorted(folder.iterdir()), WELLS, strict=True):
        path.rename(folder / f"{name}.tif")
    return data


def sources(folder: Path) -> dict[str, object]:
    (found,) = Dataset.find(folder).conditions.values()
    return {source.name: source for source in found}


def test_a_plate_holds_what_tiffs_hold(plate, trained, tmp_path, phenldiff):
    tiffs, out = tmp_path / "tiffs", tmp_path / "out"
    assert phenldiff("translate", trained, plate, *NAMES, "--out", tiffs)[0] == 0
    code, _, err = phenldiff("translate", trained, plate, *NAMES, *ZARR, "--out", out)
    assert code == 0, err
    assert sorted(path.name for path in out.iterdir()) == [
        "events.jsonl", "reconstructed", "translated", "translation.json"
    ]  # fmt: skip
    for kind in ("translated", "reconstructed"):
        found = sources(out / kind)
        assert list(found) == ["A01_f1", "A01_f2", "B12_f1", "B12_f2", "C03_f7"]
        for source, name in zip(found.values(), WELLS, strict=True):
            (one,) = source.read()
            other = read_image(tiffs / kind / f"{name}.tif")
            np.testing.assert_array_equal(one.data, other.data)
            assert one.data.dtype == other.data.dtype
            assert one.channel_names == other.channel_names
            assert one.pixel_size == other.pixel_size
            told, written = read_provenance(source.path), read_provenance(other.path)
            for key in ("kind", "settings", "source_file", "source_sha256", "residuals", "run"):
                assert told[key] == written[key], key
    summary = json.loads((out / "translation.json").read_text())
    assert summary["complete"]
    assert [i["file"] for i in summary["images"]] == ["A/1/1", "A/1/2", "B/12/1", "B/12/2", "C/3/7"]
    assert summary["images"][4]["source_file"] == str(plate / "untreated" / "C03_s7.tif")


def test_a_plate_is_measured_like_tiffs(plate, trained, tmp_path, phenldiff):
    columns = {}
    for name, how in (("tiffs", ()), ("zarr", ZARR)):
        out, table = tmp_path / name, tmp_path / f"{name}.csv"
        assert phenldiff("translate", trained, plate, *NAMES, *how, "--out", out)[0] == 0
        code, _, err = phenldiff(
            "measure", "area", plate, out, "--channel", "marker", "--out", table,
            "--effects", tmp_path / f"{name}_effects.csv",
        )  # fmt: skip
        assert code == 0, err
        rows = pd.read_csv(table)
        columns[name] = rows.groupby("condition").area_fraction.apply(list).to_dict()
        assert set(columns[name]) == {"untreated", "treated", "reconstructed", "translated"}
    assert columns["tiffs"] == columns["zarr"]


def test_a_killed_plate_goes_on(plate, trained, tmp_path, fake_diffusion, phenldiff):
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = ("translate", trained, plate, *NAMES, *ZARR)
    assert phenldiff(*command, "--out", whole)[0] == 0
    fake_diffusion("memory")
    assert phenldiff(*command, "--out", out)[0] == 1
    # What there is is a plate by now.
    assert list(sources(out / "translated")) == ["A01_f1", "A01_f2"]
    fake_diffusion("")
    code, _, err = phenldiff("translate", trained, plate, *NAMES, "--out", out)
    assert (code, "another format" in err) == (2, True)
    code, said, _ = phenldiff(*command, "--out", out)
    assert (code, "2 images were done before" in said) == (0, True)
    for path in sorted(whole.rglob("*")):
        if path.is_file() and ".zarr" in str(path) and path.parent.suffix != ".zarr":
            assert (out / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    assert list(out.rglob(".*.tmp")) == []


def test_images_without_a_place_on_a_plate(data, trained, tmp_path, phenldiff):
    out = tmp_path / "out"
    code, _, err = phenldiff("translate", trained, data, *NAMES, *ZARR, "--out", out)
    assert (code, "u0 has no place in a plate: no well is known of it" in err) == (2, True)
    assert not out.exists()


def test_a_stack_is_a_field(plate, trained, tmp_path, phenldiff):
    paths = [plate / "untreated" / f"{name}.tif" for name in WELLS]
    images = [read_image(path) for path in paths]
    shutil.rmtree(plate / "untreated")
    write_stack(plate / "untreated" / "D04.tif", images)
    out = tmp_path / "out"
    assert phenldiff("translate", trained, plate, *NAMES, *ZARR, "--out", out)[0] == 0
    (source,) = sources(out / "reconstructed").values()
    for one, image in zip(source.read(), images, strict=True):
        np.testing.assert_array_equal(one.data, image.data)
