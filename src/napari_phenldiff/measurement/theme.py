"""Colours of figures, on light and on dark ground, that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.colors import LinearSegmentedColormap

ThemeName = Literal["light", "dark"]


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
