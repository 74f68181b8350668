"""The JSON files of a run folder, and the records of its images."""

from __future__ import annotations

import json
import platform
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import read_small, write_atomic
from napari_phenldiff.images.image import Image, as_storable, is_storable
from napari_phenldiff.images.image_in_file import changed, in_files
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.tiff import read_tiff
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.config import Model, validated

_PACKAGES = ("napari-phenldiff", "torch", "diffusers", "peft", "accelerate", "numpy", "tifffile")

_MOST_BYTES = 2**28


class ImageRecord(BaseModel):
    """A training or validation image of a run.

    Attributes
    ----------
    condition, name : str
        Its condition and its name.
    sha256 : str
        Hash of its pixels (``sha256_of_array``).
    path : str, optional
        Its file: absolute, or relative to the run folder.
    validation : bool
        Whether it is a validation image, which is not trained on.
    part_of : str, optional
        What it is one of several images of, as `Image` has it.
    site : dict of str to str, optional
        Its plate, well and field, as far as they are known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    condition: str
    name: str
    sha256: str
    path: str | None = None
    validation: bool = False
    part_of: str | None = None
    site: dict[str, str] | None = None

    @model_serializer(mode="wrap")
    def _only_known(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out places where none are known, as in runs of versions without them."""
        unknown = {name for name in ("part_of", "site") if getattr(self, name) is None}
        return {name: value for name, value in write(self).items() if name not in unknown}

    def restored(self, image: Image, channel_names: tuple[str, ...]) -> Image:
        """Give an image that was read from its file back what stood beside its pixels."""
        return replace(
            image,
            name=self.name,
            channel_names=channel_names,
            part_of=self.part_of or image.part_of,
            site=Site.told_by(self.site) or image.site,
        )


class BaseWeights(BaseModel):
    """Record of the weights of a base model.

    Attributes
    ----------
    sha256 : str
        Hash over the weights and the configurations of its parts.
    bytes : int
        Size of the weights.
    commit : str, optional
        Commit of the hub that it came from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int
    commit: str | None = None


class RunRecord(BaseModel):
    """Content of config.json.

    Attributes
    ----------
    from_adapter_sha256 : str, optional
        Hash of the weights of the adapter that the training started from.
    dtypes, pixel_sizes : tuple of str
        Data types and pixel sizes of the training images, in words; empty in runs of older
        versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    created: float
    config: AnyTrainingConfig
    channel_names: tuple[str, ...]
    scaling: dict[str, Any]
    digest: str
    versions: dict[str, str]
    base_weights: BaseWeights | None = None
    from_adapter_sha256: str | None = None
    dtypes: tuple[str, ...] = ()
    pixel_sizes: tuple[str, ...] = ()


class ImageRecords(BaseModel):
    """Content of images.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: tuple[ImageRecord, ...]


def record_images(
    experiment: Experiment, *, validation: bool = False
) -> tuple[list[ImageRecord], dict[str, Image]]:
    """Record how the images of `experiment` can be read again.

    Parameters
    ----------
    experiment : Experiment
        The images.
    validation : bool
        Whether they are validation images.

    Returns
    -------
    records : list of ImageRecord
        One per image.
    stored : dict of str to Image
        Images that cannot be read back from a single file (layers of a viewer, projections, one
        file per channel), by the path in the run folder to write them to.
    """
    records: list[ImageRecord] = []
    stored: dict[str, Image] = {}
    for condition in experiment.conditions:
        for image in condition.images:
            # The hash must be that of the pixels as they will be read from the file.
            if not is_storable(image.dtype):
                image = changed(image, _storable)
            if image.path is not None:
                where = str(Path(image.path).resolve())
            else:
                where = f"images/{condition.name}/{image.name}.tif"
                stored[where] = image
            records.append(
                ImageRecord(
                    condition=condition.name,
                    name=image.name,
                    sha256=image.sha256,
                    path=where,
                    validation=validation,
                    part_of=image.part_of,
                    site=None if image.site is None else image.site.columns() or None,
                )
            )
    return records, stored


def _storable(image: Image) -> Image:
    return replace(image, data=as_storable(image.data))


def read_experiment(
    root: Path,
    records: Iterable[ImageRecord],
    conditions: Sequence[str],
    channel_names: tuple[str, ...],
) -> Experiment:
    """Read recorded images, one at a time, and check that they have not changed.

    Parameters
    ----------
    root : Path
        The run folder.
    records : iterable of ImageRecord
        The images.
    conditions : sequence of str
        Order of the conditions.
    channel_names : tuple of str
        Names to give to the channels.

    Raises
    ------
    InputError
        If an image is missing or has changed.
    """
    records = list(records)
    by_path: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        if record.path is None:
            raise InputError(
                f"{root}: image {record.name} of condition {record.condition} existed in memory "
                "only, so this run cannot be resumed; start a new one."
            )
        by_path[record.path].append(record)
    found: dict[tuple[str, str], Image] = {}
    for relative, in_file in by_path.items():
        path = root / relative  # an absolute path is not changed by this
        if not is_regular_file(path):
            raise InputError(
                f"{path} is missing, and this run was trained on it; put it back, or start a new "
                "run."
            )
        by_hash = {image.sha256: image for image in in_files(partial(read_tiff, path))}
        for record in in_file:
            if record.sha256 not in by_hash:
                raise InputError(
                    f"{path} has changed since this run was trained on it; put the old file back, "
                    "or start a new run."
                )
            restored = partial(record.restored, channel_names=channel_names)
            found[record.condition, record.name] = changed(by_hash[record.sha256], restored)
    groups: dict[str, list[Image]] = {name: [] for name in conditions}
    for record in records:
        groups.setdefault(record.condition, []).append(found[record.condition, record.name])
    return Experiment.from_images(groups)


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that a result depends on, without importing them."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def write_model(path: Path, model: BaseModel) -> None:
    """Write a model as JSON; the file is replaced atomically."""
    with write_atomic(path) as aside:
        aside.write_text(model.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_model(path: Path, model: type[Model]) -> Model:
    """Read a model that :func:`write_model` wrote.

    Raises
    ------
    InputError
        If the file cannot be read or is not valid.
    """
    try:
        values = json.loads(read_small(path, most_bytes=_MOST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged or cannot be read ({error}); restore it, or train again."
        ) from error
    return validated(model, values, where=f"{path} is damaged")
