"""Speed and accuracy of the dial of a translation: the table of docs/notes/dial.md.

Usage::

    python benchmarks/dial.py RUN IMAGE [IMAGE ...]

RUN is a run with a result, and the IMAGES are tiles in its source condition. For each kind of
draft, the error is the root mean square of its difference from the exact image, divided by that of
the change from the reconstruction, in the channel that changes most. The times are of one tile.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from napari_phenldiff import TranslationConfig, Translator, read_tiff
from napari_phenldiff.diffusion.schedule import Schedule

STRENGTHS = (0.5, 1.0, 1.5)


class Bench:
    """Inverted tiles with exact results at some strengths."""

    def __init__(self, run: Path, images: list[Path]) -> None:
        self.translator = Translator.from_run(run)
        self.config = TranslationConfig(
            source=self.translator.tokens.conditions[0],
            target=self.translator.tokens.conditions[1],
        )
        scaling, base = self.translator.scaling, self.translator.base
        found = [read_tiff(path)[0] for path in images]
        self.channels = found[0].n_channels
        tiles = np.stack([scaling.apply(image.data) for image in found])
        self.inversion = self.translator.invert(base.encode(tiles), self.config)
        self.exact = {
            s: self.translator.generate(self.inversion, self.config, strength=s)
            for s in (0.0, *STRENGTHS)
        }
        change = self.pixels(self.exact[1.0]) - self.pixels(self.exact[0.0])
        self.channel = int(np.abs(change).mean(axis=(0, 2, 3)).argmax())

    def pixels(self, latents: torch.Tensor) -> np.ndarray:
        """Decode latents to tiles."""
        return self.translator.base.decode(latents, self.channels)

    def error(self, look: torch.Tensor, strength: float) -> float:
        """Return the error of a draft, relative to the change."""
        exact, source = self.pixels(self.exact[strength]), self.pixels(self.exact[0.0])
        missed = (self.pixels(look) - exact)[:, self.channel]
        change = (exact - source)[:, self.channel]
        return float(np.sqrt((missed**2).mean() / (change**2).mean()))

    def steps(self, n: int, strength: float, *, second_order: bool = False) -> torch.Tensor:
        """Generate in `n` steps; a second-order one extrapolates from the step before."""
        translator, base = self.translator, self.translator.base
        schedule = Schedule.from_alphas(
            base.alphas_cumprod,
            base.prediction_type,
            steps=round(n / self.config.depth),
            depth=self.config.depth,
        )
        if second_order and base.prediction_type != "v_prediction":
            raise SystemExit("the second order is written for bases that predict v")
        predict = translator._predict(schedule, self.inversion, self.config, strength=strength)
        x, before = self.inversion.code, None
        for k in range(len(schedule.timesteps) - 1, -1, -1):
            output = predict(x, schedule.timesteps[k])
            width = schedule.angles[k + 1] - schedule.angles[k]
            slope = output
            if second_order and before is not None:
                slope = output + width / (2 * before[1]) * (output - before[0])
            x = schedule._step(x, slope, k)
            before = output, width
        return torch.where(translator._given, self.inversion.path[0], x)

    def corrected(self, n: int, strength: float, *, second_order: bool = False) -> torch.Tensor:
        """Correct a draft by the error of as few steps on the reconstruction."""
        rough = self.steps(n, strength, second_order=second_order)
        return rough - self.steps(n, 0.0, second_order=second_order) + self.exact[0.0]

    def line(self, strength: float) -> torch.Tensor:
        """Interpolate between source and target."""
        return torch.lerp(self.exact[0.0], self.exact[1.0], strength)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    args = parser.parse_args()
    bench = Bench(args.run, args.images)
    ways: dict[str, Callable[[float], torch.Tensor]] = {
        "straight line from 0 to 1": bench.line,
        "8 steps": lambda s: bench.steps(8, s),
        **{f"{n} steps, corrected": lambda s, n=n: bench.corrected(n, s) for n in (8, 10, 16, 20)},
        "10 steps of second order, corrected": lambda s: bench.corrected(10, s, second_order=True),
    }
    print("| first look | error at strength " + ", ".join(map(str, STRENGTHS)) + " |\n|---|---|")
    for name, way in ways.items():
        errors = [f"{bench.error(way(s), s):.3f}" for s in STRENGTHS]
        print(f"| {name} | {' / '.join(errors)} |")
    times(bench.translator, bench.config, args.images[0])


def times(translator: Translator, config: TranslationConfig, path: Path) -> None:
    """Print the times to invert one image and to render it at another strength."""
    (image,) = read_tiff(path)
    started = time.perf_counter()
    dial = translator.dial(image, config)
    inverted = time.perf_counter() - started
    dial.prepare()
    looks: list[list[float]] = []
    for strength in (0.4, 0.7, 1.3):
        started = time.perf_counter()
        looks.append([time.perf_counter() - started for _ in dial.render(strength)])
    first, last = np.median([[look[0], look[-1]] for look in looks], axis=0)
    print(f"\ninverted and translated {inverted:.1f} s")
    print(f"first look {first:.2f} s, exact {last:.2f} s")


if __name__ == "__main__":
    main()
