"""Layers of experiments too large to be read at once: each image is read when it is needed.

What is small is read when it is opened: the slider is quicker then, and the files may go. What is
larger than `MOST_FILES` or `MOST_BYTES` becomes dask arrays with one chunk for each image. The
channels of an image lie in one file, so the images that were read last are kept, for all layers.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import WeakValueDictionary

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import in_order, unified, vary_by_file
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layers import pixel_size_of
from napari_phenldiff.images.naming import default_channel_names, quoted
from napari_phenldiff.images.peek import Peek
from napari_phenldiff.images.places import NOWHERE
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.viewer.layer_data import (
    LayerDataTuple,
    Limits,
    check_same_channels,
    display_limits,
    layer_arguments,
)
from napari_phenldiff.viewer.layer_groups import LayerGroup, LayerInfo

if TYPE_CHECKING:
    import dask.array as da

MOST_FILES, MOST_BYTES = 1000, 1024**3
"""Images, and bytes of all their pixels, that are still read when they are opened."""

_KEPT_BYTES = 256 * 1024**2
"""Of images that were read last."""

_COMPARED = 100
"""Images of a condition whose metadata are looked at; if they differ, all are."""

_FITTED, _FITTED_BYTES = 12, 64 * 1024**2
"""Images of a condition that contrast limits are taken from, and bytes of them."""

_Kind = tuple[tuple[int, int], int, str]
"""Height and width, planes and dtype: what images must have in common to share layers."""


class _Kept:
    """The images that were read last, as many as a number of bytes allows."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._images: OrderedDict[tuple[str, int], tuple[Image, ...]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[str, int], read: Callable[[], tuple[Image, ...]]) -> tuple[Image, ...]:
        with self._lock:
            found = self._images.get(key)
            if found is not None:
                self._images.move_to_end(key)
                return found
        # Two threads may read the same image; nobody waits for what somebody else reads.
        found = read()
        with self._lock:
            if key not in self._images:
                self._images[key] = found
                self._bytes += _size(found)
            while self._bytes > self._most and len(self._images) > 1:
                _, dropped = self._images.popitem(last=False)
                self._bytes -= _size(dropped)
        return found


def _size(planes: Sequence[Image]) -> int:
    return sum(plane.data.nbytes for plane in planes)


KEPT = _Kept(_KEPT_BYTES)
"""The images that were read last, of all layers."""


