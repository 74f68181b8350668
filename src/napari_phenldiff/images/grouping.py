"""From the files of a folder to images: which files are channels, planes and fields of which."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.control_names import is_control
from napari_phenldiff.images.exports import FLUOROPHORES, NAMINGS, Named, Naming
from napari_phenldiff.images.naming import count, file_safe, quoted
from napari_phenldiff.images.peek import Peek
from napari_phenldiff.images.places import NOWHERE, Site, with_well_of
from napari_phenldiff.images.sources import peek_file
from napari_phenldiff.images.stains import WORDS_IN_FILE_NAMES

_Key = tuple[str, str | None]
"""Of an image: what the names of its files share, and its condition where they tell one."""

_MOST_CHANNELS = 12
"""Of an image whose channels are told by signs that may mean something else."""

_ENOUGH_OF_ALL = 0.8
"""Part of the files of a folder that a way of naming must hold for."""

_ENOUGH_FOR_DOUBT = 0.5
"""The same, where names are only said to look like those of channels."""

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

_CROP = re.compile(r"[cd]?\d+")
"""A channel, or a part of an image, where there is one image alone."""

_PLANE = re.compile(r"(?:z|plane|stack|zstep|focus)(\d+)", re.I)
_NUMBERED_CHANNEL = re.compile(r"c\d|(?:ch|channel|wv|lambda|filter)\d{1,2}", re.I)
_STAIN = re.compile(WORDS_IN_FILE_NAMES, re.I)
_WAVELENGTH = re.compile(r"\d{3}(?=\D|$)")
_PROJECTION = re.compile(r"max|avg|sum|std|med|min", re.I)
_NUMBERED_IN_THE_MIDDLE = re.compile(r"(?:ch|channel)\d{1,2}", re.I)
_LETTERS = re.compile(r"[A-Za-z]{1,3}")
"""At the end of a name they may tell a channel in a way that no program has."""

_NO_CHANNEL = re.compile(
    r"before|after|pre|post|left|right|top|bottom|first|last|old|new|upper|lower|center|centre"
    r"|middle|edge|start|end|am|pm|day|night|early|late|dark|light|white|black|(?:un|non)?treat(?:ed)?"
    r"|drug|treatment|stim\w*|unstim\w*|ko|kd|oe|het|homo?|mut\w*|(?:non)?tg|(?:fe)?male",
    re.I,
)
"""Words that tell times, places, treatments and animals of images."""

_WELL_FOLDER = re.compile(r"(?i:well)[ _-]?([A-Pa-p]\d{1,2})|([A-O](?:0[1-9]|1\d|2[0-4]))")
"""A folder of the images of one well. P01 is rather a plate."""

_NO_PLATE = re.compile(
    r"(images?|tiffs?|raw|data|timepoint_?\d*|zstep_?\d*|pos_?\d.*|position_?\d*|field_?\d*"
    r"|site_?\d*|series_?\d*)",
    re.I,
)
"""Folders that programs make for each plate, time or position."""


@dataclass(frozen=True, slots=True)
class FileGroup:
    """The files of one image.

    Attributes
    ----------
    name : str
        Of the image; it can be the name of a file.
    files : tuple of tuple of Path
        By channel, then by plane. One file alone may hold an image of any kind.
    channel_names : tuple of str
        Empty where the names of files do not tell: the file itself does.
    site : Site
        As far as names and folders tell.
    condition : str or None
        What a pattern of the user's finds.
    """

    name: str
    files: tuple[tuple[Path, ...], ...]
    channel_names: tuple[str, ...] = ()
    site: Site = NOWHERE
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Grouped:
    """The images of a folder.

    Attributes
    ----------
    groups : tuple of FileGroup
        In the order of their names.
    told : str
        How they were found, in words, or why that may be wrong; empty where each file is an image
        and nothing speaks against it.
    left_out : tuple of str
        What was left out and why, in sentences.
    """

    groups: tuple[FileGroup, ...]
    told: str = ""
    left_out: tuple[str, ...] = ()


def agreed_naming(folders: Sequence[tuple[Path, Sequence[Path]]]) -> Naming | None:
    """Find the way of naming that may mean something else and that all conditions have together.

    Parameters
    ----------
    folders : sequence of (Path, sequence of Path)
        The folder of each condition, and all images below it.

    Returns
    -------
    Naming or None
        One of `NAMINGS` that is not sure; None if files have no such names, or names of which too
        many do not fit.
    """
    texts = [[_relative(root, file) for file in files] for root, files in folders]
    overlays = [_overlays(names) for names in texts]
    texts = [
        [text for text in names if text not in taken]
        for names, taken in zip(texts, overlays, strict=True)
    ]
    for known in NAMINGS:
        if known.sure:
            continue
        if _is_believable([[known.read(text) for text in names] for names in texts], known.among):
            return known
    return None


def group_files(
    root: Path,
    files: Sequence[Path],
    naming: Naming | None = None,
    *,
    agreed: Naming | None = None,
) -> Grouped:
    """Sort the image files below a folder into images.

    Names of files are believed in the order of `NAMINGS`. Where each file is an image of its own,
    a name still tells plate, well and field.

    Parameters
    ----------
    root : Path
        The folder of a condition.
    files : sequence of Path
        All images below it, in their order.
    naming : Naming, optional
        The one to go by, in place of all that are known.
    agreed : Naming, optional
        What `agreed_naming` has found for this folder and those of the other conditions.

    Returns
    -------
    Grouped

    Raises
    ------
    InputError
        If two files would be the same part of an image, or most images lack a part.
    """
    files = list(files)
    texts = [_relative(root, file) for file in files]
    if naming is not None:
        named = [naming.read(text) for text in texts]
        if not any(named):
            raise InputError(
                f"The pattern is found in none of the {count(len(files), 'file')} of {root}, such "
                f"as {texts[0]}: it is looked for in such paths."
            )
        return _grouped(root, files, texts, named, naming)
    overlays = _overlays(texts)
    beside = [file for file, text in zip(files, texts, strict=True) if text in overlays]
    if beside:
        others = [file for file, text in zip(files, texts, strict=True) if text not in overlays]
        found = _by_known_names(root, others, agreed)
        if found is not None and found.groups[0].channel_names:
            one = len(beside) == 1
            told = (
                f"Left out of {root.name}: {quoted([file.name for file in beside], limit=3)}, by "
                f"{'its name a picture' if one else 'their names pictures'} of several channels "
                "that lie beside."
            )
            return replace(found, left_out=(told, *found.left_out))
    found = _by_known_names(root, files, agreed)
    return Grouped(_single(root, files), _doubt(files, texts)) if found is None else found


def _overlays(texts: Sequence[str]) -> set[str]:
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


def _by_known_names(root: Path, files: Sequence[Path], agreed: Naming | None) -> Grouped | None:
    """Sort files into images by the names that are known; None if they have none."""
    texts = [_relative(root, file) for file in files]
    for known in NAMINGS:
        named = [known.read(text) for text in texts]
        if known.sure or known is agreed:
            # Where more files have other names, channels may be told by something else.
            if _part_named(named) < _ENOUGH_OF_ALL or _are_weeks(texts, named):
                continue
        elif not _is_believable([named], known.among):
            continue
        if _are_parts(named) and _holds_more(_first(files, named), named):
            continue
        return _grouped(root, files, texts, named, known, as_parts=known is agreed)
    return None


def _doubt(files: Sequence[Path], texts: Sequence[str]) -> str:
    """Say so where files that are each taken for an image may be parts of images."""
    told = _parts_in_turn(texts) or _channels_that_do_not_fit(texts)
    peek = peek_file(files[0]) if told else None
    if peek is None or (len(peek.channel_names) > 1 and not is_colour(peek)) or peek.n_planes > 1:
        return ""
    return told


def _parts_in_turn(texts: Sequence[str]) -> str:
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
        words = sorted(first, key=_natural)
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
        elif len(words) <= _MOST_CHANNELS and _may_be_channels(
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


def _may_be_channels(words: Sequence[str], *, at_the_end: bool, in_the_middle: bool) -> bool:
    """Whether pieces of names may be channels, and no wells, fields, repeats or times."""
    if all(map(_STAIN.fullmatch, words)):
        return True
    if not at_the_end:
        return in_the_middle and all(map(_NUMBERED_IN_THE_MIDDLE.fullmatch, words))
    if all(map(_NUMBERED_CHANNEL.fullmatch, words)):
        return True
    return not any(map(_is_no_channel, words)) and (
        all(map(_LETTERS.fullmatch, words)) or any(map(_STAIN.fullmatch, words))
    )


def _is_no_channel(word: str) -> bool:
    """Whether a word tells how cells were treated, or when and where an image was taken."""
    return _NO_CHANNEL.fullmatch(word) is not None or is_control(word)


def _channels_that_do_not_fit(texts: Sequence[str]) -> str:
    """Say that names look like those of channels, but are not the same ones for each image."""
    for known in NAMINGS:
        if known.sure or known.among is not None:
            continue
        named = [known.read(text) for text in texts]
        images = list(_channels_of(named).values())
        channels = {channel or "" for parts in images for channel, _ in parts}
        several = sum(len({channel for channel, _ in parts}) > 1 for parts in images)
        counted = any(map(_CROP.fullmatch, channels))
        if (
            _part_named(named) < _ENOUGH_FOR_DOUBT
            or not 1 < len(channels) <= _MOST_CHANNELS
            or 2 * several < len(images)
            or _are_days_or_wells(channels)
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


def _relative(root: Path, file: Path) -> str:
    """Path below a folder, without the suffix of a TIFF."""
    text = "/".join(_parts_below(root, file))
    return re.sub(r"(\.ome)?\.(tiff?|btf|tf[28]|png|stk|lsm)$", "", text, flags=re.I)


def _parts_below(root: Path, file: Path) -> tuple[str, ...]:
    """Names of folders and file below a folder; of a file that lies elsewhere, its own."""
    above = root.parts
    return file.parts[len(above) :] if file.parts[: len(above)] == above else (file.name,)


def _first(files: Sequence[Path], named: Sequence[Named | None]) -> Path:
    return next(file for file, one in zip(files, named, strict=True) if one is not None)


def _are_parts(named: Iterable[Named | None]) -> bool:
    """Whether files are parts of images: some image has several, or they hold several channels."""
    known = [one for one in named if one is not None]
    return len({one.image for one in known}) < len(known) or len({o.channel for o in known}) > 1


def _part_named(named: Sequence[Named | None]) -> float:
    return sum(one is not None for one in named) / len(named) if named else 0.0


def _is_believable(
    folders: Sequence[Sequence[Named | None]], among: re.Pattern[str] | None = None
) -> bool:
    """Whether names that may mean something else are those of channels, the same for nearly all.

    A file that is missing, or one that lies there by chance, is no reason to take each channel for
    an image.
    """
    named = [one for folder in folders for one in folder]
    if _part_named(named) < _ENOUGH_OF_ALL:
        return False
    images = [_channels_of(folder) for folder in folders]
    every = [frozenset(p for parts in found.values() for p in parts) for found in images]
    # A condition of which one channel alone was copied has fewer than the others.
    most = max(every, key=len)
    parts = [(frozenset(one), every[k]) for k, found in enumerate(images) for one in found.values()]
    n_broken = sum(one != wanted for one, wanted in parts)
    channels = {channel or "" for channel, _ in most}
    return (
        1 < len(channels) <= _MOST_CHANNELS
        and (among is None or _are_stains(channels, among))
        and not _are_days_or_wells(channels)
        and not _are_numbers(channels)
        and all(one <= most for one in every)
        # Crops are counted so too, and not all images have as many.
        and n_broken <= (0 if all(map(_CROP.fullmatch, channels)) else _MOST_BROKEN * len(parts))
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
        and 2 * sum(_STAIN.fullmatch(channel) is not None for channel in channels) >= len(channels)
        and not any(_is_no_channel(word) or _OVERLAY.fullmatch(word) for word in channels)
    )


def _are_numbers(channels: Iterable[str]) -> bool:
    """Whether numbers are too close to each other for wavelengths."""
    numbers = sorted(int(match[0]) for match in map(_WAVELENGTH.match, channels) if match)
    return any(b - a < _LEAST_BETWEEN_LINES for a, b in pairwise(numbers))


def _are_weeks(texts: Sequence[str], named: Sequence[Named | None]) -> bool:
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


def _are_days_or_wells(channels: Iterable[str]) -> bool:
    """Whether "d1", "d3" are rather days, and "C02", "C03" rather wells: channels count on."""
    signs = sorted(channels)
    numbers = sorted(int(sign[1:]) for sign in signs if re.fullmatch(r"[cd]\d+", sign))
    if len(numbers) < len(signs):
        return False
    if signs[0][0] == "d":
        return numbers != list(range(len(numbers)))
    return all(len(sign) == 3 for sign in signs) and numbers[0] > 1


def _channels_of(
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


def _holds_more(file: Path, named: Sequence[Named | None]) -> bool:
    """Whether a file holds several channels or planes itself, and so is no part of an image."""
    peek = peek_file(file)
    if peek is None:
        return False
    with_planes = any(one is not None and one.z is not None for one in named)
    return (len(peek.channel_names) > 1 and not is_colour(peek)) or (
        with_planes and peek.n_planes > 1
    )


def is_colour(peek: Peek) -> bool:
    """Whether a file holds a colour image: what a channel is exported as that is drawn in one."""
    return peek.channel_names[:3] == ("red", "green", "blue")


def _single(
    root: Path, files: Sequence[Path], named: Sequence[Named | None] | None = None
) -> tuple[FileGroup, ...]:
    """Take each file for an image."""
    folders = _telling_folders(root, files)
    groups = []
    for index, file in enumerate(files):
        one = None if named is None else named[index]
        site = _site(NOWHERE if one is None else one.site, folders[file])
        site = with_well_of(site, file.stem)
        name = file.stem
        if folders[file]:
            name = file_safe("_".join([*folders[file], name]))
        condition = None if one is None else one.condition
        groups.append(FileGroup(name, ((file,),), (), site, condition))
    return tuple(groups)


def _telling_folders(root: Path, files: Iterable[Path]) -> dict[Path, tuple[str, ...]]:
    """Per file the folders between it and the root, but those that are the same for all."""
    parts = {file: _parts_below(root, file)[:-1] for file in files}
    depth = max(map(len, parts.values()), default=0)
    telling = [len({part[k : k + 1] for part in parts.values()}) > 1 for k in range(depth)]
    return {
        file: tuple(name for k, name in enumerate(part) if telling[k])
        for file, part in parts.items()
    }


def _plate(folders: Sequence[str]) -> str | None:
    told = [
        name
        for name in folders
        if not _NO_PLATE.fullmatch(name) and not _WELL_FOLDER.fullmatch(name)
    ]
    return " ".join(told) or None


def _site(site: Site, folders: Sequence[str]) -> Site:
    """Add the plate and the well that folders are called after."""
    wells = [match[1] or match[2] for match in map(_WELL_FOLDER.fullmatch, folders) if match]
    well = site.well or (wells[-1].upper() if wells else None)
    return replace(site, plate=site.plate or _plate(folders), well=well)


def _grouped(
    root: Path,
    files: Sequence[Path],
    texts: Sequence[str],
    named: Sequence[Named | None],
    naming: Naming,
    *,
    as_parts: bool = False,
) -> Grouped:
    """Put files together that are named so; `as_parts` where other conditions say that they are."""
    others = [file for file, one in zip(files, named, strict=True) if one is None]
    left_out = []
    if others:
        left_out.append(
            f"Left out of {root.name}: {quoted([file.name for file in others], limit=3)}, which "
            f"{'is' if len(others) == 1 else 'are'} not named like the others ({naming.program})."
        )
    known = [(f, t, one) for f, t, one in zip(files, texts, named, strict=True) if one is not None]
    if not as_parts and not _are_parts(named):
        kept = [file for file, *_ in known]
        alone = _single(root, kept, [one for *_, one in known])
        return Grouped(alone, "", tuple(left_out))
    images: dict[_Key, dict[tuple[str, str], Path]] = {}
    firsts: dict[_Key, Named] = {}
    spelled: dict[str, str] = {}
    for file, _, one in known:
        key = (one.image, one.condition)
        channel = one.channel or ""
        # "dapi" beside "DAPI" is the same channel.
        part = (spelled.setdefault(channel.casefold(), channel), one.z or "")
        before = images.setdefault(key, {}).setdefault(part, file)
        firsts.setdefault(key, one)
        if before != file:
            raise InputError(
                f"{before} and {file.name} are both {_part_in_words(part)} of one image, by their "
                f"names ({naming.program}): remove one of them, or rename it."
            )
    projections = _take_out_projections(images)
    if projections:
        what = (
            "its name is a projection" if len(projections) == 1 else "their names are projections"
        )
        left_out.append(
            f"Left out of {root.name}: {quoted(projections, limit=3)}, which by {what} of the "
            "planes beside."
        )
    whole, broken = _whole_images(images)
    if len(broken) > len(whole):
        raise InputError(
            f"{root} seems to hold one file for each {_parts_in_words(images)} of an image "
            f"({naming.program}), but most images lack some, such as {file_safe(broken[0][0])}: "
            "copy what is missing, or list the files in a table with a column for each channel."
        )
    if broken:
        names = [file_safe(image.rsplit("/")[-1].strip(" _.-") or root.name) for image, _ in broken]
        left_out.append(
            f"Left out of {root.name}: {quoted(names, limit=3)}, which "
            f"{'lacks' if len(broken) == 1 else 'lack'} a channel or plane that the others have."
        )
    groups = _groups_of(root, whole, images, firsts)
    return Grouped(
        _without_same_names(groups, whole),
        _told(groups, naming),
        tuple(left_out),
    )


def _take_out_projections(images: Mapping[_Key, dict[tuple[str, str], Path]]) -> list[str]:
    """Take out what is no plane of a stack but made of it, and return the names.

    That is a file without a plane beside others of the same channel with one, and what MetaXpress
    writes into ``ZStep_0`` beside ``ZStep_1`` and so on.
    """
    taken = []
    for parts in images.values():
        stacks = {
            channel: {z for c, z in parts if c == channel and z} for channel, _ in list(parts)
        }
        for (channel, z), file in list(parts.items()):
            first = file.parent.name == "ZStep_0" and len(stacks[channel]) > 1
            if stacks[channel] and (not z or first):
                del parts[channel, z]
                taken.append(f"{file.parent.name}/{file.name}" if first else file.name)
    return taken


def _groups_of(
    root: Path,
    whole: Sequence[_Key],
    images: Mapping[_Key, Mapping[tuple[str, str], Path]],
    firsts: Mapping[_Key, Named],
) -> list[FileGroup]:
    """Put the files of each image in order, and name the image."""
    folders = _telling_folders(root, [next(iter(images[key].values())) for key in whole])
    groups = []
    for key in whole:
        parts = images[key]
        channels = sorted({channel for channel, _ in parts}, key=_natural)
        planes = sorted({z for _, z in parts}, key=_natural)
        grid = tuple(tuple(parts[channel, z] for z in planes) for channel in channels)
        one = firsts[key]
        first = next(iter(parts.values()))
        # A folder that names the channel (or plane) is none of the image's.
        inside = [
            name for name in folders[first] if name in one.image.split("/") or "/" not in one.image
        ]
        inside = [name for name in inside if name not in channels]
        stem = one.image.rsplit("/")[-1].strip(" _.-")
        name = file_safe("_".join(filter(None, [*inside, stem])) or _last(one.image) or root.name)
        # A folder of one image is no plate.
        plates = inside[:-1] if one.image.endswith("/") else inside
        site = with_well_of(_site(one.site, plates), stem)
        names = tuple(channels) if channels != [""] else ()
        groups.append(FileGroup(name, grid, names, site, one.condition))
    return groups


def _last(path: str) -> str:
    return path.strip("/").rsplit("/")[-1].strip(" _.-")


def _whole_images(
    images: Mapping[_Key, Mapping[tuple[str, str], Path]],
) -> tuple[list[_Key], list[_Key]]:
    """Tell the images that have all channels that there are, and each in the same planes."""
    channels = {key: frozenset(channel for channel, _ in parts) for key, parts in images.items()}
    every = frozenset().union(*channels.values())
    whole: list[_Key] = []
    broken: list[_Key] = []
    for key, parts in images.items():
        planes = {channel: {z for c, z in parts if c == channel} for channel in channels[key]}
        same = len({frozenset(found) for found in planes.values()}) == 1
        (whole if channels[key] == every and same else broken).append(key)
    return whole, broken


def _without_same_names(groups: Sequence[FileGroup], keys: Sequence[_Key]) -> tuple[FileGroup, ...]:
    """Give images whose names would be one the names of their whole paths."""
    seen = Counter((group.name, group.condition) for group in groups)
    return tuple(
        group
        if seen[group.name, group.condition] == 1
        else replace(group, name=file_safe(key[0].strip("/").replace("/", "_")))
        for group, key in zip(groups, keys, strict=True)
    )


def _told(groups: Sequence[FileGroup], naming: Naming) -> str:
    n_files = sum(len(planes) for group in groups for planes in group.files)
    depths = {len(group.files[0]) for group in groups}
    parts = []
    if groups[0].channel_names:
        names = groups[0].channel_names
        parts.append(f"{count(len(names), 'channel')} ({', '.join(names)})")
    if depths != {1}:
        depth = str(max(depths)) if len(depths) == 1 else f"{min(depths)} to {max(depths)}"
        parts.append(f"{depth} planes")
    what = f" of {' and '.join(parts)}" if parts else ""
    return (
        f"{count(n_files, 'file')} are {count(len(groups), 'image')}{what}, by their names "
        f"({naming.program})"
    )


def _part_in_words(part: tuple[str, str]) -> str:
    channel, z = part
    told = [f"channel {channel}" if channel else "", f"plane {z}" if z else ""]
    return " and ".join(filter(None, told)) or "the whole"


def _parts_in_words(images: Mapping[_Key, Mapping[tuple[str, str], Path]]) -> str:
    parts = [part for found in images.values() for part in found]
    with_channels, with_planes = (len({part[k] for part in parts}) > 1 for k in (0, 1))
    if with_channels and with_planes:
        return "channel and z plane"
    return "channel" if with_channels else "z plane"


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts w2 before w10."""
    pieces = re.findall(r"\d+|\D+", text)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p.lower()) for p in pieces)
