"""Compare the conditions of a measurement: a table of effects, and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import (
    check_apart,
    check_not_read,
    check_nothing_is_lost,
    check_output_file,
)
from napari_phenldiff.images.formats import READERS
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.tiff import IMAGE_SUFFIXES
from napari_phenldiff.jobs.inputs import ImageFiles
from napari_phenldiff.jobs.measuring import SETTINGS, files_of, is_measured
from napari_phenldiff.jobs.roles import find_roles
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.measurement.figures.kinds import FigureKind, draw_comparison
from napari_phenldiff.runs.events import Noted, Warned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_phenldiff.images.image import Image
    from napari_phenldiff.measurement.statistics.units import Units
    from napari_phenldiff.measurement.tables.measurement import Measurement

_OF_IMAGES = {*IMAGE_SUFFIXES, *READERS, *(".png", ".jpg", ".jpeg", ".svg", ".pdf", ".zarr")}
"""How names of images and figures end."""

_SHOWN = 6
"""Images in a gallery."""


@dataclass(frozen=True, slots=True)
class ComparisonConfig:
    """What a comparison of measured conditions is asked to make.

    Attributes
    ----------
    effects : pathlib.Path or None
        CSV to write, of the effect on every measurement.
    figures : tuple of (str, pathlib.Path)
        Kind of each figure, of `KINDS`, and the PNG, SVG or PDF to write.
    paired : bool
        Whether source and target are the same fields, by name.
    wells : str or None
        Regular expression that finds the well in a name.
    theme : {"light", "dark"}
        Of the figures.
    """

    effects: Path | None = None
    figures: tuple[tuple[FigureKind, Path], ...] = ()
    paired: bool = False
    wells: str | None = None
    theme: Literal["light", "dark"] = "light"


def check_outputs(config: ComparisonConfig, table: Path) -> None:
    """Refuse, before anything is read, files to write that could not all be what they are for.

    Parameters
    ----------
    config : ComparisonConfig
    table : pathlib.Path
        The table to measure into.

    Raises
    ------
    InputError
        If two are the same file, or a table is called like an image.
    """
    for path in filter(None, (table, config.effects)):
        if path.suffix.lower() in _OF_IMAGES:
            raise InputError(
                f"{path} is called like an image, and a table is to be written; name a .csv."
            )
    check_apart(_outputs(config, table))


def check_inputs_stay(
    config: ComparisonConfig,
    table: Path,
    groups: Mapping[str, ImageFiles],
    settings: Path | None = None,
    labels: Path | None = None,
    more: Iterable[Path] = (),
) -> None:
    """Refuse, before anything is measured, to replace what is read.

    Parameters
    ----------
    config : ComparisonConfig
    table : pathlib.Path
        The table to measure into.
    groups : mapping of str to ImageFiles
        What is measured.
    settings : pathlib.Path, optional
        Settings to measure with. Those of the table itself may be: they are written as they are.
    labels : pathlib.Path, optional
        Folder of labels to measure with.
    more : iterable of pathlib.Path
        Files that say which images there are.

    Raises
    ------
    InputError
        If a file to write is one of these.
    """
    written = _outputs(config, table)
    images = chain.from_iterable(files.paths for files in groups.values())
    masks = labels.rglob("*") if labels is not None else ()
    read = chain(images, more, (path for path in masks if path.suffix.lower() in _OF_IMAGES))
    check_not_read(written, read)
    if settings is not None:
        check_not_read({w: path for w, path in written.items() if w != SETTINGS}, [settings])


def _outputs(config: ComparisonConfig, table: Path) -> dict[str, Path]:
    """Return all files to write, by what they are."""
    written = files_of(table)
    if config.effects is not None:
        written["the effects"] = config.effects
    for number, (kind, path) in enumerate(config.figures, start=1):
        written[f"figure {number} ({kind})"] = path
    return written


def check_comparison(
    config: ComparisonConfig,
    asked: Mapping[str, str | None],
    groups: Mapping[str, ImageFiles],
    real: tuple[str, ...],
    table: Path,
    *,
    column_names: str = "scikit-image",
) -> dict[str, str]:
    """Refuse, before anything is measured, what could not be compared afterwards.

    Parameters
    ----------
    config : ComparisonConfig
    asked : mapping of str to str or None
        By role the name that the user gives, if any; see `find_roles`.
    groups : mapping of str to ImageFiles
        What is measured.
    real : tuple of str
        Names of the groups that no model has made.
    table : pathlib.Path
        The table to measure into. Where an earlier measurement has written it, its effects and
        figures are replaced as it is.
    column_names : str
        What columns are called in the tables.

    Returns
    -------
    dict of str to str
        The names of the groups by their role, see `find_roles`; empty if nothing is compared.

    Raises
    ------
    InputError
        If tables with CellProfiler's column names are to be compared, nothing says which group is
        what, a figure has nothing to show, or a file would be lost.
    """
    if not config.figures and config.effects is None:
        return {}
    if config.effects is not None:
        check_output_file(config.effects)
        if not is_measured(table) or not _holds_effects(config.effects):
            check_nothing_is_lost(config.effects, "the effects")
    for _, path in config.figures:
        check_output_file(path)
        if not is_measured(table):
            check_nothing_is_lost(path, "the figure")
    if column_names != "scikit-image":
        raise InputError(
            "Figures and effects are made from columns with the names of scikit-image: leave out "
            "--column-names."
        )
    roles = find_roles(asked, groups, real)
    kinds = {kind for kind, _ in config.figures}
    if "translated" not in roles and "gallery" in kinds:
        raise InputError("A gallery shows translated images: name their group with --translated.")
    if "translated" not in roles and not config.paired and "pairs" in kinds:
        raise InputError(
            "Pairs show images and what a model made of them: name their group with --translated. "
            "Real images of two conditions show different cells, even where they have the same "
            "names; if these show the same fields, say so with --paired."
        )
    return roles


def compare_conditions(
    config: ComparisonConfig,
    table: Path,
    groups: Mapping[str, ImageFiles],
    roles: Mapping[str, str],
    *,
    on_event: OnEvent = ignore,
) -> list[Path]:
    """Write the table of effects and the figures that were asked for.

    Parameters
    ----------
    config : ComparisonConfig
    table : pathlib.Path
        The table that was measured.
    groups : mapping of str to ImageFiles
        What was measured.
    roles : mapping of str to str
        What `check_comparison` returned.
    on_event : callable
        Told what is counted.

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
    measurement = read_measurement(table)
    pattern = config.wells
    wells = units_of(measurement, wells_by_pattern(measurement, pattern) if pattern else None)
    _tell_what_is_counted(measurement, names, wells, config.paired, on_event)
    written = []
    found = None
    if config.effects is not None or any(kind == "effects" for kind, _ in config.figures):
        found = effects(measurement, **names, paired=config.paired, wells=wells)
    if config.effects is not None and found is not None:
        with write_atomic(config.effects) as temporary:
            write_csv(found, temporary)
        written.append(config.effects)
    for kind, path in config.figures:
        if kind == "gallery":
            figure = _gallery(config, measurement, groups, names)
        else:
            figure = draw_comparison(
                kind,
                measurement,
                names,
                table=found,
                paired=config.paired,
                wells=wells,
                theme=config.theme,
            )
        with write_atomic(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=200)
        written.append(path)
    return written


