"""Error rates of the verdict: the tables of docs/notes/verdict.md.

Usage::

    python benchmarks/false_claims.py {images,wells} [--experiments 1000] [--seed 0]

Each experiment simulates measurements: real images of both conditions, and source images
reconstructed, translated, and translated to their own condition. The standard deviation between
images is 1; the rows give the real effect and the effect that the translation shows. ``wells``
draws images of wells, which share half of their variance, and counts images or wells.
"""

from __future__ import annotations

import argparse

import numpy as np

from napari_phenldiff.evaluation.evidence import Effect, Evidence
from napari_phenldiff.evaluation.verdict import judge
from napari_phenldiff.measurement.statistics.compare import compare
from napari_phenldiff.measurement.statistics.recovery import recovery

# real effect, effect shown by the translation
NULLS = ((0, 0), (0, 1), (2, 0), (2, -2))
TRUE = ((2, 0.2), (2, 1), (2, 2), (3, 3))
ANSWERS = ("supported", "not supported", "cannot tell")


def effect(a: np.ndarray, b: np.ndarray, *, paired: bool) -> Effect:
    # one permutation: what is judged are ranks and intervals
    return Effect.from_comparison(compare(a, b, paired=paired, n_resamples=1))


def evidence(
    rng: np.random.Generator, source: np.ndarray, target: np.ndarray, shown: float, wells: int = 0
) -> Evidence:
    n = source.size
    reconstructed = source + rng.normal(0, 0.05, n)
    translated = reconstructed + shown + rng.normal(0, 0.3, n)
    own = source + rng.normal(0, 0.05, n)
    groups = [source, target, reconstructed, translated, own]
    if wells:
        groups = [np.median(group.reshape(wells, -1), 1) for group in groups]
    source, target, reconstructed, translated, own = groups
    found = recovery(source, target, translated, reconstructed=reconstructed)
    return Evidence(
        real=effect(source, target, paired=False),
        translated=effect(reconstructed, translated, paired=True),
        recovery=(found.value, found.low, found.high),
        null=effect(source, own, paired=True),
        own_source=1.0,
    )


def of_wells(rng: np.random.Generator, wells: int, each: int, mean: float) -> np.ndarray:
    shared = np.repeat(rng.normal(0, np.sqrt(0.5), wells), each)
    return mean + shared + rng.normal(0, np.sqrt(0.5), wells * each)


def show(name: str, answers: list[str]) -> None:
    parts = " | ".join(f"{100 * answers.count(a) / len(answers):.1f}" for a in ANSWERS)
    print(f"| {name} | {parts} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("images", "wells"))
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    print(f"| experiment | {' | '.join(ANSWERS)} |\n|---|---|---|---|")
    if args.what == "images":
        for n in (6, 12, 24):
            for real, shown in (*NULLS, *TRUE):
                count = args.experiments if (real, shown) in NULLS else args.experiments // 10
                answers = []
                for _ in range(count):
                    groups = rng.normal(0, 1, n), rng.normal(real, 1, n)
                    answers.append(judge(evidence(rng, *groups, shown)).answer)
                show(f"{n} images, real {real}, shown {shown}", answers)
        return
    for wells, each in ((6, 4), (8, 3)):
        for shown in (0, 1):
            for counted in ("images", "wells"):
                answers = []
                for _ in range(args.experiments):
                    groups = (of_wells(rng, wells, each, 0) for _ in range(2))
                    found = evidence(rng, *groups, shown, wells if counted == "wells" else 0)
                    answers.append(judge(found).answer)
                show(f"{wells} wells of {each}, real 0, shown {shown}, {counted}", answers)


if __name__ == "__main__":
    main()
