"""Whether names of files that may mean something else tell channels.

They do where nearly all images of a folder have the same ones.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from napari_phenldiff.images.control_names import is_control
from napari_phenldiff.images.exports import FLUOROPHORES, Named
from napari_phenldiff.images.stains import WORDS_IN_FILE_NAMES

MOST_CHANNELS = 12
"""Of an image whose channels are told by signs that may mean something else."""

ENOUGH_OF_ALL = 0.8
"""Part of the files of a folder that a way of naming must hold for."""

_LEAST_BETWEEN_LINES = 10
"""Nanometers between the wavelengths of two channels."""

_MOST_BROKEN = 1 / 3
"""Part of the images that may lack a channel, where the names of channels may be other things."""

_OVERLAY = re.compile(
    r"(?:^|(?<=[ _.\-(\[/]))(?:overlays?|merged?|composite|rgb|c\d+(?:[+\-]c?\d+)+)"
    r"(?=[ _.\-)\]]|$)",
    re.I,
)
"""What programs call the picture of all channels that they write beside these."""

CROP = re.compile(r"[cd]?\d+")
"""A channel, or a part of an image, where there is one image alone."""

STAIN = re.compile(WORDS_IN_FILE_NAMES, re.I)
_WAVELENGTH = re.compile(r"\d{3}(?=\D|$)")

_NO_CHANNEL = re.compile(
    r"before|after|pre|post|left|right|top|bottom|first|last|old|new|upper|lower|center|centre"
    r"|middle|edge|start|end|am|pm|day|night|early|late|dark|light|white|black|(?:un|non)?treat(?:ed)?"
    r"|drug|treatment|stim\w*|unstim\w*|ko|kd|oe|het|homo?|mut\w*|(?:non)?tg|(?:fe)?male",
    re.I,
)
"""Words that tell times, places, treatments and animals of images."""


def overlay_names(texts: Sequence[str]) -> set[str]:
    """Names of pictures of all channels that lie beside these: the rest stands in other names."""
    candidates = [(text, match) for text in texts for match in _OVERLAY.finditer(text)]
    if not candidates:
        return set()
    overlays = {text for text, _ in candidates}
    others = [text for text in texts if text not in overlays]
    begins, ends = sorted(others), sorted(text[::-1] for text in others)
    found = set()
    for text, match in candidates:
        before, after = text[: match.start()], text[match.end() :]
        after = after.lstrip(" _.-")
        if before.rsplit("/")[-1].strip(" _.-"):
            beside = _one_begins_with(before, begins)
        else:
            beside = _one_begins_with(after[::-1], ends) or _one_begins_with(before + after, begins)
        if beside:
            found.add(text)
    return found


def _one_begins_with(text: str, ordered: Sequence[str]) -> bool:
    place = bisect_left(ordered, text)
    return bool(text) and place < len(ordered) and ordered[place].startswith(text)


def is_no_channel(word: str) -> bool:
    """Whether a word tells how cells were treated, or when and where an image was taken."""
    return _NO_CHANNEL.fullmatch(word) is not None or is_control(word)


def are_parts(named: Iterable[Named | None]) -> bool:
    """Whether files are parts of images: some image has several, or they hold several channels."""
    known = [one for one in named if one is not None]
    return len({one.image for one in known}) < len(known) or len({o.channel for o in known}) > 1


def part_named(named: Sequence[Named | None]) -> float:
    """Part of the files that a way of naming holds for, 0 to 1."""
    return sum(one is not None for one in named) / len(named) if named else 0.0


def is_believable(
    folders: Sequence[Sequence[Named | None]], among: re.Pattern[str] | None = None
) -> bool:
    """Whether names that may mean something else are those of channels, the same for nearly all.

    A file that is missing, or one that lies there by chance, is no reason to take each channel for
    an image.
    """
    named = [one for folder in folders for one in folder]
    if part_named(named) < ENOUGH_OF_ALL:
        return False
    images = [channels_of(folder) for folder in folders]
    every = [frozenset(p for parts in found.values() for p in parts) for found in images]
    # A condition of which one channel alone was copied has fewer than the others.
    most = max(every, key=len)
    parts = [(frozenset(one), every[k]) for k, found in enumerate(images) for one in found.values()]
    n_broken = sum(one != wanted for one, wanted in parts)
    channels = {channel or "" for channel, _ in most}
    return (
        1 < len(channels) <= MOST_CHANNELS
        and (among is None or _are_stains(channels, among))
        and not are_days_or_wells(channels)
        and not _are_numbers(channels)
        and all(one <= most for one in every)
        # Crops are counted so too, and not all images have as many.
        and n_broken <= (0 if all(map(CROP.fullmatch, channels)) else _MOST_BROKEN * len(parts))
        and all(len(set(one)) == len(one) for found in images for one in found.values())
        and (
            any(len(found) > 1 for found in images)
            or (len(parts) > 1 and any(map(FLUOROPHORES.fullmatch, channels)))
            or _is_folder_of_stains(named)
        )
    )


def _are_stains(channels: Sequence[str] | set[str], among: re.Pattern[str]) -> bool:
    """Whether words are those of channels: half of them stains, one surely, and no treatments."""
    return (
        any(map(among.fullmatch, channels))
        and 2 * sum(STAIN.fullmatch(channel) is not None for channel in channels) >= len(channels)
        and not any(is_no_channel(word) or _OVERLAY.fullmatch(word) for word in channels)
    )


def _are_numbers(channels: Iterable[str]) -> bool:
    """Whether numbers are too close to each other for wavelengths."""
    numbers = sorted(int(match[0]) for match in map(_WAVELENGTH.match, channels) if match)
    return any(b - a < _LEAST_BETWEEN_LINES for a, b in pairwise(numbers))


def are_weeks(texts: Sequence[str], named: Sequence[Named | None]) -> bool:
    """Whether "w12" and "w16" are rather weeks: channels count on from w1."""
    signs = {one.channel.casefold() for one in named if one is not None and one.channel}
    unsure = [
        one.channel
        for text, one in zip(texts, named, strict=True)
        if one is not None
        and one.channel
        and re.fullmatch(r"w1\d", one.channel, re.I)
        and one.site.well is None
        and not re.search(rf"{one.channel}[0-9a-f]{{8}}-", text, re.I)
    ]
    most = max((int(sign[1:]) for sign in unsure), default=0)
    return not {f"w{k}" for k in range(1, most + 1)} <= signs


def are_days_or_wells(channels: Iterable[str]) -> bool:
    """Whether "d1", "d3" are rather days, and "C02", "C03" rather wells: channels count on."""
    signs = sorted(channels)
    numbers = sorted(int(sign[1:]) for sign in signs if re.fullmatch(r"[cd]\d+", sign))
    if len(numbers) < len(signs):
        return False
    if signs[0][0] == "d":
        return numbers != list(range(len(numbers)))
    return all(len(sign) == 3 for sign in signs) and numbers[0] > 1


def channels_of(
    named: Iterable[Named | None],
) -> dict[str, list[tuple[str | None, str | None]]]:
    """Channels and planes of each image."""
    images: dict[str, list[tuple[str | None, str | None]]] = {}
    for one in named:
        if one is not None:
            part = (one.channel and one.channel.casefold(), one.z)
            images.setdefault(one.image, []).append(part)
    return images


def _is_folder_of_stains(named: Sequence[Named | None]) -> bool:
    """Whether files are called like stains and nothing else: a folder for each image."""
    return all(one is not None and one.image.endswith("/") for one in named)
