"""The figure of the four groups, real and translated, that show whether a change is real."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.images.wells import Wells
from napari_phenldiff.measurement.figures.style import (
    NARROW_LETTERS,
    Theme,
    ThemeName,
    in_lines,
    themed,
    up_an_axis,
)
from napari_phenldiff.measurement.statistics.compare import Comparison, p_text, signed_text
from napari_phenldiff.measurement.statistics.effects import compare_real_and_translated
from napari_phenldiff.measurement.statistics.recovery import Recovery, recovery_text
from napari_phenldiff.measurement.statistics.two_groups import Tested, named_test
from napari_phenldiff.measurement.statistics.units import Units, known, matched, unit_values
from napari_phenldiff.measurement.tables.measurement import Measurement, column_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_TITLE_LETTERS = 40
"""Letters of a line of the title, where the figure is narrow."""

# Half of the width that a group takes, of 1 between groups.
_SPREAD = 0.36
_MOST_CELLS = 600


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    role: str
    place: float
    color: str
    hollow: bool


def four_groups(
    measurement: Measurement,
    *,
    source: str,
    target: str,
    translated: str | None = None,
    reconstructed: str | None = None,
    column: str | None = None,
    paired: bool = False,
    wells: Wells | Units | None = None,
    theme: ThemeName = "light",
    strength: float = 1.0,
    narrow: bool = False,
    no_recovery: str = "",
    seed: int = 0,
) -> Figure:
    """Show one measurement on real and translated images of both conditions.

    Each large dot is an image, or a well, with the median of its group as a line; cells lie small
    behind them. Tests and effects are of images, or wells. Above the pairs stand the shift
    (Hodges-Lehmann) and the p-value of Mann-Whitney's test, of Wilcoxon's for six and
    more pairs of translated against reconstructed, which show the same cells, corrected for the
    number of measurements as in `effects`; in the title, which part of the real shift translation
    recovers. Where all images of a condition come from one well or field there is no p-value, and
    the figure says why.

    Parameters
    ----------
    measurement : Measurement
    source, target : str
        Names of the groups of real images.
    translated : str, optional
        Name of the group of source images translated to the target condition.
    reconstructed : str, optional
        Name of the group of the same source images translated to their own condition, in the
        same order. Without it, translated images are compared with the real source images.
    column : str, optional
        Column of the table of images; by default the main column of the profile.
    paired : bool
        As for `effects`.
    wells : str or mapping of str to str or Units, optional
        As for `effects`.
    theme : {"light", "dark"}
    strength : float
        At which the images were translated; it is told where it is not 1.
    narrow : bool
        Whether it is shown in a place that is rather high than wide.
    no_recovery : str
        Why recovery is not told, for whoever judges more strictly than `recovery`.
    seed : int
        Seed of the sideways places of dots.

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot: `savefig` it, or give it to a canvas.

    Raises
    ------
    InputError
        If there is no such group or column, or `reconstructed` and `translated` do not hold the
        same number of images, or an image has no well.
    """
    from matplotlib.figure import Figure

    compared = compare_real_and_translated(
        measurement,
        source=source,
        target=target,
        translated=translated,
        reconstructed=reconstructed,
        column=column,
        paired=paired,
        wells=wells,
        seed=seed,
    )
    column, units, shown = compared.column, compared.units, compared.shown
    real, made, recovered = compared.real, compared.made, compared.recovered
    why = compared.no_p_value
    with themed(theme) as colors:
        groups = _groups(colors, source, target, reconstructed, translated, strength)
        dots = {
            group.name: unit_values(measurement, group.name, column, wells=shown.wells)
            for group in groups
        }
        if reconstructed is not None and translated is not None:
            dots[reconstructed], dots[translated] = matched(
                dots[reconstructed], dots[translated], by_place=True
            )
        values = {name: unit.to_numpy(np.float64) for name, unit in dots.items()}
        # The figure is rendered later, under other defaults, so all that matters is set here.
        figure = Figure(figsize=(1.2 + 1.25 * len(groups), 4.2), layout="constrained")
        axes = figure.add_subplot()
        rng = np.random.default_rng(seed)
        for group in groups:
            _draw_cells(axes, measurement, group, column, colors, rng)
            _draw_images(axes, values[group.name], group, colors, rng)
        _limit(axes, measurement, values, column)

        _bracket(axes, groups[0], groups[1], real.found.shift, real.found, colors)
        if recovered is not None and made is not None:
            if reconstructed is not None:
                # The shift that recovery is a part of, so that the numbers fit together.
                shift = recovered.translated_effect
                _bracket(axes, groups[2], groups[3], shift, made.found, colors)
            told = recovery_text(
                replace(recovered, value=math.nan, reason=no_recovery) if no_recovery else recovered
            )
            told = textwrap.fill(told, _TITLE_LETTERS) if narrow else told
            axes.set_title(told, loc="left", fontsize=9, pad=10)
        known = {group.name: int(np.isfinite(values[group.name]).sum()) for group in groups}
        counts = {name: f"n = {n}" for name, n in known.items()}
        if why:
            n_units = {
                group.name: unit_values(measurement, group.name, column, wells=units.wells)
                .dropna()
                .size
                for group in groups
            }
            counts = {
                name: f"n = {n}" if n == known[name] else f"n = {n}\n({known[name]} images)"
                for name, n in n_units.items()
            }
        _dress(axes, groups, counts, measurement, column, colors)
        has_cells = measurement.cells is not None and column in measurement.cells
        below = (
            f"dots: {shown.counted}{', specks: cells' if has_cells else ''}, "
            f"lines: medians of {shown.counted}"
        )
        if why and units.counted != shown.counted:
            below += f", n: {units.counted}"
        width = min(int(16 + 17 * len(groups)), NARROW_LETTERS if narrow else 1000)
        said = why or " ".join(filter(None, (_tests(real, made) + ".", real.caution)))
        figure.supxlabel(
            "\n".join((*textwrap.wrap(below, width), *textwrap.wrap(said, width))),
            fontsize=7.5,
            color=colors.faint,
        )
        return figure


def _tests(real: Tested, made: Tested | None) -> str:
    """Name what the p-values are of."""
    tests = [named_test(x.found.test, x.correction) for x in (real, made) if x is not None]
    names = [f"p: {tests[0]}", *(f"translated: {name}" for name in tests[1:] if name != tests[0])]
    return "; ".join(names)


def _groups(
    colors: Theme,
    source: str,
    target: str,
    reconstructed: str | None,
    translated: str | None,
    strength: float,
) -> list[_Group]:
    groups = [
        _Group(source, f"real\n{in_lines(source)}", 0.0, colors.source, False),
        _Group(target, f"real\n{in_lines(target)}", 1.0, colors.target, False),
    ]
    # A gap between real images and those a model made.
    if reconstructed is not None:
        role = f"reconstructed\n{in_lines(source)}"
        groups.append(_Group(reconstructed, role, 2.3, colors.reconstructed, True))
    if translated is not None:
        role = f"translated\n{in_lines(f'to {target}')}"
        if strength != 1:
            role += f" × {strength:g}"
        groups.append(_Group(translated, role, groups[-1].place + 1, colors.translated, True))
    return groups


def _draw_cells(
    axes: Axes,
    measurement: Measurement,
    group: _Group,
    column: str,
    colors: Theme,
    rng: np.random.Generator,
) -> None:
    values = _cells_of(measurement, group.name, column)
    if values.size > _MOST_CELLS:
        values = rng.choice(values, _MOST_CELLS, replace=False)
    places = group.place + _jitter(values, rng)
    axes.scatter(places, values, s=3, color=colors.faint, alpha=0.35, linewidths=0, zorder=1)


def _draw_images(
    axes: Axes, values: np.ndarray, group: _Group, colors: Theme, rng: np.random.Generator
) -> None:
    values = values[~np.isnan(values)]
    if not values.size:
        return
    axes.scatter(
        group.place + _jitter(values, rng),
        values,
        s=22 if values.size > 60 else 34,
        facecolor=colors.ground if group.hollow else group.color,
        edgecolor=group.color if group.hollow else colors.ground,
        linewidths=1.3 if group.hollow else 0.5,
        alpha=0.9,
        zorder=2,
    )
    ends = group.place - _SPREAD, group.place + _SPREAD
    median = np.median(values)
    # The median lies in front of many dots, but behind a few, which it would hide.
    above = 2 if values.size > 20 else 0
    axes.plot(ends, [median, median], color=colors.ground, linewidth=4, zorder=1.5 + above)
    axes.plot(ends, [median, median], color=colors.text, linewidth=2, zorder=1.6 + above)


def _jitter(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sideways offsets, wide where values are dense, so that dots show their distribution."""
    from scipy.stats import gaussian_kde

    if values.size < 3 or np.ptp(values) == 0:
        return rng.uniform(-0.15, 0.15, values.size) if values.size > 1 else np.zeros(values.size)
    density = gaussian_kde(values)(values)
    # A few values need less width than many.
    width = _SPREAD * min(1.0, 0.35 + values.size / 60)
    return rng.uniform(-1, 1, values.size) * width * density / density.max()


