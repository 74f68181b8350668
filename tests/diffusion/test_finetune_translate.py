from __future__ import annotations

import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion import finetune as finetune_module
from napari_phenldiff.diffusion import latents as latents_module
from napari_phenldiff.diffusion.adaptation import load_adapter
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Finished, Noted, Preview, Saved, Step, Validated, Warned
from napari_phenldiff.runs.folder import Run

EXACT = TranslationConfig(
    source="untreated",
    target="treated",
    inference_steps=20,
    depth=0.6,
    fixed_point_iterations=6,
    inversion_tolerance=0.0,
    guidance=2.0,
)


def make_run(folder: Path, experiment: Experiment, base: Path, **settings) -> Run:
    values = {"steps": 4, "batch_size": 4, "rank": 2, "checkpoint_every": 2} | settings
    values = {"layers": "attention", "lora_alpha": 2.0} | values  # little, and quickly
    values.setdefault("conditions", ("untreated", "treated"))
    config = TrainingConfig(base=str(base), **values)
    scaling = IntensityScaling.fit(experiment.images)
    return Run.from_experiment(folder, config, experiment=experiment, scaling=scaling)


def train(run: Run, experiment: Experiment, **options):
    return list(finetune(experiment, run.config, run, **options))


@pytest.mark.parametrize("kind", ["tiny_base", "tiny_stable_diffusion"])
def test_the_whole_way(kind, request, tmp_path, experiment):
    base = request.getfixturevalue(kind)
    run = make_run(tmp_path / "run", experiment, base, precision="float32")
    events = train(run, experiment)
    assert [e.step for e in events if isinstance(e, Step)] == [1, 2, 3, 4]
    assert [e.step for e in events if isinstance(e, Saved)] == [2, 4]
    assert events[-1].step == 4
    assert not events[-1].stopped

    translator = Translator.from_run(run.path, device="cpu", precision="float32")
    images = experiment["untreated"].images
    results = list(translator.translate(images, EXACT))
    assert [r.name for r in results] == [i.name for i in images]
    for image, result in zip(images, results, strict=True):
        for made in (result.translated, result.reconstructed):
            assert made.data.shape == image.data.shape
            assert made.data.dtype == image.data.dtype
            assert made.channel_names == image.channel_names
            assert made.pixel_size == image.pixel_size
        assert np.isfinite(result.residual)
        assert not np.array_equal(result.translated.data, result.reconstructed.data)


def test_reconstruction_is_the_autoencoders(tiny_base, tmp_path, experiment):
    """Inversion and generation under the source cancel, whatever the network learned."""
    run = make_run(tmp_path / "run", experiment, tiny_base, precision="float32")
    train(run, experiment)
    translator = Translator.from_run(run, device="cpu", precision="float32")
    image = experiment["untreated"].images[0]
    bare = EXACT.model_copy(update={"detail": 0.0})
    (result,) = translator.translate([image], bare)
    base = BaseModel.load(str(tiny_base))
    pixels = run.scaling.apply(image.data)[None]
    floor = run.scaling.invert(base.decode(base.encode(pixels), 2)[0], np.uint8)
    difference = floor.astype(int) - result.reconstructed.data
    assert np.abs(difference).max() <= 2
    # The autoencoder's own error is put back by default: what is left is that of the inversion.
    assert np.abs(floor.astype(int) - image.data).max() > 3
    (whole,) = translator.translate([image], EXACT)
    assert np.abs(whole.reconstructed.data.astype(int) - image.data).max() <= 3
    (half,) = translator.translate([image], EXACT.model_copy(update={"detail": 0.5}))
    errors = [
        np.abs(one.reconstructed.data.astype(float) - image.data).mean()
        for one in (whole, half, result)
    ]
    assert errors[0] < 0.6 * errors[1] < 0.6 * errors[2]


