"""``phenldiff benchmark``: the paper's table 1 on any two conditions."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.evaluate import OF_EVALUATION, add_measurement, settings_of
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import why_no_folder
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.jobs.interruption import Interruption
from napari_phenldiff.runs.config import TranslationConfig, validated
from napari_phenldiff.runs.events import Loading, Progress

if TYPE_CHECKING:
    from napari_phenldiff.evaluation.benchmark.config import BenchmarkConfig
    from napari_phenldiff.evaluation.benchmark.folder import Trained
    from napari_phenldiff.evaluation.benchmark.judging import MethodMetrics
    from napari_phenldiff.evaluation.benchmark.split import Data
    from napari_phenldiff.runs.folder import Run
    from napari_phenldiff.runs.lock import Held

_METHODS = ("phenldiff", "phendiff", "cyclegan", "copy")

_EPILOG = """\
DATA is a folder with a sub-folder per condition, as for `phenldiff train`. All methods train on the
same images for the same time, translate the same test images, and are measured alike. phenldiff
sets a tenth of its training images aside to choose guidance and freedom on.

DIR gets:
  DIR/table.md, DIR/table.csv   a row per method, one of the source image itself (copy), and one of
                                other real images of the target
  DIR/pictures.png              the same test images by every method
  DIR/METHOD/                   its run, its images, all its numbers (metrics.json)

What is complete in DIR is not done again, and a training that was killed goes on from its last
checkpoint. Two processes may each do a method (--methods cyclegan); the same command with
--methods all joins the table. Without other options, those recorded in DIR are used.

examples:
  phenldiff benchmark DATA --source untreated --target treated --profile translocation \\
      --minutes 20 --wells '^[A-H][0-9]+' --out DIR
  phenldiff benchmark DATA --methods cyclegan --out DIR
"""

_NOT_OF_TRANSLATION = (*OF_EVALUATION, "strength")
"""Settings of a translation that a benchmark does not choose: each image goes all of the way."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    from napari_phenldiff.evaluation.benchmark.config import BenchmarkConfig

    parser = commands.add_parser(
        "benchmark",
        help="train and compare CycleGAN, PhenDiff and this method",
        description="Train and judge several methods on the same images, and write a table.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with both conditions")
    parser.add_argument(
        "--methods",
        default="all",
        metavar="NAMES",
        help=f"separated by commas: {', '.join(_METHODS)}, or all (default); copy is always done",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="folder of results")
    options.add_settings(parser, BenchmarkConfig, leave_out=("translation", "profile", "settings"))
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda ... (default: auto)"
    )
    options.add_z(parser)
    options.add_arrangement(parser)
    options.add_settings(
        parser,
        TranslationConfig,
        leave_out=_NOT_OF_TRANSLATION,
        group="translation by phenldiff",
    )
    add_measurement(parser, required=False)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.evaluation.benchmark.config import BenchmarkRecord, keep_record
    from napari_phenldiff.evaluation.benchmark.judging import kept_channels
    from napari_phenldiff.evaluation.benchmark.split import prepare_data
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.measurement.measure import measure
    from napari_phenldiff.measurement.profiles import find_profile

    wanted = _wanted(args.methods)
    why = why_no_folder(args.out)
    if why is not None:
        raise InputError(why)
    config = _config(args)
    say(f"Reading {args.data} ...")
    experiment = Experiment.open(
        args.data,
        conditions=(config.source, config.target),
        z=args.z,
        arrangement=options.arrangement(args),
    )
    say(experiment.summary(left_out=False))
    data = prepare_data(
        experiment,
        images_per_condition=config.images_per_condition,
        test_images=config.test_images,
        wells=config.wells,
        crop=config.crop,
        seed=config.seed,
    )
    # What does not fit is told before anything is trained.
    kept_channels(config, experiment.channel_names)
    settings = find_profile(config.profile).settings_type.model_validate(config.settings)
    measure(config.profile, {"source": data.test.sources[:1]}, settings)
    for method in wanted:
        config.translating(method)
    record = BenchmarkRecord(
        config=config,
        data=args.data.resolve().name,
        digest=experiment.digest(),
        training={c.name: tuple(i.name for i in c.images) for c in data.training.conditions},
        test={
            config.source: tuple(image.name for image in data.test.real_source),
            config.target: tuple(image.name for image in data.test.real_target),
        },
    )
    keep_record(args.out, record)
    for method in wanted:
        code = _do(method, args.out.resolve() / method, config, data, args.device)
        if code is not None:
            return code
    return _tables(args.out, record, data)


