"""How often few pairs are found to differ, where nothing changes and where something does.

    python benchmarks/few_pairs.py [--draws N]

Prints a table: for 4 to 7 pairs, whose values share a part of their variance, how often the test
of `measurement.statistics.compare` gives p below 0.05, for a change of 0, 1 and 3 standard
deviations of the values; a shared part below 0 goes up in one of a pair where it goes down in the
other. Beside it what the signed-rank test and Student's t of the pairs give.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from napari_phenldiff.measurement.statistics.compare import compare


def main() -> None:
    """Read the arguments, draw, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    print("| pairs | shared variance | change | here | signed rank | Student's t |")
    print("|---|---|---|---|---|---|")
    for pairs in (4, 5, 6, 7):
        for shared in (-0.9, 0.0, 0.5, 0.9):
            for change in (0.0, 1.0, 3.0):
                found = np.zeros(3)
                for _ in range(arguments.draws):
                    own = np.sqrt(abs(shared)) * rng.normal(size=pairs)
                    a, b = (np.sqrt(1 - abs(shared)) * rng.normal(size=pairs) for _ in range(2))
                    a, b = a + own, b + np.sign(shared) * own + change
                    found += (
                        compare(a, b, paired=True, n_resamples=0).p_value < 0.05,
                        stats.wilcoxon(b - a).pvalue < 0.05,
                        stats.ttest_rel(b, a).pvalue < 0.05,
                    )
                parts = " | ".join(f"{part:.3f}" for part in found / arguments.draws)
                print(f"| {pairs} | {shared:g} | {change:g} | {parts} |", flush=True)


if __name__ == "__main__":
    main()
