"""Train the base model that ships with the package.

    python benchmarks/pretrain_bundled.py DATA --out DIR [--start BASE] [--steps N] [--course WORD]

DATA holds ``pretrain_microscopy_gray128`` and ``pretrain_fluorescence128`` (see the model card for
their sources). Goes on from BASE, the bundled one by default. A stopped training goes on where it
was when it is started again with the same settings, for as long as one likes: the weights that are
written are averages of those of the last thousands of steps, and good at any time.
DIR/validation.csv gets the loss on images that are never trained on, whenever a checkpoint is
written. To ship it, copy DIR without its ``training`` folder and its validation.csv into
``src/napari_phenldiff/diffusion/bundled``.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pretraining_images import FLUORESCENCE, GREY, training_images, validation_images

from napari_phenldiff.diffusion.network import Networks
from napari_phenldiff.diffusion.noising import add_noise, noise_loss
from napari_phenldiff.diffusion.pool import write_pool
from napari_phenldiff.diffusion.pretrain import pretrain
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig, with_shape_of
from napari_phenldiff.diffusion.pretraining_folder import PoolRecord, PretrainingFolder, Source
from napari_phenldiff.runs.events import Saved, Step
from napari_phenldiff.runs.records import package_versions

SHARES = {
    "aligned": 4000,
    "single": 5000,
    "older aligned": 1500,
    "composed": 4500,
    "simulated": 2500,
    "structures": 6500,
}
_COLLECTIONS = {"older aligned": GREY, "simulated": "simulated fields", "structures": "structures"}
_TIMES = (100, 300, 500, 700)


def begin(out: Path, data: Path, config: PretrainingConfig) -> PretrainingFolder:
    """Make the folder, with its pool of images."""
    sources = tuple(
        Source(
            name=_COLLECTIONS.get(part, FLUORESCENCE),
            images=n,
            crops=n,
            channels=1 if part == "single" else 3,
            composed=part == "composed",
        )
        for part, n in SHARES.items()
    )
    shape = (sum(SHARES.values()), config.image_channels, config.tile, config.tile)
    images = training_images(data, SHARES, channels=config.image_channels, seed=config.seed)
    record = PoolRecord(asked={}, sources=sources, versions=package_versions())
    return PretrainingFolder.create(
        out, config, record, lambda path: write_pool(path, shape, images)
    )


@torch.no_grad()
def validation_losses(folder: Path, images: dict[str, np.ndarray]) -> dict[str, float]:
    """Loss of a base on images ``(N, C, Y, X)`` uint8 of each kind, at fixed noise and times."""
    networks = Networks.load(folder)
    channels = int(networks.autoencoder.config.image_channels)
    coefficients = int(networks.autoencoder.config.coefficients)
    alphas = networks.scheduler.alphas_cumprod
    losses = {}
    for kind, pixels in images.items():
        total = []
        for i, part in enumerate(np.array_split(pixels[:, :channels], max(1, len(pixels) // 16))):
            shown = torch.from_numpy(part.astype(np.float32) / 127.5 - 1)
            clean = networks.autoencoder.encode(shown)
            tokens = networks.encoder(networks.encoder.standardise(clean))
            given = (
                (shown == -1).flatten(2).all(2).repeat_interleave(coefficients, 1)[..., None, None]
            )
            noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(i))
            for t in _TIMES:
                times = torch.full((len(part),), t)
                noisy, target = add_noise(
                    clean, noise, alphas[times], given, prediction_type="v_prediction"
                )
                with torch.autocast("cpu", torch.bfloat16):
                    output = networks.unet(noisy, times, encoder_hidden_states=tokens).sample
                total.append(float(noise_loss(output, target, given)))
        losses[kind] = float(np.mean(total))
    return losses


def main() -> int:
    """Read the arguments, train, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", default="bundled", help="a base, or random")
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--channels", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument(
        "--course",
        choices=("constant", "cosine"),
        default="constant",
        help="of the learning rate; cosine falls to nearly 0 at --steps",
    )
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    arguments = parser.parse_args()
    values = {"image_channels": arguments.channels}
    if arguments.start != "random":
        values = with_shape_of(arguments.start, values)
    config = PretrainingConfig(
        **values,
        start=arguments.start,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        ema=0.9995,
        course=arguments.course,
        crops=sum(SHARES.values()),
        checkpoint_every=arguments.every,
        preview_every=arguments.every,
        precision="bfloat16",
    )
    folder = PretrainingFolder(arguments.out)
    if not folder.exists:
        folder = begin(arguments.out, arguments.data, config)
    judged = validation_images(arguments.data, channels=arguments.channels)
    log = arguments.out / "validation.csv"
    if not log.exists():
        log.write_text("step,samples," + ",".join(judged) + ",cpu_seconds\n")
        start = arguments.start
        if start != "random":
            write(log, 0, 0, validation_losses(_place(start), judged))
    for event in pretrain(folder.pool, config, folder.path):
        if isinstance(event, Step) and event.step % 10 == 0:
            print(event.step, f"{event.loss:.4f}", f"{time.process_time():.0f}", flush=True)
        if isinstance(event, Saved):
            losses = validation_losses(folder.path, judged)
            write(log, event.step, event.step * config.batch_size, losses)
    return 0


def _place(start: str) -> Path:
    from napari_phenldiff.diffusion.pretraining_config import base_folder

    return base_folder(start)


def write(log: Path, step: int, samples: int, losses: dict[str, float]) -> None:
    """Add a line to the table."""
    with log.open("a", newline="") as file:
        numbers = [f"{loss:.5f}" for loss in losses.values()]
        csv.writer(file).writerow([step, samples, *numbers, round(time.process_time())])


if __name__ == "__main__":
    sys.exit(main())
