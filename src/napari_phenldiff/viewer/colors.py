"""Which colour a channel is shown in."""

from __future__ import annotations

import re
from collections.abc import Sequence

from napari_phenldiff.images.channel_names import is_nuclear
from napari_phenldiff.viewer.preferences import preferences

# Stains and labels by the colour that microscopists know them in. The first match wins, so names of
# stains stand before names of dyes ("tubulin (FITC)" is tubulin).
_NUCLEAR = "bop blue"
_NAMED = (
    (re.compile(r"actin|phalloidin|tritc|texas|rhodamine|rfp|mcherry|cy3|cy5", re.I), "magenta"),
    (re.compile(r"gfp|fitc|tubulin|488|golgi|marker|neurite", re.I), "green"),
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
            named = next((c for pattern, c in _NAMED if pattern.search(name)), None)
            colour = _NUCLEAR if is_nuclear(name) else named
            chosen[index] = None if colour in chosen else colour
    free = [c for c in _FALLBACK if c not in chosen]
    return tuple(c or (free.pop(0) if free else "gray") for c in chosen)
