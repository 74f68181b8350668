"""What may be wrong with images is told by every command, in the same words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_phenldiff.evaluation.appearance import Appearance
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_image, read_provenance, write_tiff

NAMES = ("--source", "untreated", "--target", "treated")
AREA = ("--profile", "area", "--channel", "marker")


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )


@pytest.fixture
def every(data, trained, tmp_path, phenldiff):
    """Run all commands on a copy of the images that has been changed; what each says, by name."""

    def call(change, *, folder=None):
        changed = folder or tmp_path / "changed"
        if folder is None:
            shutil.copytree(data, changed)
            change(changed)
        out = {name: tmp_path / f"{name}_out" for name in ("train", "translate", "evaluate")}
        commands = {
            "train": ("train", changed, *NAMES, "--out", out["train"], "--steps", 2),
            "translate": ("translate", trained, changed, *NAMES, "--out", out["translate"]),
            "measure": ("measure", "area", changed, "--channel", "marker", "--out",
                        tmp_path / "table.csv"),
            "evaluate": ("evaluate", trained, changed, *AREA, "--out", out["evaluate"],
                         "--images", 2, "--trained-too"),
        }  # fmt: skip
        found = {}
        for name, arguments in commands.items():
            code, said, error = phenldiff(*arguments)
            assert code in (0, 2), error
            assert "Traceback" not in error
            # Of a translation the other files are done.
            if code and name in out and not (out[name] / "failures.csv").exists():
                assert not out[name].exists()
            found[name] = (code, said + error)
        return found

    return call


def rewrite(folder, change):
    for path in sorted(folder.glob("*.tif")):
        write_tiff(path, change(read_image(path)))


def of_kind(dtype=None, pixel_size=None, add=0.0):
    def change(image: Image) -> Image:
        values = image.data.astype(dtype or image.data.dtype) + add
        return Image(
            values.astype(dtype or image.data.dtype),
            image.channel_names,
            pixel_size or image.pixel_size,
            image.name,
        )

    return change


def test_pixel_sizes_and_data_types_that_differ(every):
    def change(folder):
        rewrite(folder / "treated", of_kind(np.int32, pixel_size=(0.1, 0.1)))

    found = every(change)
    for name in ("train", "measure", "evaluate"):
        code, said = found[name]
        assert code == 0
        assert "The data types differ between images (int32, uint16)" in said, name
        assert "The pixel sizes differ between images (0.1 × 0.1 µm, 0.25 × 0.5 µm)" in said, name
    assert "The data types differ" not in found["translate"][1]  # only the source is translated


def test_values_that_are_not_finite(every):
    def spoil(image):
        data = image.data.astype(np.float32)
        data[1, 2, 2] = np.inf
        return Image(data, image.channel_names, image.pixel_size, image.name)

    found = every(lambda folder: rewrite(folder / "untreated", spoil))
    for name, (code, said) in found.items():
        assert "holds values that are not finite (infinite or not a number)" in said, name
        assert code == 2, name
    # the others are measured and written nevertheless
    assert "No image of untreated could be measured; the column reason of" in found["measure"][1]
    assert "untreated: 5 of 5 images could not be measured (the first is u0)" in found["measure"][1]


def test_strips_that_are_missing(every):
    def change(folder):
        path = folder / "untreated" / "u1.tif"
        with tifffile.TiffFile(path) as tif:
            tag = tif.pages.first.tags["StripOffsets"]
        content = bytearray(path.read_bytes())
        content[tag.valueoffset : tag.valueoffset + 4] = bytes(4)
        path.write_bytes(content)

    for name, (code, said) in every(change).items():
        assert (code, "Parts of the pixels of plane 1 are missing" in said) == (2, True), name


def test_masks_thumbnails_and_links(every):
    def change(folder):
        source = folder / "untreated"
        for name in ("u0_cp_masks.tif", "u0_thumb.tif"):
            tifffile.imwrite(source / name, np.zeros((4, 4), np.uint8))
        (source / "u9.tif").symlink_to(folder / "nowhere.tif")

    for name, (code, said) in every(change).items():
        assert code == 0, name
        for left_out in ("u0_cp_masks.tif", "u0_thumb.tif", "u9.tif"):
            assert f'Left out of untreated: "{left_out}"' in said, name


def _spread(folder: Path, *names: str) -> Path:
    rng = np.random.default_rng(0)
    for condition in ("untreated", "treated"):
        (folder / condition).mkdir(parents=True)
        for name in names:
            plane = rng.integers(0, 4000, (64, 64)).astype(np.uint16)
            tifffile.imwrite(folder / condition / name, plane)
    return folder


def test_one_file_for_each_channel_is_put_together(every, tmp_path):
    names = ("f0_w1.tif", "f0_w2.tif", "f1_w1.tif", "f1_w2.tif")
    folder = _spread(tmp_path / "whole", *names)
    for name, (_, said) in every(None, folder=folder).items():
        assert "images of 2 channels (w1, w2), by their names" in said, name


def test_one_file_for_each_channel_of_which_most_are_missing(every, tmp_path):
    folder = _spread(tmp_path / "torn", "f0_w2.tif", "f1_w1.tif", "f2_w1.tif")
    for name, (code, said) in every(None, folder=folder).items():
        assert (code, "one file for each channel" in said) == (2, True), name


@pytest.mark.parametrize("factor", [1 / 1000, 0.02])
def test_images_of_another_depth_are_refused_by_a_model(every, factor):
    """0 to 1, or 8 bit, where the run was trained on 16."""
    dtype = np.float32 if factor < 0.01 else np.uint8

    def change(folder):
        for condition in ("untreated", "treated"):
            rewrite(
                folder / condition,
                lambda image: Image(
                    (image.data * factor).astype(dtype), image.channel_names, None, image.name
                ),
            )

    found = every(change)
    for name in ("translate", "evaluate"):
        code, said = found[name]
        assert (code, "of the same depth and scale" in said) == (2, True), name
    assert found["measure"][0] == found["train"][0] == 0


def test_how_much_lies_outside_of_what_was_trained_on(every):
    found = every(lambda folder: rewrite(folder / "untreated", of_kind(add=500)))
    for name in ("translate", "evaluate"):
        code, said = found[name]
        assert code == 0
        assert "% of the pixels in channel DNA lie outside of the intensities" in said, name


def test_where_nothing_could_be_measured(tmp_path, phenldiff):
    for condition in ("x", "y"):
        data = np.full((2, 20, 16), np.nan, np.float32)
        write_tiff(tmp_path / condition / "f.tif", Image(data, ("DNA", "marker"), None, "f"))
    table = tmp_path / "table.csv"
    code, _, said = phenldiff("measure", "area", tmp_path, "--out", table)
    assert code == 2
    assert "Nothing could be measured in 2 images (the first is f): marker: holds values" in said
    assert not table.exists()


def test_inversions_that_failed_are_told_wherever_the_images_are_used(
    data, trained, tmp_path, phenldiff, monkeypatch
):
    import sys

    translate = sys.modules["napari_phenldiff.diffusion.translate"]
    honest = translate.Translator.translate

    done: dict[int, int] = {}  # the first image is translated by itself

    def inexact(self, images, config, *, keep=False):
        from dataclasses import replace

        for made in honest(self, images, config, keep=keep):
            number = done[id(self)] = done.get(id(self), -1) + 1
            yield replace(made, residual=0.9 if number == 1 else 0.02)

    monkeypatch.setattr(translate.Translator, "translate", inexact)
    out = tmp_path / "out"
    code, said, _ = phenldiff("translate", trained, data, *NAMES, "--out", out)
    told = "The inversion of 1 of 5 translated images is not exact (residual up to 0.9"
    assert code == 0
    assert f"warning: {told}" in said
    summary = json.loads((out / "translation.json").read_text(encoding="utf-8"))
    assert any(text.startswith(told) for text in summary["warnings"])
    assert read_provenance(out / "translated" / "u1.tif")["residuals"] == [0.9]

    table = tmp_path / "t.csv"
    code, said, _ = phenldiff("measure", "area", out, "--channel", "marker", "--out", table)
    assert code == 0
    assert f"warning: translated: {told}" in said
    rows = pd.read_csv(table).set_index(["condition", "image"])["reason"].fillna("")
    assert "an inversion that is not exact (residual 0.9)" in rows["translated", "u1"]
    assert rows["translated", "u0"] == ""

    code, said, _ = phenldiff(
        "evaluate", trained, data, *AREA, "--out", tmp_path / "e", "--images", 2, "--trained-too"
    )
    assert code == 0
    assert "The inversion of 1 of 2 translated images is not exact" in said
