"""One unit of a translation: read, translated and written, by this process or by a worker."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.survey import MADE
from napari_phenldiff.jobs.cell_count import NucleiCounter
from napari_phenldiff.jobs.translation_files import FailedFile, FileToTranslate, Unit
from napari_phenldiff.jobs.translation_output import Output
from napari_phenldiff.runs.config import TranslationConfig

if TYPE_CHECKING:
    from napari_phenldiff.baselines.loading import ImageTranslator
    from napari_phenldiff.diffusion.dial import Dial
    from napari_phenldiff.diffusion.fields import Translation
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.runs.folder import Run


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is the same for all units of a translation; it can be sent to another process.

    Attributes
    ----------
    config : TranslationConfig
    z : int, "max", "mean", "sum" or None
        Plane or projection of files with planes in depth.
    output : Output
    provenance : dict
        What the metadata of every image say.
    counter : NucleiCounter or None
        Counts cells; None where they cannot be counted.
    """

    config: TranslationConfig
    z: int | Projection | None
    output: Output
    provenance: Mapping[str, Any]
    counter: NucleiCounter | None


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file whose results are written.

    Attributes
    ----------
    file : str
        Output name.
    hashes : tuple of str
        Of the pixels of the images that were translated.
    images : tuple of dict
        What ``translation.json`` says of each.
    """

    file: str
    hashes: tuple[str, ...]
    images: tuple[dict[str, Any], ...]


def _never() -> bool:
    return False


@dataclass(slots=True)
class Following:
    """What is done while a unit is translated, by who follows it in the same process.

    Attributes
    ----------
    should_stop : callable
        Asked before each image.
    on_image : callable
        Called with each translation, and whether it is one that is written.
    keep : callable, optional
        Called with the dial of each image, in the order of the images.
    """

    should_stop: Callable[[], bool] = _never
    on_image: Callable[[Translation, bool], None] = lambda translation, left: None
    keep: Callable[[Dial], None] | None = None


def translate_unit(
    recipe: Recipe, unit: Unit, translator: ImageTranslator, following: Following
) -> Iterator[WrittenFile | FailedFile]:
    """Translate the files of a unit, and write those that are left.

    Parameters
    ----------
    recipe : Recipe
    unit : Unit
    translator : ImageTranslator
        Of the run.
    following : Following

    Yields
    ------
    WrittenFile or FailedFile
        One for each file that is left. None is begun after it was asked to stop.
    """
    coming: deque[FileToTranslate] = deque()
    failed: list[FailedFile] = []

    def images() -> Iterator[Image]:
        for file in unit.files:
            try:
                taken = list(file.take(recipe.z))
            except InputError as error:
                if file.output_name in unit.left:
                    failed.append(FailedFile(file.source, str(error)))
                continue
            for image in taken:
                coming.append(file)
                yield image

    keep = following.keep
    results = translator.translate(images(), recipe.config, keep=keep is not None)
    made: dict[str, list[Translation]] = {}
    settled: set[str] = set()
    while not following.should_stop():
        try:
            translation = next(results, None)
        except InputError as error:
            for file in unit.files:
                if file.output_name in unit.left - settled:
                    yield FailedFile(file.source, str(error))
            return
        yield from _drained(failed, settled)
        if translation is None:
            return
        file = coming.popleft()
        if keep is not None and translation.dial is not None:
            keep(translation.dial)
            # What is written needs no inversion.
            translation = replace(translation, dial=None)
        left = file.output_name in unit.left
        following.on_image(translation, left)
        if not left:
            continue
        translations = made.setdefault(file.output_name, [])
        translations.append(translation)
        if len(translations) == sum(file.wanted):
            settled.add(file.output_name)
            try:
                yield _written(recipe, file, made.pop(file.output_name))
            except InputError as error:
                yield FailedFile(file.source, str(error))


def _drained(failed: list[FailedFile], settled: set[str]) -> Iterator[FailedFile]:
    settled.update(f"{one.source.name}.tif" for one in failed)
    yield from failed
    failed.clear()


def _written(recipe: Recipe, file: FileToTranslate, translations: list[Translation]) -> WrittenFile:
    hashes = file.wanted_hashes
    provenance = {
        **recipe.provenance,
        "source_file": str(file.path.resolve()),
        "source_sha256": hashes,
        "residuals": [_finite(t.residual) for t in translations],
    }
    for kind in MADE:
        planes = [getattr(translation, kind) for translation in translations]
        recipe.output.write(kind, file, planes, {"kind": kind, **provenance})
    counter = recipe.counter
    place = recipe.output.place(file.output_name)
    return WrittenFile(
        file.output_name,
        tuple(hashes),
        tuple(
            {
                "image": translation.name,
                "file": file.output_name if place is None else place,
                "source_file": str(file.path.resolve()),
                "source_sha256": digest,
                "residual": _finite(translation.residual),
                "code_correlation": _finite(translation.code_correlation),
                "code_spread": _finite(translation.code_spread),
                "seconds": _finite(translation.seconds),
                "cells": None if counter is None else counter.count(translation),
            }
            for translation, digest in zip(translations, hashes, strict=True)
        ),
    )


def _finite(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class RunToLoad:
    """Which model a worker needs; equal for equal ones.

    Attributes
    ----------
    path : Path
        The run.
    base_at : Path or None
        Where the base lies, if that was said.
    weights : tuple of (str, str)
        Hashes of the files of the adapter, by name: a run that was trained anew is another one.
    device : str
        ``"auto"`` or a torch device.
    """

    path: Path
    base_at: Path | None
    weights: tuple[tuple[str, str], ...]
    device: str

    @classmethod
    def of(cls, run: Run, device: str) -> RunToLoad:
        """Say which model that of a run is."""
        return cls(run.path, run.base_at, run.adapter_hashes(), device)


_loaded: dict[RunToLoad, ImageTranslator] = {}
_turn = threading.Lock()
"""A worker of Dask may have several threads, and a model works on one batch at a time."""


def translator_of(run: RunToLoad) -> ImageTranslator:
    """Return the model of a run, loaded once in each process.

    Raises
    ------
    InputError
        If the run or its base cannot be read here, or the run is another one here.
    """
    if run not in _loaded:
        from napari_phenldiff.baselines.loading import load_translator
        from napari_phenldiff.runs.folder import Run
        from napari_phenldiff.runs.workers import worker_number

        # The model before makes room for this one.
        _loaded.clear()
        opened = Run.open(run.path, base_at=run.base_at)
        if opened.adapter_hashes() != run.weights:
            raise InputError(
                f"{run.path} is another run for a worker than here: let all machines see the same "
                "folders, and do not train a run while it translates."
            )
        _loaded[run] = load_translator(opened, device=run.device, worker=worker_number())
    return _loaded[run]


def translate_in_worker(
    run: RunToLoad, recipe: Recipe, unit: Unit
) -> list[WrittenFile | FailedFile]:
    """Translate and write a unit in a process that others may share."""
    with _turn:
        return list(translate_unit(recipe, unit, translator_of(run), Following()))


def translate_images(
    run: RunToLoad, config: TranslationConfig, images: list[Image]
) -> list[Translation]:
    """Translate images that are sent to a worker, and send back what was made of them."""
    with _turn:
        return list(translator_of(run).translate(images, config))
