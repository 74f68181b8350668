"""``phenldiff translate``: the same cells, as if they had been in the other condition."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.jobs.directions import check_folder, direction
from napari_phenldiff.jobs.inputs import find_images
from napari_phenldiff.jobs.interruption import Interruption
from napari_phenldiff.jobs.journal import check_folder as check_folder_for_results
from napari_phenldiff.jobs.translation import carry_out, check_translation
from napari_phenldiff.jobs.translation_output import FORMATS, Format
from napari_phenldiff.runs.config import TranslationConfig, validated
from napari_phenldiff.runs.folder import Run

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.dataset import Dataset

_EPILOG = """\
INPUT is a TIFF, a folder of TIFFs, a table that lists images, an OME-Zarr, or a folder with a
sub-folder per condition, of which the one named like --source is taken. Stacks of images are
translated image by image and come out as stacks.

DIR gets, for each file, under the same name and with its shape, dtype and channel names:
  DIR/translated/NAME.tif      the cells as they would look in the target condition
  DIR/reconstructed/NAME.tif   the cells as the model shows them in their own condition
  DIR/translation.json         settings, and per image how exact the inversion was and how many
                               cells are lost or invented
With --format ome-zarr these are two plates, DIR/translated/PLATE.zarr and
DIR/reconstructed/PLATE.zarr, in which each file is a field of its well.
Compare translated with reconstructed: both have gone through the model.

Guidance and freedom are those that were chosen for the run at the end of its training
(calibration.json in its folder), unless they are given here.

A translation that was stopped, or killed, goes on with the same command: images that are done are
not done again. Files that cannot be translated are rows of DIR/failures.csv; the others are
translated, the exit code is 2, and the same command tries again those that failed.

With --workers or --scheduler several processes translate, on this machine or on a Dask cluster.
Each loads the model once; on a machine with several GPUs each has one of them.

examples:
  phenldiff translate run DATA --source untreated --target treated --out result --held-out
  phenldiff translate run PLATE --out result --workers 8
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
    options.add_direction(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", required=True, help="folder for the results"
    )
    parser.add_argument(
        "--held-out", action="store_true", help="leave out images that the run was trained on"
    )
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto, cpu, cuda ... (default: auto)"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="tiff",
        help="what is written: TIFFs called like the input, or plates of OME-Zarr with a field "
        "for each file (default: tiff)",
    )
    options.add_workers(parser, "translate")
    options.add_base_at(parser)
    options.add_z(parser)
    options.add_arrangement(parser)
    options.add_settings(parser, TranslationConfig, leave_out=("source", "target"))
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    opened = Run.open(args.run, base_at=args.base_at)
    config = translation_of(args, opened, where="translate")
    check_folder_for_results(args.out)
    check_folder(opened, args.input, config.source, named=args.source is not None)
    images = find_images(args.input, config.source, options.arrangement(args))
    return translate(
        opened,
        images,
        config,
        args.out,
        held_out=args.held_out,
        z=args.z,
        format=args.format,
        device=args.device,
        workers=args.workers,
        scheduler=args.scheduler,
    )


def translation_of(args: argparse.Namespace, run: Run, *, where: str) -> TranslationConfig:
    """Return the settings of a translation by a run: those that are given, and its direction."""
    source, target = direction(run, args.source, args.target)
    values = {**options.given(args, TranslationConfig), "source": source, "target": target}
    return validated(TranslationConfig, values, where=where)


def translate(
    run: Run,
    images: Path | Dataset,
    config: TranslationConfig,
    out: Path,
    *,
    held_out: bool = False,
    z: int | Projection | None = None,
    format: Format = "tiff",
    **where: Any,
) -> int:
    """Translate images into the folder `out` and return the exit code.

    `where` is what `napari_phenldiff.jobs.translation.carry_out` takes: the device, and workers.
    """
    with Reporter() as report:
        job = check_translation(
            run, images, out, config, held_out=held_out, z=z, format=format, on_event=report
        )
    message = "Ending after this image ... (once more ends at once)"
    with Interruption(message) as interruption, Reporter() as report:
        done = carry_out(job, should_stop=lambda: bool(interruption), on_event=report, **where)
    if interruption and not done.complete:
        say(f"{count(len(done.images), 'image')} in {done.folder}; the same command goes on there.")
    else:
        say(f"The results are in {done.folder}.")
    if done.failure is not None and not interruption:
        raise InputError(done.failure)
    return 0 if done.complete else interruption.exit_code
