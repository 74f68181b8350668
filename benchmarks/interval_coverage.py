"""How often intervals of effects cover the truth: the tables of docs/notes/intervals.md.

Usage::

    python benchmarks/interval_coverage.py {shift,delta,paired,recovery} [--methods NAME ...]
        [--images 5 8 12 20 50] [--experiments 400] [--seed 0]

Each experiment draws images of two conditions (for recovery also of translations) whose true
effect is known, from 4 million values. A row per distribution and method says in how many per cent
of the experiments the 95 % interval held the truth, and how wide it was, in the median, in parts
of that of the percentile bootstrap. Recovery counts experiments that tell of one.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats

from napari_phenldiff.measurement.statistics import intervals
from napari_phenldiff.measurement.statistics.recovery import recovery

RESAMPLES = 400
Interval = tuple[float, float]
Sample = Callable[[np.random.Generator, int], tuple[np.ndarray, ...]]


# --- what experiments look like ---------------------------------------------------------------


def added(draw: Callable[[np.random.Generator, int], np.ndarray], effect: float) -> Sample:
    return lambda rng, n: (draw(rng, n), draw(rng, n) + effect)


def of_two(first: Callable, second: Callable) -> Sample:
    return lambda rng, n: (first(rng, n), second(rng, n))


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


def skewed(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.lognormal(0, 0.8, n)


GROUPS: dict[str, Sample] = {
    "normal + 1 sd": added(normal, 1),
    "normal + 3 sd": added(normal, 3),
    "normal, sd 1 and 2": of_two(normal, lambda r, n: r.normal(1.5, 2, n)),
    "t(3) + 1": added(lambda r, n: r.standard_t(3, n), 1),
    "lognormal + 1": added(skewed, 1),
    "lognormal x 1.8": of_two(skewed, lambda r, n: 1.8 * skewed(r, n)),
    "area fraction, beta": of_two(lambda r, n: r.beta(2, 18, n), lambda r, n: r.beta(4, 12, n)),
}


def pairs(spread: Callable[[np.random.Generator, int], np.ndarray], effect: float) -> Sample:
    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
        before = rng.normal(0, 2, n)
        return before, before + effect + spread(rng, n)

    return draw


PAIRS: dict[str, Sample] = {
    "normal": pairs(normal, 1),
    "t(3)": pairs(lambda r, n: r.standard_t(3, n), 1),
    "lognormal": pairs(skewed, 0),
    "exponential": pairs(lambda r, n: r.exponential(1, n), 0),
}


def translation(
    first: Callable, change: Callable[[np.ndarray, float], np.ndarray], part: float, noise: float
) -> Sample:
    """Real images of two conditions; reconstructions of new ones and their translations."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
        source, target = first(rng, n), change(first(rng, n), 1)
        before = first(rng, n)
        after = change(before, part)
        return source, target, before, after + noise * np.std(before) * rng.normal(size=n)

    return draw


def of_the_same(sample: Sample) -> Sample:
    """Make the reconstructions those of the real source images."""

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, ...]:
        _, target, before, after = sample(rng, n)
        return before + 0.1 * np.std(before) * rng.normal(size=n), target, before, after

    return draw


def plus(size: float) -> Callable[[np.ndarray, float], np.ndarray]:
    return lambda x, part: x + part * size


def times(factor: float) -> Callable[[np.ndarray, float], np.ndarray]:
    return lambda x, part: x * factor**part


TRANSLATIONS: dict[str, Sample] = {
    "normal + 3 sd, 0.7": translation(normal, plus(3), 0.7, 0.3),
    "normal + 3 sd, 0.7, unsteady": translation(normal, plus(3), 0.7, 1.0),
    "normal + 2 sd, 0": translation(normal, plus(2), 0.0, 0.3),
    "normal + 5 sd, 1": translation(normal, plus(5), 1.0, 0.5),
    "lognormal + 4, 0.7": translation(skewed, plus(4), 0.7, 0.3),
    "lognormal x 3, 0.7": translation(skewed, times(3), 0.7, 0.2),
    "narrow lognormal x 2, 0.8": translation(
        lambda r, n: r.lognormal(0, 0.3, n), times(2), 0.8, 0.3
    ),
    "the same images, + 3 sd, 0.7": of_the_same(translation(normal, plus(3), 0.7, 0.3)),
}


# --- intervals that were tried ----------------------------------------------------------------


