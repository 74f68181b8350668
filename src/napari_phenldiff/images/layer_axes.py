"""What the axes of a layer are: fields, channels, z planes, y and x."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection, has_channels_last, reduce_z
from napari_phenldiff.images.naming import color_names, default_channel_names

AxisKind = Literal["field", "channel", "z"]
"""What an axis before y and x can be."""

_LABELS: dict[str, AxisKind] = {
    "c": "channel", "ch": "channel", "channel": "channel", "channels": "channel",
    "z": "z", "depth": "z",
}  # fmt: skip

# What napari calls the axes of a layer that was given no labels.
_NO_LABEL = re.compile(r"(axis )?-?\d*", re.I)

_NUMBERS = "buif"


@dataclass(frozen=True, slots=True)
class LayerAxes:
    """The axes of one image layer, told without reading its pixels.

    Attributes
    ----------
    kinds : tuple of {"field", "channel", "z"}
        The axes before y and x, in the order of the data.
    shape : tuple of int
        Lengths of all axes of the data, at full resolution; with `is_color` the colours come last.
    is_color : bool
        Whether the last axis is red, green, blue (and alpha).
    unclear : int or None
        An axis that nothing says the kind of, so that a user may know better: the one that counts
        images, or, of two, the second.
    """

    kinds: tuple[AxisKind, ...]
    shape: tuple[int, ...]
    is_color: bool
    unclear: int | None = None

    @classmethod
    def of(cls, layer: Any) -> LayerAxes | None:
        """Tell the axes of a layer; None if they can't be those of images.

        Parameters
        ----------
        layer : layer
            Like napari's image layers, with ``data``, and where it has them ``axis_labels`` (of
            all axes but the colours), ``rgb`` and ``multiscale``.
        """
        data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
        is_color = bool(getattr(layer, "rgb", False))
        shape = tuple(int(length) for length in data.shape)
        n_leading = len(shape) - (3 if is_color else 2)
        if n_leading < 0 or 0 in shape or np.dtype(data.dtype).kind not in _NUMBERS:
            return None
        told = [str(label).strip().lower() for label in getattr(layer, "axis_labels", ())]
        if not is_color and (
            has_channels_last(shape) or any(label in _LABELS for label in told[-2:])
        ):
            return None
        labels = told[:-2]
        if len(labels) != n_leading:
            labels = [""] * n_leading
        unnamed = [i for i, label in enumerate(labels) if _NO_LABEL.fullmatch(label)]
        if n_leading > 2 and unnamed:
            return None
        kinds: list[AxisKind] = [_LABELS.get(label, "field") for label in labels]
        if is_color:
            kinds = ["field" if kind == "channel" else kind for kind in kinds]
        unclear = None if is_color or not unnamed else unnamed[-1]
        if n_leading == 2 and unclear == 1 and "channel" not in kinds:
            kinds[1] = "channel"
        if kinds.count("channel") > 1 or kinds.count("z") > 1:
            return None
        return cls(tuple(kinds), shape, is_color, unclear)

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        if self.is_color:
            return min(self.shape[-1], 3)  # what is transparent in the viewer is no channel
        return self._length("channel")

    @property
    def n_planes(self) -> int:
        """Number of z planes."""
        return self._length("z")

    @property
    def n_fields(self) -> int:
        """Number of fields, over all axes that count some."""
        return self._length("field")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        y, x = self.shape[len(self.kinds) : len(self.kinds) + 2]
        return y, x

    def _length(self, kind: AxisKind) -> int:
        found = zip(self.kinds, self.shape, strict=False)
        return int(np.prod([length for k, length in found if k == kind], dtype=int))

    def channel_names(self) -> tuple[str, ...]:
        """Name the channels as those of a file without names; none if there is one only."""
        if self.n_channels == 1:
            return ()
        names = color_names if self.is_color else default_channel_names
        return names(self.n_channels)

    def to_ncyx(self, data: np.ndarray, z: int | Projection | None = None) -> np.ndarray:
        """Bring the data of the layer to the axes field, channel, y, x.

        Parameters
        ----------
        data : numpy.ndarray
            Of the shape that these axes were told for.
        z : int, "max", "mean" or "sum", optional
            Plane or projection, where there are z planes.

        Returns
        -------
        numpy.ndarray of shape (N, C, Y, X)
            In the dtype of `data`, but float32 for means and sums.

        Raises
        ------
        InputError
            If there are several z planes and `z` doesn't say which, or one that isn't there.
        """
        kinds: list[str] = list(self.kinds)
        if self.is_color:
            data = np.moveaxis(data[..., : self.n_channels], -1, -3)
            kinds.append("channel")
        if "z" in kinds:
            data = reduce_z(data, kinds.index("z"), z)
            kinds.remove("z")
        if "channel" in kinds:
            data = np.moveaxis(data, kinds.index("channel"), -3)
        else:
            data = np.expand_dims(data, -3)
        return data.reshape(-1, *data.shape[-3:])


def label_axis(labels: Sequence[str], axis: int, kind: AxisKind) -> tuple[str, ...]:
    """Return the labels of a layer's axes with one of them saying what it is.

    Parameters
    ----------
    labels : sequence of str
        Labels of all axes, as the layer has them.
    axis : int
        The one that is settled. Others without a label count fields.
    kind : {"field", "channel", "z"}
        What it is.
    """
    names = ["series"] * (len(labels) - 2) + ["y", "x"]
    told = [
        name if _NO_LABEL.fullmatch(label.strip()) else label
        for label, name in zip(labels, names, strict=True)
    ]
    told[axis] = kind
    return tuple(told)


def refused(layer: Any) -> InputError:
    """Return the error for a layer whose axes are not those of images."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    if has_channels_last(data.shape):
        return InputError(
            f'Layer "{layer.name}" has the shape {tuple(data.shape)}, its channels last: bring '
            "them before y and x (numpy.moveaxis(data, -1, -3)), or split the layer into one per "
            "channel."
        )
    return InputError(
        f'Layer "{layer.name}" has {data.dtype} values in the shape {tuple(data.shape)}: choose an '
        'image layer with the axes y, x or field, y, x, or label its axes ("field", "channel", '
        '"z").'
    )
