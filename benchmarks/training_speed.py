"""How fast fine-tuning is, beside the loop that diffusers documents (docs/notes/speed.md).

    python benchmarks/training_speed.py --out DIR [--base bundled] [--pixels 128] [--batch 16]
        [--precision bfloat16 float32] [--steps 5]
    python benchmarks/training_speed.py --out DIR --base sd2 --pixels 256 --batch 1 --steps 3

Both loops train the same layers with the same rank, batch and precision, and take their steps in
turn, so that whatever else the machine does slows both. The first step of each is not counted.
What is compared on a CPU are the seconds of the processor (``time.process_time``), on a GPU those
of the clock; of the steps the median counts. ``sd2`` is a base of the size of Stable Diffusion 2
with random weights, which is made in DIR. Rows that need a GPU are printed as open without one.

step
    seconds of ours, and of the plain loop (`plain_loop.py`).
encoding
    seconds that ours takes once for a tile, before the first step; the plain loop encodes in every
    step.
kept
    what one sample keeps for the backward pass.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import gc
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_loop import PlainLoop
from random_stable_diffusion import make

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.strategies import Lora
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run

GOALS = {("bundled", "cpu"): 3.0, ("sd2", "cpu"): 1.5, ("bundled", "cuda"): 5.0}
"""How many times as fast as the plain loop ours shall be; 2 in all other cases."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    base: str
    device: str
    pixels: int
    batch: int
    precision: str
    plain_precision: str
    ours: float
    plain: float
    encoding: float
    kept: float
    rate: float | None

    @property
    def times(self) -> float:
        """How many times as fast ours is."""
        return self.plain / self.ours


def experiment(pixels: int, images: int) -> Experiment:
    """Return simulated cells in two conditions."""
    pairs = list(simulate_pairs("translocation", images, size=pixels))
    return Experiment.from_images(
        {
            "untreated": [pair.source for pair in pairs],
            "treated": [pair.target for pair in pairs],
        }
    )


def ours(
    folder: str, found: Experiment, device: str, arguments: argparse.Namespace, precision: str
) -> tuple[Training, float]:
    """Return a training of ours before its first step, and what encoding a tile took."""
    config = TrainingConfig(
        conditions=tuple(condition.name for condition in found.conditions),
        base="bundled" if arguments.base == "bundled" else folder,
        strategy="lora",
        batch_size=arguments.batch,
        precision=precision,
        reference_channels=(),
        normalised_channels=(),
        steps=1000,
    )
    scaling = IntensityScaling.fit(found.images)
    with tempfile.TemporaryDirectory(dir=arguments.out) as place:
        run = Run.from_experiment(Path(place) / "run", config, experiment=found, scaling=scaling)
        training = Training(BaseModel.load(folder, device=device), config)
        started = clock(device)
        training.encode(found, run)
        took = clock(device) - started
    return training, took / sum(len(cached) for cached in training.latents)


def clock(device: str) -> float:
    """Return seconds: of the processor, or of the clock once a GPU has finished."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(steps: int, device: str, *loops: Callable[[int], Any]) -> list[float]:
    """Return the median seconds of a step of each loop; the steps are taken in turn."""
    taken: list[list[float]] = [[] for _ in loops]
    for number in range(1, steps + 2):
        for loop, seconds in zip(loops, taken, strict=True):
            started = clock(device)
            loop(number)
            seconds.append(clock(device) - started)
    return [statistics.median(seconds[1:]) for seconds in taken]


def measure(arguments: argparse.Namespace, device: str, precision: str) -> Row:
    """Measure one row."""
    folder = "bundled" if arguments.base == "bundled" else str(make(arguments.out / "sd2"))
    found = experiment(arguments.pixels, max(2, arguments.images))
    training, encoding = ours(folder, found, device, arguments, precision)
    strategy = training.strategy
    assert isinstance(strategy, Lora)
    plain = PlainLoop(
        folder,
        layers=strategy.layers,
        rank=strategy.rank,
        alpha=strategy.alpha,
        dtype=getattr(torch, arguments.plain_precision or precision),
        device=torch.device(device),
    )
    images = batch_of(found, training.base, arguments.batch)
    seconds = in_turn(
        arguments.steps,
        device,
        lambda number: float(training.step(number)) if device == "cpu" else training.step(number),
        lambda number: plain.step(images),
    )
    rate = None
    if device != "cpu":
        rate = flops(lambda: training.step(1)) / seconds[0] / 1e12
    gc.collect()
    return Row(
        arguments.base,
        device,
        arguments.pixels,
        arguments.batch,
        precision,
        arguments.plain_precision or precision,
        seconds[0],
        seconds[1],
        encoding,
        training.kept.each / 1e6,
        rate,
    )


def batch_of(found: Experiment, base: BaseModel, batch: int) -> torch.Tensor:
    """Return as many images as a batch has, as the plain loop gets them from its data loader."""
    scaling = IntensityScaling.fit(found.images)
    images = [scaling.apply(image.data) for image in found.images]
    stacked = np.stack([images[k % len(images)] for k in range(batch)])
    missing = base.image_channels - stacked.shape[1]
    padded = np.pad(stacked, ((0, 0), (0, missing), (0, 0), (0, 0)), constant_values=-1)
    return torch.from_numpy(padded).float()


def flops(step: Callable[[], Any]) -> float:
    """Count the floating-point operations of a step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def table(rows: list[Row], arguments: argparse.Namespace) -> str:
    """Return the rows as Markdown."""
    head = [
        "base",
        "device",
        "px",
        "batch",
        "precision",
        "of the plain loop",
        "ours, s/step",
        "plain loop, s/step",
        "times as fast",
        "goal",
        "encoding, s/tile",
        "kept, MB/sample",
        "TFLOP/s",
    ]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        goal = GOALS.get((row.base, row.device), 2.0)
        rate = "" if row.rate is None else f"{row.rate:.0f}"
        lines.append(
            f"| {row.base} | {row.device} | {row.pixels} | {row.batch} | {row.precision} "
            f"| {row.plain_precision} | {row.ours:.3g} | {row.plain:.3g} "
            f"| **{row.times:.2f}** | {goal:g} | {row.encoding:.2g} | {row.kept:.0f} | {rate} |"
        )
    if not torch.cuda.is_available():
        goal = GOALS.get((arguments.base, "cuda"), 2.0)
        lines.append(
            f"| {arguments.base} | cuda | {arguments.pixels} | {arguments.batch} | bfloat16 "
            f"| bfloat16 | open: no GPU at hand | | | {goal:g} | | | |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", choices=("bundled", "sd2"), default="bundled")
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--precision", nargs="+", default=["bfloat16"])
    parser.add_argument("--plain-precision", help="of the plain loop, if another")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--images", type=int, default=4, help="per condition")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows = []
    for device in devices:
        for precision in arguments.precision:
            rows.append(measure(arguments, device, precision))
            print(json.dumps(asdict(rows[-1])), flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{table(rows, arguments)}\n\nPeak of the process, with both loops: {peak:.1f} GB")


if __name__ == "__main__":
    main()
