"""Files that are translated one after the other or by several processes, and the account of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff import __version__
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.jobs import journal
from napari_phenldiff.jobs.cell_count import CellCount
from napari_phenldiff.jobs.journal import DoneFile
from napari_phenldiff.jobs.telling import OnEvent
from napari_phenldiff.jobs.translation_files import (
    FAILURES_NAME,
    FailedFile,
    FileToTranslate,
    Unit,
    units_of,
    write_failures,
)
from napari_phenldiff.jobs.translation_output import Output, TiffFolders
from napari_phenldiff.jobs.translation_unit import (
    Following,
    Recipe,
    RunToLoad,
    WrittenFile,
    translate_in_worker,
    translate_unit,
)
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Loading, Progress, Warned
from napari_phenldiff.runs.residuals import warning_about_residuals
from napari_phenldiff.runs.workers import Workers, as_done

if TYPE_CHECKING:
    from napari_phenldiff.baselines.loading import ImageTranslator
    from napari_phenldiff.diffusion.dial import Dial
    from napari_phenldiff.diffusion.fields import Translation
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.runs.folder import Run
    from napari_phenldiff.runs.lock import Held


SUMMARY_NAME = "translation.json"
_PART_SECONDS = 0.5
"""Seconds between two reports of how far the images are that are being translated."""
_HOPELESS = 3
"""Units that fail before any image is translated, from which on the others are not tried."""


def identity_of(run: Run, config: TranslationConfig, z: int | Projection | None) -> dict[str, Any]:
    """Return what is translated and how, apart from the images: equal for equal results."""
    return {
        "run_digest": run.digest,
        "adapter": dict(run.adapter_hashes()),
        "settings": config.model_dump(mode="json"),
        "plane": z,
    }


class TranslationJob:
    """Files being translated, and what is known of those that are done.

    Parameters
    ----------
    run : Run
    config : TranslationConfig
        Complete, see `settings_of_run`.
    files : list of FileToTranslate
        In the order in which they are accounted for.
    out : Path
        The folder of the results.
    z : int, "max", "mean", "sum" or None
        Plane or projection of files with planes in depth.
    cells : CellCount
        Has looked at all images.
    failures : list of FailedFile
        Files that were found unfit before.
    output : Output, optional
        Where images are written; by default TIFFs in `out`.
    """

    def __init__(
        self,
        run: Run,
        config: TranslationConfig,
        files: list[FileToTranslate],
        out: Path,
        z: int | Projection | None,
        cells: CellCount,
        failures: list[FailedFile] | None = None,
        output: Output | None = None,
    ) -> None:
        self.run = run
        self._config = config
        self._files = files
        self._units = list(units_of(files, config.batch_size))
        self.out = out
        self._z = z
        self.output = TiffFolders(out) if output is None else output
        self._total = sum(sum(file.wanted) for file in files)
        self._written: dict[str, tuple[dict[str, Any], ...]] = {}
        self._done = 0
        self.failures = failures or []
        self._failed_units = 0
        self._cells = cells
        self.warnings: list[str] = []
        self.held: Held | None = None
        """The lock of the folder, if what is done is to be written into its journal."""

    @property
    def done(self) -> list[dict[str, Any]]:
        """What is known of the images that are done, in the order of the files."""
        return [image for file in self._files for image in self._written.get(file.output_name, ())]

    def identity(self) -> dict[str, Any]:
        """Return what is translated and how, see `identity_of`, and into what."""
        return {
            **identity_of(self.run, self._config, self._z),
            "format": self.output.format,
        }

    def go_on(self, done: Mapping[str, DoneFile]) -> None:
        """Leave out the files that were done before, if they are the same and their results lie."""
        for file in self._files:
            found = done.get(file.output_name)
            if (
                found is not None
                and list(found.hashes) == file.wanted_hashes
                and self._lies(file, found)
            ):
                self._account(file.output_name, found.images)
        left = (replace(unit, left=unit.left - self._written.keys()) for unit in self._units)
        self._units = [unit for unit in left if unit.left]

    def _lies(self, file: FileToTranslate, found: DoneFile) -> bool:
        """Whether the results of a file are where they were written, and where they belong now."""
        place = self.output.place(file.output_name)
        moved = place is not None and any(image.get("file") != place for image in found.images)
        return not moved and self.output.holds(file)

    @property
    def complete(self) -> bool:
        """Whether all images are translated."""
        return self._done == self._total and not self.failures

    def carry_out(
        self,
        translator: ImageTranslator,
        stopped: Callable[[], bool],
        tell: OnEvent,
        *,
        keep: Callable[[Dial], None] | None = None,
    ) -> None:
        """Translate and write file by file, in this process, until done or stopped.

        Parameters
        ----------
        translator : ImageTranslator
            Of the run.
        stopped : callable
            Asked before each image.
        tell : callable
            Told of the progress, between the passes of the network too, and warned if inversions
            have failed.
        keep : callable, optional
            Called with the dial of each image, in the order of the images.
        """
        started = told = time.monotonic()
        before = done = self._done
        spent, ready = 0.0, 0  # seconds of images that are written; images only made so far

        def on_part(together: int, step: int, steps: int) -> None:
            nonlocal told, ready
            ready = together if step == steps else 0
            now = time.monotonic()
            if now - told < _PART_SECONDS:
                return
            told = now
            part = together * step / steps
            left = (now - started) / (done - before + part) * (self._total - done - part)
            many = f"{together} images at once, " if together > 1 else ""
            text = f"{many}step {step} of {steps}"
            tell(Progress(done, self._total, text, left, part=part))

        def on_image(translation: Translation, new: bool) -> None:
            nonlocal done, ready, spent
            if self.held is not None:
                self.held.check()
            ready = max(0, ready - 1)
            if not new:
                return
            done += 1
            # the images of a batch come all at once: a clock would charge them to the first
            spent += translation.seconds
            left = spent / (done - before) * (self._total - done - ready)
            tell(Progress(done, self._total, translation.name, left, part=float(ready)))

        translator.on_part = on_part
        tell(Loading(f"Translating {count(self._total - before, 'image')}"))
        recipe, following = self._recipe(), Following(stopped, on_image, keep)
        for unit in self._units:
            if stopped():
                return
            self._take(list(self._noted(translate_unit(recipe, unit, translator, following))))
        if not stopped():
            self._conclude(tell)

    def carry_out_by(
        self, workers: Workers, device: str, stopped: Callable[[], bool], tell: OnEvent
    ) -> None:
        """Translate and write in other processes, until done or stopped.

        Parameters
        ----------
        workers : Workers
            Each loads the model once.
        device : str
            ``"auto"`` or a torch device, of each worker.
        stopped : callable
            When it returns True, no unit is begun any more.
        tell : callable
            Told of the progress.
        """
        work = partial(translate_in_worker, RunToLoad.of(self.run, device), self._recipe())
        text = f"Translating {count(self._total - self._done, 'image')}"
        tell(Loading(f"{text} with {count(workers.number, 'worker')}"))
        started = before = 0.0
        for number, outcome in enumerate(as_done(work, self._units, workers, stopped), 1):
            unit, found = outcome.job, outcome.result
            if found is None:
                reason = str(outcome.error)
                found = [FailedFile(file.source, reason) for file in _left_of(unit)]
            self._take(list(self._noted(iter(found))))
            if number <= workers.number:
                # Each worker loads the model first, which tells nothing of the images to come.
                started, before = time.monotonic(), self._done
            left = None
            if self._done > before:
                each = (time.monotonic() - started) / (self._done - before)
                left = each * (self._total - self._done)
            if self._done:
                tell(Progress(self._done, self._total, unit.files[-1].source.name, left))
        if not stopped():
            self._conclude(tell)

    def _recipe(self) -> Recipe:
        return Recipe(self._config, self._z, self.output, self._provenance(), self._cells.counter())

    def _noted(
        self, found: Iterator[WrittenFile | FailedFile]
    ) -> Iterator[WrittenFile | FailedFile]:
        """Write down each file as soon as it is done."""
        for one in found:
            if isinstance(one, WrittenFile):
                self._account(one.file, one.images)
                if self.held is not None:
                    self.held.check()
                    journal.add(self.out, one.file, one.hashes, one.images)
            else:
                self.failures.append(one)
            yield one

    def _take(self, found: list[WrittenFile | FailedFile]) -> None:
        """End a translation of which nothing will come."""
        failed = [one for one in found if isinstance(one, FailedFile)]
        self._failed_units += len(failed) == len(found) > 0
        if not self._done and self._failed_units >= _HOPELESS:
            raise InputError(failed[0].reason)

    def _account(self, name: str, images: tuple[dict[str, Any], ...]) -> None:
        self._written[name] = images
        self._done += len(images)
        for image in images:
            self._cells.add_counted(image.get("cells"))

    def _conclude(self, tell: OnEvent) -> None:
        """Tell what is known when all files are done or have failed."""
        if not self._done and self.failures:
            raise InputError(self.failures[-1].reason)
        tell(self._cells.event())
        text = warning_about_residuals(one["residual"] for one in self.done)
        if text is not None:
            self.warnings.append(text)
            tell(Warned(text))

    def failure(self) -> str | None:
        """Tell in one sentence which files could not be translated; None if all were."""
        if not self.failures:
            return None
        first = self.failures[0]
        return (
            f"{count(len(self.failures), 'file')} of {len(self._files_given())} could not be "
            f"translated, see {self.out / FAILURES_NAME}; the same command tries them again (the "
            f"first: {first.reason.removesuffix('.')})."
        )

    def _files_given(self) -> set[str]:
        names = {file.source.name for file in self._files}
        return names | {failed.source.name for failed in self.failures}

    def _provenance(self) -> dict[str, Any]:
        return {
            "software": f"napari-phenldiff {__version__}",
            "run": str(self.run.path),
            "run_digest": self.run.digest,
            "method": self.run.config.method,
            "preset": getattr(self.run.config, "preset", None),
            "base": self.run.config.base,
            "base_weights": None
            if self.run.base_weights is None
            else self.run.base_weights.model_dump(),
            "reference_channels": list(self.run.reference_channels),
            "normalised_channels": list(self.run.normalised_channels),
            "settings": self._config.model_dump(),
        }

    def write_summary(self) -> None:
        """Write translation.json about what is done so far, and failures.csv."""
        from napari_phenldiff.images.files import write_atomic

        summary = {
            **self._provenance(),
            **self.identity(),
            "complete": self.complete,
            "cells": self._cells.summary(),
            "warnings": self.warnings,
            "images": self.done,
        }
        with write_atomic(self.out / SUMMARY_NAME) as aside:
            aside.write_text(json.dumps(summary, indent=1, allow_nan=False) + "\n", "utf-8")
        write_failures(self.out, self.failures)


def _left_of(unit: Unit) -> list[FileToTranslate]:
    return [file for file in unit.files if file.output_name in unit.left]
