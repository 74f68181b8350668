"""``phenldiff train``: fine-tune a base model on the conditions of an experiment."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.interruption import Interruption
from napari_phenldiff.runs.baseline_config import CONFIGS, AnyTrainingConfig, PhenDiffConfig
from napari_phenldiff.runs.config import TrainingConfig, validated
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading, Step, Warned
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.settings import settings_in

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.runs.folder import Run
    from napari_phenldiff.runs.preparing import Prepared

    _Images = tuple[Experiment, Experiment | None]

_EPILOG = """\
DATA is a folder with one sub-folder of TIFFs per condition:

  DATA/untreated/a.tif  DATA/untreated/b.tif ...
  DATA/treated/c.tif    DATA/treated/d.tif ...

All images need the same channels. 50 to 200 images per condition are a good number. RUN gets all
that `phenldiff translate` needs; the images stay where they are.

examples:
  phenldiff train DATA --source untreated --target treated --out run
  phenldiff train DATA --source dmso --target drug --images-per-condition 100 --steps 1000 --out run
  phenldiff train --resume run
  phenldiff train DATA --source untreated --target treated --control shuffled --out shuffled

Ctrl-C ends the training after the current step and saves it; `--resume` goes on from there.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "train",
        help="fine-tune a base model on two conditions",
        description="Fine-tune a base model on the images of two or more conditions.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "data", nargs="?", type=Path, metavar="DATA", help="folder with a sub-folder per condition"
    )
    parser.add_argument("--source", metavar="NAME", help="condition to translate from")
    parser.add_argument("--target", metavar="NAME", help="condition to translate to")
    parser.add_argument(
        "--condition",
        action="append",
        default=[],
        metavar="NAME",
        help="a further condition to learn; may be given several times",
    )
    parser.add_argument("--out", type=Path, metavar="RUN", help="new folder for the run")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run, with the options it has"
    )
    options.add_base_at(parser)
    options.add_z(parser)
    parser.add_argument(
        "--method",
        choices=tuple(CONFIGS),
        default=argparse.SUPPRESS,
        help="method to train: phenldiff (default), or a baseline, which has other defaults",
    )
    options.add_settings(parser, PhenDiffConfig, only=("preset",))
    options.add_settings(parser, TrainingConfig, leave_out=("conditions", "control", "method"))
    group = parser.add_argument_group(
        "controls, for `phenldiff evaluate`",
        "Train where conditions do not differ, on the images of the run that is judged.",
    )
    options.add_setting(group, settings_in(TrainingConfig)["control"])
    group.add_argument(
        "--wells",
        metavar="PATTERN",
        help="regular expression that finds the well in names: images of a well stay together",
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.resume is not None:
        _refuse_options_of_new_run(args)
        return resume(args.resume, base_at=args.base_at)
    if args.base_at is not None:
        raise InputError(
            "--base-at says where the base of a run lies now that is resumed; name the base of a "
            "new run with --base."
        )
    missing = [f"--{name}" for name in ("source", "target", "out") if not getattr(args, name)]
    if args.data is None:
        missing.insert(0, "DATA")
    if missing:
        raise InputError(
            f"train needs {', '.join(missing)}; see `phenldiff train --help`, or use "
            "`phenldiff train --resume RUN` to go on with a run."
        )
    conditions = (args.source, args.target, *args.condition)
    values = {**_given(args), "conditions": conditions}
    base = values.get("base", "bundled")
    if base != "bundled" and Path(base).is_dir():
        # The run may be resumed, and its adapter used, from another working folder.
        values["base"] = str(Path(base).resolve())
    config = _config(values)
    if args.wells is not None and config.control is None:
        raise InputError("--wells says what stays together in a --control; name one, or none.")
    return train(args.data, config, args.out, z=args.z, wells=args.wells)


def train(
    data: Path,
    config: AnyTrainingConfig,
    out: Path,
    *,
    z: int | Projection | None = None,
    wells: str | None = None,
) -> int:
    """Make a run from the folder `data` and train it; return the exit code.

    Everything that can be refused is refused before anything is written.
    """
    from napari_phenldiff.images.experiment import Experiment
    from napari_phenldiff.runs.folder import check_output_folder
    from napari_phenldiff.runs.preparing import prepare

    check_output_folder(out)
    say(f"Reading {data} ...")
    experiment = Experiment.from_folder(data, conditions=config.conditions, z=z)
    config = _with_references(config, experiment.channel_names)
    prepared = prepare(experiment.select(config.conditions), config)
    if config.control is not None:
        prepared, config = _as_control(prepared, config, wells)
    run = prepared.make_run(out, config)
    images = (prepared.training, prepared.validation)
    return carry_out(run, lambda: images, warnings=prepared.warnings, is_new=True)


def _with_references(config: AnyTrainingConfig, names: Sequence[str]) -> AnyTrainingConfig:
    """Return the configuration with the reference channels as the images call them."""
    from napari_phenldiff.images.channel_names import named_channels

    listed = getattr(config, "reference_channels", "auto")
    if isinstance(listed, str):
        return config
    return config.model_copy(update={"reference_channels": named_channels(listed, names)})


def _as_control(
    prepared: Prepared, config: AnyTrainingConfig, wells: str | None
) -> tuple[Prepared, AnyTrainingConfig]:
    """Take the conditions from the images of a run; scaling and images stay those of that run."""
    from napari_phenldiff.images.controls import control_experiment

    assert config.control is not None
    training = control_experiment(
        config.control, prepared.training, config.conditions[0], seed=config.seed, wells=wells
    )
    training.check()
    config = config.model_copy(update={"conditions": training.names})
    say(f"Control: {config.control}, {' and '.join(config.conditions)} do not differ.")
    return replace(prepared, training=training, validation=None), config


def resume(path: Path, *, base_at: Path | None = None) -> int:
    """Go on with a run from its last checkpoint, or from the start; return the exit code."""
    from napari_phenldiff.runs.folder import Run

    run = Run.open(path, base_at=base_at)
    if run.state == "finished":
        say(f"{path} is finished; there is nothing to resume.")
        return 0
    return carry_out(run, lambda: (run.load_experiment(), run.load_validation()))


def carry_out(
    run: Run,
    read_images: Callable[[], _Images],
    *,
    warnings: Sequence[str] = (),
    is_new: bool = False,
) -> int:
    """Train a run, write down what happens, and return the exit code.

    Whatever goes wrong is written into the run as its last event, since nobody may be looking at
    this process. A new run that is refused before its first step is removed again.

    Parameters
    ----------
    run : Run
        The run, which nobody else may be training.
    read_images : callable
        Returns the images to train on, and those to watch if there are any.
    warnings : sequence of str
        What the user should know.
    is_new : bool
        Whether this command made the run folder.
    """
    refused: InputError | None = None
    message = "Ending after this step ... (once more ends at once)"
    with run.lock(), Interruption(message) as interruption, Reporter() as report:
        run.clear_stop(before=_process_start())
        last: Event | None = None
        try:
            for text in warnings:
                _note(run, report, Warned(text))
            for event in _training(run, read_images, interruption, reading=not is_new):
                last = event if isinstance(event, (Step, Finished, Failed)) else last
                _note(run, report, event)
        except Exception as error:
            if is_new and last is None and isinstance(error, InputError):
                refused = error
            else:
                with suppress(OSError):
                    run.append(Failed(explain(error)))
                raise
        finally:
            run.clear_stop()
    if refused is not None:
        shutil.rmtree(run.path, ignore_errors=True)
        raise refused
    if isinstance(last, Failed):
        raise RuntimeError(last.message)
    if isinstance(last, Finished) and last.stopped:
        say(f"Go on with: phenldiff train --resume {run.path}")
        return interruption.exit_code
    say(f"The run is in {run.path}.")
    return 0


def _training(
    run: Run, read_images: Callable[[], _Images], interruption: Interruption, *, reading: bool
) -> Iterator[Event]:
    if reading:
        yield Loading("Reading the images")
    experiment, validation = read_images()
    yield Loading("Loading the base model" if run.config.base != "random" else "Loading torch")
    from napari_phenldiff.baselines.loading import train as train_method

    yield from train_method(
        experiment,
        run,
        should_stop=lambda: bool(interruption) or run.stop_requested,
        resume=run.latest_checkpoint() is not None,
        validation=validation,
    )


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Return what was given on the command line of any method's configuration."""
    return {
        key: value
        for model in CONFIGS.values()
        for key, value in options.given(args, model).items()
    }


def _config(values: dict[str, Any]) -> AnyTrainingConfig:
    """Return the configuration of the method that is asked for, or tell what does not belong."""
    method = values.get("method", "phenldiff")
    model = CONFIGS[method]
    foreign = [options.flag(key) for key in values if key not in model.model_fields]
    if foreign:
        raise InputError(f"--method {method} has no {', '.join(foreign)}; leave it out.")
    if "steps" in values and values.get("minutes") is not None:
        raise InputError("--steps and --minutes both say how long to train; give one of them.")
    if "preset" in model.model_fields and "preset" not in values:
        from napari_phenldiff.baselines.loading import preset_for

        values = {**values, "preset": preset_for(values.get("device", "auto"))}
    config: AnyTrainingConfig = validated(model, values, where="train")
    return config


def _note(run: Run, report: Reporter, event: Event) -> None:
    run.append(event)
    report(event)


def _process_start() -> float:
    import psutil  # type: ignore[import-untyped]

    return float(psutil.Process().create_time())


def _refuse_options_of_new_run(args: argparse.Namespace) -> None:
    given = [options.flag(key) for key in _given(args)]
    given += [f"--{key}" for key in ("source", "target", "condition", "out") if getattr(args, key)]
    given += ["--z"] if args.z is not None else []
    given += ["--wells"] if args.wells is not None else []
    given += ["DATA"] if args.data is not None else []
    if given:
        raise InputError(
            f"A run is resumed with the options it was started with; leave out {', '.join(given)}."
        )
