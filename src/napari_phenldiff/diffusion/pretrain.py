"""Make a base model from unlabelled images.

The network learns to denoise latents while being told each image's descriptor (see
`conditioning.describe`), dropped for some of the images. So cross-attention carries meaning before
any condition is learned, and tokens of a new condition have somewhere to start from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder, fit_scale
from napari_phenldiff.diffusion.conditioning import DescriptorEncoder, describe
from napari_phenldiff.diffusion.device import autocast, choose_device, choose_precision
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.learning_rate import warmed_cosine
from napari_phenldiff.diffusion.state import pack_state, unpack_state
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.runs.events import Event, Finished, Saved, Step

Sample = Callable[[np.random.Generator, int], np.ndarray]


class PretrainingConfig(BaseModel):
    """How a base model is made.

    Parameters
    ----------
    image_channels : int
        Channels the base takes; images with fewer are padded with black.
    tile : int
        Native size in pixels.
    coefficients : int
        Latent channels per image channel, of 64.
    widths, layers, heads
        Channels of the UNet's levels, ResNet blocks per level, attention heads per level.
    token_width, tokens : int
        Width and number of the tokens of one condition.
    steps, batch_size, learning_rate, warmup, ema, seed
        Of the optimisation.
    descriptor_dropout : float
        Probability, per sample, of the null tokens.
    descriptor_noise : float
        Gaussian noise on standardised descriptors, so that averages of many images mean something.
    checkpoint_every : int
        Steps between checkpoints.
    precision, device : str
        As in a fine-tuning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image_channels: int = 3
    tile: int = 128
    coefficients: int = 16
    widths: tuple[int, ...] = (128, 160, 224)
    layers: int = 1
    heads: tuple[int, ...] = (4, 5, 7)
    token_width: int = 192
    tokens: int = 4
    steps: int = 6000
    batch_size: int = 16
    learning_rate: float = 4e-4
    warmup: int = 200
    ema: float = 0.999
    seed: int = 0
    descriptor_dropout: float = 0.15
    descriptor_noise: float = 0.3
    checkpoint_every: int = 500
    precision: str = "auto"
    device: str = "auto"


