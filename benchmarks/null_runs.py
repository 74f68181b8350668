"""How often the verdict supports a phenotype that does not exist, with trained models.

    python benchmarks/null_runs.py DATA --out DIR [--runs 40] [--reference-channels none]

DATA holds the data sets below. Each run is an experiment in which the conditions do not differ:
every other one gives the images of both conditions (training and test) to them at random, the
others are two halves of the untreated images. It is trained with the defaults of `phenldiff train`
but for the numbers of images and steps, translated and judged as by `phenldiff evaluate`. Where
nothing separates the conditions, all channels become references and nothing is translated;
``--reference-channels none`` translates all the same, and is the harder test.

DIR gets a folder per run with ``metrics.json``; what is there is not done again. Prints a row per
run and how many are *supported*: at most 5 % should be.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_phenldiff.baselines.loading import load_translator, train
from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.benchmark.split import middle, split
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.evaluate import Model, evaluate
from napari_phenldiff.evaluation.schema import Metrics, read_metrics
from napari_phenldiff.images.controls import control_experiment
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run, is_run


@dataclass(frozen=True, slots=True)
class Task:
    """A data set, its conditions, and what is measured."""

    folder: str
    source: str
    target: str
    profile: str
    settings: dict[str, Any] = field(default_factory=dict)
    crop: int | None = None


TASKS = (
    Task("bbbc013_translocation", "untreated", "treated", "translocation"),
    Task("hela_sirna", "RLUC_siRNA", "UBC_siRNA", "area", {"channel": 2}),
    Task("neurite_axotomy", "uncut", "cut", "area", {"channel": 0}, crop=128),
)


def plan(runs: int, seed: int) -> Iterator[tuple[str, str, Task, int]]:
    """Give name, kind, data set and seed of each run: kinds in turn, sets in turn."""
    for number in range(runs):
        kind = ("shuffled", "half-split")[number % 2]
        task = TASKS[number // 2 % len(TASKS)]
        yield f"{number:02d}_{kind}_{task.folder}", kind, task, seed + number


def null_run(kind: Any, task: Task, seed: int, folder: Path, args: argparse.Namespace) -> Metrics:
    """Train and judge where the conditions do not differ, as far as that is not done."""
    if (folder / "metrics.json").is_file():
        return read_metrics(folder / "metrics.json")
    real = Experiment.from_folder(args.data / task.folder, conditions=(task.source, task.target))
    if task.crop is not None:
        cropped = {c.name: [middle(i, task.crop) for i in c.images] for c in real.conditions}
        real = Experiment.from_images(cropped)
    false = control_experiment(kind, real, task.source, seed=seed)
    training, test = split(false, args.images, seed=seed)
    config = TrainingConfig(
        conditions=false.names,
        steps=args.steps,
        seed=seed,
        control=kind,
        reference_channels=() if args.reference_channels == "none" else "auto",
    )
    if is_run(folder / "run"):
        run = Run.open(folder / "run")
    else:
        scaling = IntensityScaling.fit(training.images)
        run = Run.from_experiment(folder / "run", config, experiment=training, scaling=scaling)
    if run.state != "finished":
        with run.lock():
            for event in train(training, run, resume=run.latest_checkpoint() is not None):
                run.append(event)
    result = evaluate(
        Model.of_run(run, load_translator(run)),
        test,
        TranslationConfig(
            source=false.names[0],
            target=false.names[1],
            inference_steps=args.inference_steps,
            seed=seed,
        ),
        EvaluationConfig(images=args.test_images, cycle=False, latent_images=0, seed=seed),
        task.profile,
        find_profile(task.profile).settings_type(**task.settings),
    )
    result.metrics.write(folder / "metrics.json")
    return result.metrics


def main() -> None:
    """Read the arguments, do the runs, print them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--images", type=int, default=24, help="per condition, to train on")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--test-images", type=int, default=8)
    parser.add_argument("--inference-steps", type=int, default=50)
    parser.add_argument("--reference-channels", choices=("auto", "none"), default="auto")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    answers: list[str] = []
    print("| run | references | real p | shown p | verdict |\n|---|---|---|---|---|", flush=True)
    for name, kind, task, seed in plan(args.runs, args.seed):
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = null_run(kind, task, seed, folder, args)
        except InputError as error:
            print(f"| {name} | | | | {error} |", flush=True)
            continue
        main_effects = {
            str(e["effect"]): e for e in found.effects if e["measurement"] == found.measurement
        }
        p = [main_effects[which]["p_value"] for which in ("real", "translated")]
        references = ", ".join(found.provenance["reference_channels"]) or "none"
        real, shown = ("" if x is None else f"{x:.2g}" for x in p)
        answers.append(found.verdict.answer)
        print(f"| {name} | {references} | {real} | {shown} | {answers[-1]} |", flush=True)
    count = Counter(answers)
    print(f"\n{dict(count)}: {count['supported']} of {len(answers)} supported", flush=True)


if __name__ == "__main__":
    main()
