"""Train the base model that ships with the package.

    python benchmarks/pretrain_bundled.py DATA --out DIR [--steps N M]

DATA holds ``pretrain_microscopy_gray128/tiles.npz`` (see the model card for its sources). In two
stages: DIR/first sees all channels noised, of images composed from grey tiles and of simulated
fields; DIR/base goes on from it with some of the channels given, and also sees fields whose
channels belong together (see `aligned_tiles.py`). Stopped runs go on where they were when started
again. Copy DIR/base without its ``training`` folder into ``src/napari_phenldiff/diffusion/bundled``
to ship it.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aligned_tiles import aligned_tiles, enlarged

from napari_phenldiff.cli.pretrain import carry_out
from napari_phenldiff.diffusion.pool import compose_tiles, simulated_fields, write_pool
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig
from napari_phenldiff.diffusion.pretraining_folder import PoolRecord, PretrainingFolder, Source
from napari_phenldiff.runs.records import package_versions


@dataclass(frozen=True, slots=True)
class Parts:
    """How many images of which kind are in a pool."""

    aligned: int
    composed: int
    simulated: int


STAGES = {
    "first": (Parts(0, 7000, 4000), {"learning_rate": 4e-4, "ema": 0.999, "given_share": 0.0}),
    "base": (Parts(5000, 4000, 4000), {"learning_rate": 3e-4, "ema": 0.998, "given_share": 0.6}),
}


def begin(out: Path, data: Path, config: PretrainingConfig, parts: Parts) -> PretrainingFolder:
    """Make the folder of one stage, with its pool of images."""
    folder = data / "pretrain_microscopy_gray128"
    with np.load(folder / "tiles.npz", allow_pickle=False) as archive:
        tiles, source = archive["images"], archive["source"]
    with (folder / "sources.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = [row["group"] for row in rows]
    images, kinds = aligned_tiles(tiles, source, groups, [row["file"] for row in rows])
    of_tiles = np.unique(groups, return_inverse=True)[1][source]
    pool = (
        enlarged(images, kinds, parts.aligned, seed=config.seed),
        compose_tiles(tiles, of_tiles, parts.composed, seed=config.seed),
        simulated_fields(parts.simulated, seed=config.seed),
    )
    name = "pretrain_microscopy_gray128"
    n = parts.simulated
    sources = (
        Source(name=name, images=len(images), crops=parts.aligned, channels=3),
        Source(name=name, images=len(tiles), crops=parts.composed, channels=1, composed=True),
        Source(name="simulated fields", images=n, crops=n, channels=3),
    )
    shape = (sum(map(len, pool)), config.image_channels, config.tile, config.tile)
    record = PoolRecord(asked={}, sources=sources, versions=package_versions())
    return PretrainingFolder.create(out, config, record, lambda path: write_pool(path, shape, pool))


def main() -> int:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, nargs=2, default=(4500, 3000), help="of each stage")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = "random"
    for steps, (name, (parts, settings)) in zip(arguments.steps, STAGES.items(), strict=True):
        config = PretrainingConfig(
            steps=steps,
            seed=arguments.seed,
            start=start,
            crops=parts.aligned + parts.composed,
            compose=True,
            simulated=parts.simulated,
            **settings,
        )
        folder = PretrainingFolder(arguments.out / name)
        latest = folder.latest_checkpoint()
        if latest is None or latest[0] < steps:
            if folder.exists:
                folder.begin(config)
            else:
                folder = begin(folder.path, arguments.data, config, parts)
            code = carry_out(folder)
            if code:
                return code
        start = str(folder.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