def build_unet(config: PretrainingConfig) -> UNet2DConditionModel:
    """Network of random weights for latents of a `LappedAutoencoder`.

    Condition tokens enter by cross-attention on every level and, pooled, through the time embedding
    (``addition_embed_type="text"``), which scales and shifts every ResNet block: a condition is a
    property of the whole image as much as of its places.
    """
    levels = len(config.widths)
    latent_channels = config.image_channels * config.coefficients
    return UNet2DConditionModel(
        sample_size=config.tile // 8,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=config.widths,
        layers_per_block=config.layers,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=config.token_width,
        # the number of heads, despite its name (a known misnomer in diffusers' configs)
        attention_head_dim=config.heads,
        use_linear_projection=True,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def build_scheduler() -> DDIMScheduler:
    """Schedule of the bases made here: linear, v-prediction, no clipping of latents."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        prediction_type="v_prediction",
        clip_sample=False,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
    )


def pretrain(
    sample: Sample,
    config: PretrainingConfig,
    out: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Train a base model and write it to `out` in diffusers' layout.

    Parameters
    ----------
    sample : callable
        ``sample(rng, n)`` draws images ``(n, image_channels, tile, tile)`` float32 in [-1, 1].
    config : PretrainingConfig
        All settings.
    out : pathlib.Path
        Folder of the base. The state of the training is kept in ``out/training`` and resumed from
        if it is there.
    should_stop : callable
        Asked after every step; a stopped training has been saved and can be resumed.

    Yields
    ------
    Event
        Step, Saved, Finished.
    """
    torch.manual_seed(config.seed)
    device = choose_device(config.device)
    dtype = choose_precision(config.precision, device)
    rng = np.random.default_rng(config.seed)
    vae = _fit_autoencoder(sample, config, rng).to(device)
    unet, scheduler = build_unet(config).to(device), build_scheduler()
    first = torch.from_numpy(sample(rng, 1024)).to(device)
    descriptors = describe(vae.encode(first), config.coefficients)
    encoder = DescriptorEncoder(
        descriptors.shape[1], config.coefficients, config.tokens, config.token_width
    ).to(device)
    encoder.calibrate(descriptors)
    weights = [p for p in (*unet.parameters(), *encoder.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(
        weights, lr=config.learning_rate, weight_decay=1e-2, fused=device.type != "mps"
    )
    average = MovingAverage(weights, config.ema)
    done = _restore(out, config, optimizer, average)
    alphas = scheduler.alphas_cumprod.to(device)
    rng = np.random.default_rng([config.seed, done])
    generator = torch.Generator().manual_seed(config.seed + done)
    started, shown = time.monotonic(), 0.0
    for step in range(done + 1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * warmed_cosine(
                step, steps=config.steps, warmup=config.warmup, floor=0.01
            )
        images = torch.from_numpy(sample(rng, config.batch_size)).to(device)
        with torch.no_grad():
            latents = vae.encode(images)
            standardised = encoder.standardise(latents)
        n = len(latents)
        standardised = standardised + config.descriptor_noise * torch.randn(
            standardised.shape, generator=generator
        ).to(device)
        dropped = torch.rand(n, generator=generator).to(device) < config.descriptor_dropout
        tokens = torch.where(dropped.view(-1, 1, 1), encoder.null[None], encoder(standardised))
        t = torch.randint(0, len(alphas), (n,), generator=generator).to(device)
        noise = torch.randn(latents.shape, generator=generator).to(device)
        signal = alphas[t].sqrt().view(-1, 1, 1, 1)
        spread = (1 - alphas[t]).sqrt().view(-1, 1, 1, 1)
        noisy, target = signal * latents + spread * noise, signal * noise - spread * latents
        with autocast(device, dtype):
            output = unet(noisy, t, encoder_hidden_states=tokens).sample
        loss = torch.nn.functional.mse_loss(output.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        average.update(step)
        value = float(loss.detach())
        shown = value if not shown else 0.98 * shown + 0.02 * value
        left = (time.monotonic() - started) / (step - done) * (config.steps - step)
        yield Step(step=step, total=config.steps, loss=shown, seconds_left=left)
        stopping = should_stop()
        if step % config.checkpoint_every == 0 or step == config.steps or stopping:
            _save(out, config, vae, unet, encoder, scheduler, optimizer, average, step)
            yield Saved(step=step, path=str(out))
        if stopping:
            break
    yield Finished(step=step, stopped=step < config.steps)


def _fit_autoencoder(
    sample: Sample, config: PretrainingConfig, rng: np.random.Generator
) -> LappedAutoencoder:
    images = torch.from_numpy(sample(rng, 1024))
    # dropped channels are black and would make the spread look smaller than it is
    lit = images.flatten(0, 1)
    lit = lit[lit.flatten(1).std(1) > 0.02][:, None]
    shift = float(lit.mean())
    plain = LappedAutoencoder(1, config.coefficients, (1.0,) * config.coefficients, shift)
    scale = fit_scale(plain.encode(lit), config.coefficients)
    return LappedAutoencoder(config.image_channels, config.coefficients, scale, shift)


def _save(
    out: Path,
    config: PretrainingConfig,
    vae: LappedAutoencoder,
    unet: UNet2DConditionModel,
    encoder: DescriptorEncoder,
    scheduler: DDIMScheduler,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
    step: int,
) -> None:
    """Write the base (averaged, half precision) and the state to resume from."""
    folder = out / "training"
    folder.mkdir(parents=True, exist_ok=True)
    with write_atomic(folder / "state.safetensors") as temporary:
        state = pack_state(average, optimizer)
        save_file(state, str(temporary), metadata={"step": str(step)})
    with write_atomic(folder / "config.json") as temporary:
        temporary.write_text(json.dumps(config.model_dump(), indent=2))
    with average.applied():
        for name, model in (("unet", unet), ("conditioner", encoder), ("vae", vae)):
            save_half(model, out / name)
    scheduler.save_pretrained(out / "scheduler")


def save_half(model: torch.nn.Module, folder: Path) -> None:
    """Write a diffusers model as float16 safetensors with its config."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().half().contiguous().cpu() for k, v in model.state_dict().items()}
    with write_atomic(folder / "diffusion_pytorch_model.safetensors") as temporary:
        # through bytes: files that safetensors makes itself are readable by their owner alone
        temporary.write_bytes(save(weights, metadata={"format": "pt"}))
    model.save_config(folder)  # type: ignore[operator]


def _restore(
    out: Path,
    config: PretrainingConfig,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage,
) -> int:
    """Load the state of an earlier training, if there is one; returns the steps done."""
    file = out / "training" / "state.safetensors"
    if not file.exists():
        return 0
    try:
        state = load_file(str(file))
        with safe_open(str(file), "pt") as opened:
            step = int(opened.metadata()["step"])
        unpack_state(state, average, optimizer, step)
    except Exception as error:
        raise InputError(
            f"{out} holds a training with other settings, or a damaged one "
            f"({type(error).__name__}); give another folder."
        ) from error
    if step >= config.steps:
        raise InputError(f"The training in {out} has done {step} steps already; ask for more.")
    return step
