"""What lies beside the files of an export and tells of them: names of channels, size of pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

_MOST = 8 * 2**20
"""Bytes of an index that are read: what it says of the first images it says of all."""

_HARMONY = ("Index.idx.xml", "Index.xml", "index.idx.xml", "index.xml")
_CHANNEL_OF_IMAGE = re.compile(
    r"<ChannelID>(\d+)</ChannelID>(?:(?!</?Image\b).)*?<ChannelName>([^<]*)</ChannelName>", re.S
)
_CHANNEL_OF_MAP = re.compile(r'<Entry ChannelID="(\d+)">\s*<ChannelName>([^<]*)</ChannelName>')
_RESOLUTION = re.compile(r'<ImageResolution([XY]) Unit="m">([^<]+)<')

_YOKOGAWA = ("MeasurementDetail.mrf",)
_YOKOGAWA_CHANNEL = re.compile(r"<bts:MeasurementChannel\b[^>]*>")
_ATTRIBUTE = re.compile(r'bts:(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Index:
    """What an index tells.

    Attributes
    ----------
    channels : dict of int to str
        Names of channels by their number in the names of files.
    pixel_size : tuple of float or None
        Micrometres per pixel along y and x.
    """

    channels: dict[int, str] = field(default_factory=dict)
    pixel_size: tuple[float, float] | None = None


def find_index(folders: Iterable[Path]) -> Index:
    """Read the index in or above the folders of images, where there is one.

    Harmony (Operetta, Opera Phenix: ``Index.idx.xml``) and CellVoyager (``MeasurementDetail.mrf``,
    which tells the size of the pixels).
    """
    for folder in dict.fromkeys(place for f in folders for place in (f, f.parent)):
        for name in _HARMONY:
            text = _start_of(folder / name)
            if text:
                return _harmony(text)
        for name in _YOKOGAWA:
            text = _start_of(folder / name)
            if text:
                return _yokogawa(text)
    return Index()


def _start_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MOST).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _harmony(text: str) -> Index:
    found = [*_CHANNEL_OF_MAP.findall(text), *_CHANNEL_OF_IMAGE.findall(text)]
    channels = {int(number): unescape(name).strip() for number, name in found if name.strip()}
    sizes = {axis: _micrometres(value) for axis, value in _RESOLUTION.findall(text)}
    return Index(channels, _both(sizes.get("Y"), sizes.get("X")))


def _yokogawa(text: str) -> Index:
    for tag in _YOKOGAWA_CHANNEL.findall(text):
        told = dict(_ATTRIBUTE.findall(tag))
        y = told.get("VerticalPixelDimension")
        x = told.get("HorizontalPixelDimension")
        size = _both(_number(y), _number(x))
        if size is not None:
            return Index({}, size)
    return Index()


def _micrometres(text: str) -> float | None:
    number = _number(text)
    return None if number is None else number * 1e6


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None


def _both(y: float | None, x: float | None) -> tuple[float, float] | None:
    return None if y is None or x is None else (y, x)
