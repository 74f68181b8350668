"""How fast and how exact translations are: tables of docs/notes/speed.md.

    python benchmarks/translation_speed.py fields [--pixels 512 2048] [--profile]
        [--inference-steps N] [--without-network]
    python benchmarks/translation_speed.py inversion [--data DATA] [--precision float32]

*fields*: a simulated field of two channels through `Translator.translate`, the bundled base and all
defaults: seconds of the processor, how much of them are passes of the network, memory, and how
often progress is told within the field. Each size is measured in a process of its own, which does
what `phenldiff translate` does once the model is loaded. A model that was not trained takes as long
as one that was.

*inversion*: latents of tiles are inverted and generated again under the same condition. The error
is what is left of the difference, relative to the latents; the others have as many passes of the
network as ours takes with its defaults, or a few more:

DDIM
    ``DDIMInverseScheduler`` and ``DDIMScheduler`` of diffusers;
fixed point
    Pan et al. 2023, *Effective real image editing with accelerated iterative diffusion inversion*
    (section 3.2): the step is iterated from where it begins;
ours
    `Schedule.invert`.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.device import cast_weights
from napari_phenldiff.diffusion.references import given_latents
from napari_phenldiff.diffusion.schedule import Schedule
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run

Predict = Callable[[torch.Tensor, int], torch.Tensor]


def untrained(folder: Path) -> Translator:
    """Return a translator of two channels whose adapter has learned nothing."""
    pairs = list(simulate_pairs("translocation", 2))
    found = Experiment.from_images(
        {"untreated": [p.source for p in pairs], "treated": [p.target for p in pairs]}
    )
    config = TrainingConfig(
        conditions=("untreated", "treated"),
        reference_channels=(),
        normalised_channels=(),
        batch_size=2,
    )
    scaling = IntensityScaling.fit(found.images)
    run = Run.from_experiment(folder / "run", config, experiment=found, scaling=scaling)
    training = Training(BaseModel.load(), config)
    training.encode(found, run)
    training.save(run, 0)
    return Translator.from_run(run)


def one_field(pixels: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Translate a field of so many pixels each way; returns what it took."""
    with tempfile.TemporaryDirectory() as folder:
        translator = untrained(Path(folder))
    (pair,) = simulate_pairs("translocation", 1, size=pixels)
    config = TranslationConfig(source="untreated", target="treated")
    if arguments.inference_steps:
        config = config.model_copy(update={"inference_steps": arguments.inference_steps})
    network, told, passes = 0.0, 0, 0
    forward = translator.base.unet.forward

    def timed(*args: Any, **kwargs: Any) -> Any:
        nonlocal network, passes
        started = time.process_time()
        if arguments.without_network:
            output = SimpleNamespace(sample=torch.zeros_like(args[0]))
        else:
            output = forward(*args, **kwargs)
        passes += len(args[0])
        network += time.process_time() - started
        return output

    def on_part(images: int, done: int, total: int) -> None:
        nonlocal told
        told += 1

    translator.base.unet.forward = timed
    translator.on_part = on_part
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    started = time.process_time()
    if arguments.profile:
        _profiled(lambda: list(translator.translate([pair.source], config)))
    else:
        list(translator.translate([pair.source], config))
    return {
        "pixels": pixels,
        "seconds": time.process_time() - started,
        "network": network,
        "passes": passes,
        "told": told,
        "before": before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def _profiled(work: Callable[[], Any]) -> None:
    import cProfile
    import pstats

    with cProfile.Profile(time.process_time) as profile:
        work()
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)


def fields(arguments: argparse.Namespace) -> None:
    """Print the table of fields."""
    head = ("field", "CPU seconds", "of which network", "passes of a tile", "told")
    print(f"| {' | '.join(head)} | memory before, GB | peak, GB |")
    print("|" + "---|" * 7, flush=True)
    for pixels in arguments.pixels:
        command = [sys.executable, __file__, "field", "--pixels", str(pixels)]
        command += ["--profile"] if arguments.profile else []
        command += ["--without-network"] if arguments.without_network else []
        if arguments.inference_steps:
            command += ["--inference-steps", str(arguments.inference_steps)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {pixels} px | {row['seconds']:.1f} | {row['network']:.1f} "
            f"| {row['passes']} | {row['told']} times | {row['before']:.2f} | {row['peak']:.2f} |",
            flush=True,
        )


