"""``phenldiff device``: what fine-tuning and translating compute with, and why."""

from __future__ import annotations

import argparse
from typing import Any

from napari_phenldiff.cli.progress import say


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "device",
        help="tell whether a GPU is used, and if not, why",
        description="Tell which device fine-tuning and translating use on this machine, and why.",
    )
    parser.add_argument(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:1, mps ... (default: auto)",
    )
    parser.add_argument(
        "--precision", default="auto", metavar="P", help="auto, float32 or bfloat16 (default: auto)"
    )
    parser.add_argument(
        "--json", action="store_true", help="write one line of JSON, with a measured speed"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.diffusion.hardware import detect_hardware

    found = detect_hardware(args.device, args.precision, measure=args.json)
    if args.json:
        say(found.to_json())
        return 0
    say(f"device      {found.device}")
    say(f"name        {found.name}")
    if found.reason:
        say(f"why         {found.reason}")
    say(f"precision   {found.precision}")
    say(f"memory      {found.memory / 1e9:.1f} GB, {found.free / 1e9:.1f} GB free")
    say(f"PyTorch     {found.torch}")
    return 0
