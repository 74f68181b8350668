"""The benefit of pre-training: the bundled base against the same network with random weights.

    python benchmarks/pretraining_pays.py DATA --out DIR [--set NAME ...]

Both bases have the same autoencoder, schedule, architecture and normalisation of the image
statistics that tokens start from; what was learned (network and encoder of the tokens) is random in
one of them. Both are fine-tuned alike, on 100 tiles per condition of the data sets of
`real_phenotypes.py`, with the defaults. Writes DIR/pretraining.md. What is in DIR already is not
computed again; an interrupted training goes on.

loss
    of the fine-tuning, mean of its last 50 steps.
recovery, identity
    as in `real_phenotypes.py`.
sampled target, sampled source
    kernel distance (see docs/notes/distances.md) of images made from noise to real tiles of that
    condition that were not trained on.
translated
    kernel distance of translated source tiles to the same real target tiles. The row *copy* has the
    source tiles as they are there, the row *two halves* one half of the real tiles against the
    other: what can be reached.
memorisation
    median, over images made from noise, of the centred cosine similarity to the closest training
    tile of the condition in any flip or rotation. The row *two halves* has that of real tiles
    that were not trained on: more than there is repeating.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from real_phenotypes import TASKS, Task, held_out, row, trained_run

from napari_phenldiff.diffusion.conditioning import DescriptorEncoder
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.latents import training_tiles
from napari_phenldiff.diffusion.pretrain import save_half
from napari_phenldiff.diffusion.sample import sample
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.evaluation.distances import KernelDistance, kernel_distance
from napari_phenldiff.evaluation.features import Features, extract_features
from napari_phenldiff.evaluation.memorisation import nearest_training
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Step
from napari_phenldiff.runs.folder import Run

COLUMNS = (
    "data set",
    "base",
    "loss",
    "recovery",
    "identity",
    "sampled target",
    "sampled source",
    "translated",
    "memorisation",
)


def write_random_base(out: Path, seed: int) -> None:
    """Write the bundled base with fresh weights in place of those that were learned."""
    bundled = Path(str(files("napari_phenldiff") / "diffusion" / "bundled"))
    aside = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    for part in ("vae", "scheduler"):
        shutil.copytree(bundled / part, aside / part)
    torch.manual_seed(seed)
    config = UNet2DConditionModel.load_config(str(bundled / "unet"))
    save_half(UNet2DConditionModel.from_config(config), aside / "unet")
    learned = DescriptorEncoder.from_pretrained(str(bundled / "conditioner"), use_safetensors=True)
    encoder = DescriptorEncoder.from_config(learned.config)
    # mean and spread of statistics were not learned, and belong to the autoencoder's scale
    encoder.mean.data.copy_(learned.mean)
    encoder.spread.data.copy_(learned.spread)
    save_half(encoder, aside / "conditioner")
    aside.rename(out)


def finished_run(task: Task, path: Path, base: str, arguments: argparse.Namespace) -> Run:
    """Fine-tune, resume an interrupted run, or open a finished one."""
    wanted = argparse.Namespace(**{**vars(arguments), "base": base, "strategy": "lora"})
    run = trained_run(task, arguments.data, path, wanted)
    if run.state != "finished":
        for event in finetune(run.load_experiment(), run.config, run, resume=True):
            run.append(event)
    return run


def pixels(images: Sequence[Image], scaling: IntensityScaling, side: int, limit: int) -> np.ndarray:
    """Tiles ``(N, C, side, side)`` as the model sees them, at most `limit`, spread over all."""
    every, _ = training_tiles(images, scaling, side)
    chosen = np.linspace(0, len(every) - 1, min(limit, len(every))).round().astype(int)
    return every[chosen]


def sampled(
    translator: Translator, condition: str, like: Image, arguments: argparse.Namespace
) -> np.ndarray:
    """Make images from noise, rounded to grey values as those of cameras and translations are."""
    made = sample(
        translator,
        condition,
        arguments.samples,
        seed=arguments.seed,
        inference_steps=arguments.inference_steps,
    )
    scaling = translator.scaling
    return scaling.apply(scaling.invert(made, like.data.dtype))


def distance(a: Features, b: Features) -> str:
    """Write a kernel distance with its interval."""
    found: KernelDistance = kernel_distance(a, b)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}), n {found.n_a}, {found.n_b}"


def last_loss(run: Run) -> float:
    """Mean loss of the last 50 steps."""
    # a resumed training may have done a step twice
    losses = {event.step: event.loss for event in run.events()[0] if isinstance(event, Step)}
    return float(np.mean([losses[step] for step in sorted(losses)[-50:]]))


def similarity(images: dict[str, np.ndarray], training: dict[str, np.ndarray]) -> float:
    """Memorisation: median over the images of all conditions."""
    nearest = [nearest_training(images[name], training[name]).centred for name in images]
    return round(float(np.median(np.concatenate(nearest))), 3)


def judge(task: Task, name: str, base: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Make the lines of one data set and base; with the bundled base also those of reference."""
    reference = "bundled" if base == "bundled" else str(arguments.out / "random_base")
    run = finished_run(task, arguments.out / f"{name}_{base}_run", reference, arguments)
    translator = Translator.from_run(run)
    side, scaling = translator.base.tile, translator.scaling
    conditions = (task.source, task.target)
    unseen = held_out(task, arguments.data, run, arguments.samples)
    real = {c: pixels(unseen[c], scaling, side, arguments.samples) for c in conditions}
    features = {c: extract_features(real[c]) for c in conditions}
    experiment = run.load_experiment()
    training = {c: pixels(experiment[c].images, scaling, side, 10**6) for c in conditions}

    made = {c: sampled(translator, c, unseen[c][0], arguments) for c in conditions}
    few = held_out(task, arguments.data, run, arguments.tiles)
    config = TranslationConfig(
        source=task.source, target=task.target, inference_steps=arguments.inference_steps
    )
    results = list(translator.translate(few[task.source], config))
    translated = pixels([r.translated for r in results], scaling, side, arguments.samples)
    np.savez_compressed(
        arguments.out / f"{name}_{base}.npz",
        sampled_source=made[task.source],
        sampled_target=made[task.target],
        translated=translated,
    )
    shown = row(task, few, results)
    target = features[task.target]
    lines = [
        {
            "data set": name,
            "base": base,
            "loss": round(last_loss(run), 3),
            "recovery": shown["recovery"],
            "identity": shown.get("identity", "–"),
            "sampled target": distance(extract_features(made[task.target]), target),
            "sampled source": distance(extract_features(made[task.source]), features[task.source]),
            "translated": distance(extract_features(translated), target),
            "memorisation": similarity(made, training),
        }
    ]
    if base == "bundled":
        copied = extract_features(pixels(few[task.source], scaling, side, arguments.samples))
        halves = {c: distance(*halved(features[c])) for c in conditions}
        lines += [
            {"data set": name, "base": "(copy)", "translated": distance(copied, target)},
            {
                "data set": name,
                "base": "(two halves)",
                "sampled target": halves[task.target],
                "sampled source": halves[task.source],
                "translated": halves[task.target],
                "memorisation": similarity(real, training),
            },
        ]
    return lines


