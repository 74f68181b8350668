"""How far two sets of images are from each other, by their features.

Both distances compare sets, not pairs, and say nothing about whether the cells are the same: the
untouched source image can be close to the target. Read them beside the distance of the source
itself and the distance between two halves of the real target images, with the same number of
images on every row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.features import Features


@dataclass(frozen=True, slots=True)
class KernelDistance:
    """Squared maximum mean discrepancy of two sets of images.

    Attributes
    ----------
    value : float
        Unbiased estimate, so its expectation does not depend on the numbers of images, and
        it is negative about half of the time where the sets do not differ.
    low, high : float
        95 % bootstrap interval over images, or the tiles that they are cut into; NaN without
        resamples. Those of one well are not independent, so with several of each it is too narrow.
    n_a, n_b : int
        Numbers of images.
    features : str
        What the images were described by.
    """

    value: float
    low: float
    high: float
    n_a: int
    n_b: int
    features: str


@dataclass(frozen=True, slots=True)
class FrechetDistance:
    """Squared Frechet distance of two normal distributions fitted to two sets of images.

    Attributes
    ----------
    value : float
        Biased upwards, the more the fewer images: compare it only at equal numbers.
    n_a, n_b : int
        Numbers of images.
    dimension : int
        Of the features.
    features : str
        What the images were described by.
    """

    value: float
    n_a: int
    n_b: int
    dimension: int
    features: str

    @property
    def rank_deficient(self) -> bool:
        """Whether a covariance has less than full rank, as with no more images than dimensions.

        The value is then mostly about how few images there were; rely on the kernel distance.
        """
        return min(self.n_a, self.n_b) <= self.dimension


def kernel_distance(
    a: Features, b: Features, *, n_resamples: int = 1000, seed: int = 0
) -> KernelDistance:
    """Kernel distance with the cubic polynomial kernel (Binkowski et al. 2018, eq. 4).

    The kernel is ``(x . y / d + 1)**3`` with the dimension ``d`` of the features; the estimate is
    the unbiased one, which leaves out the pairs of an image with itself.

    Parameters
    ----------
    a, b : Features
        Of two sets of different cells, at least two images each. With the same cells in both (a
        translation and its source) the sets are not independent, and the estimate is too small.
    n_resamples : int
        Bootstrap samples for the interval; 0 leaves it out. Images are drawn with replacement from
        both sets, and pairs of an image with its own copy are left out as well: they would make
        the estimate larger. (The usual averages over subsets need thousands of images.)
    seed : int
        Of the bootstrap.

    Returns
    -------
    KernelDistance

    Raises
    ------
    InputError
        With less than two images in a set.
    """
    x, y = _matrices(a, b)
    within_a, within_b, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    for matrix in (within_a, within_b):
        np.fill_diagonal(matrix, 0)

    def estimate(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        """Of sets in which the images occur `p` ``(B, N)`` and `q` ``(B, M)`` times."""
        parts = []
        for weights, matrix in ((p, within_a), (q, within_b)):
            pairs = weights.sum(1) ** 2 - (weights**2).sum(1)
            parts.append(((weights @ matrix) * weights).sum(1) / pairs)
        across = ((p @ between) * q).sum(1) / (p.sum(1) * q.sum(1))
        distances: np.ndarray = parts[0] + parts[1] - 2 * across
        return distances

    value = float(estimate(np.ones((1, len(x))), np.ones((1, len(y))))[0])
    low = high = math.nan
    if n_resamples:
        rng = np.random.default_rng(seed)
        p, q = (_resampled(n, n_resamples, rng) for n in (len(x), len(y)))
        # copies of one image alone hold no pairs of different images to estimate from
        usable = ((p > 0).sum(1) > 1) & ((q > 0).sum(1) > 1)
        p, q = p[usable], q[usable]
        low, high = (float(bound) for bound in np.quantile(estimate(p, q), (0.025, 0.975)))
    return KernelDistance(value, low, high, len(x), len(y), a.name)


def frechet_distance(a: Features, b: Features) -> FrechetDistance:
    """Frechet distance of the normal distributions with the means and covariances of two sets.

    ``|m_a - m_b|**2 + tr(C_a + C_b - 2 (C_a C_b)**(1/2))``. The trace of the root is the sum of
    the singular values of the product of two roots of the covariances, which exists and is exact
    also where there are fewer images than dimensions.

    Parameters
    ----------
    a, b : Features
        Of the two sets, at least two images each.

    Returns
    -------
    FrechetDistance

    Raises
    ------
    InputError
        With less than two images in a set.
    """
    x, y = _matrices(a, b)
    mean_part = float(np.square(x.mean(0) - y.mean(0)).sum())
    root_a, root_b = _root(x), _root(y)
    spread = float(np.square(root_a).sum() + np.square(root_b).sum())
    shared = float(np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum())
    value = max(0.0, mean_part + spread - 2 * shared)
    return FrechetDistance(value, len(x), len(y), x.shape[1], a.name)


def _matrices(a: Features, b: Features) -> tuple[np.ndarray, np.ndarray]:
    if a.name != b.name or a.values.shape[1:] != b.values.shape[1:]:
        raise ValueError(
            f"features of two kinds: {a.name} {a.values.shape[1:]}, {b.name} {b.values.shape[1:]}"
        )
    if min(len(a), len(b)) < 2:
        raise InputError(
            f"A distance between {len(a)} and {len(b)} images was asked for; give at least two "
            "images on each side."
        )
    return a.composite, b.composite


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    matrix: np.ndarray = (x @ y.T / x.shape[1] + 1) ** 3
    return matrix


def _resampled(n: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of `n` images occurs in `count` bootstrap samples, ``(count, n)`` float64."""
    return rng.multinomial(n, np.full(n, 1 / n), size=count).astype(np.float64)


def _root(x: np.ndarray) -> np.ndarray:
    """Return a matrix ``R`` of at most ``D`` rows with ``R.T @ R`` the covariance of ``(N, D)``."""
    centred = (x - x.mean(0)) / math.sqrt(len(x) - 1)
    if len(x) <= x.shape[1]:
        return centred
    return np.asarray(np.linalg.qr(centred, mode="r"))
