"""``phenldiff measure``: tables of what can be seen in images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.measure_figures import add_options, comparison_of
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import composed, count
from napari_phenldiff.jobs.inputs import find_groups as find_groups
from napari_phenldiff.jobs.inputs import real_groups as real_groups
from napari_phenldiff.jobs.inputs import summary_of
from napari_phenldiff.jobs.roles import ROLES
from napari_phenldiff.runs.config import validated
from napari_phenldiff.settings import option_of

if TYPE_CHECKING:
    import numpy as np

    from napari_phenldiff.measurement.batch import BatchResult
    from napari_phenldiff.measurement.segmentation.thresholds import Settings

PROFILE_NAMES = ("translocation", "golgi", "neurons", "cells", "area")

_EPILOG = """\
profiles:
  translocation   a marker in the nucleus against a ring of cytoplasm around it, per cell
  golgi           area and fragments of the Golgi; with nuclei, its scatter and compactness per cell
  neurons         area of neurons, length and branches of their neurites
  cells           number, area and shape of nuclei, their brightness in each channel, cytoplasm
  area            how much of the image a marker covers

INPUT is a TIFF, a folder of TIFFs (named after the folder), a folder with a sub-folder per
condition, a table that lists images, an OME-Zarr, or NAME=INPUT to give the images another name.

TABLE.csv gets one row per image. TABLE_cells.csv gets one row per cell, if the profile has cells,
and TABLE_settings.json all settings and thresholds, to be used again with --settings. An image
that cannot be measured gets a row without values that says why. Tables of an earlier measurement
are replaced; a file that is none is not.

Thresholds are found once for all images that --fit-on names (by default those that no model has
made) and are the same for all, because otherwise neither conditions nor real and translated images
could be compared.

examples:
  phenldiff measure translocation DATA --out table.csv
  phenldiff measure translocation real=DATA/untreated target=DATA/treated result --out table.csv
  phenldiff measure area DATA --channel actin --threshold otsu --out area.csv
  phenldiff measure cells DATA --labels CELLPOSE_LABELS --workers 4 --out cells.csv
