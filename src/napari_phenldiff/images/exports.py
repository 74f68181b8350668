"""How microscopes and their programs name files: which image, channel and plane each one holds.

This is the one table of such names. A pattern is looked for in the path of a file below the folder
of its condition, with ``/`` between folders and without the suffix ``.tif``. Its named groups say
what is where:

``plate``, ``well`` (or ``row`` and ``col``), ``field``, ``time``, ``condition``
    where and when the image was taken;
``channel``, ``z``
    which part of the image the file holds;
``x1``, ``x2`` ...
    what is left out of the image's name: channel and plane with the signs that lead to them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.stains import WORDS_IN_FILE_NAMES

GROUPS = ("condition", "plate", "well", "row", "col", "field", "time", "channel", "z")
"""Named groups that a pattern may have."""

_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9A-F]{4,}"
_SIGNS = " _.-"
_SIGN = r"[ _.\-]"
_WELL = r"[A-P](?:0[1-9]|[1-4]\d)(?!\d)"
_SHORT_WELL = r"[A-P](?:[1-9]|0[1-9]|[1-4]\d)(?!\d)"
_Z = rf"{_SIGN}z[ _-]?"
_T = rf"{_SIGN}t\d+"
# Two digits only where it is sure that the second is none of a GUID that follows.
_WAVE = r"1\d(?=[_.\ \-]|$|[0-9a-f]{8}-)|\d"
# Of usual lasers and filters alone: other numbers count animals and images.
_LINES = (
    r"365|385|405|445|458|470|488|491|514|532|546|555|561|568|594|633|638|640|642|647|660|730|750"
)
FLUOROPHORES = re.compile(
    r"dapi|hoechst(?:[ _-]?33342)?|draq5|e?gfp|yfp|cfp|rfp|m?cherry|dsred|td-?tomato|cy[2357]|fitc"
    r"|tritc|texas[ _]?red|txred|alexa[ _]?(?:fluor[ _]?)?\d{3}|af\d{3}"
    r"|a(?:405|488|546|555|568|594|633|647)|phalloidin|mitotracker",
    re.I,
)
"""What nothing but a channel is called; mice are green, and plants stand in blue light."""
_INCUCYTE = r"(?:hd-?)?phase|green|red|nir|orange|blue"
_INCUCYTE_TIME = r"\d{4}y\d+m\d+d_\d+h\d+m|\d+d\d+h\d+m"


@dataclass(frozen=True, slots=True)
class Named:
    """What the name of one file tells.

    Attributes
    ----------
    image : str
        The name without what tells channels and planes apart: the same for all files of an image.
    channel, z : str or None
        Which channel and plane the file holds; None where the name does not tell.
    site : Site
        Plate, well and field.
    condition : str or None
        What the cells were treated with, where a pattern finds it.
    """

    image: str
    channel: str | None
    z: str | None
    site: Site
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class Naming:
    """A way of naming files.

    Attributes
    ----------
    program : str
        What names its files so, for sentences.
    pattern : re.Pattern
        See the module.
    sure : bool
        Whether the name alone is believed. "c1" may be a crop and "green" a mouse, so that other
        names are believed only where nearly all files have them, with the same for every image.
    among : re.Pattern or None
        What one of the channels must be called, if others may be called anything, or like colours.
    """

    program: str
    pattern: re.Pattern[str]
    sure: bool = True
    among: re.Pattern[str] | None = None

    def read(self, path: str) -> Named | None:
        """Read the path of a file, without suffix; None if it has another form."""
        match = self.pattern.search(path)
        return None if match is None else _named(match)


def _naming(
    program: str, pattern: str, *, sure: bool = True, among: re.Pattern[str] | None = None
) -> Naming:
    return Naming(program, re.compile(pattern, re.I | re.X), sure, among)


NAMINGS: tuple[Naming, ...] = (
    _naming(
        "Operetta, Opera Phenix (Harmony)",
        r"r(?P<row>\d{2})c(?P<col>\d{2})f(?P<field>\d{2,})(?P<x1>p(?P<z>\d{2,}))?(?:rc?\d+)?"
        r"(?P<x2>-ch(?P<channel>\d+))(?P<time>sk\d+)?(?P<x3>fk\d+)?(?P<x4>fl\d+)?$",
    ),
    _naming(
        "Operetta (Harmony 3)",
        r"(?:^|/)(?P<row>\d{3})(?P<col>\d{3})-(?P<field>\d+)-(?P<x1>(?P<z>\d{3}))"
        r"(?P<time>\d{3})(?P<x2>(?P<channel>\d{3}))$",
    ),
    _naming("Opera (Flex)", r"(?:^|/)(?P<row>\d{3})(?P<col>\d{3})(?P<field>\d{3})\.flex$"),
    _naming(
        "CellVoyager",
        rf"(?:^|/)(?:(?P<plate>[^/]+?)_)?(?P<well>{_WELL})_T(?P<time>\d+)F(?P<field>\d+)"
        r"(?P<x3>L\d+A\d+)?(?P<x1>Z(?P<z>\d+))(?P<x2>C(?P<channel>\d+))$",
    ),
    _naming(
        "CellVoyager",
        r"(?:^|/)(?P<well>W\d{4,5})F(?P<field>\d+)T(?P<time>\d+)(?P<x1>Z(?P<z>\d+))"
        r"(?P<x2>C(?P<channel>\d+))$",
    ),
    _naming(
        "Micro-Manager 2",
        r"(?:^|/)img_(?P<x2>channel(?P<channel>\d+)_)position(?P<field>\d+)_time(?P<time>\d+)"
        r"(?P<x1>_z(?P<z>\d+))$",
    ),
    _naming(
        "Micro-Manager",
        r"(?:^|/)(?P<x3>img_)(?P<time>\d{6,9})(?P<x2>_(?P<channel>[^/]+?))(?P<x1>_(?P<z>\d{3}))$",
    ),
    _naming(
        "ScanR",
        r"(?:^|/)(?P<x3>(?:(?!--)[^/])*--)(?P<well>W\d+)--P(?P<field>\d+)(?P<x1>--Z(?P<z>\d+))?"
        r"(?P<time>--T\d+)?(?P<x2>--(?P<channel>[^/]+?))(?:\.ome)?$",
    ),
    _naming(
        "LAS X (Matrix Screener)",
        r"--U(?P<col0>\d+)--V(?P<row0>\d+).*?--(?P<field>X\d+--Y\d+)(?:--T\d+)?"
        r"(?P<x1>--Z(?P<z>\d+))(?P<x2>--C(?P<channel>\d+))(?:\.ome)?$",
    ),
    _naming(
        "IN Cell Analyzer",
        r"(?P<well>[A-P]\ ?-\ ?\d{1,2})\ ?\(fld\ (?P<field>\d+)(?P<x1>\ z\ (?P<z>\d+))?"
        r"(?P<x2>\ wv\ (?P<channel>[^)]+?))(?P<x3>\ z\ (?P<z2>\d+))?(?:\ time\ \d+[^)]*)?\)$",
    ),
    _naming(
        "Gen5 (Cytation)",
        rf"(?:^|/)(?P<well>{_SHORT_WELL})(?P<x1>_-?\d+_\d+)_(?P<field>\d+)"
        r"(?P<x2>_(?P<channel>[^_/]+))_(?P<time>\d{3})$",
    ),
    _naming(
        "NIS-Elements (JOBS)",
        rf"Well(?P<well>{_SHORT_WELL})_Point(?P<field>[^_/]+(?:_\d+)?)(?P<x2>_Channel(?P<channel>[^_/]+))"
        r"(?:_Seq\d+)?$",
    ),
    _naming(
        "CellInsight, ArrayScan",
        rf"(?:^|/)(?:(?P<plate>[^/]+)_)?(?P<well>{_WELL})f(?P<field>\d{{2,3}})(?:o\d+)?"
        r"(?P<x2>d(?P<channel>\d))$",
    ),
    _naming(
        "ArrayScan (BBBC013)",
        r"(?:^|/)(?P<x2>Channel(?P<channel>\d+)-)(?P<field>\d+)-(?P<row>[A-P])-(?P<col>\d{2})$",
    ),
    _naming(
        "Incucyte",
        rf"(?:^|(?<=[/_-]))(?P<x2>(?P<channel>{_INCUCYTE})[_-])(?:[^/]*?[_-])?"
        rf"(?P<well>{_SHORT_WELL})_(?P<field>\d{{1,3}})_(?P<time>{_INCUCYTE_TIME})$",
    ),
    _naming(
        "Incucyte",
        rf"(?:^|[/_-])(?P<well>{_SHORT_WELL})_(?P<field>\d{{1,3}})_(?P<time>{_INCUCYTE_TIME})"
        rf"(?P<x2>[_-](?P<channel>{_INCUCYTE}))?$",
    ),
    _naming(
        "ImageXpress",
        rf"(?:^|/)(?P<x4>ZStep_(?P<z2>\d+)/)?(?:(?P<plate>[^/]+?)_)?(?P<well>{_WELL})"
        rf"(?:_s(?P<field>\d+))?(?P<x1>_z(?P<z>\d+))?(?P<x2>_w(?P<channel>{_WAVE}))(?P<x3>{_GUID})?$",
    ),
    _naming(
        "ImageXpress",
        rf"(?:^|/)(?:(?P<plate>[^/]+?)_)?(?P<well>{_WELL})_s(?P<field>\d+)(?P<x3>{_GUID})?$",
    ),
    _naming(
        "ImageXpress, MetaMorph",
        rf"(?:{_SIGN}s(?P<field>\d+))?(?P<x1>{_Z}(?P<z>\d+))?(?P<x2>{_SIGN}w(?P<channel>{_WAVE}))"
        rf"(?P<x3>{_GUID})?(?:{_SIGN}s\d+)?(?P<time>{_T})?$",
    ),
    _naming(
        "MetaMorph",
        r"(?P<x2>_w\d(?P<channel>[3-8]\d\d))(?:_s(?P<field>\d+))?(?:_t(?P<time>\d+))?$",
    ),
    _naming(
        "MetaMorph",
        r"(?P<x2>_w\d(?P<channel>[^_/]*[^_/\d][^_/]*))(?:_s(?P<field>\d+))?(?:_t(?P<time>\d+))?$",
    ),
    _naming(
        "LAS X",
        rf"(?P<x1>{_Z}(?P<z>\d{{1,4}}))?(?:{_T})?"
        rf"(?P<x2>{_SIGN}ch(?:annel)?[ _-]?(?P<channel>\d{{1,2}}))"
        rf"(?:{_T})?(?P<x3>{_Z}(?P<z2>\d{{1,4}}))?(?:_SV|_RAW)?$",
    ),
    _naming(
        "ZEN",
        r"_(?:s(?P<field>\d+))?(?:t\d+)?(?P<x1>z(?P<z>\d+))?(?P<x2>c(?P<channel>\d+))_ORG$",
    ),
    _naming(
        "ZEN",
        r"_b\d+(?:v\d+)?(?:s(?P<field>\d+))?t\d+(?P<x1>z(?P<z>\d+))(?P<x2>c(?P<channel>\d+))"
        r"(?P<x3>x\d+-\d+y\d+-\d+)$",
    ),
    _naming(
        "NIS-Elements",
        r"xy(?P<field>\d+)(?P<x1>z(?P<z>\d+))?(?P<x2>c(?P<channel>\d{1,2}))$",
    ),
    _naming(
        "NIS-Elements",
        r"(?<![a-z])(?P<x1>[ _.\-]?z(?P<z>\d+))(?P<x2>c(?P<channel>\d{1,2}))$",
    ),
    _naming(
        "Olympus",
        rf"(?P<x2>{_SIGN}C(?P<channel>\d{{3}}))(?P<x1>Z(?P<z>\d{{3}}))(?P<time>T\d{{3}})?$",
    ),
    _naming(
        "Squid",
        rf"(?:^|/)(?:(?P<well>{_SHORT_WELL})_)?(?P<field>\d+(?:_\d+)?)(?P<x1>_(?P<z>\d+))"
        r"(?P<x2>_(?P<channel>Fluorescence_\d{3}_nm_Ex|BF_LED_matrix_[a-z_]+))$",
    ),
    _naming(
        "channel at the end",
        rf"(?P<x1>{_Z}(?P<z>\d{{1,4}}))?"
        # More digits count cells and crops, but where the plane stands before.
        rf"(?P<x2>{_SIGN}(?:c|d(?!\d{{3}}))(?P<channel>(?(x1)\d{{1,4}}|\d{{1,2}})))"
        rf"(?:{_T})?(?P<x3>{_Z}(?P<z2>\d{{1,4}}))?$",
        sure=False,
    ),
    _naming(
        "wavelength at the end",
        rf"(?P<x1>{_Z}(?P<z>\d{{1,4}}))?(?P<x2>{_SIGN}(?P<channel>(?:{_LINES})(?:[ ]?nm)?))"
        rf"(?P<x3>{_Z}(?P<z2>\d{{1,4}}))?$",
        sure=False,
    ),
    _naming(
        "Fiji (Split Channels)",
        r"(?:^|/)(?P<x2>C(?P<channel>[1-4])-)(?=[^/]+$)",
        sure=False,
    ),
    _naming(
        "stain at the end",
        rf"(?P<x1>{_Z}(?P<z>\d{{1,4}}))?(?P<x2>{_SIGN}(?P<channel>{WORDS_IN_FILE_NAMES}))"
        rf"(?P<x3>{_Z}(?P<z2>\d{{1,4}}))?$",
        sure=False,
    ),
    _naming(
        "stain in brackets",
        rf"(?P<x2>[ _]?[(\[](?P<channel>{WORDS_IN_FILE_NAMES})[)\]])$",
        sure=False,
        among=FLUOROPHORES,
    ),
    _naming(
        "stain at the beginning",
        rf"(?:^|/)(?P<x2>(?P<channel>{WORDS_IN_FILE_NAMES}){_SIGN})",
        sure=False,
    ),
    _naming(
        "stain at the beginning",
        rf"(?:^|/)(?P<x2>(?P<channel>{WORDS_IN_FILE_NAMES}))(?=\d+$)",
        sure=False,
        among=FLUOROPHORES,
    ),
    _naming(
        "channel in the middle",
        rf"(?P<x2>{_SIGN}(?P<channel>{WORDS_IN_FILE_NAMES}))(?={_SIGN})",
        sure=False,
        among=FLUOROPHORES,
    ),
    Naming(
        "a stain among words at the end",
        re.compile(rf"(?P<x2>{_SIGN}(?P<channel>[a-z][a-z0-9+]*[a-z][a-z0-9+]*))$", re.I),
        sure=False,
        among=FLUOROPHORES,
    ),
    _naming(
        "a folder for each image",
        rf"(?<=/)(?P<x2>(?P<channel>{WORDS_IN_FILE_NAMES}|(?:ch?|w|d)\d{{1,2}}|channel[ _-]?\d+))$",
        sure=False,
    ),
    _naming(
        "a folder for each channel",
        rf"(?:^|/)(?P<x2>(?P<channel>{WORDS_IN_FILE_NAMES}|(?:ch?|w|d)\d{{1,2}}|channel[ _-]?\d+)/)"
        r"(?=[^/]+$)",
        sure=False,
    ),
    _naming("plane at the end", rf"(?P<x1>(?:{_Z}|(?<=\d)z)(?P<z>\d{{1,3}}))(?P<time>{_T})?$"),
    _naming("a folder of planes", r"(?<=/)(?P<x1>z[ _-]?(?P<z>\d{1,4}))$"),
)
"""All that are known, those that tell more before those that tell less."""


def own_naming(pattern: str) -> Naming:
    r"""Make a way of naming of a pattern that somebody gives.

    Parameters
    ----------
    pattern : str
        Regular expression with at least one of the groups `GROUPS`, for example
        ``(?P<condition>\w+)_(?P<well>[A-H]\d\d)_(?P<channel>\w+)``.

    Raises
    ------
    InputError
        If it is no regular expression, or has no such group, or others.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f'"{pattern}" is not a regular expression: {error}.') from error
    groups = set(compiled.groupindex)
    known = {name for name in groups if name in GROUPS}
    if not known or groups - known - {name for name in groups if re.fullmatch(r"x\d", name)}:
        raise InputError(
            f'The pattern "{pattern}" has the named groups {quoted(sorted(groups)) or "none"}: '
            f"give it some of {quoted(GROUPS)}, such as (?P<well>[A-H][0-9]+)."
        )
    return Naming("your pattern", compiled)


