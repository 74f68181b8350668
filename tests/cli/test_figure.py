from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_stack, write_tiff

CHANNELS = ("DNA", "marker")


def image(name: str, seed: int) -> Image:
    data = np.random.default_rng(seed).integers(0, 255, (2, 48, 64)).astype(np.uint8)
    return Image(data, CHANNELS, (0.5, 0.5), name)


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A translation of a stack of two images and of a single one, as `translate` leaves it."""
    import json

    folder = tmp_path / "result"
    real = {"stack": [image("stack_0", 0), image("stack_1", 1)], "alone": [image("alone", 2)]}
    records = []
    for name, images in real.items():
        source = tmp_path / "data" / "untreated" / f"{name}.tif"
        if len(images) > 1:
            write_stack(source, images, provenance={})
        else:
            write_tiff(source, images[0])
        for kind in ("reconstructed", "translated"):
            write_stack(folder / kind / f"{name}.tif", images, provenance={})
        for one in images:
            records.append(
                {
                    "image": one.name,
                    "file": f"{name}.tif",
                    "source_file": str(source),
                    "source_sha256": one.sha256,
                }
            )
    settings = {"source": "untreated", "target": "treated"}
    (folder / "translation.json").write_text(json.dumps({"settings": settings, "images": records}))
    for k in range(3):
        write_tiff(tmp_path / "data" / "treated" / f"t{k}.tif", image(f"t{k}", 9 + k))
    return folder


def test_a_figure_is_written_from_a_translation(result: Path, tmp_path: Path, phenldiff):
    out = tmp_path / "figure.svg"
    code, said, error = phenldiff(
        "figure", result, "--out", out, "--targets", tmp_path / "data", "--inset", "1:4,4,12,12"
    )
    assert code == 0, error
    assert str(out) in said
    text = out.read_text()
    for word in ("stack_1", "alone", "translated", "to treated", "change of", "5 µm"):
        assert word in text  # text that can be edited

    chosen = tmp_path / "one.png"
    code, _, error = phenldiff(
        "figure", result, "--out", chosen, "--names", "stack_1", "--single-channels"
    )
    assert code == 0, error
    with Picture.open(chosen) as picture:
        width, height = picture.size
    assert width > 1000
    assert height > 500


def test_what_no_figure_can_be_made_of_is_said(result: Path, tmp_path: Path, phenldiff):
    out = tmp_path / "f.svg"
    for more, why in (
        (("--names", "nobody"), "no image nobody; the first ones are stack_0"),
        (("--images", "0"), "choose 1 or more"),
        (("--inset", "here"), "1:40,60,48,48"),
    ):
        code, _, error = phenldiff("figure", result, "--out", out, *more)
        assert (code, why in error) == (2, True), error
    code, _, error = phenldiff("figure", result, "--out", tmp_path / "f.docx")
    assert code == 2
    assert ".svg, .png, .pdf" in error
    code, _, error = phenldiff("figure", tmp_path, "--out", out)
    assert code == 2
    assert "no translation" in error
    shutil.rmtree(tmp_path / "data" / "untreated")
    code, _, error = phenldiff("figure", result, "--out", out)
    assert code == 2
    assert "is gone" in error
    assert not out.exists()


def test_a_figure_is_never_overwritten(result: Path, tmp_path: Path, phenldiff):
    out = tmp_path / "figure.svg"
    out.write_text("mine")
    code, _, error = phenldiff("figure", result, "--out", out)
    assert code == 2
    assert "exists; name a new file for the figure" in error
    assert out.read_text() == "mine"
