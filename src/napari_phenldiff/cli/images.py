"""``phenldiff images``: what a folder or table of images holds, and what is wrong with it."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.cli import options
from napari_phenldiff.cli.progress import say
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.checks import NOT_FINITE
from napari_phenldiff.images.naming import count, quoted
from napari_phenldiff.images.survey import Survey
from napari_phenldiff.images.wells import wells_named

if TYPE_CHECKING:
    from napari_phenldiff.images.image import Image

_MOST_LISTED = 12
"""Wells that are listed by name, and sizes; of more, these and how many others there are."""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "images",
        help="tell which conditions, wells and channels there are, and what is wrong with them",
        description="Read all images and tell which conditions, wells and channels there are, how "
        "bright they are, and what may be wrong with them. Nothing is written.",
    )
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="folder with a sub-folder per condition, a folder, a table, or an OME-Zarr",
    )
    options.add_z(parser)
    options.add_arrangement(parser)
    parser.set_defaults(command=run)


@dataclass(slots=True)
class _Seen:
    """What is noted of images that are read one at a time."""

    survey: Survey = field(default_factory=Survey)
    channels: Counter[tuple[str, ...]] = field(default_factory=Counter)
    brightness: dict[str, tuple[float, float]] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    not_finite: list[str] = field(default_factory=list)

    def add(self, condition: str, image: Image) -> None:
        """Take note of an image."""
        self.survey.add(condition, image)
        self.channels[image.channel_names] += 1
        self.sizes[image.shape] += 1
        if not np.isfinite(image.data).all():
            self.not_finite.append(image.name)
        for name, plane in zip(image.channel_names, image.data, strict=True):
            known = plane[np.isfinite(plane)] if plane.dtype.kind == "f" else plane
            if not known.size:
                continue
            least, most = float(known.min()), float(known.max())
            low, high = self.brightness.get(name, (least, most))
            self.brightness[name] = min(low, least), max(high, most)

    def warnings(self) -> tuple[str, ...]:
        """Return what may be wrong, in sentences."""
        kinds = [f"{', '.join(names)} in {count(n, 'image')}" for names, n in self.channels.items()]
        differ = f"The channels are not the same in all images: {'; '.join(kinds)}."
        found = [differ] if len(kinds) > 1 else []
        if self.not_finite:
            found.append(
                f"{count(len(self.not_finite), 'image').capitalize()} "
                f"({quoted(self.not_finite, limit=3)}) "
                f"{'has' if len(self.not_finite) == 1 else 'have'} {NOT_FINITE}, which are not in "
                "the grey values above and cannot be measured or trained on: replace them."
            )
        return (*found, *self.survey.warnings(to_learn=True))


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    from napari_phenldiff.images.dataset import Dataset

    dataset = Dataset.find(args.data, options.arrangement(args))
    say(dataset.summary(left_out=False))
    seen = _Seen()
    damaged = []
    for condition, sources in dataset.conditions.items():
        names = []
        for source in sources:
            try:
                for image in source.read(z=args.z):
                    seen.add(condition, image)
                    names.append(image.part_of or image.name)
            except InputError as error:
                damaged.append(str(error))
        say(f"{condition}: {count(len(names), 'image')}{_wells(names)}")
    if len(seen.sizes) > 1:
        told = [f"{width} × {height} px in {n}" for (height, width), n in seen.sizes.most_common()]
        more = len(told) - _MOST_LISTED
        listed = ", ".join(told[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
        say(f"sizes of the images that were read: {listed}")
    for name, (low, high) in seen.brightness.items():
        say(f"channel {name}: grey values from {low:g} to {high:g}")
    for text in (*dataset.left_out, *seen.warnings()):
        say(f"warning: {text}")
    if damaged:
        for text in damaged:
            say(f"not read: {text}")
        raise InputError(f"{count(len(damaged), 'file')} could not be read, see above.")
    return 0


def _wells(names: Sequence[str]) -> str:
    """List the wells, or cultures, that images come from, where all their names tell."""
    wells = list(dict.fromkeys(wells_named(names) or ()))
    if not wells:
        return ""
    more = len(wells) - _MOST_LISTED
    listed = ", ".join(wells[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
    return f" of {count(len(wells), 'well')} ({listed})"
