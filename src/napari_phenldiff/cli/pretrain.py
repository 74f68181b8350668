"""``phenldiff pretrain``: make a base model from unlabelled images."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig, shape_of
from napari_phenldiff.diffusion.processes import Processes, check_batch_size, is_main_process
from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.interruption import Interruption
from napari_phenldiff.runs.config import validated
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading, Progress, Saved, Warned
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.settings import settings_in

if TYPE_CHECKING:
    from napari_phenldiff.diffusion.pretraining_folder import PretrainingFolder

_EPILOG = """\
Each folder is one collection: TIFFs in it and in its sub-folders, whose intensities may be compared
and get one range per channel. Nothing has to be labelled. BASE gets a base model that
`phenldiff train --base BASE` takes, and in BASE/training what resuming needs.

examples:
  phenldiff pretrain archive/plates archive/confocal --out base
  phenldiff pretrain archive --from bundled --steps 2000 --learning-rate 1e-4 --out base
  phenldiff pretrain grey_images --compose --simulated 2000 --out base
  phenldiff pretrain --resume base
  accelerate launch --multi_gpu -m napari_phenldiff pretrain archive --batch-size 64 --out base

Ctrl-C ends the training after the current step and saves it; `--resume`, or the same command once
more, goes on from there.
"""


_SHAPE = ("tile", "widths", "heads", "layers", "coefficients", "token_width", "tokens")
"""Settings of the networks."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "pretrain",
        help="make a base model from unlabelled images",
        description="Make a base model from folders of unlabelled images, such as an archive.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="*", type=Path, metavar="IMAGES", help="folders of TIFFs")
    parser.add_argument("--out", type=Path, metavar="BASE", help="new folder for the base")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="BASE",
        help="go on with the training of a base, with the options it was started with",
    )
    options.add_z(parser)
    options.add_settings(parser, PretrainingConfig, leave_out=_SHAPE)
    options.add_settings(parser, PretrainingConfig, only=_SHAPE, group="networks")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if not is_main_process():
        return _take_part(args)
    if args.resume is not None:
        _refuse_options_of_new_base(args)
        folder = _open(args.resume)
        check_batch_size(folder.config.batch_size)
    else:
        folder = _begin(args)
    if folder.finished:
        say(f"The base in {folder.path} is finished; there is nothing to go on with.")
        return 0
    return carry_out(folder)


def carry_out(folder: PretrainingFolder) -> int:
    """Train a base, write down what happens, and return the exit code."""
    last: Event | None = None
    message = "Ending after this step ... (once more ends at once)"
    with folder.lock() as held, Interruption(message) as interruption, Reporter() as report:
        try:
            for event in _training(folder, interruption, None):
                last = event
                if isinstance(event, Saved | Finished):
                    held.check()  # a checkpoint makes a folder again that was removed
                folder.append(event)
                report(event)
        except Exception as error:
            with suppress(OSError):
                folder.append(Failed(explain(error)))
            raise
    if isinstance(last, Finished) and last.stopped:
        say(f"Go on with: phenldiff pretrain --resume {folder.path}")
        return interruption.exit_code
    say(f"The base is in {folder.path}: use it with `phenldiff train --base {folder.path}`.")
    say(f"Fill in the gaps of {folder.path / 'README.md'} before you pass it on.")
    return 0


def _begin(args: argparse.Namespace) -> PretrainingFolder:
    """Make the folder, or find that the same was asked for before."""
    from napari_phenldiff.diffusion.pretraining_data import new_pretraining
    from napari_phenldiff.diffusion.pretraining_folder import PretrainingFolder

    if args.out is None or not args.images:
        raise InputError(
            "pretrain needs IMAGES and --out; see `phenldiff pretrain --help`, or use "
            "`phenldiff pretrain --resume BASE` to go on with a base."
        )
    values = options.given(args, PretrainingConfig)
    if values.get("start", "random") not in ("random", "bundled"):
        values["start"] = str(Path(values["start"]).resolve())
    config = validated(PretrainingConfig, values, where="pretrain")
    check_batch_size(config.batch_size)
    asked = _asked(args, config, values)
    folder = PretrainingFolder(args.out)
    if folder.exists:
        folder.check_asked(asked)
        return folder
    with Reporter() as report:
        folder, notes = new_pretraining(
            args.out,
            args.images,
            values,
            z=args.z,
            asked=asked,
            report=lambda done, total, name: report(Progress(done, total, name)),
        )
    for note in notes:
        folder.append(Warned(note))
        say(f"warning: {note}")
    return folder


def _asked(
    args: argparse.Namespace, config: PretrainingConfig, values: dict[str, Any]
) -> dict[str, Any]:
    """Tell what the command asks for, so that the same command is known again."""
    open_questions = {"image_channels"} if config.start == "random" else shape_of(config.start)
    asked = config.model_dump(mode="json")
    asked |= {key: None for key in open_questions if key not in values}
    return {**asked, "images": [str(path.resolve()) for path in args.images], "z": args.z}


def _open(path: Path) -> PretrainingFolder:
    from napari_phenldiff.diffusion.pretraining_folder import PretrainingFolder

    folder = PretrainingFolder(path)
    if not folder.exists:
        raise InputError(
            f"{path} holds no pre-training that could be resumed (it has no training/config.json); "
            "give the folder that `phenldiff pretrain --out` wrote."
        )
    return folder


def _training(
    folder: PretrainingFolder, interruption: Interruption, processes: Processes | None
) -> Iterator[Event]:
    yield Loading("Preparing the networks")
    from napari_phenldiff.diffusion.pretrain import pretrain

    config = folder.config
    yield from pretrain(
        folder.pool,
        config,
        folder.path,
        should_stop=lambda: bool(interruption),
        processes=processes,
    )


def _take_part(args: argparse.Namespace) -> int:
    """Train as one of several processes, of which the first sees to everything else.

    It joins once it has read the images and written the pool; if something is refused it ends, and
    whoever started the processes ends this one too.
    """
    from napari_phenldiff.diffusion.pretraining_folder import PretrainingFolder

    out = args.resume or args.out
    if out is None:
        return 2
    folder = PretrainingFolder(out)
    if folder.exists and folder.finished:
        return 0
    with Interruption("") as interruption:
        try:
            device = folder.config.device if folder.exists else getattr(args, "device", "auto")
            processes = Processes.start(device)
            for _ in _training(folder, interruption, processes):
                pass
        except InputError:
            return 2  # the first process tells why
    return interruption.exit_code


def _refuse_options_of_new_base(args: argparse.Namespace) -> None:
    settings = settings_in(PretrainingConfig)
    given = [settings[name].option for name in options.given(args, PretrainingConfig)]
    given += ["--out"] if args.out is not None else []
    given += ["--z"] if args.z is not None else []
    given += ["IMAGES"] if args.images else []
    if given:
        raise InputError(
            f"A base is resumed with the options it was started with; leave out {', '.join(given)}."
        )
