"""Whether a model repeats its training images, and whether two models agree (paper, 4.2 and 4.4).

Two similarities are given of every pair. *Raw* is the cosine of the grey values counted from the
bottom of the experiment's range, as in the paper: such values are not negative, so even unlike
images are similar. *Centred* is the cosine after the mean of each channel of each image was
taken away (a correlation over all channels), and is 0 for unlike images. An image without contrast
is like nothing: 0.

A number by itself says little, since cells of one kind look alike. Compare memorisation with the
same number for real images that were not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import Chosen, cut_tiles, tile_side
from napari_phenldiff.evaluation.numbers import Kept, Number, Spread
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count

AS_GOOD_AS_A_COPY = 0.95
"""Centred cosine similarity with a training image from which on an image is its copy.

Of real images that were not trained on some may be as similar to one: as many of the translated
ones are not counted."""


@dataclass(frozen=True, slots=True, eq=False)
class NearestTraining:
    """For every image, the training image that it is most like.

    Attributes
    ----------
    raw, centred : numpy.ndarray
        ``(N,)`` float32: the largest cosine similarity with any training image in any of its flips
        and rotations. 1 is a copy.
    raw_index, centred_index : numpy.ndarray
        ``(N,)`` int: which training image that was.
    n_training : int
        Training images that were searched.
    """

    raw: np.ndarray
    centred: np.ndarray
    raw_index: np.ndarray
    centred_index: np.ndarray
    n_training: int


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """How alike the images at the same place in two sets are.

    Attributes
    ----------
    raw, centred : numpy.ndarray
        ``(N,)`` float32 cosine similarities.
    """

    raw: np.ndarray
    centred: np.ndarray


def nearest_training(
    images: np.ndarray, training: Iterable[np.ndarray], *, block: int = 32
) -> NearestTraining:
    """Look for every image among the training images, over their flips and rotations.

    Parameters
    ----------
    images : numpy.ndarray
        ``(N, C, Y, X)`` in [-1, 1].
    training : iterable of numpy.ndarray
        ``(C, Y, X)`` in [-1, 1], such as an array ``(M, C, Y, X)`` or a generator, which is read
        once and of which no more than `block` are kept. Of images that are not square the four
        views that keep their shape are searched.
    block : int
        Training images at once; memory is `images` twice and 16 of these blocks in float32.

    Returns
    -------
    NearestTraining

    Raises
    ------
    InputError
        If there are no training images.
    ValueError
        If training images have another shape.
    """
    _check(images)
    count = len(images)
    wanted = {"raw": _raw(images), "centred": _centred(images)}
    best = {kind: np.full(count, -np.inf, np.float32) for kind in wanted}
    index = {kind: np.zeros(count, int) for kind in wanted}
    seen = 0
    for part in _blocks(training, block):
        if part.shape[1:] != images.shape[1:]:
            raise ValueError(f"training images of shape {part.shape[1:]} for {images.shape[1:]}")
        for kind, prepare in (("raw", _raw), ("centred", _centred)):
            prepared = prepare(part).reshape(part.shape)
            for view in _views(prepared):
                similarity = wanted[kind] @ view.reshape(len(part), -1).T
                nearest = similarity.argmax(1)
                value = similarity[np.arange(count), nearest]
                better = value > best[kind]
                best[kind][better] = value[better]
                index[kind][better] = seen + nearest[better]
        seen += len(part)
    if not seen:
        raise InputError("There are no training images to search; give those of the run.")
    raw, centred = (np.clip(best[kind], -1, 1) for kind in ("raw", "centred"))
    return NearestTraining(raw, centred, index["raw"], index["centred"], seen)


def agreement(a: np.ndarray, b: np.ndarray) -> Agreement:
    """Similarity of what two models made of the same seeds (generalisation, paper 4.2).

    Parameters
    ----------
    a, b : numpy.ndarray
        ``(N, C, Y, X)`` in [-1, 1]; images at the same place belong together.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    _check(a)
    if a.shape != b.shape:
        raise ValueError(f"images of shapes {a.shape} and {b.shape}")
    raw, centred = (
        np.clip((prepare(a) * prepare(b)).sum(1), -1, 1) for prepare in (_raw, _centred)
    )
    return Agreement(raw, centred)


