"""Compare the four strategies: trained parameters, cost and results.

    python benchmarks/strategies.py DATA --out DIR [--set NAME ...] [--images N ...] [--twins]

On each data set of `real_phenotypes.py`, every strategy is fine-tuned with the same images, seed
and number of steps, and with its own default of the learning rate (``--strategies svdiff=1e-3``
tries another). Writes DIR/strategies.md. What is in DIR already is not computed again; an
interrupted training goes on.

parameters, file
    numbers that learn in the network, and the size of their file.
time per step
    median, in parts of that of LoRA.
loss
    of the training, mean of its last 50 steps.
watched loss
    on tiles that are not trained on, with noise that is the same for all strategies.
recovery, identity
    as in `real_phenotypes.py`.
over-fitting
    loss on watched tiles less that on as many trained ones, with the same noise.
memorisation
    median, over images made from noise, of the centred cosine similarity to the closest training
    tile of the condition in any flip or rotation. The row *real* has that of real tiles that were
    not trained on: more than there is repeating.
generalisation
    with ``--twins``: a second model is trained on as many other tiles; median centred cosine
    similarity of the images that both make from the same noise.

DIR/histograms.png has all values of the last two, raw and centred (paper, figures 4 and 8).
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pretraining_pays import last_loss, pixels, sampled, table
from real_phenotypes import TASKS, Task, _middle, row

from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.evaluation.memorisation import (
    Agreement,
    NearestTraining,
    agreement,
    nearest_training,
)
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Step, Validated
from napari_phenldiff.runs.folder import Run

_NAMES = get_args(TrainingConfig.model_fields["strategy"].annotation)
STRATEGIES = tuple(name for name in _NAMES if name != "auto")
KINDS = ("raw", "centred")
_WATCHED = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """One row of the table."""

    set: str
    images: int
    strategy: str
    rate: float | None = None
    layers: str | None = None

    @property
    def label(self) -> str:
        """Name of its files."""
        parts = [self.set, str(self.images), self.strategy]
        parts += [self.layers] if self.layers else []
        return "_".join([*parts, f"{self.rate:g}"] if self.rate else parts)


def parts_of(
    task: Task, images: int, arguments: argparse.Namespace
) -> dict[str, dict[str, list[Image]]]:
    """Return disjoint tiles by condition: two sets to train on, one to watch, one to test."""
    experiment = Experiment.from_folder(
        arguments.data / task.folder, conditions=[task.source, task.target]
    )
    trained = 2 * images if arguments.twins else images
    ends = {"a": images, "b": trained, "watched": trained + _WATCHED}
    parts: dict[str, dict[str, list[Image]]] = {name: {} for name in (*ends, "test")}
    for condition in experiment.conditions:
        # in the order of the plate, halves of it would be wells
        order = np.random.default_rng(arguments.seed).permutation(len(condition.images))
        tiles = [_middle(condition.images[i], arguments.crop) for i in order]
        start = 0
        for name, end in ends.items():
            parts[name][condition.name] = tiles[start:end]
            start = end
        parts["test"][condition.name] = tiles[start:][: arguments.tiles]
        if len(tiles) - start < 2:
            raise SystemExit(f"{condition.name} has {len(tiles)} tiles only; give fewer --images")
    return parts


def trained(trial: Trial, part: str, arguments: argparse.Namespace) -> Run:
    """Fine-tune, resume an interrupted run, or open a finished one."""
    path = arguments.out / f"{trial.label}_{part}"
    task = TASKS[trial.set]
    parts = parts_of(task, trial.images, arguments)
    training = Experiment.from_images(parts[part])
    if path.exists():
        run = Run.open(path)
    else:
        values = {} if trial.layers is None else {"layers": trial.layers}
        config = TrainingConfig(
            conditions=(task.source, task.target),
            strategy=trial.strategy,
            learning_rate=trial.rate,
            steps=arguments.steps,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            checkpoint_every=arguments.steps,
            **values,
        )
        run = Run.from_experiment(
            path, config, experiment=training, scaling=IntensityScaling.fit(training.images)
        )
    if run.state != "finished":
        watched = Experiment.from_images(parts["watched"])
        for event in finetune(training, run.config, run, resume=True, validation=watched):
            run.append(event)
    return run


def seconds_per_step(run: Run) -> float:
    """Median time between two steps."""
    steps = [event for event in run.events()[0] if isinstance(event, Step)]
    return float(np.median([b.time - a.time for a, b in pairwise(steps) if b.step == a.step + 1]))


def judge(trial: Trial, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train and make one line of the table."""
    task = TASKS[trial.set]
    run = trained(trial, "a", arguments)
    settings = json.loads((run.adapter_path / "adapter.json").read_text(encoding="utf-8"))
    watched = [event for event in run.events()[0] if isinstance(event, Validated)]
    translator = Translator.from_run(run)
    parts = parts_of(task, trial.images, arguments)
    tiles = parts["test"]
    config = TranslationConfig(
        source=task.source, target=task.target, inference_steps=arguments.inference_steps
    )
    results = list(translator.translate(tiles[task.source], config))
    shown = row(task, translator, tiles, results)
    line = {
        "data set": trial.set,
        "images": trial.images,
        "strategy": trial.strategy if trial.layers is None else f"{trial.strategy} {trial.layers}",
        "rate": run.config.learning_rate,
        "parameters": f"{settings['trained_parameters']:,}",
        "file": f"{settings['file_bytes'] / 1e6:.2f} MB",
        "seconds": seconds_per_step(run),
        "loss": round(last_loss(run), 3),
        "watched loss": round(watched[-1].loss, 3) if watched else "–",
        "over-fitting": round(watched[-1].loss - watched[-1].training_loss, 3) if watched else "–",
        "recovery": shown["recovery"],
        "identity": shown["identity"],
    }
    if arguments.samples:
        conditions = (task.source, task.target)
        scaling, side = translator.scaling, arguments.crop or translator.base.tile
        training = {c: pixels(parts["a"][c], scaling, side, 10**6) for c in conditions}
        made = {c: drawn(translator, c, tiles[c][0], arguments) for c in conditions}
        unseen = {c: pixels(tiles[c], scaling, side, arguments.samples) for c in conditions}
        values = {"memorisation": closest(made, training), "real": closest(unseen, training)}
        if arguments.twins:
            values["generalisation"] = _agree(trial, made, tiles[task.source][0], arguments)
        for name, found in values.items():
            line[name] = round(float(np.median(found["centred"])), 3)
        kept = {f"{n}_{kind}": v for n, found in values.items() for kind, v in found.items()}
        with write_atomic(values_of(trial, arguments)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **kept)
    return line


