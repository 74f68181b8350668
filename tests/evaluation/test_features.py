from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation import efficientnet
from napari_phenldiff.evaluation.distances import kernel_distance
from napari_phenldiff.evaluation.features import extract_features
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.simulate import simulate_pairs

_CATS = (281, 282, 283, 284, 285)
_ESPRESSO = 967


@pytest.fixture(scope="module")
def network():
    return efficientnet.EfficientNetLite0.load()


def tiles(n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2, 40, 56)).astype(np.float32)


@pytest.mark.parametrize(("name", "classes"), [("chelsea", _CATS), ("coffee", (_ESPRESSO,))])
def test_network_recognises_what_it_was_trained_on(network, name, classes):
    import torch
    from skimage import data, transform

    picture = getattr(data, name)()
    side = min(picture.shape[:2])
    left = (picture.shape[1] - side) // 2
    picture = transform.resize(picture[:side, left : left + side], (224, 224), anti_aliasing=True)
    pixels = torch.from_numpy((2 * picture - 1).transpose(2, 0, 1)[None].astype(np.float32))
    with torch.no_grad():
        chances = network.classes(network.features(pixels)).softmax(1)[0]
    assert chances[list(classes)].sum() > 0.8


def test_every_weight_of_the_file_is_used_once():
    table = files("napari_phenldiff") / "evaluation" / "efficientnet_lite0.json"
    read = efficientnet._reader()
    asked = {}

    def watch(name, shape):
        assert name not in asked
        asked[name] = int(np.prod(shape))
        return read(name, shape)

    efficientnet._from_reader(watch)
    offsets = json.loads(table.read_text(encoding="utf-8"))
    assert set(asked) == set(offsets)
    # no two overlap
    spans = sorted((offset, offset + 4 * asked[name]) for name, offset in offsets.items())
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_features_belong_to_image_and_channel():
    images = tiles(5)
    found = extract_features(images, batch_size=3, device="cpu")
    assert found.values.shape == (5, 2, 1280)
    assert found.values.dtype == np.float32
    assert "EfficientNet-Lite0" in found.name
    single = extract_features(images[3:4, 1:], device="cpu")
    np.testing.assert_allclose(found.values[3, 1], single.values[0, 0], rtol=1e-3, atol=1e-4)
    assert np.abs(found.values[3, 1] - found.values[3, 0]).max() > 1e-2


def test_features_see_intensities():
    """Nothing is stretched per image: a dim image does not look like a bright one."""
    images = tiles(1)
    dim = (images + 1) * 0.2 - 1
    bright, dimmed = (extract_features(x, device="cpu").values for x in (images, dim))
    assert np.abs(bright - dimmed).max() > 0.1


def test_distance_finds_a_phenotype():
    # other cells on the two sides, as in an experiment
    source = [pair.source for pair in simulate_pairs("golgi", 24, size=96)]
    target = [pair.target for pair in simulate_pairs("golgi", 24, size=96, first=24)]
    scaling = IntensityScaling.fit([*source, *target])
    a, b = (
        extract_features(np.stack([scaling.apply(image.data) for image in side]), device="cpu")
        for side in (source, target)
    )
    halves = kernel_distance(*(replace(a, values=a.values[k::2]) for k in (0, 1)))
    assert halves.low < 0 < halves.high
    assert kernel_distance(a, b).low > 0
    # the first channel changes, the others only follow the cells
    changed, *others = (kernel_distance(a.channel(c), b.channel(c)) for c in range(3))
    assert changed.low > 0
    assert all(other.low < 0 < other.high for other in others)


@pytest.mark.parametrize("images", [np.zeros((2, 8, 8)), np.full((1, 1, 8, 8), 255.0)])
def test_what_are_no_images(images):
    with pytest.raises(ValueError, match="images"):
        extract_features(images)


def test_not_a_number_is_refused():
    images = tiles(1)
    images[0, 0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="scaled"):
        extract_features(images)


def test_without_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"napari-phenldiff\[metrics\]"):
        efficientnet.EfficientNetLite0.load()


def test_other_weights_are_not_read(monkeypatch):
    monkeypatch.setattr(efficientnet, "_SHA256", "0" * 64)
    with pytest.raises(InputError, match="not those that are known"):
        efficientnet.EfficientNetLite0.load()
