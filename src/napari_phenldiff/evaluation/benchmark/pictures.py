"""The same test images by every method, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.benchmark.folder import Made
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.figures.style import (
    MOST_CHANNELS,
    add_scale_bar,
    composite,
    frame,
    legend_patches,
    short_name,
    shown_range,
    themed,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE, _GAP, _LEFT, _TOP = 1.3, 0.05, 1.0, 0.75  # inches


def pictures(
    sources: Sequence[Image],
    methods: Mapping[str, Made],
    real_target: Sequence[Image],
    *,
    source: str,
    target: str,
    images: int = 3,
) -> Figure:
    """Show test images as they are, reconstructed and translated, a row per method.

    The first images in their (random) order are shown, without the emptiest quarter, as a field
    without cells shows nothing. Brightness is the same everywhere, from the real images of both
    conditions.

    Parameters
    ----------
    sources : sequence of Image
        Test images.
    methods : mapping of str to Made
        What was made of them, by method.
    real_target : sequence of Image
        Real images of the target, other ones in every row.
    source, target : str
        Names of the conditions.
    images : int
        How many to show.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        If there is nothing to show.
    """
    from matplotlib.figure import Figure

    if not methods or not sources:
        raise InputError("There is nothing to show: no method is done.")
    numbers = _not_empty(sources)[:images]
    shown = [sources[k] for k in numbers]
    names = sources[0].channel_names[:MOST_CHANNELS]
    low, high = shown_range([*sources, *real_target], len(names))
    columns = 3 * len(shown) + 1
    width = _LEFT + columns * (_SIDE + _GAP) + 0.15 * len(shown)
    height = _TOP + len(methods) * (_SIDE + _GAP) + 0.1
    with themed("light") as colors:
        figure = Figure(figsize=(width, height))
        for row, (method, made) in enumerate(methods.items()):
            y = height - _TOP - (row + 1) * (_SIDE + _GAP)
            cells: list[tuple[str, Image]] = []
            for k, image in zip(numbers, shown, strict=True):
                cells += [
                    (f"real\n{source}", image),
                    ("reconstructed", made.reconstructed[k]),
                    (f"translated\nto {target}", made.translated[k]),
                ]
            cells.append((f"real\n{target}", real_target[row % len(real_target)]))
            for column, (title, image) in enumerate(cells):
                x = _LEFT + column * (_SIDE + _GAP) + 0.15 * (column // 3)
                place = (x / width, y / height, _SIDE / width, _SIDE / height)
                axes = figure.add_axes(place)
                axes.imshow(composite(image, low, high), interpolation="nearest")
                frame(axes, colors)
                if row == 0:
                    axes.set_title(title, fontsize=8)
                if column == 0:
                    axes.set_ylabel(method, fontsize=9)
                if row == len(methods) - 1 and column % 3 == 0 and column < columns - 1:
                    axes.set_xlabel(short_name(image.name), fontsize=6, labelpad=1)
        add_scale_bar(figure.axes[0], shown[0])
        if len(names) > 1:
            figure.legend(
                handles=legend_patches(names, colors),
                loc="upper left",
                ncols=len(names),
                fontsize=8,
                frameon=False,
            )
        return figure


def _not_empty(images: Sequence[Image]) -> list[int]:
    """Return the numbers of the images whose mean intensity is not in the lowest quarter."""
    levels = np.array([image.data.mean((1, 2), dtype=float) for image in images])
    # channels count alike, whatever their grey values
    light = (levels / levels.max(0).clip(min=np.finfo(float).tiny)).sum(1)
    return np.flatnonzero(light >= np.quantile(light, 0.25)).tolist()
