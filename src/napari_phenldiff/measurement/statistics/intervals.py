"""Sizes of an effect, and intervals for them that hold for as few as five images.

Samples are numpy arrays of shape (N,), float64, without NaN. Intervals are for 95 % and none of
them is drawn at random. `docs/notes/intervals.md` says how often they cover the truth, and what
else was tried.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2
_Z = 1.959963984540054
# Up to here the numbers of orders of ranks are exact in 64 bits.
_MOST_EXACT = 50
Interval = tuple[float, float]


def shift(a: np.ndarray, b: np.ndarray) -> float:
    """Hodges-Lehmann estimate: the median of all differences between a b and an a."""
    return float(np.median(np.subtract.outer(b, a)))


def paired_shift(differences: np.ndarray) -> float:
    """Hodges-Lehmann estimate of paired differences: the median of their pairwise means."""
    return float(np.median(_walsh_means(differences)))


def cliffs_delta(a: np.ndarray, b: np.ndarray) -> float:
    """P(b > a) - P(b < a)."""
    ordered = np.sort(a)
    below = np.searchsorted(ordered, b, side="left")
    not_above = np.searchsorted(ordered, b, side="right")
    # sums of integers, so that exchanging a and b changes exactly the sign
    return float((below + not_above - a.size).sum() / (a.size * b.size))


def sign_balance(differences: np.ndarray) -> float:
    """Fraction of pairs that rise less the fraction that fall."""
    return float(np.sign(differences).mean())


def placements(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Fraction of `among` that is below each value; what is equal counts half."""
    ordered = np.sort(among)
    below = np.searchsorted(ordered, values, side="left")
    not_above = np.searchsorted(ordered, values, side="right")
    return (below + not_above) / (2 * among.size)


def shift_interval(a: np.ndarray, b: np.ndarray) -> Interval:
    """Interval of `shift`: the shifts that Mann and Whitney's test does not reject.

    Where so few images cannot reject anything at 5 % (three and three, two and seven), it is
    Welch's t interval instead, which assumes normal distributions. NaN for less than two images.

    Parameters
    ----------
    a, b : numpy.ndarray of shape (N,), (M,)

    Returns
    -------
    tuple of float
        Lower and upper end, in units of the values.
    """
    if min(a.size, b.size) < 2:
        return math.nan, math.nan
    cut = _cut(_rank_sum_counts, a.size, b.size)
    if not cut:
        return _welch_interval(a, b)
    differences = np.sort(np.subtract.outer(b, a), axis=None)
    return float(differences[cut - 1]), float(differences[-cut])


def paired_shift_interval(differences: np.ndarray) -> Interval:
    """Interval of `paired_shift`: the shifts that Wilcoxon's signed-rank test does not reject.

    With less than six pairs, Student's t interval. NaN for less than two.

    Parameters
    ----------
    differences : numpy.ndarray of shape (N,)

    Returns
    -------
    tuple of float
        Lower and upper end, in units of the values.
    """
    if differences.size < 2:
        return math.nan, math.nan
    cut = _cut(_signed_rank_counts, differences.size)
    if not cut:
        return _welch_interval(np.zeros(1), differences)
    means = np.sort(_walsh_means(differences))
    return float(means[cut - 1]), float(means[-cut])


def delta_interval(a: np.ndarray, b: np.ndarray) -> Interval:
    """Interval of `cliffs_delta`: a score interval, which has a width at complete separation, too.

    Parameters
    ----------
    a, b : numpy.ndarray of shape (N,), (M,)

    Returns
    -------
    tuple of float
        Lower and upper end, within -1 and 1.

    Notes
    -----
    Method 5 of Newcombe, Stat Med 2006, 25:559, of P(b > a) + P(b = a) / 2.
    """
    from scipy.optimize import brentq

    if min(a.size, b.size) < 2:
        return math.nan, math.nan
    found = (cliffs_delta(a, b) + 1) / 2
    extra = (a.size + b.size) / 2 - 1

    def excess(p: float) -> float:
        spread = 1 + extra * ((1 - p) / (2 - p) + p / (1 + p))
        return (p - found) ** 2 - _Z**2 * p * (1 - p) * spread / (a.size * b.size)

    tiny = 1e-12  # the equation also holds, for no good reason, at 0 and 1
    low = brentq(excess, 0, min(found, 1 - tiny)) if found > tiny else 0.0
    high = brentq(excess, max(found, tiny), 1) if found < 1 - tiny else 1.0
    return 2 * low - 1, 2 * high - 1


