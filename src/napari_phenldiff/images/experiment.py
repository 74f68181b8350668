"""Images of two or more conditions, wherever they come from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.checks import (
    check_channels,
    check_numbers,
    check_size,
    check_values,
)
from napari_phenldiff.images.dataset import Dataset, order_by_name
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layers import images_from_layers
from napari_phenldiff.images.naming import check_file_name, composed, quoted
from napari_phenldiff.images.summary import Summary
from napari_phenldiff.images.survey import Survey
from napari_phenldiff.images.table import TableColumns, images_of_table


@dataclass(frozen=True, slots=True)
class Condition:
    """Images of cells that were treated alike.

    Parameters
    ----------
    name : str
        Name of the condition; it also names folders.
    images : tuple of Image
        At least one, with different names.

    Raises
    ------
    InputError
        If there is no image, or if two have the same name.
    """

    name: str
    images: tuple[Image, ...]

    def __post_init__(self) -> None:
        check_file_name(self.name, "condition")
        object.__setattr__(self, "name", composed(self.name))
        object.__setattr__(self, "images", tuple(self.images))
        if not self.images:
            raise InputError(f'Condition "{self.name}" has no images: give some, or leave it out.')
        twice = _first_repeated([image.name for image in self.images])
        if twice is not None:
            raise InputError(
                f'Condition "{self.name}" has two images named "{twice}": give them different '
                "names, since their results are saved under these."
            )


@dataclass(frozen=True, slots=True)
class Experiment:
    """Conditions to be compared.

    Parameters
    ----------
    conditions : tuple of Condition
        At least one, with different names. Whether they can be trained on is told by
        :meth:`check`.
    left_out : tuple of str
        What was found beside the images and left out, in sentences.
    remarks : tuple of str
        What was grouped or chosen, in sentences.

    Raises
    ------
    InputError
        If there is no condition, or if two have the same name.
    """

    conditions: tuple[Condition, ...]
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", tuple(self.conditions))
        if not self.conditions:
            raise InputError("There are no images: give at least one condition.")
        _without_repeats(self.names)

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike[str],
        *,
        conditions: Sequence[str] | None = None,
        z: int | Projection | None = None,
        arrangement: Arrangement | None = None,
    ) -> Experiment:
        """Read a folder with one sub-folder of images per condition.

        A condition may have folders of its own, such as plates. Files that hold one channel or one
        plane each are put together, by the ways in which microscopes name them, and `remarks` says
        so. Hidden files and sub-folders without images are passed over; thumbnails, results of a
        segmentation, files of other kinds and links that lead nowhere are left out and named in
        `left_out`. Channels that have the same names in another order are brought into that of the
        first image.

        Parameters
        ----------
        folder : path-like
            Folder to read.
        conditions : sequence of str, optional
            Sub-folders to read, in this order; by default all, by name.
        z : int, "max", "mean" or "sum", optional
            Plane or projection for files with a z axis, see
            :func:`napari_phenldiff.images.tiff.read_tiff`.
        arrangement : Arrangement, optional
            How the files are arranged, where folders and names alone do not tell.

        Returns
        -------
        Experiment
            Images are sorted by the names of their files.

        Raises
        ------
        InputError
            If the folder or a condition is missing or empty, or if a file cannot be read.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder: give one with a sub-folder per condition.")
        return cls.open(folder, conditions=conditions, z=z, arrangement=arrangement)

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str],
        *,
        conditions: Sequence[str] | None = None,
        z: int | Projection | None = None,
        arrangement: Arrangement | None = None,
    ) -> Experiment:
        """Read the images that a path means, of whatever kind it is.

        Parameters
        ----------
        where : path-like
            A folder, a table, an OME-Zarr or a file, see
            :meth:`napari_phenldiff.images.dataset.Dataset.find`.
        conditions, z, arrangement
            As for :meth:`from_folder`.

        Raises
        ------
        InputError
            As :meth:`from_folder`.
        """
        if conditions is not None:
            _without_repeats([composed(name) for name in conditions])
        found = Dataset.find(where, arrangement, conditions=conditions, folders_only=True)
        return found.read(z=z)

    @classmethod
    def from_table(
        cls,
        csv: str | os.PathLike[str],
        *,
        condition_column: str | Sequence[str],
        channel_columns: Mapping[str, str],
        root: str | os.PathLike[str] | None = None,
        path_columns: Mapping[str, str] | None = None,
        conditions: Sequence[str] | None = None,
    ) -> Experiment:
        """Read a table with one row per field and one file per channel.

        Parameters
        ----------
        csv : path-like
            Table with a header: CSV, in any common encoding and separated by commas, semicolons or
            tabs, or the first sheet of an Excel file.
        condition_column : str or sequence of str
            Column with the condition, or several whose values are joined by ``_`` (compound and
            concentration, say). Slashes in the values become ``-``.
        channel_columns : mapping of str to str
            Channel names, in the order wanted, and the columns with their file names.
        root : path-like, optional
            Folder that the paths in the table start from; by default the table's own.
        path_columns : mapping of str to str, optional
            Columns with the folders of the files, by channel name.
        conditions : sequence of str, optional
            Conditions to read, in this order; by default all, in the order of the table. Files of
            the others are not opened.

        Returns
        -------
        Experiment
            An image is named after the file of its first channel. Columns called well and plate
            (also Metadata_Well and the like) say which well it is a part of.

        Raises
        ------
        InputError
            If the table, a column, a condition or a file is missing or cannot be read.

        Examples
        --------
        BBBC021, two compounds out of many:

        >>> Experiment.from_table(
        ...     "BBBC021_v1_image.csv",
        ...     condition_column=["Image_Metadata_Compound", "Image_Metadata_Concentration"],
        ...     channel_columns={
        ...         "DNA": "Image_FileName_DAPI",
        ...         "tubulin": "Image_FileName_Tubulin",
        ...         "actin": "Image_FileName_Actin",
        ...     },
        ...     path_columns={
        ...         "DNA": "Image_PathName_DAPI",
        ...         "tubulin": "Image_PathName_Tubulin",
        ...         "actin": "Image_PathName_Actin",
        ...     },
        ...     conditions=["DMSO_0.0", "latrunculin B_3.0"],
        ... )  # doctest: +SKIP
        """
        if isinstance(condition_column, str):
            condition_column = [condition_column]
        path_columns = path_columns or {}
        if not condition_column or not channel_columns:
            raise InputError("Name the columns of the table that hold the condition and the files.")
        for channel in path_columns:
            if channel not in channel_columns:
                raise InputError(
                    f'There is a column of folders for "{channel}" but none of files: '
                    f"the channels are {quoted(tuple(channel_columns))}."
                )
        found = images_of_table(
            Path(csv),
            columns=TableColumns(tuple(condition_column), channel_columns, path_columns),
            root=None if root is None else Path(root),
            conditions=None if conditions is None else _without_repeats(conditions),
        )
        images = {
            name: [image for source in sources for image in source.read()]
            for name, sources in found.conditions.items()
        }
        return replace(cls.from_images(images), remarks=found.remarks)

    @classmethod
    def from_images(cls, images: Mapping[str, Sequence[Image]]) -> Experiment:
        """Take images that are in memory, by condition."""
        return cls(tuple(Condition(name, tuple(group)) for name, group in images.items()))

    @classmethod
    def from_layers(cls, layers: Mapping[str, Sequence[Any]]) -> Experiment:
        """Copy the images out of napari's image layers, by condition.

        Parameters
        ----------
        layers : mapping of str to sequence of layers
            Layers of each condition, see
            :func:`napari_phenldiff.images.layers.images_from_layers`.

        Raises
        ------
        InputError
            If layers that belong together differ in shape.
        """
        return cls.from_images(
            {name: images_from_layers(name, group) for name, group in layers.items()}
        )

    def __getitem__(self, name: str) -> Condition:
        for condition in self.conditions:
            if condition.name == composed(name):
                return condition
        raise InputError(f'There is no condition "{name}": choose from {quoted(self.names)}.')

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the conditions."""
        return tuple(condition.name for condition in self.conditions)

    @property
    def images(self) -> tuple[Image, ...]:
        """Images of all conditions, one condition after the other."""
        return tuple(image for condition in self.conditions for image in condition.images)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels, as the first image has them."""
        return self.conditions[0].images[0].channel_names

    @property
    def n_channels(self) -> int:
        """Number of channels of the first image."""
        return len(self.channel_names)

    def select(self, names: Sequence[str]) -> Experiment:
        """Keep these conditions, in this order.

        Raises
        ------
        InputError
            If one is unknown or named twice.
        """
        return replace(self, conditions=tuple(self[name] for name in names))

    def subset(self, images_per_condition: int, seed: int) -> Experiment:
        """Choose images of each condition at random.

        The choice in one condition does not depend on which others there are.

        Parameters
        ----------
        images_per_condition : int
            How many to keep; a condition with fewer keeps all.
        seed : int
            The same seed chooses the same images.

        Returns
        -------
        Experiment
            With the images of each condition sorted by name.
        """
        if images_per_condition < 1:
            raise InputError(
                f"{images_per_condition} images per condition cannot be chosen: choose at least 1."
            )
        chosen = {}
        for condition in self.conditions:
            images = sorted(condition.images, key=lambda image: image.name)
            order = order_by_name(condition.name, len(images), seed)
            chosen[condition.name] = [images[i] for i in sorted(order[:images_per_condition])]
        return replace(Experiment.from_images(chosen), left_out=self.left_out, remarks=self.remarks)

    def summary(self, *, left_out: bool = True) -> str:
        """Say in one line what there is, and what was grouped, chosen and left out.

        Parameters
        ----------
        left_out : bool
            Whether it says what was left out; :meth:`warnings` tell that, too.
        """
        return Summary.of_experiment(self).in_words(left_out=left_out)

    def check(self) -> None:
        """Refuse an experiment that cannot be trained on.

        Raises
        ------
        InputError
            If there are fewer than two conditions or a condition has fewer than two images, if
            channels differ, if a channel has one value everywhere, if values are not finite, or
            if an image has only a few pixels.
        """
        check_numbers(self)
        for image in self.images:
            check_size(image)
        check_channels(self)
        check_values(self)

    def warnings(self) -> tuple[str, ...]:
        """Say what may be wrong with an experiment that can be trained on.

        Returns
        -------
        tuple of str
            Sentences for the user: what was left out, and what a `Survey` finds.
            Empty if all is well.
        """
        survey = Survey()
        for condition in self.conditions:
            for image in condition.images:
                survey.add(condition.name, image)
        return (*self.left_out, *survey.warnings(to_learn=True))

    def digest(self) -> str:
        """SHA-256 over the names of conditions and images and all pixels, in their order."""
        contents = [
            [
                condition.name,
                [[image.name, image.sha256] for image in condition.images],
            ]
            for condition in self.conditions
        ]
        return hashlib.sha256(json.dumps(contents).encode()).hexdigest()


def _without_repeats(conditions: Sequence[str]) -> Sequence[str]:
    """Return names of conditions as they are, if none is there twice."""
    twice = _first_repeated(conditions)
    if twice is not None:
        raise InputError(f'Condition "{twice}" was given twice: name each condition once.')
    return conditions


def _first_repeated(names: Sequence[str]) -> str | None:
    """Return the first name that was there before, or None."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
