"""Files that are translated one after the other, and the account of it."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff import __version__
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.jobs import journal
from napari_phenldiff.jobs.cell_count import CellCount
from napari_phenldiff.jobs.journal import DoneFile
from napari_phenldiff.jobs.telling import OnEvent
from napari_phenldiff.jobs.trained_channels import (
    OTHER_NAMES,
    left_out_in_words,
    other_names,
    trained_of,
)
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Loading, Progress, Warned
from napari_phenldiff.runs.residuals import warning_about_residuals

if TYPE_CHECKING:
    from napari_phenldiff.baselines.loading import ImageTranslator
    from napari_phenldiff.diffusion.dial import Dial
    from napari_phenldiff.diffusion.fields import Translation
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.images.sources import ImageSource
    from napari_phenldiff.runs.folder import Run
    from napari_phenldiff.runs.lock import Held


SUMMARY_NAME = "translation.json"
_PART_SECONDS = 0.5
"""Seconds between two reports of how far the images are that are being translated."""


@dataclass(slots=True)
class FileToTranslate:
    """An input file and which of its images are translated.

    Attributes
    ----------
    source : ImageSource
        The file, or the files of the image.
    hashes : list of str
        Of the pixels of each image in the file.
    wanted : list of bool
        Which of the images are translated.
    images : list of Image or None
        What is in the file, as long as it is kept in memory.
    """

    source: ImageSource
    hashes: list[str]
    wanted: list[bool]
    images: list[Image] | None = None

    @property
    def path(self) -> Path:
        """The file that tells of the image."""
        return self.source.path

    @property
    def output_name(self) -> str:
        """Name of the files that the results are written to."""
        return f"{self.source.name}.tif"

    @property
    def wanted_hashes(self) -> list[str]:
        """Hashes of the images that are translated."""
        return [digest for digest, wanted in zip(self.hashes, self.wanted, strict=True) if wanted]

    def take(self, z: int | Projection | None) -> Iterator[Image]:
        """Yield the images to translate, from memory where they are kept, and let go of them."""
        images, self.images = self.images, None
        images = self.source.read(z=z) if images is None else images
        yield from (image for image, wanted in zip(images, self.wanted, strict=True) if wanted)


def check_files(
    run: Run,
    given: Sequence[Path | ImageSource],
    source: str,
    cells: CellCount,
    *,
    held_out: bool = False,
    z: int | Projection | None = None,
    advice: str = "",
    keep_bytes: int = 0,
) -> tuple[list[FileToTranslate], list[str]]:
    """Read all files once; return what is to be done, and what the user should know.

    `source` is the condition they are in; `cells` looks at the images; `advice` is what to do about
    images that were trained on. Of the pixels, `keep_bytes` stay in memory until they are
    translated; other files are read again then, so that any number can be translated.
    """
    from napari_phenldiff.images.sources import as_source
    from napari_phenldiff.runs.suitability import Suitability

    sources = [as_source(one) for one in given]
    twice = [name for name, n in Counter(one.name for one in sources).items() if n > 1]
    if twice:
        raise InputError(
            f"{sources[0].path.parent} has several files named {twice[0]} that differ in their "
            "suffix only; rename one, since the results would have one name."
        )
    first = sources[0].peek() if sources else None
    chosen = None if first is None else trained_of(run, first.channel_names)
    if chosen is not None:
        sources = [replace(one, channels=chosen) for one in sources]
    files: list[FileToTranslate] = []
    left_out = trained_on = kept = 0
    names_differ = False
    suitability = Suitability(run)
    for one in sources:
        images = one.read(z=z)
        for image in images:
            names_differ = other_names(run, one.path, image) or names_differ
        hashes = [image.sha256 for image in images]
        known = [digest in run.trained_images for digest in hashes]
        file = FileToTranslate(one, hashes, [not (held_out and seen) for seen in known])
        trained_on += sum(known)
        left_out += file.wanted.count(False)
        for image, wanted in zip(images, file.wanted, strict=True):
            if wanted:
                cells.look(image)
                suitability.add(source, image)
        if any(file.wanted):
            files.append(file)
            kept += sum(image.data.nbytes for image in images)
            if kept <= keep_bytes:
                file.images = images
    if not files:
        raise InputError(
            "The run was trained on all of these images, so --held-out leaves none; give others."
        )
    suitability.check()
    warnings = []
    if first is not None and chosen is not None:
        warnings.append(left_out_in_words(first.channel_names, chosen))
    if names_differ:
        warnings.append(OTHER_NAMES.format(", ".join(run.channel_names)))
    if left_out:
        warnings.append(f"Left out {count(left_out, 'image')} that the run was trained on.")
    elif trained_on:
        warnings.append(f"The run was trained on {trained_on} of these images{advice}.")
    return files, [*warnings, *suitability.warnings()]


_NO_BASE_WEIGHTS = (
    "The run does not say which weights its base model had, as an older version made it: whether "
    "the base is still the same can't be checked."
)


def base_warnings(run: Run) -> list[str]:
    """Tell if a run does not say which weights its base model had."""
    if run.base_weights is not None or run.config.method != "phenldiff":
        return []
    return [_NO_BASE_WEIGHTS]


def identity_of(run: Run, config: TranslationConfig, z: int | Projection | None) -> dict[str, Any]:
    """Return what is translated and how, apart from the images: equal for equal results."""
    from napari_phenldiff.images.files import sha256_of

    adapter = run.adapter_path
    return {
        "run_digest": run.digest,
        "adapter": {
            path.relative_to(adapter).as_posix(): sha256_of(path)
            for path in sorted(adapter.rglob("*.safetensors"))
        },
        "settings": config.model_dump(mode="json"),
        "plane": z,
    }


class TranslationJob:
    """Files being translated one after the other, and what is known of those that are done."""

    def __init__(
        self,
        run: Run,
        config: TranslationConfig,
        files: list[FileToTranslate],
        out: Path,
        z: int | Projection | None,
        cells: CellCount,
    ) -> None:
        self.run = run
        self._config = config
        self._files = files
        self.out = out
        self._z = z
        self._total = sum(sum(file.wanted) for file in files)
        self.done: list[dict[str, Any]] = []
        self._cells = cells
        self.warnings: list[str] = []
        self.held: Held | None = None
        """The lock of the folder, if what is done is to be written into its journal."""

    def identity(self) -> dict[str, Any]:
        """Return what is translated and how, see `identity_of`."""
        return identity_of(self.run, self._config, self._z)

    def go_on(self, done: Mapping[str, DoneFile]) -> None:
        """Leave out the files that were done before, if they are the same and their results lie."""
        left = []
        for file in self._files:
            found = done.get(file.output_name)
            lie = all(
                (self.out / kind / file.output_name).is_file()
                for kind in ("reconstructed", "translated")
            )
            if found is None or not lie or list(found.hashes) != file.wanted_hashes:
                left.append(file)
                continue
            for image in found.images:
                self.done.append(image)
                self._cells.add_counted(image.get("cells"))
        self._files = left

    @property
    def complete(self) -> bool:
        """Whether all images are translated."""
        return len(self.done) == self._total

    def carry_out(
        self,
        translator: ImageTranslator,
        stopped: Callable[[], bool],
        tell: OnEvent,
        *,
        keep: Callable[[Dial], None] | None = None,
    ) -> None:
        """Translate and write file by file until done or stopped.

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
        images = (image for file in self._files for image in file.take(self._z))
        # The first image is a batch of its own, so that there is soon something to see.
        results = chain.from_iterable(
            translator.translate(some, self._config, keep=keep is not None)
            for some in (islice(images, 1), images)
        )
        started = told = time.monotonic()
        before = len(self.done)
        spent, done, ready = 0.0, before, 0  # images that are written, and only made so far

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

        translator.on_part = on_part
        tell(Loading(f"Translating {count(self._total - before, 'image')}"))
        for file in self._files:
            translations: list[Translation] = []
            for _ in range(sum(file.wanted)):
                if stopped():
                    return
                translations.append(next(results))
                dial = translations[-1].dial
                if keep is not None and dial is not None:
                    keep(dial)
                    # What is written needs no inversion.
                    translations[-1] = replace(translations[-1], dial=None)
                done, ready = done + 1, max(0, ready - 1)
                # the images of a batch come all at once: a clock would charge them to the first
                spent += translations[-1].seconds
                left = spent / (done - before) * (self._total - done - ready)
                name = translations[-1].name
                tell(Progress(done, self._total, name, left, part=float(ready)))
            self._write(file, translations)
        tell(self._cells.event())
        text = warning_about_residuals(one["residual"] for one in self.done)
        if text is not None:
            self.warnings.append(text)
            tell(Warned(text))

    def _write(self, file: FileToTranslate, translations: list[Translation]) -> None:
        from napari_phenldiff.images.tiff import write_stack

        if self.held is not None:
            self.held.check()
        hashes = file.wanted_hashes
        provenance = {
            **self._provenance(),
            "source_file": str(file.path.resolve()),
            "source_sha256": hashes,
            "residuals": [_finite(t.residual) for t in translations],
        }
        for kind, planes in (
            ("reconstructed", [t.reconstructed for t in translations]),
            ("translated", [t.translated for t in translations]),
        ):
            target = self.out / kind / file.output_name
            write_stack(target, planes, provenance={"kind": kind, **provenance})
        before = len(self.done)
        for translation, digest in zip(translations, hashes, strict=True):
            self.done.append(
                {
                    "image": translation.name,
                    "file": file.output_name,
                    "source_file": str(file.path.resolve()),
                    "source_sha256": digest,
                    "residual": _finite(translation.residual),
                    "code_correlation": _finite(translation.code_correlation),
                    "code_spread": _finite(translation.code_spread),
                    "seconds": _finite(translation.seconds),
                    "cells": self._cells.add(translation),
                }
            )
        if self.held is not None:
            journal.add(self.out, file.output_name, hashes, self.done[before:])

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
        """Write translation.json about what is done so far."""
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


def _finite(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return float(value) if math.isfinite(value) else None
