"""The table of distances: every row over the same number of images of the same size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.distances import frechet_distance, kernel_distance
from napari_phenldiff.evaluation.features import Features
from napari_phenldiff.evaluation.numbers import Number

COPY, REAL, TRANSLATED, RECONSTRUCTED = (
    "copy of the source",
    "real vs real",
    "translated",
    "reconstructed",
)
ALL_CHANNELS = "all channels"


@dataclass(frozen=True, slots=True)
class DistanceRow:
    """A distance of one set of images to real target images.

    Attributes
    ----------
    images : str
        What was held against the real target: translated, reconstructed, the untouched source
        (`COPY`), or the other half of the real target (`REAL`).
    channel : str
        One channel, or `ALL_CHANNELS`.
    n : int
        Images on each side, the same on all rows.
    kernel, kernel_low, kernel_high : float
        Kernel distance with its interval.
    frechet : float
    rank_deficient : bool
        Whether there are too few images for the Frechet distance to be about more than that.
    features : str
        The network, and how images are shown to it.
    """

    images: str
    channel: str
    n: int
    kernel: Number
    kernel_low: Number
    kernel_high: Number
    frechet: Number
    rank_deficient: bool
    features: str


@dataclass(frozen=True, slots=True)
class Split:
    """Which images of each set are compared.

    Attributes
    ----------
    n : int
        Images on each side.
    reference, other : numpy.ndarray of int
        Two halves of the real target images that share no image, nor well.
    """

    n: int
    reference: np.ndarray
    other: np.ndarray


def split_target(groups: Sequence[str], n_made: int, *, seed: int = 0) -> Split:
    """Split real target images into two halves of as many images as there are translated ones.

    Parameters
    ----------
    groups : sequence of str
        Image, or well, of each real target tile: what is of one stays on one side.
    n_made : int
        Translated tiles.
    seed : int

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If less than two images would be left on a side.
    """
    rng = np.random.default_rng(seed)
    names = rng.permutation(sorted(set(groups)))
    sides: tuple[list[int], list[int]] = ([], [])
    for name in names:
        members = [i for i, group in enumerate(groups) if group == name]
        smaller = 0 if len(sides[0]) <= len(sides[1]) else 1
        sides[smaller].extend(members)
    n = min(n_made, *map(len, sides))
    if n < 2:
        raise InputError(
            f"{len(groups)} real target images cannot be split into two halves of at least two: "
            "no distances without."
        )
    reference, other = (np.sort(rng.permutation(side)[:n]) for side in sides)
    return Split(n, reference, other)


def distance_table(
    made: Mapping[str, Features],
    target: Features,
    split: Split,
    channel_names: Sequence[str],
    *,
    seed: int = 0,
) -> list[DistanceRow]:
    """Measure the distances of sets of images to the real target.

    Parameters
    ----------
    made : mapping of str to Features
        By name; of each the first `split.n`, so that rows of the same cells show the same cells.
    target : Features
        Of all real target images.
    split : Split
    channel_names : sequence of str
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of DistanceRow
        For all channels together, then for each; real vs real last of each.
    """
    first = np.arange(split.n)
    sets = {name: _rows(features, first) for name, features in made.items()}
    sets[REAL] = _rows(target, split.other)
    reference = _rows(target, split.reference)
    rows = []
    channels = range(len(channel_names)) if len(channel_names) > 1 else ()
    for index in (None, *channels):
        name = ALL_CHANNELS if index is None else channel_names[index]
        for images, features in sets.items():
            a, b = features, reference
            if index is not None:
                a, b = a.channel(index), b.channel(index)
            kernel, frechet = kernel_distance(a, b, seed=seed), frechet_distance(a, b)
            rows.append(
                DistanceRow(
                    images,
                    name,
                    split.n,
                    kernel.value,
                    kernel.low,
                    kernel.high,
                    frechet.value,
                    frechet.rank_deficient,
                    kernel.features,
                )
            )
    return rows


def inception_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet inception distance by torch-fidelity, over images as red, green and blue.

    Parameters
    ----------
    a, b : numpy.ndarray of shape (N, C, Y, X)
        In [-1, 1]. Of more than three channels the first three are shown, one as grey, two as red
        and green.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If torch-fidelity or the torchvision that it needs cannot be used.
    """
    try:
        import torch

        torch_fidelity = import_module("torch_fidelity")
    except (ImportError, RuntimeError) as error:
        # a torchvision that was built for another torch fails with a RuntimeError
        raise InputError(
            "FID needs torch-fidelity and a torchvision that fits the installed torch "
            f"({str(error).splitlines()[0]}): install the extra 'fid', or rely on the distances "
            "over EfficientNet-Lite0, which need neither."
        ) from error
    sets = [torch.from_numpy(np.stack([_rgb(image) for image in images])) for images in (a, b)]

    class Pictures(torch.utils.data.Dataset[torch.Tensor]):
        def __init__(self, pictures: torch.Tensor) -> None:
            self.pictures = pictures

        def __len__(self) -> int:
            return len(self.pictures)

        def __getitem__(self, index: int) -> torch.Tensor:
            return self.pictures[index]

    found = torch_fidelity.calculate_metrics(
        input1=Pictures(sets[0]),
        input2=Pictures(sets[1]),
        fid=True,
        cuda=torch.cuda.is_available(),
        verbose=False,
        cache=False,
    )
    return float(found.get("frechet_inception_distance", math.nan))


def _rgb(image: np.ndarray) -> np.ndarray:
    """Show channels in [-1, 1] as bytes (3, Y, X)."""
    grey = np.rint((np.clip(image[:3], -1, 1) + 1) * 127.5).astype(np.uint8)
    if len(grey) == 1:
        return np.repeat(grey, 3, 0)
    return np.concatenate([grey, np.zeros_like(grey[:1])])[:3] if len(grey) == 2 else grey


def _rows(features: Features, which: np.ndarray) -> Features:
    return Features(features.values[which], features.name)
