"""``phenldiff figure``: translated images beside the real ones, for a paper."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_phenldiff.cli.progress import say
from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.translation_figure import translation_figure
from napari_phenldiff.measurement.figures.panel import Inset

_EPILOG = """\
RESULT is a folder that `phenldiff translate` has written; the real images must lie where they were.
A row is an image: real, reconstructed, translated, the difference of the last two, and, with
--targets, a real image of the target condition.

examples:
  phenldiff figure result --out figure.svg --images 3 --targets DATA
  phenldiff figure result --out cells.png --names field_2,field_7 --single-channels \\
      --inset 1:40,60,48,48
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "figure",
        help="make a figure of translated images beside the real ones, for a paper",
        description="Write a figure of a translation as SVG, PNG or PDF.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "result", type=Path, metavar="RESULT", help="folder of `phenldiff translate`"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        required=True,
        help="file that ends with .svg, .png or .pdf",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--images",
        type=int,
        default=4,
        metavar="N",
        help="number of images, from the first (default: 4)",
    )
    which.add_argument("--names", metavar="A,B", help="images by their names")
    parser.add_argument(
        "--targets", type=Path, metavar="PATH", help="real images of the target condition"
    )
    parser.add_argument(
        "--single-channels", action="store_true", help="show the channels one by one too"
    )
    parser.add_argument(
        "--inset",
        action="append",
        default=[],
        metavar="ROW:Y,X,H,W",
        help="show a rectangle larger: row from 1, top, left, height and width in pixels",
    )
    parser.add_argument(
        "--theme", choices=("light", "dark"), default="light", help="background (default: light)"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    names = [] if args.names is None else [name.strip() for name in args.names.split(",")]
    path = translation_figure(
        args.result,
        args.out,
        images=names or args.images,
        targets=args.targets,
        single_channels=args.single_channels,
        insets=[_inset(text) for text in args.inset],
        theme=args.theme,
    )
    say(f"The figure is in {path}.")
    return 0


def _inset(text: str) -> Inset:
    row, _, place = text.partition(":")
    try:
        top, left, height, width = (int(part) for part in place.split(","))
        number = int(row)
    except ValueError:
        raise InputError(
            f"--inset {text!r} is no rectangle; give ROW:Y,X,H,W, for example 1:40,60,48,48."
        ) from None
    if number < 1 or height < 1 or width < 1:
        raise InputError(f"--inset {text!r} is empty: rows and sides are 1 or more.")
    return Inset(number - 1, top, left, height, width)
