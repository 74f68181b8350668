"""Figures of an evaluation that no measurement draws."""

from __future__ import annotations

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
from napari_phenldiff.measurement.figures.style import ThemeName, themed

if TYPE_CHECKING:
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
                # parts, since the sets are not equally large
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
