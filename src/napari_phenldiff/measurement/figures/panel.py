"""The picture of a translation: real, reconstructed, translated, and what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.figures.style import (
    CHANNEL_COLORS,
    MOST_CHANNELS,
    Theme,
    ThemeName,
    add_scale_bar,
    composite,
    frame,
    short_name,
    shown_range,
    themed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def translation_panel(
    real: Sequence[Image],
    translated: Sequence[Image],
    *,
    reconstructed: Sequence[Image] | None = None,
    counterparts: Sequence[Image] | None = None,
    source: str = "source",
    target: str = "target",
    theme: ThemeName = "light",
) -> Figure:
    """Show translated images beside the real ones, and what changed in each channel.

    One row per image. The first columns overlay up to three channels in colours that are named
    above them; brightness is the same for all columns and rows, from the real images. The last
    columns are the signed change of each channel in its own grey values, one scale per channel:
    translated less reconstructed (both went through the autoencoder, so its error cancels), or
    less real if there are no reconstructions.

    Parameters
    ----------
    real : sequence of Image
        Real images of the source condition.
    translated : sequence of Image
        The same images translated to the target condition, in the same order.
    reconstructed : sequence of Image, optional
        The same images translated to their own condition, in the same order.
    counterparts : sequence of Image, optional
        The same cells under the target condition, where that is known: in a simulation.
    source, target : str
        Names of the conditions.
    theme : {"light", "dark"}

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot: `savefig` it, or give it to a canvas.

    Raises
    ------
    InputError
        If there are no images, or numbers, shapes or channels do not fit together.
    """
    from matplotlib.figure import Figure

    others = {
        "reconstructed": reconstructed,
        "translated": translated,
        "true": counterparts,
    }
    _check(real, others)
    names = real[0].channel_names[:MOST_CHANNELS]
    n_channels = len(names)
    columns: list[tuple[str, Sequence[Image]]] = [(f"real\n{source}", real)]
    if reconstructed is not None:
        columns.append((f"reconstructed\n{source}", reconstructed))
    columns.append((f"translated\nto {target}", translated))
    if counterparts is not None:
        columns.append((f"the truth\n{target}", counterparts))
    changes = _changes(translated, real if reconstructed is None else reconstructed, n_channels)
    low, high = shown_range(real, n_channels)
    # The scale spans at least a tenth of the brightness, so that small changes do not look large.
    scales = [
        max(
            float(np.nanpercentile(np.abs(np.concatenate(flat)), 99.8)),
            0.1 * (high[c] - low[c]),
            1e-9,
        )
        for c, flat in enumerate(zip(*([x.ravel() for x in row] for row in changes), strict=True))
    ]

    with themed(theme) as colors:
        layout = _Layout(len(real), len(columns) + n_channels, real[0].shape, legend=n_channels > 1)
        figure = Figure(figsize=layout.size)
        grid = [
            [layout.add(figure, row, c) for c in range(layout.columns)]
            for row in range(layout.rows)
        ]
        for row, axes_of_row in enumerate(grid):
            for axes, (_, images) in zip(axes_of_row, columns, strict=False):
                axes.imshow(composite(images[row], low, high), interpolation="nearest")
                frame(axes, colors)
            for c, axes in enumerate(axes_of_row[len(columns) :]):
                axes.imshow(
                    changes[row][c],
                    cmap=colors.change_map(),
                    vmin=-scales[c],
                    vmax=scales[c],
                    interpolation="nearest",
                )
                frame(axes, colors)
            axes_of_row[0].set_ylabel(short_name(real[row].name), fontsize=7)
        for axes, (title, _) in zip(grid[0], columns, strict=False):
            axes.set_title(title, fontsize=9)
        for c, axes in enumerate(grid[0][len(columns) :]):
            axes.set_title(f"change of\n{short_name(names[c])}", fontsize=9)
        for c, axes in enumerate(grid[-1][len(columns) :]):
            _add_colorbar(figure, layout, len(columns) + c, axes.images[0], colors)
        add_scale_bar(grid[-1][0], real[-1])
        if n_channels > 1:
            _add_legend(figure, layout, names, real[0].n_channels, colors)
        return figure


@dataclass(frozen=True, slots=True)
class _Layout:
    """Places on the figure in inches: images of the same size, exactly in line."""

    rows: int
    columns: int
    shape: tuple[int, int]
    legend: bool

    width = 1.55
    left, right, gap, titles, bottom = 0.28, 0.08, 0.05, 0.42, 0.52

    @property
    def height(self) -> float:
        return self.width * self.shape[0] / self.shape[1]

    @property
    def top(self) -> float:
        return self.titles + (0.3 if self.legend else 0.06)

    @property
    def size(self) -> tuple[float, float]:
        return (
            self.left + self.columns * (self.width + self.gap) - self.gap + self.right,
            self.top + self.rows * (self.height + self.gap) - self.gap + self.bottom,
        )

    def add(self, figure: Figure, row: int, column: int) -> Axes:
        """Add the axes of one image."""
        x = self.left + column * (self.width + self.gap)
        y = self.bottom + (self.rows - 1 - row) * (self.height + self.gap)
        return self.add_at(figure, x, y, self.width, self.height)

    def add_at(self, figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
        """Add axes at a place in inches from the lower left."""
        full_width, full_height = self.size
        return figure.add_axes(
            (x / full_width, y / full_height, width / full_width, height / full_height)
        )


def _check(real: Sequence[Image], others: Mapping[str, Sequence[Image] | None]) -> None:
    if not real:
        raise InputError("There are no images to show: give at least one.")
    for what, images in others.items():
        if images is None:
            continue
        if len(images) != len(real):
            raise InputError(
                f"There are {len(real)} real but {len(images)} {what} images: give one for each."
            )
        for ours, theirs in zip(real, images, strict=True):
            if ours.data.shape != theirs.data.shape:
                raise InputError(
                    f'Image "{ours.name}" has the shape {ours.data.shape}, its {what} image '
                    f"{theirs.data.shape}: give images that belong together."
                )
    if any(image.channel_names != real[0].channel_names for image in real):
        raise InputError("The images have different channels: show those with the same together.")


def _changes(
    translated: Sequence[Image], before: Sequence[Image], n_channels: int
) -> list[list[np.ndarray]]:
    """Signed change per image and channel, (Y, X) each."""
    return [
        list(a.data[:n_channels].astype(np.float64) - b.data[:n_channels].astype(np.float64))
        for a, b in zip(translated, before, strict=True)
    ]


def _add_colorbar(
    figure: Figure, layout: _Layout, column: int, shown: AxesImage, colors: Theme
) -> None:
    """Add the scale of a column of changes below it."""
    limit = shown.get_clim()[1]
    step = 10 ** np.floor(np.log10(limit))
    end = np.floor(limit / step) * step
    margin = 0.12
    x = layout.left + column * (layout.width + layout.gap) + margin
    place = layout.add_at(figure, x, layout.bottom - 0.15, layout.width - 2 * margin, 0.07)
    bar = figure.colorbar(shown, cax=place, orientation="horizontal", ticks=[-end, 0, end])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2, pad=1.5, color=colors.faint, labelcolor=colors.text)
    bar.set_label("grey values", fontsize=7, labelpad=1)


def _add_legend(
    figure: Figure, layout: _Layout, names: Sequence[str], n_channels: int, colors: Theme
) -> None:
    """Name the colours of the overlays, above them."""
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=color, edgecolor=colors.faint, linewidth=0.5, label=name)
        for name, color in zip(names, CHANNEL_COLORS[len(names)], strict=True)
    ]
    hidden = n_channels - len(names)
    if hidden:
        patches.append(Patch(alpha=0, label=f"({hidden} more not shown)"))
    width, height = layout.size
    figure.legend(
        handles=patches,
        loc="upper left",
        bbox_to_anchor=(layout.left / width, 1 - 0.09 / height),
        ncols=len(patches),
        fontsize=8,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.0,
        handleheight=1.0,
    )
