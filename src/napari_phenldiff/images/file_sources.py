"""The images that files of a folder are: each on its own, or several that belong together."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.exports import Naming, own_naming
from napari_phenldiff.images.formats import INSTALL, foreign_sources, is_foreign
from napari_phenldiff.images.grouping import FileGroup, Grouped, agreed_naming, group_files
from napari_phenldiff.images.indexes import Index, find_index
from napari_phenldiff.images.naming import count, default_channel_names, file_safe
from napari_phenldiff.images.omezarr import zarr_sources
from napari_phenldiff.images.png import is_png
from napari_phenldiff.images.sets import members_of_set
from napari_phenldiff.images.sources import FileSource, GroupSource, ImageSource, peek_file
from napari_phenldiff.images.tiff import is_image_file

_OTHER_FORMATS = re.compile(
    r"\.(czi|nd2|lif|lof|oib|oif|oir|vsi|ims|dv|r3d|ics|ids|nd|zvi|png|jpe?g|bmp|gif|h5|hdf5|npy"
    r"|mrxs|svs|ndpi|scn|zip|xdce|mvd2|sld|c01)$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """Images of some files: how they were found, what is left out, and what a pattern tells."""

    sources: tuple[ImageSource, ...]
    told: str
    left_out: tuple[str, ...]
    conditions: tuple[str | None, ...]


def naming_of_folders(
    folders: Sequence[tuple[Path, Sequence[Path]]], how: Arrangement
) -> Naming | None:
    """Find how files of all conditions are named, as far as one condition alone does not tell."""
    if how.pattern is not None:
        return None
    return agreed_naming(
        [(root, [p for p in files if is_image_file(p) or is_png(p)]) for root, files in folders]
    )


def sources_of_files(
    root: Path, files: Sequence[Path], how: Arrangement, agreed: Naming | None = None
) -> SourcesFound:
    """Make sources of the images below a folder; `agreed` is what `naming_of_folders` returns."""
    sources: list[ImageSource] = []
    told: list[str] = []
    left_out: list[str] = []
    plain = [path for path in files if is_image_file(path) or is_png(path)]
    known = set(plain)
    for path in files:
        if is_foreign(path):
            sources += foreign_sources(path)
        elif path not in known:
            plates = {source.site.plate for source in sources if source.site.plate}
            found = zarr_sources(path, alone=len(files) == 1, plates=plates)
            sources += found.sources
            told += [found.told] if found.told else []
            left_out += found.left_out
    sets = members_of_set(plain)
    in_sets = {path for members in sets for path in members}
    for members in sets:
        sources.append(FileSource(name=_name_of_set(members), file=members[0], members=members))
    rest = [path for path in plain if path not in in_sets]
    naming = None if how.pattern is None else own_naming(how.pattern)
    grouped = group_files(root, rest, naming, agreed=agreed) if rest else Grouped(())
    left_out += grouped.left_out
    of_files = [grouped.told] if grouped.told else []
    if sets:
        n_files = sum(map(len, sets))
        of_files.append(
            f"{n_files} OME-TIFFs say of themselves that they are {count(len(sets), 'set')}"
        )
    conditions: list[str | None] = [None] * len(sources)
    groups = [group for group in grouped.groups if group.channel_names]
    index = find_index({group.files[0][0].parent for group in groups})
    names = _channel_names(groups[0], index) if groups else ()
    for group in grouped.groups:
        same = groups and group.channel_names == groups[0].channel_names
        sources.append(_source_of_group(group, names if same else group.channel_names, index))
        conditions.append(group.condition)
    if groups and names != groups[0].channel_names:
        of_files = [f"{text}; they are called {', '.join(names)} there" for text in of_files]
    named, renamed = _without_same_names(root, sources, conditions)
    told = [*of_files, *told, *renamed]
    return SourcesFound(named, "; ".join(told), tuple(left_out), tuple(conditions))


def _without_same_names(
    root: Path, sources: Sequence[ImageSource], conditions: Sequence[str | None]
) -> tuple[tuple[ImageSource, ...], list[str]]:
    """Name images that would have one name after their folders, or after the kind of their file.

    Returns
    -------
    tuple of ImageSource
    list of str
        What two of them are called now, if there are any.
    """
    names = [source.name for source in sources]

    def same() -> list[list[int]]:
        groups: dict[tuple[str, str | None], list[int]] = {}
        for k, key in enumerate(zip(names, conditions, strict=True)):
            groups.setdefault(key, []).append(k)
        return [group for group in groups.values() if len(group) > 1]

    first = same()
    for group in first:
        folders = {k: _folders(root, sources[k].path) for k in group}
        if len(set(folders.values())) > 1:
            for k in group:
                names[k] = file_safe("_".join([*folders[k], names[k]]))
    for group in same():
        for k in group:
            names[k] += f"_{sources[k].path.suffix.lower()[1:] or 'zarr'}"
    for group in same():  # a.tif beside a.TIF
        for number, k in enumerate(group, start=1):
            names[k] += f"_{number}"
    if not first:
        return tuple(sources), []
    found = [
        source if name == source.name else replace(source, name=name)
        for source, name in zip(sources, names, strict=True)
    ]
    alike = first[0][:2]
    files = " and ".join(os.path.relpath(sources[k].path, root) for k in alike)
    text = (
        f"{sum(map(len, first))} images would have the name of another one: {files}, for example, "
        f"are called {' and '.join(names[k] for k in alike)} instead; take those out that show the "
        "same as others"
    )
    return tuple(found), [text]


def _folders(root: Path, path: Path) -> tuple[str, ...]:
    return path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()


def _name_of_set(members: Sequence[Path]) -> str:
    same = takewhile(
        lambda signs: len(set(signs)) == 1, zip(*(path.name for path in members), strict=False)
    )
    common = "".join(signs[0] for signs in same).rstrip(" _-.")
    return common or members[0].stem


def _channel_names(group: FileGroup, index: Index) -> tuple[str, ...]:
    """Return better names for channels that are only counted: those of an index, or of the files.

    Names are those of all channels or of none, and different.
    """
    counted = [re.fullmatch(r"\D{0,7}(\d+)", name) for name in group.channel_names]
    if not all(counted):
        return group.channel_names
    told = [index.channels.get(int(match[1])) for match in counted if match]
    if not all(told):
        peeks = [peek_file(planes[0]) for planes in group.files]
        told = [
            peek.channel_names[0] if peek is not None and len(peek.channel_names) == 1 else None
            for peek in peeks
        ]
        if default_channel_names(1)[0] in told:
            return group.channel_names
    names = tuple(name for name in told if name)
    return names if len(set(names)) == len(group.channel_names) else group.channel_names


def _source_of_group(group: FileGroup, names: tuple[str, ...], index: Index) -> ImageSource:
    if len(group.files) == 1 and len(group.files[0]) == 1 and not group.channel_names:
        return FileSource(name=group.name, site=group.site, file=group.files[0][0])
    return GroupSource(
        name=group.name,
        site=group.site,
        files=group.files,
        channel_names=names,
        pixel_size=index.pixel_size,
    )


def is_other_format(path: Path) -> bool:
    """Whether a file is an image, or a container of images, of a format that is not read here."""
    return _OTHER_FORMATS.search(path.name) is not None


def check_kind(file: Path) -> None:
    """Refuse a file that is no TIFF and no PNG, with what to do about it."""
    if is_image_file(file) or is_png(file):
        return
    if is_other_format(file):
        raise InputError(f"{file} is not a TIFF but {file.suffix}; {_advice([file])}.")
    raise InputError(f"{file} is not a TIFF; give a .tif or .tiff file, or a folder.")


def nothing_in(folder: Path) -> InputError:
    """Tell what there is in a folder without images."""
    others: Counter[str] = Counter()
    example: list[Path] = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if is_other_format(Path(name)):
                others[Path(name).suffix.lower()] += 1
                example.append(Path(base, name))
        if sum(others.values()) > 10_000:
            break
    if not others:
        return InputError(
            f"{folder} holds no TIFFs: it has no sub-folders with TIFF files, either; give a .tif "
            "file, a folder with some, or one with a sub-folder for each condition."
        )
    listed = ", ".join(f"{number} {suffix}" for suffix, number in others.most_common())
    return InputError(f"{folder} holds no TIFFs but {listed}: {_advice(example)}.")


def _advice(files: Sequence[Path]) -> str:
    if all(path.suffix.lower() == ".zip" for path in files):
        return "unpack it"
    foreign = any(is_foreign(path) for path in files)
    reader = f"install what reads ND2, CZI and LIF ({INSTALL}), or " if foreign else ""
    return f"{reader}save them as OME-TIFF, for example with Fiji (File > Save As > OME-TIFF)"
