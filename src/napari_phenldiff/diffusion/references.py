"""Reference channels: channels in which the conditions do not differ.

Most stains of an experiment are there to show where the cells are. If nothing in a channel tells
the conditions apart, a translation has no business with it: the channel is *given* to the network
as it is, in training and in translation, and the network learns how the other channels look
beside it. So nuclei stay where they are, and what is learned is the phenotype and not which nuclei
happened to be imaged.

Which channels these are is estimated from the training images alone: from the statistics of one
channel at a time (`conditioning.describe`), how well can the condition of an image be guessed that
was not looked at? If it can be guessed from no channel, nor from all of them together, there is
nothing to be shown, and nothing is: all channels are references, unless somebody says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from scipy.stats import norm, rankdata

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.conditioning import describe
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import named_channels

_THRESHOLD, _DEVIATIONS = 0.7, 2.5
_CLEAR = 0.95
"""A channel that separates better than this is no further ahead of the others."""
_FOLDS, _REPEATS, _RIDGE = 5, 4, 0.25
_FEWEST = 8
"""Images per condition; with fewer nothing can be said, and no channel is given unasked."""


@dataclass(frozen=True, slots=True)
class Separation:
    """How well images of the conditions can be told apart.

    Each is the area under the ROC curve of a cross-validated linear discriminant, of more than two
    conditions that of the pair that is separated best: 0.5 is not at all, 1 is fully.

    Attributes
    ----------
    channels : tuple of float
        By each channel alone; empty where the base mixes channels.
    together : float
        By all channels and how they correlate.
    limit : float
        What counts as separated, see `highest_without_phenotype`.
    """

    channels: tuple[float, ...] = ()
    together: float = 1.0
    limit: float = _THRESHOLD

    @property
    def found(self) -> bool:
        """Whether anything separates the conditions."""
        return max((*self.channels, self.together)) >= self.limit

    @property
    def references(self) -> tuple[bool, ...]:
        """Whether each channel differs so little that it can be a reference.

        One that separates less than `limit`, or less than half as far (in standard deviations, d')
        as the best one, at 0.79 at most: wells differ in every channel, and 100 images of few
        wells show it.
        """
        best = min(max(self.channels, default=0.5), _CLEAR)
        halfway = float(norm.cdf(norm.ppf(best) / 2))
        return tuple(value < max(self.limit, halfway) for value in self.channels)


def separation(
    latents: Sequence[torch.Tensor],
    images: Sequence[np.ndarray],
    *,
    coefficients: int,
    channels: int,
) -> Separation:
    """Tell how well each channel alone, and all together, separate the conditions.

    Parameters
    ----------
    latents : sequence of torch.Tensor
        Per condition ``(N, L, Y, X)``: latents of tiles.
    images : sequence of numpy.ndarray
        Per condition ``(N,)`` integers: the image that each tile was cut from. Tiles of one image
        are never apart, or a microscope's illumination would pass for a phenotype.
    coefficients : int
        Latent channels per image channel.
    channels : int
        Image channels, the first of the base.
    """

    def best(first: int, last: int) -> float:
        part = slice(first * coefficients, last * coefficients)
        described = [
            _per_image(describe(z[:, part], coefficients).double().cpu().numpy(), index)
            for z, index in zip(latents, images, strict=True)
        ]
        return max(_separation(a, b) for a, b in combinations(described, 2))

    return Separation(
        tuple(best(channel, channel + 1) for channel in range(channels)),
        best(0, channels),
        highest_without_phenotype([len(np.unique(index)) for index in images]),
    )


def highest_without_phenotype(sizes: Sequence[int]) -> float:
    """Largest separation of a reference channel.

    Parameters
    ----------
    sizes : sequence of int
        Images per condition.

    Returns
    -------
    float
        0.7, or with few images what chance does not exceed in all but about one of a hundred
        experiments (2.5 standard deviations of the Mann-Whitney statistic above 0.5).
    """
    first, second = sorted(sizes)[:2]
    deviation = np.sqrt((first + second + 1) / (12 * first * second))
    return float(min(1.0, max(_THRESHOLD, 0.5 + _DEVIATIONS * deviation)))


def choose_references(
    wanted: str | Sequence[str],
    channel_names: Sequence[str],
    found: Separation,
    base: BaseModel,
) -> tuple[str, ...]:
    """Names of the reference channels.

    Parameters
    ----------
    wanted : str or sequence of str
        ``"auto"``, or the names that somebody chose; none is a choice, too.
    channel_names : sequence of str
        Of the images.
    found : Separation
        Of the conditions.
    base : BaseModel
        What will be fine-tuned.

    Returns
    -------
    tuple of str
        All of the channels if nothing separates the conditions. If only all together do, the one
        that separates best is left to be translated.

    Raises
    ------
    InputError
        If a name is no channel's, if all channels are named, or the base mixes channels.
    """
    if wanted == "auto":
        if base.coefficients is None:
            return ()
        best = int(np.argmax(found.channels))
        return tuple(
            name
            for k, (name, differs_little) in enumerate(
                zip(channel_names, found.references, strict=True)
            )
            if differs_little and not (found.found and k == best)
        )
    chosen = named_channels((wanted,) if isinstance(wanted, str) else wanted, channel_names)
    if chosen and set(chosen) == set(channel_names):
        raise InputError(
            "All channels are named as references, so none is left to translate; leave one out."
        )
    if chosen and base.coefficients is None:
        raise InputError(
            f"The autoencoder of the base model {base.reference} mixes channels, so none can be a "
            "reference; use the bundled base, or no reference channels."
        )
    return chosen


def in_words(channel_names: Sequence[str], found: Separation, references: Sequence[str]) -> str:
    """Tell a user what each channel says about the conditions, and what follows."""
    if not found.channels:
        return "This base model mixes channels: none can be a reference"
    parts = [
        f"{name} {value:.2f}{' (reference)' if name in references else ''}"
        for name, value in zip(channel_names, found.channels, strict=True)
    ]
    if len(parts) > 1:
        parts.append(f"all together {found.together:.2f}")
    return f"How well the conditions are separated (0.5 not, 1 fully): {', '.join(parts)}"


def given_latents(
    base: BaseModel, channel_names: Sequence[str], references: Sequence[str] = ()
) -> torch.Tensor:
    """Mark the latent channels that are not noised.

    Returns
    -------
    torch.Tensor
        ``(1, L, 1, 1)`` bool on the base's device: True for the channels in `references` and for
        those that the images do not have (they are black, and known to be).
    """
    given = torch.zeros(1, base.latent_channels, 1, 1, dtype=torch.bool, device=base.device)
    if base.coefficients is not None:
        size = base.coefficients
        given[:, len(channel_names) * size :] = True
        for name in references:
            k = list(channel_names).index(name)
            given[:, k * size : (k + 1) * size] = True
    return given


def _per_image(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    return np.stack([values[index == k].mean(0) for k in np.unique(index)])


def _separation(first: np.ndarray, second: np.ndarray) -> float:
    """Area under the ROC curve of a ridge-regularised discriminant on images it has not seen."""
    if min(len(first), len(second)) < _FEWEST:
        return 1.0
    x = np.concatenate([first, second])
    y = np.repeat([0.0, 1.0], [len(first), len(second)])
    rng = np.random.default_rng(0)
    found = []
    for _ in range(_REPEATS):
        fold = np.empty(len(y), int)
        for members in (np.arange(len(first)), np.arange(len(first), len(y))):
            fold[rng.permutation(members)] = np.arange(len(members)) % _FOLDS
        score = np.zeros(len(y))
        for k in range(_FOLDS):
            seen = fold != k
            score[~seen] = _discriminant(x[seen], y[seen], x[~seen])
        # ranks within a fold: scores of different folds have different offsets
        found.append(np.mean([_area(score[fold == k], y[fold == k]) for k in range(_FOLDS)]))
    return float(np.mean(found))


def _discriminant(x: np.ndarray, y: np.ndarray, unseen: np.ndarray) -> np.ndarray:
    mean, spread = x.mean(0), x.std(0) + 1e-3
    scaled = (x - mean) / spread
    ridge = _RIDGE * len(x) * np.eye(x.shape[1])
    weights = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ (y - y.mean()))
    return np.asarray((unseen - mean) / spread @ weights)


def _area(score: np.ndarray, y: np.ndarray) -> float:
    n1 = int(y.sum())
    n0 = len(y) - n1
    return float((rankdata(score)[y == 1].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))
