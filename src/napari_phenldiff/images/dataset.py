"""The images of an experiment where they lie: found and sorted, and not read yet."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.checks import extremes_of
from napari_phenldiff.images.companions import left_out_in_words
from napari_phenldiff.images.exports import own_naming
from napari_phenldiff.images.folders import MOST_FOLDERS, Folders, is_result_folder
from napari_phenldiff.images.formats import INSTALL, foreign_sources, is_foreign
from napari_phenldiff.images.grouping import FileGroup, Grouped, group_files
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.image_in_file import in_files
from napari_phenldiff.images.indexes import Index, find_index
from napari_phenldiff.images.layout import read_layout
from napari_phenldiff.images.naming import (
    composed,
    count,
    default_channel_names,
    file_safe,
    quoted,
)
from napari_phenldiff.images.omezarr import is_omezarr, zarr_sources, zarr_stem
from napari_phenldiff.images.places import well_named
from napari_phenldiff.images.png import is_png
from napari_phenldiff.images.sets import members_of_set
from napari_phenldiff.images.sources import FileSource, GroupSource, ImageSource, peek_file
from napari_phenldiff.images.spreadsheet import is_table
from napari_phenldiff.images.summary import Summary
from napari_phenldiff.images.survey import facts_of
from napari_phenldiff.images.table import images_of_table
from napari_phenldiff.images.tiff import is_image_file

if TYPE_CHECKING:
    from napari_phenldiff.images.experiment import Experiment

_OTHER_FORMATS = re.compile(
    r"\.(czi|nd2|lif|lof|oib|oif|oir|vsi|ims|dv|r3d|ics|ids|nd|zvi|png|jpe?g|bmp|gif|h5|hdf5|npy"
    r"|mrxs|svs|ndpi|scn|zip|xdce|mvd2|sld|c01)$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images by their condition, found and not read.

    Attributes
    ----------
    where : Path
        What was given.
    conditions : mapping of str to tuple of ImageSource
        In their order.
    remarks : tuple of str
        What was grouped or chosen, in sentences.
    left_out : tuple of str
        What was left out and why, in sentences.
    by_folder : bool
        Whether the conditions are told by folders, a table or names: one that was given as images
        alone is called like their folder.

    Examples
    --------
    >>> from napari_phenldiff import Dataset
    >>> found = Dataset.find("experiment")  # doctest: +SKIP
    >>> found.summary()  # doctest: +SKIP
    '2 conditions (ctrl: 6 images, drug: 6 images) · 2 channels (DAPI, GFP) · 64 × 64 px ...'
    """

    where: Path
    conditions: Mapping[str, tuple[ImageSource, ...]]
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    by_folder: bool = True

    @classmethod
    def find(
        cls,
        where: str | os.PathLike[str],
        arrangement: Arrangement | None = None,
        *,
        conditions: Sequence[str] | None = None,
        folders_only: bool = False,
        most_folders: int = MOST_FOLDERS,
        pictures: bool = True,
    ) -> Dataset:
        """Find the images that a path means.

        Parameters
        ----------
        where : path-like
            A folder with a sub-folder for each condition, in which there may be plates; a folder of
            images; a table that lists them; an OME-Zarr image or plate; or an image file.
        arrangement : Arrangement, optional
            What names do not tell.
        conditions : sequence of str, optional
            Those that are wanted, in this order; what others hold is not looked at.
        folders_only : bool
            Whether a folder must have a sub-folder for each condition: images that lie beside these
            are left out. Otherwise a folder with images is that of one condition.
        most_folders : int
            More than so many folders within are no experiment.
        pictures : bool
            Whether PNGs are images in folders where there is nothing else.

        Returns
        -------
        Dataset

        Raises
        ------
        InputError
            If there are no images, or none of a condition that is wanted.
        """
        where = Path(where)
        how = arrangement or Arrangement()
        if not where.exists():
            raise InputError(f"{where} does not exist; check the path.")
        if where.is_file() and is_table(where):
            found = _of_table(where, how, conditions)
        elif how.layout is not None or "?P<condition>" in (how.pattern or ""):
            found = _of_whole_plates(where, how)
        elif where.is_file():
            return cls.of_files([where], how)
        else:
            found = _of_folder(
                where, how, conditions, folders_only, Folders(most_folders, pictures)
            )
        if conditions is not None and found.by_folder:
            found = found.select(conditions)
        return found.with_channels(how.channels)

    @classmethod
    def of_files(
        cls,
        files: Sequence[Path],
        arrangement: Arrangement | None = None,
        *,
        name: str | None = None,
    ) -> Dataset:
        """Take files of one folder for the images of one condition.

        Parameters
        ----------
        files : sequence of Path
            At least one; also thumbnails and masks are taken, since somebody has named them.
        arrangement : Arrangement, optional
            What names do not tell.
        name : str, optional
            Of the condition; by default that of the folder.
        """
        how = arrangement or Arrangement()
        folder = files[0].parent
        for file in files:
            if not file.exists():
                raise InputError(f"{file} does not exist; check the path.")
            if not is_omezarr(file) and not is_foreign(file):
                _check_kind(file)
        here = _sources_of_files(folder, files, how)
        name = composed(name or folder.resolve().name or "images")
        told = (f"{name}: {here.told}.",) if here.told else ()
        found = cls(folder, {name: here.sources}, told, here.left_out, by_folder=False)
        return found.with_channels(how.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the conditions."""
        return tuple(self.conditions)

    @property
    def sources(self) -> tuple[ImageSource, ...]:
        """All images, one condition after the other."""
        return tuple(source for group in self.conditions.values() for source in group)

    def select(self, names: Sequence[str]) -> Dataset:
        """Keep these conditions, in this order.

        Raises
        ------
        InputError
            If one is unknown.
        """
        chosen = {}
        for name in names:
            key = composed(name)
            if key not in self.conditions:
                raise InputError(
                    f'{self.where} has no TIFF files for condition "{name}": there are some for '
                    f"{quoted(self.names)}."
                )
            chosen[key] = self.conditions[key]
        return replace(self, conditions=chosen)

    def subset(self, images_per_condition: int, seed: int) -> Dataset:
        """Choose files of each condition at random, so that the others are not read at all.

        Parameters
        ----------
        images_per_condition : int
            How many to keep, at least 1; a condition with fewer keeps all. A file may hold several
            images.
        seed : int
            The same seed chooses the same files, whatever the other conditions are.
        """
        chosen = {}
        for name, group in self.conditions.items():
            ordered = sorted(group, key=lambda source: source.name)
            order = order_by_name(name, len(ordered), seed)
            chosen[name] = tuple(ordered[k] for k in sorted(order[:images_per_condition]))
        return replace(self, conditions=chosen)

    def images(self, name: str, *, z: int | Projection | None = None) -> Iterator[Image]:
        """Read the images of a condition, one file after the other."""
        for source in self.select([name]).sources:
            yield from source.read(z=z)

    def read(self, *, z: int | Projection | None = None) -> Experiment:
        """Read all images once, one at a time; pixels of large experiments stay in the files.

        Returns
        -------
        Experiment
            Channels that have the same names in another order are brought into that of the first
            image.

        See Also
        --------
        napari_phenldiff.images.image_in_file : which pixels are kept in memory.
        """
        from napari_phenldiff.images.channel_names import unified
        from napari_phenldiff.images.experiment import Experiment

        images = {
            name: [
                image
                for source in group
                for image in in_files(partial(source.read, z=z), (extremes_of, facts_of))
            ]
            for name, group in self.conditions.items()
        }
        experiment = Experiment.from_images(unified(images))
        return replace(experiment, left_out=self.left_out, remarks=self.remarks)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Channels of the first image, by its metadata; empty if these cannot be read."""
        peek = next((source.peek() for source in self.sources), None)
        return () if peek is None else peek.channel_names

    def summary(self, *, left_out: bool = True) -> str:
        """Say in one line what there is, by the metadata of one image of each condition.

        Parameters
        ----------
        left_out : bool
            Whether it says what was left out; where that is told beside it, it need not.
        """
        return Summary.of_dataset(self).in_words(left_out=left_out)

    def with_channels(self, channels: Sequence[str] | None) -> Dataset:
        """Read only these channels, by name or number, in this order; None leaves them."""
        if channels is None:
            return self
        chosen = tuple(channels)
        return replace(
            self,
            conditions={
                name: tuple(replace(source, channels=chosen) for source in group)
                for name, group in self.conditions.items()
            },
        )


def order_by_name(condition: str, n: int, seed: int) -> list[int]:
    """Return the numbers below `n` in an order drawn for a condition, whatever the others are."""
    name_as_number = int.from_bytes(hashlib.sha256(condition.encode()).digest()[:8])
    return [int(k) for k in np.random.default_rng([seed, name_as_number]).permutation(n)]


def _of_table(where: Path, how: Arrangement, conditions: Sequence[str] | None) -> Dataset:
    found = images_of_table(
        where,
        condition_columns=how.condition_columns,
        root=how.root,
        conditions=conditions,
    )
    groups = {name: tuple(sources) for name, sources in found.conditions.items()}
    remarks = [text for text in found.remarks if "left out" not in text]
    left_out = [text for text in found.remarks if "left out" in text]
    return Dataset(where, groups, tuple(remarks), tuple(left_out))


def _of_whole_plates(where: Path, how: Arrangement) -> Dataset:
    """Sort all images below a folder by the condition that a layout, or a pattern, tells."""
    folder = where if where.is_dir() and not is_omezarr(where) else where.parent
    files = [where] if folder != where else Folders().below(where)
    if not files:
        raise _nothing_in(where)
    here = _sources_of_files(folder, files, how)
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
        raise InputError(
            f"{by} names the condition of none of the {count(len(sources), 'image')} in {where} "
            f"(such as {sources[0].name}, well {sources[0].site.well or 'unknown'}): check the "
            "names of the wells."
        )
    left_out = list(here.left_out)
    if others:
        left_out.append(
            f"Left out of {where.name}: {count(sum(others.values()), 'image')} of "
            f"{quoted(list(others), limit=3)}, whose condition {by} does not tell."
        )
    order = sorted(groups)
    remarks = [f"Conditions are told by {by}.", *([f"{here.told}."] if here.told else [])]
    return Dataset(
        where, {name: tuple(groups[name]) for name in order}, tuple(remarks), tuple(left_out)
    )


def _of_folder(
    where: Path,
    how: Arrangement,
    conditions: Sequence[str] | None,
    folders_only: bool,
    tree: Folders,
) -> Dataset:
    direct = tree.images(where)
    if is_omezarr(where) or (direct and not folders_only):
        here = _sources_of_files(where, direct or [where], how)
        lost = (*_left_out_of(where, tree, nested=True), *here.left_out)
        name = composed(zarr_stem(where) if is_omezarr(where) else where.resolve().name) or "images"
        told = (f"{name}: {here.told}.",) if here.told else ()
        return Dataset(where, {name: here.sources}, told, lost, by_folder=False)
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
    for folder in folders:
        name = composed(zarr_stem(folder) if is_omezarr(folder) else folder.name)
        if name in groups:
            raise InputError(f'Condition "{name}" was given twice: name each condition once.')
        if wanted is not None and name not in wanted:
            groups[name] = ()
            continue
        files = tree.images(folder)
        here = _sources_of_files(folder, files or tree.below(folder), how)
        groups[name] = here.sources
        left_out += (*_left_out_of(folder, tree, nested=bool(files)), *here.left_out)
        if here.told:
            remarks.append(f"{name}: {here.told}.")
    if not groups:
        raise _nothing_in(where)
    return Dataset(where, groups, tuple(_merged(remarks)), left_out)


def holds_images(folder: Path) -> bool:
    """Whether images lie in a folder itself, so that it is one of a single condition."""
    return folder.is_dir() and bool(Folders().images(folder))


def may_hold_images(folder: Path) -> bool:
    """Whether images lie in a folder, or in folders within."""
    tree = Folders(pictures=False)
    try:
        return bool(tree.images(folder) or tree.nested(folder))
    except InputError:  # too many folders to be an experiment
        return False


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
    others = Counter(path.suffix.lower() for path in tree.others(folder) if _is_other_format(path))
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


def _is_other_format(path: Path) -> bool:
    return _OTHER_FORMATS.search(path.name) is not None


def _check_kind(file: Path) -> None:
    if is_image_file(file) or is_png(file):
        return
    if _is_other_format(file):
        raise InputError(f"{file} is not a TIFF but {file.suffix}; {_advice([file])}.")
    raise InputError(f"{file} is not a TIFF; give a .tif or .tiff file, or a folder.")


def _nothing_in(folder: Path) -> InputError:
    """Tell what there is in a folder without images."""
    others: Counter[str] = Counter()
    example: list[Path] = []
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if _is_other_format(Path(name)):
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


@dataclass(frozen=True, slots=True)
class _Found:
    """Images of some files: how they were found, what is left out, and what a pattern tells."""

    sources: tuple[ImageSource, ...]
    told: str
    left_out: tuple[str, ...]
    conditions: tuple[str | None, ...]


def _sources_of_files(root: Path, files: Sequence[Path], how: Arrangement) -> _Found:
    """Make sources of the images below a folder."""
    sources: list[ImageSource] = []
    plain = [path for path in files if is_image_file(path) or is_png(path)]
    known = set(plain)
    for path in files:
        if is_foreign(path):
            sources += foreign_sources(path)
        elif path not in known:
            plates = {source.site.plate for source in sources if source.site.plate}
            sources += zarr_sources(path, alone=len(files) == 1, plates=plates)
    sets = members_of_set(plain)
    in_sets = {path for members in sets for path in members}
    for members in sets:
        sources.append(FileSource(name=_name_of_set(members), file=members[0], members=members))
    rest = [path for path in plain if path not in in_sets]
    naming = None if how.pattern is None else own_naming(how.pattern)
    grouped = group_files(root, rest, naming) if rest else Grouped(())
    told = [grouped.told] if grouped.told else []
    if sets:
        n_files = sum(map(len, sets))
        told.append(
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
        told = [f"{text}; they are called {', '.join(names)} there" for text in told]
    return _Found(tuple(sources), "; ".join(told), grouped.left_out, tuple(conditions))


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
