"""The OME-XML of a TIFF: mended where that is sure, and which of its images a series is."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.images.files import read_small

_START = re.compile(r"[\s\ufeff]*<(?:\?xml|!--|(?:\w+:)?OME[\s>])")
_ROOT = re.compile(r"<(?:\w+:)?OME[\s>]")

_NO_SAMPLES = re.compile(r"""\sSamplesPerPixel=(?:"(?!\s*\d+\s*")[^"]*"|'(?!\s*\d+\s*')[^']*')""")
"""A number of samples that is none: tifffile would give the whole file up."""

_LONE_AND = re.compile(r"&(?!(?:\w+|#\d+|#x[0-9a-fA-F]+);)")

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What cannot be in XML at all."""


_MOST_BYTES = 2**28
"""Of a companion file."""


class NoCompanion(InputError):
    """The file that tells what the pages of another are is not there."""


def legal(text: str) -> str:
    """Return a text as it can be written into XML: what cannot be in it becomes ``�``."""
    return _ILLEGAL.sub("\ufffd", text)


def mended(xml: str) -> str:
    """Mend what makes OME-XML unreadable and can mean one thing only.

    That is an ``&`` that starts no entity, characters that XML does not know, and numbers of
    samples that are none.
    """
    text = _NO_SAMPLES.sub("", xml.rstrip("\0"))
    # In what can be read, such as a comment, an & may stand alone.
    return text if fault_of(text) is None else _LONE_AND.sub("&amp;", legal(text))


def complete(path: Path, xml: str) -> str:
    """Return the OME-XML of a file: from its companion if it only names one, and of its own images.

    One description may tell of all fields of a plate, or all positions of an acquisition. The
    images of other files are left out, unless some image lies in these and in this one.

    Parameters
    ----------
    path : Path
        The file.
    xml : str
        What is in it, mended.

    Raises
    ------
    InputError
        If the companion is not there, is in another folder, or cannot be read.
    """
    try:
        own = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return xml
    root = _whole(path, own)
    left_out = _leave_out_others(root, own.get("UUID"), path, unnamed=root is own)
    return ElementTree.tostring(root, encoding="unicode") if left_out or root is not own else xml


def lies_in_several_files(path: Path, xml: str) -> bool:
    """Whether the OME-XML of a file, or of its companion, tells of an image in several files.

    Raises
    ------
    InputError
        As by `complete`.
    xml.etree.ElementTree.ParseError
        If it cannot be read.
    """
    root = _whole(path, ElementTree.fromstring(xml))
    return any(len(_files(image)) > 1 for image in root.findall("{*}Image"))


def _whole(path: Path, own: ElementTree.Element) -> ElementTree.Element:
    """Return the OME-XML of a file, or that of the companion that it names."""
    binary_only = own.find("{*}BinaryOnly")
    if binary_only is None:
        return own
    name = binary_only.get("MetadataFile", "")
    companion = path.parent / name
    if not name or Path(name).name != name or not is_regular_file(companion):
        raise NoCompanion(
            f"What its pages are is told by another file, {name or 'which it does not name'}, "
            "which is not beside it: copy both into one folder, under their own names."
        )
    try:
        root = ElementTree.fromstring(mended(_text_of(companion)))
    except (OSError, ValueError, ElementTree.ParseError, tifffile.TiffFileError) as error:
        raise InputError(
            f"What its pages are is told by {name}, which cannot be read ({error}): copy it again."
        ) from error
    parts = _parts(root)
    if parts and _identity(parts, own.get("UUID"), path) is None:
        raise InputError(
            f"What its pages are is told by {name}, which does not tell of it: give the file the "
            "name that it had."
        )
    return root


def _parts(element: ElementTree.Element) -> list[ElementTree.Element]:
    """Where an image, or all of a description, says that its planes are."""
    return element.findall(".//{*}Pixels/{*}TiffData/{*}UUID")


def _identity(parts: list[ElementTree.Element], own: str | None, path: Path) -> str | None:
    """By what a description calls a file: by its identifier, or else by its name."""
    if own in {part.text for part in parts}:
        return own
    return next((part.text for part in parts if part.get("FileName") == path.name), None)


