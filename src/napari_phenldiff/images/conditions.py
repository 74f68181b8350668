"""The conditions of an experiment: told by folders, a table, a plate layout, or names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.companions import left_out_in_words
from napari_phenldiff.images.control_names import is_control
from napari_phenldiff.images.file_sources import (
    is_other_format,
    naming_of_folders,
    nothing_in,
    sources_of_files,
)
from napari_phenldiff.images.folders import Folders, is_result_folder
from napari_phenldiff.images.layout import read_layout
from napari_phenldiff.images.naming import composed, count, file_safe, quoted
from napari_phenldiff.images.omezarr import is_omezarr, zarr_stem
from napari_phenldiff.images.places import well_named
from napari_phenldiff.images.sources import ImageSource
from napari_phenldiff.images.stains import WORDS_IN_FILE_NAMES
from napari_phenldiff.images.table import images_of_table

_REPEATS = re.compile(
    r"(?:plate|batch|rep|repl|replicate|exp|experiment|run|donor|patient|animal|mouse|culture"
    r"|dish|slide)[ _.-]?(?:\d+|[a-z])|p[ _.-]?\d|(?:19|20)\d\d[ _.-]?\d\d[ _.-]?\d\d.*",
    re.I,
)
"""Folders of what was repeated: plates, dates, donors. Bare numbers may be doses."""
_DAYS = re.compile(r"day[ _.-]?(\d+)", re.I)
_GENES = re.compile(r"p\d\d", re.I)
"""What genes are called (p53), and no plates."""
_CHANNELS = re.compile(rf"{WORDS_IN_FILE_NAMES}|(?:ch?|w|d|channel)[ _-]?\d+", re.I)
_FILES = re.compile(
    r"(?:ome[ _-]?)?(?:images?|raw(?:[ _-]?(?:data|images?))?|tiffs?|tifs?|data|originals?)",
    re.I,
)
"""Folders named after the files in them."""


@dataclass(frozen=True, slots=True)
class ConditionsFound:
    """Images by their condition; attributes as of `napari_phenldiff.images.dataset.Dataset`."""

    conditions: Mapping[str, tuple[ImageSource, ...]]
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    by_folder: bool = True


def of_table(where: Path, how: Arrangement, conditions: Sequence[str] | None) -> ConditionsFound:
    """Take the images that a table lists, by the condition that stands there."""
    found = images_of_table(
        where,
        condition_columns=how.condition_columns,
        root=how.root,
        conditions=conditions,
    )
    groups = {name: tuple(sources) for name, sources in found.conditions.items()}
    remarks = [text for text in found.remarks if "left out" not in text]
    left_out = [text for text in found.remarks if "left out" in text]
    return ConditionsFound(groups, tuple(remarks), tuple(left_out))


def of_whole_plates(where: Path, how: Arrangement) -> ConditionsFound:
    """Sort all images below a folder by the condition that a layout, or a pattern, tells."""
    folder = where if where.is_dir() and not is_omezarr(where) else where.parent
    files = [where] if folder != where else Folders().below(where)
    if not files:
        raise nothing_in(where)
    here = sources_of_files(folder, files, how)
    sources = here.sources
    layout = None if how.layout is None else read_layout(how.layout)
    groups: dict[str, list[ImageSource]] = {}
    others: Counter[str] = Counter()
    for source, named in zip(sources, here.conditions, strict=True):
        if layout is not None and source.site.well is None:
            # Named by hand: no microscope writes like that, but the well stands there.
            source = replace(source, site=replace(source.site, well=well_named(source.name)))
        condition = named if layout is None else layout.condition_of(source.site)
        if condition is None:
            others[source.site.well or source.name] += 1
            continue
        groups.setdefault(composed(file_safe(condition)), []).append(source)
    by = "the pattern" if layout is None else f"{layout.path.name}"
    if not groups:
        plate, checked = sources[0].site.plate, "wells"
        if layout is not None and any(told for told, _ in layout.wells):
            checked = "wells, and of the plates"
        raise InputError(
            f"{by} names the condition of none of the {count(len(sources), 'image')} in {where} "
            f"(such as {sources[0].name}, well {sources[0].site.well or 'unknown'}"
            f"{'' if plate is None else f' of plate {plate}'}): check the names of the {checked}."
        )
    left_out = list(here.left_out)
    if others:
        left_out.append(
            f"Left out of {where.name}: {count(sum(others.values()), 'image')} of "
            f"{quoted(list(others), limit=3)}, whose condition {by} does not tell."
        )
    order = sorted(groups)
    remarks = [f"Conditions are told by {by}.", *([f"{here.told}."] if here.told else [])]
    remarks += () if layout is None else layout.remarks
    return ConditionsFound(
        {name: tuple(groups[name]) for name in order}, tuple(remarks), tuple(left_out)
    )


def of_folder(
    where: Path,
    how: Arrangement,
    conditions: Sequence[str] | None,
    folders_only: bool,
    tree: Folders,
) -> ConditionsFound:
    """Take a folder of images as one condition, or its sub-folders as one each.

    Parameters
    ----------
    where : Path
    how : Arrangement
    conditions : sequence of str or None
        Those that are wanted; what other folders hold is not looked at.
    folders_only : bool
        Whether there must be sub-folders; images beside them are left out.
    tree : Folders

    Raises
    ------
    InputError
        If there are no images, or it cannot be told what the conditions are.
    """
    direct = tree.images(where)
    if is_omezarr(where) or (direct and not folders_only):
        here = sources_of_files(where, direct or [where], how)
        lost = (*_left_out_of(where, tree, nested=True), *here.left_out)
        name = composed(zarr_stem(where) if is_omezarr(where) else where.resolve().name) or "images"
        told = (f"{name}: {here.told}.",) if here.told else ()
        return ConditionsFound({name: here.sources}, told, lost, by_folder=False)
    groups: dict[str, tuple[ImageSource, ...]] = {}
    remarks: list[str] = []
    left_out: tuple[str, ...] = ()
    folders = _condition_folders(where, tree)
    if len(folders) == 1 and not tree.images(folders[0]) and len(tree.nested(folders[0])) > 1:
        raise InputError(
            f"{where} has no sub-folders with TIFF files but {folders[0].name}, in which there are "
            f"folders of images: give {folders[0]}, if these are the conditions."
        )
    loose = [path for path in direct if path not in folders]
    if direct and not folders:
        raise InputError(
            f"{where} has no sub-folders with TIFF files: put the images of each condition into a "
            "sub-folder named after it, or say with a table or a layout which is which."
        )
    if loose:
        names = quoted([path.name for path in loose], limit=3)
        left_out += (
            f"Left out of {where.name}: {names}, since the folders beside tell conditions.",
        )
    wanted = None if conditions is None else {composed(name) for name in conditions}
    aside = [folder for folder in folders if is_result_folder(folder)]
    if wanted is None and len(aside) < len(folders):
        left_out += tuple(
            f"Left out of {where.name}: the folder {folder.name}, by its name a result of a "
            "segmentation; name it as a condition to take it."
            for folder in aside
        )
        folders = [folder for folder in folders if folder not in aside]
    inside = _conditions_within(folders, tree)
    if inside:
        turned = _turned_round(where, folders, inside)
        outside = {composed(folder.name) for folder in folders}
        if wanted is not None and wanted & set(inside) and not wanted & outside:
            raise InputError(turned)
        remarks.append(turned)
    files_of = {
        folder: tree.images(folder) or tree.below(folder)
        for folder in folders
        if wanted is None or _condition_name(folder) in wanted
    }
    agreed = naming_of_folders(list(files_of.items()), how)
    for folder in folders:
        name = _condition_name(folder)
        if name in groups:
            raise InputError(f'Condition "{name}" was given twice: name each condition once.')
        if folder not in files_of:
            groups[name] = ()
            continue
        here = sources_of_files(folder, files_of[folder], how, agreed)
        groups[name] = here.sources
        nested = bool(tree.images(folder))
        left_out += (*_left_out_of(folder, tree, nested=nested), *here.left_out)
        if here.told:
            remarks.append(f"{name}: {here.told}.")
    if not groups:
        raise nothing_in(where)
    return ConditionsFound(groups, tuple(_merged(remarks)), left_out)


def _conditions_within(folders: Sequence[Path], tree: Folders) -> list[str]:
    """Name the conditions that lie in each of several folders of plates, days or donors.

    Nothing, if the folders are rather conditions themselves, in each of which are the same plates,
    channels or positions.
    """
    if len(folders) < 2 or any(is_omezarr(one) or tree.images(one) for one in folders):
        return []
    names = [[composed(inner.name) for inner in tree.nested(folder)] for folder in folders]
    same = names[0]
    # Names of one kind (pos1, pos2) count parts.
    kinds = {re.sub(r"\d+", "", name) for name in same}
    if len(kinds) < 2 or any(set(other) != set(same) for other in names):
        return []
    if all(_GENES.fullmatch(folder.name) for folder in folders):
        return []
    repeated = all(_REPEATS.fullmatch(folder.name) for folder in folders) or _in_turn(folders)
    controls = any(map(is_control, same)) and not any(is_control(one.name) for one in folders)
    parts = any(
        well_named(name) == name
        or any(kind.fullmatch(name) for kind in (_REPEATS, _DAYS, _CHANNELS, _FILES))
        for name in same
    )
    return same if (repeated or controls) and not parts else []


def _in_turn(folders: Sequence[Path]) -> bool:
    """Whether folders are of days one after the other: others (0, 7) are compared."""
    found = [_DAYS.fullmatch(folder.name) for folder in folders]
    days = sorted(int(day[1]) for day in found if day is not None)
    return days == list(range(1, len(folders) + 1))


def _turned_round(where: Path, folders: Sequence[Path], inside: Sequence[str]) -> str:
    """Say that the folders taken for conditions may be plates, and what to do then."""
    outer, inner = folders[0].name, inside[0]
    return (
        f"{where.name}: conditions are the folders "
        f"{quoted([folder.name for folder in folders], limit=3)}, and not "
        f"{quoted(inside, limit=3)} in each of these. If those within are the conditions, put the "
        f"others into them ({inner}/{outer} in place of {outer}/{inner}), or give the "
        'pattern "^(?P<plate>[^/]+)/(?P<condition>[^/]+)/" (--pattern).'
    )


def _condition_name(folder: Path) -> str:
    return composed(zarr_stem(folder) if is_omezarr(folder) else folder.name)


def _merged(remarks: Sequence[str]) -> list[str]:
    """Say once what is the same for several conditions but for the numbers."""
    kinds: dict[str, list[str]] = {}
    for text in remarks:
        _, _, told = text.partition(": ")
        kinds.setdefault(re.sub(r"^\d+ files are \d+ images", "", told), []).append(text)
    merged = []
    for texts in kinds.values():
        if len(texts) == 1:
            merged += texts
            continue
        numbers = [re.search(r"(\d+) files? are (\d+) images?", text) for text in texts]
        if not all(numbers):
            if len({text.partition(": ")[2] for text in texts}) == 1:
                names = ", ".join(text.partition(": ")[0] for text in texts[:3])
                more = f" and {len(texts) - 3} more" if len(texts) > 3 else ""
                texts = [f"{names}{more}: {texts[0].partition(': ')[2]}"]
            merged += texts
            continue
        n_files, n_images = (sum(int(m[k]) for m in numbers if m) for k in (1, 2))
        told = re.sub(r"^.*?: \d+ files? are \d+ images?", "", texts[0], count=1)
        merged.append(f"{count(n_files, 'file')} are {count(n_images, 'image')}{told}")
    return merged


def _condition_folders(where: Path, tree: Folders) -> list[Path]:
    """Sub-folders that hold images, in themselves or in folders within."""
    zarrs = [path for path in tree.images(where) if path.is_dir()]
    return [
        folder
        for folder in sorted([*tree.subfolders(where), *zarrs])
        if tree.images(folder) or tree.nested(folder)
    ]


def _left_out_of(folder: Path, tree: Folders, *, nested: bool) -> tuple[str, ...]:
    """Say what lies in a folder of images and is none, and, if wanted, in the folders within."""
    if not folder.is_dir() or is_omezarr(folder):
        return ()
    told = left_out_in_words(folder, tree.tiffs(folder))
    others = Counter(path.suffix.lower() for path in tree.others(folder) if is_other_format(path))
    if others:
        listed = ", ".join(f"{number} {suffix}" for suffix, number in others.items())
        told.append(f"Left out of {folder.name}: {listed}, since there are TIFFs beside them.")
    for inner in tree.nested(folder) if nested else []:
        number = len(tree.below(inner))
        told.append(
            f"Left out of {folder.name}: the folder {inner.name} with {count(number, 'file')}, "
            f"since there are images beside it; put these into a folder, too, to take both."
        )
    return tuple(told)
