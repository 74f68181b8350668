"""Images for pre-training: simulated fields, and channels composed of unlabelled grey tiles.

Few archives have aligned channels, but most phenotypes concern how channels relate to each other.
So grey tiles are combined: blurring or hollowing a structure, or keeping only its edges, makes
related channels, and other tiles of the same source make unrelated ones. Sizes, intensities, noise
and missing channels vary widely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.simulate import PHENOTYPES
from napari_phenldiff.images.structures import draw_structure

# Images per chunk: 25 MB with three channels of 128 x 128 pixels.
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class ImagePool:
    """Images ``(N, C, Y, X)`` uint8 from which batches are drawn with fresh augmentation.

    ``pool(rng, n)`` returns ``(n, C, Y, X)`` float32 in [-1, 1]. Images are flipped, their channels
    are permuted, dimmed or dropped, and contrast, blur and noise are varied. Missing channels are
    black, without noise, and come last, as in experiments.
    """

    images: np.ndarray

    @classmethod
    def open(cls, path: Path) -> ImagePool:
        """Memory-map a file written by `write_pool`, so that only drawn images are read."""
        return cls(np.load(path, mmap_mode="r", allow_pickle=False))

    def __call__(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Draw `n` images."""
        chosen = self.images[rng.integers(0, len(self.images), n)].astype(np.float32) / 255
        return np.stack([_augment(image, rng) for image in chosen]) * 2 - 1


def _augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    channels = len(image)
    image = np.rot90(image, int(rng.integers(4)), axes=(1, 2))
    if rng.random() < 0.5:
        image = image[:, ::-1]
    there = np.flatnonzero(image.any((1, 2)))
    if len(there) > 1:
        there = rng.permutation(there[rng.random(len(there)) > 0.12])
    if not len(there):  # keep at least one channel, even a black one
        there = np.zeros(1, np.intp)
    n = len(there)
    gamma = np.exp(rng.normal(0, 0.2, (n, 1, 1)))
    gain = np.exp(-np.abs(rng.normal(0, 0.4, (n, 1, 1))))
    seen = np.clip(image[there], 0, 1) ** gamma * gain
    if rng.random() < 0.15:
        seen = ndi.gaussian_filter(seen, (0, *[rng.uniform(0.5, 1.5)] * 2))
    seen[1:] *= rng.random((n - 1, 1, 1)) > 0.03  # a stain that did not take
    noise = rng.choice([0.002, 0.005, 0.015]) * rng.standard_normal(seen.shape)
    out = np.zeros((channels, *image.shape[1:]), np.float32)
    out[:n] = np.clip(seen + noise, 0, 1)
    return out


def compose_tiles(
    tiles: np.ndarray, groups: np.ndarray, n: int, *, channels: int = 3, seed: int = 0
) -> np.ndarray:
    """Compose images with several channels from grey tiles.

    Parameters
    ----------
    tiles : numpy.ndarray
        ``(N, Y, X)`` of any integer or float type; each is stretched to full scale, since tiles of
        different microscopes have no comparable intensities.
    groups : numpy.ndarray
        ``(N,)`` integers: tiles with the same number may be combined in one image.
    n : int
        Number of images to make.
    channels : int
        Number of channels of an image.
    seed : int
        Equal seeds give equal images.

    Returns
    -------
    numpy.ndarray
        ``(n, channels, Y, X)`` uint8.
    """
    rng = np.random.default_rng([seed, 1])
    members = {g: np.flatnonzero(groups == g) for g in np.unique(groups)}
    # tiles of small groups are drawn more often than their share, those of large groups less
    weights = np.array([1 / np.sqrt(len(members[g])) for g in groups])
    anchors = rng.choice(len(tiles), n, p=weights / weights.sum())
    out = np.zeros((n, channels, *tiles.shape[1:]), np.uint8)
    for i, anchor in enumerate(anchors):
        base = _full_scale(tiles[anchor], rng)
        for c in range(channels):
            kind = rng.choice(["same", "related", "other", "empty"], p=[0.2, 0.4, 0.25, 0.15])
            if c == 0 or kind == "same":
                plane = base * rng.uniform(0.6, 1.0) if c else base
            elif kind == "related":
                plane = _related(base, rng)
            elif kind == "other":
                plane = _full_scale(tiles[rng.choice(members[groups[anchor]])], rng)
            else:
                plane = np.zeros_like(base)
            out[i, c] = np.rint(np.clip(plane, 0, 1) * 255)
    return out


