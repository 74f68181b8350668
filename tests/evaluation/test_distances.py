from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.distances import frechet_distance, kernel_distance
from napari_phenldiff.evaluation.features import Features


def features(values, name="numbers"):
    values = np.asarray(values, np.float32)
    return Features(values[:, None] if values.ndim == 2 else values, name)


def normal(n, d=8, shift=0.0, seed=0):
    return features(np.random.default_rng(seed).normal(shift, 1, (n, d)))


def kernel(x, y):
    return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3


def test_kernel_distance_is_the_unbiased_estimate():
    a = [[0.0, 1.0], [2.0, -1.0], [0.5, 0.25]]
    b = [[1.0, 1.0], [-1.0, 0.5]]
    within_a = [kernel(a[i], a[j]) for i in range(3) for j in range(3) if i != j]
    within_b = [kernel(b[i], b[j]) for i in range(2) for j in range(2) if i != j]
    across = [kernel(x, y) for x in a for y in b]
    expected = sum(within_a) / 6 + sum(within_b) / 2 - 2 * sum(across) / 6
    found = kernel_distance(features(a), features(b), n_resamples=0)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert (found.n_a, found.n_b, found.features) == (3, 2, "numbers")
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_kernel_distance_without_a_difference_is_negative_half_of_the_time():
    values = [
        kernel_distance(normal(12, seed=2 * i), normal(9, seed=2 * i + 1), n_resamples=0).value
        for i in range(200)
    ]
    assert 70 < sum(value < 0 for value in values) < 150
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(200)


def test_interval_of_the_kernel_distance():
    real, other = normal(60), normal(50, seed=1)
    shifted = [kernel_distance(real, normal(50, shift=s, seed=1)).value for s in (0, 0.5, 1)]
    assert shifted == sorted(shifted)
    same = kernel_distance(real, other)
    assert same.low < 0 < same.high
    far = kernel_distance(real, normal(50, shift=0.5, seed=1))
    # copies within a bootstrap sample must not push the interval away from the estimate
    assert 0 < far.low < far.value < far.high
    assert abs((far.low + far.high) / 2 - far.value) < 0.3 * (far.high - far.low)
    assert far == kernel_distance(real, normal(50, shift=0.5, seed=1))
    assert far.low != kernel_distance(real, normal(50, shift=0.5, seed=1), seed=1).low


def test_interval_is_as_wide_as_the_estimate_scatters():
    found = kernel_distance(normal(40), normal(40, shift=0.5, seed=1))
    scatter = [
        kernel_distance(
            normal(40, seed=10 + i), normal(40, shift=0.5, seed=1000 + i), n_resamples=0
        ).value
        for i in range(100)
    ]
    assert 0.6 < (found.high - found.low) / (4 * np.std(scatter)) < 1.8


def test_interval_of_very_few_images():
    found = kernel_distance(normal(2), normal(2, seed=1))
    assert math.isfinite(found.low)
    assert found.low <= found.high


@pytest.mark.parametrize(("n", "m"), [(50, 40), (5, 4), (50, 4)])
def test_frechet_distance_is_the_formula(n, m):
    a, b = normal(n), normal(m, shift=1, seed=1)
    x, y = a.composite, b.composite
    c, d = np.cov(x.T), np.cov(y.T)
    # of the similar symmetric matrix, whose root is well behaved also without full rank
    eigenvalues, vectors = np.linalg.eigh(c)
    root = vectors * np.sqrt(eigenvalues.clip(0)) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ d @ root).clip(0)).sum()
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(c) + np.trace(d) - 2 * shared
    found = frechet_distance(a, b)
    assert found.value == pytest.approx(expected, rel=1e-6)
    if min(n, m) > 8:
        assert shared == pytest.approx(np.trace(sqrtm(c @ d)).real, rel=1e-9)
    assert found.rank_deficient == (min(n, m) <= 8)
    assert (found.n_a, found.n_b, found.dimension) == (n, m, 8)


def test_frechet_distance_to_itself_is_zero():
    assert frechet_distance(normal(30), normal(30)).value == pytest.approx(0, abs=1e-9)
    assert frechet_distance(normal(4), normal(4)).value == pytest.approx(0, abs=1e-9)


def test_frechet_distance_is_larger_with_fewer_images():
    values = [frechet_distance(normal(n), normal(n, seed=1)).value for n in (10, 50, 1000)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.05


def test_what_cannot_be_compared():
    for distance in (kernel_distance, frechet_distance):
        with pytest.raises(InputError, match="1 and 5 images"):
            distance(normal(1), normal(5))
        with pytest.raises(ValueError, match="two kinds"):
            distance(normal(5), features(normal(5).values, "others"))
        with pytest.raises(ValueError, match="two kinds"):
            distance(normal(5), normal(5, d=4))


def test_channels_of_features():
    both = features(np.arange(12.0).reshape(2, 2, 3))
    assert len(both) == 2
    assert both.composite.tolist() == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]
    assert both.channel(1).composite.tolist() == [[3, 4, 5], [9, 10, 11]]
    assert both.channel(1).name == "numbers, channel 1"
    for index in (2, -1):
        with pytest.raises(IndexError):
            both.channel(index)
