"""Error rates of the structure rule: the second table of docs/notes/structure.md.

    python benchmarks/structure_rates.py DATA [--draws 100] [--images 8 16 24]

Real images are drawn at random, so many of the source to be translated, twice as many of either
condition to compare with (as far as there are), and other real target images in the place of
translated ones: the right picture, which should be supported. Then the source images as they are,
which have the structure of any dimmed copy; images of one condition that are shared out to two; and
mixtures of both conditions, of which a part is the target's.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from napari_phenldiff.evaluation.benchmark.split import middle
from napari_phenldiff.evaluation.evidence import Effect, Evidence, Rules
from napari_phenldiff.evaluation.structure import GROUPS, Taken, compare_structure, structure_of
from napari_phenldiff.evaluation.verdict import has_structure_of_target
from napari_phenldiff.images.experiment import Experiment

SETS = (
    ("neurite_axotomy", "uncut", "cut"),
    ("autophagosomes", "treatment_B", "treatment_A"),
    ("autophagosomes", "treatment_A", "treatment_B"),
    ("bbbc013_translocation", "untreated", "treated"),
)
OUTCOMES = ("for", "open", "against", "not tried")
NOTHING = Effect(0.0, 0.0, 0.0, 1.0, 1.0, 0, 0)


def chosen(taken: Taken, rows: np.ndarray) -> Taken:
    return tuple({name: values[rows] for name, values in part.items()} for part in taken)


def draw(
    rng: np.random.Generator, source: Taken, target: Taken, n: int, what: str
) -> dict[str, Taken]:
    """Draw the four groups of one experiment."""
    if what == "one condition":
        target = source
    sizes = [len(taken[0]["coherence"]) for taken in (source, target)]
    first, second = (rng.permutation(size) for size in sizes)
    if what == "one condition":
        first, second = first[: sizes[0] // 2], first[sizes[0] // 2 :]
    # what stands in for translated images is not among those that are compared with
    held_out, others = second[:n], second[n:]
    first, others = first[: 2 * n], others[: 2 * n]
    own = chosen(source, first[:n])
    made = chosen(target, held_out) if what in ("real target", "one condition") else own
    if what == "half":
        mixed = rng.random(n) < 0.5
        other = chosen(target, held_out)
        made = tuple(
            {
                name: np.where(mixed.reshape(-1, *[1] * (a[name].ndim - 1)), b[name], a[name])
                for name in a
            }
            for a, b in zip(own, other, strict=True)
        )
    groups = (chosen(source, first), chosen(target, others), own, made)
    return dict(zip(GROUPS, groups, strict=True))


def main() -> None:
    """Read the arguments, measure once, draw and judge."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--images", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--sets", nargs="+", default=[f"{a}-{b}" for _, a, b in SETS])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    kinds = ("real target", "half", "as they are", "one condition")
    print("| data set | images | " + " | ".join(kinds) + " |\n|---|---|" + "---|" * len(kinds))
    for folder, *ends in SETS:
        if "-".join(ends) not in args.sets:
            continue
        real = Experiment.from_folder(args.data / folder, conditions=tuple(ends))
        channels = real.conditions[0].images[0].channel_names
        taken = [
            structure_of([middle(image, 128) for image in condition.images])
            for condition in real.conditions
        ]
        for n in args.images:
            cells = []
            for kind in kinds:
                rng = np.random.default_rng(args.seed)
                said: Counter[str] = Counter()
                for _ in range(args.draws):
                    groups = draw(rng, taken[0], taken[1], n, kind)
                    names = [
                        [f"{group} {i}" for i in range(len(groups[group][0]["coherence"]))]
                        for group in GROUPS[:2]
                    ]
                    found = compare_structure(groups, channels, *names, channels[:-1])
                    evidence = Evidence(NOTHING, NOTHING, (0.0, 0.0, 0.0), structure=found)
                    said[has_structure_of_target(evidence, Rules()).outcome] += 1
                cells.append(", ".join(f"{100 * said[o] / args.draws:.0f}" for o in OUTCOMES))
            print(f"| {ends[0]} to {ends[1]} | {n} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
