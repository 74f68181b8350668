"""Figures of an evaluation: similarity to training images, distances, and structure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.evaluation.distance_table import (
    ALL_CHANNELS,
    COPY,
    REAL,
    TRANSLATED,
    DistanceRow,
)
from napari_phenldiff.evaluation.structure import GROUPS, Between, StructureMeasure
from napari_phenldiff.measurement.figures.style import Theme, ThemeName, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def similarity_histograms(
    pairs: Sequence[tuple[str, Sequence[float], Sequence[float]]],
    *,
    first: str,
    second: str,
    theme: ThemeName = "light",
) -> Figure:
    """Show how alike two sets of images are to their nearest training images (paper, figure 8).

    Parameters
    ----------
    pairs : sequence of (str, values, values)
        Name of a similarity, and its values for both sets: one panel each.
    first, second : str
        What the sets are called.
    theme : {"light", "dark"}

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot.
    """
    from matplotlib.figure import Figure

    with themed(theme) as colors:
        figure = Figure(figsize=(3.6 * len(pairs), 2.9), layout="constrained")
        grid = figure.subplots(1, len(pairs), squeeze=False)[0]
        for axes, (name, one, other) in zip(grid, pairs, strict=True):
            values = [np.asarray(x, float) for x in (one, other)]
            low = min(0.0, *(float(x.min()) for x in values if x.size))
            edges = np.linspace(low, 1, 26)
            marks = ((values[0], colors.translated, first), (values[1], colors.target, second))
            for group, color, label in marks:
                # fractions, since the sets differ in size
                weights = np.full(group.size, 1 / max(1, group.size))
                axes.hist(group, edges, weights=weights, color=color, alpha=0.45)
                axes.hist(group, edges, weights=weights, color=color, histtype="step", label=label)
            axes.set_xlabel(f"{name} cosine with the nearest training image")
            axes.set_xlim(low, 1)
        grid[0].set_ylabel("part of the images")
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False)
        return figure


def distance_dots(rows: Sequence[DistanceRow], *, theme: ThemeName = "light") -> Figure:
    """Show kernel distances to the real target with their intervals, one panel per channel.

    Parameters
    ----------
    rows : sequence of DistanceRow
    theme : {"light", "dark"}

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot.
    """
    from matplotlib.figure import Figure

    channels = list(dict.fromkeys(row.channel for row in rows))
    images = list(dict.fromkeys(row.images for row in rows))
    with themed(theme) as colors:
        known = {COPY: colors.source, REAL: colors.target, TRANSLATED: colors.translated}
        figure = Figure(
            figsize=(1.7 + 2.0 * len(channels), 1.1 + 0.32 * len(images)), layout="constrained"
        )
        grid = figure.subplots(1, len(channels), squeeze=False, sharey=True)[0]
        for axes, channel in zip(grid, channels, strict=True):
            for row in rows:
                if row.channel != channel:
                    continue
                place = images.index(row.images)
                color = known.get(row.images, colors.reconstructed)
                axes.plot([row.kernel_low, row.kernel_high], [place] * 2, color=color, linewidth=2)
                axes.plot(row.kernel, place, "o", color=color)
            axes.axvline(0, color=colors.faint, linewidth=1, zorder=0)
            axes.set_title(channel if channel != ALL_CHANNELS else "all channels", fontsize=9)
            axes.tick_params(axis="y", length=0)
        grid[0].set_yticks(range(len(images)), images)
        grid[0].set_ylim(len(images) - 0.5, -0.5)
        figure.supxlabel("kernel distance to real target images (95 %)", fontsize=9)
        return figure


# Values outside these limits are drawn as arrows at the edge.
_LEAST, _MOST = -0.6, 2.4


def structure_figure(
    measures: Sequence[StructureMeasure], heard: Sequence[bool], *, theme: ThemeName = "light"
) -> Figure:
    """Show where images that were made lie between the real conditions, and spectra of sizes.

    On the left a row for each measure, 0 the real source and 1 the real target: faint where it has
    no say. Beside it the spectrum of granularity of each channel.

    Parameters
    ----------
    measures : sequence of StructureMeasure
        What `measure_structure` gives.
    heard : sequence of bool
        Whether each of them has a say.
    theme : {"light", "dark"}

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot.
    """
    from matplotlib.figure import Figure

    spectra = [one for one in measures if one.spectrum]
    with themed(theme) as colors:
        figure = Figure(
            figsize=(4.4 + 2.1 * len(spectra), max(2.8, 1.4 + 0.3 * len(measures))),
            layout="constrained",
        )
        grid = figure.subplots(
            1, 1 + len(spectra), squeeze=False, width_ratios=[2.0, *(1.0 for _ in spectra)]
        )[0]
        _draw_places(grid[0], measures, heard, colors)
        for axes, one in zip(grid[1:], spectra, strict=True):
            _draw_spectrum(axes, one, colors)
        if spectra:
            grid[1].set_ylabel("part of the light", color=colors.text)
            handles, names = grid[1].get_legend_handles_labels()
            figure.legend(
                handles, names, loc="outside upper left", ncols=4, fontsize=8, frameon=False
            )
        return figure


def _draw_places(
    axes: Axes, measures: Sequence[StructureMeasure], heard: Sequence[bool], colors: Theme
) -> None:
    for place, (one, says) in enumerate(zip(measures, heard, strict=True)):
        _draw_between(axes, one.reconstructed, place + 0.17, "o", colors.reconstructed, says)
        _draw_between(axes, one.translated, place - 0.17, "D", colors.translated, says)
    axes.set_yticks(
        range(len(measures)), [f"{one.channel}: {one.measure}" for one in measures], fontsize=8
    )
    axes.set_ylim(len(measures) - 0.5, -0.5)
    axes.set_xlim(_LEAST, _MOST)
    for at, color in ((0, colors.source), (1, colors.target)):
        axes.axvline(at, color=color, linewidth=1.2, zorder=0)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("0: real source, 1: real target (95 %)", color=colors.text)


def _draw_between(
    axes: Axes, where: Between, height: float, mark: str, color: str, heard: bool
) -> None:
    if not math.isfinite(where.value):
        return
    shade = 1.0 if heard else 0.35
    ends = np.clip([where.low, where.high], _LEAST, _MOST)
    axes.plot(ends, [height, height], color=color, linewidth=2, alpha=shade, zorder=2)
    for end, beyond, arrow in (
        (_LEAST, where.low < _LEAST, "<"),
        (_MOST, where.high > _MOST, ">"),
    ):
        if beyond:
            axes.plot(end, height, arrow, color=color, alpha=shade, markersize=5, clip_on=False)
    if _LEAST <= where.value <= _MOST:
        axes.plot(where.value, height, mark, color=color, alpha=shade, markersize=5, zorder=3)


def _draw_spectrum(axes: Axes, one: StructureMeasure, colors: Theme) -> None:
    shades = dict(
        zip(
            GROUPS,
            (colors.source, colors.target, colors.reconstructed, colors.translated),
            strict=True,
        )
    )
    for group in GROUPS:
        made = group in ("reconstructed", "translated")
        axes.plot(
            range(len(one.scales)),
            one.spectrum[group],
            "D--" if made else "o-",
            color=shades[group],
            markersize=3.5,
            linewidth=1.5,
            label=group if made else f"real {group}",
        )
    axes.set_xticks(range(len(one.scales)), [str(scale) for scale in one.scales])
    axes.set_ylim(bottom=0)
    axes.set_title(textwrap.fill(one.channel, 18), fontsize=9)
    axes.set_xlabel("radius in px", color=colors.text)
