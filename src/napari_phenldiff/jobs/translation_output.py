"""Where the images of a translation are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import remove_leftovers
from napari_phenldiff.images.naming import file_safe, quoted
from napari_phenldiff.images.omezarr_write import (
    PlaceOnPlate,
    has_field,
    well_on_plate,
    write_field,
    write_plate,
)
from napari_phenldiff.images.places import well_named
from napari_phenldiff.images.survey import MADE
from napari_phenldiff.jobs.translation_files import FileToTranslate

if TYPE_CHECKING:
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.images.intensity import IntensityScaling

Format = Literal["tiff", "ome-zarr"]
"""TIFFs called like their sources, or one plate of OME-Zarr for each kind."""

FORMATS: tuple[Format, ...] = get_args(Format)


class Output(Protocol):
    """Takes the images of files; several processes may write different files at once."""

    @property
    def format(self) -> Format:
        """What is written."""

    def begin(self) -> None:
        """Prepare the place, and remove what a killed process has left half written."""

    def write(
        self,
        kind: str,
        file: FileToTranslate,
        images: Sequence[Image],
        provenance: Mapping[str, Any],
    ) -> None:
        """Write what was made of the images of a file: they are there whole, or not at all."""

    def holds(self, file: FileToTranslate) -> bool:
        """Whether all that is made of a file is there."""

    def end(self) -> None:
        """Complete what describes all images, and remove what is left half written.

        Called when the last image is written, and when a translation ends before that.
        """

    def place(self, file: str) -> str | None:
        """Return where a file lies in a plate, by its output name; None where there is none."""


@dataclass(frozen=True, slots=True)
class TiffFolders:
    """TIFFs in folders called like what they show, under the names of their sources.

    Attributes
    ----------
    folder : Path
    """

    folder: Path

    @property
    def format(self) -> Format:
        """What is written."""
        return "tiff"

    def begin(self) -> None:
        """Remove what a killed process has left half written."""
        for kind in (*MADE, "."):
            remove_leftovers(self.folder / kind)

    def write(
        self,
        kind: str,
        file: FileToTranslate,
        images: Sequence[Image],
        provenance: Mapping[str, Any],
    ) -> None:
        """Write the images of a file as one TIFF."""
        from napari_phenldiff.images.tiff import write_stack

        write_stack(self.folder / kind / file.output_name, images, provenance=provenance)

    def holds(self, file: FileToTranslate) -> bool:
        """Whether the TIFFs of a file are there."""
        return all((self.folder / kind / file.output_name).is_file() for kind in MADE)

    def end(self) -> None:
        """Remove what workers that were ended have left half written."""
        self.begin()

    def place(self, file: str) -> str | None:
        """Return nothing: folders are no plate."""
        return None


@dataclass(frozen=True, slots=True)
class ZarrPlates:
    """Plates of OME-Zarr, one for each kind, in which each file is a field of its well.

    Attributes
    ----------
    folder : Path
        Gets ``translated/NAME.zarr`` and ``reconstructed/NAME.zarr``.
    name : str
        Of the plate.
    places : dict of str to PlaceOnPlate
        Of each file, by its output name.
    windows : tuple of (float, float)
        Grey values that viewers show as black and as bright, per channel.
    """

    folder: Path
    name: str
    places: Mapping[str, PlaceOnPlate]
    windows: tuple[tuple[float, float], ...]

    @classmethod
    def of_files(
        cls, folder: Path, files: Sequence[FileToTranslate], scaling: IntensityScaling
    ) -> ZarrPlates:
        """Find the place of each file, from what tells it everywhere: names, folders and tables.

        Parameters
        ----------
        folder : Path
        files : sequence of FileToTranslate
        scaling : IntensityScaling
            Of the run; its range is what viewers show.

        Raises
        ------
        InputError
            If a well is not known or has no place on a plate, or there are several plates.
        """
        plates = sorted({file.site.plate for file in files if file.site.plate is not None})
        if len(plates) > 1:
            raise InputError(
                f"The images are of {len(plates)} plates ({quoted(plates, 3)}), and one OME-Zarr "
                "holds one: translate each plate by itself, or write TIFFs."
            )
        wells: dict[tuple[int, int], list[FileToTranslate]] = {}
        for file in files:
            told = file.site.well or well_named(file.source.name)
            place = None if told is None else well_on_plate(told)
            if place is None:
                why = "no well is known of it" if told is None else f"{told} is no well of a plate"
                raise InputError(
                    f"{file.source.name} has no place in a plate: {why}; name wells like B07 in "
                    "the names of the files or in a table, or write TIFFs."
                )
            wells.setdefault(place, []).append(file)
        places = {}
        for (row, column), some in wells.items():
            fields = [re.sub("[^A-Za-z0-9]", "", file.site.field or "") for file in some]
            if not all(fields) or len({field.lower() for field in fields}) < len(fields):
                fields = [str(number) for number in range(len(some))]
            for file, field in zip(some, fields, strict=True):
                places[file.output_name] = PlaceOnPlate(row, column, field)
        name = plates[0] if plates else "plate"
        windows = tuple(zip(map(float, scaling.low), map(float, scaling.high), strict=True))
        return cls(folder, name, places, windows)

    @property
    def format(self) -> Format:
        """What is written."""
        return "ome-zarr"

    def plate(self, kind: str) -> Path:
        """Return the folder of a plate."""
        return self.folder / kind / f"{file_safe(self.name)}.zarr"

    def begin(self) -> None:
        """Remove what a killed process has left half written."""
        remove_leftovers(self.folder)
        for kind in MADE:
            for inner in (".", *{place.well for place in self.places.values()}):
                remove_leftovers(self.plate(kind) / inner)

    def write(
        self,
        kind: str,
        file: FileToTranslate,
        images: Sequence[Image],
        provenance: Mapping[str, Any],
    ) -> None:
        """Write the images of a file as one field."""
        write_field(
            self.plate(kind),
            self.places[file.output_name],
            images,
            windows=self.windows,
            provenance=provenance,
        )

    def holds(self, file: FileToTranslate) -> bool:
        """Whether the fields of a file are there."""
        place = self.places[file.output_name]
        return all(has_field(self.plate(kind), place) for kind in MADE)

    def end(self) -> None:
        """Make plates of the fields that are there."""
        self.begin()
        for kind in MADE:
            name = f"{self.name} {kind}"
            write_plate(self.plate(kind), name, self.places.values())

    def place(self, file: str) -> str | None:
        """Return the path of a file in the plates."""
        return self.places[file].path
