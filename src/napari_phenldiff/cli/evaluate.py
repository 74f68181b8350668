"""``phenldiff evaluate``: whether what a run shows may be believed, with its reasons."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.measure import PROFILE_NAMES, add_exclude_border, settings_from
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.wording import summary
from napari_phenldiff.jobs import evaluation
from napari_phenldiff.jobs.directions import direction
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.runs.config import TranslationConfig, validated
from napari_phenldiff.runs.events import Event, Finished, Warned
from napari_phenldiff.runs.folder import Run, check_output_folder
from napari_phenldiff.settings import option_of

if TYPE_CHECKING:
    from napari_phenldiff.images.dataset import Dataset
    from napari_phenldiff.measurement.segmentation.thresholds import Settings

_EPILOG = """\
DATA is a folder with a sub-folder per condition, as for `phenldiff train`. Images that the run was
trained on are left out. Without a GPU an image of 128 pixels takes some 10 seconds.

DIR gets:
  DIR/report.html    the verdict in words, pictures, figures, tables, controls, provenance
  DIR/metrics.json   all numbers
  DIR/measured.csv   what was measured in each image, with its settings beside it

The verdict is `supported` only if every rule that could be tried speaks for it; the rules are in
the documentation (docs/notes/verdict.md). Runs that were trained on conditions that do not differ
make it stronger: give them with --shuffled and --half-split.

examples:
  phenldiff evaluate run DATA --profile translocation --out evaluated
  phenldiff evaluate run DATA --profile area --channel F-actin --wells '^rep[0-9]+_[A-Z][0-9]+' \\
      --shuffled run_shuffled --out evaluated
"""

OF_EVALUATION = ("source", "target", "guidance_from", "fixed_point_iterations", "seed")
"""Settings of a translation that an evaluation has its own option for, or leaves at its default."""

_CHANNELS = ("channel", "nuclei_channel", "marker_channel", "cytoplasm_channel")


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "evaluate",
        help="check whether what a run shows may be believed",
        description="Evaluate a run on images that it was not trained on, and write a report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of `phenldiff train`")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with both conditions")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="new folder for the results"
    )
    options.add_direction(parser)
    for kind, text in (
        ("shuffled", "run that was trained on permuted conditions"),
        ("half-split", "run that was trained on two halves of one condition"),
    ):
        parser.add_argument(
            f"--{kind}",
            type=Path,
            action="append",
            default=[],
            metavar="RUN",
            help=f"{text}; may be given several times",
        )
    parser.add_argument(
        "--translated",
        type=Path,
        metavar="DIR",
        help="folder of `phenldiff translate` with the same run and settings: what is there is not "
        "translated again",
    )
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda ... (default: auto)"
    )
    options.add_workers(parser, "translate")
    options.add_base_at(parser)
    options.add_z(parser)
    options.add_arrangement(parser)
    options.add_settings(parser, EvaluationConfig)
    options.add_settings(parser, TranslationConfig, leave_out=OF_EVALUATION, group="translation")
    add_measurement(parser)
    parser.set_defaults(command=run)


def add_measurement(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options that say what is measured."""
    group = parser.add_argument_group("measurement, as for `phenldiff measure`")
    group.add_argument(
        "--profile",
        required=required,
        metavar="PROFILE",
        help=f"what to measure: {', '.join(PROFILE_NAMES)}",
    )
    for name in _CHANNELS:
        group.add_argument(
            option_of(name),
            metavar="CHANNEL",
            help=argparse.SUPPRESS
            if name == "cytoplasm_channel"
            else f"the {name}".replace("_", " "),
            default=argparse.SUPPRESS,
        )
    add_exclude_border(group)
    group.add_argument(
        "--settings", type=Path, metavar="FILE", help="TABLE_settings.json of a measurement"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    translation = {
        **options.given(args, TranslationConfig),
        "source": args.source,
        "target": args.target,
    }
    values = options.given(args, EvaluationConfig)
    if values.get("keep") == "auto":
        del values["keep"]
    opened, *controls = (
        [Run.open(path, base_at=args.base_at) for path in paths]
        for paths in ([args.run], args.shuffled, args.half_split)
    )
    check_output_folder(args.out)
    source, target = direction(opened[0], args.source, args.target)
    return evaluate(
        opened[0],
        options.found(args, args.data, (source, target)),
        args.out,
        args.profile,
        validated(EvaluationConfig, values, where="evaluate"),
        settings=settings_of(args),
        translation=translation,
        shuffled=controls[0],
        half_split=controls[1],
        translated=args.translated,
        device=args.device,
        z=args.z,
        workers=args.workers,
        scheduler=args.scheduler,
    )


def evaluate(
    run: Run,
    data: Path | Dataset,
    out: Path,
    *what: Any,
    on_event: OnEvent = ignore,
    **how: Any,
) -> int:
    """Judge a run, show how it goes and what the verdict is, and return the exit code.

    Takes what `napari_phenldiff.jobs.evaluation.evaluate` takes.
    """
    told: set[str] = set()
    with Reporter() as report:

        def tell(event: Event) -> None:
            if isinstance(event, Warned):
                told.add(event.message)
            if not isinstance(event, Finished):  # the verdict is what is waited for
                report(event)
            on_event(event)

        result = evaluation.evaluate(run, data, out, *what, on_event=tell, **how)
    say(summary(result.metrics.verdict))
    for note in result.metrics.notes:
        if note not in told:
            say(f"note: {note}")
    say(f"Open {(out / 'report.html').resolve()} in a browser.")
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the profile's settings that the options of `add_measurement` ask for."""
    from napari_phenldiff.measurement.profiles import find_profile
    from napari_phenldiff.measurement.tables.measurement import read_settings

    find_profile(args.profile)
    if args.settings is None:
        return settings_from(args.profile, vars(args))
    if {*_CHANNELS, "exclude_border"} & set(vars(args)):
        raise InputError("--settings says all there is to say; leave out other settings.")
    profile, settings, _ = read_settings(args.settings)
    if profile != args.profile:
        raise InputError(f"{args.settings} is for the profile {profile}, not {args.profile}.")
    return settings
