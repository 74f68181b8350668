"""The picture of a translation: real, reconstructed, translated, and what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_colors import channel_rgb
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.measurement.figures.style import (
    MOST_CHANNELS,
    RGB,
    Theme,
    ThemeName,
    add_scale_bar,
    composite,
    frame,
    legend_patches,
    short_name,
    shown_range,
    themed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


_INSET = 0.42
"""Side of an inset, as a part of the picture."""


@dataclass(frozen=True, slots=True)
class Inset:
    """A rectangle of an image that is shown larger, in a corner of each of its pictures.

    Attributes
    ----------
    row : int
        Which of the images.
    top, left, height, width : int
        In pixels.
    """

    row: int
    top: int
    left: int
    height: int
    width: int

    def within(self, shape: tuple[int, int]) -> tuple[slice, slice] | None:
        """Return rows and columns within an image of a shape; None if nothing is left."""
        ends = [
            (max(0, start), min(size, start + length))
            for start, length, size in zip(
                (self.top, self.left), (self.height, self.width), shape, strict=True
            )
        ]
        if any(low >= high for low, high in ends):
            return None
        return slice(*ends[0]), slice(*ends[1])


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """One kind of picture: an image per row, or the change of a channel (None: of each line's)."""

    title: str
    images: Sequence[Image] = ()
    is_change: bool = False
    channel: int | None = None


def translation_panel(
    real: Sequence[Image],
    translated: Sequence[Image],
    *,
    reconstructed: Sequence[Image] | None = None,
    counterparts: Sequence[Image] | None = None,
    targets: Sequence[Image] | None = None,
    source: str = "source",
    target: str = "target",
    strength: float | None = 1.0,
    single_channels: bool = False,
    insets: Sequence[Inset] = (),
    colors: Sequence[RGB] | None = None,
    reference_channels: Sequence[str] = (),
    theme: ThemeName = "light",
) -> Figure:
    """Show translated images beside the real ones, and what changed in each channel.

    One row per image. The first columns overlay up to three channels in colours that are named
    above them; brightness is the same for all columns and rows, from the real images. Then comes
    the signed change of each channel in its own grey values, one scale per channel: translated less
    reconstructed (both went through the autoencoder, so its error cancels), or less real if there
    are no reconstructions. The last column are real images of the target condition, named at
    the right.

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
    targets : sequence of Image, optional
        Real images of the target condition, as many, of other cells and any size.
    source, target : str
        Names of the conditions.
    strength : float or None
        Of the translation, told above it unless it is 1; None where it is not the same in all.
    single_channels : bool
        Below each overlay, the channels one by one with the change of each.
    insets : sequence of Inset
        What is shown larger; the last one of a row counts.
    colors : sequence of (float, float, float), optional
        Red, green and blue of each channel, between 0 and 1; by default those of their names.
    reference_channels : sequence of str
        Channels that the model was given and did not change; their pictures of change say so.
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

    _check(real, {"reconstructed": reconstructed, "translated": translated, "true": counterparts})
    _check_targets(real, targets)
    names = real[0].channel_names[:MOST_CHANNELS]
    n_channels = len(names)
    rgb = channel_rgb(names) if colors is None else tuple(colors)[:n_channels]
    single_channels = single_channels and n_channels > 1
    before = real if reconstructed is None else reconstructed
    columns = [_Column(f"real\n{source}", real)]
    if reconstructed is not None:
        columns.append(_Column(f"reconstructed\n{source}", reconstructed))
    columns.append(_Column(f"translated\nto {target}{_how_far(strength)}", translated))
    if counterparts is not None:
        columns.append(_Column(f"the truth\n{target}", counterparts))
    if single_channels:
        columns.append(_Column("difference", is_change=True))
    else:
        columns += [
            _Column(f"change of\n{short_name(name)}", is_change=True, channel=c)
            for c, name in enumerate(names)
        ]
    if targets is not None:
        columns.append(_Column(f"real\n{target}", targets))
    changes = _changes(translated, before, n_channels)
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
    # All channels of an image lie upon each other, and then one by one.
    lines = [
        (row, channel)
        for row in range(len(real))
        for channel in ((None, *range(n_channels)) if single_channels else (None,))
    ]
    cuts = {one.row: one for one in insets}

    with themed(theme) as style:
        layout = _Layout(
            len(lines),
            len(columns),
            real[0].shape,
            legend=n_channels > 1,
            bars_right=single_channels,
            names_right=targets is not None,
        )
        figure = Figure(figsize=layout.size)
        for line, (row, channel) in enumerate(lines):
            for place, column in enumerate(columns):
                shown = channel if column.channel is None else column.channel
                if column.is_change and shown is None:
                    continue  # what changes in all channels at once has no colour
                axes = layout.add(figure, line, place)
                if column.is_change:
                    assert shown is not None
                    picture, how = (
                        changes[row][shown],
                        {
                            "cmap": style.change_map(),
                            "vmin": -scales[shown],
                            "vmax": scales[shown],
                        },
                    )
                else:
                    picture = _picture(column.images[row], channel, low, high, rgb)
                    how = {}
                axes.imshow(picture, interpolation="nearest", **how)
                frame(axes, style)
                is_given = column.is_change and names[shown or 0] in reference_channels
                if is_given:
                    axes.text(
                        *(0.5, 0.5, "reference\nchannel"),
                        ha="center",
                        va="center",
                        fontsize=8,
                        color=style.text,
                        transform=axes.transAxes,
                    )
                if row in cuts and (column.images is not targets or not column.images):
                    _add_inset(
                        axes, picture, cuts[row], how, style.text if column.is_change else "white"
                    )
                if place == 0:
                    said = short_name(real[row].name if channel is None else names[channel])
                    axes.set_ylabel(said, fontsize=7)
                if channel is None and targets is not None and column.images is targets:
                    # Other cells, called otherwise than those of the row.
                    axes.yaxis.set_label_position("right")
                    said = short_name(targets[row].name)
                    axes.set_ylabel(said, fontsize=7, rotation=270, va="bottom")
                if line == 0 or (line == 1 and column.is_change and single_channels):
                    axes.set_title(column.title, fontsize=9)
                if place == 0 and line == len(lines) - 1:
                    add_scale_bar(axes, real[row])
                ends_here = line == len(lines) - 1 or (single_channels and row == len(real) - 1)
                if column.is_change and ends_here and not is_given:
                    _add_colorbar(figure, layout, line, place, axes.images[0], style)
        if n_channels > 1:
            _add_legend(figure, layout, names, real[0].n_channels, style, rgb)
        return figure


def _picture(
    image: Image, channel: int | None, low: np.ndarray, high: np.ndarray, rgb: Sequence[RGB]
) -> np.ndarray:
    """Return an overlay of all channels, or one channel in grey, as (Y, X, 3)."""
    if channel is None:
        return composite(image, low, high, rgb)
    one = slice(channel, channel + 1)
    alone = Image(image.data[one], image.channel_names[one], image.pixel_size, image.name)
    return composite(alone, low[one], high[one], ((1.0, 1.0, 1.0),))


def _add_inset(
    axes: Axes, picture: np.ndarray, inset: Inset, how: Mapping[str, Any], color: str
) -> None:
    """Frame a rectangle of a picture, and show it larger in the corner where it hides least."""
    from matplotlib.patches import Rectangle

    height, width = picture.shape[:2]
    place = inset.within((height, width))
    if place is None:
        return
    rows, columns = place
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    edge: dict[str, Any] = {"edgecolor": color, "linewidth": 0.8, "linestyle": (0, (3, 1.5))}
    axes.add_patch(
        Rectangle((columns.start - 0.5, rows.start - 0.5), wide, tall, facecolor="none", **edge)
    )
    grow = min(_INSET * height / tall, _INSET * width / wide)
    size = (grow * wide / width, grow * tall / height)
    left = (columns.start + columns.stop) / 2 > width / 2
    # never over the scale bar, which is at the lower right
    low = (rows.start + rows.stop) / 2 < height / 2 and left
    corner = (0.02 if left else 0.98 - size[0], 0.02 if low else 0.98 - size[1])
    closer = axes.inset_axes((*corner, *size))
    closer.imshow(picture[place], interpolation="nearest", **how)
    closer.set_xticks([])
    closer.set_yticks([])
    for spine in closer.spines.values():
        spine.set(visible=True, color=color, linewidth=0.8)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Places on the figure in inches: images of the same size, exactly in line."""

    rows: int
    columns: int
    shape: tuple[int, int]
    legend: bool
    bars_right: bool = False
    names_right: bool = False

    width = 1.55
    left, gap, titles, margin = 0.28, 0.05, 0.42, 0.08

    @property
    def right(self) -> float:
        """Room on the right, for the colour bars of single channels, or names of real targets."""
        if self.bars_right:
            return 0.62
        return self.left if self.names_right else self.margin

    @property
    def bottom(self) -> float:
        """Room below, for colour bars."""
        return self.margin if self.bars_right else 0.52

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


def _how_far(strength: float | None) -> str:
    """Return what a heading says of a strength; nothing of the usual one."""
    if strength is None:
        return " × various"
    return "" if strength == 1 else f" × {strength:g}"


def _check(real: Sequence[Image], others: Mapping[str, Sequence[Image] | None]) -> None:
    if not real:
        raise InputError("There are no images to show: give at least one.")
    for what, images in others.items():
        if images is None:
            continue
        if len(images) != len(real):
            raise InputError(
                f"{count(len(real), 'real image')} cannot be shown with "
                f"{count(len(images), f'{what} image')}: give one for each."
            )
        for ours, theirs in zip(real, images, strict=True):
            if ours.data.shape != theirs.data.shape:
                raise InputError(
                    f'Image "{ours.name}" has the shape {ours.data.shape}, its {what} image '
                    f"{theirs.data.shape}: give images that belong together."
                )
    if any(image.channel_names != real[0].channel_names for image in real):
        raise InputError("The images have different channels: show those with the same together.")


def _check_targets(real: Sequence[Image], targets: Sequence[Image] | None) -> None:
    if targets is None:
        return
    if len(targets) != len(real):
        raise InputError(
            f"{count(len(real), 'row')} cannot be shown with "
            f"{count(len(targets), 'real image')} of the target: give one for each."
        )
    for image in targets:
        if image.n_channels != real[0].n_channels:
            raise InputError(
                f'Image "{image.name}" has {count(image.n_channels, "channel")}, the others '
                f"{real[0].n_channels}: show images with the same channels together."
            )


def _changes(
    translated: Sequence[Image], before: Sequence[Image], n_channels: int
) -> list[list[np.ndarray]]:
    """Signed change per image and channel, (Y, X) each."""
    return [
        list(a.data[:n_channels].astype(np.float64) - b.data[:n_channels].astype(np.float64))
        for a, b in zip(translated, before, strict=True)
    ]


def _add_colorbar(
    figure: Figure, layout: _Layout, line: int, column: int, shown: AxesImage, style: Theme
) -> None:
    """Add the scale of changes below their column, or at the right of a channel's line."""
    limit = shown.get_clim()[1]
    step = 10 ** np.floor(np.log10(limit))
    end = np.floor(limit / step) * step
    margin = 0.12
    if layout.bars_right:
        x = layout.left + layout.columns * (layout.width + layout.gap)
        y = layout.bottom + (layout.rows - 1 - line) * (layout.height + layout.gap) + margin
        place = layout.add_at(figure, x, y, 0.07, layout.height - 2 * margin)
    else:
        x = layout.left + column * (layout.width + layout.gap) + margin
        place = layout.add_at(figure, x, layout.bottom - 0.15, layout.width - 2 * margin, 0.07)
    bar = figure.colorbar(
        shown,
        cax=place,
        orientation="vertical" if layout.bars_right else "horizontal",
        ticks=[-end, 0, end],
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2, pad=1.5, color=style.faint, labelcolor=style.text)
    bar.set_label("grey values", fontsize=7, labelpad=1)


def _add_legend(
    figure: Figure,
    layout: _Layout,
    names: Sequence[str],
    n_channels: int,
    style: Theme,
    rgb: Sequence[RGB],
) -> None:
    """Name the colours of the overlays, above them."""
    from matplotlib.patches import Patch

    patches = legend_patches(names, style, rgb)
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