def test_a_dial_puts_the_detail_back_too(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base)
    train(run, experiment)
    translator = Translator.from_run(run, device="cpu")
    image = experiment["untreated"].images[0]
    (kept,) = translator.translate([image], EXACT, keep=True)
    np.testing.assert_array_equal(kept.dial.at(0.0).data, kept.reconstructed.data)
    further = EXACT.model_copy(update={"strength": 1.5})
    (expected,) = translator.translate([image], further)
    np.testing.assert_array_equal(kept.dial.at(1.5).data, expected.translated.data)


def test_strength_zero_is_the_reconstruction(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base)
    train(run, experiment)
    translator = Translator.from_run(run, device="cpu")
    config = EXACT.model_copy(update={"strength": 0.0})
    (result,) = translator.translate([experiment["untreated"].images[0]], config)
    assert np.array_equal(result.translated.data, result.reconstructed.data)


def test_a_reference_channel_stays_as_it_is(tiny_base, tmp_path, experiment):
    settings = {"reference_channels": ("DNA",), "steps": 20, "learning_rate": 1e-2}
    run = make_run(tmp_path / "run", experiment, tiny_base, **settings)
    train(run, experiment)
    translator = Translator.from_run(run.path, device="cpu")
    assert translator.reference_channels == ("DNA",)
    images = experiment["untreated"].images[:2]
    for image, result in zip(images, translator.translate(images, EXACT), strict=True):
        dna = image.channel_names.index("DNA")
        assert np.array_equal(result.translated.data[dna], image.data[dna])
        assert np.array_equal(result.reconstructed.data[dna], image.data[dna])
        others = np.delete(result.translated.data.astype(float), dna, 0)
        assert np.abs(others - np.delete(result.reconstructed.data, dna, 0)).max() > 1


def test_what_is_known_of_the_channels_is_kept_and_told(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, steps=1)
    told = [e.message for e in train(run, experiment) if isinstance(e, Noted)]
    assert any("conditions are separated" in message for message in told)
    settings = json.loads((run.adapter_path / "adapter.json").read_text())
    assert set(settings["separation"]) == set(run.channel_names)


def test_an_anchor_keeps_more_of_the_image(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, steps=20, learning_rate=1e-2)
    train(run, experiment)
    translator = Translator.from_run(run, device="cpu", precision="float32")
    image = experiment["untreated"].images[0]
    changes = []
    for anchor in (0.0, 0.5, 1.0):
        config = EXACT.model_copy(update={"anchor": anchor, "guidance": 1.0})
        (result,) = translator.translate([image], config)
        difference = result.translated.data.astype(float) - result.reconstructed.data
        changes.append(np.abs(difference).mean())
    assert changes[0] > changes[1] > changes[2] > 0, changes


@pytest.mark.parametrize("reference", ["null", "source"])
def test_both_references_of_the_guidance_work(reference, tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base)
    train(run, experiment)
    translator = Translator.from_run(run, device="cpu", precision="float32")
    image = experiment["untreated"].images[0]
    plain, guided = (
        next(
            iter(
                translator.translate(
                    [image],
                    EXACT.model_copy(update={"guidance": g, "guidance_from": reference}),
                )
            )
        ).translated.data
        for g in (1.0, 5.0)
    )
    assert not np.array_equal(plain, guided)


def test_larger_and_smaller_fields_keep_their_size(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base)
    train(run, experiment)
    rng = np.random.default_rng(1)
    fields = [
        Image(rng.integers(0, 4000, (2, y, x), np.uint16), ("DNA", "marker"), None, f"{y}x{x}")
        for y, x in ((70, 45), (20, 27), (32, 32))
    ]
    quick = EXACT.model_copy(update={"inference_steps": 4, "fixed_point_iterations": 2})
    results = list(Translator.from_run(run, device="cpu").translate(fields, quick))
    assert [r.translated.data.shape for r in results] == [f.data.shape for f in fields]
    assert {r.translated.data.dtype for r in results} == {np.dtype(np.uint16)}