def _wanted(text: str) -> tuple[str, ...]:
    given = options.names(text)
    names = set(_METHODS) if "all" in given else {*given, "copy"}
    unknown = names - set(_METHODS)
    if unknown:
        raise InputError(
            f"There is no method {', '.join(sorted(unknown))}: choose from {', '.join(_METHODS)}."
        )
    return tuple(name for name in _METHODS if name in names)


def _config(args: argparse.Namespace) -> BenchmarkConfig:
    """Join what is given with what was asked before in the same folder."""
    from napari_phenldiff.evaluation.benchmark.config import BenchmarkConfig, read_record

    before = read_record(args.out)
    values = {} if before is None else before.config.model_dump()
    given = options.given(args, BenchmarkConfig)
    given = {name: x for name, x in given.items() if name not in ("settings", "profile")}
    base = given.get("base", "bundled")
    if base != "bundled" and Path(base).is_dir():
        given["base"] = str(Path(base).resolve())
    if "steps" in given and "minutes" in given:
        raise InputError("--steps and --minutes both say how long to train; give one of them.")
    if "steps" in given:
        values["minutes"] = None
    elif "minutes" in given:
        values["steps"] = None
    elif not values:
        values["minutes"] = 20.0
    translation = options.given(args, TranslationConfig)
    translation = {name: x for name, x in translation.items() if name not in _NOT_OF_TRANSLATION}
    if translation or not values.get("translation"):
        values["translation"] = translation
    if args.profile is not None:
        settings = settings_of(args).model_dump(mode="json")
        values |= {"profile": args.profile, "settings": settings}
    values |= given
    missing = [f"--{x}" for x in ("source", "target", "profile") if not values.get(x)]
    if missing:
        raise InputError(
            f"A new benchmark needs {', '.join(missing)}; see `phenldiff benchmark --help`."
        )
    if "preset" not in values:
        from napari_phenldiff.baselines.loading import preset_for

        values["preset"] = preset_for(args.device)
    return validated(BenchmarkConfig, values, where="benchmark")


def _do(method: str, folder: Path, config: BenchmarkConfig, data: Data, device: str) -> int | None:
    """Train, translate and judge one method as far as that is not done.

    Returns
    -------
    int or None
        The exit code if the command shall end here, since somebody asked it to.
    """
    from napari_phenldiff.evaluation.benchmark.judging import read_method
    from napari_phenldiff.runs import lock

    if read_method(folder) is not None:
        say(f"{method} is complete.")
        return None
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / "benchmark.lock"
    other = lock.holder(place)
    if other is not None and other.alive:
        say(f"Another process does {method} now; it is left to that one.")
        return None
    say(f"--- {method} ---")
    with lock.hold(place, what=f"folder {folder}") as held:
        run = None
        if method != "copy":
            run, code = _trained(method, folder / "run", config, data, device)
            if run.state != "finished":
                say("The same command goes on.")
                return code
        return _judged(method, folder, config, data, run, device, held)