class ImageStack:
    """Images of one condition and one kind, read one at a time.

    Parameters
    ----------
    condition : str
        What the images are of.
    sources : sequence of ImageSource
        Each of one image.
    channel_names : sequence of str
        Under which all images are given, in this order.
    first : sequence of Image
        The planes of the first image: all others must be of this shape and dtype.
    numbered : bool
        Whether what files call their channels is another text in each, and no name.
    where : Path, optional
        The folder or table that they were found in.
    """

    def __init__(
        self,
        condition: str,
        sources: Sequence[ImageSource],
        channel_names: Sequence[str],
        first: Sequence[Image],
        *,
        numbered: bool = False,
        where: Path | None = None,
    ) -> None:
        self.condition = condition
        self.sources = tuple(sources)
        self.channel_names = tuple(channel_names)
        self.where = where
        self.depth = len(first)
        self.first = first[0]
        self._numbered = numbered
        self._key = uuid4().hex

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the layer of one channel."""
        planes = (self.depth,) if self.depth > 1 else ()
        return (len(self), *planes, *self.first.shape)

    def planes(self, place: int) -> tuple[Image, ...]:
        """Return the planes of an image.

        Raises
        ------
        InputError
            If it can't be read, or is of another kind than the first.
        """
        return KEPT.get((self._key, place), lambda: self._read(self.sources[place]))

    def _read(self, source: ImageSource) -> tuple[Image, ...]:
        found = source.read_planes() if self.depth > 1 else [(image,) for image in source.read()]
        if len(found) > 1:
            raise self._unlike(source, f"holds {len(found)} images")
        planes = found[0]
        if len(planes) != self.depth:
            raise self._unlike(source, f"has {len(planes)} z planes")
        if self._numbered and planes[0].n_channels == len(self.channel_names):
            return tuple(replace(plane, channel_names=self.channel_names) for plane in planes)
        planes = tuple(in_order(plane, self.channel_names) for plane in planes)
        image = planes[0]
        if image.channel_names != self.channel_names:
            raise self._unlike(source, f"has the channels {quoted(image.channel_names)}")
        if image.shape != self.first.shape:
            raise self._unlike(source, f"has {image.shape[1]} × {image.shape[0]} px")
        if image.data.dtype != self.first.data.dtype:
            raise self._unlike(source, f"has {image.data.dtype} values")
        return planes

    def _unlike(self, source: ImageSource, what: str) -> InputError:
        height, width = self.first.shape
        depth = f", {self.depth} z planes" if self.depth > 1 else ""
        return InputError(
            f"{source.path} {what}, unlike the images that it was opened with ({width} × {height} "
            f"px{depth}, {self.first.data.dtype}, {quoted(self.channel_names)}): open it alone, or "
            "put it into a folder of its own."
        )

    def layer_data(self, channel: int) -> da.Array:
        """Return the images of a channel, to be read one by one."""
        name = f"images-{self._key}-{channel}"
        dtype = self.first.data.dtype
        array = read_one_by_one(name, self.shape, dtype, partial(self._channel, channel))
        _STACKS[name] = self
        return array

    def _channel(self, channel: int, place: int) -> np.ndarray:
        """Return one channel of one image, with its z planes if there are several."""
        planes = [plane.data[channel] for plane in self.planes(place)]
        return np.stack(planes) if len(planes) > 1 else planes[0]


def read_one_by_one(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[int], np.ndarray]
) -> da.Array:
    """Return an array whose images are read when they are looked at.

    Parameters
    ----------
    name : str
        Of the array, as no other one is called.
    shape : tuple of int
        The first axis is that of the images.
    dtype : numpy.dtype
    read : callable
        Returns the image at a place.
    """
    import dask.array

    return dask.array.from_array(
        _Images(shape, dtype, read),
        chunks=(1, *shape[1:]),
        name=name,
        asarray=False,
        fancy=False,
        meta=np.empty((0,) * len(shape), dtype),
    )


class _Images:
    """What dask takes the chunks from."""

    def __init__(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], read: Callable[[int], np.ndarray]
    ) -> None:
        self.shape, self.ndim, self.dtype = shape, len(shape), dtype
        self._read = read

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(first, slice):
            places = range(*first.indices(self.shape[0]))
            return np.stack([self._read(place) for place in places])[(slice(None), *rest)]
        return self._read(int(first))[tuple(rest)]


_STACKS: WeakValueDictionary[str, ImageStack] = WeakValueDictionary()
"""By the names of the dask arrays that are made of them."""


def stack_of(layers: Sequence[Any]) -> ImageStack | None:
    """Return the images that layers, or their snapshots, read one by one, all from the same files.

    None where they have pixels of their own, also because somebody has put other images into them.
    """
    found = {id(stack): stack for stack in map(_stack, layers)}
    return next(iter(found.values())) if len(found) == 1 else None


def _stack(layer: Any) -> ImageStack | None:
    name = getattr(layer.data, "name", None)
    return _STACKS.get(name) if isinstance(name, str) else None


def folder_of_groups(groups: Mapping[str, LayerGroup]) -> Path | None:
    """Return the folder or table in which other processes find just the images of these layers.

    Parameters
    ----------
    groups : mapping of str to LayerGroup
        By the name of the condition.

    Returns
    -------
    Path or None
        None where the pixels are in the layers, or no folder has these conditions.
    """
    stacks: dict[str, list[ImageStack]] = {}
    for name, layers in groups.items():
        for part in layers.parts:
            stack = stack_of(part)
            # A channel may be closed, and the size of the pixels put right.
            if stack is None or len(part) != len(stack.channel_names):
                return None
            if not _same_size(pixel_size_of(part[0]), stack.first.pixel_size):
                return None
            stacks.setdefault(name, []).append(stack)
    sources = {
        name: {source for stack in group for source in stack.sources}
        for name, group in stacks.items()
    }
    if not sources:
        return None
    given = [s.where for group in stacks.values() for s in group if s.where is not None]
    paths = [path for group in sources.values() for source in group for path in source.paths]
    for where in dict.fromkeys([*given, Path(os.path.commonpath(paths))]):
        try:
            found = Dataset.find(where, conditions=list(sources), folders_only=True)
        except InputError:
            continue
        if {name: set(group) for name, group in found.conditions.items()} == sources:
            return where
    return None


def _same_size(ours: tuple[float, float] | None, theirs: tuple[float, float] | None) -> bool:
    if ours is None or theirs is None:
        return ours == theirs
    return bool(np.allclose(ours, theirs, rtol=1e-6))


# ---- layers ----------------------------------------------------------------------------------


def are_many(conditions: Mapping[str, Sequence[ImageSource]]) -> bool:
    """Tell whether images are too many to be read at once, by the metadata of a few of them."""
    if sum(map(len, conditions.values())) > MOST_FILES:
        return True
    size = 0
    for sources in conditions.values():
        peek = sources[0].peek() if len(sources) > 1 else None
        if peek is not None:
            height, width = peek.size
            one = height * width * peek.n_planes * len(peek.channel_names)
            size += len(sources) * one * np.dtype(peek.dtype).itemsize
    return size > MOST_BYTES


def lazy_layers(
    conditions: Mapping[str, Sequence[ImageSource]],
    first_visible: str,
    where: Path | None = None,
) -> list[LayerDataTuple] | None:
    """Make layers of conditions whose images are read when they are needed.

    Parameters
    ----------
    conditions : mapping of str to sequence of ImageSource
        By name.
    first_visible : str
        The condition that is shown at first.
    where : Path, optional
        The folder or table that the conditions were found in.

    Returns
    -------
    list of LayerDataTuple or None
        As `experiment_layers` makes them. None where a file holds several images: nothing tells
        how many before it is read.

    Raises
    ------
    InputError
        If a file that is looked at can't be read, or conditions differ in their channels.
    """
    lots: list[tuple[str, int, list[ImageSource], tuple[Image, ...]]] = []
    told: list[tuple[str, ...]] = []
    for condition, sources in conditions.items():
        kinds = _sorted_by_kind(sources)
        if kinds is None:
            return None
        lots += [
            (condition, part, lot, _planes_of(lot[0], depth))
            for part, ((_, depth, _), lot) in enumerate(kinds.items())
        ]
        told += [peek.channel_names for peek in map(_peek, _spread(sources, _COMPARED)) if peek]
    numbered = vary_by_file(told)
    firsts: dict[str, list[Image]] = {}
    for condition, _, _, (first, *_) in lots:
        if numbered:
            first = replace(first, channel_names=default_channel_names(first.n_channels))
        firsts.setdefault(condition, []).append(first)
    firsts = unified(firsts)
    check_same_channels(firsts)
    names = iter([image.channel_names for images in firsts.values() for image in images])
    stacks = [
        (part, ImageStack(condition, lot, next(names), planes, numbered=numbered, where=where))
        for condition, part, lot, planes in lots
    ]
    limits = display_limits([image for _, stack in stacks for image in _to_fit(stack)])
    n_parts = {name: len(images) for name, images in firsts.items()}
    return [
        layer
        for part, stack in stacks
        for layer in _layers_of(
            stack,
            part,
            limits,
            visible=stack.condition == first_visible,
            with_size=n_parts[stack.condition] > 1,
        )
    ]


def _layers_of(
    stack: ImageStack, part: int, limits: Limits, *, visible: bool, with_size: bool
) -> list[LayerDataTuple]:
    height, width = stack.first.shape
    depth = f" × {stack.depth}" if stack.depth > 1 else ""
    size = f" ({width} × {height}{depth})" if with_size else ""
    sites = tuple(None if source.site == NOWHERE else source.site for source in stack.sources)
    alone = stack.first.path is not None and stack.depth == 1
    images = tuple(source.name for source in stack.sources)
    paths = tuple(str(source.path) if alone else None for source in stack.sources)
    infos = [
        LayerInfo(stack.condition, channel, index, images, paths, part=part, sites=sites)
        for index, channel in enumerate(stack.channel_names)
    ]
    names = [f"{stack.condition}: {info.channel}{size}" for info in infos]
    lead = ("field", "z") if stack.depth > 1 else ("field",)
    made = layer_arguments(
        names, infos, limits, lead=lead, pixel_size=stack.first.pixel_size, visible=visible
    )
    # napari would keep what it has read in memory, once for each channel.
    return [
        (stack.layer_data(channel), {**arguments, "cache": False}, "image")
        for channel, arguments in enumerate(made)
    ]


def _to_fit(stack: ImageStack) -> list[Image]:
    one = stack.first.data.nbytes * stack.depth
    number = max(2, min(_FITTED, _FITTED_BYTES // max(one, 1)))
    # Of those that are known to be alike.
    places = _spread(_spread(range(len(stack)), _COMPARED), number)
    return [plane for place in places for plane in stack.planes(place)]


def _sorted_by_kind(sources: Sequence[ImageSource]) -> dict[_Kind, list[ImageSource]] | None:
    """Sort images by what they must have in common; None where a file holds several of them."""
    some = [_peek(source) for source in _spread(sources, _COMPARED)]
    if any(peek is None or peek.n_images > 1 for peek in some):
        return None
    first = some[0]
    if first is not None and all(peek is not None and _kind(peek) == _kind(first) for peek in some):
        return {_kind(first): list(sources)}
    kinds: dict[_Kind, list[ImageSource]] = {}
    for source in sources:
        peek = _peek(source)
        if peek is None or peek.n_images > 1:
            return None
        kinds.setdefault(_kind(peek), []).append(source)
    return kinds


def _kind(peek: Peek) -> _Kind:
    return peek.size, peek.n_planes, peek.dtype


def _peek(source: ImageSource) -> Peek | None:
    peek = source.peek()
    if peek is None:
        source.read_planes()  # tells what is wrong with it
    return peek


def _planes_of(source: ImageSource, depth: int) -> tuple[Image, ...]:
    return source.read_planes()[0] if depth > 1 else (source.read()[0],)


def _spread(sequence: Sequence[Any], number: int) -> list[Any]:
    """Return so many of a sequence, from the first to the last, in equal steps."""
    if len(sequence) <= number:
        return list(sequence)
    places = np.linspace(0, len(sequence) - 1, number).round().astype(int)
    return [sequence[place] for place in places]
