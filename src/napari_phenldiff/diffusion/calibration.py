"""Choose guidance and freedom of a run on held-out images; see `runs.calibration`."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

import torch

from napari_phenldiff.diffusion.conditioning import (
    Batches,
    describe_all,
    describe_structure,
    in_batches,
)
from napari_phenldiff.diffusion.freedom import field_noise
from napari_phenldiff.diffusion.guidance import LatentTranslator
from napari_phenldiff.runs.calibration import Calibration, Trial
from napari_phenldiff.runs.config import TranslationConfig

GUIDANCES = (1.0, 1.35, 1.75, 2.2)
FREEDOMS = (0.0, 0.3, 0.5, 0.7)
MOST_TILES = 8
"""Largest number of tiles translated: each takes some 20 passes per setting and strength."""
_FIRST_GUIDANCES, _FIRST_FREEDOM = (1.35, 1.75), 0.5
_DIFFERENT = 0.5
"""Structure has a say where source and target differ by so many standard deviations (root mean
square over its descriptors)."""
MOST_TRIALS = 3 + len(FREEDOMS) - 1
"""Combinations of guidance and freedom that are tried at most."""
_HOPELESS = 0.1
"""The other freedoms are not tried if pictures are worse with the first one by more than this."""


def calibrate(
    translator: LatentTranslator,
    unknown: torch.Tensor,
    sources: Batches,
    targets: Batches,
    config: TranslationConfig,
) -> Calibration:
    """Choose guidance and freedom without telling how far it is; see `calibrating`."""
    steps = calibrating(translator, unknown, sources, targets, config)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Calibration = end.value
            return found


def calibrating(
    translator: LatentTranslator,
    unknown: torch.Tensor,
    sources: Batches,
    targets: Batches,
    config: TranslationConfig,
) -> Generator[int, None, Calibration]:
    """Translate images with several settings and compare the results with real target images.

    The guidance is chosen first, with freedom 0, and then the freedom with that guidance. Not all
    are tried: of the guidances the two in the middle, and then the next one on the better side; of
    the freedoms first the middle one, and the others only if that is not clearly worse than none.

    Parameters
    ----------
    translator : LatentTranslator
        The fine-tuned model, with an autoencoder that keeps image channels apart.
    unknown : torch.Tensor
        ``(N, L, Y, X)``: latents of source images that the model was not trained on. The first
        `MOST_TILES` are translated.
    sources, targets : torch.Tensor or iterable of torch.Tensor
        Latents of real images of both conditions, at least two each, which define the real
        effect. They may be the training images, which are more and come from more wells.
    config : TranslationConfig
        Source, target and all other settings.

    Yields
    ------
    int
        How many of at most `MOST_TRIALS` combinations have been tried: 0 once the images are
        inverted.

    Returns
    -------
    Calibration
    """
    coefficients = translator.base.coefficients
    if coefficients is None:
        raise ValueError("the autoencoder mixes image channels")
    asked = [i for i, given in enumerate(translator.given_channels(coefficients)) if not given]

    def asked_of(latents: torch.Tensor) -> torch.Tensor:
        """Return the channels that are not given, ``(N, C, coefficients, Y, X)``."""
        return latents.unflatten(1, (-1, coefficients))[:, asked].cpu()

    def described(latents: torch.Tensor) -> torch.Tensor:
        return describe_all(asked_of(latents).flatten(1, 2), coefficients).double()

    unknown = unknown[:MOST_TILES]
    real = [torch.cat([described(some) for some in in_batches(one)]) for one in (sources, targets)]
    first = asked_of(unknown[:1]).flatten(1, 2)
    structure = describe_structure(first, coefficients).shape[1] if coefficients >= 3 else 0
    judge = _TrialScorer(described(unknown), *real, structure=structure)

    def local_means(latents: torch.Tensor) -> torch.Tensor:
        return asked_of(latents)[:, :, 0].flatten(2).double()

    laid_out = local_means(unknown)
    inversion = translator.invert(unknown, config)
    n, channels, height, width = unknown.shape
    noise = field_noise([(0, 0)] * n, (channels, height, width), factor=1, seed=config.seed)

    def trials(guidances: Iterable[float], freedom: float) -> Iterable[Trial]:
        freed = translator.apply_freedom(
            inversion, noise.to(unknown.device), config.model_copy(update={"freedom": freedom})
        )
        reconstructed = translator.generate(freed, config, strength=0.0)
        back, layout = described(reconstructed), _agreement(laid_out, local_means(reconstructed))
        for guidance in guidances:
            guided = config.model_copy(update={"guidance": guidance})
            there = described(translator.generate(freed, guided, strength=1.0))
            yield judge(back, there, guidance, freedom, layout)

    yield 0
    tried: list[Trial] = []

    def trying(guidances: Iterable[float], freedom: float) -> Iterator[int]:
        for trial in trials(guidances, freedom):
            tried.append(trial)
            yield len(tried)

    yield from trying(_FIRST_GUIDANCES, FREEDOMS[0])
    lower, upper = tried
    yield from trying((GUIDANCES[0] if lower.score <= upper.score else GUIDANCES[-1],), FREEDOMS[0])
    best = min(tried, key=lambda trial: trial.score)
    yield from trying((best.guidance,), _FIRST_FREEDOM)
    if tried[-1].picture_error <= best.picture_error + _HOPELESS:
        for freedom in FREEDOMS[1:]:
            if freedom != _FIRST_FREEDOM:
                yield from trying((best.guidance,), freedom)
    return Calibration(
        source=config.source,
        target=config.target,
        images=n,
        trials=tuple(tried),
        untranslated=judge.untranslated,
        real=judge.real(n),
    )


def _agreement(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the correlation of maps ``(N, C, P)`` over places, mean over images and channels.

    Maps that are the same everywhere, such as those of empty channels, have no say.
    """
    first, second = (x - x.mean(-1, keepdim=True) for x in (first, second))
    sizes = first.norm(dim=-1) * second.norm(dim=-1)
    says = first.norm(dim=-1) > 1e-3 * first.shape[-1] ** 0.5
    found = (first * second).sum(-1) / sizes.clamp_min(1e-12)
    return float(found[says].mean()) if says.any() else 1.0


