"""How much longer fine-tuning takes next to a busy process.

    python benchmarks/busy_core.py [--steps 15] [--cores 2] [--eager]

Trains the bundled base for some steps on simulated cells, alone and next to a busy loop, on the
same cores (if the system can bind processes to cores). Prints both times, from the first step to
the last, their ratio, and the load of the cores before; the numbers are only valid on an otherwise
idle machine. ``--eager`` trains with torch's defaults, a thread per core that spins while it waits.
The goal is a ratio of 2 on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from napari_phenldiff.runs.threads import WAITING, busy_cores, share_cores

_BURN = "while True: pass"
_SIZE, _IMAGES = 128, 16


def train(steps: int) -> float:
    """Fine-tune in this process; seconds from the end of the first step to that of the last."""
    share_cores()
    from napari_phenldiff.diffusion.finetune import finetune
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.images.intensity import IntensityScaling
    from napari_phenldiff.images.simulate import simulate_images
    from napari_phenldiff.runs.config import TrainingConfig
    from napari_phenldiff.runs.events import Step
    from napari_phenldiff.runs.folder import Run

    experiment = Experiment.from_images(
        {
            name: simulate_images("translocation", role, _IMAGES, size=_SIZE, first=first)
            for name, role, first in (
                ("untreated", "source", 0),
                ("treated", "target", _IMAGES),
            )
        }
    )
    config = TrainingConfig(
        conditions=("untreated", "treated"),
        steps=steps + 1,
        reference_channels=(),
        preview_every=0,
        device="cpu",
    )
    scaling = IntensityScaling.fit(experiment.images)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.from_experiment(
            Path(folder) / "run", config, experiment=experiment, scaling=scaling
        )
        ends = []
        for event in finetune(experiment, config, run):
            if isinstance(event, Step):
                ends.append(time.monotonic())
    return ends[-1] - ends[0]


@contextmanager
def busy(on: bool) -> Iterator[None]:
    """Keep one core busy meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", _BURN]) if on else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def timed(steps: int, *, beside: bool, environment: dict[str, str]) -> float:
    """Seconds of a training in a process of its own."""
    command = [sys.executable, __file__, "--steps", str(steps), "--train"]
    with busy(beside):
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        print(train(args.steps))
        return
    if hasattr(psutil.Process, "cpu_affinity"):
        here = psutil.Process()
        here.cpu_affinity(here.cpu_affinity()[: args.cores])
    chosen = {*WAITING, "OMP_NUM_THREADS"}
    environment = {name: value for name, value in os.environ.items() if name not in chosen}
    if args.eager:
        environment |= {"OMP_NUM_THREADS": str(args.cores), "OMP_WAIT_POLICY": "ACTIVE"}
    print(f"busy before: {busy_cores():.1f} of {args.cores} cores")
    alone = timed(args.steps, beside=False, environment=environment)
    print(f"alone: {alone:.1f} s for {args.steps} steps", flush=True)
    beside = timed(args.steps, beside=True, environment=environment)
    print(f"beside a busy process: {beside:.1f} s, {beside / alone:.1f} times as long")


if __name__ == "__main__":
    main()
