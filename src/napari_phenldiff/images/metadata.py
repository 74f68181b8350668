"""Channel names and pixel sizes as the different kinds of TIFF tell them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import tifffile

from napari_phenldiff.images.naming import color_names, count
from napari_phenldiff.images.ome import pixels_of_series
from napari_phenldiff.images.programs import Told, told_by_program
from napari_phenldiff.images.series import tell_once

_PREFIXES = {
    "Y": ("yotta", 24), "Z": ("zetta", 21), "E": ("exa", 18), "P": ("peta", 15), "T": ("tera", 12),
    "G": ("giga", 9), "M": ("mega", 6), "k": ("kilo", 3), "h": ("hecto", 2), "da": ("deca", 1),
    "": ("", 0), "d": ("deci", -1), "c": ("centi", -2), "m": ("milli", -3), "µ": ("micro", -6),
    "n": ("nano", -9), "p": ("pico", -12), "f": ("femto", -15), "a": ("atto", -18),
    "z": ("zepto", -21), "y": ("yocto", -24),
}  # fmt: skip

_METRES = {f"{sign}m": float(f"1e{power + 6}") for sign, (_, power) in _PREFIXES.items()}
"""Micrometres by the signs of OME, in which capitals count: Mm is a million metres."""

_MICROMETRES = {
    **{
        f"{word}{metre}": float(f"1e{power + 6}")
        for word, power in _PREFIXES.values()
        for metre in ("meter", "metre")
    },
    **{sign: value for sign, value in _METRES.items() if sign.islower()},
    "um": 1.0, "μm": 1.0, "micron": 1.0,
    "a": 1e-4, "å": 1e-4, "angstrom": 1e-4,
    "in": 25.4e3, "inch": 25.4e3, "inche": 25.4e3, "thou": 25.4, "mil": 25.4,
    "li": 25.4e3 / 12, "line": 25.4e3 / 12, "pt": 25.4e3 / 72, "point": 25.4e3 / 72,
    "ft": 304.8e3, "foot": 304.8e3, "feet": 304.8e3, "yd": 914.4e3, "yard": 914.4e3,
    "mi": 1609.344e6, "mile": 1609.344e6,
}  # fmt: skip
"""Micrometres by names and signs, in small letters."""

# Programs that know no pixel size write the resolution of a screen or a printer, 72 to 600 dots
# per inch: pixels of 42 micrometres and more.
_LARGEST_PLAUSIBLE_PIXEL = 20.0

_FILE_NAME = re.compile(r"\.(tiff?|png|jpe?g|lif|nd2|czi|lsm|oib|oif|ics|dv|stk|flex|c01)\b", re.I)

_MOST_NAMED_PAGES = 64

# What Bio-Formats writes: "c:1/2 z:3/9 - name of the series".
_PLACE_IN_FILE = re.compile(r"[czt]:\d+/\d+", re.I)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says about its channels.

    Parameters
    ----------
    channel_names : tuple of str or None
        One per channel, empty string for a channel without a name; None if the file names none.
    pixel_size : tuple of float or None
        Micrometres per pixel along y and x.
    """

    channel_names: tuple[str, ...] | None = None
    pixel_size: tuple[float, float] | None = None


def micrometres(unit: str) -> float | None:
    """Micrometres in one of a unit of length; None for pixels and anything unknown.

    Parameters
    ----------
    unit : str
        Name or sign, as OME, ImageJ and napari write it, such as ``"µm"`` or ``"nanometer"``.
    """
    # ImageJ escapes what is not ASCII; units in words come in singular and plural.
    unit = unit.strip().replace("\\u00B5", "µ")
    folded = unit.lower()
    return _METRES.get(unit, _MICROMETRES.get(folded, _MICROMETRES.get(folded.removesuffix("s"))))


def file_metadata(tif: tifffile.TiffFile, series: int) -> Metadata:
    """Read what an open file says about the channels of one of its series.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.
    series : int
        Index of the series.
    """
    if tif.is_ome and tif.ome_metadata:
        try:
            return _ome_metadata(tif, series)
        except ElementTree.ParseError:
            pass  # tifffile too goes on without it
    # The first page of the file may be a thumbnail.
    page = tif.series[series].keyframe
    if tif.is_imagej:
        return _imagej_metadata(tif, page)
    told = told_by_program(tif, micrometres) or Told()
    pixel_size = told.pixel_size or _resolution_tags(page, None)
    if pixel_size and max(pixel_size) > _LARGEST_PLAUSIBLE_PIXEL:
        pixel_size = None
    return Metadata(told.channel_names or _page_names(tif, series), pixel_size)


def _page_names(tif: tifffile.TiffFile, series: int) -> tuple[str, ...] | None:
    """Channel names from the names of the pages, where each has one of its own."""
    pages = tif.series[series].pages
    if not 1 < len(pages) <= _MOST_NAMED_PAGES or tif.is_shaped:
        return None
    names = [
        str(page.aspage().tags.valueof("PageName", "")).strip("\0 \n") if page is not None else ""
        for page in pages
    ]
    return _names_from_labels(names, len(names), _stem(tif))


