"""``phenldiff train``: fine-tune a base model on the conditions of an experiment."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.diffusion.processes import are_several
from napari_phenldiff.errors import InputError, LostProcess
from napari_phenldiff.images.naming import composed
from napari_phenldiff.jobs import training
from napari_phenldiff.jobs.interruption import Ended, Interruption
from napari_phenldiff.jobs.taking_part import (
    LAUNCHER,
    SCRATCH,
    end_with_the_launcher,
    take_part,
    takes_part,
)
from napari_phenldiff.jobs.training import new_run, train_new
from napari_phenldiff.runs.baseline_config import CONFIGS, AnyTrainingConfig, PhenDiffConfig
from napari_phenldiff.runs.config import TrainingConfig, validated
from napari_phenldiff.runs.folder import Run, check_output_folder
from napari_phenldiff.runs.scratch import scratch
from napari_phenldiff.settings import option_of, settings_in

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.dataset import Dataset

_SIGNALLED = 128
"""Exit codes above this are of processes that a signal has ended."""

_EPILOG = """\
DATA is a folder with one sub-folder of TIFFs per condition:

  DATA/untreated/a.tif  DATA/untreated/b.tif ...
  DATA/treated/c.tif    DATA/treated/d.tif ...

A condition may hold plates as folders; channels, planes and fields may be files of their own, as
microscopes name them. DATA may also be a table that lists the images (CSV or Excel, such as
CellProfiler's LoadData), or a plate of OME-Zarr with --layout. What was found is printed.

All images need the same channels. 50 to 200 images per condition are a good number. RUN gets all
that `phenldiff translate` needs; the images stay where they are. Guidance and freedom of later
translations are chosen at the end of the training, on images that were not trained on.

examples:
  phenldiff train DATA --source untreated --target treated --out run
  phenldiff train DATA --source dmso --target drug --images-per-condition 100 --steps 1000 --out run
  phenldiff train --resume run
  phenldiff train --resume run --steps 3000
  phenldiff train DATA --source untreated --target treated --out run --processes 4
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
        "data",
        nargs="?",
        type=Path,
        metavar="DATA",
        help="folder with a sub-folder per condition, or a table",
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
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with a run, with the options it was started with; more --steps train it longer",
    )
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes of this machine that share each batch, each with a GPU of its own where "
        "there are some (default: 1)",
    )
    options.add_base_at(parser)
    options.add_z(parser)
    options.add_arrangement(parser)
    parser.add_argument(
        "--method",
        choices=tuple(CONFIGS),
        default=argparse.SUPPRESS,
        help="method to train: phenldiff (default), or a baseline, which has other defaults",
    )
    options.add_settings(parser, PhenDiffConfig, only=("preset",))
    options.add_settings(
        parser, TrainingConfig, leave_out=("conditions", "control", "method", "prompts")
    )
    prompts = settings_in(TrainingConfig)["prompts"]
    options.add_setting(parser, prompts, action="append", metavar="NAME=TEXT")
    group = parser.add_argument_group(
        "controls, for `phenldiff evaluate`",
        "Train a run whose conditions do not differ, on the images of the run that is evaluated.",
    )
    options.add_setting(group, settings_in(TrainingConfig)["control"])
    group.add_argument(
        "--wells",
        metavar="PATTERN",
        help="regular expression that finds the well in names; images of a well stay together",
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.processes != 1 and not are_several():
        return _launch(args)
    if LAUNCHER not in os.environ:
        return _carry_out(args)
    end_with_the_launcher()
    try:
        return _carry_out(args)
    except LostProcess:
        return 1  # who has started the processes tells which one was ended
    except Ended as ended:
        return ended.exit_code  # and what has ended all of them
    finally:
        # It is ending, and need not be asked to.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _launch(args: argparse.Namespace) -> int:
    """Start the same command several times, for processes that share each batch."""
    from napari_phenldiff.diffusion.launching import launch

    if args.processes < 1:
        raise InputError(f"{args.processes} processes train nothing: give at least 1.")
    folder = args.resume or args.out or Path("RUN")
    os.environ[LAUNCHER] = str(os.getpid())
    resume = f"phenldiff train --resume {folder} --processes {args.processes}"
    with scratch("processes") as aside:
        os.environ[SCRATCH] = str(aside)
        code = launch(args.processes, args.given, resume=resume, scratch=aside)
    if code > _SIGNALLED:
        raise Ended(code - _SIGNALLED)  # which none of the processes tells
    return code


def _take_part(args: argparse.Namespace) -> int:
    """Do this process's share; the first one tells what happens, and what is wrong."""
    path = args.resume or args.out
    if path is None:
        return 2
    device = getattr(args, "device", "auto")
    with Interruption("") as interruption:
        try:
            if args.resume is not None:
                steps = vars(args).get("steps")
                training.resume(path, steps=steps, should_stop=lambda: bool(interruption))
            else:
                take_part(path, device=device, should_stop=lambda: bool(interruption))
        except InputError:
            return 2
    return interruption.exit_code


def _carry_out(args: argparse.Namespace) -> int:
    if takes_part():
        return _take_part(args)
    if args.resume is not None:
        _refuse_options_of_new_run(args)
        return resume(args.resume, steps=vars(args).get("steps"), base_at=args.base_at)
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
    conditions = tuple(map(composed, (args.source, args.target, *args.condition)))
    values = {**_given(args), "conditions": conditions}
    if "prompts" in values:
        values["prompts"] = _prompts(values["prompts"])
    config = _config(values)
    if args.wells is not None and config.control is None:
        raise InputError("--wells says what stays together in a --control; name one, or none.")
    check_output_folder(args.out)
    images = options.found(args, args.data, config.conditions)
    return train(images, config, args.out, z=args.z, wells=args.wells)


def train(
    images: Path | Dataset,
    config: AnyTrainingConfig,
    out: Path,
    *,
    z: int | Projection | None = None,
    wells: str | None = None,
) -> int:
    """Make a run of images, train it, and return the exit code."""
    with Reporter() as report:
        new = new_run(images, config, out, z=z, wells=wells, on_event=report)
    return show_training(partial(train_new, new))


def resume(path: Path, *, steps: int | None = None, base_at: Path | None = None) -> int:
    """Go on with a run from its last checkpoint, or from the start; return the exit code."""
    run = Run.open(path, base_at=base_at)
    if run.state == "finished" and steps is None:
        training.resume(run)
        say(f"{path} is finished; there is nothing to resume. --steps trains it longer.")
        return 0
    return show_training(partial(training.resume, run, steps=steps))


def show_training(work: Callable[..., Run]) -> int:
    """Train, let Ctrl-C end it, show how it goes, and return the exit code.

    Parameters
    ----------
    work : callable
        Trains; called with ``should_stop`` and ``on_event``.
    """
    message = "Ending after this step ... (once more ends at once)"
    with Interruption(message) as interruption, Reporter() as report:
        run = work(should_stop=lambda: bool(interruption), on_event=report)
    if run.state == "stopped":
        say(f"Go on with: phenldiff train --resume {run.path}")
        return interruption.exit_code
    say(f"The run is in {run.path}.")
    return 0


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
    foreign = [option_of(key) for key in values if key not in model.model_fields]
    if foreign:
        raise InputError(f"--method {method} has no {', '.join(foreign)}; leave it out.")
    if "steps" in values and values.get("minutes") is not None:
        raise InputError("--steps and --minutes both say how long to train; give one of them.")
    if "preset" in model.model_fields and "preset" not in values:
        from napari_phenldiff.baselines.loading import preset_for

        values = {**values, "preset": preset_for(values.get("device", "auto"))}
    config: AnyTrainingConfig = validated(model, values, where="train")
    return config


def _prompts(given: list[str]) -> dict[str, str]:
    """Return the prompts by condition; ``NAME=TEXT`` each."""
    prompts = {}
    for one in given:
        name, found, text = one.partition("=")
        if not (name and found and text.strip()):
            raise InputError(
                f"--prompt says {one[:80]!r}, where NAME=TEXT is needed: a condition and what "
                "describes its images."
            )
        prompts[name] = text
    return prompts


def _refuse_options_of_new_run(args: argparse.Namespace) -> None:
    given = [option_of(key) for key in _given(args) if key != "steps"]
    given += [f"--{key}" for key in ("source", "target", "condition", "out") if getattr(args, key)]
    given += ["--z"] if args.z is not None else []
    given += ["--wells"] if args.wells is not None else []
    given += [option_of(name) for name in options.arrangement(args).model_fields_set]
    given += ["DATA"] if args.data is not None else []
    if given:
        raise InputError(
            f"A run is resumed with the options it was started with; leave out {', '.join(given)}."
        )
