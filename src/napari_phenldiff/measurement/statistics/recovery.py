"""Which part of the real effect a translation shows, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from napari_phenldiff.measurement.statistics import intervals
from napari_phenldiff.measurement.statistics.compare import as_values, complete_pairs
from napari_phenldiff.measurement.statistics.intervals import (
    Interval,
    placements,
    shift,
    shift_interval,
)


@dataclass(frozen=True, slots=True)
class Recovery:
    """The part of the real effect that translation reproduces.

    Parameters
    ----------
    value, low, high : float
        Translated effect divided by real effect, with its 95 % interval: 0 is no change, 1 is
        all of it. NaN where it is not defined.
    translated_effect, real_effect : float
        Hodges-Lehmann shifts between the groups, in units of the values.
    reason : str
        Why recovery is not defined; empty if it is.
    """

    value: float
    low: float
    high: float
    translated_effect: float
    real_effect: float
    reason: str = ""


def recovery(
    real_source: ArrayLike,
    real_target: ArrayLike,
    translated: ArrayLike,
    *,
    reconstructed: ArrayLike | None = None,
    paired: bool = False,
) -> Recovery:
    """Estimate which part of the real effect translation reproduces.

    Parameters
    ----------
    real_source, real_target : array-like of shape (N,), (M,)
        One value per real image of either condition.
    translated : array-like of shape (K,)
        One value per translated image.
    reconstructed : array-like of shape (K,), optional
        The same images translated to their own condition, in the same order. They went through
        the autoencoder as well, so that its own error cancels. Without them, the translated
        images are held against all real source images.
    paired : bool
        Whether the real values at the same place belong together, such as a field before and
        after. The real effect is the shift of these pairs then, as `compare` has it.

    Returns
    -------
    Recovery
        Not defined (NaN, with a reason) if the interval of the real effect contains 0: what is
        not there cannot be recovered, and the ratio would be one of noise.

    Raises
    ------
    InputError
        If `reconstructed` and `translated`, or paired real groups, differ in length.

    Notes
    -----
    The interval of the ratio comes from those of the two shifts (MOVER: Donner and Zou, Stat
    Methods Med Res 2012, 21:347). That of the translated shift is narrowed by what the pairs have
    in common. The pairs are taken to be of the source images, which the real shift starts from as
    well: where those that have more of it change more, the two vary against each other, and the
    interval is wider. `docs/notes/intervals.md` says how often it covers the truth.
    """
    source, target, after = map(as_values, (real_source, real_target, translated))
    if paired:
        source, target = complete_pairs(source, target)
    else:
        source, target = source[~np.isnan(source)], target[~np.isnan(target)]
    if reconstructed is None:
        before, after = source, after[~np.isnan(after)]
    else:
        before, after = complete_pairs(as_values(reconstructed), after)
    if min(source.size, target.size, before.size, after.size) < 2:
        nothing = (math.nan,) * 5
        return Recovery(*nothing, reason="fewer than two measured images in a group")

    if paired:
        real = intervals.paired_shift(target - source)
        real_ends = intervals.paired_shift_interval(target - source)
    else:
        real, real_ends = shift(source, target), shift_interval(source, target)
    made, made_ends = shift(before, after), shift_interval(before, after)
    if real_ends[0] <= 0 <= real_ends[1]:
        reason = "the real conditions are not shown to differ"
        return Recovery(math.nan, math.nan, math.nan, made, real, reason)
    if reconstructed is None:
        correlation = _common(source, target, after)
    else:
        correlation = 0.0 if paired else _of_pairs(source, target, before, after)
        narrower = _narrowing(before, after)
        made_ends = made - narrower * (made - made_ends[0]), made + narrower * (made_ends[1] - made)
    low, high = ratio_interval(made, made_ends, real, real_ends, correlation)
    # adding 0.0 turns -0.0 into 0.0
    return Recovery(made / real + 0.0, low + 0.0, high + 0.0, made, real)


def ratio_interval(
    above: float,
    above_ends: Interval,
    below: float,
    below_ends: Interval,
    correlation: float = 0.0,
) -> Interval:
    """Find the interval of a ratio from those of its parts.

    Parameters
    ----------
    above, below : float
        Estimates of numerator and denominator.
    above_ends, below_ends : tuple of float
        Their intervals; that of the denominator does not hold 0.
    correlation : float
        Correlation of the two estimates.

    Returns
    -------
    tuple of float
        Lower and upper end, of the same level.
    """
    if below < 0:
        above, above_ends = -above, (-above_ends[1], -above_ends[0])
        below, below_ends = -below, (-below_ends[1], -below_ends[0])

    def too_low(ratio: float) -> float:
        """How far `above - ratio * below` is over 0, beyond what its own interval allows."""
        arm = above - above_ends[0]
        other = (below_ends[1] - below) if ratio > 0 else (below - below_ends[0])
        return above - ratio * below - _joined(arm, ratio * other, correlation)

    def too_high(ratio: float) -> float:
        arm = above_ends[1] - above
        other = (below - below_ends[0]) if ratio > 0 else (below_ends[1] - below)
        return ratio * below - above - _joined(arm, ratio * other, correlation)

    estimate = above / below
    return _root(too_low, estimate, -1), _root(too_high, estimate, 1)


def _joined(arm: float, other: float, correlation: float) -> float:
    """Half-width of the interval of a difference, from those of its parts."""
    return math.sqrt(max(0.0, arm**2 + other**2 - 2 * correlation * arm * other))


def _root(excess: Callable[[float], float], start: float, direction: int) -> float:
    """Where the excess becomes positive on the way from a start, where it is not."""
    from scipy.optimize import brentq

    if excess(start) >= 0:
        return start
    step = max(abs(start), 1e-3) / 16
    inner, outer = start, start + direction * step
    while excess(outer) < 0:
        step *= 1.5
        inner, outer = outer, outer + direction * step
        if step > 1e12 * max(abs(start), 1.0):
            return direction * math.inf
    return float(brentq(excess, *sorted((inner, outer))))


def _narrowing(before: np.ndarray, after: np.ndarray) -> float:
    """How much less the shift of pairs varies than that of as many images apart.

    The shift varies as the mean of placements does: the ranks of one group among the other, once
    the shift is taken away.
    """
    aligned = after - shift(before, after)
    risen, fallen = placements(aligned, before), 1 - placements(before, aligned)
    apart = risen.var(ddof=1) + fallen.var(ddof=1)
    return math.sqrt((risen + fallen).var(ddof=1) / apart) if apart else 0.0


def _common(source: np.ndarray, target: np.ndarray, after: np.ndarray) -> float:
    """Correlation of two shifts from the same source."""
    parts = []
    for group in (target, after):
        aligned = group - shift(source, group)
        own, others = placements(source, aligned), placements(aligned, source)
        variance = own.var(ddof=1) / own.size + others.var(ddof=1) / others.size
        parts.append((own, variance))
    (first, first_variance), (second, second_variance) = parts
    if not first_variance or not second_variance:
        return 0.0
    covariance = np.cov(first, second)[0, 1] / source.size
    return float(np.clip(covariance / math.sqrt(first_variance * second_variance), -1, 1))


def _of_pairs(
    source: np.ndarray, target: np.ndarray, before: np.ndarray, after: np.ndarray
) -> float:
    """Correlation of the shift of pairs with that from the source that they are of, at most 0.

    A correlation above 0 would make the interval narrower, and wrong if the pairs are of other
    images than the source is known by.
    """
    aligned = target - shift(source, target)
    own, others = 1 - placements(source, aligned), placements(aligned, source)
    real = own.var(ddof=1) / own.size + others.var(ddof=1) / others.size
    risen = after - shift(before, after)
    changes = placements(risen, before) + 1 - placements(before, risen)
    made = changes.var(ddof=1) / changes.size
    if not real or not made:
        return 0.0
    # what the same images add to the real shift, as they came through the autoencoder
    added = 1 - placements(before + shift(before, source), aligned)
    covariance = np.cov(added, changes)[0, 1] / source.size
    return float(np.clip(covariance / math.sqrt(real * made), -1, 0))


def recovery_text(recovered: Recovery) -> str:
    """Put a recovery into words, with its interval: ``"recovery 81 % (74 to 89 %)"``."""
    if math.isnan(recovered.value):
        return f"recovery not defined: {recovered.reason}"
    if math.isnan(recovered.low):
        return f"recovery {100 * recovered.value:.0f} % ({recovered.reason})"
    return (
        f"recovery {100 * recovered.value:.0f} % "
        f"({100 * recovered.low:.0f} to {100 * recovered.high:.0f} %)"
    )
