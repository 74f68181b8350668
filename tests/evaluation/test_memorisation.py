from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import Chosen
from napari_phenldiff.evaluation.memorisation import agreement, find_copies, nearest_training
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling


def noise(n, shape=(2, 12, 12), seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype(np.float32)


def cosine(a, b):
    a, b = a.astype(float).ravel(), b.astype(float).ravel()
    return a @ b / np.sqrt((a @ a) * (b @ b))


def views(image):
    for flipped in (image, image[..., ::-1]):
        yield from (np.rot90(flipped, k, (1, 2)) for k in range(4))


def centred(image):
    return image - image.mean((1, 2), keepdims=True)


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_a_turned_training_image_is_found(turns, flip):
    training = noise(7)
    copy = np.rot90(training[4][..., ::-1] if flip else training[4], turns, (1, 2))
    found = nearest_training(copy[None], training, block=3)
    assert found.raw[0] == pytest.approx(1, abs=1e-6)
    assert found.centred[0] == pytest.approx(1, abs=1e-6)
    assert found.raw_index.tolist() == found.centred_index.tolist() == [4]
    assert found.n_training == 7
    assert found.raw.dtype == found.centred.dtype == np.float32


@pytest.mark.parametrize("block", [1, 4, 100])
def test_nearest_is_that_of_explicit_loops(block):
    images, training = noise(5, seed=1), noise(9)
    found = nearest_training(images, (image for image in training), block=block)
    for i, image in enumerate(images):
        raw = [max(cosine(image + 1, view + 1) for view in views(t)) for t in training]
        flat = [max(cosine(centred(image), centred(v)) for v in views(t)) for t in training]
        assert found.raw[i] == pytest.approx(max(raw), abs=1e-5)
        assert found.centred[i] == pytest.approx(max(flat), abs=1e-5)
        assert found.raw_index[i] == np.argmax(raw)
        assert found.centred_index[i] == np.argmax(flat)


def test_brightness_inflates_the_raw_similarity_alone():
    found = nearest_training(noise(6, seed=1), noise(6))
    assert found.raw.min() > 0.6
    assert found.centred.max() < 0.4


def test_dimmer_copies_with_an_offset_are_found():
    training = noise(3)
    found = nearest_training(0.3 * training[1:2] + 0.2, training)
    assert found.centred[0] == pytest.approx(1, abs=1e-6)
    assert found.centred_index.tolist() == [1]
    assert found.raw[0] < 0.99


def test_images_that_are_not_square():
    training = noise(4, (1, 8, 12))
    found = nearest_training(training[2:3, :, ::-1, ::-1], training)
    assert found.centred[0] == pytest.approx(1, abs=1e-6)


def test_an_image_without_contrast_is_like_nothing():
    grey, black = np.full((1, 1, 8, 8), 0.3, np.float32), np.full((1, 1, 8, 8), -1, np.float32)
    training = noise(4, (1, 8, 8))
    assert nearest_training(grey, training).centred.tolist() == [0]
    found = nearest_training(black, training)
    assert found.raw.tolist() == found.centred.tolist() == [0]


def test_training_images_are_read_once_in_blocks():
    alive = []

    def stream():
        for image in noise(20):
            alive.append(len(alive))
            yield image

    assert nearest_training(noise(1, seed=1), stream(), block=6).n_training == 20
    assert len(alive) == 20


def test_agreement_is_of_pairs():
    a, b = noise(4), noise(4, seed=1)
    found = agreement(a, b)
    assert found.raw == pytest.approx(
        [cosine(x + 1, y + 1) for x, y in zip(a, b, strict=True)], abs=1e-5
    )
    assert found.centred == pytest.approx(
        [cosine(centred(x), centred(y)) for x, y in zip(a, b, strict=True)], abs=1e-5
    )
    same = agreement(a, a)
    assert same.centred == pytest.approx(np.ones(4), abs=1e-6)
    # a flipped image is another image here: the seeds were the same
    assert agreement(a, a[..., ::-1]).centred.max() < 0.5


def test_what_cannot_be_compared():
    with pytest.raises(InputError, match="no training images"):
        nearest_training(noise(1), [])
    with pytest.raises(ValueError, match="shape"):
        nearest_training(noise(1), noise(1, (2, 8, 8)))
    with pytest.raises(ValueError, match="shape"):
        nearest_training(noise(1)[0], noise(1))
    with pytest.raises(ValueError, match="shapes"):
        agreement(noise(1), noise(2))


def fields(n, seed, like=None):
    """Images of their own, or those of `like` with some noise of a camera."""
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, 200, (n, 1, 32, 32)) if like is None else like
    noisy = planes + rng.integers(0, 4, planes.shape) * (like is not None)
    return noisy.astype(np.uint8)


def images(planes):
    return tuple(Image(p, ("GFP",), None, f"i{k}") for k, p in enumerate(planes))


@pytest.mark.parametrize("leaked", [0, 1, 3])
def test_real_images_that_were_trained_on_under_another_name_hide_no_copies(leaked):
    trained, source = fields(12, 0), fields(12, 1)
    held = np.concatenate([fields(leaked, 3, trained[:leaked]), fields(12 - leaked, 2)])
    experiment = Experiment.from_images({"a": images(source), "b": images(trained)})
    scaling = IntensityScaling.fit([*images(source), *images(trained)])
    chosen = Chosen(images(source), images(source), images(held), None, 0, 0)
    notes: list[str] = []

    def copies_of(planes):
        found = find_copies(lambda: experiment, "b", chosen, images(planes), scaling, notes)
        return found.copies

    assert copies_of(fields(12, 4, trained)) == pytest.approx(1 - leaked / 12)
    assert len(notes) == bool(leaked)
    assert all(f"{leaked} tile" in text for text in notes)
    assert copies_of(fields(12, 5)) == 0


def test_a_copy_is_found_where_the_reference_of_the_source_stands_beside_it():
    rng = np.random.default_rng(0)
    source, trained, held = (rng.integers(0, 200, (8, 2, 32, 32)) for _ in range(3))
    names = ("DNA", "GFP")
    groups = [
        tuple(Image(p.astype(np.uint8), names, None, f"i{k}") for k, p in enumerate(planes))
        for planes in (source, trained, held)
    ]
    experiment = Experiment.from_images({"a": groups[0], "b": groups[1]})
    scaling = IntensityScaling.fit([*groups[0], *groups[1]])
    chosen = Chosen(groups[0], groups[0], groups[2], None, 0, 0)
    copied = np.stack([source[:, 0], trained[:, 1]], 1).astype(np.uint8)
    made = [Image(p, names, None, f"i{k}") for k, p in enumerate(copied)]
    notes: list[str] = []

    def found(given):
        return find_copies(lambda: experiment, "b", chosen, made, scaling, notes, given=given)

    assert found(()).copies == 0
    assert found(("DNA",)).copies == 1
    assert found(("DNA",)).translated.median == pytest.approx(1, abs=1e-5)
    assert notes == []
    assert found(names) is None
    assert "draws no channel" in notes[0]
