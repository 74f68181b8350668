"""What the user asks for when translating: checked, written down for the child, read back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

from napari_phenldiff import __version__
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import default_channel_names
from napari_phenldiff.images.sources import choose_channels
from napari_phenldiff.images.tiff import read_image, write_tiff
from napari_phenldiff.jobs.session import IMAGES_NAME
from napari_phenldiff.jobs.trained_channels import trained_of
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.translation_settings import settings_of_run
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import LayerGroup, Role
from napari_phenldiff.viewer.results import NewTranslation
from napari_phenldiff.viewer.run_state import why_unusable
from napari_phenldiff.viewer.translated_stack import TranslatedStack

MIN_REGION = 128
"""Least height and width, in pixels, of a part of an image: cells are not cut out of theirs."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of an image: rows from `top` up to `bottom`, columns from `left` up to `right`."""

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def around(
        cls, low: tuple[float, float], high: tuple[float, float], shape: tuple[int, int]
    ) -> Region | None:
        """Return the part of an image between two corners, not smaller than `MIN_REGION`.

        Parameters
        ----------
        low, high : (float, float)
            Corners (y, x) in pixels, which may lie outside of the image.
        shape : (int, int)
            Height and width of the image.

        Returns
        -------
        Region or None
            None if that is all of the image, or none of it.
        """
        ends: list[tuple[int, int]] = []
        for start, stop, size in zip(low, high, shape, strict=True):
            if stop <= 0 or start >= size:
                return None
            first, last = max(0, math.floor(start)), min(size, math.ceil(stop))
            missing = min(MIN_REGION, size) - (last - first)
            if missing > 0:
                first = min(max(0, first - missing // 2), size - min(MIN_REGION, size))
                last = first + min(MIN_REGION, size)
            ends.append((first, last))
        if all((0, size) == end for end, size in zip(ends, shape, strict=True)):
            return None
        return cls(*ends[0], *ends[1])

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def as_dict(self) -> dict[str, int]:
        """Return the numbers by their names."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class TranslationRequest:
    """A translation as the user has filled it in, valid or not.

    Attributes
    ----------
    run : Path or None
        Run folder.
    group : LayerGroup or None
        The layers to translate.
    source, target : str
        Conditions of the run: the one that the cells are in, and the one to see them in.
    field : int or None
        Which image of the stack; None for all.
    region : Region or None
        Which part of the image; None for all of it.
    base_at : Path or None
        Folder of the run's base model, if it is not where it was.
    settings : mapping of str to object
        By the names of `TranslationConfig`; what is not named has its default.
    unseen : bool
        Whether images that the run was trained on are left out, where all are asked for.
    """

    run: Path | None
    group: LayerGroup | None
    source: str
    target: str
    field: int | None = None
    region: Region | None = None
    base_at: Path | None = None
    settings: Mapping[str, Any] = dataclass_field(default_factory=dict)
    unseen: bool = False

    def validation_error(self) -> str | None:
        """Return why this can't be translated, if it can't; None if it looks right."""
        error = why_unusable(self.run)
        if error is not None or self.run is None:
            return error
        run = Run.open(self.run)
        if self.base_at is not None and not self.base_at.exists():
            return (
                f"There is nothing at {self.base_at}; choose the folder or file of the base model."
            )
        if self.group is None:
            return "Open the images to translate: drop TIFFs or a folder of them on the viewer."
        if self.group.n_planes > 1:
            return f"{self.group.name} has z planes; project its layers along z first."
        if len(self.group.parts) > 1:
            return f"The images of {self.group.name} differ in size; open those of one size."
        for name in (self.source, self.target):
            if name not in run.conditions:
                return f"Choose a source and a target; the run knows {', '.join(run.conditions)}."
        ours = self.group.channel_names
        ours = trained_of(run, ours) or ours
        unnamed = ours == default_channel_names(len(run.channel_names))
        if ours != run.channel_names and not unnamed:
            return (
                f"{self.group.name} has the channels {', '.join(ours)}, the run was trained on "
                f"{', '.join(run.channel_names)}; translate images with the same channels."
            )
        return None

    @property
    def condition(self) -> str:
        """The condition that the images are of, whatever they are taken for."""
        return self.source if self.group is None else self.group.infos[0][0].condition

    @property
    def n_images(self) -> int:
        """How many images are asked for; those that were trained on are told by their names."""
        if self.group is None:
            return 0
        if self.field is not None:
            return 1
        if not self.unseen or self.run is None:
            return self.group.n_images
        trained = {
            record.name
            for record in Run.open(self.run).images
            if record.condition == self.condition and not record.validation
        }
        return sum(name not in trained for lot in self.group.infos for name in lot[0].images)

    @property
    def caution(self) -> str:
        """What is said before images are translated as if they were of another condition."""
        if self.run is None or self.group is None or self.condition == self.source:
            return ""
        of = f"{self.condition} is not {self.source}"
        if self.condition not in Run.open(self.run).conditions:
            of = f"The run does not know {self.condition}"
        return f"{of}: these images are translated as if they were of {self.source}."

    def config(self) -> TranslationConfig:
        """Return the validated configuration."""
        return TranslationConfig(source=self.source, target=self.target, **self.settings)

    def write_input(self, folder: Path) -> list[str]:
        """Write the images of the layers as TIFFs, to be translated by a session.

        Parameters
        ----------
        folder : Path
            Where to; one file per image.

        Returns
        -------
        list of str
            Names of the files, in the order of the images in the layers.

        Raises
        ------
        InputError
            If nothing is chosen, the channels of the layers don't fit each other, or no image is
            left.
        """
        names = []
        for place, image in self._each():
            # Numbered, because two images of a stack may have the same name.
            names.append(f"{place:05d}_{image.name}.tif")
            write_tiff(folder / names[-1], image)
        if not names:
            raise InputError(
                "The run was trained on all of these images: take these, too, or open others."
            )
        return names

    def images(self) -> list[Image]:
        """Return the images, or the part of one, that is asked for.

        Raises
        ------
        InputError
            If nothing is chosen, or the channels of the layers don't fit each other.
        """
        return [image for _, image in self._each()]

    @property
    def channel_names(self) -> tuple[str, ...]:
        """The channels that are translated: of more than the run knows, those that it knows."""
        names = () if self.group is None else self.group.channel_names
        chosen = None if self.run is None else trained_of(Run.open(self.run), names)
        return chosen or names

    def _each(self) -> Iterator[tuple[int, Image]]:
        """Yield the images with their places, read when it is their turn."""
        if self.group is None:
            raise InputError("Choose the images to translate.")
        fields, channels = FieldImages(self.group), self.channel_names
        known: frozenset[str] = frozenset()
        if self.unseen and self.field is None and self.run is not None:
            known = Run.open(self.run).trained_images
        # Of a stack of many files, only the image that is asked for is read.
        for place, image in enumerate(fields if self.field is None else [fields.at(self.field)]):
            if channels != self.group.channel_names:
                image = choose_channels(image, channels)
            if known and image.sha256 in known:
                continue
            if self.region is None:
                yield place, image
            else:
                rows, columns = self.region.slices
                yield place, replace(image, data=image.data[:, rows, columns], path=None)


@dataclass(frozen=True, slots=True, eq=False)
class TranslationResult:
    """What the session has written.

    Attributes
    ----------
    translated, reconstructed : tuple of Image
        In the order of the input, with its names.
    originals : tuple of Image
        The real images, where no layer shows them channel by channel.
    provenance : dict
        How they were made, for the metadata of the layers.
    """

    translated: tuple[Image, ...]
    reconstructed: tuple[Image, ...]
    originals: tuple[Image, ...]
    provenance: dict[str, Any]


def read_output(request: TranslationRequest, names: list[str], out: Path) -> TranslationResult:
    """Read the images that a session has translated.

    Parameters
    ----------
    request : TranslationRequest
        What was asked for.
    names : list of str
        Names of the files, as `TranslationRequest.write_input` returned them.
    out : Path
        Folder of the request.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    assert request.group is not None
    kinds: dict[str, tuple[Image, ...]] = {}
    for kind in ("translated", "reconstructed"):
        images = (read_image(out / kind / name) for name in names)
        kinds[kind] = tuple(
            replace(image, name=image.name.partition("_")[2], path=None) for image in images
        )
    originals = tuple(request.images()) if _lacks_real_layers(request, names) else ()
    return TranslationResult(
        kinds["translated"],
        kinds["reconstructed"],
        originals,
        provenance_of(request, names) | record_of(out),
    )


def _lacks_real_layers(request: TranslationRequest, names: Sequence[str]) -> bool:
    """Whether no layers show just these images, channel by channel."""
    assert request.group is not None
    fewer = request.field is None and len(names) < request.group.n_images
    return fewer or not request.group.one_layer_per_channel


def provenance_of(request: TranslationRequest, names: list[str]) -> dict[str, Any]:
    """Return how images are made, as far as it is known before they are.

    Parameters
    ----------
    request : TranslationRequest
        What is asked for.
    names : list of str
        Names of the files, as `TranslationRequest.write_input` returned them.
    """
    assert request.run is not None
    run = Run.open(request.run)
    return {
        "run": str(run.path),
        "method": run.config.method,
        "base": run.config.base,
        "trained_on": run.digest,
        "reference_channels": list(run.reference_channels),
        "versions": {**run.versions, "napari-phenldiff": __version__},
        "source_images": image_names(names),
        "source_files": _source_files(request, names),
        "region": None if request.region is None else request.region.as_dict(),
        "taken_for": request.source,
        **settings_of_run(run, request.config()).model_dump(),
    }


def record_of(out: Path) -> dict[str, Any]:
    """Return what a session has found out about the images of a request; nothing if it has not."""
    path = out / "translation.json"
    if not path.is_file():
        return {}
    record = json.loads(path.read_text(encoding="utf-8"))
    for image in record.get("images", ()):
        # Where the copy for the session lay is nothing to remember.
        image.pop("source_file", None)
        image["image"] = str(image.get("image", "")).partition("_")[2]
    return {"record": record, "warnings": record.get("warnings", [])}


def translation_to_come(request: TranslationRequest, names: list[str], out: Path) -> NewTranslation:
    """Return all images that are asked for, to be shown as a session translates them.

    Parameters
    ----------
    request : TranslationRequest
        What was asked for: all images of a stack.
    names : list of str
        Names of the files, as `TranslationRequest.write_input` returned them.
    out : Path
        Folder of the request.
    """
    assert request.group is not None
    folders: dict[Role, Path] = {kind: out / kind for kind in ("reconstructed", "translated")}
    if _lacks_real_layers(request, names):
        folders["original"] = out / IMAGES_NAME
    sites, places = request.group.infos[0][0].sites, [_place_of(name) for name in names]
    return NewTranslation(
        (),
        (),
        source=request.condition,
        target=request.target,
        strength=request.config().strength,
        provenance=provenance_of(request, names),
        stack=TranslatedStack(image_names(names), folders, names),
        count=len(names),
        sites=[sites[place] for place in places] if len(sites) > max(places) else (),
    )


def image_names(names: Sequence[str]) -> list[str]:
    """Return the names of the images in files that `TranslationRequest.write_input` named."""
    return [Path(name).stem.partition("_")[2] for name in names]


def _place_of(name: str) -> int:
    return int(name.partition("_")[0])


def _source_files(request: TranslationRequest, names: list[str]) -> list[str | None]:
    assert request.group is not None
    paths = request.group.infos[0][0].paths
    if request.field is not None and request.field < len(paths):
        paths = paths[request.field : request.field + 1]
    places = [_place_of(name) for name in names]
    return [paths[place] for place in places] if len(paths) > max(places) else list(paths)
