"""``phenldiff translate``: the same cells, as if they had been in the other condition."""

from __future__ import annotations

import argparse
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.cell_count import CellCount
from napari_phenldiff.jobs.directions import check_folder, direction
from napari_phenldiff.jobs.inputs import find_files
from napari_phenldiff.jobs.interruption import Interruption
from napari_phenldiff.jobs.translation_job import TranslationJob, base_warnings, check_files
from napari_phenldiff.runs.config import TranslationConfig, validated
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading, Warned, append_event
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.runs.translation_settings import settings_of_run

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.runs.folder import Run

_EPILOG = """\
INPUT is a TIFF, a folder of TIFFs, or a folder with a sub-folder per condition, of which the one
named like --source is taken. Stacks of images are translated image by image and come out as stacks.

DIR gets, for each file, under the same name and with its shape, dtype and channel names:
  DIR/translated/NAME.tif      the cells as they would look in the target condition
  DIR/reconstructed/NAME.tif   the cells as the model shows them in their own condition
  DIR/translation.json         settings, and per image how exact the inversion was and how many
                               cells are lost or invented
Compare translated with reconstructed: both have gone through the model.

examples:
  phenldiff translate run DATA --source untreated --target treated --out result --held-out
  phenldiff translate run field.tif --source untreated --target treated --strength 0.5 --out half
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "translate",
        help="translate images from one condition to another",
        description="Translate images to another condition with a run that was trained.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of `phenldiff train`")
    parser.add_argument("input", type=Path, metavar="INPUT", help="TIFF or folder")
    parser.add_argument(
        "--source", metavar="NAME", help="condition of the images (default: the run's source)"
    )
    parser.add_argument(
        "--target", metavar="NAME", help="condition to show them in (default: the run's target)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="new folder for the results"
    )
    parser.add_argument(
        "--held-out", action="store_true", help="leave out images that the run was trained on"
    )
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda ... (default: auto)"
    )
    options.add_base_at(parser)
    options.add_z(parser)
    options.add_settings(parser, TranslationConfig, leave_out=("source", "target"))
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.runs.folder import Run, check_output_folder

    opened = Run.open(args.run, base_at=args.base_at)
    source, target = direction(opened, args.source, args.target)
    values = {**options.given(args, TranslationConfig), "source": source, "target": target}
    config = validated(TranslationConfig, values, where="translate")
    check_output_folder(args.out)
    check_folder(opened, args.input, source, named=args.source is not None)
    return translate(
        opened, args.input, config, args.out, held_out=args.held_out, device=args.device, z=args.z
    )


def translate(
    run: Run,
    given: Path,
    config: TranslationConfig,
    out: Path,
    *,
    held_out: bool = False,
    device: str = "auto",
    z: int | Projection | None = None,
) -> int:
    """Translate the images in `given` into the folder `out` and return the exit code.

    Every file is read once to check it before anything is written, and once more to be translated;
    there is never more than one file and one batch in memory.
    """
    from napari_phenldiff.images.tiff import files_left_out
    from napari_phenldiff.runs import lock
    from napari_phenldiff.runs.contents import LOCK_NAME

    for name in (config.source, config.target):
        if name not in run.conditions:
            raise InputError(
                f"{run.path} was not trained on condition {name}; it knows "
                f"{', '.join(run.conditions)}."
            )
    config = settings_of_run(run, config)
    if not run.has_adapter:
        raise InputError(
            f"{run.path} has no result yet (its state is: {run.state}); train it first, or go on "
            f"with `phenldiff train --resume {run.path}`."
        )
    paths = find_files(given, config.source)
    if run.reference_channels:
        say(f"Reference channels, left as they are: {', '.join(run.reference_channels)}")
    if run.normalised_channels:
        say(f"Normalised channels, as bright as they are: {', '.join(run.normalised_channels)}")
    say(f"Checking {len(paths)} files ...")
    cells = CellCount(run.channel_names)
    files, warnings = check_files(
        run,
        paths,
        config.source,
        cells,
        held_out=held_out,
        z=z,
        advice="; --held-out leaves them out",
    )
    if not given.is_file():
        warnings = [*files_left_out(paths[0].parent), *warnings]
    warnings += base_warnings(run)

    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    job = TranslationJob(run, config, files, out, z, cells)
    job.warnings += warnings
    message = "Ending after this image ... (once more ends at once)"
    with (
        lock.hold(out / LOCK_NAME, what=f"folder {out}"),
        Interruption(message) as interruption,
        Reporter() as report,
    ):
        try:
            _carry_out(job, out, warnings, device, interruption, report)
        except InputError:
            if not job.done:
                shutil.rmtree(out, ignore_errors=True)
            raise
    say(f"The results are in {out}.")
    return 0 if job.complete else interruption.exit_code


def _carry_out(
    job: TranslationJob,
    out: Path,
    warnings: list[str],
    device: str,
    interruption: Interruption,
    report: Reporter,
) -> None:
    """Translate, and write down what happens for whoever watches the folder."""

    def note(event: Event) -> None:
        append_event(out / "events.jsonl", event)
        report(event)

    try:
        for text in warnings:
            note(Warned(text))
        note(Loading("Loading the model"))
        from napari_phenldiff.baselines.loading import load_translator

        translator = load_translator(job.run, device=device)
        for event in job.events(translator, lambda: bool(interruption)):
            note(event)
        job.write_summary()
    except Exception as error:
        with suppress(OSError):
            job.write_summary()
        with suppress(OSError):
            append_event(out / "events.jsonl", Failed(explain(error)))
        raise
    note(Finished(len(job.done), stopped=not job.complete))
