from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.conditioning import ConditionTokens
from napari_phenldiff.diffusion.sample import sample
from napari_phenldiff.diffusion.schedule import Schedule
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.intensity import IntensityScaling


def make_translator(folder, experiment, seed=0):
    base = BaseModel.load(str(folder))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 4, base.token_width, generator=generator)
    tokens = ConditionTokens(("untreated", "treated"), values, torch.zeros(4, base.token_width))
    tokens.requires_grad_(False)
    scaling = IntensityScaling.fit(experiment.images)
    return Translator(base, tokens, scaling, ("DNA", "marker"), precision="float32")


@pytest.mark.parametrize("kind", ["tiny_base", "tiny_stable_diffusion"])
def test_images_of_a_condition(kind, request, experiment):
    translator = make_translator(request.getfixturevalue(kind), experiment)
    images = sample(translator, "treated", 3, seed=5, inference_steps=4)
    side = translator.base.tile
    assert images.shape == (3, 2, side, side)
    assert images.dtype == np.float32
    assert images.min() >= -1
    assert images.max() <= 1
    assert np.abs(images[0] - images[1]).max() > 0.01


def test_noise_belongs_to_the_image(tiny_base, experiment):
    translator = make_translator(tiny_base, experiment)

    def make(n=4, seed=5, **options):
        return sample(translator, "treated", n, seed=seed, inference_steps=3, **options)

    images = make()
    np.testing.assert_allclose(images, make(batch_size=3), atol=1e-4)
    np.testing.assert_allclose(images[:2], make(2), atol=1e-4)
    assert np.abs(images - make(seed=6)).max() > 0.01
    # neighbouring seeds share no image, as they would if seeds were added to numbers
    assert np.abs(images[1:] - make(seed=6)[:-1]).max(axis=(1, 2, 3)).min() > 0.01


def test_condition_and_guidance_matter(tiny_base, experiment):
    translator = make_translator(tiny_base, experiment)

    def make(condition="treated", guidance=1.0):
        return sample(translator, condition, 2, seed=1, inference_steps=3, guidance=guidance)

    plain = make()
    assert np.abs(plain - make("untreated")).max() > 1e-3
    assert np.abs(plain - make(guidance=4.0)).max() > 1e-3
    # guidance 0 is the prediction of the null tokens, whatever the condition
    np.testing.assert_allclose(make(guidance=0.0), make("untreated", 0.0), atol=1e-5)


def test_a_perfect_network_ends_where_the_schedule_says(tiny_base, experiment):
    """Where every image is the same, deterministic steps lead there from any noise."""
    translator = make_translator(tiny_base, experiment)
    wanted = translator.base.encode(experiment.images[0].data[None].astype(np.float32) / 128 - 1)
    alphas = translator.base.alphas_cumprod

    class Perfect:
        config = translator.base.unet.config

        def __call__(self, x, t, encoder_hidden_states):
            phi = np.arccos(np.sqrt(alphas[t]))
            v = (float(np.cos(phi)) * x - wanted) / float(np.sin(phi))
            return type("Output", (), {"sample": v})

    translator.base = replace(translator.base, unet=Perfect())
    images = sample(translator, "treated", 2, seed=0, inference_steps=7)
    expected = translator.base.decode(wanted, 2)
    np.testing.assert_allclose(images, np.repeat(expected, 2, 0), atol=1e-3)


def test_number_of_network_passes(tiny_base, experiment):
    translator = make_translator(tiny_base, experiment)
    asked = []
    original = translator.base.unet

    class Watched:
        config = original.config

        def __call__(self, x, t, encoder_hidden_states):
            asked.append((len(x), t))
            return original(x, t, encoder_hidden_states=encoder_hidden_states)

    translator.base = replace(translator.base, unet=Watched())
    sample(translator, "treated", 3, seed=0, inference_steps=2, batch_size=2)
    schedule = Schedule.from_alphas(translator.base.alphas_cumprod, "v_prediction", steps=2)
    middle, last = schedule.timesteps
    assert asked == [(2, last), (2, middle), (1, last), (1, middle)]
    assert last == len(translator.base.alphas_cumprod) - 1
    # guidance asks twice at once
    asked.clear()
    sample(translator, "treated", 1, seed=0, inference_steps=1, guidance=2.0)
    assert asked == [(2, last)]


def test_unknown_condition(tiny_base, experiment):
    translator = make_translator(tiny_base, experiment)
    with pytest.raises(InputError, match="no condition 'other'"):
        sample(translator, "other", 1, seed=0)
