"""The figure of the images that changed most, cut out where they did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.pictures import (
    CHANNEL_COLORS,
    MOST_CHANNELS,
    add_scale_bar,
    composite,
    frame,
    short_name,
    shown_range,
)
from napari_phenldiff.measurement.theme import ThemeName, themed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH = 1.3  # of a picture, in inches


def most_changed(before: ArrayLike, after: ArrayLike, n: int) -> list[int]:
    """Choose the images whose measurement changed most, without opening them.

    Parameters
    ----------
    before, after : array-like of shape (N,)
        A value per image, in the same order; NaN where it could not be measured.
    n : int
        How many to choose at most.

    Returns
    -------
    list of int
        Their places, the most changed first.
    """
    changes = np.abs(np.asarray(after, np.float64) - np.asarray(before, np.float64))
    order = np.argsort(-changes, kind="stable")  # NaN comes last
    return [int(i) for i in order[:n] if np.isfinite(changes[i])]


def change_gallery(
    real: Sequence[Image],
    translated: Sequence[Image],
    *,
    reconstructed: Sequence[Image] | None = None,
    captions: Sequence[str] | None = None,
    crop: int = 128,
    source: str = "source",
    target: str = "target",
    theme: ThemeName = "light",
) -> Figure:
    """Show images, their reconstructions and translations, cut out where most has changed.

    Parameters
    ----------
    real, translated : sequence of Image
        Images in the same order, for example those that `most_changed` chose.
    reconstructed : sequence of Image, optional
        The same images translated to their own condition.
    captions : sequence of str, optional
        What to say of each image, such as its values before and after.
    crop : int
        Side of what is cut out, in pixels; smaller images are shown whole.
    source, target : str
        Names of the conditions.
    theme : {"light", "dark"}

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot. Brightness is the same for all pictures, from the real ones.

    Raises
    ------
    InputError
        If there are no images, or numbers, shapes or channels do not fit together.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.patches import Patch

    if not real:
        raise InputError("There are no images to show: give at least one that changed.")
    kinds: list[tuple[str, Sequence[Image]]] = [(f"real {source}", real)]
    if reconstructed is not None:
        kinds.append(("reconstructed", reconstructed))
    kinds.append((f"as {target}", translated))
    for kind, images in kinds:
        if len(images) != len(real) or any(
            a.data.shape != b.data.shape for a, b in zip(images, real, strict=True)
        ):
            raise InputError(
                f"The images of {kind} do not belong to the {len(real)} real ones: give as many, "
                "of the same shapes."
            )
    names = real[0].channel_names[:MOST_CHANNELS]
    if any(image.channel_names != real[0].channel_names for image in real):
        raise InputError("The images have different channels: show those with the same together.")
    low, high = shown_range(real, len(names))
    rows = []
    for k, image in enumerate(real):
        before = image if reconstructed is None else reconstructed[k]
        place = _most_changed_place(before, translated[k], len(names), high - low, crop)
        rows.append([_cut(images[k], place) for _, images in kinds])

    with themed(theme) as colors:
        wide = 2 if len(rows) > 2 else 1  # images side by side
        lines = -(-len(rows) // wide)
        height = _WIDTH * max(row[0].shape[0] / row[0].shape[1] for row in rows)
        legend = 0.3 if len(names) > 1 else 0.0
        figure = Figure(
            figsize=(
                wide * (len(kinds) * (_WIDTH + 0.04) + 0.3),
                lines * (height + 0.26) + 0.35 + legend,
            ),
            layout=ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0),
        )
        blocks = figure.subfigures(1, wide, squeeze=False, wspace=0.04)[0]
        for side, block in enumerate(blocks):
            grid = block.subplots(lines, len(kinds), squeeze=False)
            for line in range(lines):
                k = line * wide + side
                for c, axes in enumerate(grid[line]):
                    if k >= len(rows):
                        axes.set_axis_off()
                        continue
                    axes.imshow(composite(rows[k][c], low, high), interpolation="nearest")
                    frame(axes, colors)
                    if line == 0:
                        axes.set_title(kinds[c][0], fontsize=8.5)
                if k < len(rows):
                    said = short_name(real[k].name, 30)
                    if captions is not None:
                        said += f"   {captions[k]}"
                    grid[line][0].set_xlabel(said, fontsize=7, loc="left", labelpad=2)
        add_scale_bar(blocks[0].axes[0], rows[0][0])
        if len(names) > 1:
            patches = [
                Patch(facecolor=color, edgecolor=colors.faint, linewidth=0.5, label=name)
                for name, color in zip(names, CHANNEL_COLORS[len(names)], strict=True)
            ]
            figure.legend(
                handles=patches,
                loc="outside upper left",
                ncols=len(patches),
                fontsize=8,
                frameon=False,
                handlelength=1.0,
                handleheight=1.0,
            )
        return figure


def _most_changed_place(
    before: Image, after: Image, n_channels: int, spans: np.ndarray, crop: int
) -> tuple[slice, slice]:
    """Find the square of an image in which most has changed, as rows and columns."""
    from scipy.ndimage import uniform_filter

    height, width = (min(crop, side) for side in before.shape)
    change = np.zeros(before.shape)
    for c in range(n_channels):
        difference = np.abs(after.data[c].astype(np.float64) - before.data[c].astype(np.float64))
        change += np.nan_to_num(difference) / max(spans[c], np.finfo(np.float64).tiny)
    around = uniform_filter(change, (height, width), mode="constant")
    # The centre of a square that lies within the image.
    top, left = height // 2, width // 2
    inner = around[
        top : top + before.shape[0] - height + 1, left : left + before.shape[1] - width + 1
    ]
    y, x = np.unravel_index(int(inner.argmax()), inner.shape)
    return slice(int(y), int(y) + height), slice(int(x), int(x) + width)


def _cut(image: Image, place: tuple[slice, slice]) -> Image:
    return Image(image.data[:, *place], image.channel_names, image.pixel_size, image.name)
