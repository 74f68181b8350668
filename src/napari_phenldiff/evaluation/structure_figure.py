"""The figure of structure: where what was made lies between the real conditions, and spectra."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.evaluation.structure import GROUPS, Between, StructureMeasure
from napari_phenldiff.measurement.figures.style import Theme, ThemeName, themed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What lies further away is drawn at the edge, as an arrow.
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
