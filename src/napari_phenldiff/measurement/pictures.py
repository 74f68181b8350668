"""What figures of images share: colours of channels, their brightness, frames and scale bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.theme import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Additive colours that stay apart, also for most people with a colour vision deficiency: magenta
# and green are white where both are bright.
_MAGENTA, _GREEN, _BLUE = (1.0, 0.15, 1.0), (0.15, 1.0, 0.2), (0.2, 0.5, 1.0)
CHANNEL_COLORS = {
    1: ((1.0, 1.0, 1.0),),
    2: (_MAGENTA, _GREEN),
    3: (_BLUE, _GREEN, _MAGENTA),
}
MOST_CHANNELS = 3
# Percentiles of the real images that are black and fully bright.
_SHOWN_RANGE = (0.5, 99.8)
_NICE_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # micrometres


def composite(image: Image, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Overlay the first channels of an image in colours.

    Parameters
    ----------
    image : Image
    low, high : numpy.ndarray of shape (C,)
        Grey values that are black and fully bright, for one to three channels.

    Returns
    -------
    numpy.ndarray of shape (Y, X, 3), float64
        Between 0 and 1; black where a value is not a number.
    """
    chosen = image.data[: len(low)].astype(np.float64)
    span = np.maximum(high - low, np.finfo(np.float64).tiny)
    # Where black and fully bright are one value, all that is above it is fully bright.
    with np.errstate(over="ignore"):
        brightness = np.clip((chosen - low[:, None, None]) / span[:, None, None], 0, 1)
    colors = np.array(CHANNEL_COLORS[len(low)])
    return np.clip(np.einsum("cyx,cr->yxr", np.nan_to_num(brightness), colors), 0, 1)


def shown_range(real: Sequence[Image], n_channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the grey values that are black and fully bright in all of some images."""
    ranges = [
        np.nanpercentile(np.concatenate([image.data[c].ravel() for image in real]), _SHOWN_RANGE)
        for c in range(n_channels)
    ]
    low, high = np.array(ranges, dtype=np.float64).T
    return low, high


def frame(axes: Axes, colors: Theme) -> None:
    """Take away the ticks of axes that hold an image, and frame it."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(visible=True, color=colors.faint, linewidth=0.5)


def add_scale_bar(axes: Axes, image: Image) -> None:
    """Draw a bar of about a fifth of the image's width, if the size of its pixels is known."""
    if image.pixel_size is None:
        return
    width = image.shape[1] * image.pixel_size[1]
    fitting = [length for length in _NICE_LENGTHS if length <= width / 4]
    if not fitting:
        return
    end = 0.95
    start = end - fitting[-1] / width
    axes.plot([start, end], [0.06, 0.06], color="white", linewidth=2.5, transform=axes.transAxes)
    axes.text(
        (start + end) / 2,
        0.085,
        f"{fitting[-1]} µm",
        color="white",
        fontsize=6.5,
        ha="center",
        va="bottom",
        transform=axes.transAxes,
    )


def short_name(name: str, limit: int = 22) -> str:
    """Cut a name that is too long for a label."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"
