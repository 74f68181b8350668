"""``phenldiff merge``: make a base model of a fine-tuning."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.jobs.merging import merge
from napari_phenldiff.runs.folder import Run

_EPILOG = """\
FOLDER is a base model in diffusers' layout, with what RUN has learned in its weights and the
condition tokens beside them. It stands by itself and takes the place of both RUN and its base:

  phenldiff merge run --out merged
  phenldiff translate merged DATA --source untreated --target treated --out result
  phenldiff train OTHER --base merged --source untreated --target drug --out run2

Conditions that FOLDER knows by name go on from the tokens that they have there.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "merge",
        help="make a base model of a run",
        description="Write a base model with the result of a run merged into its weights.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of `phenldiff train`")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="new folder for the base model"
    )
    options.add_base_at(parser)
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    with Reporter() as report:
        merge(Run.open(args.run, base_at=args.base_at), args.out, on_event=report)
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    say(f"The base model is in {args.out} ({size / 1e6:.1f} MB).")
    return 0
