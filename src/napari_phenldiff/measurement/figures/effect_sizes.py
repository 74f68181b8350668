"""The figure of effect sizes: a row for each measurement of a profile."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.figures.style import Theme, ThemeName, themed
from napari_phenldiff.measurement.statistics.compare import ALPHA, number_text
from napari_phenldiff.measurement.statistics.two_groups import OF_INTERVAL, named_test

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Height of a row in inches, and of one with the name above its marks.
_ROW, _HIGH_ROW = 0.34, 0.46
_NOTE_LETTERS = 40
"""Of a line of a note in place of a recovery."""


# How much lower the marks stand where a name is above them, in rows.
_BELOW_NAME = 0.17


def effect_sizes(
    table: pd.DataFrame,
    *,
    theme: ThemeName = "light",
    label: Callable[[str], str] | None = None,
    narrow: bool = False,
) -> Figure:
    """Show the effects in all measurements, with their 95 % intervals.

    On the left Cliff's delta, which has no unit: 0 is no effect, 1 and -1 complete separation.
    Full dots are real effects, hollow diamonds translated ones; faint, with a dotted interval,
    where the p-value, corrected for the number of measurements, is not below 0.05, or there is
    none, which is said. Recovery stands on the right where there are translated images.

    Parameters
    ----------
    table : pandas.DataFrame
        What `effects` gives.
    theme : {"light", "dark"}
    label : callable, optional
        Gives the words for a column; by default its name without underscores.
    narrow : bool
        Whether the names stand above what they name, for a place that is not wide.

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot.

    Raises
    ------
    InputError
        If the table is empty.
    """
    from matplotlib.figure import Figure

    if not len(table):
        raise InputError("There are no effects to show: measure images of two conditions.")
    names = list(dict.fromkeys(table["measurement"]))
    both = "recovery" in table
    with themed(theme) as colors:
        width, height = 7.6 if both else 5.6, 1.5 + _ROW * len(names)
        if narrow:
            width, height = 3.8, 1.9 + _HIGH_ROW * len(names)
        figure = Figure(figsize=(width, height), layout="constrained")
        ratios = [1.4 if narrow else 2, 1.2]
        grid = figure.subplots(
            1, 2 if both else 1, sharey=True, squeeze=False, width_ratios=ratios[: 1 + both]
        )
        left = grid[0, 0]
        for row in table.to_dict("records"):
            # Below the name, where that stands in the row.
            place = names.index(row["measurement"]) + _BELOW_NAME * narrow
            _draw_delta(left, row, place, both, colors)
        words = label or (lambda name: name.replace("_", " "))
        left.set_yticks(range(len(names)), [words(name) for name in names])
        left.set_ylim(len(names) - 0.5, -0.5)
        if narrow:
            _put_names_above(left, [words(name) for name in names], colors)
        left.set_xlim(-1.05, 1.05)
        left.axvline(0, color=colors.faint, linewidth=1, zorder=0)
        real = table[table["effect"] == "real"].iloc[0]
        ends = f"{real['compared_with']} to {real['group']}"
        said = "Cliff's delta" if narrow else f"Cliff's delta (95 %),\n{textwrap.fill(ends, 44)}"
        left.set_xlabel(said, color=colors.text)
        if both:
            _draw_recoveries(grid[0, 1], table, names, colors, narrow)
        if narrow:
            said = f"from {ends}; lines: 95 % intervals"
            said += "\nrecovery 1: all of the real shift" if both else ""
            figure.supxlabel(said, fontsize=7.5, color=colors.faint)
        for axes in grid[0]:
            axes.grid(axis="x", color=colors.faint, alpha=0.2, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(color=colors.faint, labelcolor=colors.text, labelsize=8)
            axes.tick_params(axis="y", length=0)
            for k in range(1, len(names)):
                axes.axhline(k - 0.5, color=colors.faint, alpha=0.2, linewidth=0.6)
        _add_key(figure, table, both, colors, narrow)
        return figure


def _put_names_above(axes: Axes, names: list[str], colors: Theme) -> None:
    """Write the names of the rows into the rows, over what they name."""
    axes.tick_params(axis="y", labelleft=False)
    # A long name may extend over the axes beside it, without changing the layout.
    axes.set_zorder(1)
    axes.patch.set_visible(False)
    for place, name in enumerate(names):
        words = axes.text(
            0.01, place - 0.47, name, fontsize=8, va="top", transform=axes.get_yaxis_transform()
        )
        words.set_in_layout(False)
        words.set_zorder(5)
        words.set_bbox({"facecolor": colors.ground, "edgecolor": "none", "pad": 0.5})


def _draw_delta(axes: Axes, row: dict[str, Any], place: float, both: bool, colors: Theme) -> None:
    if not math.isfinite(row["cliffs_delta"]):
        return
    made = row["effect"] == "translated"
    color = colors.translated if made else colors.target
    height = place + (0.17 if made else -0.17) * both
    sure = row["p_value"] < ALPHA
    alpha = 1.0 if sure else 0.45
    ends = [row["cliffs_delta_low"], row["cliffs_delta_high"]]
    style = "-" if sure else ":"
    axes.plot(ends, [height] * 2, color=color, linewidth=2, linestyle=style, alpha=alpha, zorder=2)
    axes.plot(
        row["cliffs_delta"],
        height,
        "D" if made else "o",
        markersize=5.5 if made else 6.5,
        markerfacecolor=colors.ground if made else color,
        markeredgecolor=color,
        markeredgewidth=1.4,
        alpha=None if made else alpha,
        zorder=3,
        clip_on=False,  # at 1 and -1 it is whole as well
    )


def _draw_recoveries(
    axes: Axes, table: pd.DataFrame, names: list[str], colors: Theme, narrow: bool
) -> None:
    """Draw recoveries, with limits that a single extreme ratio does not set."""
    rows = table[table["effect"] == "translated"]
    low, high = -0.25, 1.5
    values = rows["recovery"].to_numpy(np.float64)
    values = values[np.isfinite(values)]
    if values.size:
        low = max(min(low, values.min() - 0.1), -1.5)
        high = min(max(high, values.max() + 0.1), 3.0)
    axes.set_xlim(low, high)
    axes.axvline(0, color=colors.faint, linewidth=1, zorder=0)
    axes.axvline(1, color=colors.faint, linewidth=1, linestyle=(0, (4, 2)), zorder=0)
    for row in rows.to_dict("records"):
        place = names.index(row["measurement"]) + _BELOW_NAME * narrow
        if not math.isfinite(row["recovery"]):
            # Whole in the table; here as much of it as has room in the row.
            letters = 20 if narrow else _NOTE_LETTERS
            wrapped = textwrap.wrap(row["note"], letters, max_lines=3, placeholder=" …")
            note = "\n".join(wrapped)
            words = axes.text(0.03, place, note, fontsize=6.5, color=colors.faint, va="center")
            words.set_in_layout(False)
            continue
        ends = np.clip([row["recovery_low"], row["recovery_high"]], low, high)
        axes.plot(ends, [place, place], color=colors.text, linewidth=2, zorder=2)
        # An arrow where the interval goes on beyond the axes.
        for end, beyond, mark in (
            (ends[0], row["recovery_low"] < low, "<"),
            (ends[1], row["recovery_high"] > high, ">"),
        ):
            if beyond:
                axes.plot(end, place, mark, color=colors.text, markersize=5, clip_on=False)
        if low <= row["recovery"] <= high:
            axes.plot(row["recovery"], place, "s", color=colors.text, markersize=5, zorder=3)
    said = "recovery" if narrow else "recovery (95 %)\n1: all of the real shift"
    axes.set_xlabel(said, color=colors.text)


def _add_key(figure: Figure, table: pd.DataFrame, both: bool, colors: Theme, narrow: bool) -> None:
    from matplotlib.lines import Line2D

    def mark(shape: str, color: str, face: str, label: str, alpha: float = 1) -> Line2D:
        return Line2D(
            [],
            [],
            marker=shape,
            color=color,
            markerfacecolor=face,
            linewidth=2,
            linestyle="-" if alpha == 1 else ":",
            markersize=6,
            alpha=alpha,
            label=label,
        )

    marks = [mark("o", colors.target, colors.target, "real")]
    if both:
        marks.append(mark("D", colors.translated, colors.ground, "translated"))
    real = table[table["effect"] == "real"]
    tested = real[real["p_value"].notna()]
    title = None
    if tested.empty:
        # all marks are faint then
        marks.append(mark("o", colors.target, colors.target, "no p-value", 0.45))
        title = textwrap.fill(str(real["note"].iloc[0]), 48 if narrow else 88)
    else:
        first = tested.iloc[0]
        said = f"p ≥ {ALPHA:g} ({named_test(str(first['test']), str(first['correction']))})"
        said = textwrap.fill(said, 28) if narrow else said
        marks.append(mark("o", colors.target, colors.target, said, 0.45))
        least = tested["least_p_value"].min()
        # No shift is shown here.
        note = str(first["note"]).partition(OF_INTERVAL)[0].strip()
        if note:
            title = textwrap.fill(note, 48 if narrow else 88)
        elif least >= ALPHA:
            title = f"p can't be below {number_text(least)} with so few {first['counted']}"
    figure.legend(
        handles=marks,
        loc="outside upper left",
        ncols=2 if narrow else len(marks),
        fontsize=8,
        frameon=False,
        title=title,
        title_fontsize=8,
        alignment="left",
        labelcolor=colors.text,
    )
