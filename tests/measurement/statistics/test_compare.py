from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.statistics.compare import (
    compare,
    holm,
    min_p_value,
    number_text,
    p_text,
    signed_text,
)
from napari_phenldiff.measurement.statistics.recovery import recovery

RNG = np.random.default_rng(0)
A, B = RNG.normal(0, 1, 40), RNG.normal(1, 1, 50)


def test_agrees_with_the_definitions():
    found = compare(A, B)
    differences = B[:, None] - A[None, :]
    assert found.shift == np.median(differences)
    assert found.cliffs_delta == pytest.approx(np.sign(differences).mean())
    assert found.p_value == stats.mannwhitneyu(A, B).pvalue
    assert (found.n_a, found.n_b) == (40, 50)
    assert (found.median_a, found.median_b) == (np.median(A), np.median(B))
    assert found.shift_low < found.shift < found.shift_high
    assert found.cliffs_delta_low < found.cliffs_delta < found.cliffs_delta_high


def test_direction_is_from_the_first_to_the_second():
    there, back = compare(A, B), compare(B, A)
    assert there.shift == -back.shift > 0
    assert there.cliffs_delta == -back.cliffs_delta > 0
    assert there.p_value == pytest.approx(back.p_value)


def test_paired():
    after = A + 0.2 + 0.05 * np.random.default_rng(1).normal(size=A.size)
    found = compare(A, after, paired=True)
    means = (np.add.outer(after - A, after - A) / 2)[np.triu_indices(A.size)]
    assert found.shift == pytest.approx(np.median(means))
    assert found.p_value == stats.wilcoxon(after - A).pvalue < 1e-6
    assert found.cliffs_delta == 1
    # The pairs tell what the groups do not.
    assert compare(A, after).p_value > 0.1
    unchanged = compare(A, A, paired=True)
    assert (unchanged.p_value, unchanged.shift, unchanged.cliffs_delta) == (1, 0, 0)
    with pytest.raises(InputError, match="40 and 50"):
        compare(A, B, paired=True)


def test_missing_values_are_left_out_with_their_partner():
    holes = np.concatenate([[np.nan], A[1:]])
    assert compare(holes, B) == compare(A[1:], B)
    after = np.concatenate([[7.0], A[1:] + 1])
    assert compare(holes, after, paired=True) == compare(A[1:], A[1:] + 1, paired=True)


@pytest.mark.parametrize(("n", "smallest"), [(4, 0.0286), (8, 0.000155)])
def test_complete_separation_reaches_the_least_possible_p(n, smallest):
    found = compare(np.arange(n), np.arange(n) + 100)
    assert found.p_value == pytest.approx(found.min_p_value)
    assert found.min_p_value == pytest.approx(smallest, rel=0.01)
    assert found.cliffs_delta == found.cliffs_delta_high == 1
    # So few images cannot tell how close to complete the separation truly is.
    assert 0 < found.cliffs_delta_low < 0.6
    assert found.permutation_p_value == pytest.approx(found.min_p_value, abs=2e-4)


def test_small_groups_with_ties_are_tested_exactly():
    found = compare([0, 0, 0, 0], [1, 1, 1, 2])
    assert found.p_value == pytest.approx(2 / 70)


def test_least_possible_p_of_pairs():
    assert min_p_value(6, 6, paired=True) == 2 / 64
    made = compare(np.arange(6), np.arange(6) + 1.0, paired=True)
    assert (made.test, made.p_value) == ("Wilcoxon signed-rank", pytest.approx(2 / 64))
    assert min_p_value(1, 1) == 1
    assert math.isnan(min_p_value(0, 3))


@pytest.mark.parametrize(("pairs", "least"), [(3, 2 / 20), (4, 2 / 70), (5, 2 / 252)])
def test_few_pairs_are_tested_as_two_groups(pairs, least):
    before = np.arange(pairs, dtype=float)
    assert min_p_value(pairs, pairs, paired=True) == pytest.approx(least)
    apart = compare(before, before + pairs, paired=True)
    assert (apart.test, apart.p_value) == ("Mann-Whitney U", pytest.approx(least))
    # A change that is smaller than what pairs differ by is not found with so few.
    assert compare(before, before + 0.5, paired=True).p_value > 0.3


def test_few_pairs_that_do_not_change_are_seldom_found_to():
    rng = np.random.default_rng(0)
    for pairs in (4, 5):
        found = 0
        for _ in range(400):
            own = rng.normal(size=pairs)  # what both of a pair share
            a, b = (own + 0.5 * rng.normal(size=pairs) for _ in range(2))
            found += compare(a, b, paired=True, n_resamples=0).p_value < 0.05
        assert found <= 0.05 * 400


@pytest.mark.parametrize("paired", [False, True])
def test_too_few_images(paired):
    nothing = compare([], [], paired=paired)
    assert nothing.n_a == 0
    assert math.isnan(nothing.p_value)
    assert math.isnan(nothing.shift)
    one = compare([1.0], [3.0], paired=paired)
    assert one.shift == 2
    assert math.isnan(one.shift_low)
    assert one.p_value == 1


def test_seeded():
    near = A + 0.3
    assert compare(A, near, seed=1) == compare(A, near, seed=1)
    assert compare(A, near, seed=1) != compare(A, near, seed=3)
    assert math.isnan(compare(A, B, n_resamples=0).shift_low)


