"""How well the change of a single image can be predicted at all: docs/notes/simulated-truth.md.

    python benchmarks/attainable.py [--phenotypes NAME ...] [--images 24] [--again 12] [--seed 1]

In the simulations a cell's response is random: how much of the marker moves, which neurites are
lost, where the stacks of the Golgi go. The source image does not contain this information. So the
true counterpart of an image is one of many, and the change of a measurement can only be predicted
as far as it varies more between images than between counterparts of one image. Here every image
gets ``--again`` counterparts, in which only the responses are drawn again.

The correlation of the true change with the average over all counterparts of an image, which is the
best that can be foretold, is ``sqrt(between / (between + within))`` with the variances between
images and within those of one image. No method can do better in the average.
"""

from __future__ import annotations

import argparse
from typing import Any
from unittest.mock import patch

import numpy as np

from napari_phenldiff.images.phenotypes import PHENOTYPES
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.measurement.measure import measure_image
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.fitting import fit_thresholds

_default_rng = np.random.default_rng
_TURN = (0.0, 2 * np.pi)


class Redrawn:
    """Random numbers of a cell, with those of its response taken from another generator.

    The replaced numbers are still drawn from the first generator, so that all other numbers stay
    the same.
    """

    def __init__(self, phenotype: str, own: np.random.Generator, other: np.random.Generator):
        self._phenotype, self._own, self._other = phenotype, own, other
        self._turns = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def uniform(self, *args: float) -> Any:
        """Draw as the cell does, and replace what is drawn for its response."""
        value = self._own.uniform(*args)
        self._turns += args == _TURN
        response = {
            "translocation": args == (0.4, 1.6),
            # the first turns are the outline's and the place of the compact apparatus
            "golgi": args in ((), (1.1, 2.1)) or (args == _TURN and self._turns > 4),
            "neurons": args == (),
        }[self._phenotype]
        return self._other.uniform(*args) if response else value


def changes(phenotype: str, images: int, again: int, seed: int) -> np.ndarray:
    """Return true changes ``(images, again)`` of the main measurement of a phenotype's profile."""
    profile = PROFILES[phenotype]
    settings = profile.settings_type()
    pairs = []
    for k in range(again):
        other = _default_rng([seed, k, 5])

        def own(number: Any = None, other: np.random.Generator = other) -> Any:
            made = _default_rng(number)
            return Redrawn(phenotype, made, other) if isinstance(number, int) else made

        with patch.object(np.random, "default_rng", own):
            pairs.append(list(simulate_pairs(phenotype, images, seed=seed)))
    sources, targets = [pair.source for pair in pairs[0]], [[p.target for p in x] for x in pairs]
    thresholds = fit_thresholds(profile, [*sources, *targets[0]], settings)
    column = profile.suited(settings).main_column

    def value(image: Any) -> float:
        return float(measure_image(profile, image, settings, thresholds).values[column])

    before = np.array([value(image) for image in sources])
    after = np.array([[value(image) for image in group] for group in targets])
    return (after - before).T


def attainable(change: np.ndarray) -> float:
    """Return the largest possible correlation of a prediction with ``(images, counterparts)``."""
    change = change[np.isfinite(change).all(axis=1)]
    within = float(change.var(axis=1, ddof=1).mean())
    between = max(0.0, float(change.mean(axis=1).var(ddof=1)) - within / change.shape[1])
    return float(np.sqrt(between / (between + within)))


def main() -> None:
    """Read the arguments, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--phenotypes", nargs="+", choices=list(PHENOTYPES))
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--again", type=int, default=12, help="counterparts of an image")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print("| phenotype | change | spread within an image | attainable correlation |")
    print("|---|---|---|---|")
    for name in args.phenotypes or PHENOTYPES:
        change = changes(name, args.images, args.again, args.seed)
        spread = np.sqrt(np.nanmean(change.var(axis=1, ddof=1)))
        rows = _default_rng(0).integers(len(change), size=(1000, len(change)))
        low, high = np.percentile([attainable(change[r]) for r in rows], [2.5, 97.5])
        print(
            f"| {name} | {np.nanmedian(change):+.3f} | {spread:.3f} | "
            f"{attainable(change):.2f} ({low:.2f} to {high:.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
