from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from napari_phenldiff.measurement.statistics import intervals
from napari_phenldiff.measurement.statistics.recovery import ratio_interval, recovery

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (8, 8), (6, 11), (30, 34)])
def test_shift_interval_is_what_the_test_does_not_reject(n, m):
    a, b = RNG.normal(size=n), RNG.normal(2, 1, m)
    low, high = intervals.shift_interval(a, b)
    method = "exact" if n < 30 else "asymptotic"
    for end, outwards in ((low, -1), (high, 1)):
        inside = stats.mannwhitneyu(a + end - 1e-6 * outwards, b, method=method).pvalue
        outside = stats.mannwhitneyu(a + end + 1e-6 * outwards, b, method=method).pvalue
        assert outside <= 0.0503  # the approximation for many images is one
        assert inside > 0.05


@pytest.mark.parametrize("n", [6, 8, 20])
def test_paired_interval_is_what_the_test_does_not_reject(n):
    d = RNG.normal(1, 1, n)
    for end, outwards in zip(intervals.paired_shift_interval(d), (-1, 1), strict=True):
        assert stats.wilcoxon(d - end + 1e-6 * outwards, method="exact").pvalue > 0.05
        assert stats.wilcoxon(d - end - 1e-6 * outwards, method="exact").pvalue <= 0.05


def test_few_images_have_t_intervals():
    a, b = np.array([1.0, 2, 4]), np.array([3.0, 9, 8])
    welch = stats.ttest_ind(b, a, equal_var=False).confidence_interval()
    assert intervals.shift_interval(a, b) == pytest.approx(welch)
    student = stats.ttest_rel(b, a).confidence_interval()
    assert intervals.paired_shift_interval(b - a) == pytest.approx(student)
    # so few that do not differ say nothing of how others would
    assert np.isnan(intervals.shift_interval(np.ones(2), np.ones(3))).all()
    assert np.isnan(intervals.shift_interval(np.zeros(3), np.ones(3))).all()
    assert np.isnan(intervals.paired_shift_interval(np.zeros(4))).all()
    for interval in (intervals.paired_shift_interval, intervals.balance_interval):
        assert all(math.isnan(end) for end in interval(np.ones(1)))


def test_orders_of_ranks_for_many_images_join_those_for_few():
    exact = intervals._cut(intervals._rank_sum_counts, 30, 30)
    assert intervals._rank_sum_counts(30, 30).sum() == math.comb(60, 30)
    assert abs(intervals._cut(intervals._rank_sum_counts, 30, 31) - exact) < 15
    assert intervals._signed_rank_counts(10).sum() == 2**10


def test_interval_of_delta_is_symmetric_and_never_without_width():
    a, b = RNG.normal(size=9), RNG.normal(1, 1, 7)
    low, high = intervals.delta_interval(a, b)
    assert (-high, -low) == pytest.approx(intervals.delta_interval(b, a))
    assert low < intervals.cliffs_delta(a, b) < high
    low, high = intervals.delta_interval(a, b - 100)
    assert low == -1
    assert -0.9 < high < -0.3
    assert intervals.balance_interval(np.ones(8))[0] == pytest.approx(2 * 0.6306 - 1, abs=1e-3)


def test_ratio_of_independent_estimates():
    # Equal arms: Fieller's theorem.
    low, high = ratio_interval(2, (1, 3), 4, (3, 5))
    for ratio in (low, high):
        assert (2 - 4 * ratio) ** 2 == pytest.approx(1 + ratio**2)
    assert low < 0.5 < high
    assert ratio_interval(-2, (-3, -1), -4, (-5, -3)) == pytest.approx((low, high))
    back = ratio_interval(-2, (-3, -1), 4, (3, 5))
    assert back == pytest.approx((-high, -low))
    assert ratio_interval(0, (-1, 1), 4, (3, 5))[0] < 0
    # What both have in common cancels.
    near = ratio_interval(2, (1, 3), 4, (3, 5), 0.9)
    assert near[1] - near[0] < high - low


@pytest.mark.parametrize("reconstructed", [True, False])
def test_intervals_cover_the_truth(reconstructed):
    rng = np.random.default_rng(0)
    covered = {"shift": [], "delta": [], "recovery": []}
    for _ in range(200):
        source, target = rng.lognormal(0, 0.5, 8), rng.lognormal(0, 0.5, 8) + 3
        before = rng.lognormal(0, 0.5, 8)
        low, high = intervals.shift_interval(source, target)
        covered["shift"].append(low <= 3 <= high)
        low, high = intervals.delta_interval(source, target - 3)
        covered["delta"].append(low <= 0 <= high)
        found = recovery(
            source, target, before + 1.5, reconstructed=before if reconstructed else None
        )
        covered["recovery"].append(found.low <= 0.5 <= found.high)
    assert {name for name, held in covered.items() if np.mean(held) < 0.92} == set()
