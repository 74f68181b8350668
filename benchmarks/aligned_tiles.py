"""Match tiles of different channels of one field.

``pretrain_microscopy_gray128`` holds grey tiles in the order of their fields, without tiles of low
contrast, which differ between channels. If a field has several channels, their tiles are matched by
a sequence alignment that maximises the sum of similarities, as in comparing texts. Channels of one
field share outlines, so the similarity is the absolute correlation of blurred pixels and of their
gradients.
"""

from __future__ import annotations

import re

import numpy as np
from scipy import ndimage as ndi

# group, and what is left of a file's name that names the field
_FIELDS: tuple[tuple[str, str], ...] = (
    (r"BBBC022_multi", r"(.*)_ch\d"),
    (r"ExampleColocalization", r"(.*)_[GR]\.png"),
    (r"ExampleFly", r"(.*)_[DFR]\.TIF"),
    (r"ExampleHuman", r"(.*)d\d\.tif"),
    (r"ExampleSpeckles", r"(1-162hrh).*"),
    (r"JUMP_ch\d", r"(.*)-ch\d.*"),
    (r"NEUBIAS", r"(xyc_.*)_c\d"),
    (r"NF1_\w+", r"(\w\d+_01)_\d(_\d)_.*"),
    (r"neuritetracker_\w+", r".*_(t\d+)\.TIF"),
)


def fields(groups: list[str], files: list[str]) -> list[list[int]]:
    """Return the numbers of the sources that are channels of the same field."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, (group, file) in enumerate(zip(groups, files, strict=True)):
        for pattern, name in _FIELDS:
            match = re.fullmatch(name, file)
            if re.fullmatch(pattern, group) and match:
                found.setdefault((pattern, "".join(match.groups())), []).append(number)
    return [numbers for numbers in found.values() if len(numbers) > 1]


def align(first: np.ndarray, second: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs of tiles ``(n, Y, X)`` and ``(m, Y, X)`` that show the same place, in order."""
    if len(first) == len(second):
        return [(i, i) for i in range(len(first))]
    similarity = sum(np.abs(a @ b.T) for a, b in zip(_shapes(first), _shapes(second), strict=True))
    similarity = similarity - np.median(similarity) / 2
    best = np.zeros((len(first) + 1, len(second) + 1))
    for i in range(len(first)):
        for j in range(len(second)):
            best[i + 1, j + 1] = max(best[i, j] + similarity[i, j], best[i, j + 1], best[i + 1, j])
    pairs = []
    i, j = len(first), len(second)
    while i and j:
        if best[i, j] > max(best[i - 1, j], best[i, j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif best[i, j] == best[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def aligned_tiles(
    tiles: np.ndarray, source: np.ndarray, groups: list[str], files: list[str]
) -> tuple[list[list[np.ndarray]], list[str]]:
    """Return multichannel images, each a list of grey tiles ``(Y, X)``, and their groups."""
    images, kinds = [], []
    for numbers in fields(groups, files):
        members = [np.flatnonzero(source == number) for number in numbers]
        longest = max(members, key=len)
        together: list[list[int]] = [[int(tile)] for tile in longest]
        for member in members:
            if member is not longest:
                for i, j in align(tiles[longest], tiles[member]):
                    together[i].append(int(member[j]))
        several = [image for image in together if len(image) > 1]
        images += [[tiles[k] for k in image] for image in several]
        kinds += [groups[numbers[0]]] * len(several)
    return images, kinds


def enlarged(
    images: list[list[np.ndarray]], kinds: list[str], n: int, *, channels: int = 3, seed: int = 0
) -> np.ndarray:
    """Draw `n` images ``(n, channels, Y, X)`` uint8, half of them enlarged crops."""
    rng = np.random.default_rng([seed, 7])
    # fields that are mostly noise or spots are drawn less often
    rarely = {"neuritetracker": 0.25, "ExampleColocalization": 0.3, "ExampleSpeckles": 0.5}
    weights = np.array(
        [rarely.get(re.split("_", kind)[0], 0.7 if "NF1" in kind else 1.6) for kind in kinds]
    )
    side = images[0][0].shape[0]
    out = np.zeros((n, channels, side, side), np.uint8)
    for i, k in enumerate(rng.choice(len(images), n, p=weights / weights.sum())):
        cut = side if rng.random() < 0.5 else int(rng.integers(round(0.56 * side), side))
        y, x = rng.integers(0, side - cut + 1, 2)
        for c, tile in enumerate(images[k][:channels]):
            low, high = np.percentile(tile, (0.5, 99.8))
            plane = (tile.astype(np.float32) - low * rng.uniform(0.6, 1)) / max(high - low, 1e-6)
            part = np.clip(plane, 0, 1)[y : y + cut, x : x + cut]
            if cut < side:
                part = ndi.zoom(part, side / cut, order=1)
            out[i, c] = np.rint(np.clip(part, 0, 1) * 255)
    return out


def _shapes(tiles: np.ndarray) -> list[np.ndarray]:
    """Return unit vectors ``(n, D)`` of the tiles' pixels and of their gradients, both blurred."""
    blurred = ndi.gaussian_filter(tiles.astype(np.float32), (0, 2, 2))[:, ::4, ::4]
    gradients = np.stack([ndi.gaussian_gradient_magnitude(tile, 1) for tile in blurred])
    vectors = []
    for values in (blurred, gradients):
        flat = values.reshape(len(values), -1)
        flat = flat - flat.mean(1, keepdims=True)
        vectors.append(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-6))
    return vectors
