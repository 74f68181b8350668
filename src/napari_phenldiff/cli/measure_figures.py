"""What ``phenldiff measure`` makes of its table: a table of effects, and figures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli.progress import say
from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.inputs import ImageFiles
from napari_phenldiff.jobs.roles import ROLES, find_roles
from napari_phenldiff.measurement.figures.kinds import KINDS, draw_comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_phenldiff.images.image import Image
    from napari_phenldiff.measurement.statistics.units import Units
    from napari_phenldiff.measurement.tables.measurement import Measurement

_FORMATS = (".png", ".svg", ".pdf")
_SHOWN = 6


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
    group.add_argument("--theme", choices=("light", "dark"), default="light", help="of the figures")


def check(
    args: argparse.Namespace, groups: Mapping[str, ImageFiles], real: tuple[str, ...]
) -> dict[str, str]:
    """Refuse, before anything is measured, what could not be compared afterwards.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of `add_options`.
    groups : mapping of str to ImageFiles
        What is measured.
    real : tuple of str
        Names of the groups that no model has made.

    Returns
    -------
    dict of str to str
        The names of the groups by their role, see `find_roles`; empty if nothing is compared.

    Raises
    ------
    InputError
        If tables with CellProfiler's column names are to be compared, nothing says which group is
        what, or a figure has nothing to show.
    """
    if not args.figure and args.effects is None:
        return {}
    if args.column_names != "scikit-image":
        raise InputError(
            "Figures and effects are made from columns with the names of scikit-image: leave out "
            "--column-names."
        )
    roles = find_roles({role: getattr(args, role) for role in ROLES}, groups, real)
    if "translated" not in roles and any(kind == "gallery" for kind, _ in args.figure):
        raise InputError("A gallery shows translated images: name their group with --translated.")
    return roles


def compare_conditions(
    args: argparse.Namespace, groups: Mapping[str, ImageFiles], roles: Mapping[str, str]
) -> list[Path]:
    """Write the table of effects and the figures that were asked for.

    Parameters
    ----------
    args : argparse.Namespace
        With the options of `add_options`, and ``out``, the table that was measured.
    groups : mapping of str to ImageFiles
        What was measured.
    roles : mapping of str to str
        What `check` returned.

    Returns
    -------
    list of pathlib.Path
        What was written.

    Raises
    ------
    InputError
        If images can't be paired, or have no wells.
    """
    if not roles:
        return []
    from napari_phenldiff.images.files import write_atomic
    from napari_phenldiff.measurement.statistics.effects import effects
    from napari_phenldiff.measurement.statistics.units import units_of, wells_by_pattern
    from napari_phenldiff.measurement.tables.csv_files import write_csv
    from napari_phenldiff.measurement.tables.measurement import read_measurement

    names: dict[str, Any] = dict(roles)
    measurement = read_measurement(args.out)
    wells = units_of(measurement, wells_by_pattern(measurement, args.wells) if args.wells else None)
    _say_what_is_counted(measurement, names, wells)
    written = []
    table = None
    if args.effects is not None or any(kind == "effects" for kind, _ in args.figure):
        table = effects(measurement, **names, paired=args.paired, wells=wells)
    if args.effects is not None and table is not None:
        args.effects.parent.mkdir(parents=True, exist_ok=True)
        with write_atomic(args.effects) as temporary:
            write_csv(table, temporary)
        written.append(args.effects)
    for kind, path in args.figure:
        if kind == "gallery":
            figure = _gallery(args, measurement, groups, names)
        else:
            figure = draw_comparison(
                kind, measurement, names, table=table, wells=wells, theme=args.theme
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomic(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=200)
        written.append(path)
    return written


def _say_what_is_counted(measurement: Measurement, names: Mapping[str, str], units: Units) -> None:
    """Tell what the comparison counts, and why there is no p-value if there is none."""
    from napari_phenldiff.measurement.statistics.effects import Groups, compare_in

    real = compare_in(measurement, Groups(names["source"], names["target"]), units=units)
    if units.counted != "images":
        say(f"counted: {units.counted} ({real.found.n_a} and {real.found.n_b}), not images")
    if real.no_p_value:
        say(f"{real.no_p_value} If the images are of several, name them with --wells.")


def _gallery(
    args: argparse.Namespace,
    measurement: Measurement,
    groups: Mapping[str, ImageFiles],
    names: Mapping[str, str],
) -> Figure:
    """Draw the images whose main measurement changed most; only they are kept in memory."""
    from napari_phenldiff.measurement.figures.gallery import change_gallery, changed_images

    shown = changed_images(
        measurement,
        source=names["source"],
        translated=names["translated"],
        reconstructed=names.get("reconstructed"),
        n=_SHOWN,
    )

    def images(role: str) -> list[Image]:
        found = {image.name: image for image in groups[names[role]] if image.name in shown}
        return [found[name] for name in shown]

    return change_gallery(
        images("source"),
        images("translated"),
        reconstructed=images("reconstructed") if "reconstructed" in names else None,
        captions=list(shown.values()),
        source=names["source"],
        target=names["target"],
        theme=args.theme,
    )


def _figure(text: str) -> tuple[str, Path]:
    kind, equals, path = text.partition("=")
    if not equals or kind not in KINDS or Path(path).suffix.lower() not in _FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text} is not KIND=FILE, with {', '.join(KINDS)} and a .png, .svg or .pdf"
        )
    return kind, Path(path)
