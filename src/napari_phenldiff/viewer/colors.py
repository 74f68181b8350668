"""Which colour a channel is shown in."""

from __future__ import annotations

from collections.abc import Sequence

from napari_phenldiff.images.channel_colors import COLORS, channel_colors
from napari_phenldiff.viewer.preferences import preferences


def channel_colormaps(channel_names: Sequence[str]) -> tuple[str, ...]:
    """Choose one napari colormap per channel, as `channel_colors` does.

    What the user has set in the preferences comes first.
    """
    return channel_colors(channel_names, preferences().channel_colors)


def channel_rgb(channel_names: Sequence[str]) -> tuple[tuple[float, float, float], ...]:
    """Return red, green and blue of the colormap of each channel where it is brightest."""
    return tuple(COLORS.get(name) or _brightest(name) for name in channel_colormaps(channel_names))


def _brightest(name: str) -> tuple[float, float, float]:
    from napari.utils.colormaps import ensure_colormap

    red, green, blue = (float(x) for x in ensure_colormap(name).map([1.0])[0][:3])
    return red, green, blue
