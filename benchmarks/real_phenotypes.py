"""How much of a real phenotype translations show, and how well they preserve the cells.

    python benchmarks/real_phenotypes.py DATA --out DIR [--set NAME ...] [--guidance G ...]
        [--freedom F ...] [--detail D ...] [--judge] [--drawn N]

For each data set below DATA: fine-tune on 100 tiles per condition (of sets with fewer than 134, on
three quarters), translate source tiles that were not trained on at several strengths of guidance,
and measure. Writes DIR/NAME.md (a table), and DIR/NAME_*.png (real, reconstructed and translated
tiles, and what changed). A run that is there already is not trained again.

recovery
    effect of the translation (translated against reconstructed) over the real effect (target
    against source), both as Hodges-Lehmann shifts over tiles, with an interval over tiles (MOVER).
    Tiles of one well or field are counted as if they were independent, as in the interval of the
    distance: both are too narrow for wells or another day. The other columns are medians over
    tiles.
identity
    correlation of translated and reconstructed tile per channel, median over tiles; 1 for reference
    channels.
nuclei
    found in translated over those found in reconstructed tiles, for the profile that finds nuclei.
structure
    of the translated and the reconstructed tiles, between the real source (0) and the real target
    (1), by the measure of structure that the data set is about; real tiles have been through the
    autoencoder.
layout
    correlation of the translated tile with the source after a Gaussian of 6 px, in that channel.
code
    correlation of the code with the source's latents, and its spread.
seconds
    per tile, reconstructed and translated.

Guidance and freedom are those that the run was calibrated to (on 8 tiles per condition that are
neither trained on nor tested with), unless they are given.

With --judge also

distance
    kernel distance of the translated tiles to the real target tiles, of all channels together; in
    the first row, of the untouched source tiles. Its interval is a bootstrap over tiles.
cycle
    root mean square error of the tiles translated to the target and back, in per cent of the range,
    median over tiles. Takes as long again.

With --drawn N also the kernel distance of N images drawn from noise, per condition, to real ones.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.sample import sample
from napari_phenldiff.diffusion.translate import Translation, Translator
from napari_phenldiff.evaluation.cycle import back_again, cycle_error
from napari_phenldiff.evaluation.distances import kernel_distance
from napari_phenldiff.evaluation.features import extract_features
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.measurement.figures.panel import translation_panel
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.statistics.compare import compare
from napari_phenldiff.measurement.statistics.recovery import recovery
from napari_phenldiff.measurement.structure import coherence, layout_correlation, spot_energy
from napari_phenldiff.measurement.tables.measurement import Measurement
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Step
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.translation_settings import settings_of_run

_WATCHED = 8
"""Tiles per condition that guidance and freedom are chosen on."""


@dataclass(frozen=True, slots=True)
class Task:
    """A data set and what is measured in it."""

    folder: str
    source: str
    target: str
    profile: str
    column: str
    settings: dict[str, Any] = field(default_factory=dict)
    crop: int | None = None
    """Side in pixels of the middle of each test tile that is translated."""
    structure: Callable[[np.ndarray], np.ndarray] = coherence
    shown_in: int = 0
    """Channel whose structure is measured."""


TASKS = {
    "bbbc013": Task(
        "bbbc013_translocation",
        "untreated",
        "treated",
        "translocation",
        "log2_ratio",
        shown_in=1,
    ),
    "neurites": Task(
        "neurite_axotomy", "uncut", "cut", "area", "area_fraction", {"channel": 0}, crop=128
    ),
    "hela": Task(
        "hela_sirna",
        "RLUC_siRNA",
        "UBC_siRNA",
        "area",
        "area_fraction",
        {"channel": 2},
        shown_in=2,
    ),
    "hela_control": Task(
        "hela_sirna",
        "RLUC_siRNA",
        "kinase_siRNA",
        "area",
        "area_fraction",
        {"channel": 2},
        shown_in=2,
    ),
    "diffused": Task(
        "autophagosomes",
        "treatment_A",
        "treatment_B",
        "area",
        "area_fraction",
        {"channel": 1},
        structure=spot_energy,
        shown_in=1,
    ),
    "gathered": Task(
        "autophagosomes",
        "treatment_B",
        "treatment_A",
        "area",
        "area_fraction",
        {"channel": 1},
        structure=spot_energy,
        shown_in=1,
    ),
}


def trained_run(task: Task, data: Path, out: Path, arguments: argparse.Namespace) -> Run:
    """Fine-tune, or open an existing run."""
    if out.exists():
        return Run.open(out)
    experiment = Experiment.from_folder(data / task.folder, conditions=[task.source, task.target])
    # some sets have hardly more than 100 tiles: keep at least a quarter of them for testing
    smallest = min(len(condition.images) for condition in experiment.conditions)
    training = experiment.subset(min(arguments.images, smallest * 3 // 4), arguments.seed)
    config = TrainingConfig(
        conditions=(task.source, task.target),
        base=arguments.base,
        strategy=arguments.strategy,
        steps=arguments.steps,
        seed=arguments.seed,
    )
    scaling = IntensityScaling.fit(training.images)
    trained_on = {sha256_of_array(image.data) for image in training.images}
    watched = Experiment.from_images(
        {
            condition.name: _spread(_unseen(condition.images, trained_on), _WATCHED)
            for condition in experiment.conditions
        }
    )
    run = Run.from_experiment(out, config, experiment=training, scaling=scaling, validation=watched)
    started = time.monotonic()
    for event in finetune(training, config, run, validation=watched):
        run.append(event)
        if isinstance(event, Step) and event.step % 50 == 0:
            seconds = time.monotonic() - started
            print(f"  step {event.step}, loss {event.loss:.3f}, {seconds:.0f} s", flush=True)
    return run


def held_out(task: Task, data: Path, run: Run, limit: int) -> dict[str, list[Image]]:
    """Tiles of both conditions that were not trained on, spread over the set."""
    experiment = Experiment.from_folder(data / task.folder, conditions=[task.source, task.target])
    tiles = {}
    known = {record.sha256 for record in run.images}
    for condition in experiment.conditions:
        unseen = _unseen(condition.images, known)
        tiles[condition.name] = [_middle(image, task.crop) for image in _spread(unseen, limit)]
    return tiles


def _spread(images: Sequence[Image], n: int) -> list[Image]:
    return list(images[:: max(1, len(images) // n)][:n])


def _unseen(images: Sequence[Image], known: Container[str]) -> list[Image]:
    return [image for image in images if sha256_of_array(image.data) not in known]


def _middle(image: Image, side: int | None) -> Image:
    if side is None:
        return image
    y, x = ((length - side) // 2 for length in image.shape)
    data = image.data[:, y : y + side, x : x + side]
    return Image(data, image.channel_names, image.pixel_size, image.name)


def structure(
    task: Task, translator: Translator, tiles: dict[str, list[Image]], results: list[Translation]
) -> dict[str, Any]:
    """Return the measures of structure and of the code."""

    def measured(images: list[Image]) -> float:
        planes = np.stack([image.data[task.shown_in] for image in images]).astype(float)
        return float(np.mean(task.structure(planes)))

    def carried(images: list[Image]) -> float:
        base, scaling = translator.base, translator.scaling
        pixels = np.stack([scaling.apply(image.data) for image in images])
        side = base.multiple * (pixels.shape[-1] // base.multiple)
        seen = base.decode(base.encode(pixels[..., :side, :side]), pixels.shape[1])
        return float(np.mean(task.structure(seen[:, task.shown_in])))

    low, high = carried(tiles[task.source]), carried(tiles[task.target])
    there, back = (
        (measured(images) - low) / (high - low)
        for images in ([r.translated for r in results], [r.reconstructed for r in results])
    )
    planes, sources = (
        np.stack([image.data[task.shown_in] for image in images]).astype(float)
        for images in ([r.translated for r in results], tiles[task.source])
    )
    code = [np.mean([getattr(r, f"code_{k}") for r in results]) for k in ("correlation", "spread")]
    return {
        "structure": f"{there:.2f}",
        "structure of the reconstruction": f"{back:.2f}",
        "layout": f"{np.nanmean(layout_correlation(planes, sources)):.2f}",
        "code": f"{code[0]:.2f}, {code[1]:.2f}",
    }


def row(
    task: Task, translator: Translator, tiles: dict[str, list[Image]], results: list[Translation]
) -> dict[str, Any]:
    """One line of the table."""
    groups = {
        **tiles,
        "reconstructed": [r.reconstructed for r in results],
        "translated": [r.translated for r in results],
    }
    settings = PROFILES[task.profile].settings_type(**task.settings)
    measured = measure(task.profile, groups, settings, fit_on=[task.source, task.target])
    values = {name: measured.values(name, task.column) for name in groups}
    shown = recovery(
        values[task.source],
        values[task.target],
        values["translated"],
        reconstructed=values["reconstructed"],
    )
    test = compare(values["reconstructed"], values["translated"], paired=True)
    line: dict[str, Any] = {
        **{name: round(float(np.nanmedian(value)), 3) for name, value in values.items()},
        "recovery": f"{shown.value:.2f} ({shown.low:.2f} to {shown.high:.2f})",
        "p": f"{test.p_value:.1e}",
        "identity": " / ".join(f"{value:.3f}" for value in _identity(results)),
        "residual": f"{max(r.residual for r in results):.1e}",
        "seconds": round(float(np.mean([r.seconds for r in results])), 1),
    }
    line |= structure(task, translator, tiles, results)
    if "n_cells" in measured.images:
        line["nuclei"] = round(_nuclei(measured, "translated", "reconstructed"), 3)
    return line


def _identity(results: list[Translation]) -> list[float]:
    return [
        float(
            np.nanmedian(  # a tile without a cell may be constant
                [
                    np.corrcoef(
                        r.translated.data[channel].ravel(), r.reconstructed.data[channel].ravel()
                    )[0, 1]
                    for r in results
                ]
            )
        )
        for channel in range(results[0].translated.n_channels)
    ]


def distance(run: Run, images: list[Image], others: list[Image]) -> str:
    """Kernel distance of two sets of tiles, with its interval."""
    both = [np.stack([run.scaling.apply(i.data) for i in x]) for x in (images, others)]
    found = kernel_distance(*(extract_features(x) for x in both))
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def judged(
    run: Run,
    translator: Translator,
    config: TranslationConfig,
    tiles: dict[str, list[Image]],
    results: list[Translation],
) -> dict[str, Any]:
    """Return the distance to the target's tiles, and the cycle error."""
    translated = [r.translated for r in results]
    back = back_again(translator, translated, config)
    error = cycle_error(tiles[config.source], back, run.scaling)
    return {
        "distance": distance(run, translated, tiles[config.target]),
        "cycle": f"{100 * float(np.median(error.rmse)):.2f} %",
    }


