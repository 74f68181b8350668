from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import choose, cut_tiles
from napari_phenldiff.evaluation.controls import (
    Measured,
    control_effect,
    null_config,
)
from napari_phenldiff.images.controls import control_experiment
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.wells import well_of
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.runs.config import TranslationConfig

CONFIG = TranslationConfig(source="a", target="b")
WELL = r"^[A-Z]\d"


def square(side, name, seed):
    plane = np.random.default_rng(seed).normal(10, 1, (40, 40))
    plane[:side, :side] += 100
    return Image(plane[None].astype(np.float32), ("stain",), None, name)


def group(letter, n, side):
    return [square(side + k % 3, f"{letter}{k // 4}_f{k}", 100 * side + k) for k in range(n)]


@pytest.fixture
def experiment():
    return Experiment.from_images({"a": group("A", 16, 8), "b": group("B", 16, 24)})


@pytest.fixture
def measured():
    return Measured("area", AreaSettings(), {"area": 60.0}, "area_fraction")


@dataclass
class Made:
    translated: Image
    reconstructed: Image


class Moves:
    """Draws a square of the mean size that it saw in the target condition."""

    def __init__(self, experiment, seed=0):
        self.sizes = {
            c.name: round(np.mean([np.sqrt((i.data > 60).sum()) for i in c.images]))
            for c in experiment.conditions
        }

    def translate(self, images, config):
        step = self.sizes[config.target] - self.sizes[config.source]
        for image in images:
            side = round(np.sqrt((image.data > 60).sum()))
            yield Made(square(side + step, image.name, 1), image)


def trained(kind, experiment, train, images, measured, seed=0):
    """Train on conditions that do not differ, and measure what is found there nevertheless."""
    false = control_experiment(kind, experiment, "a", seed=seed)
    names = dict(zip(("source", "target"), false.names, strict=True))
    return control_effect(train(false, seed), images, CONFIG.model_copy(update=names), measured)


def test_what_is_trained_on_shuffled_conditions_shows_little(experiment, measured):
    images = experiment["a"].images[:8]
    honest = control_effect(Moves(experiment), images, CONFIG, measured)
    assert honest.low > 0.2
    for kind in ("shuffled", "half-split"):
        found = [trained(kind, experiment, Moves, images, measured, seed) for seed in range(3)]
        assert len(found) == 3
        assert max(abs(effect.shift) for effect in found) < honest.shift / 2


def test_a_planted_leak_is_found(experiment, measured):
    # it looks up what images really were, whatever it is told
    leak = Moves(experiment)
    leaking = replace_conditions(leak)
    images = experiment["a"].images[:8]
    found = trained("shuffled", experiment, lambda *_: leaking, images, measured)
    assert found.shown(0.05)
    assert found.low > 0.2


def replace_conditions(translator):
    class Leaking:
        def translate(self, images, config):
            return translator.translate(images, CONFIG)

    return Leaking()


def test_wells_are_counted_once(experiment, measured):
    images = experiment["a"].images
    by_well = replace(measured, wells=WELL)
    found = control_effect(Moves(experiment), images, CONFIG, by_well)
    assert found.n_before == 4
    assert control_effect(Moves(experiment), images, CONFIG, measured).n_before == 16


def test_the_null_translation_goes_nowhere():
    config = null_config(CONFIG.model_copy(update={"guidance": 3.0}))
    assert (config.source, config.target, config.guidance) == ("a", "a", 3)


def test_choice_leaves_out_what_was_trained_on_and_is_even_over_wells(experiment):
    trained = {sha256_of_array(i.data) for i in experiment["a"].images[:3]}
    chosen = choose(experiment, trained, 4, wells=WELL)
    assert chosen.left_out == 3
    assert chosen.trained_on == 0
    assert len({well_of(i.name, WELL) for i in chosen.sources}) == 4
    assert chosen.real_source[:4] == chosen.sources
    assert (len(chosen.real_source), len(chosen.real_target)) == (8, 8)
    assert {image.sha256 for image in chosen.more_source} == trained
    assert chosen.measured == ((*chosen.real_source, *chosen.more_source), chosen.real_target)
    again = choose(experiment, trained, 4, wells=WELL)
    assert [i.name for i in again.sources] == [i.name for i in chosen.sources]
    with pytest.raises(InputError, match="take at least 2"):
        choose(experiment, (), 1)
    with pytest.raises(InputError, match="same name"):
        choose(experiment, (), 4, paired=True)


def test_tiles_know_their_image():
    data = np.arange(2 * 10 * 7).reshape(2, 10, 7)
    tiles, names = cut_tiles([Image(data, ("x", "y"), None, "one")], 5)
    assert names == ["one"] * 2
    np.testing.assert_array_equal(tiles[1], data[:, 5:10, :5])
    assert well_of("B07_f3", None) == "B07_f3"
    assert well_of("r1_B07", r"(r\d)_([A-Z])") == "r1 B"
    assert well_of("nothing", r"^[A-H]\d+") == "nothing"


def test_an_effect_as_part_of_another(measured):
    from napari_phenldiff.evaluation.evidence import Effect

    one = Effect(2, 1, 3, 0.01, 0.001, 9, 9)
    assert replace(one, low=-0.2, high=0.1).share_of(one) == (0, pytest.approx(0.1))
    assert replace(one, low=-3, high=-1).share_of(one) == (0.5, 1.5)
    assert all(map(math.isnan, replace(one, low=math.nan).share_of(one)))


def test_images_that_guidance_was_chosen_on_are_left_out_where_others_are_enough(experiment):
    tuned = {image.sha256 for c in experiment.conditions for image in c.images[:4]}
    chosen = choose(experiment, (), 6, calibrated=tuned, wells=WELL)
    images = (*chosen.real_source, *chosen.real_target)
    assert not tuned & {image.sha256 for image in images}
    assert (chosen.aside, chosen.calibrated_on) == (8, 0)
    # of few images they are used, and that is told
    tuned = {image.sha256 for c in experiment.conditions for image in c.images[:12]}
    few = choose(experiment, (), 6, calibrated=tuned, wells=WELL)
    used = [image for image in (*few.real_source, *few.real_target) if image.sha256 in tuned]
    assert len(used) == few.calibrated_on > 0
    assert few.aside == 0
