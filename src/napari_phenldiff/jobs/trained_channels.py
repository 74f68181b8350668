"""Whether images have the channels that a run was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import find_channel, same_channels
from napari_phenldiff.images.stains import is_nuclear

if TYPE_CHECKING:
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.runs.folder import Run

OTHER_NAMES = (
    "The channels have other names than those trained on; they are taken to be {}, in this order."
)


def other_names(run: Run, path: Path, image: Image) -> bool:
    """Refuse an image with other channels; return whether they only have other names.

    Names that have nothing in common with those trained on are another way of naming the same
    channels (or none). Some that are the same in other places are a mistake, and so is a nuclear
    stain in another place.

    Raises
    ------
    InputError
        Naming the file, its channels and those trained on.
    """
    names, known = image.channel_names, run.channel_names
    if same_channels(known, names) == tuple(range(len(known))) or names == known:
        return False
    nuclear = [[is_nuclear(name) for name in of] for of in (names, known)]
    moved = all(any(row) for row in nuclear) and nuclear[0] != nuclear[1]
    if len(names) == len(known) and not set(names) & set(known) and not moved:
        return True
    raise InputError(
        f"{path} has the channels {', '.join(names)}, but the run was trained on "
        f"{', '.join(known)}; give images with these, in this order."
    )


def trained_of(run: Run, names: Sequence[str]) -> tuple[str, ...] | None:
    """Choose the channels that a run was trained on among those of images that have more.

    Returns
    -------
    tuple of str or None
        Those of the run, where the images have all of them under these names, and others, too.
    """
    if len(names) <= len(run.channel_names):
        return None
    try:
        places = [find_channel(names, name) for name in run.channel_names]
    except InputError:
        return None
    named = all(
        same_channels((a,), (names[k],)) for a, k in zip(run.channel_names, places, strict=True)
    )
    return tuple(names[k] for k in places) if named and len(set(places)) == len(places) else None


def left_out_in_words(names: Sequence[str], chosen: Sequence[str]) -> str:
    """Say which channels a run does not know."""
    others = [name for name in names if name not in chosen]
    return f"Left out the channels {', '.join(others)}: the run was trained on {', '.join(chosen)}."