def drawn(
    task: Task, run: Run, translator: Translator, tiles: dict[str, list[Image]], n: int
) -> list[dict[str, Any]]:
    """Draw `n` images of each condition from noise, and compare them with real ones."""
    lines = []
    for name in (task.source, task.target):
        images = sample(translator, name, n, seed=0, inference_steps=25)
        real = np.stack([run.scaling.of(name).apply(image.data) for image in tiles[name]])
        found = kernel_distance(extract_features(images), extract_features(real))
        text = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
        lines.append({"drawn": name, "distance": text})
    return lines


def _nuclei(measured: Measurement, over: str, under: str) -> float:
    counts = measured.images.groupby("condition", observed=True)["n_cells"].sum()
    return float(counts[over] / counts[under])


def main() -> None:
    """Read the arguments, run the tasks, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="+", choices=TASKS, default=list(TASKS))
    default = {name: f.default for name, f in TranslationConfig.model_fields.items()}
    parser.add_argument("--strategy", default="auto", help="lora, svdiff, attention or full")
    parser.add_argument("--guidance", nargs="+", type=float, default=[None])
    parser.add_argument("--freedom", nargs="+", type=float, default=[None])
    parser.add_argument("--drawn", type=int, default=0)
    parser.add_argument("--anchor", nargs="+", type=float, default=[default["anchor"]])
    parser.add_argument("--depth", nargs="+", type=float, default=[default["depth"]])
    parser.add_argument("--detail", nargs="+", type=float, default=[default["detail"]])
    parser.add_argument("--judge", action="store_true")
    parser.add_argument("--inference-steps", type=int, default=default["inference_steps"])
    parser.add_argument("--base", default="bundled")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=TrainingConfig.model_fields["steps"].default)
    parser.add_argument("--tiles", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name in arguments.set:
        task = TASKS[name]
        print(name, flush=True)
        run = trained_run(task, arguments.data, arguments.out / f"{name}_run", arguments)
        tiles = held_out(task, arguments.data, run, arguments.tiles)
        translator = Translator.from_run(run)
        print(f"  references: {', '.join(translator.reference_channels) or 'none'}", flush=True)
        lines: list[dict[str, Any]] = []
        if arguments.judge:
            lines.append({"distance": distance(run, tiles[task.source], tiles[task.target])})
            print("  untouched:", lines[0]["distance"], flush=True)
        print(" ", "" if run.calibration is None else run.calibration.in_words(), flush=True)
        every = product(
            arguments.depth,
            arguments.anchor,
            arguments.guidance,
            arguments.freedom,
            arguments.detail,
        )
        for depth, anchor, guidance, freedom, detail in every:
            chosen = {"guidance": guidance, "freedom": freedom}
            config = TranslationConfig(
                source=task.source,
                target=task.target,
                anchor=anchor,
                depth=depth,
                detail=detail,
                inference_steps=arguments.inference_steps,
                **{name: value for name, value in chosen.items() if value is not None},
            )
            config = settings_of_run(run, config)
            guidance, freedom = config.guidance, config.freedom
            results = list(translator.translate(tiles[task.source], config))
            line = row(task, translator, tiles, results)
            asked = {
                "depth": depth,
                "anchor": anchor,
                "guidance": guidance,
                "freedom": freedom,
                "detail": detail,
            }
            if arguments.judge:
                line |= judged(run, translator, config, tiles, results)
            lines.append({**asked, **line})
            print(" ", lines[-1], flush=True)
            figure = translation_panel(
                tiles[task.source][:10],
                [r.translated for r in results[:10]],
                reconstructed=[r.reconstructed for r in results[:10]],
                source=task.source,
                target=task.target,
            )
            settings = "_".join(f"{key}{value}" for key, value in asked.items())
            name_of_picture = f"{name}_{settings}.png"
            figure.savefig(arguments.out / name_of_picture)
        if arguments.drawn:
            lines += drawn(task, run, translator, tiles, arguments.drawn)
            print(" ", lines[-2:], flush=True)
        table = pd.DataFrame(lines[::-1], dtype=object)[::-1].fillna("")
        rows = [list(table.columns), ["---"] * len(table.columns), *table.to_numpy().tolist()]
        text = "\n".join("| " + " | ".join(str(cell) for cell in cells) + " |" for cells in rows)
        (arguments.out / f"{name}.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
