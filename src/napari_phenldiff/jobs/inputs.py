"""Images that a job is given: files read one at a time, and groups of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.destinations import is_there
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import composed
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.runs.events import Loading, Noted

if TYPE_CHECKING:
    from napari_phenldiff.images.arrangement import Arrangement
    from napari_phenldiff.images.axes import Projection


Images = str | os.PathLike[str] | Dataset | Experiment | Mapping[str, Sequence[Image]]
"""A folder with a sub-folder per condition, a table or whatever else is found by `Dataset.find`; a
dataset that was found; or images in memory by condition."""


def dataset_of(
    images: str | os.PathLike[str] | Dataset, conditions: Sequence[str] | None = None
) -> Dataset:
    """Return the images of a path, found but not read."""
    if isinstance(images, Dataset):
        return images if conditions is None else images.select(conditions)
    return Dataset.find(images, conditions=conditions, folders_only=True)


def experiment_of(
    images: Images,
    conditions: Sequence[str] | None = None,
    *,
    z: int | Projection | None = None,
    on_event: OnEvent = ignore,
) -> Experiment:
    """Return images as an experiment, whatever form they are given in.

    Parameters
    ----------
    images : path-like, Dataset, Experiment or mapping of str to sequence of Image
        See `Images`.
    conditions : sequence of str, optional
        Those that are read from files; by default all.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection of files with a z axis.
    on_event : callable
        Told that files are read, and what they are.
    """
    if isinstance(images, Experiment):
        return images
    if isinstance(images, Mapping):
        return Experiment.from_images(images)
    where = images.where if isinstance(images, Dataset) else images
    on_event(Loading(f"Reading {os.fspath(where)}"))
    experiment = dataset_of(images, conditions).read(z=z)
    on_event(Noted(experiment.summary(left_out=False).removesuffix(".")))
    return experiment


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Images in files, read anew each time they are iterated over, one at a time.

    Attributes
    ----------
    sources : tuple of ImageSource
        Where the images lie.
    z : int or str, optional
        Plane or projection for files with planes in depth.
    left_out : tuple of str
        What lies beside them and is no image, in sentences.
    remarks : tuple of str
        What was grouped or chosen, in sentences.
    """

    sources: tuple[ImageSource, ...]
    z: int | Projection | None = None
    left_out: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Image]:
        for source in self.sources:
            yield from source.read(z=self.z)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(path for source in self.sources for path in source.paths)


def find_images(
    given: Path, condition: str | None = None, arrangement: Arrangement | None = None
) -> Dataset:
    """Return the images of one condition that a path given by the user means.

    Parameters
    ----------
    given : Path
        An image, a folder of images, a folder with a sub-folder per condition, or a table.
    condition : str, optional
        The condition to take in the last two cases.
    arrangement : Arrangement, optional
        How the files are arranged, where names do not tell.

    Raises
    ------
    InputError
        If there are none.
    """
    conditions = None if condition is None else [condition]
    return Dataset.find(given, arrangement, conditions=conditions)


def find_groups(
    inputs: Sequence[str],
    *,
    z: int | Projection | None = None,
    arrangement: Arrangement | None = None,
) -> dict[str, ImageFiles]:
    """Return the images that the user's inputs mean, by the name of their condition.

    Files of one folder are taken together: they may be channels or planes of the same images.

    Raises
    ------
    InputError
        If an input has no images, or two folders would have the same name.
    """
    from napari_phenldiff.images.spreadsheet import is_table

    found: dict[str, ImageFiles] = {}
    homes: dict[str, Path] = {}
    files: dict[tuple[str, Path], list[Path]] = {}
    order: list[tuple[str, Path]] = []
    for given in inputs:
        name, path = _name_and_path(given)
        if path.is_file() and not is_table(path):
            key = (composed(name), path.parent)
            if key not in files:
                order.append(key)
            files.setdefault(key, []).append(path)
        else:
            order.append((composed(name), path))
    for name, path in order:
        # What was translated before is arranged as it was written.
        made = any((folder / "translation.json").is_file() for folder in (path, path.parent))
        how = None if made else arrangement
        if (name, path) in files:
            alone = list(dict.fromkeys(files[name, path]))
            dataset = Dataset.of_files(alone, how, name=name or None)
        else:
            dataset = Dataset.find(path, how)
        for condition, sources in dataset.conditions.items():
            home = (path / condition if dataset.by_folder and path.is_dir() else path).resolve()
            if dataset.by_folder:
                condition = f"{name}/{condition}" if name else condition
            elif name:
                condition = name
            if homes.setdefault(condition, home) != home:
                raise InputError(
                    f"{homes[condition]} and {home} would both be called {condition}; give one "
                    f"of them as NAME={home}."
                )
            before = found.get(condition, ImageFiles((), z))
            found[condition] = ImageFiles(
                tuple(dict.fromkeys([*before.sources, *sources])),
                z,
                (*before.left_out, *dataset.left_out),
                (*before.remarks, *dataset.remarks),
            )
    return found


def summary_of(groups: Mapping[str, ImageFiles]) -> str:
    """Say in one line what is measured, and what was grouped or chosen."""
    from napari_phenldiff.images.summary import Summary

    remarks = dict.fromkeys(text for files in groups.values() for text in files.remarks)
    conditions = {name: files.sources for name, files in groups.items()}
    dataset = Dataset(Path(), conditions, tuple(remarks))
    return Summary.of_dataset(dataset).in_words(left_out=False)


def real_groups(groups: Mapping[str, ImageFiles]) -> tuple[str, ...]:
    """Return the names of the groups that no model has made; all names if there are none."""
    from napari_phenldiff.images.tiff import read_provenance

    real = tuple(
        name
        for name, files in groups.items()
        if "kind" not in (read_provenance(files.paths[0]) or {})
    )
    return real or tuple(groups)


def _name_and_path(given: str) -> tuple[str, Path]:
    """Split NAME=PATH, unless there is a path that is written just so."""
    name, equals, path = given.partition("=")
    if not equals or not name or is_there(given):
        return "", Path(given)
    return name, Path(path)
