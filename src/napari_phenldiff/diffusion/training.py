"""A fine-tuning in progress: latents, network, tokens, optimiser, and the training step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save

from napari_phenldiff.diffusion.adaptation import Adapter, AdapterSize, adapter_files
from napari_phenldiff.diffusion.base import BaseModel, find_base
from napari_phenldiff.diffusion.batches import Batch, draw_batch
from napari_phenldiff.diffusion.conditioning import ConditionTokens, initial_tokens
from napari_phenldiff.diffusion.device import (
    autocast,
    choose_precision,
    free_memory,
    prepare_passes,
    use_fast_attention,
)
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.latent_pool import LatentPool
from napari_phenldiff.diffusion.latents import (
    MAX_TILES,
    CachedLatents,
    TrainingTiles,
    number_of_tiles,
    too_small,
    training_side,
)
from napari_phenldiff.diffusion.learning_rate import warmed_cosine
from napari_phenldiff.diffusion.low_rank import use_fast_updates
from napari_phenldiff.diffusion.memory import Fit, Kept, bytes_kept, choose_fit
from napari_phenldiff.diffusion.merging import merged_adapter, with_known_tokens
from napari_phenldiff.diffusion.noising import number_asked, squared_error
from napari_phenldiff.diffusion.prompts import read_prompts, with_prompts
from napari_phenldiff.diffusion.readings import Reading
from napari_phenldiff.diffusion.references import (
    choose_normalised,
    choose_references,
    given_latents,
)
from napari_phenldiff.diffusion.separation import Separation, separation, tile_wells
from napari_phenldiff.diffusion.start import Start, read_start
from napari_phenldiff.diffusion.state import pack_state, unpack_state
from napari_phenldiff.diffusion.strategies import Lora, strategy_of
from napari_phenldiff.diffusion.streams import seeded
from napari_phenldiff.diffusion.structure import dark_noise
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.brightness import brightness_in_words, with_common_brightness
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import LEARNING_RATES, TrainingConfig
from napari_phenldiff.runs.folder import Run

_STATE = "state.safetensors"
_LINK_RATE = LEARNING_RATES["full"]
"""Peak learning rate of what groups of channels see of each other: whole weights, as with full."""

_NOISE = 2.0
"""Largest noise added to normalised channels, relative to that of the noisiest condition."""


class Training:
    """Latents, network, tokens and optimiser of a fine-tuning.

    Attributes
    ----------
    fit : Fit
        How a batch goes through the network, after `encode`.
    kept : Kept
        What its passes keep for the backward pass, after `encode`.
    """

    def __init__(self, base: BaseModel, config: TrainingConfig) -> None:
        self.base, self.config = base, config
        self.dtype = choose_precision(config.precision, base.device)
        self.strategy = strategy_of(config)
        self._parameters_of_base = sum(p.numel() for p in base.unet.parameters())
        self.start: Start | None = None
        if config.from_adapter is not None:
            self.start = read_start(Path(config.from_adapter), base.unet)
        with seeded(config.seed):  # peft draws the initial weights
            if self.start is not None and isinstance(self.strategy, Lora):
                self.strategy = self.start.widen(self.strategy)
                self.groups = self.strategy.add_to(base.unet)
                self.start.put_into(base.unet, self.strategy)
            else:
                self.groups = self.strategy.add_to(base.unet)
        prepare_passes(base.unet, base.device, self.dtype)
        use_fast_updates(base.unet)
        self.alphas = torch.from_numpy(base.alphas_cumprod).float().to(base.device)

    def encode(self, experiment: Experiment, run: Run) -> list[str]:
        """Cache latents, choose references, and set up tokens and optimiser; returns warnings."""
        config, base = self.config, self.base
        self.experiment, self._folder = experiment, run.path
        read = self._read_prompts(run)
        self.side = training_side((image.shape for image in experiment.images), base)
        use_fast_attention(base.unet, base.device, self.side // base.factor)
        warnings = too_small(experiment.images, base)
        self.latents, origins = self._tiles(run.scaling.shared, warnings)
        found = Separation()
        if base.coefficients is not None:
            found = separation(
                self.latents,
                origins,
                coefficients=base.coefficients,
                channels=experiment.n_channels,
                wells=tile_wells(
                    [[i.name for i in experiment[name].images] for name in config.conditions],
                    origins,
                ),
            )
        self.separation = found
        names = run.channel_names
        self.normalised = choose_normalised(config.normalised_channels, names, found)
        if self.normalised:
            warnings += self._normalise(run)
        elif found.only_brightness:
            warnings.append(_only_brightness())
        counted = found.normalised([name in self.normalised for name in names])
        self.references = choose_references(config.reference_channels, names, counted, base)
        if not self.separation.found:
            warnings.append(_nothing_found(self.references))
        self.noise = self._noise(run.channel_names)
        self.padding = given_latents(base, run.channel_names)
        self.given = given_latents(base, run.channel_names, self.references)
        self.nothing_to_learn = bool(self.given.all())
        if self.nothing_to_learn:
            # an adapter is still saved, for which the network generates all channels
            self.given = self.padding
        encoder = None if base.encoder is None else base.encoder.to("cpu")
        groups = 1 if base.groups is None else len(base.groups)
        values, null = initial_tokens(
            [cached.upright_batches() for cached in self.latents],
            encoder,
            tokens=config.tokens_per_condition * groups,
            width=base.token_width,
            generator=torch.Generator().manual_seed(config.seed),
        )
        started = None if self.start is None else self.start.adapter
        for known in (merged_adapter(config.base), started):
            if known is not None:
                values, null = with_known_tokens(known.tokens, config.conditions, values, null)
                self._take_links(known)
        if read is not None:
            values, null = with_prompts(read, config.conditions, values, groups)
        self.tokens = ConditionTokens(config.conditions, values, null).to(base.device)
        tokens = list(self.tokens.parameters())
        links = [] if base.links is None else list(base.links.parameters())
        learned = [*tokens, *links]
        self.optimizer = torch.optim.AdamW(
            [
                *(
                    {
                        "params": group.parameters,
                        "rate": config.learning_rate * group.rate,
                        "weight_decay": config.weight_decay if group.decays else 0.0,
                    }
                    for group in self.groups
                ),
                {"params": tokens, "rate": config.token_learning_rate, "weight_decay": 0.0},
                *({"params": [link], "rate": _LINK_RATE, "weight_decay": 0.0} for link in links),
            ],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=base.device.type != "mps",
        )
        adapted = [parameter for group in self.groups for parameter in group.parameters]
        self.average = MovingAverage([*adapted, *learned], config.ema)
        self.pool = LatentPool(self.latents, base.device)
        self.fit = self._choose_fit()
        return warnings

    def _read_prompts(self, run: Run) -> tuple[dict[str, torch.Tensor], torch.Tensor] | None:
        """Return what the tokens start from, if there are prompts; a resumed run has its tokens."""
        config, base = self.config, self.base
        if not config.prompts or run.latest_checkpoint() is not None:
            return None
        return read_prompts(
            find_base(base.reference, fetch=False),
            base.reference,
            config.prompts,
            tokens=config.tokens_per_condition,
            width=base.token_width,
        )

    def _take_links(self, known: Adapter) -> None:
        """Start what groups of channels see of each other from a run with as many groups."""
        links = self.base.links
        if links is None or known.links is None or known.links.shape != links.weight.shape:
            return
        with torch.no_grad():
            links.weight.copy_(known.links)

    def _tiles(
        self, scaling: IntensityScaling, warnings: list[str]
    ) -> tuple[list[CachedLatents], list[np.ndarray]]:
        """Encode the tiles of each condition; returns latents and the image number of each tile."""
        config = self.config
        latents, origins = [], []
        for name in config.conditions:
            images = self.experiment[name].images
            found = number_of_tiles(images, self.side)
            if found > MAX_TILES:
                text = (
                    f"The images give up to {found} tiles a condition; "
                    f"{MAX_TILES} of them, drawn at random, are trained on."
                )
                warnings.append(text)
            tiles = TrainingTiles(
                images, scaling.of(name), self.side, limit=MAX_TILES, seed=config.seed
            )
            latents.append(CachedLatents(self.base, tiles, self._folder, dtype=self.dtype))
            origins.append(tiles.index)
        return latents, origins

    def _normalise(self, run: Run) -> list[str]:
        """Normalise the brightness of channels and encode again; returns messages for the user."""
        images = {name: self.experiment[name].images for name in self.config.conditions}
        scaling = with_common_brightness(run.scaling.shared, images, self.normalised)
        run.record_scaling(scaling)
        self.latents, _ = self._tiles(scaling, [])
        chosen = self.config.normalised_channels != "auto"
        return [
            _normalised(name, brightness_in_words(scaling, name, self.config.conditions), chosen)
            for name in self.normalised
        ]

    def _noise(self, names: Sequence[str]) -> torch.Tensor | None:
        """Return the largest noise for normalised channels ``(1, L, 1, 1)``; None without any.

        A dim stain that was made brighter is noisier than a bright one. The network could recognise
        the conditions by their noise and rely less on the tokens, but a translated image has the
        noise of its source. So a random amount of noise is added to each sample.
        """
        size = self.base.coefficients
        if size is None or not self.normalised:
            return None
        noise = torch.zeros(1, self.base.latent_channels, 1, 1)
        for k, name in enumerate(names):
            if name in self.normalised:
                part = k * size, (k + 1) * size
                found = torch.stack(
                    [dark_noise(cached.upright_part(*part)) for cached in self.latents]
                )
                noise[0, slice(*part), 0, 0] = _NOISE * found.max(0).values
        return noise.to(self.base.device)

    @property
    def size(self) -> AdapterSize:
        """Number of trained parameters, after `encode`."""
        adapted = sum(p.numel() for group in self.groups for p in group.parameters)
        tokens = sum(p.numel() for p in self.tokens.parameters())
        links = 0 if self.base.links is None else self.base.links.weight.numel()
        return AdapterSize(adapted, tokens, self._parameters_of_base, links)

    def step(self, number: int) -> Reading:
        """Make one optimisation step; returns its loss."""
        config = self.config
        batch = self._draw(number)
        rate = warmed_cosine(number, steps=config.steps, warmup=config.warmup, floor=0.1)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * rate
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                loss = self._backward(batch)
                break
            except torch.OutOfMemoryError:
                smaller = self.fit.smaller()
                if smaller is None:
                    raise
            # the error holds what had been computed, until here
            torch.cuda.empty_cache()
            self._set_fit(smaller)
        torch.nn.utils.clip_grad_norm_(self.average.parameters, config.max_grad_norm)
        self.optimizer.step()
        self.average.update(number)
        return Reading(loss)

    def _draw(self, number: int) -> Batch:
        """Draw the batch of a step: tiles, time steps, noise."""
        return draw_batch(
            self.pool,
            self.config,
            number,
            alphas=self.alphas,
            padding=self.padding,
            given=self.given,
            noise=self.noise,
            prediction_type=self.base.prediction_type,
        )

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Add the gradients of a batch, as many samples at once as fit; returns its loss."""
        asked = number_asked(batch.target, batch.given)
        total = torch.zeros((), device=self.base.device)
        for part in batch.parts(self.fit.part):
            loss = squared_error(self._output(part), part.target, part.given) / asked
            loss.backward()
            total = total + loss.detach()
        return total

    def _output(self, batch: Batch) -> torch.Tensor:
        with autocast(self.base.device, self.dtype):
            tokens = self.tokens(batch.index, batch.dropped)
            output: torch.Tensor = self.base.unet(
                batch.noisy, batch.time, encoder_hidden_states=tokens
            ).sample
        return output

    def _choose_fit(self) -> Fit:
        """Choose how a batch goes through the network, by what samples of it keep."""
        batch = self._draw(1)
        weights = [*self.base.unet.parameters(), *self.average.parameters]
        one, *more = (
            bytes_kept(partial(self._output, batch.parts(n)[0]), weights)
            for n in range(1, min(2, self.config.batch_size) + 1)
        )
        each = more[0] - one if more else one
        self.kept = Kept(each, one - each)
        learned = sum(parameter.numel() for parameter in self.average.parameters)
        free = free_memory(self.base.device)
        fit = choose_fit(self.config.batch_size, self.kept, learned=learned, free=free)
        self._set_fit(fit)
        return fit

    def _set_fit(self, fit: Fit) -> None:
        self.fit = fit
        if fit.recomputed:
            self.base.unet.enable_gradient_checkpointing()

    def save(self, run: Run, number: int) -> str:
        """Write checkpoint and adapter; returns the adapter's path within the run."""
        run.save_checkpoint(number, {_STATE: save(pack_state(self.average, self.optimizer))})
        with self.average.applied():
            adapter = run.save_adapter(
                adapter_files(
                    self.base.unet,
                    self.tokens,
                    self.strategy,
                    self.config.base,
                    separation=dict(zip(run.channel_names, self.separation.channels, strict=False)),
                    reference_channels=self.references,
                    links=None if self.base.links is None else self.base.links.weight,
                )
            )
        return adapter.relative_to(run.path).as_posix()

    def restore(self, run: Run) -> int:
        """Load the newest checkpoint; returns its step, or 0 if there is none."""
        newest = run.latest_checkpoint()
        if newest is None:
            return 0
        done, folder = newest
        try:
            state = load_file(str(folder / _STATE))
            unpack_state(state, self.average, self.optimizer, done)
        except Exception as error:
            raise InputError(
                f"The checkpoint {folder} cannot be read ({type(error).__name__}); delete that "
                "folder to go on from the one before."
            ) from error
        return done


def _normalised(name: str, brightness: str, chosen: bool) -> str:
    text = f"{name} is {brightness}"
    if not chosen:
        text += (
            ", and does not differ in its structure: likely a batch effect, such as staining or "
            "another day"
        )
    text += ". It is brought to a common brightness before anything is learned"
    if not chosen:
        text += (
            "; if brightness is the phenotype, say so with “Brightness” "
            "(--normalised-channels none)"
        )
    return f"{text}."


def _only_brightness() -> str:
    return (
        "The conditions differ in brightness and in no structure, so brightness is taken for the "
        "phenotype. Staining that differs between wells or days looks the same: only controls "
        "that were stained together tell them apart."
    )


def _nothing_found(references: tuple[str, ...]) -> str:
    text = "Nothing separates the conditions: there may be no phenotype in these images."
    if references:
        text += (
            " So nothing is trained and translations will change nothing; train without "
            "“Reference” (--reference-channels none) to see what the model would change all the "
            "same."
        )
    return text