def test_same_seed_same_weights_also_across_a_resume(tiny_base, tmp_path, experiment):
    adapters = {}
    for name in ("straight", "again", "resumed", "other"):
        seed = 1 if name == "other" else 0
        run = make_run(tmp_path / name, experiment, tiny_base, seed=seed)
        if name == "resumed":
            asked = iter([False, True])
            events = train(run, experiment, should_stop=lambda asked=asked: next(asked))
            assert events[-1] == Finished(2, stopped=True, time=events[-1].time)
            assert run.has_adapter
            train(run, experiment, resume=True)
        else:
            train(run, experiment)
        adapters[name] = (run.adapter_path / "pytorch_lora_weights.safetensors").read_bytes()
    assert adapters["straight"] == adapters["again"] == adapters["resumed"]
    assert adapters["straight"] != adapters["other"]


def test_training_lowers_the_loss_and_moves_only_the_adapter(tiny_base, tmp_path, experiment):
    before = BaseModel.load(str(tiny_base)).unet.state_dict()
    run = make_run(
        tmp_path / "run",
        experiment,
        tiny_base,
        steps=80,
        batch_size=8,
        rank=8,
        learning_rate=1e-2,
        warmup=5,
    )
    losses = [e.loss for e in train(run, experiment) if isinstance(e, Step)]
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])
    trained = BaseModel.load(str(tiny_base)).unet
    load_adapter(run.adapter_path, trained)
    after = trained.state_dict()
    for key, value in before.items():
        kept = after.get(key, after.get(key.replace(".weight", ".base_layer.weight")))
        if kept is None:
            kept = after[key.replace(".bias", ".base_layer.bias")]
        assert torch.equal(value, kept), key


def test_previews_are_written(tiny_base, tmp_path, experiment):
    from napari_phenldiff.images.tiff import read_image

    run = make_run(tmp_path / "run", experiment, tiny_base, preview_every=4)
    (preview,) = [e for e in train(run, experiment) if isinstance(e, Preview)]
    image = read_image(run.path / preview.path)
    assert image.channel_names == (
        "real DNA",
        "real marker",
        "translated DNA",
        "translated marker",
    )
    assert image.pixel_size == pytest.approx((0.5, 0.5))
    assert (preview.step, preview.source, preview.target) == (4, "untreated", "treated")


def test_previews_show_an_image_that_is_not_trained_on(tiny_base, tmp_path, experiment):
    from napari_phenldiff.images.tiff import read_image

    training, validation = halves(experiment)
    run = make_run(tmp_path / "run", training, tiny_base, preview_every=4)
    events = train(run, training, validation=validation)
    (preview,) = [e for e in events if isinstance(e, Preview)]
    real = read_image(run.path / preview.path).data[:2]
    expected = run.scaling.invert(run.scaling.apply(validation["untreated"].images[0].data), float)
    assert np.abs(real - expected).max() < 1e-2


def test_every_condition_but_the_target_has_a_preview(tiny_base, tmp_path, experiment):
    three = {name: experiment[name].images for name in experiment.names}
    three["drug"] = [replace(i, name=f"d{i.name}") for i in three["untreated"]]
    experiment = Experiment.from_images(three)
    run = make_run(
        tmp_path / "run",
        experiment,
        tiny_base,
        preview_every=2,
        conditions=("untreated", "treated", "drug"),
    )
    events = [e for e in train(run, experiment) if isinstance(e, Preview)]
    assert [(e.step, e.source) for e in events] == [
        (2, "untreated"),
        (2, "drug"),
        (4, "untreated"),
        (4, "drug"),
    ]
    assert len({e.path for e in events}) == 4


def halves(experiment: Experiment) -> tuple[Experiment, Experiment]:
    """Split the images of each condition into two to train on and two to watch."""
    return tuple(
        Experiment.from_images({c.name: c.images[part] for c in experiment.conditions})
        for part in (slice(2), slice(2, 4))
    )


