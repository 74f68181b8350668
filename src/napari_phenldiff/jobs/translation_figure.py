"""A figure of translated images beside the real ones, from the folder of a translation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.destinations import check_output_file
from napari_phenldiff.images.files import read_small, write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.sources import ImageSource, as_source
from napari_phenldiff.images.tiff import read_tiff
from napari_phenldiff.jobs.inputs import find_images
from napari_phenldiff.measurement.figures.panel import Inset, translation_panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_phenldiff.measurement.figures.style import ThemeName

SUFFIXES = (".svg", ".png", ".pdf")
"""What a figure is written as; text stays text in SVG and PDF."""

_DOTS_PER_INCH = 300
_MOST_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class _Made:
    """An image of a translation: its record, and its place in its file."""

    record: dict[str, Any]
    place: int


def translation_figure(
    result: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    images: int | Sequence[str] = 4,
    targets: str | os.PathLike[str] | Dataset | None = None,
    single_channels: bool = False,
    insets: Sequence[Inset] = (),
    theme: ThemeName = "light",
) -> Path:
    """Write a figure of a translation: real, reconstructed, translated, difference, real target.

    Parameters
    ----------
    result : path-like
        Folder of `translate`.
    out : path-like
        File to write, as SVG, PNG or PDF by its suffix; it is replaced.
    images : int or sequence of str
        How many of the images are shown, from the first; or which, by name.
    targets : path-like or Dataset, optional
        Real images of the target condition, as `translate` takes those of the source; the first
        ones are shown.
    single_channels : bool
        Whether the channels are shown one by one too.
    insets : sequence of Inset
        What is shown larger, by the row of the figure.
    theme : {"light", "dark"}

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If the folder is no translation, an image is gone or unknown, the suffix is another, or
        there is such a file already.

    Examples
    --------
    >>> from napari_phenldiff import translation_figure
    >>> translation_figure(
    ...     "result", "figure.svg", images=3, targets="data/treated"
    ... )  # doctest: +SKIP
    """
    path = Path(out)
    check_suffix(path)
    check_output_file(path)
    if os.path.lexists(path):
        raise InputError(f"{path} exists; name a new file for the figure.")
    folder = Path(result)
    record = _record(folder)
    rows = _chosen(record["images"], images, folder)
    settings = record["settings"]
    made = {
        kind: [_read(folder / kind / str(row.record["file"]), row.place) for row in rows]
        for kind in ("translated", "reconstructed")
    }
    names = made["translated"][0].channel_names
    shown = None
    if targets is not None:
        found = targets if isinstance(targets, Dataset) else None
        found = found or find_images(Path(targets), settings["target"])  # type: ignore[arg-type]
        shown = list(_first(found.sources, names, len(rows)))
        if len(shown) < len(rows):
            raise InputError(
                f"{len(rows)} rows need as many images of {settings['target']}, and "
                f"{len(shown)} can be read; give more, or show fewer images."
            )
    figure = translation_panel(
        [_real(row.record, names) for row in rows],
        made["translated"],
        reconstructed=made["reconstructed"],
        targets=shown,
        source=settings["source"],
        target=settings["target"],
        strength=float(settings.get("strength", 1.0)),
        single_channels=single_channels,
        insets=insets,
        reference_channels=record.get("reference_channels") or (),
        theme=theme,
    )
    write_figure(figure, path)
    return path


def check_suffix(path: Path) -> None:
    """Refuse a file that no figure can be written as.

    Raises
    ------
    InputError
        Naming the suffixes that there are.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"A figure can't be written as {path.name}: end the name with {', '.join(SUFFIXES)}."
        )


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure; its text stays text, to be set in the font of the paper.

    Raises
    ------
    OSError
        If it can't be written there.
    """
    import matplotlib as mpl

    with (
        mpl.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}),
        write_atomic(path) as temporary,
    ):
        figure.savefig(temporary, dpi=_DOTS_PER_INCH, bbox_inches="tight")


def _record(folder: Path) -> dict[str, Any]:
    path = folder / "translation.json"
    try:
        record: dict[str, Any] = json.loads(read_small(path, most_bytes=_MOST_BYTES))
        record["settings"]["target"], record["images"][0]["file"]
    except FileNotFoundError:
        raise InputError(
            f"{folder} is no translation; give the folder that `phenldiff translate` has written."
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path} can't be read ({type(error).__name__}); translate again.") from (
            error
        )
    return record


def _chosen(
    records: Sequence[dict[str, Any]], images: int | Sequence[str], folder: Path
) -> list[_Made]:
    places: dict[str, int] = {}
    made: list[_Made] = []
    for record in records:
        file = str(record["file"])
        made.append(_Made(record, places.get(file, 0)))
        places[file] = places.get(file, 0) + 1
    if isinstance(images, int):
        if images < 1:
            raise InputError(f"{images} images can't be shown; choose 1 or more.")
        return made[:images]
    by_name = {str(one.record["image"]): one for one in made}
    unknown = [name for name in images if name not in by_name]
    if unknown or not images:
        raise InputError(
            f"{folder} has no image {', '.join(unknown) or 'without a name'}; the first ones are "
            f"{', '.join(list(by_name)[:5])}."
        )
    return [by_name[name] for name in images]


def _read(path: Path, place: int) -> Image:
    try:
        return read_tiff(path)[place]
    except (FileNotFoundError, IndexError):
        raise InputError(f"{path} is gone or has lost images; translate again.") from None


def _real(record: dict[str, Any], names: tuple[str, ...]) -> Image:
    """Return the real image that was translated: the one with the pixels that are recorded."""
    path = Path(str(record["source_file"]))
    if not path.exists():
        raise InputError(f"The real image {path} is gone; put it back, or translate again.")
    for channels in (None, names):
        source = replace(as_source(path), channels=channels)
        for image in source.read():
            if image.sha256 == record["source_sha256"]:
                return replace(image, name=str(record["image"]))
    raise InputError(f"{path} holds other images than those that were translated; translate again.")


def _first(sources: Sequence[ImageSource], names: tuple[str, ...], n: int) -> Iterator[Image]:
    left = n
    for source in sources:
        peeked = source.peek()
        more = peeked is not None and len(peeked.channel_names) > len(names)
        for image in replace(source, channels=names).read() if more else source.read():
            if not left:
                return
            left -= 1
            yield image
