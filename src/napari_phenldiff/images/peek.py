"""What a TIFF holds, told by its metadata alone."""

from __future__ import annotations

import os
from dataclasses import dataclass

import tifffile

from napari_phenldiff.images.axes import named_axes
from napari_phenldiff.images.metadata import file_metadata
from napari_phenldiff.images.naming import MOST_COLORS, color_names, default_channel_names
from napari_phenldiff.images.series import image_series, open_tiff
from napari_phenldiff.images.stored import says_alpha


@dataclass(frozen=True, slots=True)
class Peek:
    """What a TIFF holds.

    Attributes
    ----------
    channel_names : tuple of str
        Channels, as `read_tiff` names them; an alpha is taken for opaque and left out,
        and colours are taken to differ.
    size : (int, int)
        Height and width in pixels.
    dtype : str
        Data type, for example ``"uint16"``.
    n_images : int
        Number of images.
    n_planes : int
        Number of z planes; 1 without a z axis.
    pixel_size : tuple of float or None
        Micrometres per pixel along y and x.
    """

    channel_names: tuple[str, ...]
    size: tuple[int, int]
    dtype: str
    n_images: int
    n_planes: int
    pixel_size: tuple[float, float] | None = None


def peek_tiff(path: str | os.PathLike[str]) -> Peek | None:
    """Look at the metadata of a TIFF, however large it is.

    Returns
    -------
    Peek or None
        None if the file can't be read; `read_tiff` tells why.
    """
    try:
        with open_tiff(path) as tif:
            return _peek(tif)
    # A damaged file can fail in any part of the decoder, with any kind of error; one that claims
    # absurd sizes, for lack of memory.
    except Exception:
        return None


def _peek(tif: tifffile.TiffFile) -> Peek:
    chosen = image_series(tif)
    series = tif.series[chosen[0]]
    page = series.keyframe
    axes = named_axes(series.axes, series.shape, samples=page.samplesperpixel)
    lengths = {"N": 1, "C": 1, "S": 1, "Z": 1, "Y": 0, "X": 0}
    for axis, length in zip(axes, series.shape, strict=True):
        lengths[axis] = max(lengths[axis], 1) * int(length)
    color = axes.endswith("S") and page.photometric == tifffile.PHOTOMETRIC.RGB
    n_channels = lengths["C"] * lengths["S"]
    color = color and n_channels <= MOST_COLORS
    of_samples = axes.endswith("S") and n_channels == lengths["S"] > 1
    if (color and n_channels in (2, 4)) or (of_samples and says_alpha(page)):
        n_channels -= 1
    names = color_names(n_channels) if color else default_channel_names(n_channels)
    metadata = file_metadata(tif, chosen[0])
    told = (metadata.channel_names or ())[: n_channels if color else None]
    if len(told) == n_channels:
        names = tuple(name or default for name, default in zip(told, names, strict=True))
    return Peek(
        names,
        (lengths["Y"], lengths["X"]),
        str(series.dtype),
        lengths["N"] * len(chosen),
        lengths["Z"],
        metadata.pixel_size,
    )
