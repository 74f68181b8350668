from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.classifier import Logistic, Rate, classify
from napari_phenldiff.evaluation.document import _looks
from napari_phenldiff.viewer import evaluations

D = 200


def features(rng, n, shift=0.0):
    values = rng.normal(size=(n, D))
    values[:, :10] += shift
    return values


def names(prefix, n, per=1):
    return [f"{prefix}{i // per}" for i in range(n)]


def test_conditions_are_told_apart_and_translated_images_placed():
    rng = np.random.default_rng(0)
    source, target = features(rng, 30), features(rng, 30, 2.5)
    found = classify(
        source, target, names("s", 30), names("t", 30),
        translated=features(rng, 30, 2.5), reconstructed=source + 0.01, made_of=names("s", 30),
    )  # fmt: skip
    assert found.real.value > 0.9
    assert found.translated.value > 0.9
    assert found.reconstructed.value < 0.1
    assert (found.real.n, found.n_groups) == (60, 60)


def wells(rng, count=6, per=8):
    """Wells that differ from each other a lot, and have nothing to do with the condition."""
    centres = rng.normal(0, 3, (count, D))
    return np.concatenate([c + rng.normal(0, 0.3, (per, D)) for c in centres])


def test_what_only_wells_have_of_their_own_is_no_condition():
    rng = np.random.default_rng(1)
    together, apart = [], []
    for _ in range(12):
        source, target = wells(rng), wells(rng)
        n = len(source)
        made = {"translated": source, "reconstructed": source}
        grouped = names("s", n, 8), names("t", n, 8)
        single = names("s", n), names("t", n)
        together.append(classify(source, target, *grouped, **made, made_of=grouped[0]).real.value)
        apart.append(classify(source, target, *single, **made, made_of=single[0]).real.value)
    # the leak: tiles of one well in training and test
    assert np.mean(apart) > 0.95
    assert np.mean(together) < 0.65


def test_a_translated_image_is_not_judged_by_what_has_seen_its_source():
    # every source image is remembered by a mark of its own; translation leaves it
    rng = np.random.default_rng(2)
    source, target = wells(rng, 10, 1), wells(rng, 10, 1)
    found = classify(
        source, target, names("s", 10), names("t", 10),
        translated=source, reconstructed=source, made_of=names("s", 10),
    )  # fmt: skip
    assert found.translated.value == found.reconstructed.value > 0


def test_a_place_in_both_conditions_is_held_out_from_both():
    rng = np.random.default_rng(3)
    source = wells(rng, 8, 1)
    target = source + 0.01  # the same place before and after: nothing to tell by
    found = classify(
        source, target, names("p", 8), names("p", 8),
        translated=target, reconstructed=source, made_of=names("p", 8),
    )  # fmt: skip
    assert found.n_groups == 8
    assert found.real.value <= 0.75


def test_the_fit_is_that_of_a_penalised_regression():
    rng = np.random.default_rng(4)
    values, label = features(rng, 20, 0), np.arange(20) % 2
    values[label == 1, 0] += 3
    model = Logistic.fit(values, label)
    assert model.weights.shape == (D,)
    assert np.abs(model.weights).argmax() == 0
    assert ((model.predict(values) > 0.5) == label).all()


def test_rates():
    rate = Rate.of(np.array([True] * 8 + [False] * 2))
    # Wilson, as tabulated
    assert (rate.value, rate.low, rate.high) == pytest.approx((0.8, 0.490, 0.943), abs=1e-3)
    assert Rate.of(np.ones(5, bool)).low < 0.6
    assert math.isnan(Rate.of(np.zeros(0, bool)).value)


def test_one_well_is_too_few():
    rng = np.random.default_rng(5)
    x = features(rng, 4)
    with pytest.raises(InputError, match="at least two wells"):
        classify(x, x, ["a"] * 4, names("t", 4), x, x, ["a"] * 4)


def test_intervals_are_over_wells_and_not_over_their_tiles():
    """Ten tiles of each of six wells, all of which look alike, are six answers and not sixty."""
    rng = np.random.default_rng(0)
    wells = [f"w{k}" for k in range(6) for _ in range(10)]
    own = np.repeat(rng.normal(0, 1, (6, 8)), 10, axis=0)
    source, target = (own + shift + rng.normal(0, 0.01, own.shape) for shift in (0, 6))
    translated = target.copy()
    translated[:30] = source[:30]
    found = classify(
        source, target, wells, [f"t{w}" for w in wells], translated, source, wells, counted="wells"
    )
    assert (found.translated.n, found.judged.translated.n) == (60, 6)
    assert found.judged.translated.value == found.translated.value == 0.5
    low, high = wilson(3, 6)
    assert (found.judged.translated.low, found.judged.translated.high) == pytest.approx((low, high))
    assert found.over == "wells"
    metrics = SimpleNamespace(classifier=found, source="a", target="b")
    section = _looks(metrics)
    rows = section.table.to_dict("records")
    assert rows[1]["question"] == "translated wells taken for b"
    assert rows[1]["part (95 %)"] == f"50% ({low:.0%} to {high:.0%})"
    assert rows[1]["n (wells)"] == 6
    assert "intervals are over wells" in section.text
    shown = dict(evaluations._looks(metrics))
    assert shown["Classifier: translated wells taken for b"].endswith("%), 6 wells")


def wilson(hits, n, z=1.959963984540054):
    centre = (hits / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(hits / n * (1 - hits / n) / n + z**2 / (4 * n**2))
    return centre - half, centre + half
