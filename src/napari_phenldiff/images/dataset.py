"""The images of an experiment where they lie: found and sorted, and not read yet."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.checks import extremes_of
from napari_phenldiff.images.conditions import of_folder, of_table, of_whole_plates
from napari_phenldiff.images.file_sources import check_kind, sources_of_files
from napari_phenldiff.images.folders import MOST_FOLDERS, Folders
from napari_phenldiff.images.formats import is_foreign
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.image_in_file import in_files
from napari_phenldiff.images.naming import composed, quoted
from napari_phenldiff.images.omezarr import is_omezarr
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.images.spreadsheet import is_table
from napari_phenldiff.images.summary import Summary
from napari_phenldiff.images.survey import facts_of

if TYPE_CHECKING:
    from napari_phenldiff.images.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images by their condition, found and not read.

    Attributes
    ----------
    where : Path
        What was given.
    conditions : mapping of str to tuple of ImageSource
        In their order.
    remarks : tuple of str
        What was grouped or chosen, in sentences.
    left_out : tuple of str
        What was left out and why, in sentences.
    by_folder : bool
        Whether the conditions are told by folders, a table or names: one that was given as images
        alone is called like their folder.

    Examples
    --------
    >>> from napari_phenldiff import Dataset
    >>> found = Dataset.find("experiment")  # doctest: +SKIP
    >>> found.summary()  # doctest: +SKIP
    '2 conditions (ctrl: 6 images, drug: 6 images) · 2 channels (DAPI, GFP) · 64 × 64 px ...'
    """

    where: Path
    conditions: Mapping[str, tuple[ImageSource, ...]]
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    by_folder: bool = True

    @classmethod
    def find(
        cls,
        where: str | os.PathLike[str],
        arrangement: Arrangement | None = None,
        *,
        conditions: Sequence[str] | None = None,
        folders_only: bool = False,
        most_folders: int = MOST_FOLDERS,
        pictures: bool = True,
    ) -> Dataset:
        """Find the images that a path means.

        Parameters
        ----------
        where : path-like
            A folder with a sub-folder for each condition, in which there may be plates; a folder of
            images; a table that lists them; an OME-Zarr image or plate; or an image file.
        arrangement : Arrangement, optional
            What names do not tell.
        conditions : sequence of str, optional
            Those that are wanted, in this order; what others hold is not looked at.
        folders_only : bool
            Whether a folder must have a sub-folder for each condition: images that lie beside these
            are left out. Otherwise a folder with images is that of one condition.
        most_folders : int
            More than so many folders within are no experiment.
        pictures : bool
            Whether PNGs are images in folders where there is nothing else.

        Returns
        -------
        Dataset

        Raises
        ------
        InputError
            If there are no images, or none of a condition that is wanted.
        """
        where = Path(where)
        how = arrangement or Arrangement()
        if not where.exists():
            raise InputError(f"{where} does not exist; check the path.")
        if where.is_file() and is_table(where):
            found = of_table(where, how, conditions)
        elif how.layout is not None or "?P<condition>" in (how.pattern or ""):
            found = of_whole_plates(where, how)
        elif where.is_file():
            return cls.of_files([where], how)
        else:
            found = of_folder(where, how, conditions, folders_only, Folders(most_folders, pictures))
        dataset = cls(where, found.conditions, found.remarks, found.left_out, found.by_folder)
        if conditions is not None and found.by_folder:
            dataset = dataset.select(conditions)
        return dataset.with_channels(how.channels)

    @classmethod
    def of_files(
        cls,
        files: Sequence[Path],
        arrangement: Arrangement | None = None,
        *,
        name: str | None = None,
    ) -> Dataset:
        """Take files of one folder for the images of one condition.

        Parameters
        ----------
        files : sequence of Path
            At least one; also thumbnails and masks are taken, since somebody has named them.
        arrangement : Arrangement, optional
            What names do not tell.
        name : str, optional
            Of the condition; by default that of the folder.
        """
        how = arrangement or Arrangement()
        folder = files[0].parent
        for file in files:
            if not file.exists():
                raise InputError(f"{file} does not exist; check the path.")
            if not is_omezarr(file) and not is_foreign(file):
                check_kind(file)
        here = sources_of_files(folder, files, how)
        name = composed(name or folder.resolve().name or "images")
        told = (f"{name}: {here.told}.",) if here.told else ()
        found = cls(folder, {name: here.sources}, told, here.left_out, by_folder=False)
        return found.with_channels(how.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the conditions."""
        return tuple(self.conditions)

    @property
    def sources(self) -> tuple[ImageSource, ...]:
        """All images, one condition after the other."""
        return tuple(source for group in self.conditions.values() for source in group)

    def select(self, names: Sequence[str]) -> Dataset:
        """Keep these conditions, in this order.

        Raises
        ------
        InputError
            If one is unknown.
        """
        chosen = {}
        for name in names:
            key = composed(name)
            if key not in self.conditions:
                raise InputError(
                    f'{self.where} has no TIFF files for condition "{name}": there are some for '
                    f"{quoted(self.names)}."
                )
            chosen[key] = self.conditions[key]
        return replace(self, conditions=chosen)

    def subset(self, images_per_condition: int, seed: int) -> Dataset:
        """Choose files of each condition at random, so that the others are not read at all.

        Parameters
        ----------
        images_per_condition : int
            How many to keep, at least 1; a condition with fewer keeps all. A file may hold several
            images.
        seed : int
            The same seed chooses the same files, whatever the other conditions are.
        """
        chosen = {}
        for name, group in self.conditions.items():
            ordered = sorted(group, key=lambda source: source.name)
            order = order_by_name(name, len(ordered), seed)
            chosen[name] = tuple(ordered[k] for k in sorted(order[:images_per_condition]))
        return replace(self, conditions=chosen)

    def images(self, name: str, *, z: int | Projection | None = None) -> Iterator[Image]:
        """Read the images of a condition, one file after the other."""
        for source in self.select([name]).sources:
            yield from source.read(z=z)

    def read(self, *, z: int | Projection | None = None) -> Experiment:
        """Read all images once, one at a time; pixels of large experiments stay in the files.

        Returns
        -------
        Experiment
            Channels that have the same names in another order are brought into that of the first
            image.

        See Also
        --------
        napari_phenldiff.images.image_in_file : which pixels are kept in memory.
        """
        from napari_phenldiff.images.channel_names import unified
        from napari_phenldiff.images.experiment import Experiment

        images = {
            name: [
                image
                for source in group
                for image in in_files(partial(source.read, z=z), (extremes_of, facts_of))
            ]
            for name, group in self.conditions.items()
        }
        experiment = Experiment.from_images(unified(images))
        return replace(experiment, left_out=self.left_out, remarks=self.remarks)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Channels of the first image, by its metadata; empty if these cannot be read."""
        peek = next((source.peek() for source in self.sources), None)
        return () if peek is None else peek.channel_names

    def summary(self, *, left_out: bool = True) -> str:
        """Say in one line what there is, by the metadata of one image of each condition.

        Parameters
        ----------
        left_out : bool
            Whether it says what was left out; where that is told beside it, it need not.
        """
        return Summary.of_dataset(self).in_words(left_out=left_out)

    def with_channels(self, channels: Sequence[str] | None) -> Dataset:
        """Read only these channels, by name or number, in this order; None leaves them."""
        if channels is None:
            return self
        chosen = tuple(channels)
        return replace(
            self,
            conditions={
                name: tuple(replace(source, channels=chosen) for source in group)
                for name, group in self.conditions.items()
            },
        )


def order_by_name(condition: str, n: int, seed: int) -> list[int]:
    """Return the numbers below `n` in an order drawn for a condition, whatever the others are."""
    name_as_number = int.from_bytes(hashlib.sha256(condition.encode()).digest()[:8])
    return [int(k) for k in np.random.default_rng([seed, name_as_number]).permutation(n)]


def holds_images(folder: Path) -> bool:
    """Whether images lie in a folder itself, so that it is one of a single condition."""
    return folder.is_dir() and bool(Folders().images(folder))


def may_hold_images(folder: Path) -> bool:
    """Whether images lie in a folder, or in folders within."""
    tree = Folders(pictures=False)
    try:
        return bool(tree.images(folder) or tree.nested(folder))
    except InputError:  # too many folders to be an experiment
        return False
