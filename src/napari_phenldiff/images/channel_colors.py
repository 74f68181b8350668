"""Which colour a channel has, in the viewer and in figures alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

from napari_phenldiff.images.stains import Structure, shows

COLORS: dict[str, tuple[float, float, float]] = {
    "green": (0.0, 1.0, 0.0),
    "magenta": (1.0, 0.0, 1.0),
    "bop blue": (0.1255, 0.6784, 0.9725),
    "yellow": (1.0, 1.0, 0.0),
    "cyan": (0.0, 1.0, 1.0),
    "bop orange": (0.9725, 0.6784, 0.1255),
    "gray": (1.0, 1.0, 1.0),
}
"""The colours, by the names of napari's colormaps, and red, green and blue where they are
brightest. Additive overlays of the first ones stay apart, also for most people with a colour vision
deficiency."""

_BY_NAME: dict[str, tuple[float, float, float]] = {
    "red": (1.0, 0.0, 0.0),
    "green": COLORS["green"],
    "blue": (0.0, 0.0, 1.0),
    "cyan": COLORS["cyan"],
    "magenta": COLORS["magenta"],
    "yellow": COLORS["yellow"],
    "gray": COLORS["gray"],
}
"""Colours of channels that are called so, as those of an image in red, green and blue: another one
would say what is not true."""

_COLOUR_NAME = re.compile(rf"(?:channel[ _])?({'|'.join(_BY_NAME)}|grey)(?:[ _]channel)?", re.I)

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


def channel_colors(
    channel_names: Sequence[str], own: Sequence[tuple[str, str]] = ()
) -> tuple[str, ...]:
    """Choose one colour per channel, no two alike while there are enough of them.

    Parameters
    ----------
    channel_names : sequence of str
        Names of the channels of one image, in their order.
    own : sequence of (str, str)
        Parts of names, and the colours that the user wants for them; they come first.

    Returns
    -------
    tuple of str
        Names of `COLORS`, what the channel is called if that is a colour, or what the user wants. A
        single channel is gray otherwise: a colour would only cost brightness there.
    """
    wanted = [
        next((c for part, c in own if part.lower() in name.lower()), None) for name in channel_names
    ]
    if len(channel_names) == 1:
        return (wanted[0] or "gray",)
    chosen: list[str | None] = [
        colour or _color_called(name) for colour, name in zip(wanted, channel_names, strict=True)
    ]
    for index, name in enumerate(channel_names):
        if chosen[index] is None:
            colour = _usual_color(name)
            chosen[index] = None if colour in chosen else colour
    free = [c for c in COLORS if c not in chosen]
    return tuple(c or (free.pop(0) if free else "gray") for c in chosen)


def channel_rgb(channel_names: Sequence[str]) -> tuple[tuple[float, float, float], ...]:
    """Return red, green and blue of the colour of each channel, between 0 and 1."""
    known = {**COLORS, **_BY_NAME}
    return tuple(known[name] for name in channel_colors(channel_names))


def _color_called(name: str) -> str | None:
    """Return the colour that a channel is called, if it is called like one and nothing else."""
    found = _COLOUR_NAME.fullmatch(name.strip())
    return None if found is None else found[1].lower().replace("grey", "gray")


def _usual_color(name: str) -> str | None:
    for structures, colour in _STRUCTURES:
        if any(shows(name, structure) for structure in structures):
            return colour
    return next((colour for pattern, colour in _DYES if pattern.search(name)), None)
