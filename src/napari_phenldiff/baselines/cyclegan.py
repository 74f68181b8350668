"""CycleGAN (Zhu et al. 2017) between two conditions: training and translation."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

import numpy as np
import torch
from torch.nn.functional import l1_loss, mse_loss

from napari_phenldiff.baselines.networks import ImagePool, PatchDiscriminator, ResnetGenerator
from napari_phenldiff.baselines.tiles import Tiles
from napari_phenldiff.baselines.training import BaselineTraining, load_weights
from napari_phenldiff.baselines.translating import TileTranslator, TranslatedTiles
from napari_phenldiff.diffusion.device import autocast, choose_device, choose_precision
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.guidance import Cancelled
from napari_phenldiff.diffusion.streams import seeded, stream
from napari_phenldiff.runs.baseline_config import CycleGANConfig
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run

_BETAS = (0.5, 0.999)


class CycleGANTraining(BaselineTraining):
    """A CycleGAN in training: a generator and a discriminator for each condition.

    The generator of a condition makes images of that condition from images of the other one.
    """

    config: CycleGANConfig

    def __init__(self, tiles: Tiles, config: CycleGANConfig, device: torch.device) -> None:
        super().__init__(tiles, config, device)
        with seeded(config.seed):
            self.generators = _generators(tiles.channels, config).to(device)
            self.discriminators = torch.nn.ModuleList(
                PatchDiscriminator(tiles.channels, config.discriminator_filters)
                for _ in config.conditions
            ).to(device)
        self.pools = [ImagePool(config.pool_size) for _ in config.conditions]
        self.trained = []
        for networks, ema in ((self.generators, config.ema), (self.discriminators, 0.0)):
            average = MovingAverage(networks.parameters(), ema)
            optimizer = torch.optim.Adam(
                average.parameters, lr=config.learning_rate, betas=_BETAS, fused=_can_fuse(device)
            )
            self.trained.append((average, optimizer))

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        """The generators; translating does not need the discriminators."""
        return {"generators": self.generators}

    def step(self, number: int) -> float:
        """Train the generators and then the discriminators; returns the loss of the generators."""
        config = self.config
        # every step has its own random stream, so that a resume repeats it
        generator = stream(config.seed, number)
        real = [
            torch.stack([self.tiles.draw(k, generator) for _ in range(config.batch_size)]).to(
                self.device
            )
            for k in (0, 1)
        ]
        rate = config.learning_rate * constant_then_linear(number, steps=config.steps)
        for _, optimizer in self.trained:
            for group in optimizer.param_groups:
                group["lr"] = rate
        (generating, optimise_generators), (judging, optimise_discriminators) = self.trained

        self.discriminators.requires_grad_(False)
        with autocast(self.device, self.dtype):
            # index k: translated to condition k, translated back to k, and identity
            made = [self.generators[k](real[1 - k]) for k in (0, 1)]
            back = [self.generators[k](made[1 - k]) for k in (0, 1)]
            same = [self.generators[k](real[k]) for k in (0, 1)]
            scores = [self.discriminators[k](made[k]).float() for k in (0, 1)]
        weight = config.cycle_weight
        loss = torch.zeros((), device=self.device)
        for k in (0, 1):
            loss = loss + mse_loss(scores[k], torch.ones_like(scores[k]))
            loss = loss + weight * l1_loss(back[k], real[k])
            loss = loss + weight * config.identity_weight * l1_loss(same[k], real[k])
        optimise_generators.zero_grad(set_to_none=True)
        loss.backward()
        optimise_generators.step()
        generating.update(number)

        self.discriminators.requires_grad_(True)
        judged = torch.zeros((), device=self.device)
        for k in (0, 1):
            shown = self.pools[k](made[k], generator)
            with autocast(self.device, self.dtype):
                true = self.discriminators[k](real[k]).float()
                false = self.discriminators[k](shown).float()
            judged = judged + 0.5 * mse_loss(true, torch.ones_like(true))
            judged = judged + 0.5 * mse_loss(false, torch.zeros_like(false))
        optimise_discriminators.zero_grad(set_to_none=True)
        judged.backward()
        optimise_discriminators.step()
        judging.update(number)
        return float(loss.detach())

    def extra_state(self) -> dict[str, torch.Tensor]:
        """Return the contents of the image pools."""
        return {**self.pools[0].extra_state("pool.0"), **self.pools[1].extra_state("pool.1")}

    def load_extra_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore the image pools."""
        for k, pool in enumerate(self.pools):
            pool.load_extra_state(state, f"pool.{k}", self.device)

    def translator(self, run: Run) -> CycleGANTranslator:
        """Return a translator with the current generators."""
        return CycleGANTranslator(
            run, self.generators, self.tiles.side, self.device, precision=self.config.precision
        )


def constant_then_linear(step: int, *, steps: int) -> float:
    """Return the relative learning rate of step `step` (from 1): 1, then linearly to almost 0."""
    constant = steps // 2
    return 1 - max(0, step - constant) / (steps - constant + 1)


class CycleGANTranslator(TileTranslator):
    """Translates with the generators of a run.

    The translated image is the output of the generator of the target. The reconstruction is the
    output of the generator of the source, which has learned not to change such images (the identity
    loss); it shows what a generator does to an image besides translating it. The `residual` is NaN,
    since nothing is inverted.

    Create one with `from_run`.

    Parameters
    ----------
    run : Run
        Run with the conditions, channels and scaling.
    generators : torch.nn.ModuleList
        One generator per condition.
    tile : int
        Side of the training tiles, in pixels.
    device : torch.device
        Device of the generators.
    precision : {"auto", "float32", "bfloat16"}
        Precision of their passes.
    """

    def __init__(
        self,
        run: Run,
        generators: torch.nn.ModuleList,
        tile: int,
        device: torch.device,
        *,
        precision: str = "auto",
    ) -> None:
        super().__init__(
            run.conditions, run.scaling, run.channel_names, method="cyclegan", tile=tile
        )
        self._generators, self._device = generators, device
        self._dtype = choose_precision(precision, device)

    @classmethod
    def from_run(
        cls, run: Run | str | PathLike[str], *, device: str = "auto", precision: str = "auto"
    ) -> CycleGANTranslator:
        """Load the result of a training.

        Raises
        ------
        InputError
            If the folder is not a run, or has no adapter yet.
        """
        opened = run if isinstance(run, Run) else Run.open(run)
        assert isinstance(opened.config, CycleGANConfig)
        generators = _generators(len(opened.channel_names), opened.config)
        side = load_weights(opened, {"generators": generators})
        place = choose_device(device)
        return cls(opened, generators.to(place), side, place, precision=precision)

    def translate_tiles(self, tiles: np.ndarray, config: TranslationConfig) -> TranslatedTiles:
        """Apply the generators of the target and of the source to tiles."""
        images = torch.from_numpy(np.ascontiguousarray(tiles)).to(self._device)
        made = []
        for name in (config.target, config.source):
            if self.should_stop():
                raise Cancelled
            with torch.no_grad(), autocast(self._device, self._dtype):
                output = self._generators[self.conditions.index(name)](images)
            made.append(output.float().cpu().numpy())
        return TranslatedTiles(made[0], made[1])


def _generators(channels: int, config: CycleGANConfig) -> torch.nn.ModuleList:
    return torch.nn.ModuleList(
        ResnetGenerator(channels, config.generator_filters, config.blocks)
        for _ in config.conditions
    )


def _can_fuse(device: torch.device) -> bool:
    return device.type != "mps"
