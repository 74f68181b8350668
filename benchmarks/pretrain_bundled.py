"""Train the base model that ships with the package.

    python benchmarks/pretrain_bundled.py DATA --out BASE [--steps N]

DATA holds ``pretrain_microscopy_gray128/tiles.npz`` (see the model card for its sources). Stopped
runs go on where they were when started again. Copy BASE without its ``training`` folder into
``src/napari_phenldiff/diffusion/bundled`` to ship it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from napari_phenldiff.cli.pretrain import carry_out
from napari_phenldiff.diffusion.pool import compose_tiles, simulated_fields, write_pool
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig
from napari_phenldiff.diffusion.pretraining_folder import PoolRecord, PretrainingFolder, Source
from napari_phenldiff.runs.records import package_versions


def read_tiles(data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Grey tiles, and a number for each that says which collection it comes from."""
    folder = data / "pretrain_microscopy_gray128"
    with np.load(folder / "tiles.npz", allow_pickle=False) as archive:
        tiles, source = archive["images"], archive["source"]
    with (folder / "sources.csv").open(newline="") as file:
        names = [row["group"] for row in csv.DictReader(file)]
    return tiles, np.unique(names, return_inverse=True)[1][source]


def begin(out: Path, data: Path, config: PretrainingConfig) -> PretrainingFolder:
    """Make the folder, with a pool of composed real tiles and simulated fields."""
    tiles, groups = read_tiles(data)
    sources = (
        Source(
            name="pretrain_microscopy_gray128",
            images=len(tiles),
            crops=config.crops,
            channels=1,
            composed=True,
        ),
        Source(
            name="simulated fields", images=config.simulated, crops=config.simulated, channels=3
        ),
    )
    shape = (config.crops + config.simulated, config.image_channels, config.tile, config.tile)
    parts = (
        compose_tiles(tiles, groups, config.crops, seed=config.seed),
        simulated_fields(config.simulated, seed=config.seed),
    )
    record = PoolRecord(asked={}, sources=sources, versions=package_versions())
    return PretrainingFolder.create(
        out, config, record, lambda path: write_pool(path, shape, parts)
    )


def main() -> int:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--composed", type=int, default=7000)
    parser.add_argument("--simulated", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = PretrainingConfig(
        steps=arguments.steps,
        seed=arguments.seed,
        crops=arguments.composed,
        compose=True,
        simulated=arguments.simulated,
    )
    folder = PretrainingFolder(arguments.out)
    if folder.exists:
        folder.begin(config)
    else:
        folder = begin(arguments.out, arguments.data, config)
    return carry_out(folder)


if __name__ == "__main__":
    sys.exit(main())
