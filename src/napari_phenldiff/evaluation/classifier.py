"""A classifier of conditions, trained on features of real images and asked about translated ones.

Logistic regression with a quadratic penalty on standardised principal components, by SciPy: with
far more features than images nothing more elaborate is called for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.numbers import Number

PENALTY = 1.0
"""Of the squared weights, against the sum of losses over images."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something is the case, with Wilson's 95 % interval.

    The interval takes what was counted for independent, which tiles of one image are not.

    Attributes
    ----------
    value, low, high : float
        NaN without any.
    n : int
        Of how many.
    """

    value: Number
    low: Number
    high: Number
    n: int

    @classmethod
    def of(cls, hits: np.ndarray) -> Rate:
        """Count what is true of a boolean array."""
        from scipy.stats import binomtest

        n = hits.size
        if not n:
            return cls(math.nan, math.nan, math.nan, 0)
        interval = binomtest(int(np.count_nonzero(hits)), n).proportion_ci(method="wilson")
        return cls(float(hits.mean()), float(interval.low), float(interval.high), n)


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Rates of images or wells, each judged by the mean of what is said of its pieces.

    Attributes
    ----------
    real, translated, reconstructed : Rate
        As in `Classified`.
    """

    real: Rate
    translated: Rate
    reconstructed: Rate


@dataclass(frozen=True, slots=True)
class Classified:
    """What a classifier of conditions says.

    Attributes
    ----------
    real : Rate
        Tiles of real images of both conditions that it told right, none of which it was trained on.
        A tile is a whole image where that is small enough.
    translated : Rate
        Tiles of translated images that it takes for the target condition.
    reconstructed : Rate
        Tiles of reconstructed images that it takes for the target condition: best 0.
    n_groups : int
        Images or wells; what is of one was never in training and test at once.
    by_group : GroupRates, optional
        The same with each image or well counted once: these have a say, and are shown. None in
        files of earlier versions.
    counted : str
        What they are: ``"wells"``, ``"fields"``, ``"stacks"`` or ``"images"``; empty in files of
        earlier versions.
    """

    real: Rate
    translated: Rate
    reconstructed: Rate
    n_groups: int
    by_group: GroupRates | None = None
    counted: str = ""

    @property
    def judged(self) -> Classified | GroupRates:
        """The rates that count: of wells or images, and not of the tiles that they are cut into."""
        return self.by_group or self

    @property
    def over(self) -> str:
        """What the intervals of these rates are over, in a word or two."""
        return (self.counted or "images or wells") if self.by_group else "tiles"


def classify(
    source: np.ndarray,
    target: np.ndarray,
    source_groups: Sequence[str],
    target_groups: Sequence[str],
    translated: np.ndarray,
    reconstructed: np.ndarray,
    made_of: Sequence[str],
    *,
    counted: str = "images",
    seed: int = 0,
) -> Classified:
    """Ask which condition translated images look like.

    Parameters
    ----------
    source, target : numpy.ndarray of shape (N, D), (M, D)
        Features of real images.
    source_groups, target_groups : sequence of str
        Image or well of each row: all of a group is held out together.
    translated, reconstructed : numpy.ndarray of shape (K, D)
        Features of what was made of source images.
    made_of : sequence of str
        Group of the source image of each of these: it is judged by a classifier that has not seen
        that group.
    counted : str
        What the groups are.
    seed : int
        Of the sharing out of groups.

    Returns
    -------
    Classified

    Raises
    ------
    InputError
        With less than two groups in a condition.
    """
    label = np.repeat([0, 1], [len(source), len(target)])
    values = np.concatenate([source, target]).astype(np.float64)
    folds = share_out(source_groups, target_groups, seed)
    made = np.array([folds.get(g, -1) for g in made_of])
    fold = np.array([folds[g] for g in (*source_groups, *target_groups)])
    said = np.zeros(len(values))
    answers = {name: np.zeros(len(made)) for name in ("translated", "reconstructed")}
    for k in sorted(set(fold)):
        model = Logistic.fit(values[fold != k], label[fold != k])
        said[fold == k] = model.predict(values[fold == k])
        for name, features in (("translated", translated), ("reconstructed", reconstructed)):
            # what is made of an image in no fold may be judged by any
            mine = made == k if k else (made == k) | (made < 0)
            answers[name][mine] = model.predict(features[mine].astype(np.float64))
    # a group may be in both conditions
    real = [f"{k} {g}" for k, g in zip(label, (*source_groups, *target_groups), strict=True)]
    return Classified(
        Rate.of((said > 0.5) == label),
        Rate.of(answers["translated"] > 0.5),
        Rate.of(answers["reconstructed"] > 0.5),
        len(folds),
        GroupRates(
            Rate.of(_by_group(np.where(label == 1, said, 1 - said), real) > 0.5),
            Rate.of(_by_group(answers["translated"], made_of) > 0.5),
            Rate.of(_by_group(answers["reconstructed"], made_of) > 0.5),
        ),
        counted,
    )


def _by_group(values: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Give the mean of each group."""
    names, at = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    result: np.ndarray = np.bincount(at, values, names.size) / np.bincount(at, minlength=names.size)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Logistic:
    """A logistic regression; make one with `fit`."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    offset: float

    @classmethod
    def fit(cls, values: np.ndarray, label: np.ndarray) -> Logistic:
        """Fit to features ``(N, D)`` and labels 0 or 1; both count the same in total."""
        from scipy.optimize import minimize
        from scipy.special import expit

        mean, scale = values.mean(0), values.std(0)
        scale = np.where(scale > 1e-12, scale, 1.0) * math.sqrt(values.shape[1])
        x = (values - mean) / scale
        # the weights lie in the span of the images, of which there are fewer than features
        left, singular, right = np.linalg.svd(x, full_matrices=False)
        z = left * singular
        part = np.where(label == 1, 0.5 / label.mean(), 0.5 / (1 - label.mean()))
        sign = 2 * label - 1

        def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
            margin = sign * (z @ w[1:] + w[0])
            slope = -part * sign * expit(-margin)
            value = float((part * np.logaddexp(0, -margin)).sum() + PENALTY * w[1:] @ w[1:] / 2)
            return value, np.concatenate([[slope.sum()], z.T @ slope + PENALTY * w[1:]])

        found = minimize(loss, np.zeros(1 + z.shape[1]), jac=True, method="L-BFGS-B").x
        return cls(mean, scale, right.T @ found[1:], float(found[0]))

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Probability of label 1 for features ``(N, D)``."""
        from scipy.special import expit

        result: np.ndarray = expit((values - self.mean) / self.scale @ self.weights + self.offset)
        return result


def share_out(
    source_groups: Sequence[str], target_groups: Sequence[str], seed: int
) -> dict[str, int]:
    """Share the groups out so that both conditions are in every training.

    A group that is in both conditions (a place before and after) is held out from both.

    Returns
    -------
    dict of str to int
        The part that each group is held out with.

    Raises
    ------
    InputError
        With less than two groups in a condition.
    """
    rng = np.random.default_rng(seed)
    source, target = set(source_groups), set(target_groups)
    fewest = min(len(source), len(target))
    if fewest < 2:
        raise InputError(
            f"A classifier needs images of at least two wells per condition, there are {fewest}."
        )
    count = min(FOLDS, fewest)
    # those of one condition stand side by side, so that two of them never share all folds
    parts = (source - target, source & target, target - source)
    ordered = [str(name) for part in parts for name in rng.permutation(sorted(part))]
    return {name: i % count for i, name in enumerate(ordered)}