def _trained(
    method: str, path: Path, config: BenchmarkConfig, data: Data, device: str
) -> tuple[Run, int]:
    from napari_phenldiff.cli.train import show_training
    from napari_phenldiff.jobs.training import train_run
    from napari_phenldiff.runs.baseline_config import CONFIGS
    from napari_phenldiff.runs.folder import Run, is_run
    from napari_phenldiff.runs.preparing import prepare

    is_new = not is_run(path)
    asked = validated(CONFIGS[method], config.training(method, device), where="benchmark")
    if not is_new:
        run = Run.open(path)
        if run.state == "finished":
            return run, 0
        say(f"Going on with {path}.")
        asked = run.config
    # what a method sets aside to choose its settings on is taken from the same training images
    chosen = prepare(data.training, asked)
    if is_new:
        run = replace(chosen, scaling=data.scaling).make_run(path, asked)
    code = show_training(
        partial(train_run, run, lambda: (chosen.training, chosen.validation), is_new=is_new)
    )
    return Run.open(path), code


def _judged(
    method: str,
    folder: Path,
    config: BenchmarkConfig,
    data: Data,
    run: Run | None,
    device: str,
    held: Held,
) -> int | None:
    from napari_phenldiff.evaluation.benchmark.folder import (
        how_trained,
        read_made,
        translate_into,
    )
    from napari_phenldiff.evaluation.benchmark.judging import judge_method
    from napari_phenldiff.runs.translation_settings import settings_of_run

    translation = config.translating(method)
    message = "Ending after this pass ... (once more ends at once)"
    with Reporter() as report, Interruption(message) as interruption:
        report(Loading("Loading the model"))
        translator = _translator(run, config, device)
        translator.should_stop = lambda: bool(interruption)
        try:
            translate_into(
                folder,
                translator,
                data.test.sources,
                translation,
                lambda what, done, total: report(Progress(done, total, what)),
            )
        except Exception as error:
            if type(error).__name__ != "Cancelled":
                raise
            say("Stopped; the same command goes on.")
            return interruption.exit_code
        report(Loading("Measuring"))
        trained: Trained | None = None if run is None else how_trained(run)
        metrics, measurement = judge_method(
            method,
            config,
            data,
            read_made(folder, data.test.sources),
            trained=trained,
            reference_channels=getattr(translator, "reference_channels", ()),
            provenance={}
            if run is None
            else {
                "run_digest": run.digest,
                "training": run.config.model_dump(mode="json"),
                "trained_with": run.versions,
                "translation": settings_of_run(run, translation).model_dump(mode="json"),
            },
        )
    held.check()  # writers of files would make a folder again that was removed
    measurement.write(folder / "measured.csv")
    metrics.write(folder)
    return interruption.exit_code or None


def _translator(run: Run | None, config: BenchmarkConfig, device: str) -> Any:
    if run is None:
        from napari_phenldiff.baselines.copying import CopyTranslator

        return CopyTranslator((config.source, config.target))
    from napari_phenldiff.baselines.loading import load_translator

    return load_translator(run, device=device)


def _tables(out: Path, record: Any, data: Data) -> int:
    """Write the table and the pictures of the methods that are done."""
    from napari_phenldiff.evaluation.benchmark.folder import read_made
    from napari_phenldiff.evaluation.benchmark.judging import read_method
    from napari_phenldiff.evaluation.benchmark.pictures import pictures
    from napari_phenldiff.evaluation.benchmark.table import markdown, write_tables

    found: dict[str, MethodMetrics] = {}
    for method in _METHODS:
        metrics = read_method(out / method)
        if metrics is not None:
            found[method] = metrics
    if not found:
        say("No method is done yet.")
        return 0
    write_tables(out, record, found)
    made = {method: read_made(out / method, data.test.sources) for method in found}
    figure = pictures(
        data.test.sources,
        made,
        data.test.real_target,
        source=record.config.source,
        target=record.config.target,
    )
    with write_atomic(out / "pictures.png") as aside:
        figure.savefig(aside, dpi=130)
    say(markdown(record, found))
    say(f"The table is in {out.resolve() / 'table.md'}.")
    return 0
