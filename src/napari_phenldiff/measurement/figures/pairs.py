"""The figure of pairs: a line for each image, from before to after."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.images.wells import Wells
from napari_phenldiff.measurement.figures.four_groups import shift_row
from napari_phenldiff.measurement.figures.style import (
    NARROW_LETTERS,
    Theme,
    ThemeName,
    in_lines,
    themed,
    up_an_axis,
)
from napari_phenldiff.measurement.statistics.compare import Comparison, p_text, signed_text
from napari_phenldiff.measurement.statistics.effects import compare_in
from napari_phenldiff.measurement.statistics.two_groups import Groups, Tested, named_test
from napari_phenldiff.measurement.statistics.units import (
    Summary,
    Units,
    before_and_after,
    unit_values,
    units_of,
)
from napari_phenldiff.measurement.tables.measurement import Measurement, column_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def pair_ends(
    *, source: str, target: str, translated: str | None = None, reconstructed: str | None = None
) -> dict[str, Any]:
    """Say what is paired where these groups are compared.

    Returns
    -------
    dict
        ``before``, ``after`` and ``made`` for `paired_lines` and `paired_values`: from
        reconstructed, or real source images, to translated ones; without a translation from source
        to target, which are pairs only where the user says that they show the same fields: tiles
        of two wells have the same names, and hold other cells.
    """
    if translated is None:
        return {"before": source, "after": target, "made": False}
    return {"before": reconstructed or source, "after": translated, "made": True}


def paired_lines(
    measurement: Measurement,
    *,
    before: str,
    after: str,
    target: str | None = None,
    made: bool = True,
    column: str | None = None,
    wells: Wells | Units | None = None,
    summary: Summary = "median",
    theme: ThemeName = "light",
    narrow: bool = False,
    seed: int = 0,
) -> Figure:
    """Show how each image changed, with a line from its value before to its value after.

    On the right stands the change itself: a dot for each pair, the shift (the median of the
    pairwise means of the changes) with its 95 % interval, and 0.

    Parameters
    ----------
    measurement : Measurement
    before, after : str
        Groups that hold the same fields, such as reconstructed and translated. Images are matched
        by their names; as many without a common name are taken in their order.
    target : str, optional
        Real images of what `after` should look like; their median and quartiles are drawn behind.
    made : bool
        Whether a model made the images; hollow dots are then drawn.
    column : str, optional
        Column of the table of images; by default the main column.
    wells, summary
        As for `effects`: pairs are then of wells, not of images.
    theme : {"light", "dark"}
    narrow : bool
        Whether it is shown in a place that is rather high than wide.
    seed : int
        Seed of the sideways places of dots.

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot.

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    from matplotlib.figure import Figure

    column = column or measurement.main_column
    tested, shown = _compared(measurement, before, after, made, column, wells, summary, seed)
    a, b = tested.a, tested.b
    with themed(theme) as colors:
        figure = Figure(figsize=(4.6, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[2, 1.1])
        paints = (
            (colors.reconstructed, colors.translated) if made else (colors.source, colors.target)
        )
        if target is not None:
            wanted = unit_values(measurement, target, column, wells=shown.wells, summary=summary)
            _draw_target(left, wanted.to_numpy(np.float64), target, colors)
        # Many lines are drawn fainter, so that they stay distinguishable.
        strength = float(np.clip(12 / max(len(a), 1), 0.18, 0.7))
        for x, y in zip(a, b, strict=True):
            left.plot([0, 1], [x, y], color=colors.faint, linewidth=1, alpha=strength, zorder=1)
        for place, values, color in ((0, a, paints[0]), (1, b, paints[1])):
            left.scatter(
                np.full(values.size, place),
                values,
                s=26,
                facecolor=colors.ground if made else color,
                edgecolor=color if made else colors.ground,
                linewidths=1.2 if made else 0.5,
                zorder=2,
            )
        if a.size:
            medians = [np.median(a), np.median(b)]
            left.plot([0, 1], medians, color=colors.ground, linewidth=5, zorder=3)
            left.plot([0, 1], medians, color=colors.text, linewidth=2.2, zorder=4)
        left.set_xticks([0, 1], [in_lines(before, 14), in_lines(after, 14)])
        left.set_xlim(-0.25, 1.25)
        left.set_ylabel(up_an_axis(column_text(measurement, column)))
        _draw_changes(right, b - a, tested.found, paints[1], colors, seed)
        for axes in (left, right):
            axes.grid(axis="y", color=colors.faint, alpha=0.2, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(color=colors.faint, labelcolor=colors.text, labelsize=8)
            axes.tick_params(axis="x", length=0)
        said = f"lines: the same {shown.counted} (n = {a.size}), thick: medians"
        if math.isfinite(tested.found.shift_low):
            said += "; bar: 95 % interval of the shift"
        if target is not None:
            said += f"; band: quartiles of real {target}"
        width = NARROW_LETTERS if narrow else 76
        test = f"p: {named_test(tested.found.test, tested.correction)}"
        why = tested.no_p_value or ". ".join(filter(None, (test, tested.caution)))
        figure.supxlabel(
            "\n".join(line for text in (said, why) for line in textwrap.wrap(text, width)),
            fontsize=7.5,
            color=colors.faint,
        )
        return figure


def _compared(
    measurement: Measurement,
    before: str,
    after: str,
    made: bool,
    column: str,
    wells: Wells | Units | None,
    summary: Summary,
    seed: int,
) -> tuple[Tested, Units]:
    """Compare the pairs, and say what is shown as a line: images where there is one well."""
    units = units_of(measurement, wells)
    groups = Groups(before, after, paired=True, by_place=made, made=made)
    tested = compare_in(measurement, groups, column, units, summary=summary, seed=seed)
    return tested, Units() if tested.no_p_value else units


def _draw_target(axes: Axes, values: np.ndarray, name: str, colors: Theme) -> None:
    values = values[~np.isnan(values)]
    if not values.size:
        return
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.axhspan(low, high, color=colors.target, alpha=0.15, linewidth=0, zorder=0)
    axes.axhline(middle, color=colors.target, linewidth=1.2, linestyle=(0, (4, 2)), zorder=0.5)
    axes.text(
        -0.23, middle, f"real {name}", color=colors.text, fontsize=7.5, va="bottom", ha="left"
    )


def _draw_changes(
    axes: Axes, changes: np.ndarray, tested: Comparison, color: str, colors: Theme, seed: int
) -> None:
    """Draw the changes beside their shift, and nothing where nothing could be measured."""
    rng = np.random.default_rng(seed)
    axes.axhline(0, color=colors.faint, linewidth=1)
    places = rng.uniform(-0.16, 0.16, changes.size) if changes.size > 1 else np.zeros(changes.size)
    axes.scatter(places, changes, s=14, color=color, alpha=0.75, linewidths=0)
    axes.set_xlim(-0.4, 0.8)
    axes.set_xticks([0.12], ["change"])
    title = p_text(tested)
    if math.isfinite(tested.shift):
        if math.isfinite(tested.shift_low):
            ends = [tested.shift_low, tested.shift_high]
            axes.plot([0.45, 0.45], ends, color=colors.text, linewidth=2.2)
        axes.plot(0.45, tested.shift, "o", color=colors.text, markersize=6)
        title = f"shift {signed_text(tested.shift)}\n{title}"
    # A title wider than the axes extends to the left, where there is room.
    axes.set_title(title, fontsize=8, loc="right", color=colors.text)


def paired_values(
    measurement: Measurement,
    *,
    before: str,
    after: str,
    made: bool = True,
    column: str | None = None,
    wells: Wells | Units | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the numbers behind `paired_lines`, with the same arguments.

    Parameters
    ----------
    measurement : Measurement
    before, after : str
        Groups that hold the same fields.
    made : bool
        Whether a model made the images.
    column : str, optional
        Column of the table of images; by default the main column.
    wells : str or mapping of str to str or Units, optional
        As for `effects`: pairs are then of wells or fields.
    seed : int
        Of the order of tied values.

    Returns
    -------
    pandas.DataFrame
        ``what`` is ``pair`` (``image``, with its values ``before`` and ``after`` and their
        ``change``; in groups of other names, the name before) or ``shift of pairs`` (``value``
        with its 95 % interval and p-value, over ``n`` pairs).

    Raises
    ------
    InputError
        If there is no such group or column, or images can't be paired.
    """
    import pandas as pd

    column = column or measurement.main_column
    tested, shown = _compared(measurement, before, after, made, column, wells, "median", seed)
    first, second = before_and_after(
        measurement, before, after, column, wells=shown.wells, by_place=made
    )
    a, b = first.to_numpy(np.float64), second.to_numpy(np.float64)
    pairs = pd.DataFrame(
        {"what": "pair", "image": first.index, "before": a, "after": b, "change": b - a}
    )
    role = "translated" if made else "real"
    row = shift_row(tested, before, after, role)
    shift = pd.DataFrame([row | {"what": "shift of pairs"}])
    table = pd.concat([pairs, shift], ignore_index=True)
    table["measurement"], table["group"], table["compared_with"] = column, after, before
    columns = ["what", "measurement", "compared_with", "group", "image", "before", "after"]
    columns += ["change", "n", "value", "low", "high", "p_value", "least_p_value", "test"]
    columns += ["correction", "note"]
    return table[columns].astype({"n": "Int64"})
