"""The figure of the images that changed most, cut out where they did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.figures.style import (
    MOST_CHANNELS,
    RGB,
    ThemeName,
    add_scale_bar,
    composite,
    frame,
    legend_patches,
    short_name,
    shown_range,
    themed,
)
from napari_phenldiff.measurement.statistics.units import matched, unit_values
from napari_phenldiff.measurement.tables.measurement import Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def changed_images(
    measurement: Measurement,
    *,
    source: str,
    translated: str,
    reconstructed: str | None = None,
    n: int = 6,
) -> dict[str, str]:
    """Name the images whose main measurement a model changed most, with what to say of them.

    Parameters
    ----------
    measurement : Measurement
    source : str
        Name of the group of real images.
    translated, reconstructed : str
        Names of the groups that a model made of them; without reconstructed images, the change is
        that from the real ones.
    n : int
        How many to name at most.

    Returns
    -------
    dict of str to str
        By the name of the image, the most changed first, its caption: values before and after.

    Raises
    ------
    InputError
        If images can't be paired, or none of them is among the real ones.
    """
    real = unit_values(measurement, source)
    before = real if reconstructed is None else unit_values(measurement, reconstructed)
    before, after = matched(before, unit_values(measurement, translated))
    chosen = [str(before.index[i]) for i in most_changed(before, after, n)]
    shown = {
        name: f"{before[name]:.3g} → {after[name]:.3g}" for name in chosen if name in real.index
    }
    if not shown:
        raise InputError(
            f"None of the images that changed most is in {source}: give the real images of the "
            "same names to show a gallery."
        )
    return shown


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


@dataclass(frozen=True, slots=True, eq=False)
class GalleryCrops:
    """The crops that a gallery shows, from where images changed most.

    Attributes
    ----------
    kinds : tuple of str
        What the pictures of a row are, in words.
    rows : tuple of tuple of Image
        For each image, what was cut out of each kind.
    low, high : numpy.ndarray of shape (C,)
        Grey values that are black and fully bright, from the real images.
    captions : tuple of str
        What is said of each image.
    """

    kinds: tuple[str, ...]
    rows: tuple[tuple[Image, ...], ...]
    low: np.ndarray
    high: np.ndarray
    captions: tuple[str, ...]


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
    crops = crop_changes(
        real,
        translated,
        reconstructed=reconstructed,
        captions=captions,
        crop=crop,
        source=source,
        target=target,
    )
    return draw_gallery(crops, theme=theme)


def crop_changes(
    real: Sequence[Image],
    translated: Sequence[Image],
    *,
    reconstructed: Sequence[Image] | None = None,
    captions: Sequence[str] | None = None,
    crop: int = 128,
    source: str = "source",
    target: str = "target",
) -> GalleryCrops:
    """Cut images out where most has changed, so that a gallery can be drawn without the images.

    Parameters and errors are those of `change_gallery`.

    Returns
    -------
    GalleryCrops
    """
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
        rows.append(tuple(_cut(images[k], place) for _, images in kinds))
    said = [short_name(image.name, 30) for image in real]
    if captions is not None:
        said = [f"{name}   {words}" for name, words in zip(said, captions, strict=True)]
    return GalleryCrops(tuple(kind for kind, _ in kinds), tuple(rows), low, high, tuple(said))


def draw_gallery(
    crops: GalleryCrops,
    *,
    theme: ThemeName = "light",
    columns: int | None = None,
    width: float = 1.3,
    channels: Sequence[RGB] | None = None,
) -> Figure:
    """Draw what was cut out, a row of pictures for each image.

    Parameters
    ----------
    crops : GalleryCrops
        What `crop_changes` gave.
    theme : {"light", "dark"}
    columns : int, optional
        How many images stand side by side; by default two if there are more than two.
    width : float
        Width of each picture, in inches.
    channels : sequence of (float, float, float), optional
        Red, green and blue of each channel, between 0 and 1; by default those of their names.

    Returns
    -------
    matplotlib.figure.Figure
        Not bound to pyplot.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows, kinds, low, high = crops.rows, crops.kinds, crops.low, crops.high
    names = rows[0][0].channel_names[: len(low)]
    with themed(theme) as colors:
        wide = columns or (2 if len(rows) > 2 else 1)  # images side by side
        lines = -(-len(rows) // wide)
        height = width * max(row[0].shape[0] / row[0].shape[1] for row in rows)
        legend = 0.3 if len(names) > 1 else 0.0
        figure = Figure(
            figsize=(
                wide * (len(kinds) * (width + 0.04) + 0.3),
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
                    axes.imshow(composite(rows[k][c], low, high, channels), interpolation="nearest")
                    frame(axes, colors)
                    if line == 0:
                        axes.set_title(kinds[c], fontsize=8.5)
                if k < len(rows):
                    said = crops.captions[k]
                    grid[line][0].set_xlabel(said, fontsize=7, loc="left", labelpad=2)
        add_scale_bar(blocks[0].axes[0], rows[0][0])
        if len(names) > 1:
            patches = legend_patches(names, colors, channels)
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