"""

_CHANNEL_OPTIONS = {
    "channel": "channel to measure (area, golgi, neurons; default: the one named so)",
    "nuclei_channel": "channel that shows the nuclei (translocation, cells; default: the one named "
    "so; golgi, neurons; default: none)",
    "marker_channel": "channel that moves (translocation; default: the one that is not the "
    "nuclei), or whose brightness is measured (neurons; default: none)",
    "cytoplasm_channel": "channel that shows the cell bodies (cells; default: none)",
}
_THRESHOLD_OPTIONS = (
    "method",
    "scale",
    "log_transform",
    "smoothing",
    "scope",
    "adaptive_window",
)
_SEGMENTATION_OPTIONS = {
    "background_radius": "subtract background that varies over more than this many pixels",
    "min_size": "drop objects of fewer pixels",
    "max_hole": "fill holes of up to this many pixels",
}
_SETTINGS = {
    *(*_CHANNEL_OPTIONS, *_THRESHOLD_OPTIONS, *_SEGMENTATION_OPTIONS),
    *("split", "dimmest", "exclude_border"),
}


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "measure",
        help="measure images, one row per image and per cell",
        description="Measure images and write the results as tables.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "profile", metavar="PROFILE", help=f"what to measure: {', '.join(PROFILE_NAMES)}"
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="TIFF, folder, or NAME=FOLDER")
    parser.add_argument("--out", type=Path, metavar="TABLE", required=True, help="CSV to write")
    parser.add_argument(
        "--fit-on",
        action="append",
        metavar="NAME",
        help="condition to find thresholds on; may be given several times",
    )
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="TABLE_settings.json of another measurement"
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FOLDER",
        help="TIFFs of labels, called like the images, to use in place of a segmentation",
    )
    parser.add_argument(
        "--column-names",
        choices=("scikit-image", "cellprofiler"),
        default="scikit-image",
        help="names of the columns of the tables (default: scikit-image)",
    )
    options.add_workers(parser, "measure")
    options.add_z(parser)
    options.add_arrangement(parser)
    group = parser.add_argument_group("settings")
    absent = argparse.SUPPRESS
    for name, text in _CHANNEL_OPTIONS.items():
        group.add_argument(option_of(name), metavar="CHANNEL", help=text, default=absent)
    group.add_argument(
        "--threshold",
        dest="method",
        type=_threshold,
        metavar="METHOD",
        default=absent,
        help="otsu, otsu3, minimum-cross-entropy, robust-background, or a value",
    )
    group.add_argument(
        "--scale", type=float, metavar="S", default=absent, help="divide grey values by S first"
    )
    group.add_argument(
        "--log",
        dest="log_transform",
        action="store_true",
        default=absent,
        help="find the threshold in the logarithm of the grey values",
    )
    group.add_argument(
        "--smoothing",
        type=float,
        metavar="S",
        default=absent,
        help="smooth by S pixels before the threshold is applied",
    )
    group.add_argument(
        "--adaptive-window",
        type=int,
        metavar="N",
        default=absent,
        help="let the threshold follow what varies over more than N pixels",
    )
    group.add_argument(
        "--dimmest",
        type=float,
        metavar="F",
        default=absent,
        help="let dim thin structures end at half of their peak, down to this part of the "
        "threshold (area; default: 1, which is off; golgi: 0.75, neurons: 0.5)",
    )
    for name, text in _SEGMENTATION_OPTIONS.items():
        group.add_argument(option_of(name), type=int, metavar="N", help=text, default=absent)
    group.add_argument(
        "--split",
        action=argparse.BooleanOptionalAction,
        default=absent,
        help="cut touching nuclei apart where they are narrow (watershed)",
    )
    add_exclude_border(group)
    scope = group.add_mutually_exclusive_group()
    for scope_name in ("image", "experiment"):
        scope.add_argument(
            f"--per-{scope_name}",
            dest="scope",
            action="store_const",
            const=scope_name,
            default=absent,
            help=f"find one threshold per {scope_name}",
        )
    add_options(parser)
    parser.set_defaults(command=run)


def add_exclude_border(group: Any) -> None:
    """Add the option that says whether nuclei are measured that the border cuts."""
    group.add_argument(
        "--exclude-border",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="leave nuclei that the border of the image cuts out of what is measured of them "
        "(cells; default: yes)",
    )


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.jobs.comparison import (
        check_comparison,
        check_inputs_stay,
        check_outputs,
        compare_conditions,
    )
    from napari_phenldiff.jobs.measuring import measure_into
    from napari_phenldiff.measurement.profiles import find_profile
    from napari_phenldiff.measurement.profiles.channels import channels_in_words
    from napari_phenldiff.measurement.tables.measurement import read_settings

    find_profile(args.profile)
    comparison = comparison_of(args)
    check_outputs(comparison, args.out)
    thresholds: dict[str, float] | None = None
    if args.settings is None:
        settings = settings_from(args.profile, vars(args))
    else:
        given = _SETTINGS & set(vars(args))
        if given or args.fit_on:
            raise InputError("--settings says all there is to say; leave out other settings.")
        profile, settings, thresholds = read_settings(args.settings)
        if profile != args.profile:
            raise InputError(f"{args.settings} is for the profile {profile}, not {args.profile}.")
    arrangement = options.arrangement(args)
    groups = find_groups(args.inputs, z=args.z, arrangement=arrangement)
    # An input may be a table that lists images; it may have a name before it.
    lists = [Path(text) for given in args.inputs for text in (given, given.partition("=")[2])]
    lists += [arrangement.layout] if arrangement.layout is not None else []
    check_inputs_stay(comparison, args.out, groups, args.settings, args.labels, lists)
    # Those of which the user says what they are come in that order; folders have none.
    named = [composed(name) for name in (args.source, args.target) if name is not None]
    first = [name for name in named if name in groups]
    groups = {name: groups[name] for name in dict.fromkeys((*first, *groups))}
    say(summary_of(groups))
    real = real_groups(groups)
    roles = check_comparison(
        comparison,
        {role: getattr(args, role) for role in ROLES},
        groups,
        real,
        args.out,
        column_names=args.column_names,
    )
    with Reporter() as report:
        result = measure_into(
            args.profile,
            groups,
            args.out,
            settings,
            z=args.z,
            fit_on=real if args.fit_on is None else args.fit_on,
            thresholds=thresholds,
            labels=args.labels,
            workers=args.workers,
            scheduler=args.scheduler,
            column_names=args.column_names,
            on_event=report,
        )
    say(f"Channels: {channels_in_words(result.settings)}")
    for condition in result.main_values:
        say(_summary(result, condition))
    # Said before figures are drawn: whatever happens there, the tables are written.
    for path in reversed(result.written):
        say(f"{path}")
    with Reporter() as report:
        compared = compare_conditions(comparison, args.out, groups, roles, on_event=report)
    for path in compared:
        say(f"{path}")
    nothing = [name for name, values in result.main_values.items() if not _any_known(values)]
    if nothing:
        raise InputError(
            f"No image of {' and '.join(nothing)} could be measured; the column reason of "
            f"{args.out} says why."
        )
    return 0


def settings_from(profile: str, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a profile with what was given on the command line."""
    from napari_phenldiff.measurement.profiles import find_profile

    kind = find_profile(profile).settings_type
    values = kind().model_dump()
    for name in (*_CHANNEL_OPTIONS, "exclude_border"):
        if name in given:
            if name not in values:
                raise InputError(f"The profile {profile} has no {option_of(name)}.")
            values[name] = given[name]
    # Where nuclei only say which cell something belongs to, they are not what is measured.
    part = "segmentation" if "segmentation" in values else "nuclei"
    for name in _THRESHOLD_OPTIONS:
        if name in given:
            values[part]["threshold"][name] = given[name]
    for name in (*_SEGMENTATION_OPTIONS, "split", "dimmest"):
        if name in given:
            values[part][name] = given[name]
    return validated(kind, values, where="measure")


def _summary(result: BatchResult, condition: str) -> str:
    import numpy as np

    column, values = result.main_column, result.main_values[condition]
    known = values[np.isfinite(values)]
    missing = len(values) - len(known)
    lost = f", {missing} not measurable" if missing else ""
    median = f"median {column} {np.median(known):.4g}" if len(known) else f"no {column}"
    return f"{condition}: {count(len(values), 'image')}, {median}{lost}"


def _any_known(values: np.ndarray) -> bool:
    import numpy as np

    return bool(np.isfinite(values).any())


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
