"""From the axes of a file to the axes (image, channel, y, x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from napari_phenldiff.errors import InputError

Projection = Literal["max", "mean", "sum"]
"""Ways to make one plane of many along z."""

# An axis that the file does not name is taken for channels up to this length.
_MOST_UNNAMED_CHANNELS = 8

# No image has so few columns and, at the same time, so many rows and planes.
_FEW_COLUMNS, _MANY_ROWS = 8, 16


_MOST_CHANNELS = 32
"""Of narrow images: more are rather rows."""


def named_axes(axes: str, shape: Sequence[int], *, samples: int) -> str:
    """Settle what each axis of a TIFF is.

    Parameters
    ----------
    axes : str
        One of tifffile's letters per axis; Q and I are axes that the file does not name.
    shape : sequence of int
        Length of each axis.
    samples : int
        Samples per pixel.

    Returns
    -------
    str
        One letter per axis: Y, X, Z, C for channels, S for colour samples, N for all that counts
        images.
    """
    # What the file names is so, unless its last axis is stored as the samples of a pixel.
    open_to_doubt = axes[-3:] in ("QYX", "IYX") or samples == shape[-1] > 1
    # tifffile calls the first of three axes C where it writes OME or ImageJ and is told none.
    open_to_doubt |= axes.endswith("CYX") and shape[-3] > _MOST_CHANNELS
    if axes.endswith("YX") and "S" not in axes and open_to_doubt and has_channels_last(shape):
        axes = axes[:-3] + "YXC"
    if samples == 1:
        # Without colour, S is somebody's letter for series, scene or site.
        axes = axes.replace("S", "N")
    unnamed = [index for index, axis in enumerate(axes) if axis in "QI"]
    if unnamed and not set(axes) & set("ZCS"):
        last = unnamed[-1]
        if len(axes) > 3 or shape[last] <= _MOST_UNNAMED_CHANNELS:
            axes = axes[:last] + "C" + axes[last + 1 :]
    return "".join(axis if axis in "YXZCS" else "N" for axis in axes)


def has_channels_last(shape: Sequence[int]) -> bool:
    """Whether the last axis of an array can only hold channels, and those before it y and x.

    That is how arrays of shape (Y, X, C) look when they were written page by page, or dropped on a
    viewer, as if they were stacks of planes.
    """
    return len(shape) > 2 and shape[-1] <= _FEW_COLUMNS and min(shape[-2], shape[-3]) >= _MANY_ROWS


def to_ncyx(data: np.ndarray, axes: str) -> np.ndarray:
    """Bring an array to the axes image, channel, y, x.

    Parameters
    ----------
    data : numpy.ndarray
        Any number of axes.
    axes : str
        One letter per axis as :func:`named_axes` gives them, without Z. Several axes of one kind
        are run together, channels before colour samples.

    Returns
    -------
    numpy.ndarray of shape (N, C, Y, X)
        In the dtype and, where possible, the memory of `data`.

    Raises
    ------
    InputError
        If y or x is missing.
    """
    if axes.count("Y") != 1 or axes.count("X") != 1:
        raise InputError(f"The axes are {axes}: an image has y and x.")
    order = sorted(range(len(axes)), key=lambda index: "NCSYX".index(axes[index]))
    data = data.transpose(order)
    n_stack = axes.count("N")
    images = int(np.prod(data.shape[:n_stack]))
    channels = int(np.prod(data.shape[n_stack:-2]))
    return data.reshape(images, channels, *data.shape[-2:])


def projection_of(depth: int, z: int | Projection | None) -> tuple[Projection, int] | None:
    """Tell how so many z planes became one, for `Image.projection`; None if one was chosen."""
    return None if z is None or isinstance(z, int | np.integer) else (z, depth)


def reduce_z(data: np.ndarray, axis: int, z: int | Projection | None) -> np.ndarray:
    """Choose one plane or project along z.

    Parameters
    ----------
    data : numpy.ndarray
        Any number of axes.
    axis : int
        The one to remove.
    z : int, "max", "mean" or "sum", or None
        Plane, counted from 0, or projection. None will do for a single plane.

    Returns
    -------
    numpy.ndarray
        In the dtype of `data`, but float32 for means and sums of integers, which would lose the
        fraction of a mean and overflow in a sum.

    Raises
    ------
    InputError
        If there are several planes and `z` does not say which, or names one that is not there.
    """
    depth = data.shape[axis]
    choices = f"a plane (0 to {depth - 1}) or a projection ({', '.join(get_args(Projection))})"
    if z is None:
        if depth == 1:
            return data.squeeze(axis)
        raise InputError(f"There are {depth} z planes: choose {choices}.")
    if isinstance(z, int | np.integer):
        if not 0 <= z < depth:
            raise InputError(f"There is no z plane {z}: choose {choices}.")
        return data.take(int(z), axis)
    if z == "max":
        return data.max(axis)
    if z not in ("mean", "sum"):
        raise InputError(f'There is no z projection "{z}": choose {choices}.')
    reduce = np.mean if z == "mean" else np.sum
    if data.dtype.kind == "f":
        return np.asarray(reduce(data, axis=axis))
    return np.asarray(reduce(data, axis=axis, dtype=np.float64), dtype=np.float32)


def without_equal_colors(data: np.ndarray) -> np.ndarray:
    """Keep one of three equal colours: grey values that were saved as RGB.

    Parameters
    ----------
    data : numpy.ndarray of shape (N, C, Y, X)
        Colour images without alpha. An image in which nothing is to be seen is left as it is.
    """
    first = data[:, :1]
    if data.shape[1] != 3 or first.min() == first.max():
        return data
    return first if (data == first).all() else data


def without_opaque_alpha(data: np.ndarray, *, said: bool = False) -> np.ndarray:
    """Leave out the last channel if it is an alpha that hides nothing.

    Parameters
    ----------
    data : numpy.ndarray of shape (N, C, Y, X)
        Colour images whose last channel may be alpha. An alpha that is not opaque everywhere may
        well be a fourth fluorescence channel, and is kept.
    said : bool
        Whether the file says that it is alpha; else it is taken for one after one or three others.
    """
    alpha = data[:, -1]
    opaque = 1.0 if data.dtype.kind == "f" else np.iinfo(data.dtype).max
    may_be = data.shape[1] in (2, 4) or (said and data.shape[1] > 1)
    return data[:, :-1] if may_be and (alpha == opaque).all() else data
