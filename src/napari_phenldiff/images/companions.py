"""Files that lie beside images and are none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from napari_phenldiff.images.exports import FLUOROPHORES
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.stains import WORDS_IN_FILE_NAMES

_THUMBNAIL = re.compile(r"_thumb(nail)?s?[0-9a-f-]*$", re.I)
# What Cellpose writes beside an image; it is never an image.
_CELLPOSE = re.compile(r"_cp_(masks|outlines|flows)(_\w+)?$|_(masks|outlines|flows)_cp$", re.I)
# What may be the name of an image where no image has the name without it.
_RESULT = re.compile(
    r"[ _.-](masks?|labels?|labeled|outlines?|contours?|flows?|seg|segmented|segmentation|"
    r"prob(abilities|s)?|probability|rois?|overlay|stardist|binary|thresholded|"
    r"(simple|object)[ _](segmentation|predictions|identities)|uncertainty)$",
    re.I,
)
# What Fiji calls what it makes of an image, in capitals; the name of the image follows. "std_1"
# beside "1" is a standard.
_MADE = (
    (re.compile(r"(MAX|AVG|SUM|STD|MED|MIN)_"), "projection of an image beside"),
    (re.compile(r"result of ", re.I), "result of a calculation"),
    (re.compile(r"mask of ", re.I), "result of a segmentation"),
)
# Images that others are corrected with.
_CALIBRATION = re.compile(
    r"(?P<what>flat[ _-]?fields?|ffc|dark[ _-]?field[ _-]?ref(erence)?|dark[ _-]?(frame|current))"
    rf"([ _-](({WORDS_IN_FILE_NAMES})|(w|ch?|channel)\d{{1,2}}))?"
    # Written by CellProfiler; plants in light of a colour are called so too.
    rf"|(?P<illum>illum)[ _-]({FLUOROPHORES.pattern})",
    re.I,
)
# Plants and flies are kept in the dark, so that these are believed only beside one of the above.
_MAY_BE_CALIBRATION = re.compile(r"(?P<what>dark|background|blank)([ _-]?image)?", re.I)


def companions(files: Iterable[Path]) -> dict[Path, str]:
    """Tell which TIFFs of a folder are no images, by their names.

    Parameters
    ----------
    files : iterable of Path
        All TIFFs of one folder.

    Returns
    -------
    dict of Path to str
        What each such file is, such as "thumbnail" or "result of a segmentation".
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
        else:
            made = next(
                (
                    what
                    for pattern, what in _MADE
                    if (match := pattern.match(stem)) and stem[match.end() :].lower() in names
                ),
                None,
            )
            if made is not None:
                found[file] = made
    calibration = [file for file in files if _is_called(_CALIBRATION, file)]
    if calibration and not any("light" in name for name in names):
        calibration += [file for file in files if _is_called(_MAY_BE_CALIBRATION, file)]
    # Where there is nothing else, they are what somebody wants to see.
    if len(calibration) < len([file for file in files if file not in found]):
        found |= dict.fromkeys(calibration, "calibration image")
    return found


def _is_called(pattern: re.Pattern[str], file: Path) -> bool:
    """Whether a file is called so, and not its folder too: that is what cells were treated with."""
    match = pattern.fullmatch(file.stem)
    if match is None:
        return False
    what = next(filter(None, map(match.groupdict().get, ("what", "illum"))))
    return what.lower() not in file.parent.name.lower()


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


def _listed(files: Sequence[Path]) -> str:
    return quoted([file.name for file in files], limit=3)
