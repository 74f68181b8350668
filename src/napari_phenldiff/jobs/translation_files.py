"""Files that are to be translated: checked before anything is written, and put into units."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.places import NOWHERE, Site
from napari_phenldiff.jobs.cell_count import CellCount
from napari_phenldiff.jobs.trained_channels import (
    OTHER_NAMES,
    left_out_in_words,
    other_names,
    trained_of,
)

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.images.sources import ImageSource
    from napari_phenldiff.runs.folder import Run

FAILURES_NAME = "failures.csv"

TRAINED_ON = "The run was trained on"
"""How the warning of images that a run knows begins, by which it is found again."""

_UNIT_PIXELS_PER_TILE = 512 * 512
"""Pixels of a unit per tile of a batch: large fields are units of their own."""


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
    pixels : int
        Of one channel, of all images that are translated.
    site : Site
        Plate, well and field, as far as they are known.
    """

    source: ImageSource
    hashes: list[str]
    wanted: list[bool]
    images: list[Image] | None = None
    pixels: int = 0
    site: Site = NOWHERE

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


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that could not be translated.

    Attributes
    ----------
    source : ImageSource
    reason : str
        A sentence.
    """

    source: ImageSource
    reason: str


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that are translated together.

    Which tiles go through the network together makes a difference in the last digit. So units
    follow from the files alone, and one that was interrupted is made again as a whole: results are
    the same in however many processes and pieces a translation is done.

    Attributes
    ----------
    number : int
        Place in the order of the units.
    files : tuple of FileToTranslate
    left : frozenset of str
        Output names of those that are not written yet.
    """

    number: int
    files: tuple[FileToTranslate, ...]
    left: frozenset[str]

    @property
    def images_left(self) -> int:
        """Number of images whose results are not written yet."""
        return sum(sum(file.wanted) for file in self.files if file.output_name in self.left)


def units_of(files: Sequence[FileToTranslate], batch_size: int) -> Iterator[Unit]:
    """Put files into units, each of enough images to fill a batch of the network.

    The first file is a unit of its own, so that there is soon something to see.

    Parameters
    ----------
    files : sequence of FileToTranslate
    batch_size : int
        Tiles that go through the network at once.
    """
    number = 0
    some: list[FileToTranslate] = []
    for place, file in enumerate(files):
        some.append(file)
        full = (
            sum(sum(one.wanted) for one in some) >= batch_size
            or sum(one.pixels for one in some) >= batch_size * _UNIT_PIXELS_PER_TILE
        )
        if full or place in (0, len(files) - 1):
            yield Unit(number, tuple(some), frozenset(one.output_name for one in some))
            number += 1
            some = []


def write_failures(folder: Path, failures: Sequence[FailedFile]) -> None:
    """Write a table of the files that could not be translated; without any, there is none."""
    path = folder / FAILURES_NAME
    if not failures:
        path.unlink(missing_ok=True)
        return
    with write_atomic(path) as aside, aside.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(("image", "file", "reason"))
        for failed in failures:
            table.writerow((failed.source.name, failed.source.path, failed.reason))


@dataclass(slots=True)
class _Seen:
    """What is noticed while files are checked."""

    files: list[FileToTranslate] = field(default_factory=list)
    images: int = 0
    left_out: int = 0
    trained_on: int = 0
    kept: int = 0
    names_differ: bool = False


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
    failures: list[FailedFile] | None = None,
    notes: list[str] | None = None,
) -> tuple[list[FileToTranslate], list[str]]:
    """Read all files once; return what is to be done, and what the user should know.

    Parameters
    ----------
    run : Run
    given : sequence of Path or ImageSource
    source : str
        The condition that they are in.
    cells : CellCount
        Looks at the images.
    held_out : bool
        Leave out images that were trained on.
    z : int, "max", "mean" or "sum", optional
        Plane or projection of files with planes in depth.
    advice : str
        What to do about images that were trained on.
    keep_bytes : int
        Of the pixels, so many stay in memory until they are translated; other files are read again
        then, so that any number can be translated.
    failures : list of FailedFile, optional
        Gets files that cannot be translated. Without it, or if there are no others, the first of
        them is refused.
    notes : list of str, optional
        Gets what is worth knowing and nothing to be warned of.

    Raises
    ------
    InputError
        If files cannot be translated.
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
    first = next((peek for one in sources if (peek := one.peek()) is not None), None)
    chosen = None if first is None else trained_of(run, first.channel_names)
    if chosen is not None:
        sources = [replace(one, channels=chosen) for one in sources]
    suitability = Suitability(run)
    seen = _Seen()
    for one in sources:
        try:
            images = _readable(run, one, z, seen)
        except InputError as error:
            if failures is None:
                raise
            failures.append(FailedFile(one, str(error)))
            continue
        hashes = [image.sha256 for image in images]
        known = [digest in run.trained_images for digest in hashes]
        file = FileToTranslate(one, hashes, [not (held_out and trained) for trained in known])
        seen.images += len(known)
        seen.trained_on += sum(known)
        seen.left_out += file.wanted.count(False)
        for image, wanted in zip(images, file.wanted, strict=True):
            if wanted:
                cells.look(image)
                suitability.add(source, image)
                file.pixels += image.shape[0] * image.shape[1]
                file.site = image.site or one.site
        if any(file.wanted):
            seen.files.append(file)
            seen.kept += sum(image.data.nbytes for image in images)
            if seen.kept <= keep_bytes:
                file.images = images
    if not seen.files:
        if failures:
            raise InputError(failures[0].reason)
        raise InputError(
            "The run was trained on all of these images, so --held-out leaves none; give others."
        )
    suitability.check()
    if notes is not None:
        notes += suitability.about_brightest()
    warnings = []
    if first is not None and chosen is not None:
        warnings.append(left_out_in_words(first.channel_names, chosen))
    if seen.names_differ:
        warnings.append(OTHER_NAMES.format(", ".join(run.channel_names)))
    if seen.left_out:
        warnings.append(f"Left out {count(seen.left_out, 'image')} that the run was trained on.")
    elif seen.trained_on:
        known_ones = f"{seen.trained_on} of these images"
        if seen.trained_on == seen.images:
            known_ones = "this image" if seen.images == 1 else "all of these images"
        warnings.append(f"{TRAINED_ON} {known_ones}{advice}.")
    return seen.files, [*warnings, *suitability.warnings()]


def _readable(
    run: Run, source: ImageSource, z: int | Projection | None, seen: _Seen
) -> list[Image]:
    """Read a file, or refuse it."""
    from napari_phenldiff.images.checks import check_finite

    images = source.read(z=z)
    differ = [other_names(run, source.path, image) for image in images]
    for image in images:
        check_finite(image)
    seen.names_differ = seen.names_differ or any(differ)
    return images


_NO_BASE_WEIGHTS = (
    "The run does not say which weights its base model had, as an older version made it: whether "
    "the base is still the same can't be checked."
)


def run_warnings(run: Run) -> list[str]:
    """Tell if a run was not trained to its end, or not on a base model that is known."""
    told = [text] if (text := unfinished(run)) else []
    if run.base_weights is None and run.config.method == "phenldiff":
        told.append(_NO_BASE_WEIGHTS)
    return told


def unfinished(run: Run) -> str:
    """Return a sentence about a run that was not trained to its end; else an empty one."""
    done = run.latest_checkpoint()
    if done is None or run.state == "finished":
        return ""
    return (
        f"The run was not trained to its end ({done[0]:,} of {run.config.steps:,} steps): what it "
        "shows may be a part of what it would show, or something else."
    )
