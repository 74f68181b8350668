from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from napari_phenldiff.baselines import phendiff
from napari_phenldiff.baselines.cyclegan import constant_then_linear
from napari_phenldiff.baselines.loading import load_translator, train
from napari_phenldiff.diffusion.guidance import Cancelled
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Finished, Loading, Noted, Preview, Saved, Started, Step
from napari_phenldiff.runs.folder import Run

BOTH = pytest.mark.parametrize("method", ["cyclegan", "phendiff"])
THERE = TranslationConfig(source="untreated", target="treated")


def weights(run: Run) -> bytes:
    return (run.adapter_path / "weights.safetensors").read_bytes()


@BOTH
def test_the_whole_way(method, make_run, experiment):
    run = make_run("run", method, experiment)
    events = list(train(experiment, run))
    assert [e.step for e in events if isinstance(e, Step)] == [1, 2, 3, 4]
    assert all(math.isfinite(e.loss) for e in events if isinstance(e, Step))
    assert [e.step for e in events if isinstance(e, Saved)] == [2, 4]
    assert {Loading, Started, Noted} <= {type(e) for e in events}
    assert events[-1] == Finished(4, time=events[-1].time)

    translator = load_translator(run.path, device="cpu")
    images = experiment["untreated"].images
    results = list(translator.translate(images, THERE))
    assert [r.name for r in results] == [i.name for i in images]
    for image, result in zip(images, results, strict=True):
        for made in (result.translated, result.reconstructed):
            assert made.data.shape == image.data.shape
            assert made.data.dtype == image.data.dtype
            assert made.channel_names == image.channel_names
            assert made.pixel_size == image.pixel_size
        assert math.isnan(result.residual)
        assert result.dial is None
        assert not np.array_equal(result.translated.data, result.reconstructed.data)


@BOTH
def test_same_seed_same_weights_also_across_a_resume(method, make_run, experiment):
    made = {}
    for name in ("straight", "resumed", "other"):
        run = make_run(name, method, experiment, steps=6, seed=int(name == "other"))
        if name == "resumed":
            asked = iter([False, False, True])
            events = list(train(experiment, run, should_stop=lambda asked=asked: next(asked)))
            assert events[-1] == Finished(3, stopped=True, time=events[-1].time)
            assert run.has_adapter
            list(train(experiment, Run.open(run.path), resume=True))
        else:
            list(train(experiment, run))
        made[name] = weights(run)
    assert made["straight"] == made["resumed"]
    assert made["straight"] != made["other"]


@BOTH
def test_minutes_become_steps_that_a_resume_repeats(method, make_run, experiment):
    run = make_run("minutes", method, experiment, minutes=0.02, steps=1000)
    events = list(train(experiment, run))
    steps = Run.open(run.path).config.steps
    assert steps == events[-1].step < 1000
    assert any(f"{steps} of them fit into 0.02 minutes" in e.message
               for e in events if isinstance(e, Noted))  # fmt: skip
    plain = make_run("plain", method, experiment, steps=steps)
    list(train(experiment, plain))
    assert weights(run) == weights(plain)
    again = list(train(experiment, Run.open(run.path), resume=True))
    assert again[-1].step == steps
    assert weights(run) == weights(plain)


@BOTH
def test_training_lowers_the_loss(method, make_run, experiment):
    run = make_run("run", method, experiment, steps=60, learning_rate=3e-3, checkpoint_every=100)
    losses = [e.loss for e in train(experiment, run) if isinstance(e, Step)]
    assert np.mean(losses[-15:]) < 0.8 * np.mean(losses[:15])


@BOTH
def test_larger_and_smaller_fields_keep_their_size(method, make_run, make_images, experiment):
    run = make_run("run", method, experiment, steps=1)
    list(train(experiment, run))
    translator = load_translator(run, device="cpu")
    images = [make_images(500, 2, size=size)[0] for size in (20, 32, 75)]
    results = list(translator.translate(images, THERE))
    assert [r.translated.shape for r in results] == [(20, 20), (32, 32), (75, 75)]


@BOTH
def test_to_itself_is_the_reconstruction(method, make_run, experiment):
    run = make_run("run", method, experiment, steps=1)
    list(train(experiment, run))
    config = TranslationConfig(source="treated", target="treated")
    (result, *_) = load_translator(run).translate(experiment["treated"].images, config)
    assert np.array_equal(result.translated.data, result.reconstructed.data)


@BOTH
@pytest.mark.parametrize(
    "asked", [{"strength": 0.5}, {"guidance": 3.0}, {"anchor": 0.5}, {"depth": 0.5}]
)
def test_what_a_baseline_does_not_have_is_refused(method, asked, make_run, experiment):
    run = make_run("run", method, experiment, steps=1)
    list(train(experiment, run))
    translator = load_translator(run)
    config = THERE.model_copy(update=asked)
    with pytest.raises(InputError, match=f"The method {method} has no {next(iter(asked))}"):
        list(translator.translate(experiment["untreated"].images, config))
    with pytest.raises(InputError, match="no dial"):
        translator.dial(experiment["untreated"].images[0], THERE)