def _check(images: np.ndarray) -> None:
    if images.ndim != 4:
        raise ValueError(f"images of shape {images.shape}, not (N, C, Y, X)")


def _raw(images: np.ndarray) -> np.ndarray:
    return _unit((images.astype(np.float32) + 1) / 2)


def _centred(images: np.ndarray) -> np.ndarray:
    values = images.astype(np.float32)
    return _unit(values - values.mean((2, 3), keepdims=True))


def _unit(images: np.ndarray) -> np.ndarray:
    """Images as rows ``(N, C * Y * X)`` of length 1, or 0 where there is nothing in them."""
    rows = images.reshape(len(images), -1)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # what is left of a constant image after rounding is no pattern
    something = length > 1e-5 * np.sqrt(rows.shape[1])
    unit: np.ndarray = np.divide(rows, length, out=np.zeros_like(rows), where=something)
    return unit


def _blocks(images: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    iterator = iter(images)
    while part := list(islice(iterator, size)):
        yield np.stack(part)


def _views(images: np.ndarray) -> Iterator[np.ndarray]:
    """Flips and rotations of ``(N, C, Y, X)`` that keep the shape: 8, or 4 if not square."""
    turns = range(4) if images.shape[2] == images.shape[3] else (0, 2)
    for mirrored in (images, images[..., ::-1]):
        for k in turns:
            yield np.rot90(mirrored, k, axes=(2, 3))


class Memorisation(Kept):
    """Similarity with the nearest training image, see `NearestTraining`.

    Of the channels that the model draws. `copies` is the fraction of translated tiles that are as
    good as copies, less that of real tiles that were not trained on.
    """

    n_training: int
    copies: Number
    translated: Spread
    held_out: Spread
    translated_raw: Spread
    held_out_raw: Spread


def find_copies(
    training: Callable[[], Experiment] | None,
    target: str,
    chosen: Chosen,
    translated: Sequence[Image],
    scaling: IntensityScaling,
    notes: list[str],
    source: str | None = None,
    given: Sequence[str] = (),
) -> Memorisation | None:
    """Look for translated images among the training images of the target condition.

    All but these are in the grey values of the condition `source`, where one is named. Channels
    that are `given` to the model and left as they are take no part: they are the source's, unlike
    those of any training image, and would hide a copy in the others.
    """
    if training is None:
        notes.append("Whether images were memorised is not known: no training images are known.")
        return None
    try:
        images = training()[target].images
    except InputError as error:
        notes.append(f"Whether images were memorised is not known: {error}")
        return None
    names = chosen.sources[0].channel_names
    drawn = [index for index, name in enumerate(names) if name not in given]
    if not drawn:
        notes.append("Whether images were memorised is not known: the model draws no channel.")
        return None
    if source is not None:
        images = tuple(scaling.regrade(image, target, source) for image in images)
        scaling = scaling.of(source)
    side = tile_side((*images, *translated, *chosen.real_target))
    known, made, other = (
        np.stack([scaling.apply(tile)[drawn] for tile in cut_tiles(group, side)[0]])
        for group in (images, translated, chosen.real_target)
    )
    found, real = nearest_training(made, known), nearest_training(other, known)
    copies = float((found.centred > AS_GOOD_AS_A_COPY).mean())
    # Training images are copies of themselves and tell nothing.
    if not chosen.trained_on:
        alike = int((real.centred > AS_GOOD_AS_A_COPY).sum())
        copies = max(0.0, copies - alike / len(real.centred))
        if alike:
            notes.append(
                f"{count(alike, 'tile').capitalize()} of {len(real.centred)} of real images that "
                f"the run was not trained on {'is' if alike == 1 else 'are'} as good as copies of "
                "training images, too: if the same images are there under other names, leave them "
                "out; otherwise such tiles look alike by themselves."
            )
    return Memorisation(
        n_training=found.n_training,
        copies=copies,
        translated=Spread.of(found.centred),
        held_out=Spread.of(real.centred),
        translated_raw=Spread.of(found.raw),
        held_out_raw=Spread.of(real.raw),
    )
