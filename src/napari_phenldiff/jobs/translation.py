"""Translate the images of files with a run, and write down what was made of which image."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.sources import count_files
from napari_phenldiff.jobs import journal
from napari_phenldiff.jobs.cell_count import CellCount
from napari_phenldiff.jobs.directions import direction, other_way_round
from napari_phenldiff.jobs.telling import OnEvent, ShouldStop, ignore, never
from napari_phenldiff.jobs.translation_files import FailedFile, check_files, run_warnings
from napari_phenldiff.jobs.translation_job import TranslationJob
from napari_phenldiff.jobs.translation_output import Format, ZarrPlates
from napari_phenldiff.runs import lock
from napari_phenldiff.runs.cluster import workers_at
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.contents import LOCK_NAME
from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Loading,
    Noted,
    Warned,
    append_event,
)
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.translation_settings import settings_of_run

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection


@dataclass(frozen=True, slots=True)
class TranslatedFiles:
    """What a translation of files has written.

    Attributes
    ----------
    folder : Path
        With the sub-folders ``translated`` and ``reconstructed``, and ``translation.json``.
    complete : bool
        Whether all images are translated; otherwise it was asked to stop, or some could not be.
    images : tuple of dict
        Per image, as in ``translation.json``: its file, how exact the inversion was, how many
        cells are lost or invented.
    warnings : tuple of str
        What the user should know.
    failure : str or None
        Which files could not be translated, in a sentence; ``failures.csv`` in the folder has all
        of them.
    """

    folder: Path
    complete: bool
    images: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    failure: str | None = None


def translate(
    run: Run | str | os.PathLike[str],
    images: str | os.PathLike[str] | Dataset,
    out: str | os.PathLike[str],
    config: TranslationConfig | None = None,
    *,
    held_out: bool = False,
    device: str = "auto",
    z: int | Projection | None = None,
    format: Format = "tiff",
    workers: int = 1,
    scheduler: str | None = None,
    should_stop: ShouldStop = never,
    on_event: OnEvent = ignore,
) -> TranslatedFiles:
    """Translate the images of files to another condition, into files.

    Images in memory are translated by a `Translator`.

    Parameters
    ----------
    run : Run or path-like
        A training that has a result.
    images : path-like or Dataset
        A TIFF, a folder of TIFFs, or a folder with a sub-folder per condition, or a table, of which
        the condition named like the source is taken.
    out : path-like
        New folder, or one in which the same translation was stopped or killed: that goes on, and
        does no image again. It gets, under the name of each file and with its shape, dtype and
        range, ``translated/NAME.tif`` and ``reconstructed/NAME.tif``; compare these with each
        other, since both have gone through the model.
    config : TranslationConfig, optional
        From what to what, and how; by default from the source of the run to its target.
    held_out : bool
        Leave out images that the run was trained on.
    device : str
        ``"auto"`` or a torch device.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection of files with a z axis.
    format : {"tiff", "ome-zarr"}
        TIFFs, or two plates of OME-Zarr, ``translated/PLATE.zarr`` and
        ``reconstructed/PLATE.zarr``, in which each file is a field of its well.
    workers : int
        Processes of this machine that translate; each loads the model. The images are the same
        for any number of them, if each has as many threads.
    scheduler : str, optional
        Address of a Dask cluster, in place of `workers`. Its workers must see the same folders.
    should_stop : callable
        Asked before each image. When it returns True, what is done stays, and the rest is left.
    on_event : callable
        Told what happens: see :mod:`napari_phenldiff.runs.events`.

    Raises
    ------
    InputError
        If the run has no result, none of the images can be translated, or workers are lost. What
        was done before stays.

    Examples
    --------
    >>> from napari_phenldiff import TranslationConfig, translate
    >>> config = TranslationConfig(source="untreated", target="treated", strength=0.5)
    >>> done = translate("run", "data", "half", config)  # doctest: +SKIP
    >>> done.complete  # doctest: +SKIP
    True
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    if config is None:
        source, target = direction(opened, None, None)
        config = TranslationConfig(source=source, target=target)
    job = check_translation(
        opened,
        images,
        Path(out),
        config,
        held_out=held_out,
        z=z,
        format=format,
        on_event=on_event,
    )
    return carry_out(
        job,
        device=device,
        workers=workers,
        scheduler=scheduler,
        should_stop=should_stop,
        on_event=on_event,
    )