def drawn(
    translator: Translator, condition: str, like: Image, arguments: argparse.Namespace
) -> np.ndarray:
    """Make images from noise, and take the middle of them as of all tiles."""
    made = sampled(translator, condition, like, arguments)
    side = arguments.crop or made.shape[-1]
    start = (made.shape[-1] - side) // 2
    return made[..., start : start + side, start : start + side]


def closest(
    images: dict[str, np.ndarray], training: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Similarity, raw and centred, of images of all conditions to the closest training tile."""
    return _together([nearest_training(images[name], training[name]) for name in images])


def _agree(
    trial: Trial, made: dict[str, np.ndarray], like: Image, arguments: argparse.Namespace
) -> dict[str, np.ndarray]:
    twin = Translator.from_run(trained(trial, "b", arguments))
    return _together([agreement(made[c], drawn(twin, c, like, arguments)) for c in made])


def _together(found: Sequence[NearestTraining | Agreement]) -> dict[str, np.ndarray]:
    return {kind: np.concatenate([getattr(x, kind) for x in found]) for kind in KINDS}


def values_of(trial: Trial, arguments: argparse.Namespace) -> Path:
    """File with the similarities of all images of a row."""
    return Path(arguments.out / f"{trial.label}.npz")


def draw_histograms(done: list[Trial], path: Path, arguments: argparse.Namespace) -> None:
    """Draw a row for each number of images and a column for each similarity, lines by strategy."""
    from matplotlib.figure import Figure

    names = ["memorisation", "generalisation"] if arguments.twins else ["memorisation"]
    columns = [f"{name}_{kind}" for name in names for kind in KINDS]
    rows = sorted({(trial.set, trial.images) for trial in done})
    figure = Figure(figsize=(3.2 * len(columns), 2.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False, sharex="col")
    edges = np.linspace(-0.2, 1, 25)
    for axes, where in zip(grid, rows, strict=True):
        of_row = [trial for trial in done if (trial.set, trial.images) == where]
        for axis, column in zip(axes, columns, strict=True):
            groups = {}
            for trial in of_row:
                with np.load(values_of(trial, arguments)) as values:
                    name = trial.label.removeprefix(f"{trial.set}_{trial.images}_")
                    groups[name] = values[column]
                    if column.startswith("memorisation"):
                        groups["(real)"] = values[column.replace("memorisation", "real")]
            for name, group in groups.items():
                weights = np.full(group.size, 1 / group.size)
                color = "0.4" if name == "(real)" else None
                axis.hist(group, edges, weights=weights, histtype="step", label=name, color=color)
            axis.set_xlabel(column.replace("_", ", "))
        axes[0].set_ylabel(f"{where[0]}, {where[1]} images")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=5, frameon=False)
    figure.savefig(path, dpi=110)


def trials(arguments: argparse.Namespace) -> Iterator[Trial]:
    """Give the rows of the table, in order."""
    for name in arguments.set:
        for images in arguments.images:
            for text in arguments.strategies:
                strategy, _, rate = text.partition("=")
                strategy, _, layers = strategy.partition(":")
                if strategy not in STRATEGIES:
                    raise SystemExit(f"unknown strategy {strategy}; known: {', '.join(STRATEGIES)}")
                yield Trial(name, images, strategy, float(rate) if rate else None, layers or None)


COLUMNS = (
    "data set",
    "images",
    "strategy",
    "rate",
    "parameters",
    "file",
    "time per step",
    "loss",
    "watched loss",
    "over-fitting",
    "recovery",
    "identity",
    "memorisation",
    "generalisation",
)


def shown(lines: list[dict[str, Any]]) -> str:
    """As markdown, with times in parts of the first strategy's and a row for real tiles."""
    rows, first = [], {}
    for line in lines:
        where = (line["data set"], line["images"])
        reference = first.setdefault(where, line)
        rows.append({**line, "time per step": f"{line['seconds'] / reference['seconds']:.2f}"})
    rows += [
        {
            "data set": where[0],
            "images": where[1],
            "strategy": "(real)",
            "memorisation": line["real"],
        }
        for where, line in first.items()
        if "real" in line
    ]
    return table(rows, COLUMNS)


def main() -> None:
    """Read the arguments, do what is missing, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="+", choices=TASKS, default=["bbbc013"])
    parser.add_argument(
        "--strategies",
        nargs="+",
        default=list(STRATEGIES),
        metavar="NAME[:LAYERS][=RATE]",
        help="for example svdiff:attention=1e-2; the first is what times are compared with",
    )
    parser.add_argument("--images", nargs="+", type=int, default=[50], help="per condition")
    parser.add_argument("--twins", action="store_true", help="train on other images as well")
    parser.add_argument("--steps", type=int, default=TrainingConfig.model_fields["steps"].default)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument(
        "--samples", type=int, default=32, help="images made from noise; 0 for none"
    )
    parser.add_argument("--tiles", type=int, default=40, help="source tiles to translate")
    parser.add_argument("--crop", type=int, help="train and test on the middle of tiles, in pixels")
    parser.add_argument("--inference-steps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    varied = ("data", "out", "set", "strategies", "images")
    settings = {key: value for key, value in vars(arguments).items() if key not in varied}
    kept = arguments.out / "settings.json"
    if not kept.exists():
        kept.write_text(json.dumps(settings), encoding="utf-8")
    elif json.loads(kept.read_text(encoding="utf-8")) != settings:
        parser.error(f"{arguments.out} was made with {kept.read_text()}; name another folder")
    lines, done = [], []
    for trial in trials(arguments):
        file = arguments.out / f"{trial.label}.json"
        if not file.exists():
            print(trial.label, flush=True)
            found = judge(trial, arguments)
            with write_atomic(file) as temporary:
                temporary.write_text(json.dumps(found, indent=1), encoding="utf-8")
            print(" ", found, flush=True)
        lines.append(json.loads(file.read_text(encoding="utf-8")))
        with write_atomic(arguments.out / "strategies.md") as temporary:
            temporary.write_text(shown(lines), encoding="utf-8")
        done.append(trial)
        if arguments.samples:
            draw_histograms(done, arguments.out / "histograms.png", arguments)
    print(shown(lines))


if __name__ == "__main__":
    main()
