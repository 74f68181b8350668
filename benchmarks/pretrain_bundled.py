"""Train the base model that ships with the package.

    python benchmarks/pretrain_bundled.py DATA --out BASE [--steps N]

DATA holds ``pretrain_microscopy_gray128/tiles.npz`` (see the model card for its sources). Stopped
runs go on where they were when started again. Copy BASE without its ``training`` folder into
``src/napari_phenldiff/diffusion/bundled`` to ship it.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

from napari_phenldiff.diffusion.pool import ImagePool, compose_tiles, simulated_fields
from napari_phenldiff.diffusion.pretrain import PretrainingConfig, pretrain
from napari_phenldiff.runs.events import Saved, Step


def build_pool(data: Path, composed: int, simulated: int, seed: int) -> ImagePool:
    """Mix composed real tiles and simulated fields."""
    folder = data / "pretrain_microscopy_gray128"
    with np.load(folder / "tiles.npz", allow_pickle=False) as archive:
        tiles, source = archive["images"], archive["source"]
    with (folder / "sources.csv").open(newline="") as file:
        names = [row["group"] for row in csv.DictReader(file)]
    groups = np.unique(names, return_inverse=True)[1][source]
    return ImagePool(
        np.concatenate(
            [
                compose_tiles(tiles, groups, composed, seed=seed),
                simulated_fields(simulated, seed=seed),
            ]
        )
    )


def main() -> None:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--composed", type=int, default=7000)
    parser.add_argument("--simulated", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    kept = arguments.out / "training" / "pool.npy"
    if kept.exists():
        pool = ImagePool(np.load(kept, allow_pickle=False))
    else:
        pool = build_pool(arguments.data, arguments.composed, arguments.simulated, arguments.seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, pool.images)
    print(f"{len(pool.images)} images", flush=True)
    config = PretrainingConfig(steps=arguments.steps, seed=arguments.seed)
    for event in pretrain(pool, config, arguments.out):
        if isinstance(event, Step) and event.step % 50 == 0:
            left = f"{event.seconds_left:.0f} s left" if event.seconds_left else ""
            print(f"step {event.step}/{event.total} loss {event.loss:.4f} {left}", flush=True)
        elif isinstance(event, Saved):
            print(f"saved {event.path} at step {event.step}", flush=True)


if __name__ == "__main__":
    main()
