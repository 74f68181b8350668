"""Translated images that come one at a time, each beside what else is known of it.

What is small is kept in memory; of what is larger than layers that are read at once may be (see
`viewer.lazy_layers`), only the files are kept, and each image is read when it is looked at.
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.runs.scratch import make_scratch, remove_scratch
from napari_phenldiff.viewer import lazy_layers
from napari_phenldiff.viewer.differences import difference
from napari_phenldiff.viewer.layer_data import Limits, display_limits
from napari_phenldiff.viewer.layer_groups import Role

if TYPE_CHECKING:
    import dask.array as da

_FITTED = 12
"""Real images that contrast limits are taken from."""


class TranslatedStack:
    """Images of one size that are translated one after the other.

    Parameters
    ----------
    names : sequence of str
        Of the images, in the order in which they lie in the real layers.
    folders : mapping of str to Path
        Where the files of each role lie or will lie: ``"reconstructed"``, ``"translated"`` and, if
        no layer shows them channel by channel, ``"original"``.
    files : sequence of str
        Names of the files, in the order of the images.

    Attributes
    ----------
    count : int
        How many images are there, from the first on without a gap.
    """

    def __init__(
        self, names: Sequence[str], folders: Mapping[Role, Path], files: Sequence[str]
    ) -> None:
        self.names, self.files = tuple(names), tuple(files)
        self.count = 0
        self._folders = dict(folders)
        self._first: Image | None = None
        self._arrays: dict[Role, np.ndarray] = {}
        self._kept: Path | None = None
        self._key = uuid4().hex
        self.limits: Limits | None = None

    @property
    def first(self) -> Image:
        """The first translated image: all have its shape, dtype and channels."""
        assert self._first is not None, "only what has begun to come can be shown"
        return self._first

    @property
    def has_originals(self) -> bool:
        """Whether the real images are among them."""
        return "original" in self._folders

    @property
    def is_lazy(self) -> bool:
        """Whether the images are read one by one."""
        return self._kept is not None

    def take(self) -> int:
        """Take the images whose files have come since, and return how many there are.

        The files may be deleted afterwards.

        Raises
        ------
        InputError
            If a file can't be read, or holds another image than the first one does.
        OSError
            If there is no room for them.
        """
        while self.count < len(self.files) and self._has_come(self.files[self.count]):
            self._take(self.count)
            self.count += 1
        return self.count

    def complete(self) -> None:
        """Take all images that are not taken yet.

        Raises
        ------
        InputError
            If one is missing.
        """
        if self.take() < len(self.files):
            for folder in self._folders.values():
                read_image(folder / self.files[self.count])

    def _has_come(self, file: str) -> bool:
        return all((folder / file).is_file() for folder in self._folders.values())

    def _take(self, place: int) -> None:
        file = self.files[place]
        if self._first is None:
            self._begin()
        if self._kept is not None:
            for role, folder in self._folders.items():
                _keep(folder / file, self._kept / role / file)
            return
        images = {role: self._read(where / file, place) for role, where in self._folders.items()}
        for role, image in images.items():
            self._arrays[role][:, place] = image.data
        for channel, plane in enumerate(self._arrays["difference"][:, place]):
            plane[:] = difference(images["translated"], images["reconstructed"], channel)

    def _begin(self) -> None:
        """Make room for all of them, as large as the first."""
        self._first = replace(
            read_image(self._folders["translated"] / self.files[0]), name=self.names[0], path=None
        )
        if self.has_originals:
            places = np.linspace(0, len(self.files) - 1, min(_FITTED, len(self.files)))
            files = [self.files[int(place)] for place in places.round()]
            self.limits = display_limits([read_image(self._folders["original"] / x) for x in files])
        roles: list[Role] = [*self._folders, "difference"]
        shapes = (self.first.n_channels, len(self.files), *self.first.shape)
        size = sum(int(np.prod(shapes)) * self._dtype(role).itemsize for role in roles)
        if len(self.files) > lazy_layers.MOST_FILES or size > lazy_layers.MOST_BYTES:
            self._kept = make_scratch("translated")
            # The layers hold this, and the files are of no use without them.
            weakref.finalize(self, remove_scratch, self._kept)
            for role in self._folders:
                (self._kept / role).mkdir()
        else:
            self._arrays = {role: np.zeros(shapes, self._dtype(role)) for role in roles}

    def _dtype(self, role: Role) -> np.dtype[Any]:
        return np.dtype(np.float32) if role == "difference" else self.first.data.dtype

    def _read(self, path: Path, place: int) -> Image:
        image = read_image(path)
        if image.data.shape != self.first.data.shape or image.data.dtype != self.first.data.dtype:
            raise InputError(
                f"The translation of {self.names[place]} is of another size or dtype than that of "
                f"{self.names[0]}: translate images of one size."
            )
        return replace(image, name=self.names[place], path=None)

    def plane(self, role: Role, channel: int, place: int) -> np.ndarray:
        """Return one channel of one image, of shape (Y, X).

        Raises
        ------
        InputError
            If its file can't be read any more.
        """
        if self._kept is None:
            plane: np.ndarray = self._arrays[role][channel, place]
            return plane
        if role == "difference":
            pair = (self._image("translated", place), self._image("reconstructed", place))
            return difference(*pair, channel)
        return self._image(role, place).data[channel]

    def _image(self, role: Role, place: int) -> Image:
        """Return an image out of its file, or one that was looked at just now."""
        assert self._kept is not None
        path, key = self._kept / role / self.files[place], f"{self._key}-{role}"
        (image,) = lazy_layers.KEPT.get((key, place), lambda: (self._read(path, place),))
        return image

    def layer_data(self, role: Role, channel: int, count: int) -> np.ndarray | da.Array:
        """Return the first images of one channel.

        Returns
        -------
        array of shape (N, Y, X)
            Where the images are kept in memory, what is written into it is kept as well.
        """
        if not self.is_lazy:
            return self._arrays[role][channel, :count]
        return lazy_layers.read_one_by_one(
            f"translated-{self._key}-{role}-{channel}-{count}",
            (count, *self.first.shape),
            self._dtype(role),
            partial(self.plane, role, channel),
        )


def _keep(path: Path, kept: Path) -> None:
    """Keep a file under another name, where possible without another copy of it."""
    try:
        os.link(path, kept)
    except OSError:
        shutil.copyfile(path, kept)
