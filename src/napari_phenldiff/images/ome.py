"""The OME-XML of a TIFF: which of the images that it describes is which of the file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import tifffile


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
    return images[0] if len(images) == 1 else None


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