@pytest.mark.parametrize("paired", [False, True])
def test_permutation_test_is_exact_for_few(paired):
    a, b = np.array([1.0, 2, 3, 4]), np.array([3.0, 5, 9, 4.5])
    found = compare(a, b, paired=paired)
    if paired:
        signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
        means = np.abs(signs @ (b - a))
        expected = np.mean(means >= abs((b - a).sum()) - 1e-9)
    else:
        pooled = [*a, *b]
        sums = np.array([sum(chosen) for chosen in itertools.combinations(pooled, 4)])
        away = np.abs(sums - sum(pooled) / 2)
        expected = np.mean(away >= abs(b.sum() - sum(pooled) / 2) - 1e-9)
    assert found.permutation_p_value == pytest.approx(expected)


def test_holm():
    corrected = holm([0.01, np.nan, 0.04, 0.03, 0.9])
    np.testing.assert_allclose(corrected, [0.04, np.nan, 0.09, 0.09, 0.9])
    assert holm([]).size == 0
    np.testing.assert_array_equal(holm([0.6, 0.7]), [1, 1])


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0, 1.5])
def test_recovery_of_a_known_part(part):
    target = A + 5
    noise = 0.1 * np.random.default_rng(3).normal(size=A.size)
    reconstructed = A - 0.7  # an autoencoder that darkens
    found = recovery(A, target, reconstructed + 5 * part + noise, reconstructed=reconstructed)
    assert found.value == pytest.approx(part, abs=0.05)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.5
    assert found.real_effect == pytest.approx(5)
    assert found.reason == ""


def test_recovery_against_the_real_images():
    found = recovery(A, A + 5, A[:20] + 2.5)
    assert found.value == pytest.approx(0.5, abs=0.1)
    assert found.low <= found.value <= found.high


def test_no_recovery_of_what_is_not_there():
    same = np.random.default_rng(4).normal(0, 1, 40)
    found = recovery(A, same, A + 3)
    assert "not shown to differ" in found.reason
    assert math.isnan(found.value)
    assert found.translated_effect == pytest.approx(3, abs=0.5)
    few = recovery(A, B, [1.0])
    assert math.isnan(few.value)
    assert "fewer than two" in few.reason


def test_recovery_is_as_sure_as_the_source_that_both_effects_start_from():
    """What enlarges differences between images changes with the source that it is of."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(800):
        source, target = rng.normal(0, 1, 20), rng.normal(2, 1, 20)
        made = 1.6 + 2 * source + rng.normal(0, 0.1, 20)
        found = recovery(source, target, made, reconstructed=source)
        if np.isfinite(found.value):
            inside.append(found.low <= 0.8 <= found.high)
    assert len(inside) > 700
    assert 0.93 < np.mean(inside) < 0.98


def test_recovery_pairs_by_place():
    with pytest.raises(InputError, match="39 and 40"):
        recovery(A, B, A, reconstructed=A[1:])
    holes = A.copy()
    holes[0] = np.nan
    assert recovery(A, B, A + 1, reconstructed=holes).translated_effect == pytest.approx(1, abs=0.3)


def test_one_image_against_several_of_equal_values():
    found = compare([0.5, 0.5, 0.7], [0.5])
    assert 0 < found.p_value <= 1
    assert np.isfinite(compare([0.5], [0.7, 0.7]).p_value)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(-683.0, 2, "-680"), (0.1234, 2, "+0.12"), (12345.0, 3, "+12300"), (-2.5e7, 2, "-2.5e+07")],
)
def test_shifts_are_written_without_powers_of_ten(value, digits, text):
    assert signed_text(value, digits) == text


@pytest.mark.parametrize("paired", [False, True])
def test_infinite_values_are_refused_in_a_sentence(paired):
    with pytest.raises(InputError, match="2 of 10 values are infinite"):
        compare([1, 2, 3, 4, math.inf], [5, 6, 7, 8, math.inf], paired=paired)
    with pytest.raises(InputError, match="1 of 4 values is infinite"):
        compare([1, -math.inf], [5, 6], paired=paired)


def test_tied_values_have_one_p_value_in_any_order():
    rng = np.random.default_rng(3)
    a = rng.integers(0, 4, 7).astype(float)
    b = rng.integers(1, 6, 14).astype(float)
    found = {
        (one.p_value, one.permutation_p_value)
        for one in (compare(rng.permutation(a), rng.permutation(b)) for _ in range(5))
    }
    assert len(found) == 1
    pairs = b[:7] - a
    one = {
        compare(np.zeros(7), rng.permutation(pairs), paired=True).permutation_p_value
        for _ in range(5)
    }
    assert len(one) == 1


def test_no_p_value_is_zero():
    many = np.arange(2_500.0)
    for found in (compare(many, many + 1e5, n_resamples=0), compare(many, many + 1, paired=True)):
        assert found.p_value > 0
        assert found.min_p_value > 0
        assert p_text(found).startswith("p < 1e-300")


def test_a_single_permutation_is_no_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 9), rng.normal(3, 1, 9)
    for paired in (False, True):
        assert math.isnan(compare(a, b, paired=paired, n_resamples=1).permutation_p_value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0496, "0.0496"),
        (0.0503, "0.0503"),
        (0.049999, "0.049999"),
        (0.05, "0.05"),
        (0.047, "0.047"),
        (0.012345, "0.012"),
        (8.7e-5, "8.7e-5"),
        (1.0, "1"),
    ],
)
def test_a_probability_is_written_on_its_side_of_the_limit(value, text):
    assert number_text(value) == text


def test_one_image_among_equal_ones_has_no_p_value_below_the_least_possible():
    for a, b in (([5.0], [1.0] * 9), ([1.0] * 9, [5.0])):
        found = compare(a, b)
        assert found.p_value == pytest.approx(found.min_p_value) == pytest.approx(0.2)
    assert compare([1.0], [1.0] * 9).p_value == 1
