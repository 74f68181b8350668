from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_phenldiff.evaluation.cycle import (
    Cycle,
    LatentCycles,
    back_again,
    cycle_error,
    is_latent,
    latent_cycle,
)
from napari_phenldiff.evaluation.document import _cycle
from napari_phenldiff.evaluation.numbers import Spread
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling, OwnRange
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.viewer import evaluations

CONFIG = TranslationConfig(source="a", target="b")


def image(*levels, side=4, dtype=np.uint8):
    data = np.stack([np.full((side, side), level, dtype) for level in levels])
    names = tuple(f"c{k}" for k in range(len(levels)))
    return Image(data, names, None, "field")


@pytest.fixture
def scaling():
    ramp = np.arange(101, dtype=np.uint8).reshape(1, 1, -1)
    both = Image(np.concatenate([ramp, 2 * ramp]), ("c0", "c1"), None, "ramp")
    return IntensityScaling.fit([both], percentiles=(0, 100))


def test_the_norm_is_that_of_the_paper_and_the_error_is_per_pixel(scaling):
    assert (tuple(scaling.low), tuple(scaling.high)) == ((0, 0), (100, 200))
    found = cycle_error([image(50, 50)] * 2, [image(60, 50), image(50, 50)], scaling)
    # 10 of 100 grey values in 16 of 32 pixels
    assert found.norm == pytest.approx([255 * 0.1 * 4, 0])
    assert found.rmse == pytest.approx([0.1 / np.sqrt(2), 0])
    np.testing.assert_allclose(found.rmse_grey, [[10, 0], [0, 0]])


def test_bytes_do_not_wrap(scaling):
    found = cycle_error([image(0, 0)], [image(255, 0)], scaling)
    assert found.rmse_grey[0, 0] == 255


def test_other_shapes_are_refused(scaling):
    with pytest.raises(ValueError, match="shapes"):
        cycle_error([image(0, 0)], [image(0, 0, side=5)], scaling)


@dataclass
class Made:
    translated: Image
    reconstructed: Image


class Brighter:
    """A translator that is not the inverse of its way back."""

    def translate(self, images, config):
        step = 10 if (config.source, config.target) == ("a", "b") else -7
        for one in images:
            yield Made(replace(one, data=(one.data.astype(int) + step).astype(np.uint8)), one)


def test_any_translator_can_be_cycled(scaling):
    there = list(Brighter().translate([image(50, 50)], CONFIG))
    back = back_again(Brighter(), [one.translated for one in there], CONFIG)
    assert there[0].translated.data.max() == 60
    assert cycle_error([image(50, 50)], back, scaling).rmse_grey.tolist() == [[3, 3]]
    assert not is_latent(Brighter())


class Base:
    tile, multiple = 4, 1

    def encode(self, tiles):
        return torch.from_numpy(np.round(tiles, 1))

    def decode(self, latents, channels):
        return latents.numpy()


class Latent:
    """Turns latents by what `invert` and `generate` are told, and loses a tenth on the way back."""

    base = Base()

    def __init__(self, scaling):
        self.scaling = scaling

    def invert(self, latents, config):
        return latents

    def generate(self, latents, config):
        return -latents if config.source == "a" else -0.9 * latents


def test_the_latent_cycle_and_the_floor(scaling):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 100, (2, 4, 4)).astype(np.uint8)
    noisy = Image(data, ("c0", "c1"), None, "noise")
    translator = Latent(scaling)
    assert is_latent(translator)
    found = latent_cycle(translator, [noisy], CONFIG)
    latents = np.round(scaling.apply(data), 1)
    assert found.rmse[0] == pytest.approx(0.1 * np.sqrt(np.square(latents).mean()), rel=1e-4)
    assert found.relative[0] == pytest.approx(found.rmse[0] / latents.std(ddof=1), rel=1e-4)
    floor = (latents - scaling.apply(data)) / 2
    assert found.floor[0] == pytest.approx(np.sqrt(np.square(floor).mean()), rel=1e-4)
    assert found.floor_norm[0] == pytest.approx(255 * np.sqrt(np.square(floor).sum()), rel=1e-4)
    assert latent_cycle(translator, [], CONFIG).rmse.shape == (0,)


def test_on_the_way_back_an_image_has_the_grey_values_of_its_condition():
    """A translated image keeps the brightness of its source, where conditions have their own."""
    own = (OwnRange("treated", (0.0,), (40.0,)),)
    scaling = IntensityScaling(("DNA",), (0.0,), (100.0,), (0.0,), own=own)
    seen = []

    class Copying:
        def __init__(self):
            self.scaling = scaling

        def translate(self, images, config):
            for image in images:
                seen.append((config.source, float(image.data.max())))
                yield SimpleNamespace(translated=image, reconstructed=image)

    image = Image(np.full((1, 4, 4), 50, np.uint8), ("DNA",), None, "a")
    config = TranslationConfig(source="untreated", target="treated")
    (back,) = back_again(Copying(), [image], config)
    assert seen == [("treated", pytest.approx(20))]
    np.testing.assert_allclose(back.data, image.data, rtol=1e-6)


def test_the_report_says_what_an_error_is_over_and_of_what_it_is_the_median():
    one, three = Spread.of([0.02]), Spread.of([0.01, 0.02, 0.03])
    part = Cycle(
        what="there and back",
        image_shape=(512, 512),
        norm=Spread.of([100, 200, 300]),
        rmse=three,
        rmse_grey={"DNA": three},
    )
    latent = LatentCycles(rmse=one, relative=one, floor=one, floor_norm=Spread.of([50]))
    given = SimpleNamespace(given=("DNA",))
    metrics = SimpleNamespace(cycle=(part,), latent_cycle=latent, identity=given)
    section = _cycle(metrics)
    whole, floor = section.table.to_dict("records")
    assert whole["N"] == "3 images"
    assert whole["L2 norm over all pixels and channels, at 0 to 255"] == "200 (150 to 250)"
    assert whole["RMSE over pixels and channels, of the range"] == "2 (1.5 to 2.5) %"
    assert "medians over images, with quartiles" in section.text
    assert "DNA, which the model is given and leaves as it is, counts" in section.text
    # of an image of 512 pixels, the first tile
    assert floor["N"] == "1 tile"
    assert floor["L2 norm over all pixels and channels, at 0 to 255"].endswith("of a tile")
    shown = dict(evaluations._cycle(metrics))
    assert shown == {
        "RMSE over pixels and channels, of the range, there and back": "2 (1.5 to 2.5) %, "
        "median of 3 images"
    }