def _limit(
    axes: Axes, measurement: Measurement, values: dict[str, np.ndarray], column: str
) -> None:
    """Set the range by the images and most of the cells, with room above for the tests."""
    ends: list[float] = []
    for name, images in values.items():
        images = images[~np.isnan(images)]
        if images.size:
            ends += [images.min(), images.max()]
        cells = _cells_of(measurement, name, column)
        if cells.size:
            # A box plot's whiskers: a stray cell must not flatten the others.
            lower, upper = np.percentile(cells, [25, 75])
            reach = 1.5 * (upper - lower)
            ends += [max(cells.min(), lower - reach), min(cells.max(), upper + reach)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    room = (high - low) or 1.0
    axes.set_ylim(low - 0.06 * room, high + 0.3 * room)


def _cells_of(measurement: Measurement, name: str, column: str) -> np.ndarray:
    """Finite values of the cells of a group; none if the profile has no cells or no such column."""
    cells = measurement.cells
    if cells is None or column not in cells:
        return np.empty(0)
    values = cells.loc[cells["condition"] == name, column].to_numpy(dtype=np.float64)
    # A ratio may be infinite, which has no place on an axis.
    return values[np.isfinite(values)]


def _bracket(
    axes: Axes, left: _Group, right: _Group, shift: float, tested: Comparison, colors: Theme
) -> None:
    height, tick = 0.83, 0.015
    axes.plot(
        [left.place, left.place, right.place, right.place],
        [height - tick, height, height, height - tick],
        color=colors.text,
        linewidth=0.8,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
    axes.text(
        (left.place + right.place) / 2,
        height + 0.01,
        f"shift {signed_text(shift)}\n{p_text(tested)}" if math.isfinite(shift) else p_text(tested),
        ha="center",
        va="bottom",
        fontsize=8,
        color=colors.text,
        linespacing=1.25,
        transform=axes.get_xaxis_transform(),
    )


def _dress(
    axes: Axes,
    groups: list[_Group],
    counts: dict[str, str],
    measurement: Measurement,
    column: str,
    colors: Theme,
) -> None:
    axes.set_xticks(
        [group.place for group in groups],
        [f"{group.role}\n{counts[group.name]}" for group in groups],
    )
    axes.set_xlim(groups[0].place - 0.55, groups[-1].place + 0.55)
    # Set here and not only by the theme's defaults: a larger canvas adds ticks later.
    axes.tick_params(color=colors.faint, labelcolor=colors.text, labelsize=8.5)
    # small enough for "reconstructed" beside "translated" in a dock
    # Four names are side by side in a dock.
    axes.tick_params(axis="x", length=0, labelsize=6.2 if len(groups) > 3 else 7)
    axes.grid(axis="y", color=colors.faint, alpha=0.2, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_ylabel(up_an_axis(column_text(measurement, column)))


_COLUMNS = {
    "what": "string",
    "group": "string",
    "role": "string",
    "compared_with": "string",
    "image": "string",
    "measurement": "string",
    "n": "Int64",
    "value": "float64",
    "low": "float64",
    "high": "float64",
    "p_value": "float64",
    "least_p_value": "float64",
    "test": "string",
    "correction": "string",
    "note": "string",
}


def four_group_values(
    measurement: Measurement,
    *,
    source: str,
    target: str,
    translated: str | None = None,
    reconstructed: str | None = None,
    column: str | None = None,
    paired: bool = False,
    wells: Wells | Units | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Give the numbers behind `four_groups`, with the same arguments.

    Parameters
    ----------
    measurement : Measurement
    source, target : str
        Names of the groups of real images.
    translated, reconstructed : str, optional
        Names of the groups that a model made.
    column : str, optional
        Column of the table of images; by default the main column of the profile.
    paired : bool
        As for `effects`.
    wells : str or mapping of str to str or Units, optional
        As for `effects`.
    seed : int
        Of the order of tied values.

    Returns
    -------
    pandas.DataFrame
        ``what`` tells what a row is: ``well``, ``field`` or ``image`` (one dot; ``value``),
        ``median`` (one line, with the number of these), ``shift`` (Hodges-Lehmann, from
        `compared_with` to `group`, with its 95 % interval, the p-value with its ``test`` and
        ``correction`` and the least that so many can have), ``shift of pairs`` (the same of the
        differences between before and after) and ``recovery`` (a fraction, with its 95 %
        interval). ``note`` says why there is no p-value, or no recovery.

    Raises
    ------
    InputError
        If there is no such group or column.
    """
    import pandas as pd

    compared = compare_real_and_translated(
        measurement,
        source=source,
        target=target,
        translated=translated,
        reconstructed=reconstructed,
        column=column,
        paired=paired,
        wells=wells,
        seed=seed,
    )
    column, shown = compared.column, compared.shown
    roles = {source: "real", target: "real"}
    for name, role in ((reconstructed, "reconstructed"), (translated, "translated")):
        if name is not None:
            roles[name] = role
    values = {name: unit_values(measurement, name, column, wells=shown.wells) for name in roles}
    rows: list[dict[str, Any]] = []
    for name, role in roles.items():
        rows += [
            {"what": shown.one, "group": name, "role": role, "image": unit, "value": value}
            for unit, value in values[name].items()
        ]
    for name, role in roles.items():
        found = known(values[name])
        median = float(np.median(found)) if found.size else math.nan
        rows.append(
            {"what": "median", "group": name, "role": role, "n": found.size, "value": median}
        )
    rows.append(shift_row(compared.real, source, target, "real"))
    recovered = compared.recovered
    if recovered is not None and compared.made is not None and translated is not None:
        if reconstructed is not None:
            pairs = shift_row(compared.made, reconstructed, translated, "translated")
            # What the figure says: the shift that recovery is a part of.
            nothing = {"low": math.nan, "high": math.nan}
            rows.append(pairs | nothing | {"value": recovered.translated_effect})
            rows.append(pairs | {"what": "shift of pairs"})
        rows.append(_recovery(recovered, translated, reconstructed or source))
    for row in rows:
        row["measurement"] = column
    return pd.DataFrame.from_records(rows, columns=list(_COLUMNS)).astype(_COLUMNS)


def shift_row(tested: Tested, before: str, after: str, role: str) -> dict[str, Any]:
    """Give the row of a table of figure values that holds a shift with its interval and test."""
    compared = tested.found
    return {
        "what": "shift",
        "group": after,
        "role": role,
        "compared_with": before,
        "n": compared.n_b,
        "value": compared.shift,
        "low": compared.shift_low,
        "high": compared.shift_high,
        **tested.p_columns(),
    }


def _recovery(recovered: Recovery, translated: str, before: str) -> dict[str, Any]:
    return {
        "what": "recovery",
        "group": translated,
        "role": "translated",
        "compared_with": before,
        "value": recovered.value,
        "low": recovered.low,
        "high": recovered.high,
        "note": recovered.reason,
    }
