"""Bases, adapters and evaluations of anybody: a sentence before they are loaded, or they work."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set as Linux does")

CONDITIONS = ("untreated", "treated")
_ROOM = 4 * 2**30
"""Bytes of addresses: torch takes some GiB of them when it is used for the first time."""


def change(path: Path, rng, damaged, odd) -> str:
    """Damage a file, JSON in one value or anything in bytes; return what was done."""
    if path.suffix == ".json" and rng.random() < 0.7:
        value = odd(json.loads(path.read_text(encoding="utf-8")), rng)
        path.write_bytes(json.dumps(value).encode("utf-8", "surrogatepass"))
        return f"{path.name}: {json.dumps(value)[:300]}"
    path.write_bytes(damaged(path.read_bytes(), rng))
    return f"{path.name}: bytes"


def test_bases(torture, attempt, damaged, odd, tiny_base, tmp_path):
    from napari_phenldiff.diffusion.base import BaseModel

    files = sorted(path.relative_to(tiny_base) for path in tiny_base.rglob("*") if path.is_file())
    images = np.random.default_rng(0).uniform(-1, 1, (1, 2, 32, 32)).astype(np.float32)
    BaseModel.load(str(tiny_base)).encode(images)
    trial = torture("a file of a base is damaged, and the base loaded", 6)
    for rng in trial.tries():
        base = tmp_path / "base"
        shutil.copytree(tiny_base, base)
        what = change(base / rng.choice(files), rng, damaged, odd)

        def work(base: Path = base) -> None:
            loaded = BaseModel.load(str(base))
            latents = loaded.encode(images)
            if not np.isfinite(loaded.decode(latents, 2)).all():
                trial.lose("pixels that are no numbers")

        attempt(trial, what, work, memory=_ROOM)
        shutil.rmtree(base)
    trial.check()


def test_adapters(torture, attempt, damaged, odd, tiny_base, tmp_path):
    import torch

    from napari_phenldiff.baselines.loading import load_translator
    from napari_phenldiff.diffusion.adaptation import adapter_files
    from napari_phenldiff.diffusion.base import BaseModel
    from napari_phenldiff.diffusion.conditioning import ConditionTokens
    from napari_phenldiff.diffusion.strategies import Lora

    rng = np.random.default_rng(0)

    def random_image(name: str) -> Image:
        pixels = rng.integers(1, 999, (2, 32, 32), dtype=np.uint16)
        return Image(pixels, ("DNA", "marker"), None, name)

    images = {name: [random_image("0"), random_image("1")] for name in CONDITIONS}
    experiment = Experiment.from_images(images)
    run = Run.from_experiment(
        tmp_path / "run",
        TrainingConfig(conditions=CONDITIONS, base=str(tiny_base)),
        experiment=experiment,
        scaling=IntensityScaling.fit(experiment.images),
    )
    unet = BaseModel.load(str(tiny_base)).unet
    strategy = Lora(rank=2)
    strategy.add_to(unet)
    tokens = ConditionTokens(CONDITIONS, torch.zeros(2, 4, 16), torch.zeros(4, 16))
    run.save_adapter(
        adapter_files(
            unet, tokens, strategy, str(tiny_base), separation={"DNA": 0.5}, reference_channels=()
        )
    )
    whole = tmp_path / "whole"
    shutil.copytree(run.adapter_path, whole)
    config = TranslationConfig(source="untreated", target="treated", inference_steps=1)
    names = ("adapter.json", strategy.file, "condition_tokens.safetensors")
    image = images["untreated"][0]
    list(load_translator(run, device="cpu").translate([image], config))
    trial = torture("a file of an adapter is damaged, and an image translated", 6)
    for rng in trial.tries():
        shutil.rmtree(run.path / "adapter")
        shutil.copytree(whole, run.path / "adapter")
        changed = run.path / "adapter" / rng.choice(names)
        what = change(changed, rng, damaged, odd)
        # As somebody would who means to deceive.
        manifest = run.path / "adapter" / "manifest.json"
        sizes = json.loads(manifest.read_text(encoding="utf-8"))
        sizes[changed.name] = changed.stat().st_size
        manifest.write_text(json.dumps(sizes), encoding="utf-8")

        def work() -> None:
            opened = Run.open(run.path)
            _ = opened.reference_channels, opened.state, opened.calibration
            list(load_translator(opened, device="cpu").translate([image], config))

        attempt(trial, what, work, memory=_ROOM)
    trial.check()


def test_evaluations(torture, attempt, damaged, odd, write_evaluation, tmp_path):
    from napari_phenldiff.viewer.evaluations import FoundEvaluation

    whole = tmp_path / "whole"
    write_evaluation(whole)
    names = sorted(path.name for path in whole.iterdir() if path.suffix in (".json", ".csv"))
    trial = torture("a file of an evaluation is damaged, and the evaluation shown", 20)
    for rng in trial.tries():
        folder = tmp_path / "changed"
        shutil.copytree(whole, folder)
        name = rng.choice(names)
        what = change(folder / name, rng, damaged, odd)

        def work(folder: Path = folder) -> None:
            found = FoundEvaluation.read(folder)
            _ = found.what(), found.rules(), found.numbers()
            found.measurement()
            found.draw(theme="light")

        attempt(trial, what, work)
        shutil.rmtree(folder)
    trial.check()


def test_omezarrs(torture, attempt, damaged, odd, tmp_path):
    zarr = pytest.importorskip("zarr")
    from napari_phenldiff.images.dataset import Dataset

    whole = tmp_path / "whole.ome.zarr"
    group = zarr.open_group(str(whole), mode="w", zarr_format=2)
    pixels = np.random.default_rng(0).integers(1, 999, (2, 24, 20), dtype=np.uint16)
    group.create_array("0", data=pixels, chunks=(1, 24, 20))
    kinds = {"c": "channel", "y": "space", "x": "space"}
    axes = [{"name": name, "type": kind} for name, kind in kinds.items()]
    scale = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    level = {"path": "0", "coordinateTransformations": scale}
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [level]}]
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    trial = torture("a file of an OME-Zarr is damaged, and its image read", 20)
    for rng in trial.tries():
        place = tmp_path / "changed.ome.zarr"
        shutil.copytree(whole, place)
        chosen = place / rng.choice(files)
        what = chosen.name
        if chosen.name.startswith(".z"):
            value = odd(json.loads(chosen.read_text(encoding="utf-8")), rng)
            chosen.write_bytes(json.dumps(value).encode("utf-8", "surrogatepass"))
            what = f"{chosen.name}: {json.dumps(value)[:300]}"
        else:
            chosen.write_bytes(damaged(chosen.read_bytes(), rng))

        def work(place: Path = place) -> None:
            for group in Dataset.find(place).conditions.values():
                for source in group:
                    source.read()

        attempt(trial, what, work)
        shutil.rmtree(place)
    trial.check()
