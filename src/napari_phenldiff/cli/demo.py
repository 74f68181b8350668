"""``phenldiff demo``: the whole way, on simulated cells."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli.measure import find_groups, measure_groups, settings_from
from napari_phenldiff.cli.progress import duration, say
from napari_phenldiff.cli.simulate import PHENOTYPE_NAMES, write_simulation
from napari_phenldiff.cli.train import train
from napari_phenldiff.cli.translate import translate
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig, validated

if TYPE_CHECKING:
    from napari_phenldiff.evaluation.report import Section
    from napari_phenldiff.measurement.tables.measurement import Measurement

DEFAULT_FOLDER = "phenldiff-demo"

_EPILOG = """\
DIR gets everything that was made on the way:
  DIR/data                 simulated images to train on, different cells in each condition
  DIR/held_out             other cells, each under both conditions: the truth
  DIR/run                  the fine-tuning
  DIR/result               held-out cells translated, and reconstructed
  DIR/measurements.csv     what was measured in real and translated images
  DIR/report.html          pictures, figures and tables on one page

examples:
  phenldiff demo
  phenldiff demo --phenotype golgi --out golgi-demo --steps 800
"""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What is measured to see a phenotype: a profile, and options of `phenldiff measure`."""

    profile: str
    options: dict[str, Any]


_MEASURED = {
    "translocation": _Measured("translocation", {}),
    "golgi": _Measured("golgi", {"channel": "Golgi", "nuclei_channel": "DNA"}),
    "neurons": _Measured("neurons", {"channel": "neurons"}),
    "beading": _Measured("area", {"channel": "neurites"}),
}


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "demo",
        help="the whole way on simulated images, with a report",
        description="Simulate cells, fine-tune on them, translate cells that were not trained on, "
        "measure\nthem, and write a report. Takes some minutes without a GPU.",
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
        help=f"{', '.join(PHENOTYPE_NAMES)} (default: translocation)",
    )
    numbers = {
        "images": (80, "simulated images per condition to train on"),
        "held_out": (24, "cells to translate and measure"),
        "steps": (250, "optimisation steps"),
        "seed": (0, "seed of everything random"),
    }
    for name, (default, text) in numbers.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
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
            raise InputError(f"demo: --{name.replace('_', '-')} must be at least 2.")
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
    say("5 of 5: writing the report")
    _report(measurement, kind.source, kind.target, out)
    say(_result(measurement, kind.source, kind.target))
    report = (out / "report.html").resolve()
    say(f"Done in {duration(time.monotonic() - start)}. Open {report} in a browser.")
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
    measured = _MEASURED[phenotype]
    inputs = [out / "held_out" / source, out / "held_out" / target]
    inputs += [out / "result" / "reconstructed", out / "result" / "translated"]
    groups = find_groups([str(path) for path in inputs])
    settings = settings_from(measured.profile, measured.options)
    return measure_groups(measured.profile, groups, settings, fit_on=(source, target))


def _report(measurement: Measurement, source: str, target: str, out: Path) -> None:
    """Write the page that shows what was found."""
    from napari_phenldiff.evaluation.report import write_report
    from napari_phenldiff.images.tiff import read_image

    summary = json.loads((out / "result" / "translation.json").read_text(encoding="utf-8"))
    pictures = [
        (
            read_image(out / "held_out" / source / image["file"]),
            read_image(out / "result" / "reconstructed" / image["file"]),
            read_image(out / "result" / "translated" / image["file"]),
            read_image(out / "held_out" / target / image["file"]),
        )
        for image in summary["images"]
    ]
    write_report(
        out / "report.html",
        measurement,
        source=source,
        target=target,
        pictures=pictures,
        provenance={key: value for key, value in summary.items() if key != "images"},
        title=f"Simulated cells, {source} → {target}",
        more=[_against_the_truth(measurement, source, target)],
    )


def _result(measurement: Measurement, source: str, target: str) -> str:
    """Return what came out, in a sentence."""
    from napari_phenldiff.measurement.statistics.compare import recovery_text
    from napari_phenldiff.measurement.statistics.effects import Groups, compare_in, recovery_of

    real = compare_in(measurement, Groups(source, target))
    made = compare_in(
        measurement, Groups("reconstructed", "translated", paired=True, by_place=True, made=True)
    )
    recovered = recovery_of(real, made, paired=True)
    return (
        f"{measurement.main_column} shifts by {recovered.real_effect:+.2f} from {source} to "
        f"{target} cells and by {recovered.translated_effect:+.2f} when translated: "
        f"{recovery_text(recovered)}."
    )


def _against_the_truth(measurement: Measurement, source: str, target: str) -> Section:
    """Compare the change of each image with that of its true counterpart."""
    import numpy as np
    import pandas as pd

    from napari_phenldiff.evaluation.report import Section

    names = measurement.images.loc[measurement.images["condition"] == source, "image"]
    true_change = measurement.values(target) - measurement.values(source)
    shown_change = measurement.values("translated") - measurement.values("reconstructed")
    known = np.isfinite(true_change) & np.isfinite(shown_change)
    varied = known.sum() > 2 and true_change[known].std() > 0 and shown_change[known].std() > 0
    correlation = np.corrcoef(true_change[known], shown_change[known])[0, 1] if varied else np.nan
    return Section(
        "Against the truth",
        f"The {target} cells above are the {source} ones, simulated once more under the other "
        "condition: what no microscope can show. Over the images, the change that the translation "
        f"shows and the true one correlate with r = {correlation:.2f}: 1 would tell of each image "
        "how much it changes, 0 only how much they change on average.",
        table=pd.DataFrame(
            {
                "image": names.to_numpy(),
                f"true change of {measurement.main_column}": true_change,
                "change shown": shown_change,
            }
        ),
    )