def simulated_fields(n: int, *, size: int = 128, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Draw simulated fields of all phenotypes at doses from none to full.

    Returns
    -------
    numpy.ndarray
        ``(n, channels, size, size)`` uint8; objects differ in size by a factor of up to 2.2.
    """
    rng = np.random.default_rng([seed, 2])
    out = np.zeros((n, channels, size, size), np.uint8)
    kinds = list(PHENOTYPES.values())
    for i in range(n):
        kind = kinds[i % len(kinds)]
        drawn = int(rng.integers(round(0.65 * size), round(1.4 * size)))
        planes = kind.draw(rng, drawn, float(rng.choice([0, 1, rng.random()]))).planes
        zoomed = ndi.zoom(planes, (1, size / drawn, size / drawn), order=1)
        blurred = ndi.gaussian_filter(zoomed, (0, *[rng.uniform(0.3, 1.2)] * 2))
        out[i, : len(planes)] = np.rint(np.clip(blurred * rng.uniform(0.6, 1.1), 0, 1) * 255)
    return out


def structured_fields(n: int, *, size: int = 128, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Draw procedural structures at doses from none to full, see `images.structures`.

    Returns
    -------
    numpy.ndarray
        ``(n, channels, size, size)`` uint8; an image has one to three channels. With more than
        three channels, some images combine the channels of several fields.
    """
    rng = np.random.default_rng([seed, 3])
    out = np.zeros((n, channels, size, size), np.uint8)
    for image in out:
        planes = draw_structure(rng, size)
        if channels > 3 and rng.random() < 0.3:
            planes = np.concatenate([planes, draw_structure(rng, size), draw_structure(rng, size)])
        image[: len(planes)] = np.rint(np.clip(planes[:channels], 0, 1) * 255)
    return out


def in_chunks(
    make: Callable[[int, int], np.ndarray], n: int, seed: int, chunk: int = _CHUNK
) -> Iterator[np.ndarray]:
    """Make `n` images in chunks, to limit memory.

    Parameters
    ----------
    make : callable
        ``make(n, seed)`` makes images ``(n, C, Y, X)``.
    n, seed : int
        Number of images, and seed.
    chunk : int
        Largest number of images in a chunk.
    """
    for number, start in enumerate(range(0, n, chunk)):
        stream = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        yield make(min(chunk, n - start), stream)


def write_pool(path: Path, shape: tuple[int, int, int, int], parts: Iterable[np.ndarray]) -> None:
    """Write images part by part, so that they are never all in memory.

    Parameters
    ----------
    path : pathlib.Path
        A .npy file; it appears when it is complete.
    shape : tuple of int
        ``(N, C, Y, X)``, where N is the total number of images.
    parts : iterable of numpy.ndarray
        Images ``(n, C, Y, X)`` uint8.
    """
    with write_atomic(path) as temporary:
        pool = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        done = 0
        for part in parts:
            pool[done : done + len(part)] = part
            done += len(part)
        if done != len(pool):
            raise ValueError(f"{done} images for a pool of {len(pool)}")
        pool.flush()
        del pool  # some systems cannot rename a mapped file


def _full_scale(tile: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretch a tile to [0, 1], and enlarge some tiles."""
    low, high = np.percentile(tile, (0.5, 99.8))
    plane = (tile.astype(np.float32) - low * rng.uniform(0.6, 1)) / max(high - low, 1e-6)
    if rng.random() < 0.4:
        size = len(plane)
        cut = int(rng.integers(size // 2, size))
        y, x = rng.integers(0, size - cut + 1, 2)
        plane = ndi.zoom(plane[y : y + cut, x : x + cut], size / cut, order=1)
    return np.clip(plane, 0, 1)


def _related(plane: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Make a channel as if the same structure had another stain."""
    kind = rng.integers(5)
    wide = ndi.gaussian_filter(plane, rng.uniform(1.5, 7))
    wide = wide / max(float(wide.max()), 1e-3)
    if kind == 0:
        return wide
    if kind == 1:  # around the structure, not in it
        return np.clip(wide * 1.3 - rng.uniform(0.6, 1.2) * plane, 0, 1)
    if kind == 2:  # in it and around it, in some proportion
        share = rng.random()
        return share * plane + (1 - share) * np.clip(wide - 0.8 * plane, 0, 1)
    if kind == 3:  # its edges
        edges = ndi.gaussian_gradient_magnitude(plane, rng.uniform(0.8, 2))
        return np.asarray(edges / max(float(np.percentile(edges, 99.8)), 1e-3))
    # grains where the structure is
    grains = ndi.gaussian_filter(rng.standard_normal(plane.shape), rng.uniform(0.7, 2))
    grains = np.clip(grains / grains.std() - rng.uniform(0, 1.5), 0, None) / 2
    return np.asarray(grains * (wide > 0.3))
