"""An experiment in one line: conditions, images, wells, channels, depth, size of the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.images.naming import count
from napari_phenldiff.images.places import Habits, Site, place_of

if TYPE_CHECKING:
    from napari_phenldiff.images.dataset import Dataset
    from napari_phenldiff.images.experiment import Experiment

_MOST_NAMED = 6
"""Conditions that are named with their numbers; of more, the numbers alone are told."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What is told about an experiment.

    Attributes
    ----------
    images : mapping of str to int
        Number of images by condition.
    wells, plates : int
        How many are known; 0 where names do not tell.
    channel_names : tuple of str
        Of the first image.
    of_first : bool
        Whether what follows is of the first image of each condition, and there are more.
    sizes : tuple of (int, int)
        Heights and widths that there are.
    dtypes, pixel_sizes : tuple of str
        In words.
    n_planes : tuple of int
        Numbers of z planes that there are.
    remarks, left_out : tuple of str
        What was grouped or chosen, and what was left out, in sentences.
    """

    images: Mapping[str, int]
    wells: int = 0
    plates: int = 0
    channel_names: tuple[str, ...] = ()
    of_first: bool = False
    sizes: tuple[tuple[int, int], ...] = ()
    dtypes: tuple[str, ...] = ()
    pixel_sizes: tuple[str, ...] = ()
    n_planes: tuple[int, ...] = ()
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> Summary:
        """Look at the metadata of one image of each condition; of a lone file, at what it holds."""
        numbers: dict[str, int] = {}
        peeks = []
        for name, sources in dataset.conditions.items():
            peek = sources[0].peek() if sources else None
            numbers[name] = len(sources)
            if peek is not None:
                peeks.append(peek)
                if len(sources) == 1:
                    numbers[name] = peek.n_images
        wells, plates = _places(
            (name, source.site, source.name)
            for name, group in dataset.conditions.items()
            for source in group
        )
        return cls(
            images=numbers,
            wells=wells,
            plates=plates,
            channel_names=peeks[0].channel_names if peeks else (),
            of_first=any(len(sources) > 1 for sources in dataset.conditions.values()),
            sizes=tuple(dict.fromkeys(peek.size for peek in peeks)),
            dtypes=tuple(dict.fromkeys(peek.dtype for peek in peeks)),
            pixel_sizes=tuple(dict.fromkeys(_pixels(peek.pixel_size) for peek in peeks)),
            n_planes=tuple(sorted({peek.n_planes for peek in peeks})),
            remarks=dataset.remarks,
            left_out=dataset.left_out,
        )

    @classmethod
    def of_experiment(cls, experiment: Experiment) -> Summary:
        """Look at all images."""
        images = experiment.images
        wells, plates = _places(
            (condition.name, image.site, image.part_of or image.name)
            for condition in experiment.conditions
            for image in condition.images
        )
        return cls(
            images={one.name: len(one.images) for one in experiment.conditions},
            wells=wells,
            plates=plates,
            channel_names=experiment.channel_names,
            sizes=tuple(dict.fromkeys(image.shape for image in images)),
            dtypes=tuple(dict.fromkeys(str(image.dtype) for image in images)),
            pixel_sizes=tuple(dict.fromkeys(_pixels(image.pixel_size) for image in images)),
            remarks=experiment.remarks,
            left_out=experiment.left_out,
        )

    def in_words(self, *, left_out: bool = True) -> str:
        """Return the line.

        Parameters
        ----------
        left_out : bool
            Whether it says what was left out; where that is told beside it, it need not.
        """
        parts = [self._about_images()]
        if self.wells:
            plates = f" on {count(self.plates, 'plate')}" if self.plates else ""
            parts.append(f"{count(self.wells, 'well')}{plates}")
        elif self.plates:
            parts.append(count(self.plates, "plate"))
        if self.channel_names:
            names = ", ".join(self.channel_names)
            parts.append(f"{count(len(self.channel_names), 'channel')} ({names})")
        line = " · ".join([*parts, *self._about_pixels()])
        told = (*self.remarks, *(self.left_out if left_out else ()))
        return " ".join([f"{line}.", *told])

    def _about_pixels(self) -> list[str]:
        """Say of which size, data type and depth images are, and of how many of them that is."""
        parts = []
        if len(self.sizes) == 1:
            (height, width), *_ = self.sizes
            parts.append(f"{width} × {height} px")
        elif self.sizes:
            parts.append(f"{len(self.sizes)} sizes")
        parts += [_depths(self.dtypes)] if self.dtypes else []
        if max(self.n_planes, default=1) > 1:
            least, most = self.n_planes[0], self.n_planes[-1]
            parts.append(f"{most} z planes" if least == most else f"{least} to {most} z planes")
        if self.pixel_sizes:
            parts.append(f"pixel size {' and '.join(self.pixel_sizes)}")
        if parts and self.of_first:
            parts[0] = f"first images: {parts[0]}"
        return parts

    def _about_images(self) -> str:
        numbers = list(self.images.values())
        if len(numbers) == 1:
            (name,) = self.images
            return f"1 condition ({name}: {count(numbers[0], 'image')})"
        if len(numbers) <= _MOST_NAMED:
            listed = ", ".join(f"{name}: {count(n, 'image')}" for name, n in self.images.items())
            return f"{len(numbers)} conditions ({listed})"
        least, most = min(numbers), max(numbers)
        each = f"{least}" if least == most else f"{least} to {most}"
        return f"{len(numbers)} conditions ({each} images each)"


def _places(images: Iterable[tuple[str, Site | None, str]]) -> tuple[int, int]:
    """Count wells and plates: by what is known, else by what names tell, if all of them do."""
    wells: set[tuple[str, str]] = set()
    plates: set[str] = set()
    all_known = True
    told = [
        (condition, site, site.part_of if site is not None and site.part_of else name)
        for condition, site, name in images
    ]
    habits = Habits.of(name for _, _, name in told)
    for condition, site, name in told:
        if site is not None and site.plate is not None:
            plates.add(site.plate)
        place = place_of(name, habits=habits)
        all_known = all_known and place.kind == "well"
        wells.add((condition, place.name))
    return len(wells) if all_known else 0, len(plates)


def _pixels(size: tuple[float, float] | None) -> str:
    if size is None:
        return "unknown"
    y, x = size
    return f"{x:.3g} µm" if f"{x:.3g}" == f"{y:.3g}" else f"{x:.3g} × {y:.3g} µm"


def _depths(dtypes: Sequence[str]) -> str:
    told = []
    for name in dtypes:
        dtype = np.dtype(name)
        told.append(f"{dtype.itemsize * 8} bit{' float' if dtype.kind == 'f' else ''}")
    return " and ".join(dict.fromkeys(told))