def test_watching_other_images_changes_nothing_that_is_learned(
    tiny_base, tmp_path, experiment, monkeypatch
):
    monkeypatch.setattr(finetune_module, "VALIDATE_EVERY", 2)
    training, validation = halves(experiment)
    adapters = {}
    for name, watched in (("with", validation), ("without", None)):
        run = make_run(tmp_path / name, training, tiny_base, preview_every=2 if watched else 0)
        events = train(run, training, validation=watched)
        found = [e for e in events if isinstance(e, Validated)]
        assert [e.step for e in found] == ([2, 4] if watched else [])
        assert all(np.isfinite([e.loss, e.training_loss]).all() for e in found)
        files = ("pytorch_lora_weights.safetensors", "condition_tokens.safetensors")
        adapters[name] = [(run.adapter_path / file).read_bytes() for file in files]
    assert adapters["with"] == adapters["without"]


def test_both_losses_are_of_the_same_noise(tiny_base, tmp_path, experiment, monkeypatch):
    monkeypatch.setattr(finetune_module, "VALIDATE_EVERY", 2)
    run = make_run(tmp_path / "run", experiment, tiny_base)
    found = [e for e in train(run, experiment, validation=experiment) if isinstance(e, Validated)]
    assert [e.loss for e in found] == pytest.approx([e.training_loss for e in found])
    assert found[0].loss != found[1].loss


def test_memorising_is_noticed_also_after_a_resume(tiny_base, tmp_path, experiment, monkeypatch):
    monkeypatch.setattr(finetune_module, "VALIDATE_EVERY", 1)
    training, validation = halves(experiment)
    run = make_run(tmp_path / "run", training, tiny_base, steps=8)
    losses = iter([1.0, 1.0, 0.9, 0.9, 0.8, 0.8, 1.0, 0.7, 1.0, 0.6, 1.0, 0.5, 1.0, 0.4, 1.0, 0.3])
    monkeypatch.setattr(finetune_module.FixedNoiseLoss, "mean", lambda self, tokens: next(losses))
    asked = iter([False] * 3 + [True])
    for event in train(run, training, validation=validation, should_stop=lambda: next(asked)):
        run.append(event)
    events = train(run, training, validation=validation, resume=True)
    (warning,) = [e for e in events if isinstance(e, Warned)]
    assert "memorises" in warning.message


def test_adapter_of_another_base_is_refused(tiny_base, tiny_stable_diffusion, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base)
    train(run, experiment)
    settings = json.loads((run.path / "config.json").read_text())
    # As in a run of a version that did not write down which weights the base had.
    settings["base_weights"] = None
    text = json.dumps(settings).replace(str(tiny_base), str(tiny_stable_diffusion))
    (run.path / "config.json").write_text(text)
    with pytest.raises(InputError, match="another base"):
        Translator.from_run(run.path, device="cpu")


def test_unknown_condition_and_wrong_channels_are_told(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base)
    train(run, experiment)
    translator = Translator.from_run(run, device="cpu")
    image = experiment["untreated"].images[0]
    with pytest.raises(InputError, match="no condition 'drug'"):
        list(translator.translate([image], EXACT.model_copy(update={"target": "drug"})))
    grey = Image(image.data[:1], ("DNA",), None, "grey")
    with pytest.raises(InputError, match="1 channel, "):
        list(translator.translate([grey], EXACT))


def test_too_many_channels_for_the_base(tiny_base, tmp_path):
    rng = np.random.default_rng(0)

    def image(name: str) -> Image:
        return Image(rng.integers(0, 99, (4, 32, 32), np.uint8), tuple("abcd"), None, name)

    experiment = Experiment.from_images(
        {"untreated": [image("a"), image("b")], "treated": [image("c"), image("d")]}
    )
    run = make_run(tmp_path / "run", experiment, tiny_base)
    with pytest.raises(InputError, match=r"4 channels .* at most 3"):
        train(run, experiment)


