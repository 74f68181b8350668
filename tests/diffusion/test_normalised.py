"""A stain that differs in brightness alone, through training and translation."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage as ndi

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.structure import dark_noise
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.simulate import simulate_images
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Noted, Warned
from napari_phenldiff.runs.folder import Run

QUICK = {"inference_steps": 6, "fixed_point_iterations": 2}
CONDITIONS = ("untreated", "treated")


@pytest.fixture(scope="module")
def dimmed() -> Experiment:
    """Cells whose marker is coarser when treated, and whose DNA is 0.4 times as bright then."""
    rng = np.random.default_rng(0)
    groups = {}
    for name, which, grain, gain in (
        ("untreated", "source", 1.0, 1.0), ("treated", "target", 4.0, 0.4),
    ):  # fmt: skip
        groups[name] = []
        for image in simulate_images("translocation", which, 20, seed=len(name), size=96):
            texture = ndi.gaussian_filter(rng.normal(size=image.shape), grain)
            marker = np.clip(100 + 40 * texture / texture.std(), 0, 255)
            data = np.rint(np.stack([image.data[0] * gain, marker])).astype(image.data.dtype)
            groups[name].append(replace(image, data=data))
    return Experiment.from_images(groups)


def trained(folder, experiment, base, **settings):
    config = TrainingConfig(
        base=str(base), conditions=CONDITIONS, **{"steps": 2, "batch_size": 2} | settings
    )
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.from_experiment(folder, config, experiment=experiment, scaling=scaling)
    return run, list(finetune(experiment, config, run))


def test_a_dim_stain_is_a_reference_and_told(tiny_base, tmp_path, dimmed):
    run, events = trained(tmp_path / "run", dimmed, tiny_base)
    warnings = " ".join(e.message for e in events if isinstance(e, Warned))
    assert re.search(r"DNA is 0\.(3[5-9]|4[0-5]) times as bright in treated", warnings)
    assert "likely a batch effect" in warnings
    assert "--normalised-channels none" in warnings
    assert any("without its brightness" in e.message for e in events if isinstance(e, Noted))
    again = Run.open(run.path)
    assert again.normalised_channels == ("DNA",)
    assert again.reference_channels == ("DNA",)
    assert again.scaling.shared == IntensityScaling.fit(dimmed.images)
    lit = [again.scaling.of(n).apply(dimmed[n].images[0].data)[0].max() for n in CONDITIONS]
    assert lit[1] == pytest.approx(lit[0], abs=0.4)


@pytest.mark.parametrize(("source", "target"), [CONDITIONS, CONDITIONS[::-1]])
def test_an_image_keeps_its_own_grey_values(tiny_base, tmp_path, dimmed, source, target):
    run, _ = trained(tmp_path / "run", dimmed, tiny_base)
    translator = Translator.from_run(run.path, device="cpu")
    config = TranslationConfig(source=source, target=target, **QUICK)
    image = dimmed[source].images[0]
    (found,) = translator.translate([image], config, keep=True)
    limit = run.scaling.of(source).high[0]
    within = image.data[0] < limit
    for made in (found.translated, found.reconstructed, found.dial.at(0.5)):
        difference = np.abs(made.data[0].astype(float) - image.data[0])
        assert difference[within].max() <= 1 + 1e-3 * limit


def test_brightness_may_be_the_phenotype(tiny_base, tmp_path, dimmed):
    run, events = trained(tmp_path / "run", dimmed, tiny_base, normalised_channels=())
    assert Run.open(run.path).normalised_channels == ()
    assert "DNA" not in run.reference_channels
    assert not any("batch effect" in e.message for e in events if isinstance(e, Warned))


def test_where_nothing_but_brightness_differs_it_stays(tiny_base, tmp_path):
    images = list(simulate_images("translocation", "source", 40, seed=1, size=96))
    dim = [replace(x, data=(x.data * np.array([[[1]], [[0.4]]])).astype(np.uint16)) for x in images]
    experiment = Experiment.from_images({"untreated": images[:20], "treated": dim[20:]})
    run, events = trained(tmp_path / "run", experiment, tiny_base)
    assert run.normalised_channels == ()
    assert run.reference_channels == ("DNA",)
    (text,) = [e.message for e in events if isinstance(e, Warned)]
    assert "taken for the phenotype" in text


def test_a_channel_can_be_named(tiny_base, tmp_path, dimmed):
    run, events = trained(
        tmp_path / "run", dimmed, tiny_base, normalised_channels=("marker",), reference_channels=()
    )
    assert run.normalised_channels == ("marker",)
    (text,) = [e.message for e in events if isinstance(e, Warned)]
    assert text.startswith("marker is")
    assert "batch effect" not in text


def test_a_resumed_training_has_the_same_ranges(tiny_base, tmp_path, dimmed):
    run, _ = trained(tmp_path / "run", dimmed, tiny_base)
    before = run.scaling
    list(finetune(dimmed, run.config, run, resume=True))
    assert Run.open(run.path).scaling == before


def test_noise_tells_no_condition_and_is_nowhere_else(tiny_base, tmp_path, dimmed):
    """Only normalised channels are made noisy, by more than either condition is."""
    size = 16
    for settings, normalised in (({}, True), ({"normalised_channels": ()}, False)):
        config = TrainingConfig(base=str(tiny_base), conditions=CONDITIONS, **settings)
        scaling = IntensityScaling.fit(dimmed.images)
        run = Run.from_experiment(
            tmp_path / str(normalised), config, experiment=dimmed, scaling=scaling
        )
        training = Training(BaseModel.load(str(tiny_base)), config)
        training.encode(dimmed, run)
        if not normalised:
            assert training.noise is None
            continue
        noise = training.noise.flatten()
        assert (noise[size:] == 0).all()
        for cached in training.latents:
            assert (noise[:size] >= dark_noise(cached.upright()[:, :size])).all()
        assert noise[:size].max() < 1


def test_dark_noise_is_that_of_the_background():
    generator = torch.Generator().manual_seed(0)
    z = 0.05 * torch.randn(6, 4, 16, 16, generator=generator)
    z[:, 1:, :8] += torch.randn(6, 3, 8, 16, generator=generator)
    z[:, 0, :8] += 3  # half of the field is bright, and structured
    np.testing.assert_allclose(dark_noise(z)[1:], 0.05, rtol=0.3)
