"""``phenldiff demo``: the whole way, on simulated cells."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli.evaluate import evaluate
from napari_phenldiff.cli.measure import settings_from
from napari_phenldiff.cli.progress import duration, say
from napari_phenldiff.cli.simulate import PHENOTYPE_NAMES, write_simulation
from napari_phenldiff.cli.train import train
from napari_phenldiff.cli.translate import translate
from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.jobs.measuring import measure
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig, validated
from napari_phenldiff.settings import option_of

if TYPE_CHECKING:
    from napari_phenldiff.measurement.tables.measurement import Measurement

DEFAULT_FOLDER = "phenldiff-demo"

_EPILOG = """\
DIR gets everything that was made on the way:
  DIR/data                 simulated images to train on, different cells in each condition
  DIR/held_out             other cells, each under both conditions: the truth
  DIR/run                  the fine-tuning
  DIR/result               held-out cells translated, and reconstructed
  DIR/measurements.csv     what was measured in real and translated images
  DIR/evaluation           whether it may be believed: report.html has pictures, figures and tables

examples:
  phenldiff demo
  phenldiff demo --phenotype golgi --out golgi-demo --steps 800
"""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is measured to see a phenotype: a profile, and options of `phenldiff measure`."""

    profile: str
    options: dict[str, Any]


MEASURED = {
    "translocation": _Measured("translocation", {}),
    "golgi": _Measured("golgi", {"channel": "Golgi", "nuclei_channel": "DNA"}),
    "neurons": _Measured("neurons", {"channel": "neurons"}),
    "beading": _Measured("area", {"channel": "neurites"}),
}
"""What is measured of each phenotype."""


_JUDGED = 24
"""Most images that are judged."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "demo",
        help="all steps on simulated images, with a report",
        description="Simulate cells, fine-tune on them, translate cells that were not trained on, "
        "measure\nthem, and evaluate the run. Takes some minutes without a GPU.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"new folder (default: {DEFAULT_FOLDER})"
    )
    parser.add_argument(
        "--phenotype",
        choices=PHENOTYPE_NAMES,
        default="translocation",
        help="what differs between the conditions (default: translocation)",
    )
    numbers = {
        "images": (80, "simulated images per condition to train on"),
        "held_out": (24, "images of other cells to translate and measure"),
        "steps": (250, "optimisation steps"),
        "seed": (0, "seed of everything that is random"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(
            option_of(name),
            type=int,
            default=default,
            metavar="N",
            help=f"{text} (default: {default})",
        )
    parser.add_argument(
        "--base", default="bundled", metavar="BASE", help="base model (default: bundled)"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.images.simulate import get_phenotype
    from napari_phenldiff.runs.folder import Run, check_output_folder

    start = time.monotonic()
    kind = get_phenotype(args.phenotype)
    values = {
        "conditions": (kind.source, kind.target),
        "base": args.base,
        "steps": args.steps,
        "seed": args.seed,
    }
    training = validated(TrainingConfig, values, where="demo")
    translation = TranslationConfig(source=kind.source, target=kind.target, seed=args.seed)
    for name in ("images", "held_out"):
        if getattr(args, name) < 2:
            raise InputError(f"demo: {option_of(name)} must be at least 2.")
    out = args.out or _free_folder(Path(DEFAULT_FOLDER))
    check_output_folder(out)

    say(f"1 of 5: simulating cells ({args.phenotype})")
    write_simulation(args.phenotype, out / "data", args.images, seed=args.seed)
    write_simulation(
        args.phenotype,
        out / "held_out",
        args.held_out,
        seed=args.seed,
        paired=True,
        first=2 * args.images,
    )
    say("2 of 5: fine-tuning")
    code = train(out / "data", training, out / "run")
    if code or Run.open(out / "run").state != "finished":
        return code
    say("3 of 5: translating cells that were not trained on")
    code = translate(Run.open(out / "run"), out / "held_out", translation, out / "result")
    if code:
        return code
    say("4 of 5: measuring")
    measurement = _measure(args.phenotype, kind.source, kind.target, out)
    measurement.write(out / "measurements.csv")
    say("5 of 5: judging whether it may be believed")
    measured = MEASURED[args.phenotype]
    evaluate(
        Run.open(out / "run"),
        out / "held_out",
        out / "evaluation",
        measured.profile,
        EvaluationConfig(
            images=min(args.held_out, _JUDGED),
            paired=True,
            cycle=False,
            latent_images=0,
            seed=args.seed,
        ),
        settings=settings_from(measured.profile, measured.options),
        translation=translation,
        translated=out / "result",
    )
    say(f"Done in {duration(time.monotonic() - start)}.")
    return 0


def _free_folder(wanted: Path) -> Path:
    """Return `wanted`, or with a number if there is something already: demos are run again."""
    number, folder = 1, wanted
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def _measure(phenotype: str, source: str, target: str, out: Path) -> Measurement:
    """Measure held-out cells under both conditions, and the translated source ones."""
    measured = MEASURED[phenotype]
    inputs = [out / "held_out" / source, out / "held_out" / target]
    inputs += [out / "result" / "reconstructed", out / "result" / "translated"]
    settings = settings_from(measured.profile, measured.options)
    return measure(
        measured.profile, {path.name: path for path in inputs}, settings, fit_on=(source, target)
    )
