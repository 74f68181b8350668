"""Which colour a channel is shown in."""

from __future__ import annotations

import re
from collections.abc import Sequence

from napari_phenldiff.images.stains import Structure, shows
from napari_phenldiff.viewer.preferences import preferences

# Stains and labels by the colour that microscopists know them in. The first match wins, so names of
# stains stand before names of dyes ("tubulin (FITC)" is tubulin).
_STRUCTURES: tuple[tuple[tuple[Structure, ...], str], ...] = (
    (("nuclei",), "bop blue"),
    (("actin",), "magenta"),
    (("microtubules", "neurites", "golgi"), "green"),
)
_DYES = (
    (re.compile(r"nucle", re.I), "bop blue"),
    (re.compile(r"tritc|texas|rhodamine|rfp|mcherry|cy3|cy5", re.I), "magenta"),
    (re.compile(r"gfp|fitc|488|marker", re.I), "green"),
)
# Additive overlays of these stay apart, also for most people with a colour vision deficiency.
_FALLBACK = ("green", "magenta", "bop blue", "yellow", "cyan", "bop orange", "gray")


def channel_colormaps(channel_names: Sequence[str]) -> tuple[str, ...]:
    """Choose one napari colormap per channel, no two alike while there are enough of them.

    Parameters
    ----------
    channel_names : sequence of str
        Names of the channels of one image, in their order.

    Returns
    -------
    tuple of str
        Names of colormaps that napari has. What the user has set in the preferences comes first.
        A single channel is shown in gray otherwise: a colour would only cost brightness there.
    """
    own = preferences().channel_colors
    wanted = [
        next((c for part, c in own if part.lower() in name.lower()), None) for name in channel_names
    ]
    if len(channel_names) == 1:
        return (wanted[0] or "gray",)
    chosen: list[str | None] = list(wanted)
    for index, name in enumerate(channel_names):
        if chosen[index] is None:
            colour = _usual_color(name)
            chosen[index] = None if colour in chosen else colour
    free = [c for c in _FALLBACK if c not in chosen]
    return tuple(c or (free.pop(0) if free else "gray") for c in chosen)


def _usual_color(name: str) -> str | None:
    for structures, colour in _STRUCTURES:
        if any(shows(name, structure) for structure in structures):
            return colour
    return next((colour for pattern, colour in _DYES if pattern.search(name)), None)
