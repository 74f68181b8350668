"""Monitor a training: losses with fixed noise, and previews.

Nothing here draws from the random streams of the training, so monitoring does not change what is
learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.conditioning import ConditionTokens
from napari_phenldiff.diffusion.device import autocast
from napari_phenldiff.diffusion.latents import training_tiles
from napari_phenldiff.diffusion.noising import add_noise, noise_loss
from napari_phenldiff.diffusion.streams import stream
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Preview
from napari_phenldiff.runs.folder import Run

VALIDATE_EVERY = 25
"""Steps between two validations. With `_SAMPLES` they take about 4 % of the training time."""

_SAMPLES = 1.5
"""Noisy tiles per validation and set of images, in training batches."""

_PREVIEW_STEPS = 12
"""Steps of a preview's translation: coarse, but a few seconds at most on a CPU."""

_STREAM = 1_000_003
"""Separates the random streams of this module from those of the steps."""


class FixedNoiseLoss:
    """The loss on a fixed set of tiles with fixed noise and fixed time steps.

    The loss of a training step depends far more on the time steps that were drawn than on what has
    been learned. With fixed ones, losses at different steps are comparable, and two sets of tiles
    of the same size differ in nothing but their tiles.

    Parameters
    ----------
    base : BaseModel
        Base with the network to evaluate, which may be in training.
    latents : sequence of torch.Tensor
        ``(N, L, Y, X)`` for each condition, on any device.
    given : torch.Tensor
        Latents that are not noised, see `given_latents`.
    config : TrainingConfig
        Settings, for the batch size and the seed.
    dtype : torch.dtype
        Precision of the passes.
    """

    def __init__(
        self,
        base: BaseModel,
        latents: Sequence[torch.Tensor],
        given: torch.Tensor,
        config: TrainingConfig,
        dtype: torch.dtype,
    ) -> None:
        self._base, self._given, self._dtype = base, given, dtype
        self._batch_size = config.batch_size
        conditions = len(latents)
        rounds = max(1, round(_SAMPLES * config.batch_size / conditions))
        number = rounds * conditions
        generator = stream(config.seed, _STREAM)
        self._index = torch.arange(number) % conditions
        turn = torch.arange(number) // conditions
        self._clean = torch.stack(
            [
                latents[c][k % len(latents[c])]
                for c, k in zip(self._index.tolist(), turn.tolist(), strict=True)
            ]
        )
        steps = len(base.alphas_cumprod)
        self._t = ((turn + torch.rand(number, generator=generator)) * steps / rounds).long()
        self._noise = torch.randn(self._clean.shape, generator=generator)

    @torch.no_grad()
    def mean(self, tokens: ConditionTokens) -> float:
        """Return the mean loss with the current weights."""
        base, device = self._base, self._base.device
        alphas = torch.from_numpy(base.alphas_cumprod).float()
        total = torch.zeros((), device=device)
        for part in torch.arange(len(self._t)).split(self._batch_size):
            t = self._t[part]
            noisy, target = add_noise(
                self._clean[part].to(device),
                self._noise[part].to(device),
                alphas[t].to(device),
                self._given,
                prediction_type=base.prediction_type,
            )
            index = self._index[part].to(device)
            with autocast(device, self._dtype):
                states = tokens(index, torch.zeros_like(index, dtype=torch.bool))
                output = base.unet(noisy, t.to(device), encoder_hidden_states=states).sample
            total += noise_loss(output, target, self._given) * len(part)
        return float(total) / len(self._t)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A tile that is translated for previews.

    Attributes
    ----------
    condition : str
        Condition of the tile.
    tile : numpy.ndarray
        ``(C, side, side)`` float32 in [-1, 1].
    image : Image
        The image that it was cut from.
    """

    condition: str
    tile: np.ndarray
    image: Image


def choose_examples(
    experiment: Experiment, config: CommonTraining, scaling: IntensityScaling, side: int
) -> list[Example]:
    """Choose a tile of the first image of each condition except the target.

    If the image has several tiles, it is the one with the most contrast.
    """
    examples = []
    for name in config.conditions:
        if name != config.conditions[1]:
            image = experiment[name].images[0]
            tiles, _ = training_tiles([image], scaling.of(name), side)
            fullest = int(tiles.std(axis=(2, 3)).mean(axis=1).argmax())
            examples.append(Example(name, tiles[fullest], image))
    return examples


def write_previews(
    translator: Translator, examples: Sequence[Example], run: Run, step: int
) -> list[Preview]:
    """Translate the examples and write them with their originals into ``previews/`` of the run.

    Returns
    -------
    list of Preview
        Each names a TIFF with the channels ``real X`` and ``translated X``.
    """
    quick: Mapping[str, int] = {
        # previews of three conditions take as long as those of two
        "inference_steps": max(6, _PREVIEW_STEPS // len(examples)),
        "fixed_point_iterations": 1,
    }

    def draw(tile: np.ndarray, source: str) -> np.ndarray:
        config = TranslationConfig(source=source, target=run.conditions[1], **quick)
        latents = translator.base.encode(tile[None])
        generated = translator.generate(translator.invert(latents, config), config)
        return translator.base.decode(generated, len(tile))[0]

    return write_examples(draw, examples, run, step)


def write_examples(
    translate: Callable[[np.ndarray, str], np.ndarray],
    examples: Sequence[Example],
    run: Run,
    step: int,
) -> list[Preview]:
    """Write examples with their translations, see `write_previews`.

    Parameters
    ----------
    translate : callable
        Takes a tile ``(C, Y, X)`` in [-1, 1] and the name of its condition, and returns its
        translation.
    examples : sequence of Example
        Tiles to translate to the run's target.
    run : Run
        Run folder to write to.
    step : int
        Number of the last step.
    """
    events = []
    target = run.conditions[1]
    names = run.channel_names
    for example in examples:
        pixels = np.stack([example.tile, translate(example.tile, example.condition)])
        scaling = run.scaling.of(example.condition)
        planes = np.concatenate([scaling.invert(image, np.float32) for image in pixels])
        labels = [f"{kind} {name}" for kind in ("real", "translated") for name in names]
        extra = "" if len(examples) == 1 else f"_{example.condition}"
        path = Path("previews") / f"step_{step:06d}{extra}.tif"
        image = Image(planes, tuple(labels), example.image.pixel_size, path.stem)
        write_tiff(run.path / path, image)
        events.append(Preview(step, path.as_posix(), example.condition, target))
    return events