def check_translation(
    run: Run,
    images: str | os.PathLike[str] | Dataset,
    out: Path,
    config: TranslationConfig,
    *,
    held_out: bool = False,
    z: int | Projection | None = None,
    format: Format = "tiff",
    on_event: OnEvent = ignore,
) -> TranslationJob:
    """Read every file once, before anything is written, and tell what is wrong with it.

    Files that cannot be translated are left out, and refused if there are no others. The others
    are read once more to be translated: there is never more than one file and one batch in memory.
    Parameters as in `translate`.
    """
    for name in (config.source, config.target):
        if name not in run.conditions:
            raise InputError(
                f"{run.path} was not trained on condition {name}; it knows "
                f"{', '.join(run.conditions)}."
            )
    journal.check_folder(out)
    config = settings_of_run(run, config)
    if not run.has_adapter:
        raise InputError(
            f"{run.path} has no result yet (its state is: {run.state}); train it first, or go on "
            f"with `phenldiff train --resume {run.path}`."
        )
    if isinstance(images, Dataset):
        found = images.select([config.source]) if images.by_folder else images
    else:
        found = Dataset.find(images, conditions=[config.source])
    sources = found.sources
    on_event(Noted(found.summary(left_out=False).removesuffix(".")))
    reverse = other_way_round(run, config.source, config.target)
    if reverse is not None:
        on_event(Noted(reverse))
    if run.reference_channels:
        names = ", ".join(run.reference_channels)
        on_event(Noted(f"Reference channels, left as they are: {names}"))
    if run.normalised_channels:
        names = ", ".join(run.normalised_channels)
        on_event(Noted(f"Normalised channels, as bright as they are: {names}"))
    on_event(Loading(f"Checking {count_files(sources)}"))
    cells = CellCount(run.channel_names, run.reference_channels)
    failures: list[FailedFile] = []
    notes: list[str] = []
    files, warnings = check_files(
        run,
        sources,
        config.source,
        cells,
        held_out=held_out,
        z=z,
        advice="; --held-out leaves them out",
        failures=failures,
        notes=notes,
    )
    for text in notes:
        on_event(Noted(text))
    warnings = [*found.left_out, *warnings]
    output = (
        ZarrPlates.of_files(out.resolve(), files, run.scaling) if format == "ome-zarr" else None
    )
    job = TranslationJob(run, config, files, out.resolve(), z, cells, failures, output)
    job.warnings += [*warnings, *run_warnings(run)]
    journal.done_files(job.out, job.identity())
    return job


def carry_out(
    job: TranslationJob,
    *,
    device: str = "auto",
    workers: int = 1,
    scheduler: str | None = None,
    should_stop: ShouldStop = never,
    on_event: OnEvent = ignore,
) -> TranslatedFiles:
    """Translate what `check_translation` has checked; parameters as in `translate`.

    What happens is also written into ``events.jsonl``, for whoever watches the folder.
    """
    out = job.out

    def note(event: Event) -> None:
        append_event(out / "events.jsonl", event)
        on_event(event)

    with workers_at(workers, scheduler) as where, _held(out) as held:
        job.output.begin()
        asked = job.identity()
        job.go_on(journal.done_files(out, asked))
        job.held = held
        try:
            journal.begin(out, asked)
            if job.done:
                note(Noted(f"Going on: {count(len(job.done), 'image')} were done before"))
            for text in job.warnings:
                note(Warned(text))
            for failed in job.failures:
                note(Warned(f"Left out: {failed.reason}"))
            if where.executor is None:
                note(Loading("Loading the model"))
                from napari_phenldiff.baselines.loading import load_translator

                job.carry_out(load_translator(job.run, device=device), should_stop, note)
            else:
                job.carry_out_by(where, device, should_stop, note)
            held.check()  # writers of files would make a folder again that was removed
            job.output.end()
            job.write_summary()
            if job.complete:
                journal.end(out)
        except Exception as error:
            with suppress(OSError, InputError):
                held.check()
                job.output.end()
                job.write_summary()
            with suppress(OSError):
                append_event(out / "events.jsonl", Failed(explain(error)))
            if isinstance(error, InputError) and not job.done:
                shutil.rmtree(out, ignore_errors=True)
            raise
        note(Finished(len(job.done), stopped=not (job.complete or job.failures)))
    return TranslatedFiles(out, job.complete, tuple(job.done), tuple(job.warnings), job.failure())


@contextmanager
def _held(out: Path) -> Iterator[lock.Held]:
    """Make a folder, and keep other processes from writing into it."""
    out.mkdir(parents=True, exist_ok=True)
    with lock.hold(out / LOCK_NAME, what=f"folder {out}") as held:
        yield held
