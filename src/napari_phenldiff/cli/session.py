"""``phenldiff session``: keep a model in memory and translate on request (for the viewer)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_phenldiff.cli import options
from napari_phenldiff.jobs.session_host import IDLE_SECONDS, serve

_EPILOG = """\
Reads requests as lines of JSON from standard input and answers in folders below DIR; see
napari_phenldiff.jobs.session. Ends when standard input is closed, or after some time without a
request.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "session",
        help="keep a model in memory and translate on request (used by napari)",
        description="Keep a run's model in memory and translate on request.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of `phenldiff train`")
    parser.add_argument("--folder", type=Path, required=True, metavar="DIR", help="for answers")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda ... (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    options.add_base_at(parser)
    parser.add_argument(
        "--idle",
        type=float,
        default=IDLE_SECONDS,
        metavar="SECONDS",
        help="end after so long without a request",
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.runs.folder import Run

    opened = Run.open(args.run, base_at=args.base_at)
    serve(opened, args.folder, device=args.device, precision=args.precision, idle=args.idle)
    return 0