def _leave_out_others(
    root: ElementTree.Element, own: str | None, path: Path, *, unnamed: bool
) -> bool:
    """Leave out the images of other files, and let a description call a file by its identifier.

    Those are left out that lie in files with which this one has no image in common, not even by
    way of a third. Planes of which no file is named lie in this one if `unnamed`. Returns whether
    any image was left out.
    """
    # A companion has an identifier of its own, by which tifffile would not know this file.
    identity = _identity(_parts(root), own, path)
    if identity is None:
        return False
    root.set("UUID", identity)
    images = root.findall("{*}Image")
    left = {image: _files(image, *([identity] if unnamed else [])) for image in images}
    together = {identity}
    while own_images := [image for image, files in left.items() if files & together]:
        together.update(*(left.pop(image) for image in own_images))
    for image in left:
        root.remove(image)
    return bool(left)


def _files(image: ElementTree.Element, *unnamed: str) -> set[str]:
    """Return the identifiers of the files that hold an image; `unnamed` where a plane has none."""
    found: set[str] = set()
    for data in image.iterfind("{*}Pixels/{*}TiffData"):
        part = data.find("{*}UUID")
        found.update(unnamed if part is None else [part.text or ""])
    return found


def _text_of(companion: Path) -> str:
    """OME-XML in a file of its own, or in another TIFF of the same data set."""
    with companion.open("rb") as file:
        is_tiff = file.read(4)[:2] in (b"II", b"MM")
    if not is_tiff:
        return read_small(companion, most_bytes=_MOST_BYTES)
    with tifffile.TiffFile(companion, _multifile=False) as tif:
        return tif.ome_metadata or ""


def begins_ome(description: str) -> bool:
    """Whether a description is OME-XML, whole or not."""
    return _START.match(description) is not None and _ROOT.search(description) is not None


def fault_of(xml: str) -> str | None:
    """Tell why OME-XML cannot be read; None if it can."""
    try:
        ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        return str(error)
    return None


def counts_planes(xml: str) -> bool:
    """Whether readable OME-XML tells of several z planes or time points of an image."""
    found = ElementTree.fromstring(xml).findall("{*}Image/{*}Pixels")
    return any(_number(pixels.get(f"Size{axis}"), 1) > 1 for pixels in found for axis in "ZT")


def pixels_of_series(tif: tifffile.TiffFile, series: int) -> ElementTree.Element | None:
    """Find the description of one series of an open file, by the pages that it names.

    One description may tell of many files, such as all positions of an acquisition, and each file
    holds it; what is in other files, and not here, is no series.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file, with OME-XML.
    series : int
        Index of the series.

    Returns
    -------
    Element or None
        ``Pixels`` of the image; None if there is none, or several of which nothing tells which
        it is.

    Raises
    ------
    xml.etree.ElementTree.ParseError
        If the OME-XML cannot be read.
    """
    root = ElementTree.fromstring(tif.ome_metadata or "")
    images = root.findall("{*}Image/{*}Pixels")
    page = next((page for page in tif.series[series].pages if page is not None), None)
    if page is not None and isinstance(page.index, int):
        file = Path(page.parent.filehandle.path)
        own = Path(tif.filehandle.path)
        found = [pixels for pixels in images if _has(pixels, page.index, file, own, root)]
        # Several images may be said to be the same pages: then only their order tells.
        if len(found) > 1 and series < len(images) and images[series] in found:
            return images[series]
        if found:
            return found[0]
    told = {
        (
            frozenset(pixels.items()) - {("ID", pixels.get("ID", ""))},
            tuple(channel.get("Name") for channel in pixels.iterfind("{*}Channel")),
        )
        for pixels in images
    }
    return images[0] if len(told) == 1 else None


def _has(
    pixels: ElementTree.Element, index: int, file: Path, own: Path, root: ElementTree.Element
) -> bool:
    """Whether an image is said to have a page of a file; `own` is the one that says so."""
    for data in pixels.findall("{*}TiffData"):
        part = data.find("{*}UUID")
        place = own
        if part is not None and part.text != root.get("UUID"):
            name = part.get("FileName", "")
            # Without an identifier of its own, a file is known by its name.
            if root.get("UUID") is not None or name.lower() != own.name.lower():
                place = own.parent / name
        if place != file:
            continue
        first = _number(data.get("IFD"), 0)
        # As tifffile has it: without a number of planes it is one, or all pages of the file.
        usual = _number(data.get("NumPlanes"), 1 if "IFD" in data.attrib else 0)
        n_planes = _number(data.get("PlaneCount"), usual)
        if first <= index and (n_planes == 0 or index < first + n_planes):
            return True
    return False


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.strip().isdecimal() else otherwise
