"""More channels than the autoencoder of a base takes, in groups."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage as ndi

from napari_phenldiff import merge, resume, train
from napari_phenldiff.diffusion.adaptation import LINKS
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.channel_groups import ChannelGroups
from napari_phenldiff.diffusion.packaged import packaged, translate_arrays
from napari_phenldiff.diffusion.references import given_latents
from napari_phenldiff.diffusion.sample import sample
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Noted, Step

NAMES = ("DNA", "ER", "RNA", "AGP", "Mito")
HOW = TranslationConfig(source="untreated", target="treated", inference_steps=5, depth=0.6)
STABLE = HOW.model_copy(update={"fixed_point_iterations": 1})
"""The network has random weights: iterations need not converge, and rounding would grow in them."""


@pytest.fixture(scope="module")
def painted() -> Experiment:
    """Four fields per condition with the five channels of Cell Painting."""
    rng = np.random.default_rng(0)

    def image(name: str, level: int) -> Image:
        planes = [ndi.gaussian_filter(rng.standard_normal((32, 32)), 3) for _ in NAMES]
        data = np.stack([(p - p.min()) / np.ptp(p) for p in planes])
        data[3] *= level / 200
        return Image(np.rint(200 * data).astype(np.uint8), NAMES, (0.5, 0.5), name)

    return Experiment.from_images(
        {
            condition: [image(f"{condition}{k}", level) for k in range(4)]
            for condition, level in (("untreated", 60), ("treated", 200))
        }
    )


def settings(base: Path, **values) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "base": str(base),
            "conditions": ("untreated", "treated"),
            "steps": 3,
            "batch_size": 2,
            "rank": 2,
            "warmup": 0,
            "device": "cpu",
            "precision": "float32",
            "validation_images": 0,
            "checkpoint_every": 2,
            **values,
        }
    )


@pytest.fixture(scope="module")
def run(tiny_stable_diffusion, painted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("groups") / "run"
    config = settings(tiny_stable_diffusion, reference_channels=("DNA",), preview_every=2)
    return train(painted, config, folder)


@pytest.mark.parametrize(
    ("channels", "references", "members"),
    [
        (2, (), ((0, 1),)),
        (5, (), ((0, 1), (2, 3, 4))),
        (5, (0,), ((1, 2), (3, 4), (0,))),
        (2, (1,), ((0,), (1,))),
        (4, (0, 2), ((1, 3), (0, 2))),
        (7, (), ((0, 1), (2, 3), (4, 5, 6))),
    ],
)
def test_channels_go_in_few_groups_and_references_in_their_own(channels, references, members):
    groups = ChannelGroups.of(channels, references, 3)
    assert groups.members == members
    told = groups.in_words((*NAMES, "a", "b")[:channels])
    assert f"{channels} channels go through it in {len(members)} group" in told


def test_every_channel_comes_back_in_its_place(tiny_stable_diffusion):
    plain = BaseModel.load(str(tiny_stable_diffusion))
    base = plain.in_groups(NAMES, ("ER",))
    assert base.groups.members == ((0, 2), (3, 4), (1,))
    assert base.latent_channels == 12
    images = np.random.default_rng(0).uniform(-1, 1, (2, 5, 32, 32)).astype(np.float32)
    latents = base.encode(images)
    made = base.decode(latents, 5)
    for members in base.groups.members:
        alone = plain.decode(plain.encode(images[:, members]), len(members))
        np.testing.assert_allclose(made[:, members], alone, atol=1e-5)
    given = given_latents(base, NAMES, ("ER",)).flatten().tolist()
    assert given == [False] * 8 + [True] * 4


def test_few_channels_stay_one_group(tiny_stable_diffusion, tiny_base):
    for folder in (tiny_stable_diffusion, tiny_base):
        base = BaseModel.load(str(folder))
        assert base.in_groups(NAMES[:3]) is base
    assert BaseModel.load(str(tiny_base)).in_groups(NAMES, ("DNA",)).groups is None


def test_before_training_a_group_is_what_the_base_makes_of_it_alone(tiny_stable_diffusion):
    plain = BaseModel.load(str(tiny_stable_diffusion)).unet
    base = BaseModel.load(str(tiny_stable_diffusion)).in_groups(NAMES, ("DNA",))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 12, 8, 8, generator=generator)
    tokens = torch.randn(2, 6, 24, generator=generator)
    t = torch.tensor([100, 700])
    given = given_latents(base, NAMES, ("DNA",))
    with torch.no_grad():
        made = base.unet(x, t, encoder_hidden_states=tokens).sample
        some = base.unet(x, t, encoder_hidden_states=tokens, given=given).sample
        for k in range(3):
            part = slice(4 * k, 4 * k + 4), slice(2 * k, 2 * k + 2)
            alone = plain(x[:, part[0]], t, encoder_hidden_states=tokens[:, part[1]]).sample
            torch.testing.assert_close(made[:, part[0]], alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(some[:, :8], made[:, :8], rtol=1e-4, atol=1e-5)
        assert not some[:, 8:].any()
        # with weights between them, each group depends on every other one
        base.links.weight.normal_(0, 0.1, generator=generator)
        before = base.unet(x, t, encoder_hidden_states=tokens).sample
        x[:, 8:] += 1
        after = base.unet(x, t, encoder_hidden_states=tokens).sample
        assert (after - before)[:, :4].abs().max() > 1e-3
        assert (after - before)[:, 4:8].abs().max() > 1e-3


def test_the_whole_way(run, painted):
    assert run.state == "finished"
    told = [event.message for event in run.events()[0] if isinstance(event, Noted)]
    assert any("3 groups" in text and "ER, RNA; AGP, Mito; DNA" in text for text in told)
    assert any("between groups of channels" in text for text in told)
    assert run.reference_channels == ("DNA",)
    links = load_file(run.adapter_path / LINKS)["weight"]
    assert links.shape == (3, 32, 8, 3, 3)
    assert links.abs().max() > 0
    assert load_file(run.adapter_path / "condition_tokens.safetensors")["null"].shape == (12, 24)
    translator = Translator.from_run(run, device="cpu", precision="float32")
    image = painted["untreated"].images[0]
    (found,) = translator.translate([image], HOW)
    np.testing.assert_array_equal(found.translated.data[0], image.data[0])
    assert (found.translated.data[1:] != found.reconstructed.data[1:]).any()
    assert found.translated.channel_names == NAMES
    dial = translator.dial(image, HOW)
    np.testing.assert_array_equal(dial.at(1.0).data, found.translated.data)
    assert sample(translator, "treated", 1, seed=0, inference_steps=3).shape == (1, 5, 32, 32)


def test_the_references_are_seen_by_the_others(run, painted):
    translator = Translator.from_run(run, device="cpu", precision="float32")
    image = painted["untreated"].images[0]
    other = image.data.copy()
    other[0] = other[0, ::-1]
    with torch.no_grad():
        translator.base.links.weight.mul_(100)
    both = translator.translate([image, replace(image, data=other)], HOW)
    one, two = (found.translated.data[1:].astype(int) for found in both)
    assert np.abs(one - two).max() > 0


def test_a_resume_repeats_the_numbers(tiny_stable_diffusion, painted, tmp_path):
    config = settings(tiny_stable_diffusion, steps=4)
    whole = train(painted, config, tmp_path / "whole")
    asked = iter([False, True])
    part = train(painted, config, tmp_path / "part", should_stop=lambda: next(asked))
    assert part.state == "stopped"
    part = resume(part)
    for name in (LINKS, "condition_tokens.safetensors", "pytorch_lora_weights.safetensors"):
        one, two = (load_file(found.adapter_path / name) for found in (whole, part))
        for key in one:
            assert torch.equal(one[key], two[key])
    losses = [event.loss for event in whole.events()[0] if isinstance(event, Step)]
    assert np.isfinite(losses).all()


def test_a_merged_run_translates_alike_and_is_trained_further(run, painted, tmp_path):
    merged = merge(run, tmp_path / "merged")
    assert not (merged.path / "model_index.json").exists()
    told = [event.message for event in merged.events()[0] if isinstance(event, Noted)]
    assert any("pipelines of diffusers" in text for text in told)
    image = painted["untreated"].images[0]
    both = (Translator.from_run(one, device="cpu", precision="float32") for one in (run, merged))
    one, two = (next(translator.translate([image], STABLE)) for translator in both)
    difference = one.translated.data.astype(int) - two.translated.data
    assert np.abs(difference).max() <= 1
    slow = {"learning_rate": 1e-9, "token_learning_rate": 1e-9, "steps": 1}
    config = settings(merged.path, reference_channels=("DNA",), **slow)
    further = train(painted, config, tmp_path / "on")
    for name in (LINKS, "condition_tokens.safetensors"):
        before, after = (load_file(found.adapter_path / name) for found in (run, further))
        for key in before:
            torch.testing.assert_close(before[key], after[key], rtol=0, atol=1e-3)


def test_a_package_translates_alike(run, painted):
    network, arguments = packaged(run, STABLE)
    assert json.loads(json.dumps(arguments)) == arguments
    image = painted["untreated"].images[0]
    pixels = image.data.astype(np.float32)
    translated, _ = translate_arrays(network, pixels[None])
    translator = Translator.from_run(run, device="cpu", precision="float32")
    (found,) = translator.translate([replace(image, data=pixels)], STABLE)
    np.testing.assert_allclose(translated[0], found.translated.data, atol=0.5)


def test_an_adapter_of_other_groups_is_refused(run, tmp_path):
    folder = shutil.copytree(run.path, tmp_path / "run")
    path = folder / "adapter" / LINKS
    size = path.stat().st_size
    save_file({"weight": load_file(path)["weight"].reshape(3, 32, 8, 9, 1)}, path)
    assert path.stat().st_size == size  # another size would be an adapter that is not complete
    with pytest.raises(InputError, match="other groups of channels"):
        Translator.from_run(folder, device="cpu")


def test_references_that_are_all_channels_are_refused(tiny_stable_diffusion, painted, tmp_path):
    config = settings(tiny_stable_diffusion, reference_channels=NAMES)
    with pytest.raises(InputError, match="none is left to translate"):
        train(painted, config, tmp_path / "run")
