"""Translate there and back: how much of an image is lost (paper, table 1).

The paper's cycle loss is the L2 norm between an image and the same image translated to the target
and back. It names neither size nor scale of the images; the values only fit grey values from 0 to
255. A norm grows with the number of pixels, so the error per pixel stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_phenldiff.evaluation.numbers import Kept, Spread
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiles import TileGrid
from napari_phenldiff.runs.config import TranslationConfig

if TYPE_CHECKING:
    from napari_phenldiff.diffusion.guidance import LatentTranslator


class Translated(Protocol):
    """One translated image, such as a `Translation`."""

    @property
    def translated(self) -> Image:
        """In the target condition."""

    @property
    def reconstructed(self) -> Image:
        """In its own condition, through the same model."""


class Translating(Protocol):
    """Whatever translates images: a `Translator`, or a baseline."""

    def translate(self, images: Iterable[Image], config: TranslationConfig) -> Iterator[Translated]:
        """Translate images, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class CycleError:
    """How far images are from what they were, one value per image.

    Attributes
    ----------
    norm : numpy.ndarray
        ``(N,)``: L2 norm over all pixels and channels, at 0 to 255 for the experiment's range of
        each channel, as in the paper. Depends on the size of the images.
    rmse : numpy.ndarray
        ``(N,)``: root mean square per pixel, as a fraction of the range.
    rmse_grey : numpy.ndarray
        ``(N, C)``: the same in grey values of the files, per channel.
    """

    norm: np.ndarray
    rmse: np.ndarray
    rmse_grey: np.ndarray

    def __len__(self) -> int:
        return len(self.norm)


def cycle_error(
    before: Sequence[Image], after: Sequence[Image], scaling: IntensityScaling
) -> CycleError:
    """Compare images with what came back.

    Parameters
    ----------
    before, after : sequence of Image
        The same images in the same order, of the same shapes.
    scaling : IntensityScaling
        Of the run: where 0 and 255 lie. Values outside are not clipped.

    Returns
    -------
    CycleError

    Raises
    ------
    ValueError
        If the images do not belong together.
    """
    low, high = (np.asarray(x, float)[:, None, None] for x in (scaling.low, scaling.high))
    norms, fractions, greys = [], [], []
    for one, other in zip(before, after, strict=True):
        if one.data.shape != other.data.shape:
            raise ValueError(f"images of shapes {one.data.shape} and {other.data.shape}")
        grey = other.data.astype(np.float64) - one.data.astype(np.float64)
        part = grey / (high - low)
        norms.append(255 * float(np.sqrt(np.square(part).sum())))
        fractions.append(float(np.sqrt(np.square(part).mean())))
        greys.append(np.sqrt(np.square(grey).mean((1, 2))))
    shape = (len(greys), len(scaling.low))
    return CycleError(np.array(norms), np.array(fractions), np.array(greys, float).reshape(shape))


def back_again(
    translator: Translating, translated: Sequence[Image], config: TranslationConfig
) -> list[Image]:
    """Translate images that were translated with `config` back to the source."""
    back = config.model_copy(update={"source": config.target, "target": config.source})
    scaling = getattr(translator, "scaling", None)
    if scaling is None:
        return [one.translated for one in translator.translate(translated, back)]
    # A translated image has the grey values of its source, where conditions have their own.
    images = [scaling.regrade(image, config.source, config.target) for image in translated]
    return [
        scaling.regrade(one.translated, config.target, config.source)
        for one in translator.translate(images, back)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class LatentCycle:
    """The cycle of a diffusion model without the way through pixels, and its autoencoder alone.

    Attributes
    ----------
    rmse : numpy.ndarray
        ``(N,)`` per tile: root mean square of the latents that came back less those that were
        inverted, in units of latents.
    relative : numpy.ndarray
        ``(N,)``: the same over the standard deviation of the tile's latents.
    floor : numpy.ndarray
        ``(N,)``: root mean square per pixel of the autoencoder alone, as a fraction of the range.
    floor_norm : numpy.ndarray
        ``(N,)``: the L2 norm of that at 0 to 255.
    """

    rmse: np.ndarray
    relative: np.ndarray
    floor: np.ndarray
    floor_norm: np.ndarray


def latent_cycle(
    translator: LatentTranslator,
    images: Sequence[Image],
    config: TranslationConfig,
    *,
    on_image: Callable[[int], None] = lambda done: None,
) -> LatentCycle:
    """Invert and generate latents to the target and back, without decoding in between.

    Parameters
    ----------
    translator : LatentTranslator
        A `Translator` of a diffusion model.
    images : sequence of Image
        In the source condition; the first tile of each is taken.
    config : TranslationConfig
    on_image : callable
        Told how many images are done.

    Returns
    -------
    LatentCycle
    """
    import torch

    base: Any = translator.base
    back = config.model_copy(update={"source": config.target, "target": config.source})
    columns: list[np.ndarray] = []
    for image in images:
        grid = TileGrid.cover(image.shape, base.tile, 0, multiple=base.multiple)
        tile = grid.cut(translator.scaling.of(config.source).apply(image.data))[:1]
        latents = base.encode(tile)
        there = translator.generate(translator.invert(latents, config), config)
        again = translator.generate(translator.invert(there, back), back)
        lost = float(torch.sqrt(torch.mean((again - latents) ** 2)))
        spread = float(latents.std())
        # [-1, 1] is twice the range
        floor = (base.decode(latents, tile.shape[1]) - tile) / 2
        columns.append(
            np.array(
                [
                    lost,
                    lost / spread if spread else 0.0,
                    np.sqrt(np.square(floor).mean()),
                    255 * np.sqrt(np.square(floor).sum()),
                ]
            )
        )
        on_image(len(columns))
    table = np.array(columns, float).reshape(-1, 4)
    return LatentCycle(*table.T)


def is_latent(translator: object) -> bool:
    """Whether a translator can be asked for its latents: `invert`, `generate` and a base."""
    return all(hasattr(translator, name) for name in ("base", "invert", "generate", "scaling"))


class Cycle(Kept):
    """Error of images that went through something and came back, see `CycleError`."""

    what: str
    image_shape: tuple[int, int]
    norm: Spread
    rmse: Spread
    rmse_grey: dict[str, Spread]


class LatentCycles(Kept):
    """Cycle of latents, and error of the autoencoder alone, see `LatentCycle`."""

    rmse: Spread
    relative: Spread
    floor: Spread
    floor_norm: Spread


def measure_cycle(
    what: str, before: Sequence[Image], after: Sequence[Image], scaling: IntensityScaling
) -> Cycle:
    """Sum up how far images are from what they were."""
    found = cycle_error(before, after, scaling)
    return Cycle(
        what=what,
        image_shape=before[0].shape,
        norm=Spread.of(found.norm),
        rmse=Spread.of(found.rmse),
        rmse_grey=Spread.by_channel(before[0].channel_names, found.rmse_grey),
    )


def measure_latents(
    translator: Translating,
    images: Sequence[Image],
    translation: TranslationConfig,
    *,
    on_image: Callable[[int], None] = lambda done: None,
) -> LatentCycles | None:
    """Measure the cycle of latents, of models that have them."""
    if not images or not is_latent(translator):
        return None
    found = latent_cycle(
        translator,  # type: ignore[arg-type]
        images,
        translation,
        on_image=on_image,
    )
    return LatentCycles(
        rmse=Spread.of(found.rmse),
        relative=Spread.of(found.relative),
        floor=Spread.of(found.floor),
        floor_norm=Spread.of(found.floor_norm),
    )
