"""``phenldiff measure``: tables of what can be seen in images."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.cli import options
from napari_phenldiff.cli.images import ImageFiles, condition_folders, find_files
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import validated
from napari_phenldiff.runs.events import Progress

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.measurement.profiles import Measurement
    from napari_phenldiff.measurement.threshold import Settings

PROFILE_NAMES = ("translocation", "golgi", "neurons", "cells", "area")

_EPILOG = """\
profiles:
  translocation   a marker in the nucleus against a ring of cytoplasm around it, per cell
  golgi           area and fragments of the Golgi; with nuclei, its scatter and compactness per cell
  neurons         area of neurons, length and branches of their neurites
  cells           number, area and shape of nuclei, their brightness in each channel, cytoplasm
  area            how much of the image a marker covers

INPUT is a TIFF, a folder of TIFFs (named after the folder), a folder with a sub-folder per
condition, or NAME=FOLDER to give the images of a folder another name.

TABLE.csv gets one row per image. TABLE_cells.csv gets one row per cell, if the profile has cells,
and TABLE_settings.json all settings and thresholds, to be used again with --settings. An image
that cannot be measured gets a row without values that says why.

Thresholds are found once for all images that --fit-on names (by default those that no model has
made) and are the same for all: only so conditions, and real and translated images, can be compared.

examples:
  phenldiff measure translocation DATA --out table.csv
  phenldiff measure translocation real=DATA/untreated target=DATA/treated result --out table.csv
  phenldiff measure area DATA --channel actin --threshold otsu --out area.csv
"""

_CHANNEL_OPTIONS = {
    "channel": "channel to measure (area, golgi, neurons; default: 0)",
    "nuclei_channel": "channel that shows the nuclei (translocation, cells; default: 0; golgi, "
    "neurons; default: none)",
    "marker_channel": "channel that moves (translocation; default: 1), or whose brightness is "
    "measured (neurons; default: none)",
    "cytoplasm_channel": "channel that shows the cell bodies (cells; default: none)",
}
_THRESHOLD_OPTIONS = ("method", "scale", "log_transform", "smoothing", "scope")


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
    options.add_z(parser)
    group = parser.add_argument_group("settings")
    absent = argparse.SUPPRESS
    for name, text in _CHANNEL_OPTIONS.items():
        kind = _channel
        group.add_argument(
            options.flag(name), type=kind, metavar="CHANNEL", help=text, default=absent
        )
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
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.measurement.profiles import find_profile, read_settings

    find_profile(args.profile)
    if args.out.is_dir():
        raise InputError(f"{args.out} is a folder; name the table to write, such as table.csv.")
    thresholds: dict[str, float] | None = None
    if args.settings is None:
        settings = settings_from(args.profile, vars(args))
    else:
        given = {*_CHANNEL_OPTIONS, *_THRESHOLD_OPTIONS} & set(vars(args))
        if given or args.fit_on:
            raise InputError("--settings says all there is to say; leave out other settings.")
        profile, settings, thresholds = read_settings(args.settings)
        if profile != args.profile:
            raise InputError(f"{args.settings} is for the profile {profile}, not {args.profile}.")
    groups = find_groups(args.inputs, z=args.z)
    if args.fit_on is None:
        args.fit_on = real_groups(groups)
    measurement = measure_groups(
        args.profile, groups, settings, fit_on=args.fit_on, thresholds=thresholds
    )
    written = measurement.write(args.out)
    for condition in measurement.conditions:
        say(_summary(measurement, condition))
    for path in reversed(written):
        say(f"{path}")
    return 0


def measure_groups(
    profile: str,
    groups: Mapping[str, ImageFiles],
    settings: Settings | None,
    *,
    fit_on: Sequence[str],
    thresholds: Mapping[str, float] | None = None,
) -> Measurement:
    """Measure files one at a time, and show the progress."""
    from napari_phenldiff.measurement.profiles import measure

    total = sum(len(files.paths) for files in groups.values())
    with Reporter() as report:
        return measure(
            profile,
            groups,
            settings,
            fit_on=fit_on,
            thresholds=thresholds,
            # A file may hold several images.
            on_image=lambda done: report(Progress(done, max(done, total))),
        )


def settings_from(profile: str, given: Mapping[str, Any]) -> Settings:
    """Return the settings of a profile with what was given on the command line."""
    from napari_phenldiff.measurement.profiles import find_profile

    kind = find_profile(profile).settings_type
    values = kind().model_dump()
    for name in _CHANNEL_OPTIONS:
        if name in given:
            if name not in values:
                raise InputError(f"The profile {profile} has no {options.flag(name)}.")
            values[name] = given[name]
    # Where nuclei only say which cell something belongs to, they are not what is measured.
    part = "segmentation" if "segmentation" in values else "nuclei"
    for name in _THRESHOLD_OPTIONS:
        if name in given:
            values[part]["threshold"][name] = given[name]
    return validated(kind, values, where="measure")


def find_groups(
    inputs: Sequence[str], *, z: int | Projection | None = None
) -> dict[str, ImageFiles]:
    """Return the files that the user's inputs mean, by the name of their condition.

    Raises
    ------
    InputError
        If an input has no TIFFs, or two folders would have the same name.
    """
    found: dict[str, list[Path]] = {}
    folders: dict[str, Path] = {}
    for given in inputs:
        name, path = _name_and_path(given)
        if path.is_file():
            parts = {name or path.resolve().parent.name: path}
        elif path.is_dir() and not _has_files(path):
            prefix = f"{name}/" if name else ""
            parts = {f"{prefix}{folder.name}": folder for folder in condition_folders(path)}
        else:
            parts = {name or path.resolve().name: path}
        if not parts:
            find_files(path)  # tells that there is nothing
        for condition, part in parts.items():
            home = (part.parent if part.is_file() else part).resolve()
            if folders.setdefault(condition, home) != home:
                raise InputError(
                    f"{folders[condition]} and {home} would both be called {condition}; give one "
                    f"of them as NAME={part}."
                )
            files = found.setdefault(condition, [])
            files += [file for file in find_files(part) if file not in files]
    return {condition: ImageFiles(tuple(files), z) for condition, files in found.items()}


def real_groups(groups: Mapping[str, ImageFiles]) -> tuple[str, ...]:
    """Return the names of the groups that no model has made; all names if there are none."""
    from napari_phenldiff.images.tiff import read_provenance

    real = tuple(
        name
        for name, files in groups.items()
        if "kind" not in (read_provenance(files.paths[0]) or {})
    )
    return real or tuple(groups)


def _name_and_path(given: str) -> tuple[str, Path]:
    """Split NAME=PATH, unless there is a path that is written just so."""
    name, equals, path = given.partition("=")
    if not equals or not name or Path(given).exists():
        return "", Path(given)
    return name, Path(path)


def _has_files(folder: Path) -> bool:
    from napari_phenldiff.images.tiff import tiff_files

    return bool(tiff_files(folder))


def _summary(measurement: Measurement, condition: str) -> str:
    import numpy as np

    column = measurement.main_column
    values = measurement.values(condition)
    known = values[np.isfinite(values)]
    missing = len(values) - len(known)
    lost = f", {missing} not measurable" if missing else ""
    median = f"median {column} {np.median(known):.4g}" if len(known) else f"no {column}"
    return f"{condition}: {len(values)} images, {median}{lost}"


def _channel(text: str) -> int | str | None:
    if text == "none":
        return None
    return int(text) if text.isdecimal() else text


def _threshold(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
