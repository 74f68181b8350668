"""What figures share: colours that colour-blind readers can tell apart, frames, scale bars."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_phenldiff.images.channel_colors import channel_rgb
from napari_phenldiff.images.image import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Patch


ThemeName = Literal["light", "dark"]
RGB = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a figure.

    Source and target are the blue and the vermilion of Okabe and Ito's palette; what a model
    made has the colour of its condition, lighter. In `change`, blue is less and vermilion more.

    Parameters
    ----------
    ground, text, faint : str
        Colours of the background, of text, and of lines and marks that stay behind.
    source, target, reconstructed, translated : str
        Colours of the four groups.
    change : tuple of str
        Colours of a signed difference, from the most negative to the most positive.
    """

    ground: str
    text: str
    faint: str
    source: str
    target: str
    reconstructed: str
    translated: str
    change: tuple[str, ...]

    def change_map(self) -> LinearSegmentedColormap:
        """Make the diverging colormap of signed differences."""
        from matplotlib.colors import LinearSegmentedColormap

        return LinearSegmentedColormap.from_list("change", self.change)


THEMES: dict[str, Theme] = {
    "light": Theme(
        ground="#ffffff",
        text="#1f2328",
        faint="#8c959f",
        source="#0072b2",
        target="#d55e00",
        reconstructed="#56b4e9",
        translated="#f0a058",
        change=("#00385c", "#0072b2", "#8cc7ea", "#f7f7f7", "#f7b98b", "#d55e00", "#6e2c00"),
    ),
    "dark": Theme(
        ground="#16181d",
        text="#e6e8eb",
        faint="#7d8590",
        source="#3d9be0",
        target="#f0742b",
        reconstructed="#9bd3f5",
        translated="#ffc48f",
        change=("#b9e3fb", "#56b4e9", "#124f78", "#16181d", "#7a3304", "#f0742b", "#ffd9b8"),
    ),
}


@contextmanager
def themed(name: ThemeName) -> Iterator[Theme]:
    """Set matplotlib's defaults for one figure, and put them back afterwards.

    Parameters
    ----------
    name : {"light", "dark"}

    Yields
    ------
    Theme
    """
    import matplotlib as mpl

    theme = THEMES[name]
    settings: dict[Any, Any] = {
        "figure.facecolor": theme.ground,
        "axes.facecolor": theme.ground,
        "axes.edgecolor": theme.faint,
        "axes.labelcolor": theme.text,
        "axes.titlecolor": theme.text,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.color": theme.text,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.text,
        "ytick.labelcolor": theme.text,
        "font.size": 9,
        # A condition may be called "$5 and $6", which is no formula.
        "text.parse_math": False,
    }
    with mpl.rc_context(settings):
        yield theme


NARROW_LETTERS = 58
"""Letters of a small remark in a line, in a figure that is shown in a dock."""

MOST_CHANNELS = 3
# Percentiles of the real images that are black and fully bright.
_SHOWN_RANGE = (0.5, 99.8)
_NICE_LENGTHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)  # micrometres


def composite(
    image: Image, low: np.ndarray, high: np.ndarray, colors: Sequence[RGB] | None = None
) -> np.ndarray:
    """Overlay the first channels of an image in colours.

    Parameters
    ----------
    image : Image
    low, high : numpy.ndarray of shape (C,)
        Grey values that are black and fully bright, for one to three channels.
    colors : sequence of (float, float, float), optional
        Red, green and blue of each channel, between 0 and 1; by default those of its name.

    Returns
    -------
    numpy.ndarray of shape (Y, X, 3), float64
        Between 0 and 1; black where a value is not a number.
    """
    chosen = image.data[: len(low)].astype(np.float64)
    span = np.maximum(high - low, np.finfo(np.float64).tiny)
    # If black and fully bright are the same value, everything above it is fully bright.
    with np.errstate(over="ignore"):
        brightness = np.clip((chosen - low[:, None, None]) / span[:, None, None], 0, 1)
    chosen_colors = np.array(
        channel_rgb(image.channel_names[: len(low)]) if colors is None else colors
    )
    return np.clip(np.einsum("cyx,cr->yxr", np.nan_to_num(brightness), chosen_colors), 0, 1)


def legend_patches(
    names: Sequence[str], theme: Theme, colors: Sequence[RGB] | None = None
) -> list[Patch]:
    """Return a patch for the legend of an overlay per channel: its name in its colour."""
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=color, edgecolor=theme.faint, linewidth=0.5, label=name)
        for name, color in zip(names, channel_rgb(names) if colors is None else colors, strict=True)
    ]


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


def up_an_axis(text: str) -> str:
    """Break the name of a vertical axis into lines that fit beside it in a dock.

    Examples
    --------
    >>> up_an_axis("share of light in the brightest tenth").splitlines()
    ['share of light in the', 'brightest tenth']
    """
    return "\n".join(in_lines(line, 26) for line in text.splitlines())


def in_lines(text: str, limit: int = 10) -> str:
    """Break a text into lines for a narrow place, at spaces and at what joins words in names.

    Examples
    --------
    >>> in_lines("to UBC_siRNA").splitlines()
    ['to UBC_', 'siRNA']
    """
    lines = [""]
    for part in re.findall(r"[^\s_.+-]*[\s_.+-]?", text):
        while part:
            if len((lines[-1] + part).rstrip()) > limit and lines[-1]:
                lines.append("")
            lines[-1] += part[:limit]
            part = part[limit:]
    return "\n".join(line.rstrip() for line in lines)