def _holds_effects(path: Path) -> bool:
    """Tell whether a file begins as a table of effects."""
    from napari_phenldiff.measurement.statistics.effects import FIRST_COLUMNS

    begins = ",".join(FIRST_COLUMNS)
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(len(begins)) == begins
    except OSError:
        return False


def _tell_what_is_counted(
    measurement: Measurement,
    names: Mapping[str, str],
    units: Units,
    paired: bool,
    on_event: OnEvent,
) -> None:
    """Tell what the comparison counts, and why there is no p-value if there is none."""
    from napari_phenldiff.measurement.statistics.effects import compare_in
    from napari_phenldiff.measurement.statistics.two_groups import Groups

    groups = Groups(names["source"], names["target"], paired)
    real = compare_in(measurement, groups, units=units)
    n_each = f"{real.found.n_a} and {real.found.n_b}"
    if paired:
        n_each = count(real.found.n_a, "pair")
    others = "" if units.counted == "images" else ", not images"
    on_event(Noted(f"counted: {units.counted} ({n_each}){others}"))
    if real.caution:
        on_event(Warned(real.caution))
    if real.no_p_value:
        measured = [
            int(np.isfinite(measurement.values(names[role])).sum()) for role in ("source", "target")
        ]
        # Other wells help where images were measured that are taken for those of one.
        advice = "If the images are of several, say how wells are found (--wells)"
        helps = min(measured) > 1 and units.counted != "images"
        said = f"{real.no_p_value} {advice}" if helps else real.no_p_value
        on_event(Noted(said))


def _gallery(
    config: ComparisonConfig,
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
        theme=config.theme,
    )
