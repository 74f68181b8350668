"""Measure any number of files, one after the other or in several processes, into tables on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import vary_by_file
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import default_channel_names
from napari_phenldiff.images.sources import ImageSource, as_source
from napari_phenldiff.images.survey import ImageFacts
from napari_phenldiff.measurement.measure import checked_settings, measure_row
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.profiles.channels import with_channels
from napari_phenldiff.measurement.profiles.fitting import (
    PixelSample,
    ThresholdFit,
    draw_samples,
    fitted_parts,
)
from napari_phenldiff.measurement.profiles.profile import Profile
from napari_phenldiff.measurement.segmentation.segmenters import (
    NOTHING_YET,
    GivenLabels,
    LabelFolder,
    with_segmenter,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.tables.csv_files import ColumnNames, Spool, renaming
from napari_phenldiff.measurement.tables.measurement import cell_table, image_table, write_settings
from napari_phenldiff.measurement.tables.outcome import Outcome
from napari_phenldiff.runs.residuals import is_large
from napari_phenldiff.runs.workers import Workers, in_order

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection


_LOOKED_AT = 50
"""Files whose channels are looked at to tell whether each calls them something else."""


_Read = Callable[[ImageSource], list[Image]]


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """Result of a measurement of many files; the tables are on disk.

    Parameters
    ----------
    main_column : str
        The column in which conditions are compared by default.
    main_values : dict of str to numpy.ndarray of shape (N,), float64
        That column, per condition; NaN where an image could not be measured.
    thresholds : dict of str to float
        Thresholds that were used for the whole experiment.
    written : tuple of pathlib.Path
        The files, the table of images last.
    warnings : tuple of str
        What could not be measured, and what may be wrong with the images.
    settings : Settings
        What was measured with: the channels by their names.
    """

    main_column: str
    main_values: dict[str, np.ndarray]
    thresholds: dict[str, float]
    written: tuple[Path, ...]
    settings: Settings
    warnings: tuple[str, ...] = ()


def measure_files(
    profile: str,
    groups: Mapping[str, Sequence[str | os.PathLike[str] | ImageSource]],
    out: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    z: int | Projection | None = None,
    fit_on: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    label_folder: str | os.PathLike[str] | None = None,
    workers: Workers | None = None,
    column_names: ColumnNames = "scikit-image",
    on_image: Callable[[int], None] | None = None,
) -> BatchResult:
    """Measure files as `measure` does images, in memory that does not grow with their number.

    The tables are the same to the last digit wherever and in however many processes the files are
    measured, and the same as those that `Measurement.write` writes.

    Parameters
    ----------
    profile : str
        Name of a profile.
    groups : mapping of str to sequence of path-like or ImageSource
        TIFFs per condition, or where else their images lie.
    out : path-like
        The table of images, for example ``T.csv``; ``T_cells.csv`` and ``T_settings.json`` are
        written beside it.
    settings, fit_on, thresholds
        As for `measure`.
    z : int, "max", "mean" or "sum", optional
        Plane or projection of files with planes in depth.
    label_folder : path-like, optional
        Folder with TIFFs of labels that are used in place of an own segmentation, see
        `LabelFolder`.
    workers : Workers, optional
        Where files are measured; see `local_workers` and `scheduler_workers`. By default here.
    column_names : {"scikit-image", "cellprofiler"}
        What the columns are called in the files.
    on_image : callable, optional
        Called with the number of images measured so far. What it raises ends the measurement.

    Returns
    -------
    BatchResult

    Raises
    ------
    InputError
        As `measure`, if a file cannot be read, and if nothing could be measured. No table is
        written then.
    """
    chosen = find_profile(profile)
    settings = checked_settings(chosen, settings, list(groups), fit_on)
    labels = None if label_folder is None else LabelFolder(Path(label_folder).resolve())
    if labels is not None:
        settings = with_segmenter(settings, NOTHING_YET)
    workers = workers if workers is not None else Workers()
    # A worker may have another working directory. Links stay: images are called like them.
    files = {name: [as_source(path).absolute() for path in paths] for name, paths in groups.items()}
    if labels is not None:
        labels.check(
            (name, source.name, source.path)
            for name, sources in files.items()
            for source in sources
        )
    every = list(chain.from_iterable(files.values()))
    read = partial(_read, z, vary_by_file(islice(_channel_names(every), _LOOKED_AT)))
    channels = (image.channel_names for source in every for image in _readable(read, source))
    settings = with_channels(chosen, settings, channels)
    suited = chosen.suited(settings)
    main_column = suited.main_column
    known = dict(thresholds or {})
    doubts: list[str] = []
    if any(name not in known for name in fitted_parts(chosen, settings)):
        fitted = chain.from_iterable(files[name] for name in fit_on or files)
        known = _fit(chosen, settings, fitted, read, workers, doubts.append) | known

    jobs = ((name, source) for name, sources in files.items() for source in sources)
    rows_of = partial(_measure_file, profile, settings, known, read, labels)
    first = ["image", "condition"]
    main_values: dict[str, list[float]] = {}
    done, lacking, error, channel = 0, 0, None, ""
    outcome = Outcome(suited, doubts)
    with ExitStack() as stack:
        images = stack.enter_context(Spool([*first, *chosen.columns], ["reason"]))
        cells = stack.enter_context(Spool([*first, *chosen.cell_columns]))
        for rows in in_order(rows_of, jobs, workers):
            for row in rows:
                images.add(row.values)
                outcome.add(row.values, row.facts)
                outcome.add_residuals(row.values["condition"], [row.residual])
                if row.cells and len(row.cells["label"]):
                    cells.add(row.cells)
                condition = row.values["condition"]
                value = row.values.get(main_column)
                main_values.setdefault(condition, []).append(np.nan if value is None else value)
                channel = channel or str(row.values.get("channel", ""))
                done += 1
                if row.error is not None:
                    lacking, error = lacking + 1, error or row.error
                if on_image is not None:
                    on_image(done)
        if not done:
            raise InputError("There are no images to measure: give a folder with some.")
        if lacking == done and error is not None:
            raise error
        outcome.check()
        path = Path(out)
        cells_path = path.with_name(f"{path.stem}_cells{path.suffix}")
        written = [path.with_name(f"{path.stem}_settings.json")]
        for spool in (images, cells):
            spool.flush()
        # All are complete before the first has its name, so that the files are of one measurement
        # whatever fails; the table has it last.
        with ExitStack() as writing:
            names = renaming(column_names, images.columns, channel)
            temporary = writing.enter_context(write_atomic(path))
            images.write(temporary, partial(image_table, chosen), names)
            if chosen.cell_columns:
                written.append(cells_path)
                names = renaming(column_names, cells.columns, channel, cells=True)
                temporary = writing.enter_context(write_atomic(cells_path))
                cells.write(temporary, partial(cell_table, chosen), names)
            write_settings(written[0], profile, settings, known)
        written.append(path)
    return BatchResult(
        main_column=main_column,
        main_values={name: np.array(values, float) for name, values in main_values.items()},
        thresholds=known,
        written=tuple(written),
        warnings=outcome.warnings(),
        settings=settings,
    )


@dataclass(frozen=True, slots=True)
class _Record:
    """A row as it comes back from a worker, without the objects."""

    values: dict[str, Any]
    cells: dict[str, Any]
    error: InputError | None
    facts: ImageFacts
    residual: float | None


def _measure_file(
    profile: str,
    settings: Settings,
    thresholds: Mapping[str, float],
    read: _Read,
    labels: GivenLabels | None,
    job: tuple[str, ImageSource],
) -> list[_Record]:
    from napari_phenldiff.images.tiff import read_provenance

    condition, source = job
    images = read(source)
    provenance = read_provenance(source.path) or {}
    residuals = provenance.get("residuals") or [None] * len(images)
    records = []
    for image, residual in zip(images, residuals, strict=False):
        row = measure_row(find_profile(profile), condition, image, settings, thresholds, labels)
        values = row.values
        if is_large(residual):
            values["reason"] = "; ".join(filter(None, (values["reason"], _not_exact(residual))))
        facts = ImageFacts.of(image)
        if "kind" in provenance:
            # A model made it, perhaps of a projection, and with values of its own.
            facts = replace(facts, n_planes=0, step=0)
        records.append(_Record(values, row.cells, row.error, facts, residual))
    return records


def _not_exact(residual: float | None) -> str:
    return f"made by an inversion that is not exact (residual {residual:.2g})"


def _fit(
    profile: Profile[Any],
    settings: Settings,
    sources: Iterable[ImageSource],
    read: _Read,
    workers: Workers,
    on_doubt: Callable[[str], None],
) -> dict[str, float]:
    fit = ThresholdFit(profile, settings)
    if fit.parts:
        # Each job is told how much is kept when it is given out; less may be by its end.
        jobs = ((source, fit.fractions) for source in sources)
        for samples in in_order(partial(_sample_file, fit.parts, read), jobs, workers):
            for sample in samples:
                fit.add(sample)
    return fit.thresholds(on_doubt)


def _sample_file(
    parts: Mapping[str, Any], read: _Read, job: tuple[ImageSource, Mapping[str, float]]
) -> list[dict[str, PixelSample]]:
    source, fractions = job
    return [draw_samples(image, parts, fractions) for image in read(source)]


def _read(z: int | Projection | None, numbered: bool, source: ImageSource) -> list[Image]:
    """Read a file; with numbers for its channels where what it calls them is no name."""
    images = source.read(z=z)
    if not numbered:
        return images
    return [
        replace(image, channel_names=default_channel_names(image.n_channels)) for image in images
    ]


def _readable(read: _Read, source: ImageSource) -> list[Image]:
    """Read a file if it can be; measuring it tells why not."""
    try:
        return read(source)
    except InputError:
        return []


def _channel_names(sources: Iterable[ImageSource]) -> Iterator[tuple[str, ...]]:
    return (peek.channel_names for source in sources if (peek := source.peek()) is not None)