def halved(features: Features) -> tuple[Features, Features]:
    """Every other image, and the others."""
    return tuple(replace(features, values=features.values[k::2]) for k in (0, 1))  # type: ignore[return-value]


def table(lines: list[dict[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """As markdown."""
    rows = [columns, ["---"] * len(columns)]
    rows += [[str(line.get(column, "–")) for column in columns] for line in lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows) + "\n"


def main() -> None:
    """Read the arguments, do what is missing, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--images", type=int, default=100, help="per condition, to train on")
    parser.add_argument("--steps", type=int, default=TrainingConfig.model_fields["steps"].default)
    parser.add_argument("--samples", type=int, default=100, help="images made from noise")
    parser.add_argument("--tiles", type=int, default=40, help="source tiles to translate")
    parser.add_argument("--inference-steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = {
        key: value for key, value in vars(arguments).items() if key not in ("data", "out", "set")
    }
    kept = arguments.out / "settings.json"
    if not kept.exists():
        kept.write_text(json.dumps(settings))
    elif json.loads(kept.read_text()) != settings:
        parser.error(f"{arguments.out} was made with {kept.read_text()}; name another folder")
    if not (arguments.out / "random_base").exists():
        write_random_base(arguments.out / "random_base", arguments.seed)
    lines = []
    for name in arguments.set:
        for base in ("random", "bundled"):
            file = arguments.out / f"{name}_{base}.json"
            if not file.exists():
                print(f"{name}, {base}", flush=True)
                found = judge(TASKS[name], name, base, arguments)
                with write_atomic(file) as temporary:
                    temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
            lines += json.loads(file.read_text(encoding="utf-8"))
            text = table(lines)
            with write_atomic(arguments.out / "pretraining.md") as temporary:
                temporary.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
