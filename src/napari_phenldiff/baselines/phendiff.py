"""PhenDiff (Bourou et al. 2023): a class-conditional diffusion model of pixels.

Mistakes of the public code are not copied: saving does not replace the trained weights by their
averages, any number of conditions and channels is supported, and outputs keep their intensities
instead of being stretched per batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DModel

from napari_phenldiff.baselines.tiles import Tiles
from napari_phenldiff.baselines.training import BaselineTraining, load_weights
from napari_phenldiff.baselines.translating import TileTranslator, TranslatedTiles
from napari_phenldiff.diffusion.device import autocast, choose_device, choose_precision
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.guidance import Cancelled
from napari_phenldiff.diffusion.learning_rate import warmed_cosine
from napari_phenldiff.diffusion.noising import add_noise, noise_loss
from napari_phenldiff.diffusion.schedule import Schedule
from napari_phenldiff.diffusion.streams import seeded, stream
from napari_phenldiff.runs.baseline_config import PhenDiffConfig
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run

_PREDICTION = "v_prediction"


class PhenDiffTraining(BaselineTraining):
    """A PhenDiff network in training."""

    config: PhenDiffConfig

    def __init__(self, tiles: Tiles, config: PhenDiffConfig, device: torch.device) -> None:
        super().__init__(tiles, config, device)
        with seeded(config.seed):
            self.network = build_network(tiles.channels, config).to(device)
        self._alphas = torch.from_numpy(signal_left(config.train_timesteps)).float()
        self._given = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=device)
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.learning_rate,
            betas=(0.95, 0.999),
            weight_decay=config.weight_decay,
            fused=device.type != "mps",
        )
        self.trained = [(MovingAverage(self.network.parameters(), config.ema), optimizer)]

    @property
    def networks(self) -> Mapping[str, torch.nn.Module]:
        """The network."""
        return {"unet": self.network}

    def step(self, number: int) -> float:
        """Train on a batch in which the conditions are equally frequent; returns the loss."""
        config = self.config
        (average, optimizer), *_ = self.trained
        generator = stream(config.seed, number)
        n, conditions = config.batch_size, len(config.conditions)
        first = int(torch.randint(conditions, (1,), generator=generator))
        index = (torch.arange(n) + first) % conditions
        clean = torch.stack([self.tiles.draw(k, generator) for k in index.tolist()])
        t = torch.randint(len(self._alphas), (n,), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        noisy, target = add_noise(
            clean.to(self.device),
            noise.to(self.device),
            self._alphas[t].to(self.device),
            self._given,
            prediction_type=_PREDICTION,
        )
        rate = warmed_cosine(number, steps=config.steps, warmup=config.warmup, floor=0.0)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        with autocast(self.device, self.dtype):
            output = self.network(
                noisy, t.to(self.device), class_labels=index.to(self.device)
            ).sample
        loss = noise_loss(output, target, self._given)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(average.parameters, config.max_grad_norm)
        optimizer.step()
        average.update(number)
        return float(loss.detach())

    def translator(self, run: Run) -> PhenDiffTranslator:
        """Return a translator with the current network."""
        return PhenDiffTranslator(
            run, self.network, self.tiles.side, self.device, precision=self.config.precision
        )


class PhenDiffTranslator(TileTranslator):
    """Translates with the network of a run, by inversion and generation.

    This is plain DDIM over the whole schedule, without guidance. The inversion uses the steps for v
    of `diffusion.schedule` with one evaluation of the network per step, which is the closest to
    DDIM inversion, since diffusers' inverse scheduler mixes the angles of two time steps for v. The
    reconstruction is the generation under the source. The `residual` is NaN, since a single
    evaluation gives no estimate of the error.

    Create one with `from_run`; the parameters are those of `CycleGANTranslator`.
    """

    quick: Mapping[str, Any] = MappingProxyType({"inference_steps": 10})

    def __init__(
        self,
        run: Run,
        network: UNet2DModel,
        tile: int,
        device: torch.device,
        *,
        precision: str = "auto",
    ) -> None:
        assert isinstance(run.config, PhenDiffConfig)
        super().__init__(
            run.conditions,
            run.scaling,
            run.channel_names,
            method="phendiff",
            tile=tile,
            inference_steps=run.config.inference_steps,
        )
        self._network, self._device = network, device
        self._alphas = signal_left(run.config.train_timesteps)
        self._dtype = choose_precision(precision, device)

    @classmethod
    def from_run(
        cls, run: Run | str | PathLike[str], *, device: str = "auto", precision: str = "auto"
    ) -> PhenDiffTranslator:
        """Load the result of a training.

        Raises
        ------
        InputError
            If the folder is not a run, or has no adapter yet.
        """
        opened = run if isinstance(run, Run) else Run.open(run)
        assert isinstance(opened.config, PhenDiffConfig)
        network = build_network(len(opened.channel_names), opened.config)
        side = load_weights(opened, {"unet": network})
        place = choose_device(device)
        return cls(opened, network.to(place).eval(), side, place, precision=precision)

    def translate_tiles(self, tiles: np.ndarray, config: TranslationConfig) -> TranslatedTiles:
        """Invert tiles, and generate them under target and source."""
        schedule = Schedule.from_alphas(
            self._alphas, _PREDICTION, steps=config.inference_steps, depth=config.depth
        )
        images = torch.from_numpy(np.ascontiguousarray(tiles)).to(self._device)
        source, target = (self.conditions.index(name) for name in (config.source, config.target))
        code = schedule.invert(
            images,
            lambda x, t, _: self._evaluate(x, t, source),
            iterations=config.fixed_point_iterations,
        ).code
        reconstructed = schedule.generate(code, lambda x, t: self._evaluate(x, t, source))
        translated = reconstructed
        if target != source:
            translated = schedule.generate(code, lambda x, t: self._evaluate(x, t, target))
        return TranslatedTiles(*(x.clamp(-1, 1).cpu().numpy() for x in (translated, reconstructed)))

    def _evaluate(self, x: torch.Tensor, t: int, condition: int) -> torch.Tensor:
        if self.should_stop():
            raise Cancelled
        labels = torch.full((len(x),), condition, device=self._device)
        with torch.no_grad(), autocast(self._device, self._dtype):
            output: torch.Tensor = self._network(x, t, class_labels=labels).sample
        return output.float()


def build_network(channels: int, config: PhenDiffConfig) -> UNet2DModel:
    """Build the network with random weights; class embeddings are added to the time embedding."""
    plain = len(config.widths) - 1
    return UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=config.widths,
        layers_per_block=config.layers_per_block,
        down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
        norm_num_groups=config.groups,
        num_class_embeds=len(config.conditions),
    )


def signal_left(timesteps: int) -> np.ndarray:
    """Return ``alpha_bar`` of every time step: scaled-linear, with zero signal at the last one."""
    scheduler = DDIMScheduler(
        num_train_timesteps=timesteps,
        beta_schedule="scaled_linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type=_PREDICTION,
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
    )
    return np.asarray(scheduler.alphas_cumprod.double().numpy())
