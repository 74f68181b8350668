"""What ``phenldiff measure`` makes of its table: a table of effects, and figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from napari_phenldiff.jobs.comparison import ComparisonConfig
from napari_phenldiff.measurement.figures.kinds import KINDS

_FORMATS = (".png", ".svg", ".pdf")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the comparison to the parser."""
    group = parser.add_argument_group(
        "comparison", "of two conditions, and of what a model made of the first"
    )
    group.add_argument(
        "--effects",
        type=Path,
        metavar="TABLE",
        help="CSV to write: shift, Cliff's delta, p-values and recovery of every measurement",
    )
    group.add_argument(
        "--figure",
        action="append",
        type=_figure,
        default=[],
        metavar="KIND=FILE",
        help=f"figure to write; {', '.join(KINDS)}, as PNG, SVG or PDF; may be given several times",
    )
    for role, text in (
        ("source", "real images before (default: what translation.json of the result says)"),
        ("target", "real images after (default: likewise)"),
        ("reconstructed", "model images of the source (default: those that are, if there)"),
        ("translated", "model images of the target (default: those that are, if there)"),
    ):
        group.add_argument(f"--{role}", metavar="NAME", help=text)
    group.add_argument(
        "--paired", action="store_true", help="source and target are the same fields, by name"
    )
    group.add_argument(
        "--wells",
        metavar="PATTERN",
        help="regular expression that finds the well in a name (default: wells or fields that the "
        "names tell are counted; image: each image counts)",
    )
    group.add_argument(
        "--theme",
        choices=("light", "dark"),
        default="light",
        help="background of the figures (default: light)",
    )


def comparison_of(args: argparse.Namespace) -> ComparisonConfig:
    """Return what the options of `add_options` ask for."""
    return ComparisonConfig(
        effects=args.effects,
        figures=tuple(args.figure),
        paired=args.paired,
        wells=args.wells,
        theme=args.theme,
    )


def _figure(text: str) -> tuple[str, Path]:
    kind, equals, path = text.partition("=")
    if not equals or kind not in KINDS or Path(path).suffix.lower() not in _FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text} is not KIND=FILE, with {', '.join(KINDS)} and a .png, .svg or .pdf"
        )
    return kind, Path(path)
