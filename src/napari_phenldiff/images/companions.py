"""Files that lie beside images and are none, and images that are spread over several files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.peek import peek_tiff

_THUMBNAIL = re.compile(r"_thumb(nail)?s?[0-9a-f-]*$", re.I)
# What Cellpose writes beside an image; it is never an image.
_CELLPOSE = re.compile(r"_cp_(masks|outlines|flows)(_\w+)?$|_(masks|outlines|flows)_cp$", re.I)
# What may be the name of an image where no image has the name without it.
_RESULT = re.compile(
    r"[ _.-](masks?|labels?|labeled|outlines?|contours?|flows?|seg|segmented|segmentation|"
    r"prob(abilities|s)?|probability|rois?|overlay|stardist)$",
    re.I,
)

_DYES = (
    "dapi|hoechst|draq5|dna|nuclei|nucleus|gfp|egfp|yfp|cfp|rfp|mcherry|dsred|tdtomato|cy2|cy3|cy5|"
    "cy7|fitc|tritc|texas ?red|txred|alexa ?\\d{3}|af\\d{3}|a(?:488|555|568|594|647)|actin|tubulin|"
    "phalloidin|mito|er|rna|agp|golgi|wga|bf|brightfield|phase|dic|blue|green|red|far ?red"
)
_SIGN = r"(?<=[ _.-])"
_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9A-F]{4,}"
# By what they count: how a file's name says which one it is of, and from how many images on that
# is believed, since "c1" may be a crop and "green" a mouse.
_SPREAD: tuple[tuple[str, re.Pattern[str], int], ...] = (
    ("channel", re.compile(rf"{_SIGN}(w\d)(?:{_GUID})?$", re.I), 1),
    ("channel", re.compile(rf"{_SIGN}(ch(?:annel)?[ _-]?\d{{1,2}})$", re.I), 1),
    ("channel", re.compile(rf"{_SIGN}(ch\d+)sk\d+fk\d+fl\d+$", re.I), 1),
    ("channel", re.compile(r"(?<=f\d\d)(d\d)$", re.I), 1),
    ("channel", re.compile(rf"{_SIGN}([cd]\d{{1,2}})$", re.I), 2),
    ("channel", re.compile(rf"{_SIGN}({_DYES})$", re.I), 2),
    ("channel", re.compile(rf"^({_DYES})(?=[ _.-])", re.I), 2),
    ("z plane", re.compile(rf"{_SIGN}(z[ _-]?\d{{1,3}})$", re.I), 1),
    ("z plane", re.compile(r"(?<=f\d\d)(p\d+)(?=-ch\d)", re.I), 1),
)
_MOST_CHANNELS = 8


def companions(files: Iterable[Path]) -> dict[Path, str]:
    """Tell which TIFFs of a folder are no images, by their names.

    Parameters
    ----------
    files : iterable of Path
        All TIFFs of one folder.

    Returns
    -------
    dict of Path to str
        What each such file is: "thumbnail" or "result of a segmentation".
    """
    files = list(files)
    names = {file.stem.lower() for file in files}
    found = {}
    for file in files:
        stem = file.stem
        result = _RESULT.search(stem)
        if _THUMBNAIL.search(stem):
            found[file] = "thumbnail"
        elif _CELLPOSE.search(stem) or (result and stem[: result.start()].lower() in names):
            found[file] = "result of a segmentation"
    return found


def left_out_in_words(folder: Path, files: Sequence[Path]) -> list[str]:
    """Tell which TIFFs of a folder are left out, and why.

    Parameters
    ----------
    folder : Path
        For the sentence.
    files : sequence of Path
        All TIFFs of the folder, also links that lead nowhere.
    """
    broken = [file for file in files if not file.exists()]
    groups: dict[str, list[Path]] = {}
    for file, what in companions(file for file in files if file not in broken).items():
        groups.setdefault(what, []).append(file)
    told = [
        f"Left out of {folder.name}: {_listed(members)}, by "
        f"{f'their names each a {what}' if len(members) > 1 else f'its name a {what}'}."
        for what, members in groups.items()
    ]
    if broken:
        leads = "lead" if len(broken) > 1 else "leads"
        told.append(f"Left out of {folder.name}: {_listed(broken)}, whose link {leads} nowhere.")
    return told


def check_one_file_each(files: Sequence[Path]) -> None:
    """Refuse files that hold one channel or one z plane each of images that are spread over them.

    Such files have names that differ in the channel (or plane) alone, with the same ones for every
    image, and hold one channel.

    Parameters
    ----------
    files : sequence of Path
        The images of one folder.

    Raises
    ------
    InputError
        Naming two files of one image.
    """
    if len(files) < 2:
        return
    for what, pattern, fewest in _SPREAD:
        images = _of_each_image(files, pattern)
        parts = [set(found) for found in images.values()]
        if (
            len(parts) < fewest
            or len(parts[0]) < 2
            or any(part != parts[0] for part in parts)
            or (what == "channel" and len(parts[0]) > _MOST_CHANNELS)
        ):
            continue
        peek = peek_tiff(files[0])
        if peek is None or len(peek.channel_names) > 1 or peek.n_planes > 1:
            continue
        (first, second, *_) = next(iter(images.values())).values()
        remedy = (
            "put the channels of each image into one file (Fiji: Image > Color > Merge Channels), "
            "or list the files in a table with a column for each channel"
            if what == "channel"
            else "put the planes of each image into one stack, or keep one plane of each"
        )
        raise InputError(
            f"{first.parent} seems to hold one file for each {what} (such as {first.name} and "
            f"{second.name}), which would count as images of their own: {remedy}; if these are "
            "different images, rename them."
        )


def _of_each_image(files: Sequence[Path], pattern: re.Pattern[str]) -> dict[str, dict[str, Path]]:
    """Per image, by the name that its files share, the files by their part of it.

    Empty if a file has another kind of name, or two have the same.
    """
    images: dict[str, dict[str, Path]] = defaultdict(dict)
    for file in files:
        match = pattern.search(file.stem)
        if match is None:
            return {}
        shared = file.stem[: match.start()] + "*" + file.stem[match.end(1) :]
        if "w" in match[1].lower()[:1]:
            shared = file.stem[: match.start()]  # behind it, every file has a number of its own
        part = match[1].lower()
        if part in images[shared]:
            return {}
        images[shared][part] = file
    return images


def _listed(files: Sequence[Path]) -> str:
    return quoted([file.name for file in files], limit=3)
