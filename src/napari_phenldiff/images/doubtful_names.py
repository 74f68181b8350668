"""What speaks for it that files which are each taken for an image are parts of images, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from napari_phenldiff.images.channels_in_names import (
    CROP,
    MOST_CHANNELS,
    STAIN,
    are_days_or_wells,
    channels_of,
    is_no_channel,
    part_named,
)
from napari_phenldiff.images.exports import NAMINGS
from napari_phenldiff.images.naming import natural_order, quoted

_ENOUGH_FOR_DOUBT = 0.5
"""Part of the files of a folder whose names must look like those of channels for it to be said."""

_PLANE = re.compile(r"(?:z|plane|stack|zstep|focus)(\d+)", re.I)
_NUMBERED_CHANNEL = re.compile(
    r"c\d|(?:ch|channel|wv|lambda|filter)\d{1,2}|(?:ex|em)[ _-]?\d{3}", re.I
)
_PROJECTION = re.compile(r"max|avg|sum|std|med|min", re.I)
_NUMBERED_IN_THE_MIDDLE = re.compile(r"(?:ch|channel)\d{1,2}", re.I)

_LETTERS = re.compile(r"[A-Za-z]{1,3}")
"""At the end of a name they may tell a channel in a way that no program has."""

_PROTEIN = re.compile(r"[A-Za-z]{1,4}\d{1,3}")
"""p62 or GM130, where another word beside is no number of this kind."""

_COUNTED = re.compile(r"[ _.\-(]*[A-Za-z]{0,5}[ _.\-(]*\d+[ _.\-)]*")
"""What tells the second field, plane or copy rather than another version of an image."""


def parts_in_turn(texts: Sequence[str]) -> str:
    """Say that names differ in one piece alone, and have the same ones there for each image."""
    pieces = [re.split(r"([ _.\-/]+)", text) for text in texts]
    shortest = min(map(len, pieces))
    same_form = len({len(names) for names in pieces}) == 1
    for place in [-1, 0, *(range(-3, -shortest, -2) if same_form else ())]:
        if shortest < 3:
            return ""
        sets: dict[tuple[str, ...], set[str]] = {}
        for names in pieces:
            k = place % len(names)
            sets.setdefault((*names[:k], *names[k + 1 :]), set()).add(names[k])
        first, *others = sets.values()
        if not others or any(one != first for one in others) or not len(first) > 1:
            continue
        words = sorted(first, key=natural_order)
        where = {-1: "end in", 0: "begin with"}.get(place, "have")
        in_turn = f"All names {where} {quoted(words)} in turn, as if"
        if place == 0 and all(map(_PROJECTION.fullmatch, words)):
            return (
                f"{in_turn} they were projections of the same stacks; each file is taken for an "
                "image of its own. If they are, keep one for each stack"
            )
        before = "^" if place == 0 else "[_ .-]"
        after = "$" if place == -1 else "[_ .-]"
        if place == -1 and all(map(_PLANE.fullmatch, words)):
            what, sign = "z plane", re.match(r"\D*", words[0])
            pattern = rf"{'' if sign is None else sign[0]}(?P<z>\d+)"
        elif len(words) <= MOST_CHANNELS and _may_be_channels(
            words, at_the_end=place == -1, in_the_middle=place < -1
        ):
            what = "channel"
            pattern = f"(?P<channel>{'|'.join(map(re.escape, words))})"
        else:
            continue
        return (
            f"{in_turn} each image had a file for each {what}; each file is taken for an image of "
            f"its own. If they are {what}s, say so with the pattern {before}{pattern}{after}"
        )
    return ""


def versions_of_images(texts: Sequence[str]) -> str:
    """Say that most names are there twice: as they are, and with something before or behind."""
    names = set(texts)
    pairs: dict[str, list[tuple[str, str]]] = {}
    for text in texts:
        for base, more in _without_an_end(text):
            if (
                base in names
                and not _COUNTED.fullmatch(more)
                and not is_no_channel(more.strip(" _.-()"))
            ):
                pairs.setdefault(more, []).append((base, text))
    if not pairs:
        return ""
    more, found = max(pairs.items(), key=lambda item: len(item[1]))
    others = len(names) - len(found)
    if len(found) < max(2, _ENOUGH_FOR_DOUBT * others):
        return ""
    return (
        f"{len(found)} names are there with and without {quoted([more])}, such as "
        f"{quoted(found[0])}, as if each image had been saved in two versions; each file is taken "
        "for an image of its own. If they are versions, keep one of each: they count twice, and "
        "one may be trained on and the other judged by"
    )


def _without_an_end(text: str) -> Iterator[tuple[str, str]]:
    """Yield what is left of the name of a file without its beginning or its end, and that."""
    folder, slash, name = text.rpartition("/")
    for match in re.finditer(r"[ _.\-(]+", name):
        if match.start() > 0:
            yield folder + slash + name[: match.start()], name[match.start() :]
            yield folder + slash + name[match.end() :], name[: match.end()]


def _may_be_channels(words: Sequence[str], *, at_the_end: bool, in_the_middle: bool) -> bool:
    """Whether pieces of names may be channels, and no wells, fields, repeats or times."""
    if all(map(STAIN.fullmatch, words)):
        return True
    if not at_the_end:
        return in_the_middle and all(map(_NUMBERED_IN_THE_MIDDLE.fullmatch, words))
    if all(map(_NUMBERED_CHANNEL.fullmatch, words)):
        return True
    return any(map(STAIN.fullmatch, words)) or (
        not any(map(is_no_channel, words))
        and any(map(_LETTERS.fullmatch, words))
        and all(_LETTERS.fullmatch(word) or _PROTEIN.fullmatch(word) for word in words)
    )


def channels_that_do_not_fit(texts: Sequence[str]) -> str:
    """Say that names look like those of channels, but are not the same ones for each image."""
    for known in NAMINGS:
        if known.sure or known.among is not None:
            continue
        named = [known.read(text) for text in texts]
        images = list(channels_of(named).values())
        channels = {channel or "" for parts in images for channel, _ in parts}
        several = sum(len({channel for channel, _ in parts}) > 1 for parts in images)
        counted = any(map(CROP.fullmatch, channels))
        if (
            part_named(named) < _ENOUGH_FOR_DOUBT
            or not 1 < len(channels) <= MOST_CHANNELS
            or 2 * several < len(images)
            or are_days_or_wells(channels)
            # These may be crops, and wells.
            or (counted and (len(images) == 1 or any(len(text) > 2 for text in channels)))
        ):
            continue
        examples = [text for text, one in zip(texts, named, strict=True) if one is not None][:2]
        why = (
            "there is no second image that has them"
            if len(images) == 1
            else "too many files do not fit, or not all images have the same ones"
        )
        return (
            f"Names such as {quoted(examples)} look like those of one file for each channel "
            f"({known.program}), but {why}; each file is taken for an image of its own. If they "
            "are channels, rename what does not fit, say so with a pattern, or list the files in a "
            "table with a column for each channel"
        )
    return ""