def _named(match: re.Match[str]) -> Named:
    found = {name: text for name, text in match.groupdict().items() if text is not None}
    cut = [match.span(name) for name in found if re.fullmatch(r"x\d", name)]
    if not any(name.startswith("x") for name in match.re.groupindex):
        cut = [match.span(name) for name in ("channel", "z", "condition") if name in found]
    return Named(
        _without(match.string, cut),
        _channel(match, found),
        found.get("z", found.get("z2")),
        Site(found.get("plate"), _well(found), found.get("field")),
        found.get("condition"),
    )


def _channel(match: re.Match[str], found: dict[str, str]) -> str | None:
    """Return what a channel is called: in words, or as the file counts it (w1, ch00)."""
    channel = found.get("channel")
    if channel is None or not channel.isdigit():
        return channel
    whole = found.get("x2", channel).strip(" _.-/")
    return whole if whole.endswith(channel) else channel


def _well(found: dict[str, str]) -> str | None:
    if "well" in found:
        well = re.sub(r"[ -]", "", found["well"])
        # Some count the wells of a plate.
        return str(int(well[1:])) if re.fullmatch(r"W\d+", well, re.I) else well.upper()
    if {"row0", "col0"} <= found.keys():  # counted from 0
        return well_name(int(found["row0"]) + 1, int(found["col0"]) + 1)
    row, col = found.get("row"), found.get("col")
    if row is None or col is None or not col.isdigit():
        return None
    return well_name(int(row) if row.isdigit() else row, int(col))


def well_name(row: str | int, col: int) -> str:
    """Name a well by its row, a letter or a number from 1, and its column: ``B03``.

    The number of a row that has none counts from 1 too, so that 27 is ``AA``.
    """
    text = str(row)
    if text.isdigit():
        number, text = int(text), ""
        while number > 0:
            number, rest = divmod(number - 1, 26)
            text = chr(ord("A") + rest) + text
    return f"{text.upper()}{col:02d}"


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """Cut pieces out of a text, and the signs that are left over beside them."""
    kept, end = "", 0
    for start, stop in sorted(spans):
        kept, end = _joined(kept, text[end:start]), max(end, stop)
    return _joined(kept, text[end:])


def _joined(left: str, right: str) -> str:
    """Put two pieces together, with one sign between them and not two."""
    if left and right and left[-1] in _SIGNS and right[0] in _SIGNS:
        return left.rstrip(_SIGNS) + right
    return left + right
