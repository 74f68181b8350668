from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff


def write(path: Path, level: int, channels: tuple[str, ...] = ("DNA", "GFP")) -> None:
    data = np.random.default_rng(level).integers(level, level + 50, (len(channels), 24, 32))
    write_tiff(path, Image(data.astype(np.uint16), channels, (0.5, 0.5), path.stem))


def test_it_tells_conditions_wells_channels_and_brightness(tmp_path: Path, phenldiff):
    for i in range(6):
        write(tmp_path / "x" / "dmso" / f"B0{i % 3 + 1}_s{i}.tif", 100)
        write(tmp_path / "x" / "drug" / f"one{i}.tif", 200 + i)
    (tmp_path / "x" / "dmso" / "notes.txt").write_text("weak stain")
    code, out, err = phenldiff("images", tmp_path / "x")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("2 conditions (dmso: 6 images, drug: 6 images) · 2 channels")
    assert "dmso: 6 images of 3 wells (B01, B02, B03)" in lines
    assert "drug: 6 images" in lines
    assert any(line.startswith("channel GFP: grey values from 100 to 25") for line in lines)
    assert any("only 6 images" in line for line in lines)


def test_many_wells_are_not_all_listed(tmp_path: Path, phenldiff):
    for i in range(14):
        write(tmp_path / "plate" / f"A{i + 1:02}.tif", i)
    _, out, _ = phenldiff("images", tmp_path / "plate")
    assert "14 images of 14 wells (A01, " in out
    assert "A12 and 2 more)" in out


def test_what_differs_or_cannot_be_read_is_told(tmp_path: Path, phenldiff):
    write(tmp_path / "x" / "a" / "1.tif", 10)
    write(tmp_path / "x" / "a" / "2.tif", 10, ("DNA", "RFP"))
    write(tmp_path / "x" / "b" / "3.tif", 20)
    damaged = tmp_path / "x" / "b" / "4.tif"
    write(damaged, 30)
    damaged.write_bytes(damaged.read_bytes()[:900])
    code, out, err = phenldiff("images", tmp_path / "x")
    assert code == 2
    assert "DNA, GFP in 2 images; DNA, RFP in 1 image." in out
    assert f"not read: {damaged}" in out or "4.tif" in out.split("not read: ")[1]
    assert "1 file could not be read" in err


def test_values_that_are_not_finite_are_told_and_not_in_the_range(tmp_path: Path, phenldiff):
    for name, value in (("nan", np.nan), ("inf", np.inf), ("good", 12.0)):
        data = np.full((1, 24, 32), 10, np.float32)
        data[0, 0, 0] = value
        write_tiff(tmp_path / "x" / f"{name}.tif", Image(data, ("DNA",), (0.5, 0.5), name))
    _, out, _ = phenldiff("images", tmp_path / "x")
    assert "channel DNA: grey values from 10 to 12\n" in out
    assert '2 images ("inf", "nan") have values that are not finite' in out


def test_all_sizes_are_told(tmp_path: Path, phenldiff):
    for k, side in enumerate((24, 24, 16)):
        data = np.full((1, side, 32), 10 + k, np.uint16)
        write_tiff(tmp_path / "x" / f"f{k}.tif", Image(data, ("DNA",), (0.5, 0.5), f"f{k}"))
    _, out, _ = phenldiff("images", tmp_path / "x")
    assert "sizes of the images that were read: 32 × 24 px in 2, 32 × 16 px in 1\n" in out


def test_it_loads_none_of_the_heavy_libraries(tmp_path: Path):
    write(tmp_path / "x" / "a" / "1.tif", 10)
    code = """
import sys
from napari_phenldiff.cli import main
assert main(["images", sys.argv[1]]) == 0
assert not {"torch", "diffusers", "peft", "napari"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
