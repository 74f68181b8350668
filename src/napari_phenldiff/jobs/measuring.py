"""Measure images in memory or in files, into tables and comparisons of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import check_nothing_is_lost, check_output_file
from napari_phenldiff.images.image import Image
from napari_phenldiff.jobs.inputs import ImageFiles, find_groups
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.measurement.batch import BatchResult, measure_files
from napari_phenldiff.measurement.measure import measure as measure_images
from napari_phenldiff.measurement.segmentation.segment import Segmenter
from napari_phenldiff.measurement.segmentation.segmenters import GivenLabels
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.tables.csv_files import ColumnNames
from napari_phenldiff.measurement.tables.measurement import Measurement, read_settings
from napari_phenldiff.runs.cluster import workers_at
from napari_phenldiff.runs.events import Progress, Warned

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection

AnyPath = str | os.PathLike[str]
SETTINGS = "the settings"
"""What `files_of` calls the settings beside a table."""

Groups = AnyPath | Mapping[str, AnyPath | Iterable[Image]]


def measure(
    profile: str,
    groups: Groups,
    settings: Settings | None = None,
    *,
    z: int | Projection | None = None,
    fit_on: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    segmenter: Segmenter | None = None,
    given_labels: GivenLabels | None = None,
    on_image: Callable[[int], None] | None = None,
    on_objects: Callable[[str, np.ndarray], None] | None = None,
) -> Measurement:
    """Measure images, one row for each.

    An image that cannot be measured gives a row without values and with a reason, not an error.

    Parameters
    ----------
    profile : str
        What to measure: translocation, golgi, neurons, cells or area.
    groups : path-like or mapping of str to path-like or iterable of Image
        Images per condition, in memory or as a folder; or one folder with a sub-folder per
        condition. Translated images are groups of their own. Files are read one at a time, and
        what can be gone through only once (a generator) is read into memory.
    settings : Settings, optional
        Settings of the profile; its defaults if not given.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection of files with a z axis.
    fit_on : sequence of str, optional
        Groups that the thresholds for the whole experiment come from: the real images, so that
        translated ones are measured with the same thresholds. By default all groups.
    thresholds : mapping of str to float, optional
        Thresholds of an earlier measurement, in grey values; those that lack are fitted.
    segmenter : callable, optional
        What cuts out the nuclei, or what else the profile measures first, in place of thresholds:
        from a plane of shape (Y, X) in grey values to labels of that shape, 0 is background.
    given_labels : callable, optional
        From the name of a group and an image to its labels, in place of `segmenter`.
    on_image : callable, optional
        Called with the number of images measured so far. What it raises ends the measurement.
    on_objects : callable, optional
        Called for each image with its condition and its labels, of shape (Y, X), int32.

    Returns
    -------
    Measurement
        Tables with one row per image, and one per cell where the profile has cells. Lengths and
        areas are in pixels, and in micrometres where the pixel size is known.

    Raises
    ------
    InputError
        If there is no such profile, the settings are another profile's, `fit_on` names an
        unknown group, there are no images, or none has the channels that the settings name.

    Examples
    --------
    >>> from napari_phenldiff import measure
    >>> found = measure("translocation", "data", fit_on=("untreated", "treated"))  # doctest: +SKIP
    >>> found.write("table.csv")  # doctest: +SKIP
    """
    return measure_images(
        profile,
        _read(groups, z),
        settings,
        fit_on=fit_on,
        thresholds=thresholds,
        segmenter=segmenter,
        given_labels=given_labels,
        on_image=on_image,
        on_objects=on_objects,
    )


def measure_into(
    profile: str,
    groups: Mapping[str, ImageFiles],
    out: Path,
    settings: Settings | None = None,
    *,
    z: int | Projection | None = None,
    fit_on: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    labels: Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    column_names: ColumnNames = "scikit-image",
    on_event: OnEvent = ignore,
) -> BatchResult:
    """Measure any number of files into tables, in memory that does not grow with their number.

    Parameters
    ----------
    profile, settings, z, fit_on, thresholds
        As in `measure`.
    groups : mapping of str to ImageFiles
        Files per condition.
    out : pathlib.Path
        Table of images to write; that of cells and the settings are written beside it.
    labels : pathlib.Path, optional
        Folder of labels, called like the images, in place of a segmentation.
    workers : int
        Processes that measure.
    scheduler : str, optional
        Address of a Dask cluster, in place of `workers`.
    column_names : {"scikit-image", "cellprofiler"}
        What columns are called in the tables.
    on_event : callable
        Told what happens: see :mod:`napari_phenldiff.runs.events`.

    Raises
    ------
    InputError
        If the table cannot be written, a file of its name is none of a measurement, or nothing
        can be measured.
    """
    check_output_file(out, f"_cells{out.suffix}", "_settings.json")
    if not is_measured(out):
        for file in files_of(out).values():
            check_nothing_is_lost(file, "the table")
    total = sum(len(files.sources) for files in groups.values())
    with workers_at(workers, scheduler) as where:
        result = measure_files(
            profile,
            {name: files.sources for name, files in groups.items()},
            out,
            settings,
            z=z,
            fit_on=fit_on,
            thresholds=thresholds,
            label_folder=labels,
            workers=where,
            column_names=column_names,
            # A file may hold several images.
            on_image=lambda done: on_event(Progress(done, max(done, total))),
        )
    left_out = dict.fromkeys(text for files in groups.values() for text in files.left_out)
    for text in (*left_out, *result.warnings):
        on_event(Warned(text))
    return result


def files_of(table: Path) -> dict[str, Path]:
    """Return, by what they are, the files that a measurement writes for a table."""
    return {
        "the table": table,
        "the table of cells": table.with_name(f"{table.stem}_cells{table.suffix}"),
        SETTINGS: table.with_name(f"{table.stem}_settings.json"),
    }


def is_measured(table: Path) -> bool:
    """Tell whether the settings of a measurement lie beside a table, so that it may be replaced."""
    try:
        read_settings(table.with_name(f"{table.stem}_settings.json"))
    except InputError:
        return False
    return True


def _read(groups: Groups, z: int | Projection | None) -> dict[str, Iterable[Image]]:
    """Return the images of groups that may be paths."""
    if not isinstance(groups, Mapping):
        return dict(find_groups([os.fspath(groups)], z=z))
    found: dict[str, Iterable[Image]] = {}
    for name, images in groups.items():
        if isinstance(images, str | os.PathLike):
            found.update(find_groups([f"{name}={os.fspath(images)}"], z=z))
        else:
            found[name] = images
    return found
