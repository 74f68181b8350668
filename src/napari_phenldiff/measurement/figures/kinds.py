"""The kinds of figures that compare conditions, and what each of them shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from napari_phenldiff.measurement.figures.style import ThemeName
    from napari_phenldiff.measurement.statistics.units import Units
    from napari_phenldiff.measurement.tables.measurement import Measurement

FigureKind = Literal["groups", "pairs", "effects", "gallery"]
KINDS: tuple[FigureKind, ...] = get_args(FigureKind)


@dataclass(frozen=True, slots=True)
class FigureWords:
    """What a kind of figure is called, and what it shows.

    Attributes
    ----------
    title : str
        On the button that chooses it.
    shows : str
        In a sentence or two.
    """

    title: str
    shows: str


FIGURES: dict[FigureKind, FigureWords] = {
    "groups": FigureWords(
        "Groups",
        "Each large dot is a well, or an image where wells are not known; each small one a cell.",
    ),
    "pairs": FigureWords(
        "Pairs",
        "Each line is a well, or an image where wells are not known, from before to after. Beside "
        "them the changes.",
    ),
    "effects": FigureWords(
        "Effects",
        "How far the conditions come apart in every measurement of the profile, with 95 % "
        "intervals. Dotted is what may be chance, corrected for the number of measurements.",
    ),
    "gallery": FigureWords(
        "Gallery", "The images that translation changed most, cut out where they changed."
    ),
}


def draw_comparison(
    kind: Literal["groups", "pairs", "effects"],
    measurement: Measurement,
    groups: Mapping[str, Any],
    *,
    table: pd.DataFrame | None = None,
    paired: bool = False,
    wells: Units | None = None,
    theme: ThemeName = "light",
    narrow: bool = False,
    strength: float = 1.0,
) -> Figure:
    """Draw a figure that compares the conditions of a measurement.

    Parameters
    ----------
    kind : {"groups", "pairs", "effects"}
        A gallery shows images, see `change_gallery`.
    measurement : Measurement
    groups : mapping of str to str or None
        Names of the groups: ``source``, ``target``, and ``translated`` and ``reconstructed`` if a
        model made some.
    table : pandas.DataFrame, optional
        What `effects` gave; needed for "effects" alone.
    paired : bool
        Whether the real groups show the same fields, see `effects`.
    wells : Units, optional
        What is counted; by default what the names of the images tell.
    theme : {"light", "dark"}
    narrow : bool
        Whether it is drawn for a place that is rather high than wide.
    strength : float
        At which images were translated.

    Raises
    ------
    InputError
        If there is no such group, or images can't be paired.
    """
    if kind == "effects":
        from napari_phenldiff.measurement.figures.effect_sizes import effect_sizes
        from napari_phenldiff.measurement.tables.measurement import column_text

        assert table is not None
        return effect_sizes(
            table, theme=theme, label=lambda name: column_text(measurement, name), narrow=narrow
        )
    if kind == "pairs":
        from napari_phenldiff.measurement.figures.pairs import pair_ends, paired_lines

        ends = pair_ends(**groups)
        target = groups["target"] if ends["made"] else None
        return paired_lines(
            measurement, **ends, target=target, wells=wells, theme=theme, narrow=narrow
        )
    from napari_phenldiff.measurement.figures.four_groups import four_groups

    return four_groups(
        measurement,
        **groups,
        paired=paired,
        wells=wells,
        theme=theme,
        strength=strength,
        narrow=narrow,
    )
