"""``phenldiff evaluate``: whether what a run shows may be believed, with its reasons."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.measure import PROFILE_NAMES, settings_from
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.jobs.directions import direction
from napari_phenldiff.jobs.trained_channels import OTHER_NAMES, other_names
from napari_phenldiff.runs.config import TranslationConfig, validated
from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Loading,
    Progress,
    Warned,
    append_event,
)
from napari_phenldiff.runs.failures import explain

if TYPE_CHECKING:
    from napari_phenldiff.evaluation.cycle import Translating
    from napari_phenldiff.measurement.segmentation.thresholds import Settings
    from napari_phenldiff.runs.folder import Run

_EPILOG = """\
DATA is a folder with a sub-folder per condition, as for `phenldiff train`. Images that the run was
trained on are left out. Without a GPU an image of 128 pixels takes some 15 seconds.

DIR gets:
  DIR/report.html    the verdict in words, pictures, figures, tables, controls, provenance
  DIR/metrics.json   all numbers
  DIR/measured.csv   what was measured in each image, with its settings beside it

The verdict is `supported` only if every rule that could be tried speaks for it; the rules are in
the documentation (notes, verdict). Runs that were trained on conditions that do not differ make
it stronger: give them with --shuffled and --half-split.

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
        help="whether what a run shows may be believed",
        description="Judge a run on images that it was not trained on, and write a report.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of `phenldiff train`")
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with both conditions")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="new folder for the results"
    )
    parser.add_argument("--source", metavar="NAME", help="condition to start from (the run's)")
    parser.add_argument("--target", metavar="NAME", help="condition to go to (the run's)")
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
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda ... (default: auto)"
    )
    # What the viewer follows: each event as a line of JSON.
    parser.add_argument("--events", type=Path, help=argparse.SUPPRESS)
    options.add_base_at(parser)
    options.add_z(parser)
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
            options.flag(name),
            metavar="CHANNEL",
            help=argparse.SUPPRESS
            if name == "cytoplasm_channel"
            else f"the {name}".replace("_", " "),
            default=argparse.SUPPRESS,
        )
    group.add_argument(
        "--settings", type=Path, metavar="FILE", help="TABLE_settings.json of a measurement"
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    try:
        return _run(args)
    except Exception as error:
        _write(args.events, Failed(explain(error)))
        raise


def _write(path: Path | None, event: Event) -> None:
    """Write an event for whoever started this and follows it."""
    if path is not None:
        append_event(path, event)


def _run(args: argparse.Namespace) -> int:
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.runs.folder import Run, check_output_folder

    opened = Run.open(args.run, base_at=args.base_at)
    if not opened.has_adapter:
        raise InputError(f"{opened.path} has no result yet (its state is: {opened.state}).")
    check_output_folder(args.out)
    seed = {"seed": args.seed} if "seed" in args else {}
    source, target = direction(opened, args.source, args.target)
    values = {
        **options.given(args, TranslationConfig),
        **seed,
        "source": source,
        "target": target,
    }
    translation = validated(TranslationConfig, values, where="evaluate")
    values = options.given(args, EvaluationConfig)
    if values.get("keep") == "auto":
        del values["keep"]
    config = validated(EvaluationConfig, values, where="evaluate")
    settings = settings_of(args)
    controls = {
        kind: [(Run.open(path, base_at=args.base_at), path) for path in getattr(args, kind)]
        for kind in ("shuffled", "half_split")
    }
    experiment = Experiment.from_folder(
        args.data, conditions=(translation.source, translation.target), z=args.z
    )
    _check_channels(opened, experiment, args.data)
    warnings = [*experiment.left_out, *_about_images(opened, experiment)]
    return _evaluate(args, opened, experiment, translation, config, settings, controls, warnings)


def _evaluate(
    args: argparse.Namespace,
    run: Run,
    experiment: Any,
    translation: TranslationConfig,
    config: EvaluationConfig,
    settings: Settings,
    controls: dict[str, list[tuple[Run, Path]]],
    warnings: Sequence[str],
) -> int:
    from napari_phenldiff.baselines.loading import load_translator
    from napari_phenldiff.evaluation.document import write_document
    from napari_phenldiff.evaluation.evaluate import Model, evaluate
    from napari_phenldiff.images.files import make_folder_atomic

    with Reporter() as reporter:

        def report(event: Event) -> None:
            reporter(event)
            _write(args.events, event)

        def on_step(what: str, done: int, total: int) -> None:
            # Only images are counted; what is done once has no number.
            report(Progress(done, total, what) if total > 1 else Loading(what))

        for text in warnings:
            report(Warned(text))
        report(Loading("Loading the model"))

        def translators(kind: str) -> list[tuple[Translating, TranslationConfig]]:
            return [
                (
                    load_translator(one, device=args.device),
                    _with_conditions(translation, one, kind, path),
                )
                for one, path in controls[kind]
            ]

        result = evaluate(
            Model.of_run(run, load_translator(run, device=args.device)),
            experiment,
            translation,
            config,
            args.profile,
            settings,
            shuffled=translators("shuffled"),
            half_split=translators("half_split"),
            warnings=warnings,
            on_step=on_step,
        )
    with make_folder_atomic(args.out) as aside:
        result.measurement.write(aside / "measured.csv")
        result.metrics.write(aside / "metrics.json")
        write_document(aside / "report.html", result)
    _write(args.events, Finished(result.metrics.n_translated))
    verdict = result.metrics.verdict
    say(f"{verdict.answer[0].upper()}{verdict.answer[1:]}. {verdict.reason}")
    for note in result.metrics.notes:
        if note not in warnings:  # told at the beginning
            say(f"note: {note}")
    say(f"Open {(args.out / 'report.html').resolve()} in a browser.")
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the profile's settings that the options of `add_measurement` ask for."""
    from napari_phenldiff.measurement.profiles import find_profile
    from napari_phenldiff.measurement.tables.measurement import read_settings

    find_profile(args.profile)
    if args.settings is None:
        return settings_from(args.profile, vars(args))
    if set(_CHANNELS) & set(vars(args)):
        raise InputError("--settings says all there is to say; leave out the channels.")
    profile, settings, _ = read_settings(args.settings)
    if profile != args.profile:
        raise InputError(f"{args.settings} is for the profile {profile}, not {args.profile}.")
    return settings


def _check_channels(run: Run, experiment: Any, data: Path) -> None:
    """Refuse images with other channels than those trained on; say if they have other names."""
    from napari_phenldiff.images.checks import check_channels

    check_channels(experiment)
    image = experiment.images[0]
    if other_names(run, image.path or data / image.name, image):
        say(OTHER_NAMES.format(", ".join(run.channel_names)))


def _about_images(run: Run, experiment: Any) -> tuple[str, ...]:
    """Say what makes images unlike those of the run, or refuse them."""
    from napari_phenldiff.runs.suitability import Suitability

    suitability = Suitability(run)
    for condition in experiment.conditions:
        for image in condition.images:
            suitability.add(condition.name, image)
    suitability.check()
    return suitability.warnings()


def _with_conditions(
    translation: TranslationConfig, run: Run, kind: str, path: Path
) -> TranslationConfig:
    """Translate as the run that is judged, between the conditions that a control run knows."""
    if not run.has_adapter:
        raise InputError(f"The control run {path} has no result yet; train it first.")
    wanted = kind.replace("_", "-")
    if run.config.control != wanted:
        raise InputError(
            f"{path} was not trained with --control {wanted}, so it says nothing about false "
            f"conditions (its control is: {run.config.control or 'none'})."
        )
    names = translation.source, translation.target
    if kind != "shuffled" or not set(names) <= set(run.conditions):
        names = run.conditions[0], run.conditions[1]
    return translation.model_copy(update={"source": names[0], "target": names[1]})
