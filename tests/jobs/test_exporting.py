"""Packages of runs, as bioimage.io has them, tried by its own programs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from napari_phenldiff import Experiment, Image, TrainingConfig, TranslationConfig, train, write_tiff
from napari_phenldiff.cli import main
from napari_phenldiff.jobs.exporting import export
from napari_phenldiff.runs.folder import Run

QUICK = {"inference_steps": 4, "depth": 0.5, "batch_size": 4}
CONFIG = TranslationConfig(source="untreated", target="treated", **QUICK)


def _images(level: int) -> list[Image]:
    rng = np.random.default_rng(level)
    smooth = [ndi.gaussian_filter(rng.standard_normal((48, 40)), 2) for _ in range(8)]
    planes = [(p - p.min()) / np.ptp(p) for p in smooth]
    return [
        Image(
            np.stack([planes[2 * i] * 200, planes[2 * i + 1] * level]).astype(np.uint16),
            ("DNA", "marker"),
            (0.5, 0.5),
            f"image_{i}",
        )
        for i in range(4)
    ]


@pytest.fixture
def run(tiny_base, tmp_path) -> Run:
    experiment = Experiment.from_images({"untreated": _images(60), "treated": _images(200)})
    config = TrainingConfig(
        base=str(tiny_base),
        conditions=experiment.names,
        steps=3,
        batch_size=2,
        rank=2,
        reference_channels=(),
        device="cpu",
        validation_images=1,
    )
    return train(experiment, config, tmp_path / "run")


def _network(package: Path):
    """Return the network that the description of a package names, with its weights."""
    import importlib

    import torch
    import yaml

    with zipfile.ZipFile(package) as opened:
        names = opened.namelist()
        (description,) = (name for name in names if name.endswith("rdf.yaml"))
        values = yaml.safe_load(opened.read(description))
        entry = values["weights"]["pytorch_state_dict"]
        with opened.open(entry["source"]) as file:
            weights = torch.load(file, weights_only=True)
    architecture = entry["architecture"]
    module = importlib.import_module(architecture["import_from"])
    network = getattr(module, architecture["callable"])(**architecture["kwargs"])
    network.load_state_dict(weights, strict=True)
    return network, values, names


def test_equal_weights_are_equal_files_that_name_no_process(tmp_path):
    from napari_phenldiff.diffusion.packaged import save_weights

    network = torch.nn.Linear(3, 2)
    save_weights(network, tmp_path / "a.pt")
    save_weights(network, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()


def test_a_package_translates_as_the_run_does(run, tmp_path):
    import torch

    from napari_phenldiff.diffusion.translate import Translator

    package = export(run, tmp_path / "package.zip", CONFIG, authors=["A. Author"], licence="MIT")
    network, values, names = _network(package)
    assert values["format_version"].startswith("0.5")
    assert {"cover.png", "README.md", "weights.pt", "environment.yaml"} <= set(names)
    image = _images(60)[1]
    (expected,) = Translator.from_run(run, device="cpu", precision="float32").translate(
        [Image(image.data.astype(np.float32), image.channel_names, None, "it")], CONFIG
    )
    made = network(torch.from_numpy(image.data[None].astype(np.float32)))
    for found, wanted in zip(made, (expected.translated, expected.reconstructed), strict=True):
        np.testing.assert_allclose(found[0].numpy(), wanted.data, rtol=1e-4, atol=1e-3)
    text = (zipfile.ZipFile(package).read("README.md")).decode()
    assert "## Validation" in text
    for private in (str(tmp_path), str(run.config.base)):
        for name in names:
            if not name.endswith((".npy", ".pt", ".png")):
                content = zipfile.ZipFile(package).read(name).decode()
                assert private not in content, f"{name} names a folder of this computer"


_TRY = """
import sys
from bioimageio.core import test_model
summary = test_model(sys.argv[1], weight_format="pytorch_state_dict", devices=["cpu"])
print(summary.status)
summary.display()
"""


def test_the_validator_of_bioimage_io_accepts_a_package(run, tmp_path):
    """In a process of its own, as it would be; PHENLDIFF_BIOIMAGEIO names another Python."""
    python = os.environ.get("PHENLDIFF_BIOIMAGEIO", sys.executable)
    check = [python, "-c", "import bioimageio.core"]
    if subprocess.run(check, capture_output=True, check=False).returncode:
        pytest.skip("bioimageio.core is not installed (or set PHENLDIFF_BIOIMAGEIO)")
    package = export(run, tmp_path / "package.zip", CONFIG, authors=["A. Author"], licence="MIT")
    done = subprocess.run(
        [python, "-c", _TRY, str(package)], capture_output=True, text=True, check=False
    )
    if "index_key" in done.stdout + done.stderr:
        pytest.skip("this bioimageio.spec does not work with this pydantic")
    assert done.stdout.startswith("passed"), done.stdout + done.stderr


def test_the_command_makes_a_package_of_an_image_of_the_users(run, tmp_path, capsys):
    write_tiff(tmp_path / "mine.tif", _images(60)[2])
    out = tmp_path / "package.zip"
    line = ["export", str(run.path), "--out", str(out), "--image", str(tmp_path / "mine.tif")]
    line += ["--inference-steps", "4", "--depth", "0.5"]
    assert main(line) == 0
    told = capsys.readouterr().out
    assert "holds a part of the image mine" in told
    assert f"The package is {out}" in told
    assert main(line) == 2
    assert "exists; name a new file" in capsys.readouterr().err
    assert main([*line[:3], str(tmp_path / "folder")]) == 2
    assert "ends with .zip" in capsys.readouterr().err
