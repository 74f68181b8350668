"""Train a base model on unlabelled images.

The network learns to denoise latents, conditioned on a descriptor of each image (see
`conditioning.describe`), which is dropped for some of the images. So the network already uses its
condition tokens before any condition is learned, and descriptors give initial tokens for new
conditions. For some images, some of the channels are given without noise, and the network learns to
generate the others to match.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from napari_phenldiff.diffusion.device import autocast, choose_precision, use_fast_attention
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.finite import check_progress
from napari_phenldiff.diffusion.learning_rate import warmed_cosine
from napari_phenldiff.diffusion.model_card import model_card
from napari_phenldiff.diffusion.network import Networks
from napari_phenldiff.diffusion.network import build_scheduler as build_scheduler
from napari_phenldiff.diffusion.network import build_unet as build_unet
from napari_phenldiff.diffusion.network import save_half as save_half
from napari_phenldiff.diffusion.noising import add_noise, noise_loss
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig as PretrainingConfig
from napari_phenldiff.diffusion.pretraining_config import base_folder, with_shape_of
from napari_phenldiff.diffusion.pretraining_folder import PretrainingFolder
from napari_phenldiff.diffusion.preview_sheet import PREVIEW_IMAGES, generate, write_sheet
from napari_phenldiff.diffusion.processes import Processes
from napari_phenldiff.diffusion.state import pack_state, unpack_state
from napari_phenldiff.diffusion.streams import seeded, stream
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.runs.events import Event, Finished, Preview, Saved, Step

Sample = Callable[[np.random.Generator, int], np.ndarray]

# Number of images that scales are fitted to; fewer if they would have more than this many pixels in
# all channels.
_EXAMPLES = 1024
_EXAMPLE_NUMBERS = 2**26
# Batches that are drawn in advance, while the network trains on one.
_AHEAD = 2


def pretrain(
    sample: Sample,
    config: PretrainingConfig,
    out: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    processes: Processes | None = None,
) -> Iterator[Event]:
    """Train a base model and write it to `out` in diffusers' layout.

    Parameters
    ----------
    sample : callable
        ``sample(rng, n)`` draws images ``(n, image_channels, tile, tile)`` float32 in [-1, 1]. It
        is called from another thread.
    config : PretrainingConfig
        All settings. Equal seeds give equal weights on the same machine, also across a resume.
    out : pathlib.Path
        Folder of the base. The state of the training is kept in ``out/training``; if it exists,
        the training resumes from it.
    should_stop : callable
        Called after every step; when it returns True, the training is saved and ends, and can be
        resumed.
    processes : Processes, optional
        The processes that share each batch, if there are several. Only the first one writes.

    Yields
    ------
    Event
        Step, Saved, Preview, Finished.

    Raises
    ------
    InputError
        If `out` holds a training with other settings, if its checkpoint is damaged, if the base
        to start from cannot be trained on, or if the training diverges.
    """
    processes = Processes.start(config.device) if processes is None else processes
    writes = processes.rank == 0
    folder = PretrainingFolder(out)
    share = processes.share(config.batch_size)
    if config.start != "random" and folder.latest_checkpoint() is None:
        with_shape_of(config.start, config.model_dump())
    if writes or folder.exists:
        folder.begin(config)
    training = _Training(sample, config, folder, processes)
    done = training.restore(folder)
    started, step, shown = time.monotonic(), done, 0.0
    for batch in _drawn_ahead(lambda number: training.draw(number, share), done + 1, config.steps):
        step += 1
        (loss,) = processes.mean([training.step(step, batch)])
        training.check(folder, step, loss)
        shown = loss if not shown else 0.98 * shown + 0.02 * loss
        left = (time.monotonic() - started) / (step - done) * (config.steps - step)
        yield Step(step=step, total=config.steps, loss=shown, seconds_left=left)
        stopping = processes.any(should_stop())
        last = step == config.steps
        saving = step % config.checkpoint_every == 0 or last or stopping
        if saving:  # in all processes, so that none waits for one that has stopped
            training.check(folder, step, loss, weights=True)
        if writes and saving:
            yield Saved(step=step, path=training.save(folder, step))
        if writes and config.preview_every and (step % config.preview_every == 0 or last):
            yield Preview(step=step, path=training.preview(folder, step))
        if stopping:
            break
    if writes and step >= config.steps and not (out / "README.md").exists():
        with write_atomic(out / "README.md") as temporary:
            card = model_card(out.resolve().name, config, folder.record)
            temporary.write_text(card, encoding="utf-8")
    yield Finished(step=step, stopped=step < config.steps)


class _Batch(NamedTuple):
    """One process's part of a batch, on the CPU."""

    images: torch.Tensor
    noise: torch.Tensor
    time: torch.Tensor
    dropped: torch.Tensor
    wobble: torch.Tensor
    given: torch.Tensor


