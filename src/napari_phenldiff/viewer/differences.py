"""What the target condition changes: translated less reconstructed, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_phenldiff.images.image import Image

DIFFERENCE_COLORMAPS = {
    "blue-orange": ((0.1, 0.6, 1.0), (0.0, 0.0, 0.0), (1.0, 0.6, 0.1)),
    "green-magenta": ((0.2, 0.9, 0.3), (0.0, 0.0, 0.0), (1.0, 0.3, 1.0)),
}
"""Colours of less, equal and more. Equal is black, so that channels can lie on each other, and the
hues stay apart with a colour vision deficiency."""


def difference(translated: Image, reconstructed: Image, channel: int) -> np.ndarray:
    """Subtract the reconstructed from the translated image.

    Both have gone through the model, so what is left is what the condition changes, without what
    the autoencoder loses.

    Returns
    -------
    numpy.ndarray of shape (Y, X), float32
        The channel, in the grey values of the real image.
    """
    return translated.data[channel].astype(np.float32) - reconstructed.data[channel].astype(
        np.float32
    )


def difference_limits(limits: tuple[float, float]) -> tuple[float, float]:
    """Return contrast limits for a difference, given those of the real channel.

    They are symmetric and half as wide as what the real channel is shown in: the colours of two
    fields, and of two channels, mean the same share of it, and a small change looks small.
    """
    half = (float(limits[1]) - float(limits[0])) / 2 or 1.0
    return -half, half


def difference_colormap(name: str) -> Any:
    """Return the napari colormap of one of `DIFFERENCE_COLORMAPS`."""
    from napari.utils.colormaps import Colormap

    colors: Sequence[Sequence[float]] = DIFFERENCE_COLORMAPS[name]
    return Colormap(colors, name=name, display_name=name.replace("-", " – "))
