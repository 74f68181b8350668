"""From the files of a folder to images: which files are channels, planes and fields of which."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channels_in_names import (
    ENOUGH_OF_ALL,
    are_parts,
    are_weeks,
    is_believable,
    overlay_names,
    part_named,
)
from napari_phenldiff.images.doubtful_names import (
    channels_that_do_not_fit,
    parts_in_turn,
    versions_of_images,
)
from napari_phenldiff.images.exports import NAMINGS, Named, Naming
from napari_phenldiff.images.naming import count, file_safe, natural_order, quoted
from napari_phenldiff.images.peek import Peek
from napari_phenldiff.images.places import NOWHERE, Site, with_well_of
from napari_phenldiff.images.sources import peek_file

_Key = tuple[str, str | None]
"""Of an image: what the names of its files share, and its condition where they tell one."""


_WELL_FOLDER = re.compile(r"(?i:well)[ _-]?([A-Pa-p]\d{1,2})|([A-O](?:0[1-9]|1\d|2[0-4]))")
"""A folder of the images of one well. P01 is rather a plate."""

_NO_PLATE = re.compile(
    r"(images?|tiffs?|raw|data|timepoint_?\d*|zstep_?\d*|pos_?\d.*|position_?\d*|field_?\d*"
    r"|site_?\d*|series_?\d*|xy_?\d*|fov_?\d*|scene_?\d*|view_?\d*|tile_?\d*|im(?:g|age)_?\d+)",
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
    overlays = [overlay_names(names) for names in texts]
    texts = [
        [text for text in names if text not in taken]
        for names, taken in zip(texts, overlays, strict=True)
    ]
    for known in NAMINGS:
        if known.sure:
            continue
        if is_believable([[known.read(text) for text in names] for names in texts], known.among):
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
    overlays = overlay_names(texts)
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


def _by_known_names(root: Path, files: Sequence[Path], agreed: Naming | None) -> Grouped | None:
    """Sort files into images by the names that are known; None if they have none."""
    texts = [_relative(root, file) for file in files]
    for known in NAMINGS:
        named = [known.read(text) for text in texts]
        if known.sure or known is agreed:
            # Where more files have other names, channels may be told by something else.
            if part_named(named) < ENOUGH_OF_ALL or are_weeks(texts, named):
                continue
        elif not is_believable([named], known.among):
            continue
        if are_parts(named) and _holds_more(_first(files, named), named):
            continue
        return _grouped(root, files, texts, named, known, as_parts=known is agreed)
    return None


def _doubt(files: Sequence[Path], texts: Sequence[str]) -> str:
    """Say so where files that are each taken for an image may be parts of images."""
    told = parts_in_turn(texts) or channels_that_do_not_fit(texts)
    peek = peek_file(files[0]) if told else None
    if peek is None or (len(peek.channel_names) > 1 and not is_colour(peek)) or peek.n_planes > 1:
        return versions_of_images(texts)
    return told


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
    if not as_parts and not are_parts(named):
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
        channels = sorted({channel for channel, _ in parts}, key=natural_order)
        planes = sorted({z for _, z in parts}, key=natural_order)
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