class _Denoiser(torch.nn.Module):
    """All trained modules as one, because gradients are averaged over processes per module."""

    def __init__(self, networks: Networks, dtype: torch.dtype) -> None:
        super().__init__()
        self.unet, self.encoder, self.dtype = networks.unet, networks.encoder, dtype

    def forward(
        self,
        noisy: torch.Tensor,
        t: torch.Tensor,
        standardised: torch.Tensor,
        dropped: torch.Tensor,
    ) -> torch.Tensor:
        """Return the network's output, with null tokens where descriptors are `dropped`."""
        described = self.encoder(standardised)
        tokens = torch.where(dropped.view(-1, 1, 1), self.encoder.null[None], described)
        with autocast(noisy.device, self.dtype):
            output: torch.Tensor = self.unet(noisy, t, encoder_hidden_states=tokens).sample
        return output.float()


class _Training:
    """Networks, optimiser and averages of a pre-training."""

    def __init__(
        self,
        sample: Sample,
        config: PretrainingConfig,
        folder: PretrainingFolder,
        processes: Processes,
    ) -> None:
        self.sample, self.config, self.device = sample, config, processes.device
        self.processes = processes
        with seeded(config.seed):
            networks = self._networks(folder).for_channels(config.image_channels)
        self.networks = networks.to(self.device)
        use_fast_attention(self.networks.unet, self.device)
        self.alphas = self.networks.scheduler.alphas_cumprod.to(self.device)
        weights = self.networks.learned
        self.optimizer = torch.optim.AdamW(
            weights,
            lr=config.learning_rate,
            weight_decay=1e-2,
            fused=self.device.type != "mps",
        )
        self.average = MovingAverage(weights, config.ema)
        dtype = choose_precision(config.precision, self.device)
        self.denoiser = processes.prepare(_Denoiser(self.networks, dtype))

    def _networks(self, folder: PretrainingFolder) -> Networks:
        config = self.config
        if folder.latest_checkpoint() is not None:
            return Networks.load(folder.path)
        if config.start != "random":
            return Networks.load(base_folder(config.start))
        size = config.image_channels * config.tile**2
        rng = np.random.default_rng([config.seed, 0])
        examples = self.sample(rng, max(1, min(_EXAMPLES, _EXAMPLE_NUMBERS // size)))
        return Networks.random(config, torch.from_numpy(examples))

    def restore(self, folder: PretrainingFolder) -> int:
        """Load the newest checkpoint; returns its step, or 0 if there is none."""
        newest = folder.latest_checkpoint()
        if newest is None:
            return 0
        done, file = newest
        try:
            state = load_file(str(file))
            unpack_state(state, self.average, self.optimizer, done)
            for name, value in self.networks.fixed.items():
                value.copy_(state[name])
        except Exception as error:
            raise InputError(
                f"The checkpoint {file.parent} cannot be read ({type(error).__name__}); delete "
                "that folder to go on from the one before."
            ) from error
        return done

    def draw(self, number: int, share: range) -> _Batch:
        """Draw the samples in `share` of the batch of step `number`.

        Every sample of every step has its own random streams, so that a resumed training, and one
        in several processes, draws the same numbers as an uninterrupted one in a single process.
        """
        config, networks = self.config, self.networks
        side, latent_channels = config.tile // 8, networks.autoencoder.latent_channels
        parts = []
        for k in share:
            image = self.sample(np.random.default_rng([config.seed, number, k]), 1)
            generator = stream(config.seed, number, k, 1)
            parts.append(
                (
                    torch.from_numpy(image),
                    torch.randn(1, latent_channels, side, side, generator=generator),
                    _time_step(len(self.alphas), config.noise_levels, generator),
                    torch.rand(1, generator=generator) < config.descriptor_dropout,
                    torch.randn(1, len(networks.encoder.mean), generator=generator),
                    _given_channels(image, config.given_share, generator),
                )
            )
        return _Batch(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def step(self, number: int, batch: _Batch) -> float:
        """Make one optimisation step; returns the loss of this process's part of the batch."""
        config, networks = self.config, self.networks
        images, noise, t, dropped, wobble, channels = (part.to(self.device) for part in batch)
        floor = 1.0 if config.course == "constant" else 0.01
        rate = warmed_cosine(number, steps=config.steps, warmup=config.warmup, floor=floor)
        for group in self.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        with torch.no_grad():
            latents = networks.autoencoder.encode(images)
            standardised = networks.encoder.standardise(latents)
        standardised = standardised + config.descriptor_noise * wobble
        given = channels.repeat_interleave(config.coefficients, 1)[..., None, None]
        kind = str(networks.scheduler.config.prediction_type)
        noisy, target = add_noise(latents, noise, self.alphas[t], given, prediction_type=kind)
        output = self.denoiser(noisy, t, standardised, dropped)
        # Gradients and losses are averaged over processes, but the loss is a mean over all latents
        # of the batch that are not given.
        asked = self.processes.weight(int((~given).sum()))
        loss = noise_loss(output, target, given) * asked
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.average.parameters, 1.0)
        self.optimizer.step()
        self.average.update(number)
        return float(loss.detach())

    def check(
        self, folder: PretrainingFolder, step: int, loss: float, *, weights: bool = False
    ) -> None:
        """Stop the training if the loss, or with `weights` a weight, is not finite."""

        def kept() -> str:
            newest = folder.latest_checkpoint()
            return f"The base of step {newest[0]} is kept" if newest else "Nothing had been saved"

        learned = (*self.average.parameters, *self.average.averages) if weights else ()
        check_progress(step, loss, learned, config=self.config, kept=kept)

    def save(self, folder: PretrainingFolder, number: int) -> str:
        """Write the base (averaged, half precision) and a checkpoint; returns the latter's path."""
        with self.average.applied():
            self.networks.save(folder.path)
        fixed = {name: value.cpu() for name, value in self.networks.fixed.items()}
        state = {**pack_state(self.average, self.optimizer), **fixed}
        return folder.save_checkpoint(number, lambda path: save_file(state, str(path)))

    def preview(self, folder: PretrainingFolder, number: int) -> str:
        """Write a sheet of real and generated images; returns its path within the folder."""
        rng = np.random.default_rng([self.config.seed, 0, 1])
        real = self.sample(rng, PREVIEW_IMAGES)
        generator = torch.Generator().manual_seed(self.config.seed)
        side, channels = self.config.tile // 8, self.networks.autoencoder.latent_channels
        noise = torch.randn(PREVIEW_IMAGES, channels, side, side, generator=generator)
        with self.average.applied():
            made = generate(
                self.networks, torch.from_numpy(real).to(self.device), noise.to(self.device)
            )
        path = Path("training") / "previews" / f"step_{number:06d}.png"
        write_sheet(folder.path / path, real, made.cpu().numpy())
        return path.as_posix()


def _time_step(total: int, levels: str, generator: torch.Generator) -> torch.Tensor:
    """Draw a time step ``(1,)``, see `PretrainingConfig.noise_levels`."""
    even = torch.rand(1, generator=generator)
    middle = torch.sigmoid(torch.randn(1, generator=generator) - 0.3)
    chosen = torch.rand(1, generator=generator) < (0.6 if levels == "middle" else 0.0)
    return (torch.where(chosen, middle, even) * total).long().clamp_max(total - 1)


def _given_channels(image: np.ndarray, share: float, generator: torch.Generator) -> torch.Tensor:
    """Draw the given channels ``(1, channels)`` bool of an image ``(1, C, Y, X)``.

    Missing channels are always given, as in fine-tuning; at least one of the others is not.
    """
    absent = torch.from_numpy((image == -1).all((2, 3)))
    given = absent | _some_channels(image.shape[1], share, generator)
    return absent if given.all() else given


def _some_channels(channels: int, share: float, generator: torch.Generator) -> torch.Tensor:
    """Draw given channels ``(1, channels)`` bool: none, or some but not all."""
    given = torch.rand(1, channels, generator=generator) < 0.5
    one = torch.randint(0, channels, (1,), generator=generator)
    if given.all() or not given.any():
        given = torch.nn.functional.one_hot(one, channels).bool()
    any_given = torch.rand(1, generator=generator) < share
    return given & any_given if channels > 1 else torch.zeros_like(given)


def _drawn_ahead(draw: Callable[[int], _Batch], first: int, last: int) -> Iterator[_Batch]:
    """Yield batches `first` to `last`, which a thread draws in advance."""
    with ThreadPoolExecutor(1, thread_name_prefix="phenldiff-batches") as thread:
        upcoming = deque(
            thread.submit(draw, number) for number in range(first, min(first + _AHEAD, last + 1))
        )
        for number in range(first, last + 1):
            batch = upcoming.popleft().result()
            if number + _AHEAD <= last:
                upcoming.append(thread.submit(draw, number + _AHEAD))
            yield batch
