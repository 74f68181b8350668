"""Compare groups of images: tests and effect sizes.

One value per image, never per cell: cells of one image are not independent, and taken as if they
were they make any difference significant (Lord et al., J Cell Biol 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.measurement.statistics import intervals

# With fewer, the exact distribution matters, and ties rule out SciPy's tables of it.
_SMALL = 8
# With fewer pairs the signed-rank test cannot give p below 0.05, whatever the images show.
_FEWEST_PAIRS = 6
SIGNED_RANK = "Wilcoxon signed-rank"
"""The test of six and more pairs."""
# Pairs of images of two groups up to which the test is exact in the absence of ties.
_EXACT = 625
# Permutations at a time: memory stays small for thousands of images.
_BATCH = 500
# A probability is never 0: where it is too small for a number, this stands for it.
_LEAST = float(np.finfo(np.float64).tiny)
ALPHA = 0.05
"""A p-value below it counts as a finding."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference between two groups of images, from the first to the second.

    Parameters
    ----------
    n_a, n_b : int
        Numbers of images that could be measured; of pairs, if paired.
    median_a, median_b : float
    paired : bool
    test : str
        ``"Mann-Whitney U"``, or ``"Wilcoxon signed-rank"`` of six and more pairs.
    p_value : float
        Two-sided, of that test.
    min_p_value : float
        The smallest p that so many images can give: the test is blind where it is above 0.05.
    shift, shift_low, shift_high : float
        Hodges-Lehmann estimate of b - a with its 95 % interval, in units of the values.
    cliffs_delta, cliffs_delta_low, cliffs_delta_high : float
        P(b > a) - P(b < a) with its 95 % interval: 0 is no effect, 1 and -1 are complete
        separation. If paired, over the pairs.
    permutation_p_value : float
        Two-sided, of the difference of means, under exchanged images (of signs, if paired): all
        ways to exchange them where there are few, else as many random ones as resamples. NaN with
        less than two of these, which cannot tell.

    Notes
    -----
    What cannot be computed is NaN. Five pairs or fewer are tested as two groups, since the
    signed-rank test cannot give p below 0.05 then: Mann and Whitney's test can from four pairs on.
    Where the values of a pair resemble each other, that is conservative: it then only finds
    changes by which the groups come apart. Where they are opposite, it is not. Intervals need two
    images per group. They are those of `statistics.intervals`, not of the bootstrap, which covers
    the truth too seldom with few images; ``docs/notes/intervals.md`` has the figures.
    """

    n_a: int
    n_b: int
    median_a: float
    median_b: float
    paired: bool
    test: str
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
        If paired groups differ in length, or a value is infinite.
    """
    a, b = as_values(values_a), as_values(values_b)
    endless = int(np.isinf(a).sum() + np.isinf(b).sum())
    if endless:
        # Between them there is no difference, and so no shift and no difference of means.
        raise InputError(
            f"{endless} of {count(a.size + b.size, 'value')} {'is' if endless == 1 else 'are'} "
            "infinite, which cannot be compared: give NaN where there is no value."
        )
    if paired:
        a, b = complete_pairs(a, b)
    else:
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    samples: tuple[np.ndarray, ...] = (b - a,) if paired else (a, b)
    by_signs = _by_signs(a.size, paired=paired)
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
        test=SIGNED_RANK if by_signs else "Mann-Whitney U",
        p_value=_signed_rank(b - a) if by_signs else _rank_sum(a, b, seed),
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
    """Smallest two-sided p-value that the test of so many images can give, see `Comparison`.

    Parameters
    ----------
    n_a, n_b : int
        Numbers of images; of pairs, if paired (both the same).
    paired : bool
        Whether they are pairs.

    Returns
    -------
    float
        NaN for an empty group.
    """
    if not n_a or not n_b:
        return math.nan
    orders = 2**n_a if _by_signs(n_a, paired=paired) else math.comb(n_a + n_b, n_a)
    return max(min(1.0, 2 / orders), _LEAST)


def _by_signs(n: int, *, paired: bool) -> bool:
    return paired and n >= _FEWEST_PAIRS


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
    if ties and min(a.size, b.size) == 1:
        # SciPy draws no orders of one, and the asymptotic p of one among equal ones is far too low.
        one, every = (a if a.size == 1 else b), np.concatenate([a, b])
        tail = min(np.count_nonzero(every <= one), np.count_nonzero(every >= one))
        return min(1.0, 2 * tail / every.size)
    method: object = "auto"
    # Random orders are drawn of places: sorted, the p-value does not depend on the order of rows.
    a, b = np.sort(a), np.sort(b)
    if ties and 2 <= min(a.size, b.size) <= _SMALL:
        # Exact as long as there are no more orders than resamples.
        method = stats.PermutationMethod(n_resamples=20_000, rng=np.random.default_rng(seed))
    elif not ties and a.size * b.size <= _EXACT:
        method = "exact"  # which SciPy itself leaves at 8 images in the smaller group
    return max(float(stats.mannwhitneyu(a, b, method=method).pvalue), _LEAST)


def _signed_rank(differences: np.ndarray) -> float:
    """Wilcoxon's test of paired differences; 1 if all of them are zero."""
    from scipy import stats

    if not differences.size:
        return math.nan
    if not differences.any():
        return 1.0
    return max(float(stats.wilcoxon(differences).pvalue), _LEAST)


def _permuted(samples: Sequence[np.ndarray], n_resamples: int, seed: int) -> float:
    """Permutation test of the difference of means; of the sign of the differences of pairs."""
    from scipy import stats

    if n_resamples < 2 or min(sample.size for sample in samples) < 2:
        return math.nan
    samples = [np.sort(sample) for sample in samples]  # see `_rank_sum`
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


def as_values(values: ArrayLike) -> np.ndarray:
    """Return values as a flat array of float64."""
    return np.asarray(values, dtype=np.float64).ravel()


def complete_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out pairs of which a value is missing.

    Raises
    ------
    InputError
        If there are not as many values in both.
    """
    if a.size != b.size:
        raise InputError(
            f"Paired groups have {a.size} and {b.size} values: give the same images in both."
        )
    complete = ~(np.isnan(a) | np.isnan(b))
    return a[complete], b[complete]


def p_text(comparison: Comparison) -> str:
    """Put a p-value into words, with the smallest possible one where that is not tiny."""
    if math.isnan(comparison.p_value):
        return "no p-value"
    text = p_words(comparison.p_value)
    if comparison.min_p_value > 1e-3:
        text += f"\n(least possible {number_text(comparison.min_p_value)})"
    return text


def signed_text(value: float, digits: int = 2) -> str:
    """Write a number with its sign and so many digits: ``"+0.12"``, ``"-680"``.

    Powers of ten only stand for what is larger than a million, or very small.
    """
    text = f"{value:+.{digits}g}"
    return f"{float(text):+.0f}" if "e+" in text and abs(value) < 1e6 else text


def p_words(p_value: float) -> str:
    """Write a p-value with its sign: ``"p = 0.012"``, ``"p < 1e-300"``."""
    return "p < 1e-300" if p_value < 1e-300 else f"p = {number_text(p_value)}"


def number_text(value: float) -> str:
    """Write a probability, the same everywhere: ``"0.012"``, ``"8.7e-5"``.

    With two digits, or as many as it takes to be on its side of 0.05: ``"0.0496"``.
    """
    digits = 2
    while np.sign(float(f"{value:.{digits}g}") - ALPHA) != np.sign(value - ALPHA) and digits < 17:
        digits += 1
    text = f"{value:.{digits}g}"
    return text.replace("e-0", "e-") if value and abs(value) < 1e-3 else text
