"""One intensity range per channel for a whole experiment, and the way back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count

# Of an image whose values are not 16-bit integers, at most this many pixels per channel are
# looked at, evenly spaced: a percentile of an experiment does not need more, and memory does.
_MAX_PIXELS = 2**18

_MOST_PIXELS = 2**22
"""Of all images together, of a channel: so many of each are looked at, evenly spaced."""

_FEWEST_PIXELS = 2**12


@dataclass(frozen=True, slots=True)
class OwnRange:
    """The ranges of one condition, where channels of it were brought to a common brightness.

    Parameters
    ----------
    condition : str
        Its name.
    low, high : tuple of float
        As those of `IntensityScaling`, for all channels.
    """

    condition: str
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class IntensityScaling:
    """Linear map of each channel's intensities to [-1, 1] and back.

    There is one range per channel for all images of an experiment, never one per image: a
    condition that is dimmer stays dimmer. Only of channels whose difference in brightness was
    found, or said, to be a batch effect a condition has a range of its own, see `of`.

    Parameters
    ----------
    channel_names : tuple of str
        Channels in the order of the images' first axis.
    low, high : tuple of float
        Intensities that become -1 and 1, per channel, in units of the images.
    clipped : tuple of float
        Fraction of the experiment's pixels outside the range, per channel.
    percentiles : tuple of float
        Percentiles that `low` and `high` were taken from.
    own : tuple of OwnRange
        Conditions with ranges of their own; empty if all share `low` and `high`.
    """

    channel_names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    clipped: tuple[float, ...]
    percentiles: tuple[float, float] = (0.1, 99.9)
    own: tuple[OwnRange, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.channel_names), len(self.low), len(self.high), len(self.clipped)}
        lengths |= {len(ends) for one in self.own for ends in (one.low, one.high)}
        if len(lengths) != 1 or not self.channel_names:
            raise InputError(
                "An intensity scaling needs one low, high and clipped value for each channel."
            )
        ranges = [(self.low, self.high), *((one.low, one.high) for one in self.own)]
        for lows, highs in ranges:
            for name, low, high in zip(self.channel_names, lows, highs, strict=True):
                if not (math.isfinite(low) and math.isfinite(high) and low < high):
                    raise InputError(
                        f'The intensity range of channel "{name}" goes from {low} to {high}: '
                        "give two finite numbers of which the first is smaller."
                    )
        for name, clipped in zip(self.channel_names, self.clipped, strict=True):
            if not 0 <= clipped <= 1:
                raise InputError(
                    f'The clipped fraction of channel "{name}" is {clipped}: '
                    "it must lie between 0 and 1."
                )
        _check_percentiles(self.percentiles)

    @classmethod
    def fit(
        cls, images: Iterable[Image], percentiles: tuple[float, float] = (0.1, 99.9)
    ) -> IntensityScaling:
        """Find the range of each channel over all images.

        Images are looked at one by one, so that they may come from a generator. Values that are
        not finite are left out. A channel so sparse that both percentiles fall on one value gets
        its whole range instead.

        Parameters
        ----------
        images : iterable of Image
            All with the same channels.
        percentiles : tuple of float
            Percentiles that become -1 and 1, 0 <= first < second <= 100.

        Returns
        -------
        IntensityScaling

        Raises
        ------
        InputError
            If there is no image, if the channels differ between images, or if a channel has the
            same value everywhere.
        """
        _check_percentiles(percentiles)
        names: tuple[str, ...] | None = None
        counts: list[_Values] = []
        most = _MAX_PIXELS
        if isinstance(images, Sized):
            most = min(most, max(_FEWEST_PIXELS, _MOST_PIXELS // max(1, len(images))))
        for image in images:
            if names is None:
                names = image.channel_names
                counts = [_Values(most) for _ in names]
            elif image.n_channels != len(names):
                raise InputError(
                    f'Image "{image.name}" has {count(image.n_channels, "channel")} where the '
                    f"others have {len(names)}: all images need the same channels."
                )
            for channel, seen in zip(image.data, counts, strict=True):
                seen.add(channel)
        if names is None:
            raise InputError("There is no image to take an intensity range from.")

        ranges = []
        for name, seen in zip(names, counts, strict=True):
            values, number = seen.counts()
            if len(values) < 2:
                raise InputError(
                    f'Channel "{name}" has the same value in all pixels of all images: '
                    "leave it out, or check that the right files were given."
                )
            low, high = (_percentile(values, number, percentile) for percentile in percentiles)
            if low >= high:
                low, high = float(values[0]), float(values[-1])
            outside = number[(values < low) | (values > high)].sum()
            ranges.append((low, high, float(outside / number.sum())))
        low_values, high_values, clipped = zip(*ranges, strict=True)
        return cls(names, low_values, high_values, clipped, (percentiles[0], percentiles[1]))

    def of(self, condition: str) -> IntensityScaling:
        """Return the scaling for images of a condition: its own ranges, or those of all."""
        for one in self.own:
            if one.condition == condition:
                return replace(self, low=one.low, high=one.high, own=())
        return self.shared

    @property
    def shared(self) -> IntensityScaling:
        """The scaling without ranges of single conditions."""
        return replace(self, own=()) if self.own else self

    @property
    def normalised(self) -> tuple[str, ...]:
        """Names of the channels of which conditions have ranges of their own."""
        return tuple(
            name
            for k, name in enumerate(self.channel_names)
            if len({(self.low[k], self.high[k]), *((o.low[k], o.high[k]) for o in self.own)}) > 1
        )

    def regrade(self, image: Image, source: str, target: str) -> Image:
        """Show an image in the grey values that another condition has.

        Parameters
        ----------
        image : Image
            In the grey values of `source`.
        source, target : str
            Conditions.

        Returns
        -------
        Image
            float32, and without a path; the image itself where both have the same ranges.
        """
        before, after = self.of(source), self.of(target)
        if (before.low, before.high) == (after.low, after.high):
            return image
        low, high = before._ranges(image.data)
        new_low, new_high = after._ranges(image.data)
        gain = (new_high - new_low) / (high - low)
        data = np.empty(image.data.shape, np.float32)
        for rows in _some_rows(data):
            part = image.data[..., rows, :].astype(np.float64)
            data[..., rows, :] = (part - low) * gain + new_low
        return replace(image, data=data, path=None)

    def apply(self, data: np.ndarray) -> np.ndarray:
        """Map intensities to [-1, 1].

        Parameters
        ----------
        data : numpy.ndarray of shape (C, Y, X) or (N, C, Y, X)
            Intensities in units of the images, any real dtype.

        Returns
        -------
        numpy.ndarray of the same shape, float32
            Values outside the range are clipped; values that are no numbers become -1.
        """
        low, high = self._ranges(data)
        scaled = np.empty(data.shape, np.float32)
        for rows in _some_rows(data):
            part = (data[..., rows, :].astype(np.float64) - low) * (2 / (high - low)) - 1
            scaled[..., rows, :] = np.clip(part, -1, 1)
        return np.nan_to_num(scaled, copy=False, nan=-1.0)

    def outside(self, data: np.ndarray) -> tuple[float, ...]:
        """Fraction of the pixels of each channel that `apply` would clip.

        Parameters
        ----------
        data : numpy.ndarray of shape (C, Y, X) or (N, C, Y, X)
            Intensities in units of the images, any real dtype.
        """
        low, high = self._ranges(data)
        channels = np.moveaxis((data < low) | (data > high), -3, 0)
        return tuple(float(channel.mean()) for channel in channels)

    def invert(self, data: np.ndarray, dtype: DTypeLike) -> np.ndarray:
        """Map [-1, 1] back to intensities.

        Parameters
        ----------
        data : numpy.ndarray of shape (C, Y, X) or (N, C, Y, X)
            Scaled values. Those outside [-1, 1] are carried on, not clipped.
        dtype : dtype-like
            Of the result. Integers are rounded and clipped to what the dtype can hold.

        Returns
        -------
        numpy.ndarray of the same shape
            Intensities in units of the images.

        Raises
        ------
        InputError
            If a value is not finite: a model whose weights are not makes such images.
        """
        low, high = self._ranges(data)
        if not np.isfinite(data).all():
            raise InputError(
                "The model draws values that are no finite numbers, so there is no image: its "
                "weights are damaged, or its training has diverged; train it again, with a lower "
                "learning rate or in float32, or take another run."
            )
        dtype = np.dtype(dtype)
        found = np.empty(data.shape, dtype)
        for rows in _some_rows(data):
            part = (data[..., rows, :].astype(np.float64) + 1) * ((high - low) / 2) + low
            if dtype.kind in "ui":
                limits = np.iinfo(dtype)
                part = np.clip(np.rint(part), limits.min, limits.max)
            found[..., rows, :] = part.astype(dtype)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Contents as plain lists, numbers and strings, ready for JSON."""
        contents = {key: list(value) for key, value in asdict(self).items()}
        if not self.own:
            del contents["own"]
        return contents

    @classmethod
    def from_dict(cls, contents: Mapping[str, Any]) -> IntensityScaling:
        """Make a scaling from what :meth:`to_dict` gave.

        Raises
        ------
        InputError
            If a part is missing, unknown or of the wrong kind.
        """
        expected = {"channel_names", "low", "high", "clipped", "percentiles"}
        if not isinstance(contents, Mapping) or set(contents) - {"own"} != expected:
            raise InputError(
                f"An intensity scaling consists of {', '.join(sorted(expected))}, no more and "
                "no less: this one was changed or comes from another version."
            )
        try:
            names = tuple(str(name) for name in contents["channel_names"])
            low, high, clipped, percentiles = (
                tuple(float(value) for value in contents[key])
                for key in ("low", "high", "clipped", "percentiles")
            )
            own = tuple(
                OwnRange(
                    str(one["condition"]),
                    tuple(float(value) for value in one["low"]),
                    tuple(float(value) for value in one["high"]),
                )
                for one in contents.get("own", ())
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"An intensity scaling consists of lists of names and numbers ({error}): "
                "this one was changed."
            ) from error
        if len(percentiles) != 2:
            raise InputError("An intensity scaling has exactly two percentiles.")
        return cls(names, low, high, clipped, (percentiles[0], percentiles[1]), own)

    def _ranges(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Low and high of each channel, shaped to fit the axes (..., C, Y, X)."""
        n_channels = len(self.channel_names)
        if data.ndim not in (3, 4) or data.shape[-3] != n_channels:
            raise InputError(
                f"An intensity scaling of {count(n_channels, 'channel')} was given an array of "
                f"shape {data.shape}: give the axes channel, y, x with as many channels."
            )
        return np.reshape(self.low, (-1, 1, 1)), np.reshape(self.high, (-1, 1, 1))


def _check_percentiles(percentiles: tuple[float, float]) -> None:
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise InputError(
            f"The percentiles {percentiles[0]} and {percentiles[1]} give no intensity range: "
            "choose two numbers from 0 to 100, the smaller one first."
        )


def _some_rows(data: np.ndarray) -> Iterator[slice]:
    """Yield parts of the rows of an array ``(..., Y, X)``, so small that doubles take little."""
    height = data.shape[-2]
    step = max(1, int(_MAX_PIXELS * height // max(1, data.size)))
    for start in range(0, height, step):
        yield slice(start, start + step)


class _Values:
    """Distinct values of a channel and how often each occurs, over images seen one by one.

    Parameters
    ----------
    most : int
        Pixels of an image that are looked at, unless its values are integers of up to 16 bit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._small = np.zeros(2**16, np.int64)  # of unsigned integers of up to 16 bit
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, channel: np.ndarray) -> None:
        """Take note of a channel ``(Y, X)`` of an image."""
        if channel.dtype.kind == "u" and channel.dtype.itemsize <= 2:
            number = np.bincount(channel.ravel())
            self._small[: len(number)] += number
            return
        pixels = channel.ravel()
        pixels = pixels[:: -(-pixels.size // self._most)]
        self._seen.append(np.unique(pixels[np.isfinite(pixels)], return_counts=True))

    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct values, ascending, and how often each occurs."""
        small = np.flatnonzero(self._small)
        if not self._seen:
            return small, self._small[small]
        seen = self._seen if not len(small) else [*self._seen, (small, self._small[small])]
        every = np.concatenate([values for values, _ in seen])
        values, inverse = np.unique(every, return_inverse=True)
        number = np.bincount(inverse, weights=np.concatenate([number for _, number in seen]))
        return values, number.astype(np.int64)


def _percentile(values: np.ndarray, number: np.ndarray, percentile: float) -> float:
    """Percentile of values that occur several times, as numpy.percentile would give it."""
    ends = np.cumsum(number)
    position = (ends[-1] - 1) * percentile / 100
    below = math.floor(position)
    lower, upper = values[np.searchsorted(ends, [below, math.ceil(position)], side="right")]
    return float(lower + (float(upper) - float(lower)) * (position - below))
