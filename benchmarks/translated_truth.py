"""Compare translations with the true counterparts of simulated cells.

    python benchmarks/translated_truth.py --out DIR [--phenotypes NAME ...] [--steps 1000]
        [--images 100] [--test-images 24] [--base bundled] [--seed 0]

For each phenotype that can be simulated: fine-tune with the defaults of `phenldiff train` on images
of different cells in each condition, as in an experiment; translate other cells, whose true
counterparts are known, as `phenldiff evaluate --paired` does; and print a row. What is complete in
DIR is not done again.

effect
    Median change of the measurement: of the true counterparts, and of the translated images from
    the reconstructed ones; then the error of the second.
r
    Correlation, over images, of the change shown and the true one. `benchmarks/attainable.py` tells
    how high it can be.
RMSE
    Per pixel to the true counterpart, as a fraction of the range: of the translated image, and of
    the untouched source.
pixels
    Correlation of the change shown and the true change, over the pixels of an image; of each
    channel, median over images.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
from pathlib import Path

from napari_phenldiff.cli.demo import MEASURED
from napari_phenldiff.cli.evaluate import evaluate
from napari_phenldiff.cli.measure import settings_from
from napari_phenldiff.cli.simulate import write_simulation
from napari_phenldiff.cli.train import train
from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.schema import Metrics, read_metrics
from napari_phenldiff.images.phenotypes import PHENOTYPES
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run, is_run


def judged(name: str, args: argparse.Namespace) -> Metrics:
    """Simulate, train and evaluate one phenotype, as far as that is not done."""
    folder: Path = args.out / name
    result = folder / "judged"
    if (result / "metrics.json").is_file():
        return read_metrics(result / "metrics.json")
    kind = PHENOTYPES[name]
    for part, images, first, paired in (
        ("data", args.images, 0, False),
        ("pairs", args.test_images, 2 * args.images, True),
    ):
        if not (folder / part).exists():
            write_simulation(
                name, folder / part, images, seed=args.seed, paired=paired, first=first
            )
    run = folder / "run"
    if not is_run(run):
        config = TrainingConfig(
            conditions=(kind.source, kind.target),
            base=args.base,
            steps=args.steps,
            seed=args.seed,
        )
        train(folder / "data", config, run)
    if Run.open(run).state != "finished":
        raise InputError(f"The training in {run} did not finish; delete it, or resume it.")
    measured = MEASURED[name]
    evaluate(
        Run.open(run),
        folder / "pairs",
        result,
        measured.profile,
        EvaluationConfig(images=args.test_images, paired=True, cycle=False, latent_images=0),
        settings=settings_from(measured.profile, measured.options),
    )
    return read_metrics(result / "metrics.json")


def row(name: str, found: Metrics) -> str:
    """Return one line of the table."""
    truth = found.controls.truth
    if truth is None:
        raise InputError(f"{name}: the evaluation compared no pairs; delete its folder.")
    pixels = " / ".join(f"{value:.2f}" for value in truth.pixel_correlation)
    cells = (
        f"{name}, {found.measurement}",
        f"{truth.true_effect:+.3f}, {truth.shown_effect:+.3f}",
        f"{100 * truth.effect_error:+.0f} %",
        f"{truth.correlation:.2f} ({truth.correlation_low:.2f} to {truth.correlation_high:.2f})",
        f"{truth.rmse:.3f}, {truth.rmse_copy:.3f}",
        pixels,
        found.verdict.answer,
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Read the arguments, do what is asked, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--phenotypes", nargs="+", choices=PHENOTYPES, default=list(PHENOTYPES))
    parser.add_argument("--steps", type=int, default=TrainingConfig.model_fields["steps"].default)
    parser.add_argument("--images", type=int, default=100, help="per condition, to train on")
    parser.add_argument("--test-images", type=int, default=24)
    parser.add_argument("--base", default="bundled")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lines = [row(name, judged(name, args)) for name in args.phenotypes]
    titles = (
        "phenotype", "effect: true, shown", "error", "r of single images (95 %)",
        "RMSE: translated, untouched", "r of pixels", "verdict",
    )  # fmt: skip
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