def test_where_nothing_separates_conditions_nothing_is_done(
    tiny_base, tmp_path, experiment, monkeypatch
):
    """Eight images each are the fewest that tell whether conditions differ."""
    alike = Experiment.from_images(
        {
            name: [
                replace(image, data=np.rot90(image.data, k, (1, 2)).copy(), name=f"image_{i}")
                for i, image in enumerate(experiment.images)
            ]
            for name, k in (("untreated", 0), ("treated", 2))
        }
    )
    run = make_run(tmp_path / "run", alike, tiny_base)
    events = train(run, alike)
    for event in events:
        run.append(event)
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert "nothing is trained and translations will change nothing" in warned.message
    assert not any(isinstance(event, Step) for event in events)
    assert events[-1].step == 0
    assert run.state == "finished"
    assert run.has_adapter

    translator = Translator.from_run(run, device="cpu")
    assert translator.reference_channels == ("DNA", "marker")
    monkeypatch.setattr(translator, "evaluate", None)  # the network is not asked
    images = alike["untreated"].images
    for image, result in zip(images, translator.translate(images, EXACT), strict=True):
        np.testing.assert_array_equal(result.translated.data, image.data)
        np.testing.assert_array_equal(result.reconstructed.data, image.data)
        assert result.residual == 0
    one = replace(images[0], data=images[0].data[:1], channel_names=("DNA",))
    with pytest.raises(InputError, match="1 channel, "):
        list(translator.translate([one], EXACT))


def test_latents_in_a_file_train_the_same_weights(tiny_base, tmp_path, experiment, monkeypatch):
    adapters = []
    for kept, most in (("memory", 2**26), ("file", 0)):
        monkeypatch.setattr(latents_module, "MOST_IN_MEMORY", most)
        run = make_run(tmp_path / kept, experiment, tiny_base)
        train(run, experiment)
        adapters.append({p.name: p.read_bytes() for p in run.adapter_path.glob("*.safetensors")})
    assert adapters[0] == adapters[1]
    assert adapters[0]


def test_previews_that_a_killed_training_lost_are_made_again(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, preview_every=2)
    for event in finetune(experiment, run.config, run):
        run.append(event)
        if isinstance(event, Saved):
            break  # as if killed between the checkpoint and the preview of step 2
    assert not (run.path / "previews").exists()
    for event in train(run, experiment, resume=True):
        run.append(event)
    shown = [event.step for event in run.events()[0] if isinstance(event, Preview)]
    assert shown == [2, 4]
    assert all((run.path / e.path).exists() for e in run.events()[0] if isinstance(e, Preview))


def test_previews_that_are_there_are_not_made_again(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, preview_every=2)
    for event in finetune(experiment, run.config, run):
        run.append(event)
        if isinstance(event, Preview):
            break
    events = train(run, experiment, resume=True)
    assert [event.step for event in events if isinstance(event, Preview)] == [4]


def test_only_the_ends_of_paths_of_a_large_field_are_kept(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base)
    train(run, experiment)
    translator = Translator.from_run(run.path, device="cpu")
    tile = translator.base.tile
    first = experiment["untreated"].images[0]
    data = np.tile(first.data, (1, 8, 8))[:, : 6 * tile, : 6 * tile]
    large = replace(first, data=data)
    config = TranslationConfig(
        source="untreated", target="treated", inference_steps=6, batch_size=4,
        fixed_point_iterations=1,
    )  # fmt: skip
    paths: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    invert = translator.invert

    def counting(latents, config):
        alive.append(sum(one() is not None for one in paths))
        found = invert(latents, config)
        paths.extend(weakref.ref(one) for one in found.path)
        return found

    translator.invert = counting
    list(translator.translate([large], config))
    assert len(alive) > 5
    # That of the batch before, and no others.
    assert max(alive) == len(paths) / len(alive)
