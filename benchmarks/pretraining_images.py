"""Training and validation images of the bundled base.

Real tiles of two collections, each group seen about as often as the root of its size: alone, with
their own aligned channels, and composed; beside them simulated fields and procedural structures.
One in twenty tiles of each group of the newer collection is kept aside for validation.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from aligned_tiles import aligned_tiles, enlarged
from scipy import ndimage as ndi

from napari_phenldiff.diffusion.pool import (
    compose_tiles,
    in_chunks,
    simulated_fields,
    structured_fields,
)

GREY = "pretrain_microscopy_gray128"
FLUORESCENCE = "pretrain_fluorescence128"
_KEPT_ASIDE = 20  # one in so many
_FAINT = 25  # grey values between dark and bright: fainter tiles show noise of the camera only


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles ``(N, C, Y, X)`` uint8, how many of the channels are there, and the group of each."""

    images: np.ndarray
    channels: np.ndarray
    groups: np.ndarray
    kinds: np.ndarray

    def __getitem__(self, which: np.ndarray) -> Tiles:
        """Return some of them."""
        return Tiles(
            *(part[which] for part in (self.images, self.channels, self.groups, self.kinds))
        )


def read_fluorescence(data: Path) -> tuple[Tiles, Tiles]:
    """Read the newer collection: tiles to train on, and tiles that are kept aside."""
    folder = data / FLUORESCENCE
    with (folder / "sources.csv").open(newline="") as file:
        rows = {int(row["source_id"]): row for row in csv.DictReader(file)}
    parts = []
    for name in ("tiles_filamentous_neuronal.npz", "tiles_other.npz"):
        with np.load(folder / name, allow_pickle=False) as archive:
            parts.append(tuple(archive[key] for key in ("images", "channels", "source")))
    images, channels, source = (np.concatenate(part) for part in zip(*parts, strict=True))
    groups = np.array([rows[int(k)]["group"] for k in source])
    kinds = np.array([rows[int(k)]["kind"] for k in source])
    low, high = np.percentile(images[:, 0, ::2, ::2], (5, 99.5), axis=(1, 2))
    tiles = Tiles(images, channels, groups, kinds)[high - low > _FAINT]
    aside = np.zeros(len(tiles.images), bool)
    for group in np.unique(tiles.groups):
        members = np.flatnonzero(tiles.groups == group)
        # the last ones: tiles of one image follow each other
        aside[members[len(members) - len(members) // _KEPT_ASIDE :]] = True
    return tiles[~aside], tiles[aside]


def drawn(tiles: Tiles, n: int, *, channels: int, seed: int) -> np.ndarray:
    """Draw `n` images ``(n, channels, Y, X)`` uint8: turned, enlarged by up to 2, rescaled."""
    rng = np.random.default_rng([seed, 11])
    _, index, counts = np.unique(tiles.groups, return_inverse=True, return_counts=True)
    weights = 1 / np.sqrt(counts[index])
    out = np.zeros((n, channels, *tiles.images.shape[2:]), np.uint8)
    for i, k in enumerate(rng.choice(len(index), n, p=weights / weights.sum())):
        there = min(int(tiles.channels[k]), channels)
        planes = tiles.images[k, :there].astype(np.float32)
        low = np.percentile(planes[:, ::2, ::2], 0.5, axis=(1, 2)) * rng.uniform(0.5, 1)
        own = np.percentile(planes[:, ::2, ::2], 99.8, axis=(1, 2))
        high = own + (255 - own) * rng.uniform(0, 1, there) ** 3
        planes = (planes - low[:, None, None]) / np.maximum(high - low, 12)[:, None, None]
        out[i, :there] = np.rint(np.clip(_turned(planes, rng), 0, 1) * 255)
    return out


def _turned(planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Enlarge by 1 to 2, and turn by any angle where enough is left to fill the tile."""
    size = planes.shape[-1]
    zoom = np.exp(rng.uniform(0, np.log(2))) if rng.random() < 0.6 else 1.0
    if zoom == 1.0:
        return planes
    angle = rng.uniform(0, np.pi) if zoom > np.sqrt(2) else rng.choice(4) * np.pi / 2
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
    reach = size / 2 * (np.abs(turn).sum(1))
    slack = np.maximum(size / 2 - reach, 0)
    middle = size / 2 - 0.5 + rng.uniform(-1, 1, 2) * slack
    offset = middle - turn @ np.full(2, size / 2 - 0.5)
    return np.stack(
        [ndi.affine_transform(p, turn, offset, order=1, mode="reflect") for p in planes]
    )


def training_images(
    data: Path, shares: dict[str, int], *, channels: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield the pool in chunks; `shares` gives the number of images of each kind."""
    train, _ = read_fluorescence(data)
    several = train.channels > 1
    for part, which in (("aligned", several), ("single", ~several)):
        tiles = train[which]
        yield from in_chunks(
            lambda n, s, tiles=tiles: drawn(tiles, n, channels=channels, seed=s),
            shares[part],
            seed,
        )
    folder = data / GREY
    with np.load(folder / "tiles.npz", allow_pickle=False) as archive:
        grey, source = archive["images"], archive["source"]
    with (folder / "sources.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = [row["group"] for row in rows]
    images, kinds = aligned_tiles(grey, source, groups, [row["file"] for row in rows])
    yield from in_chunks(
        lambda n, s: enlarged(images, kinds, n, channels=channels, seed=s),
        shares["older aligned"],
        seed,
    )
    alone = train[~several]
    tiles = np.concatenate([grey, alone.images[:, 0]])
    names = np.concatenate([np.array(groups)[source], alone.groups])
    number = np.unique(names, return_inverse=True)[1]
    yield from (
        in_chunks(
            lambda n, s: compose_tiles(tiles, number, n, channels=min(channels, 3), seed=s),
            shares["composed"],
            seed,
        )
        if channels <= 3
        else _padded(
            in_chunks(
                lambda n, s: compose_tiles(tiles, number, n, channels=s % 3 + 2, seed=s),
                shares["composed"],
                seed,
                100,
            ),
            channels,
        )
    )
    yield from in_chunks(
        lambda n, s: simulated_fields(n, channels=channels, seed=s), shares["simulated"], seed
    )
    yield from in_chunks(
        lambda n, s: structured_fields(n, channels=channels, seed=s), shares["structures"], seed
    )


def _padded(parts: Iterator[np.ndarray], channels: int) -> Iterator[np.ndarray]:
    for part in parts:
        missing = max(0, channels - part.shape[1])
        yield np.pad(part, ((0, 0), (0, missing), (0, 0), (0, 0)))


def validation_images(data: Path, *, channels: int, n: int = 64) -> dict[str, np.ndarray]:
    """Images ``(n, channels, Y, X)`` uint8 of each kind that are never trained on."""
    _, aside = read_fluorescence(data)
    filaments = aside.kinds == "filamentous_neuronal"
    return {
        "filaments and neurons": drawn(aside[filaments], n, channels=channels, seed=5),
        "other cells": drawn(aside[~filaments], n, channels=channels, seed=6),
        "procedural": structured_fields(n, channels=channels, seed=2**31),
    }
