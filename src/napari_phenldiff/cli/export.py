"""``phenldiff export``: make a package of a run for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.cli.translate import translation_of
from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.jobs.exporting import export
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run

_EPILOG = """\
The package has the layout of bioimage.io (format 0.5) and holds the whole translation: the weights
with the adapter merged, a test image with what the model makes of it, a cover and a page. Programs
that use it need napari-phenldiff, whose network it is. A part of one of your images is in it as the
test image: the first of the source that was not trained on, or the one of --image.

  phenldiff export run --out package.zip --author "A. Author" --license CC-BY-4.0
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "export",
        help="make a package of a run for other programs",
        description="Write a bioimage.io package of a run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of `phenldiff train`")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.zip", help="new file for the package"
    )
    options.add_direction(parser)
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="image of the source, of which a part becomes the test image",
    )
    parser.add_argument(
        "--author",
        action="append",
        default=[],
        metavar="NAME",
        help="who made the model; may be given several times",
    )
    parser.add_argument(
        "--license", metavar="SPDX", help="licence of the package, such as CC-BY-4.0"
    )
    options.add_base_at(parser)
    options.add_settings(parser, TranslationConfig, leave_out=("source", "target"))
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    opened = Run.open(args.run, base_at=args.base_at)
    config = translation_of(args, opened, where="export")
    image = None if args.image is None else read_image(args.image)
    with Reporter() as report:
        made = export(
            opened,
            args.out,
            config,
            image=image,
            authors=args.author,
            licence=args.license,
            on_event=report,
        )
    say(f"The package is {made}.")
    return 0