def ome_descriptions(xml: str) -> list[str]:
    """Texts of the descriptions of all images in OME-XML."""
    found = ElementTree.fromstring(xml).findall("{*}Image/{*}Description")
    return [element.text or "" for element in found]


def _ome_metadata(tif: tifffile.TiffFile, series: int) -> Metadata:
    """Read what OME-XML says of one series."""
    pixels = pixels_of_series(tif, series)
    if pixels is None:
        return Metadata()
    names: list[str] = []
    for channel in pixels.findall("{*}Channel"):
        samples = _count(channel.get("SamplesPerPixel"))
        name = channel.get("Name", "").strip()
        # Colour is one channel in OME and three here.
        colors = color_names(samples) if samples > 1 and name else ("",) * samples
        names += [f"{name} {color}".strip() for color in colors]
    names = _of_channels(tif, names, _count(pixels.get("SizeC")))
    sizes = []
    units = {axis: pixels.get(f"PhysicalSize{axis}Unit") for axis in "YX"}
    values = {axis: _positive(pixels.get(f"PhysicalSize{axis}")) for axis in "YX"}
    # OME means micrometres where no unit is written; only who writes one number twice, and a unit
    # once, means it for both.
    same = values["Y"] == values["X"]
    usual = next((unit for unit in units.values() if unit and same), "µm")
    for axis in "YX":
        factor = micrometres(units[axis] or usual)
        value = values[axis]
        sizes.append(value * factor if value and factor else None)
    return Metadata(tuple(names) or None, _both(sizes))


def _of_channels(tif: tifffile.TiffFile, names: list[str], n_channels: int) -> list[str]:
    """Return one name for each channel, where OME-XML has fewer or more; a note tells it."""
    if len(names) == n_channels or not any(names) or tif.pages.first.samplesperpixel > 1:
        return names
    told = f"its OME-XML names {count(len(names), 'channel')} of {n_channels}: "
    if len(names) < n_channels:
        told += "the others, which come last, are numbered"
    else:
        told += "names beyond these are left out"
    tell_once(tif, told)
    return [*names, *[""] * n_channels][:n_channels]


def _count(text: str | None) -> int:
    """Return a number of samples; 1 where what is written is none."""
    return int(text) if text is not None and text.strip().isdecimal() and int(text) > 0 else 1


def _imagej_metadata(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> Metadata:
    contents = tif.imagej_metadata or {}
    unit = str(contents.get("unit", ""))
    # It is written only where it is another one than along x.
    units = (str(contents.get("yunit") or unit), unit)
    # Inches are what a screenshot or a scan came with, not a calibration.
    factors = [None if name.startswith("in") else micrometres(name) for name in units]
    n_channels = int(contents.get("channels", 1))
    labels = contents.get("Labels") or []
    if isinstance(labels, str):
        labels = [labels]
    return Metadata(
        _names_from_labels(labels, n_channels, _stem(tif)),
        _resolution_tags(page, factors),
    )


def _stem(tif: tifffile.TiffFile) -> str:
    return str(tif.filename).split(".")[0]


def _names_from_labels(
    labels: Sequence[Any], n_channels: int, stem: str = ""
) -> tuple[str, ...] | None:
    """Channel names from ImageJ's labels of the planes, of which the channels vary fastest.

    A label is a free text. It names a channel only where it is the same in all planes of that
    channel, and where it is not the name of a file, this one's (`stem`) or the one that the plane
    once came from, nor the place that it had there.
    """
    names = [str(label or "").strip() for label in labels[:n_channels]]
    if n_channels < 2 or len(names) < n_channels or len(set(names)) < n_channels:
        return None
    if any(str(label or "").strip() != names[i % n_channels] for i, label in enumerate(labels)):
        return None
    if any(_FILE_NAME.search(name) or _PLACE_IN_FILE.match(name) for name in names):
        return None
    if stem and all(stem in name for name in names):
        return None
    return tuple(names)


def _resolution_tags(
    page: tifffile.TiffPage, units: Sequence[float | None] | None
) -> tuple[float, float] | None:
    """Pixel size from the tags that give pixels per unit of length.

    Parameters
    ----------
    page : tifffile.TiffPage
        Of the image.
    units : sequence of float or None
        Micrometres in the units of length along y and x, or None to go by the tag that says inch
        or centimetre.
    """
    tags = page.tags
    if units is None:
        code = tags.valueof("ResolutionUnit", 2)
        units = [{2: _MICROMETRES["inch"], 3: _MICROMETRES["cm"]}.get(int(code))] * 2
    sizes = []
    for name, unit in zip(("YResolution", "XResolution"), units, strict=True):
        numerator, denominator = tags.valueof(name, (0, 1))
        value = _positive(denominator / numerator if numerator else None)
        sizes.append(value * unit if value and unit else None)
    return _both(sizes)


def _positive(value: object) -> float | None:
    """Positive finite number, or None for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _both(sizes: Sequence[float | None]) -> tuple[float, float] | None:
    y, x = sizes
    return None if y is None or x is None else (y, x)