def inversion(arguments: argparse.Namespace) -> None:
    """Print the table of round trips."""
    base = BaseModel.load()
    dtype = getattr(torch, arguments.precision)
    cast_weights(base.unet, dtype)
    clean, names = _tiles(base, arguments.data, arguments.tiles)
    with torch.no_grad():
        tokens = base.encoder(base.encoder.standardise(clean)).mean(0, keepdim=True)
    given = given_latents(base, names)

    def predict(x: torch.Tensor, t: int, numbers: torch.Tensor | None) -> torch.Tensor:
        seen = torch.where(given, clean if numbers is None else clean[numbers], x)
        mixed = torch.autocast("cpu", dtype, enabled=dtype is not torch.float32)
        with torch.no_grad(), mixed:
            output = base.unet(seen, t, encoder_hidden_states=tokens.expand(len(x), -1, -1)).sample
        return output.float().masked_fill(given, 0)

    settings = TranslationConfig(source="a", target="b")
    used = 0

    def told(name: str, depth: float, back: torch.Tensor, residual: str = "") -> None:
        asked = (~given).expand_as(clean)
        error = float((back - clean)[asked].norm() / clean[asked].norm())
        passes = used / len(clean)
        print(f"| {name} | {depth:g} | {passes:g} | {error:.5f} | {residual} |", flush=True)

    def counted(x: torch.Tensor, t: int, numbers: torch.Tensor | None = None) -> torch.Tensor:
        nonlocal used
        used += len(x)
        return predict(x, t, numbers)

    print("| inversion | depth | passes | error | residual |")
    print("|---|---|---|---|---|", flush=True)
    for depth in (1.0, 0.8):
        used = 0
        schedule = _schedule(base, settings.inference_steps, depth)
        found = schedule.invert(
            clean,
            counted,
            iterations=settings.fixed_point_iterations,
            tolerance=settings.inversion_tolerance,
        )
        back = schedule.generate(found.code, counted)
        told("ours", depth, back, f"{float(found.residual.max()):.5f}")
        passes = used / len(clean)
        # the others may have a few passes more
        used, schedule = 0, _schedule(base, math.ceil(passes / 3 / depth), depth)
        told(
            "fixed point", depth, schedule.generate(fixed_point(schedule, clean, counted), counted)
        )
        if depth == 1:
            used = 0
            told("DDIM", depth, plain_round_trip(base, clean, counted, math.ceil(passes / 2)))


def _schedule(base: BaseModel, steps: int, depth: float) -> Schedule:
    return Schedule.from_alphas(base.alphas_cumprod, base.prediction_type, steps=steps, depth=depth)


def _tiles(base: BaseModel, data: Path | None, number: int) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Return latents of tiles of real or simulated images, and the names of their channels."""
    if data is None:
        images = [pair.source for pair in simulate_pairs("translocation", number)]
    else:
        found = Experiment.from_folder(data / "bbbc013_translocation")
        images = list(found.conditions[0].images[:number])
    scaling = IntensityScaling.fit(images)
    tiles = np.stack([scaling.apply(image.data)[:, :128, :128] for image in images])
    return base.encode(tiles.astype(np.float32)), images[0].channel_names


def plain_round_trip(
    base: BaseModel, clean: torch.Tensor, predict: Predict, steps: int
) -> torch.Tensor:
    """Invert and generate with the schedulers of diffusers."""
    settings = {
        "num_train_timesteps": len(base.alphas_cumprod),
        "trained_betas": 1 - base.alphas_cumprod / np.array([1.0, *base.alphas_cumprod[:-1]]),
        "prediction_type": base.prediction_type,
        "clip_sample": False,
        "timestep_spacing": "trailing",
    }
    inverse, forward = DDIMInverseScheduler(**settings), DDIMScheduler(**settings)
    x = clean
    for scheduler in (inverse, forward):
        scheduler.set_timesteps(steps)
        for t in scheduler.timesteps:
            x = scheduler.step(predict(x, int(t)), t, x).prev_sample
    return x


def fixed_point(schedule: Schedule, clean: torch.Tensor, predict: Predict) -> torch.Tensor:
    """Invert with two evaluations a step, the first where the step begins."""
    x = clean
    for k, t in enumerate(schedule.timesteps):
        start = x
        for _ in range(2):
            x = schedule._inverse_step(start, predict(x, t), k)
    return x


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("fields", "field", "inversion"))
    parser.add_argument("--pixels", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--without-network", action="store_true", help="zeros in place of passes")
    parser.add_argument("--inference-steps", type=int, help="in place of the default")
    parser.add_argument("--data", type=Path, help="folder of real images; simulated ones without")
    parser.add_argument("--tiles", type=int, default=4)
    parser.add_argument("--precision", default="float32")
    arguments = parser.parse_args()
    if arguments.what == "field":
        print(json.dumps(one_field(arguments.pixels[0], arguments)))
    elif arguments.what == "fields":
        fields(arguments)
    else:
        inversion(arguments)


if __name__ == "__main__":
    main()
