"""Values that are not finite are never trained on, saved, loaded or written as pixels."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_phenldiff.baselines.loading import train as train_any
from napari_phenldiff.cli import main
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.baseline_config import CycleGANConfig
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Failed, Finished, Saved, Step
from napari_phenldiff.runs.folder import Run

CONFIG = TranslationConfig(source="untreated", target="treated", inference_steps=4)
NAMES = ("untreated", "treated")


def make_run(folder, experiment, config):
    scaling = IntensityScaling.fit(experiment.images)
    return Run.from_experiment(folder, config, experiment=experiment, scaling=scaling)


@pytest.fixture
def config(tiny_base):
    return TrainingConfig(
        base=str(tiny_base), conditions=NAMES, steps=6, batch_size=2, rank=2, checkpoint_every=2,
        precision="float32",
    )  # fmt: skip


def until_it_fails(events):
    seen = []
    try:
        for event in events:
            seen.append(event)
    except InputError as error:
        return seen, str(error)
    pytest.fail("it did not")


def saved_is_finite(run):
    files = list(run.adapter_path.glob("*.safetensors"))
    assert files
    return all(torch.isfinite(v).all() for file in files for v in load_file(file).values())


def poisoned(monkeypatch, at, what):
    """Make a training step fail: its loss, or the weights after it."""
    step = Training.step

    def poison(self, number):
        loss = step(self, number)
        if number < at:
            return loss
        if what == "loss":
            return float("nan")
        with torch.no_grad():
            kept = self.average.parameters if what == "weights" else self.average.averages
            kept[0].view(-1)[0] = float("inf")
        return loss

    monkeypatch.setattr(Training, "step", poison)


@pytest.mark.parametrize("what", ["loss", "weights", "averages"])
def test_a_training_that_diverges_keeps_what_was_good(
    what, config, tmp_path, experiment, monkeypatch
):
    run = make_run(tmp_path / "run", experiment, config)
    poisoned(monkeypatch, 4, what)
    seen, told = until_it_fails(finetune(experiment, config, run))
    assert "has diverged: at step 4" in told
    assert "step 2 is kept" in told
    assert "0.0001 (--learning-rate)" in told
    assert "float32" not in told  # it is that already
    assert [event.step for event in seen if isinstance(event, Saved)] == [2]
    assert not any(isinstance(event, Finished) for event in seen)
    assert saved_is_finite(run)
    (result,) = Translator.from_run(run, device="cpu").translate(
        experiment["untreated"].images[:1], CONFIG
    )
    assert np.isfinite(result.residual)


def test_a_learning_rate_that_is_far_too_high(config, tmp_path, experiment):
    config = config.model_copy(update={"learning_rate": 1e30, "warmup": 0, "precision": "auto"})
    run = make_run(tmp_path / "run", experiment, config)
    seen, told = until_it_fails(finetune(experiment, config, run))
    assert "has diverged" in told
    assert "1e+29 (--learning-rate), or in float32" in told
    assert len([event for event in seen if isinstance(event, Step)]) < 6


def test_the_command_ends_with_a_sentence(config, tmp_path, experiment, monkeypatch, capsys):
    for condition in experiment.conditions:
        for image in condition.images:
            write_tiff(tmp_path / "data" / condition.name / f"{image.name}.tif", image)
    poisoned(monkeypatch, 4, "loss")
    out = tmp_path / "run"
    code = main([
        "train", str(tmp_path / "data"), "--source", "untreated", "--target", "treated", "--out",
        str(out), "--base", config.base, "--steps", "6", "--checkpoint-every", "2", "--device",
        "cpu",
    ])  # fmt: skip
    assert code == 2
    assert capsys.readouterr().err.startswith("phenldiff: The training has diverged: at step 4")
    run = Run.open(out)
    assert run.state == "failed"
    assert run.latest_checkpoint()[0] == 2
    assert isinstance(run.events()[0][-1], Failed)


def test_a_baseline_that_diverges(tmp_path, experiment):
    config = CycleGANConfig(
        conditions=NAMES, steps=4, batch_size=1, checkpoint_every=1, learning_rate=1e30,
        preset="cpu", preview_every=0,
    )  # fmt: skip
    run = make_run(tmp_path / "run", experiment, config)
    _, told = until_it_fails(train_any(experiment, run))
    assert "has diverged" in told
    if run.has_adapter:
        assert saved_is_finite(run)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["unet", "vae", "conditioner"])
def test_a_base_with_broken_weights_is_refused(part, value, tiny_base, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    path = folder / part / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    next(w for w in weights.values() if w.is_floating_point()).view(-1)[0] = value
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"The {part} of the base model .* not finite numbers"):
        BaseModel.load(str(folder))


def test_an_adapter_with_broken_weights_is_refused(config, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, config)
    list(finetune(experiment, config, run))
    path = run.adapter_path / "condition_tokens.safetensors"
    tokens = load_file(path)
    tokens["values"][0, 0, 0] = float("nan")
    save_file(tokens, path)
    with pytest.raises(InputError, match=r"adapter in .* not finite numbers"):
        Translator.from_run(run, device="cpu")


@pytest.fixture
def translator(config, tmp_path, experiment):
    config = config.model_copy(update={"steps": 2, "reference_channels": ("DNA",)})
    run = make_run(tmp_path / "run", experiment, config)
    list(finetune(experiment, config, run))
    return Translator.from_run(run, device="cpu", precision="float32")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_with_broken_pixels_are_not_drawn_over(value, translator, experiment):
    image = experiment["untreated"].images[0]
    data = image.data.astype(np.float32)
    data[1, 3, 3] = value
    broken = replace(image, data=data)
    with pytest.raises(InputError, match=r'not finite .* in channel "marker"'):
        list(translator.translate([broken], CONFIG))


def test_pixels_that_are_no_numbers_are_never_made(translator, experiment):
    with torch.no_grad():
        next(translator.base.unet.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="no finite numbers, so there is no image"):
        list(translator.translate(experiment["untreated"].images[:1], CONFIG))


@pytest.mark.parametrize("keep", [False, True])
def test_a_reference_channel_is_the_sources_own_pixels(keep, translator, experiment):
    """However bright: a field brighter than those trained on came back clipped."""
    image = experiment["untreated"].images[0]
    bright = replace(image, data=np.clip(image.data.astype(int) * 3, 0, 255).astype(np.uint8))
    (made,) = translator.translate([bright], CONFIG, keep=keep)
    for result in (made.translated, made.reconstructed):
        np.testing.assert_array_equal(result.data[0], bright.data[0])
    assert not np.array_equal(made.translated.data[1], bright.data[1])
    if keep:
        np.testing.assert_array_equal(made.dial.at(0.5).data[0], bright.data[0])
