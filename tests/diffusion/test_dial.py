"""A dial renders what a translation at that strength gives, without inverting again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.diffusion.dial import DRAFT_STEPS, Dial
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.translate import Cancelled, Translator
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run

CONFIG = TranslationConfig(
    source="untreated", target="treated", inference_steps=25, fixed_point_iterations=2
)


@pytest.fixture(scope="module")
def images() -> list[Image]:
    rng = np.random.default_rng(1)
    sizes = [(32, 32), (40, 70)]
    return [
        Image(rng.integers(0, 200, (2, *size), dtype=np.uint8), ("DNA", "marker"), None, f"i{k}")
        for k, size in enumerate(sizes)
    ]


@pytest.fixture
def translator(tiny_base: Path, experiment: Experiment, tmp_path: Path) -> Translator:
    config = TrainingConfig(
        conditions=("untreated", "treated"),
        base=str(tiny_base),
        layers="attention",
        lora_alpha=14.0,
        steps=3,
        batch_size=4,
        learning_rate=0.05,
        token_learning_rate=0.5,
        reference_channels=(),
        ema=0.0,
        warmup=0,
    )
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.from_experiment(tmp_path / "run", config, experiment=experiment, scaling=scaling)
    list(finetune(experiment, config, run))
    return Translator.from_run(run, device="cpu", precision="float32")


def passes(translator: Translator) -> list[int]:
    """Count the network's passes."""
    counted: list[int] = []

    def should_stop() -> bool:
        counted.append(1)
        return False

    translator.should_stop = should_stop
    return counted


@pytest.mark.parametrize("which", [0, 1])
def test_a_dial_shows_what_a_translation_shows(translator: Translator, images, which: int):
    image = images[which]
    dial = translator.dial(image, CONFIG)
    for strength in (0.5, 1.7):
        wanted = CONFIG.model_copy(update={"strength": strength})
        (expected,) = translator.translate([image], wanted)
        assert np.abs(expected.translated.data.astype(int) - image.data).max() > 2
        got = dial.at(strength)
        assert got.data.dtype == image.data.dtype
        assert got.name == image.name
        # batches of other sizes round otherwise
        np.testing.assert_allclose(got.data.astype(int), expected.translated.data, atol=1)
    np.testing.assert_array_equal(dial.at(0.0).data, expected.reconstructed.data)


@pytest.mark.parametrize("changes", [{"target": "untreated"}, {"strength": 0.0}])
def test_what_only_reconstructs_is_the_reconstruction(translator: Translator, images, changes):
    config = CONFIG.model_copy(update=changes | {"inversion_tolerance": 0.0})
    counted, told = passes(translator), []
    translator.on_part = lambda images, done, total: told.append((done, total))
    (found,) = translator.translate(images[:1], config)
    np.testing.assert_array_equal(found.translated.data, found.reconstructed.data)
    steps = len(translator.schedule(config).timesteps)
    assert len(counted) == steps * (config.fixed_point_iterations + 1)
    # the progress counts steps of the inversion, however many passes they take
    total = translator.passes(config)
    assert told == [(done, total) for done in range(1, total + 1)]


def test_guided_from_the_null_tokens_an_image_changes_in_its_own_condition(translator, images):
    config = CONFIG.model_copy(
        update={"target": "untreated", "guidance_from": "null", "guidance": 3.0}
    )
    assert not translator.only_reconstructs(config)
    (found,) = translator.translate(images[:1], config)
    assert np.abs(found.translated.data.astype(int) - found.reconstructed.data).max() > 2


def test_a_rough_look_comes_first_and_is_near(translator: Translator, images):
    dial = translator.dial(images[0], CONFIG)
    dial.prepare()
    counted = passes(translator)
    renderings = dial.render(0.6)
    rough = next(renderings)
    assert len(counted) == DRAFT_STEPS
    assert not rough.exact
    exact = next(renderings)
    assert exact.exact
    assert next(renderings, None) is None
    assert len(counted) == DRAFT_STEPS + 20
    source = dial.at(0.0).data.astype(float)
    change = exact.image.data - source
    missed = np.sqrt(((rough.image.data - source - change) ** 2).mean() / (change**2).mean())
    assert missed < 0.35


def test_what_was_seen_is_seen_again_at_once(translator: Translator, images):
    dial = translator.dial(images[0], CONFIG)
    seen = dial.at(0.5).data
    counted = passes(translator)
    for strength in (0.0, 1.0, 0.5):
        (rendering,) = dial.render(strength)
        assert rendering.exact
    assert counted == []
    np.testing.assert_array_equal(rendering.image.data, seen)


def test_the_tile_that_is_looked_at_comes_first(translator: Translator, images):
    image = images[1]
    dial = translator.dial(image, CONFIG)
    assert dial.n_tiles > 2
    before = dial.at(1.0).data
    rendering = next(dial.render(0.0001 + 2.0, near=(20, 69)))
    changed = np.flatnonzero((rendering.image.data != before).any(axis=(0, 1)))
    assert changed.min() > 30, "only the right end has changed"


def test_a_stack_keeps_a_dial_for_each_image(translator: Translator, images):
    plain = list(translator.translate(images, CONFIG))
    kept = list(translator.translate(images, CONFIG, keep=True))
    assert all(t.dial is None for t in plain)
    for image, translation in zip(images, kept, strict=True):
        assert isinstance(translation.dial, Dial)
        assert translation.dial.image is image
        np.testing.assert_array_equal(translation.dial.at(1.0).data, translation.translated.data)
        assert 0 < translation.dial.nbytes < 20 * image.data.nbytes + 2**20


def test_an_anchored_dial_is_exact_at_once(translator: Translator, images):
    anchored = CONFIG.model_copy(update={"anchor": 0.5})
    dial = translator.dial(images[0], anchored)
    (rendering,) = dial.render(0.5)
    assert rendering.exact
    half = anchored.model_copy(update={"strength": 0.5})
    (expected,) = translator.translate([images[0]], half)
    np.testing.assert_allclose(rendering.image.data.astype(int), expected.translated.data, atol=1)


def test_a_turn_can_be_given_up(translator: Translator, images):
    dial = translator.dial(images[0], CONFIG)
    before = dial.at(1.0).data
    renderings = dial.render(0.3)
    next(renderings)
    translator.should_stop = lambda: True
    with pytest.raises(Cancelled):
        next(renderings)
    np.testing.assert_array_equal(dial.at(1.0).data, before)
