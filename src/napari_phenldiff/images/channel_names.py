"""Channels by their names: found as people type them, and told apart from what is no name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, takewhile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.image_in_file import changed
from napari_phenldiff.images.naming import composed, default_channel_names, quoted

_FEWEST_FILES = 3
"""With fewer, names that differ may as well be different stains."""


def find_channel(names: Sequence[str], wanted: int | str, *, where: str = "The images have") -> int:
    """Find a channel by its name, else by its number.

    Parameters
    ----------
    names : sequence of str
        Of the channels, in their order.
    wanted : int or str
        A name is looked for as it is (composed and decomposed letters are the same), then without
        regard to case and spaces. A number counts from 0; in a text it counts only where no
        channel is called so.
    where : str
        What has the channels, for messages, with its verb.

    Returns
    -------
    int

    Raises
    ------
    InputError
        If there is no such channel, or there are several.
    """
    number = wanted if isinstance(wanted, int) else None
    if isinstance(wanted, str):
        for key in (composed, _loose):
            found = [i for i, name in enumerate(names) if key(name) == key(wanted)]
            if len(found) > 1:
                same = quoted([names[i] for i in found])
                raise InputError(
                    f'{where} several channels called "{wanted}" ({same}): give each channel a '
                    "name of its own, or the number of the channel."
                )
            if found:
                return found[0]
        number = int(wanted) if wanted.isdecimal() else None
    if number is not None and 0 <= number < len(names):
        return number
    told = f'"{wanted}"' if isinstance(wanted, str) else f"number {wanted}"
    numbers = "" if len(names) < 2 else f" or a number from 0 to {len(names) - 1}"
    raise InputError(f"{where} no channel {told}: choose one of {quoted(names)}{numbers}.")


def named_channels(parts: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return the channels that somebody has listed, separated by commas.

    Parameters
    ----------
    parts : sequence of str
        What stands between the commas. A channel whose own name has commas takes several.
        ``none`` alone is no channel, unless one is called so.
    names : sequence of str
        Of all channels.

    Raises
    ------
    InputError
        If one is no channel's.
    """
    if len(parts) == 1 and parts[0] == "none" and "none" not in map(_loose, names):
        return ()
    chosen: list[str] = []
    start = 0
    while start < len(parts):
        for end in range(len(parts), start, -1):
            listed = _without_gaps(",".join(parts[start:end]))
            found = [name for name in names if _without_gaps(name) == listed]
            if found:
                break
        else:
            found, end = [names[find_channel(names, parts[start])]], start + 1
        if len(found) > 1:
            find_channel(names, found[0])  # says that there are several
        chosen.append(found[0])
        start = end
    return tuple(dict.fromkeys(chosen))


def same_channels(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, ...] | None:
    """Find each of our channels among theirs, if these are the same channels in some order.

    Returns
    -------
    tuple of int or None
        The place of each of ours among theirs; None if the names are not the same, or if one
        stands for several channels.
    """
    a, b = [_loose(name) for name in ours], [_loose(name) for name in theirs]
    if len(set(a)) < len(a) or sorted(a) != sorted(b):
        return None
    return tuple(b.index(name) for name in a)


def in_order(image: Image, names: Sequence[str]) -> Image:
    """Return an image with the same channels in the order, and under the names, of others.

    An image that is changed by it is no longer what its file gives, and has no path.
    """
    places = same_channels(names, image.channel_names)
    if places is None or tuple(image.channel_names) == tuple(names):
        return image
    if places == tuple(range(len(places))):
        return replace(image, channel_names=tuple(names))
    return replace(image, data=image.data[list(places)], channel_names=tuple(names), path=None)


def vary_by_file(channel_names: Iterable[Sequence[str]]) -> bool:
    """Tell whether what stands for the names of channels is another text in each of many files.

    Programs put the titles of windows there, the names of files, wells and positions. No two files
    have one in common then, and a number is in what differs; images of one experiment have the
    names of the same stains.

    Parameters
    ----------
    channel_names : iterable of sequence of str
        Of each file.
    """
    rows = [tuple(names) for names in channel_names]
    if (
        len(rows) < _FEWEST_FILES
        or {len(row) for row in rows} != {len(rows[0])}
        or len(rows[0]) < 2
    ):
        return False
    return all(_numbered(column) for column in zip(*rows, strict=True))


def _numbered(texts: Sequence[str]) -> bool:
    """Tell whether all texts differ, and have a number where they do."""
    if len(set(texts)) < len(texts):
        return False
    tails = [text[_in_common(texts) :] for text in texts]
    end = _in_common([tail[::-1] for tail in tails])
    return all(re.search(r"\d", tail[: len(tail) - end]) for tail in tails)


def _in_common(texts: Sequence[str]) -> int:
    """Return how many signs all texts begin with, no part of a number among them: 101 and 102."""
    same = list(takewhile(lambda signs: len(set(signs)) == 1, zip(*texts, strict=False)))
    return len("".join(signs[0] for signs in same).rstrip("0123456789"))


def without_varying_names(images: Sequence[Image]) -> list[Image]:
    """Return images under numbered channels, if their names are another text in each file."""
    files: dict[object, tuple[str, ...]] = {}
    for image in images:
        files.setdefault(image.path or image.name, image.channel_names)
    if len({image.n_channels for image in images}) != 1 or not vary_by_file(files.values()):
        return list(images)
    names = default_channel_names(images[0].n_channels)
    return [changed(image, partial(replace, channel_names=names)) for image in images]


def unified(conditions: Mapping[str, Sequence[Image]]) -> dict[str, list[Image]]:
    """Bring the images of an experiment to the order and the names that the first of them has.

    What is another text in each file is no name, and channels are numbered then. Images whose
    channels are called something else stay as they are: somebody has to say what is what.

    Parameters
    ----------
    conditions : mapping of str to sequence of Image
        The images by their condition.
    """
    images = without_varying_names([image for group in conditions.values() for image in group])
    names = images[0].channel_names if images else ()
    found = iter(
        [
            image
            if tuple(image.channel_names) == tuple(names)
            else changed(image, partial(in_order, names=names))
            for image in images
        ]
    )
    return {name: list(islice(found, len(group))) for name, group in conditions.items()}


def _loose(name: str) -> str:
    return " ".join(composed(name).casefold().split())


def _without_gaps(name: str) -> str:
    return re.sub(r"\s*,\s*", ",", _loose(name))