def shifts(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    """Hodges-Lehmann shifts along the last axis."""
    differences = b[..., :, None] - a[..., None, :]
    return np.median(differences.reshape(*differences.shape[:-2], -1), axis=-1)


def deltas(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.sign(b[..., :, None] - a[..., None, :]).mean(axis=(-2, -1))


def walsh(d: np.ndarray, axis: int = -1) -> np.ndarray:
    rows, columns = np.triu_indices(d.shape[-1])
    return np.median((d[..., rows] + d[..., columns]) / 2, axis=-1)


def balances(d: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.sign(d).mean(axis=-1)


def bootstrap(statistic: Callable, method: str) -> Callable[..., Interval]:
    def interval(*samples: np.ndarray) -> Interval:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = stats.bootstrap(
                samples,
                statistic,
                vectorized=True,
                n_resamples=RESAMPLES,
                method=method,
                batch=200,
                rng=np.random.default_rng(0),
            ).confidence_interval
        return float(found.low), float(found.high)

    return interval


def drawn(rng: np.random.Generator, x: np.ndarray, n: int = RESAMPLES) -> np.ndarray:
    return x[rng.integers(0, x.size, (n, x.size))]


def studentised(statistic: Callable) -> Callable[..., Interval]:
    """Bootstrap of t, with the jackknife's standard error."""

    def error(samples: tuple[np.ndarray, ...]) -> np.ndarray:
        total = 0.0
        for i, x in enumerate(samples):
            n = x.shape[-1]
            left = [
                statistic(*samples[:i], np.delete(x, k, axis=-1), *samples[i + 1 :])
                for k in range(n)
            ]
            total = total + (n - 1) / n * ((np.array(left) - np.mean(left, 0)) ** 2).sum(0)
        return np.sqrt(total)

    def interval(*samples: np.ndarray) -> Interval:
        rng = np.random.default_rng(0)
        resampled = tuple(drawn(rng, x) for x in samples)
        found = statistic(*samples)
        with np.errstate(all="ignore"):
            ratios = (statistic(*resampled) - found) / error(resampled)
        low, high = np.nanpercentile(ratios[np.isfinite(ratios)], [2.5, 97.5])
        scale = error(samples)
        return float(found - high * scale), float(found - low * scale)

    return interval


def brunner_munzel_inverted(a: np.ndarray, b: np.ndarray) -> Interval:
    """Invert Brunner and Munzel's test, which is meant for unequal variances."""
    differences = np.sort(np.subtract.outer(b, a), axis=None)
    kept = []
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for d in differences[:: max(1, differences.size // 100)]:
            p = stats.brunnermunzel(a + d, b).pvalue
            kept.append(not p <= 0.05 and np.isfinite(p))
    chosen = differences[:: max(1, differences.size // 100)][kept]
    return (float(chosen[0]), float(chosen[-1])) if chosen.size else (math.nan, math.nan)


def delta_logit(a: np.ndarray, b: np.ndarray) -> Interval:
    """Brunner and Munzel's variance, on the scale of the logit."""
    p = (intervals.cliffs_delta(a, b) + 1) / 2
    va = intervals.placements(a, b).var(ddof=1) / a.size
    vb = intervals.placements(b, a).var(ddof=1) / b.size
    if p in (0, 1) or not va + vb:
        return 2 * p - 1, 2 * p - 1
    freedom = (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(va + vb) / (p * (1 - p))
    centre = math.log(p / (1 - p))
    return math.tanh((centre - half) / 2), math.tanh((centre + half) / 2)


def on_differences(interval: Callable[[np.ndarray], Interval]) -> Callable[..., Interval]:
    return lambda before, after: interval(after - before)


def resampled_effects(
    rng: np.random.Generator, *samples: np.ndarray, n: int = RESAMPLES
) -> tuple[np.ndarray, np.ndarray]:
    """Real and translated effects of resampled images; pairs are drawn together."""
    source, target, before, after = samples
    chosen = rng.integers(0, after.size, (n, after.size))
    return shifts(drawn(rng, source, n), drawn(rng, target, n)), shifts(
        before[chosen], after[chosen]
    )


def ratio_percentile(*samples: np.ndarray) -> Interval:
    real, made = resampled_effects(np.random.default_rng(0), *samples)
    low, high = np.percentile(made / real, [2.5, 97.5])
    return float(low), float(high)


def ratio_bca(*samples: np.ndarray) -> Interval:
    source, target, before, after = samples

    def ratio(s: np.ndarray, t: np.ndarray, k: np.ndarray, axis: int = -1) -> np.ndarray:
        i = k.astype(int)
        return shifts(before[i], after[i]) / shifts(s, t)

    return bootstrap(ratio, "BCa")(source, target, np.arange(after.size))


def ratio_double(*samples: np.ndarray) -> Interval:
    """Percentiles at the level that would have covered in a bootstrap of the bootstrap."""
    rng = np.random.default_rng(0)
    source, target, before, after = samples
    real, made = resampled_effects(rng, *samples)
    truth = shifts(before, after) / shifts(source, target)
    levels = []
    for _ in range(100):
        k = rng.integers(0, after.size, after.size)
        again = drawn(rng, source, 1)[0], drawn(rng, target, 1)[0], before[k], after[k]
        r, m = resampled_effects(rng, *again, n=100)
        levels.append(abs((m / r < truth).mean() - 0.5))
    tail = max(0.0, 0.5 - float(np.quantile(levels, 0.95)))
    low, high = np.quantile(made / real, [tail, 1 - tail])
    return float(low), float(high)


def ratio_fieller(*samples: np.ndarray) -> Interval:
    """Fieller's theorem with variances of the bootstrap, made larger by n / (n - 1)."""
    source, target, before, after = samples
    real, made = resampled_effects(np.random.default_rng(0), *samples)
    n = min(x.size for x in samples)
    vr, vm = real.var() * n / (n - 1), made.var() * n / (n - 1)
    r, m = shifts(source, target), shifts(before, after)
    t2 = stats.t.ppf(0.975, 2 * (n - 1)) ** 2
    a, b, c = r**2 - t2 * vr, -2 * r * m, m**2 - t2 * vm
    if a <= 0 or b * b < 4 * a * c:
        return math.nan, math.nan
    root = math.sqrt(b * b - 4 * a * c)
    return float((-b - root) / (2 * a)), float((-b + root) / (2 * a))


def ratio_chosen(*samples: np.ndarray) -> Interval:
    found = recovery(*samples[:2], samples[3], reconstructed=samples[2])
    return found.low, found.high


METHODS: dict[str, dict[str, Callable[..., Interval]]] = {
    "shift": {
        "percentile": bootstrap(shifts, "percentile"),
        "BCa": bootstrap(shifts, "BCa"),
        "studentised": studentised(shifts),
        "Brunner-Munzel inverted": brunner_munzel_inverted,
        "chosen: Mann-Whitney inverted": intervals.shift_interval,
    },
    "delta": {
        "percentile": bootstrap(deltas, "percentile"),
        "BCa": bootstrap(deltas, "BCa"),
        "logit, Brunner-Munzel": delta_logit,
        "chosen: score": intervals.delta_interval,
    },
    "paired": {
        "percentile": on_differences(bootstrap(walsh, "percentile")),
        "BCa": on_differences(bootstrap(walsh, "BCa")),
        "studentised": on_differences(studentised(walsh)),
        "chosen: signed ranks inverted": on_differences(intervals.paired_shift_interval),
    },
    "balance": {
        "percentile": on_differences(bootstrap(balances, "percentile")),
        "chosen: Clopper-Pearson": on_differences(intervals.balance_interval),
    },
    "recovery": {
        "percentile": ratio_percentile,
        "BCa": ratio_bca,
        "double bootstrap": ratio_double,
        "Fieller, bootstrap": ratio_fieller,
        "chosen": ratio_chosen,
    },
}


# --- the count --------------------------------------------------------------------------------


def truth_of(what: str, sample: Sample) -> float:
    rng = np.random.default_rng(12345)
    drawn_values = sample(rng, 4_000_000)
    if what in ("paired", "balance"):
        d = drawn_values[1] - drawn_values[0]
        return float(np.median((d + rng.permutation(d)) / 2 if what == "paired" else 0))
    between = [rng.permutation(b) - a for a, b in zip(*[iter(drawn_values)] * 2, strict=True)]
    if what == "delta":
        return float(np.sign(between[0]).mean())
    medians = [float(np.median(d)) for d in between]
    return medians[0] if what == "shift" else medians[1] / medians[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=list(METHODS))
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="parts of names; default: all")
    parser.add_argument("--images", nargs="+", type=int, default=[5, 8, 12, 20, 50])
    parser.add_argument("--experiments", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    samples = {"paired": PAIRS, "balance": PAIRS, "recovery": TRANSLATIONS}.get(args.what, GROUPS)
    methods = {
        name: method
        for name, method in METHODS[args.what].items()
        if args.methods is None or any(part in name for part in args.methods)
    }
    print(f"| distribution | method | {' | '.join(f'n = {n}' for n in args.images)} |")
    print("|---|---|" + "---|" * len(args.images))
    for label, sample in samples.items():
        truth = truth_of(args.what, sample)
        if args.what == "balance":
            d = np.subtract(*sample(np.random.default_rng(1), 4_000_000)[::-1])
            truth = float(np.sign(d).mean())
        cells: dict[str, list[str]] = {name: [] for name in methods}
        for n in args.images:
            rng = np.random.default_rng([args.seed, n])
            experiments = [sample(rng, n) for _ in range(args.experiments)]
            reference = math.nan
            for name, method in methods.items():
                ends = np.array([method(*experiment) for experiment in experiments])
                told = np.isfinite(ends).all(axis=1)
                ends = ends[told]
                covered = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
                width = float(np.median(ends[:, 1] - ends[:, 0]))
                reference = width or math.nan if math.isnan(reference) else reference
                lost = "" if told.all() else f" of {told.sum()}"
                cells[name].append(f"{100 * covered:.1f}{lost} ({width / reference:.2f})")
        for name, found in cells.items():
            print(f"| {label} | {name} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
