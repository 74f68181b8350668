"""Microscopes' own formats (ND2, CZI, LIF), read by bioio where that is installed; and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection, projection_of, reduce_z, to_ncyx
from napari_phenldiff.images.image import Image, as_storable
from napari_phenldiff.images.naming import default_channel_names, file_safe
from napari_phenldiff.images.peek import Peek
from napari_phenldiff.images.sources import ImageSource

READERS = {
    ".nd2": "bioio_nd2",
    ".czi": "bioio_czi",
    ".lif": "bioio_lif",
}
"""The package that reads a format, by suffix."""

_AXES = {"S": "colours, an axis S", "M": "tiles, an axis M,"}
"""Axes of bioio that are no images, channels or planes, in words."""

INSTALL = 'pip install "napari-phenldiff[formats]"'


def is_foreign(path: Path) -> bool:
    """Whether a file is called like a microscope's own format."""
    return path.suffix.lower() in READERS


def lacking(path: Path) -> str | None:
    """Return the package that is missing for a format; None if it can be read."""
    for package in ("bioio", READERS[path.suffix.lower()]):
        if find_spec(package) is None:
            return package
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSource(ImageSource):
    """One scene of a file in a microscope's own format.

    Attributes
    ----------
    file : Path
        The file.
    scene : int
        Number of the scene (position, series) in it.
    """

    file: Path
    scene: int = 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file."""
        return (self.file,)

    def absolute(self) -> ForeignSource:
        """Return the same source with a whole path."""
        return replace(self, file=self.file.absolute())

    def _read(self, z: int | Projection | None) -> list[Image]:
        opened = _opened(self.file, self.scene)
        try:
            _check_axes(self.file, opened)
            data = np.asarray(opened.get_image_data("TCZYX"))
            names, size = _channels(opened, data.shape[1]), _pixel_size(opened)
        except InputError:
            raise
        except Exception as error:
            raise _unreadable(self.file, error) from error
        try:
            projection = projection_of(data.shape[2], z)
            data = reduce_z(data, 2, z)
        except InputError as error:
            raise InputError(f"{self.file}: {error}") from None
        fields = np.ascontiguousarray(as_storable(to_ncyx(data, "NCYX")))
        part_of = self.name if len(fields) > 1 else None
        return [
            Image(field, names, size, name, part_of=part_of, projection=projection)
            for field, name in zip(fields, self._names(len(fields)), strict=True)
        ]

    def _read_planes(self) -> list[tuple[Image, ...]]:
        peek = self._peek()
        depth = 1 if peek is None else peek.n_planes
        planes = [self._read(k if depth > 1 else None) for k in range(depth)]
        return list(zip(*planes, strict=True))

    def _peek(self) -> Peek | None:
        try:
            opened = _opened(self.file, self.scene)
            t, c, z, y, x = (int(n) for n in opened.shape[:5])
            return Peek(_channels(opened, c), (y, x), str(opened.dtype), t, z, _pixel_size(opened))
        except (InputError, ValueError, TypeError, AttributeError):
            return None

    def _names(self, n: int) -> list[str]:
        return [self.name] if n == 1 else [f"{self.name}_{k:04d}" for k in range(n)]


def foreign_sources(path: Path) -> list[ImageSource]:
    """List the scenes of a file, each of which is an image (or a series of them).

    Raises
    ------
    InputError
        If no reader is installed, with the line that installs it, or the file cannot be read.
    """
    try:
        scenes: Sequence[str] = _opened(path).scenes
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if len(scenes) == 1:
        return [ForeignSource(name=path.stem, file=path)]
    return [
        ForeignSource(name=file_safe(f"{path.stem}_{scene}"), file=path, scene=k)
        for k, scene in enumerate(scenes)
    ]


def refused_for_lack(path: Path) -> InputError:
    """Tell how a format can be read that cannot be now."""
    return InputError(
        f"{path} is a {path.suffix.lower()[1:].upper()} file, which needs another package to be "
        f"read: {INSTALL}; or save it as OME-TIFF."
    )


def _opened(path: Path, scene: int = 0) -> Any:
    if lacking(path) is not None:
        raise refused_for_lack(path)
    try:
        import bioio  # type: ignore[import-not-found, unused-ignore]

        image = bioio.BioImage(path)
        image.set_scene(scene)
    # A damaged file fails in any part of its reader, with any kind of error.
    except Exception as error:
        raise _unreadable(path, error) from error
    return image


def _check_axes(path: Path, image: Any) -> None:
    """Refuse axes of which bioio would give the first step only, without a word.

    Tiles of a mosaic are put together; where that makes no more of them than one is, they lie upon
    each other, and are something else.
    """
    own, given = (dict(zip(d.order, d.shape, strict=True)) for d in (image.reader.dims, image.dims))
    for axis, length in (own | given).items():
        told = _AXES.get(axis, f"an axis {axis}")
        stitched = axis == "M" and (own["Y"], own["X"]) != (given["Y"], given["X"])
        if axis not in "TCZYX" and length > 1 and not stitched:
            raise InputError(
                f"{path} has {told} of {length} steps, of which only the first would be read: save "
                "it as OME-TIFF, with one channel or image for each."
            )


def _channels(image: Any, n: int) -> tuple[str, ...]:
    told = [str(name).strip() for name in (image.channel_names or ())]
    default = default_channel_names(n)
    if len(told) != n or len(set(told)) < n:
        return default
    return tuple(name or other for name, other in zip(told, default, strict=True))


def _pixel_size(image: Any) -> tuple[float, float] | None:
    sizes = image.physical_pixel_sizes
    y, x = sizes.Y, sizes.X
    if y is None or x is None or not (y > 0 and x > 0):
        return None
    return float(y), float(x)


def _unreadable(path: Path, error: Exception) -> InputError:
    text = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{path} cannot be read ({text[:160]}): check that the file is complete.")
