"""Training tiles of the baselines: the same ones as for the method, as pixels."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_phenldiff.diffusion.latents import (
    MAX_TILES,
    Store,
    TrainingTiles,
    number_of_tiles,
)
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling

TILE = 128
"""Side of a tile in pixels, as in the papers; smaller images give smaller tiles."""

MULTIPLE = 32
"""Sides of tiles are multiples of this number of pixels, because of the networks' strides."""

_AT_ONCE = 64


class Tiles:
    """Tiles of an experiment by condition, drawn with random flips and rotations.

    Parameters
    ----------
    experiment : Experiment
        Images; it must have `conditions`.
    conditions : tuple of str
        Conditions, in the order in which they are numbered.
    scaling : IntensityScaling
        Scaling to [-1, 1].
    seed : int
        Seed of the choice of tiles, if a condition has more than `MAX_TILES`.
    folder : Path, optional
        Where there is room for tiles that do not stay in memory, see `Store`.
    """

    def __init__(
        self,
        experiment: Experiment,
        conditions: tuple[str, ...],
        scaling: IntensityScaling,
        seed: int,
        folder: Path | None = None,
    ) -> None:
        largest = max(max(image.shape) for image in experiment.images)
        self.side = min(TILE, -(-largest // MULTIPLE) * MULTIPLE)
        self.channels = experiment.n_channels
        self.warnings: list[str] = []
        self._tiles: list[Store] = []
        for name in conditions:
            images = experiment[name].images
            found = number_of_tiles(images, self.side)
            if found > MAX_TILES:
                self.warnings.append(
                    f"The images of {name} give {found} tiles; {MAX_TILES} of them, drawn at "
                    "random, are trained on."
                )
            tiles = TrainingTiles(images, scaling, self.side, limit=MAX_TILES, seed=seed)
            shape = (self.channels, self.side, self.side)
            store, done = Store(len(tiles), shape, torch.float32, folder), 0
            for some in tiles.batches(_AT_ONCE):
                store.put(done, torch.from_numpy(some))
                done += len(some)
            self._tiles.append(store)

    def draw(self, condition: int, generator: torch.Generator) -> torch.Tensor:
        """Draw a tile ``(C, side, side)`` of a condition, float32 in [-1, 1] on the CPU."""
        tiles = self._tiles[condition]
        tile = tiles.get(int(torch.randint(len(tiles), (1,), generator=generator)))
        view = int(torch.randint(8, (1,), generator=generator))
        return torch.rot90(tile if view < 4 else tile.flip(-1), view % 4, (-2, -1))
