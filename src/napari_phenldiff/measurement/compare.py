"""Compare groups of images: tests, effect sizes, and how much of an effect was recovered.

One value per image, never per cell: cells of one image are not independent, and taken as if they
were they make any difference significant (Lord et al., J Cell Biol 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_phenldiff.measurement import intervals
from napari_phenldiff.measurement.pairs import as_values, complete_pairs
from napari_phenldiff.measurement.recovery import Recovery as Recovery
from napari_phenldiff.measurement.recovery import recovery as recovery

# With fewer, the exact distribution matters, and ties rule out SciPy's tables of it.
_SMALL = 8
# Pairs of images of two groups up to which the test is exact in the absence of ties.
_EXACT = 625
# Permutations at a time: memory stays small for thousands of images.
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference between two groups of images, from the first to the second.

    Parameters
    ----------
    n_a, n_b : int
        Numbers of images that could be measured; of pairs, if paired.
    median_a, median_b : float
    paired : bool
    p_value : float
        Two-sided; Mann-Whitney U test, or Wilcoxon's signed-rank test if paired.
    min_p_value : float
        The smallest p that so many images can give: the test is blind where it is above 0.05.
    shift, shift_low, shift_high : float
        Hodges-Lehmann estimate of b - a with its 95 % interval, in units of the values.
    cliffs_delta, cliffs_delta_low, cliffs_delta_high : float
        P(b > a) - P(b < a) with its 95 % interval: 0 is no effect, 1 and -1 are complete
        separation. If paired, over the pairs.
    permutation_p_value : float
        Two-sided, of the difference of means, under exchanged images (of signs, if paired): all
        ways to exchange them where there are few, else as many random ones as resamples.

    Notes
    -----
    What cannot be computed is NaN. Intervals need two images per group. They are those of
    `napari_phenldiff.measurement.intervals`, not of the bootstrap, which covers the truth too
    seldom with few images; ``docs/notes/intervals.md`` has the figures.
    """

    n_a: int
    n_b: int
    median_a: float
    median_b: float
    paired: bool
    p_value: float
    min_p_value: float
    shift: float
    shift_low: float
    shift_high: float
    cliffs_delta: float
    cliffs_delta_low: float
    cliffs_delta_high: float
    permutation_p_value: float = math.nan


def compare(
    values_a: ArrayLike,
    values_b: ArrayLike,
    *,
    seed: int = 0,
    paired: bool = False,
    n_resamples: int = 9999,
) -> Comparison:
    """Compare two groups of images.

    Parameters
    ----------
    values_a, values_b : array-like of shape (N,), (M,)
        One value per image; NaN (not measured) is left out, with its partner if paired.
    seed : int
        Seed of random permutations.
    paired : bool
        Whether the values at the same place belong together, such as an image before and after.
    n_resamples : int
        Number of permutations; 0 leaves them and the intervals out (NaN).

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If paired groups differ in length.
    """
    a, b = as_values(values_a), as_values(values_b)
    if paired:
        a, b = complete_pairs(a, b)
    else:
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    samples: tuple[np.ndarray, ...] = (b - a,) if paired else (a, b)
    shift = delta = math.nan
    shift_ends = delta_ends = (math.nan, math.nan)
    if all(sample.size for sample in samples):
        shift = intervals.paired_shift(b - a) if paired else intervals.shift(a, b)
        delta = intervals.sign_balance(b - a) if paired else intervals.cliffs_delta(a, b)
        if n_resamples:
            of_shift = intervals.paired_shift_interval if paired else intervals.shift_interval
            of_delta = intervals.balance_interval if paired else intervals.delta_interval
            shift_ends, delta_ends = of_shift(*samples), of_delta(*samples)
    return Comparison(
        n_a=a.size,
        n_b=b.size,
        median_a=float(np.median(a)) if a.size else math.nan,
        median_b=float(np.median(b)) if b.size else math.nan,
        paired=paired,
        p_value=_signed_rank(b - a) if paired else _rank_sum(a, b, seed),
        min_p_value=min_p_value(a.size, b.size, paired=paired),
        shift=shift,
        shift_low=shift_ends[0],
        shift_high=shift_ends[1],
        cliffs_delta=delta,
        cliffs_delta_low=delta_ends[0],
        cliffs_delta_high=delta_ends[1],
        permutation_p_value=_permuted(samples, n_resamples, seed),
    )


def min_p_value(n_a: int, n_b: int, *, paired: bool = False) -> float:
    """Smallest two-sided p-value that a rank test of so many images can give.

    Parameters
    ----------
    n_a, n_b : int
        Numbers of images; of pairs, if paired (both the same).
    paired : bool
        Wilcoxon's signed-rank test instead of Mann and Whitney's.

    Returns
    -------
    float
        NaN for an empty group.
    """
    if not n_a or not n_b:
        return math.nan
    orders = 2**n_a if paired else math.comb(n_a + n_b, n_a)
    return min(1.0, 2 / orders)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Correct p-values of several measurements for their number, after Holm.

    Parameters
    ----------
    p_values : array-like of shape (K,)
        NaN (no test was made) does not count.

    Returns
    -------
    numpy.ndarray of shape (K,), float64
        Where one is at most 0.05, the probability of any false finding among all is, too.
    """
    given = as_values(p_values)
    corrected = np.full(given.size, math.nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    raised = given[order] * np.arange(order.size, 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return corrected


def _rank_sum(a: np.ndarray, b: np.ndarray, seed: int) -> float:
    """Mann and Whitney's test: exact for small groups, also with ties, else asymptotic."""
    from scipy import stats

    if not a.size or not b.size:
        return math.nan
    ties = np.unique([*a, *b]).size < a.size + b.size
    method: object = "auto"
    if ties and 2 <= min(a.size, b.size) <= _SMALL:
        # Exact as long as there are no more orders than resamples.
        method = stats.PermutationMethod(n_resamples=20_000, rng=np.random.default_rng(seed))
    elif not ties and a.size * b.size <= _EXACT:
        method = "exact"  # which SciPy itself leaves at 8 images in the smaller group
    return float(stats.mannwhitneyu(a, b, method=method).pvalue)


def _signed_rank(differences: np.ndarray) -> float:
    """Wilcoxon's test of paired differences; 1 if all of them are zero."""
    from scipy import stats

    if not differences.size:
        return math.nan
    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def _permuted(samples: Sequence[np.ndarray], n_resamples: int, seed: int) -> float:
    """Permutation test of the difference of means; of the sign of the differences of pairs."""
    from scipy import stats

    if not n_resamples or min(sample.size for sample in samples) < 2:
        return math.nan
    if len(samples) == 1:
        return float(
            stats.permutation_test(
                tuple(samples),
                np.mean,
                permutation_type="samples",
                n_resamples=n_resamples,
                rng=np.random.default_rng(seed),
                batch=_BATCH,
            ).pvalue
        )
    return float(
        stats.permutation_test(
            tuple(samples),
            lambda a, b, axis: np.mean(b, axis=axis) - np.mean(a, axis=axis),
            n_resamples=n_resamples,
            rng=np.random.default_rng(seed),
            batch=_BATCH,
        ).pvalue
    )