class _TrialScorer:
    """Scores trials by distances between descriptors, in units of their spread in a condition.

    The last `structure` descriptors are those of `describe_structure`.
    """

    def __init__(
        self,
        unknown: torch.Tensor,
        sources: torch.Tensor,
        targets: torch.Tensor,
        *,
        structure: int,
    ) -> None:
        spread = (0.5 * (sources.var(0) + targets.var(0))).sqrt()
        self._spread = spread.clamp_min(0.05 * spread.mean().clamp_min(1e-6))
        self._unknown = unknown / self._spread
        self._sources, self._targets = sources / self._spread, targets / self._spread
        self._apart = self._distance(self._sources, self._targets)
        self._typical = self._distance(self._unknown, self._sources)
        self._line = self._targets.mean(0) - self._sources.mean(0)
        self._structure = slice(len(spread) - structure, None)
        of_structure = self._line[self._structure]
        self._structure_differs = structure > 0 and (
            self._length(of_structure) > structure * _DIFFERENT**2
        )

    def __call__(
        self,
        back: torch.Tensor,
        there: torch.Tensor,
        guidance: float,
        freedom: float,
        layout: float,
    ) -> Trial:
        back, there = back / self._spread, there / self._spread
        change = there.mean(0) - back.mean(0)
        moved = back.mean(0) - self._unknown.mean(0)
        of = self._structure if self._structure_differs else slice(None)
        return Trial(
            guidance=guidance,
            freedom=freedom,
            to_target=self._distance(there, self._targets) / self._apart,
            # Structures that are drawn anew are other ones, which is the purpose of freedom. What
            # counts is whether they could be those of the source condition.
            to_source=max(0.0, self._distance(back, self._sources) - self._typical) / self._apart,
            effect=self._effect(change, self._line),
            structure=self._effect(change[self._structure], self._line[self._structure])
            if self._structure_differs
            else None,
            layout=layout,
            drift=self._effect(moved[of], self._line[of]),
        )

    @property
    def untranslated(self) -> float:
        """Distance to the target of the images that are translated, as `Trial.to_target`."""
        return self._distance(self._unknown, self._targets) / self._apart

    def real(self, n: int) -> float | None:
        """Distance of `n` real target images to the others, the same; mean over all such groups.

        Halves are compared where there are fewer than two groups, and nothing below four images.
        """
        if len(self._targets) < 4:
            return None
        parts = self._targets.tensor_split(max(2, len(self._targets) // n))
        found = [
            self._distance(part, torch.cat([*parts[:i], *parts[i + 1 :]]))
            for i, part in enumerate(parts)
        ]
        return sum(found) / len(found) / self._apart

    def _effect(self, change: torch.Tensor, line: torch.Tensor) -> float:
        """Return how far a change goes along a line, as a fraction of its length."""
        return float(change @ line) / self._length(line)

    def _length(self, line: torch.Tensor) -> float:
        """Return the squared length of a line, without what is chance.

        Means of few images differ by chance. Without subtracting that, every effect would look too
        small.
        """
        length = float(line @ line)
        chance = len(line) * (1 / len(self._sources) + 1 / len(self._targets))
        return max(length - chance, 0.25 * length)

    @staticmethod
    def _distance(first: torch.Tensor, second: torch.Tensor) -> float:
        """Return the Fréchet distance of two sets, assuming independent descriptors."""
        apart = (first.mean(0) - second.mean(0)).square() + (first.std(0) - second.std(0)).square()
        return float(apart.mean().sqrt())