def balance_interval(differences: np.ndarray) -> Interval:
    """Interval of `sign_balance`: Clopper and Pearson's of the fraction that rise.

    Parameters
    ----------
    differences : numpy.ndarray of shape (N,)
        A difference of 0 counts as half a rise and half a fall.

    Returns
    -------
    tuple of float
        Lower and upper end, within -1 and 1.
    """
    from scipy.stats import beta

    n = differences.size
    if n < 2:
        return math.nan, math.nan
    risen = n * (sign_balance(differences) + 1) / 2
    low = beta.ppf(_TAIL, risen, n - risen + 1) if risen > 0 else 0.0
    high = beta.ppf(1 - _TAIL, risen + 1, n - risen) if risen < n else 1.0
    return 2 * float(low) - 1, 2 * float(high) - 1


def _walsh_means(differences: np.ndarray) -> np.ndarray:
    rows, columns = np.triu_indices(differences.size)
    return (differences[rows] + differences[columns]) / 2


def _welch_interval(a: np.ndarray, b: np.ndarray) -> Interval:
    """Interval of the difference of means; of the mean of b, if a is a single 0.

    NaN where all values are the same: so few that do not differ say nothing of how others would.
    """
    from scipy.stats import t

    parts = [x.var(ddof=1) / x.size for x in (a, b) if x.size > 1]
    variance = sum(parts)
    shifted = float(b.mean() - a.mean())
    if not variance:
        return math.nan, math.nan
    sizes = [x.size for x in (a, b) if x.size > 1]
    freedom = variance**2 / sum(p**2 / (n - 1) for p, n in zip(parts, sizes, strict=True))
    low, high = t.interval(LEVEL, freedom, loc=shifted, scale=math.sqrt(variance))
    return float(low), float(high)


def _cut(counts: Callable[..., np.ndarray], *sizes: int) -> int:
    """Return how many of the sorted differences lie outside of the interval, at either side."""
    if max(sizes) <= _MOST_EXACT and sum(sizes) <= _MOST_EXACT + 10:
        orders = counts(*sizes)
        return int(np.count_nonzero(np.cumsum(orders) <= _TAIL * orders.sum()))
    if len(sizes) == 2:
        m, n = sizes
        mean, deviation = m * n / 2, math.sqrt(m * n * (m + n + 1) / 12)
    else:
        n = sizes[0]
        mean, deviation = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    # continuity correction
    return max(0, math.floor(mean - _Z * deviation + 0.5))


@lru_cache(maxsize=64)
def _rank_sum_counts(m: int, n: int) -> np.ndarray:
    """Return in how many orders of m and n values Mann and Whitney's U is 0, 1, ..., m n."""
    # The Gaussian binomial coefficient: the product of (1 - q^(n + i)) / (1 - q^i).
    counts = np.zeros(m * n + 1, np.int64)
    counts[0] = 1
    for i in range(1, m + 1):
        if n + i <= m * n:
            counts[n + i :] -= counts[: -(n + i)].copy()
        for start in range(i):
            counts[start::i] = np.cumsum(counts[start::i])
    return counts


@lru_cache(maxsize=64)
def _signed_rank_counts(n: int) -> np.ndarray:
    """Return in how many choices of signs Wilcoxon's sum of ranks is 0, 1, ..., n (n + 1) / 2."""
    counts = np.zeros(n * (n + 1) // 2 + 1, np.int64)
    counts[0] = 1
    for rank in range(1, n + 1):
        counts[rank:] += counts[:-rank].copy()
    return counts
