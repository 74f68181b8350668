"""``phenldiff demo``: the whole way, on simulated cells."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "demo",
        help="the whole way on simulated images, with a report",
        description="Simulate cells, fine-tune, translate, measure, and write a report.",
    )
    parser.add_argument("--out", type=Path, default=Path("phenldiff-demo"), metavar="DIR")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    raise NotImplementedError