@BOTH
def test_what_cannot_be_translated_is_told(method, make_run, experiment):
    run = make_run("run", method, experiment, steps=1)
    with pytest.raises(InputError, match="no adapter yet"):
        load_translator(run)
    list(train(experiment, run))
    translator = load_translator(run)
    (image, *_) = experiment["untreated"].images
    with pytest.raises(InputError, match="no condition 'other'"):
        list(translator.translate([image], TranslationConfig(source="untreated", target="other")))
    alone = replace(image, data=image.data[:1], channel_names=image.channel_names[:1])
    with pytest.raises(InputError, match="has 1 channel,"):
        list(translator.translate([alone], THERE))
    (run.adapter_path / "weights.safetensors").write_bytes(b"x" * 99)
    run.save_adapter({"weights.safetensors": b"x" * 99, "adapter.json": b"{}"})
    with pytest.raises(InputError, match="cannot be read"):
        load_translator(run)


@BOTH
def test_previews_are_written(method, make_run, experiment):
    run = make_run("run", method, experiment, preview_every=2)
    plain = make_run("plain", method, experiment)
    previews = [e for e in train(experiment, run) if isinstance(e, Preview)]
    list(train(experiment, plain))
    assert [e.step for e in previews] == [2, 4]
    assert read_image(run.path / previews[0].path).n_channels == 4
    assert weights(run) == weights(plain)  # looking changes nothing


@BOTH
def test_a_stop_is_obeyed_within_a_field(method, make_run, experiment):
    run = make_run("run", method, experiment, steps=1)
    list(train(experiment, run))
    translator = load_translator(run)
    translator.should_stop = lambda: True
    with pytest.raises(Cancelled):
        list(translator.translate(experiment["untreated"].images, THERE))


@BOTH
def test_a_damaged_checkpoint_is_told(method, make_run, experiment):
    run = make_run("run", method, experiment)
    list(train(experiment, run))
    run.save_checkpoint(4, {"state.safetensors": b"no"})
    with pytest.raises(InputError, match="delete that folder"):
        list(train(experiment, run, resume=True))


def test_phendiff_learns_any_number_of_conditions(make_run, make_images, experiment):
    third = {c.name: c.images for c in experiment.conditions} | {"other": make_images(600, 5)}
    more = Experiment.from_images(third)
    run = make_run("run", "phendiff", more)
    list(train(more, run))
    config = TranslationConfig(source="other", target="treated")
    assert len(list(load_translator(run).translate(more["other"].images, config))) == 4


def test_steps_of_phendiff_are_its_own_unless_asked_for(make_run, experiment, monkeypatch):
    run = make_run("run", "phendiff", experiment, steps=1)
    list(train(experiment, run))
    asked = []
    real = phendiff.Schedule.from_alphas

    def spy(*args, **options):
        asked.append((options["steps"], options["depth"]))
        return real(*args, **options)

    monkeypatch.setattr(phendiff.Schedule, "from_alphas", spy)
    for config in (THERE, THERE.model_copy(update={"inference_steps": 3})):
        list(load_translator(run).translate(experiment["untreated"].images[:1], config))
    assert asked == [(5, 1.0), (3, 1.0)]


def test_nothing_is_left_of_the_signal_at_the_last_step():
    alphas = phendiff.signal_left(3000)
    assert len(alphas) == 3000
    assert alphas[-1] == pytest.approx(0, abs=1e-12)
    assert (np.diff(alphas) < 0).all()


def test_what_is_saved_are_the_averages_and_what_learns_is_left_alone(make_run, experiment):
    """The public code loses the learning weights when it looks at the averages."""
    saved = {}
    for name, every in (("often", 1), ("once", 6)):
        run = make_run(name, "phendiff", experiment, steps=6, checkpoint_every=every, ema=0.9)
        list(train(experiment, run))
        saved[name] = weights(run)
    assert saved["often"] == saved["once"]
    _, folder = run.latest_checkpoint()
    state = load_file(str(folder / "state.safetensors"))
    assert not torch.equal(state["0.online.0"], state["0.average.0"])
    kept = load_file(str(run.adapter_path / "weights.safetensors"))
    assert any(torch.equal(value, state["0.average.0"]) for value in kept.values())


def test_the_rate_of_cyclegan_is_constant_and_falls_to_nearly_nothing():
    rates = [constant_then_linear(step, steps=200) for step in range(1, 201)]
    assert rates[:100] == [1] * 100
    assert 0 < rates[-1] < 0.011
    assert np.allclose(np.diff(rates[100:]), -1 / 101)


def test_the_adapter_says_what_it_is(make_run, experiment):
    run = make_run("run", "cyclegan", experiment, steps=1)
    list(train(experiment, run))
    settings = json.loads((run.adapter_path / "adapter.json").read_text())
    assert settings["method"] == "cyclegan"
    assert settings["tile"] == 32
    assert run.reference_channels == ()
