"""Images that differ from those of the run give warnings, or are refused."""

from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.suitability import Suitability

SIZE = (0.5, 0.5)


def image(name, low, high, dtype, seed=0, pixel_size=SIZE):
    values = np.random.default_rng(seed).uniform(low, high, (2, 32, 32))
    return Image(values.astype(dtype), ("DNA", "GFP"), pixel_size, name)


@pytest.fixture
def run_of(tmp_path):
    def make(low, high, dtype):
        experiment = Experiment.from_images(
            {
                name: [image(f"{name}{i}", low, high, dtype, 10 * k + i) for i in range(2)]
                for k, name in enumerate(("x", "y"))
            }
        )
        return Run.from_experiment(
            tmp_path / "run",
            TrainingConfig(conditions=("x", "y")),
            experiment=experiment,
            scaling=IntensityScaling.fit(experiment.images),
        )

    return make


def told(run, *images):
    suitability = Suitability(run)
    for one in images:
        suitability.add("x", one)
    suitability.check()
    return suitability.warnings()


def test_images_like_those_trained_on(run_of):
    assert told(run_of(10, 200, np.uint8), image("a", 10, 200, np.uint8, 50)) == ()


@pytest.mark.parametrize(
    ("trained", "given"),
    [
        ((10, 250, np.uint8), (200, 4000, np.uint16)),
        ((10, 250, np.uint8), (0, 1, np.float32)),
        ((0, 250, np.uint8), (0, 1, np.float32)),
        ((200, 4000, np.uint16), (10, 250, np.uint8)),
        ((0, 4000, np.uint16), (0, 250, np.uint8)),
        ((0, 1, np.float32), (200, 4000, np.uint16)),
    ],
)
def test_another_depth_or_scale_is_refused(run_of, trained, given):
    with pytest.raises(InputError, match="of the same depth and scale") as error:
        told(run_of(*trained), image("a", *given))
    assert np.dtype(trained[2]).name in str(error.value)
    assert np.dtype(given[2]).name in str(error.value)


def test_the_same_values_of_another_type_are_told(run_of):
    (text,) = told(run_of(200, 4000, np.uint16), image("a", 200, 4000, np.float32, 50))
    assert text.startswith("The images are float32, but the run was trained on uint16")


def test_how_much_lies_outside_is_told(run_of):
    run = run_of(200, 2000, np.uint16)
    texts = told(run, image("a", 200, 3800, np.uint16))
    assert len(texts) == 2
    assert "of the pixels in channel DNA lie outside" in texts[0]
    part = int(texts[0].split("%")[0])
    assert 45 < part < 55
    assert "cut off" in texts[0]


def test_few_pixels_that_are_much_brighter_are_told_without_a_warning(run_of):
    run = run_of(0, 200, np.uint16)
    suitability = Suitability(run)
    bright = image("spots", 0, 190, np.uint16)
    bright.data[1, :2, :2] = 3000
    suitability.add("x", bright)
    assert suitability.warnings() == ()
    (told,) = suitability.about_brightest()
    assert told.startswith("4 pixels of GFP are brighter than the intensities")
    assert "here up to 3000" in told
    usual = Suitability(run)
    usual.add("x", image("usual", 0, 200, np.uint16))
    assert usual.about_brightest() == ()


def test_one_bright_image_among_many_is_named(run_of):
    run = run_of(200, 2000, np.uint16)
    many = [image(f"a{i}", 200, 1990, np.uint16, i) for i in range(30)]
    bright = image("bright", 200, 2200, np.uint16, 99)
    assert told(run, *many) == ()
    texts = told(run, *many, bright)
    assert len(texts) == 2
    assert "of bright in channel DNA" in texts[0]


def test_reference_channels_are_kept_and_need_no_warning(run_of, monkeypatch):
    monkeypatch.setattr(Run, "reference_channels", ("DNA",))
    (text,) = told(run_of(200, 2000, np.uint16), image("a", 200, 3800, np.uint16))
    assert "channel GFP" in text


def test_another_pixel_size_is_told(run_of):
    run = run_of(10, 200, np.uint8)
    (text,) = told(run, image("a", 10, 200, np.uint8, 50, pixel_size=(0.25, 0.25)))
    assert text.startswith("The pixel size is 0.25 × 0.25 µm, but the run was trained on 0.5 × 0.5")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(run_of, value):
    broken = image("a", 10, 200, np.float32)
    broken.data[0, 0, 0] = value
    with pytest.raises(InputError, match='Image "a" holds values that are not finite'):
        told(run_of(10, 200, np.uint8), broken)


def test_a_run_of_an_earlier_version_tells_no_types(run_of):
    run = run_of(10, 200, np.uint8)
    run._record = run.record.model_copy(update={"dtypes": (), "pixel_sizes": ()})
    assert told(run, image("a", 10, 200, np.uint16, 50, pixel_size=None)) == ()
