"""Names of channels, files and things, and how messages tell them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from napari_phenldiff.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")


def composed(name: str) -> str:
    """Return a name in composed form (NFC): macOS writes an umlaut as two signs, others as one.

    Bytes on disk that are no text become ``�``.
    """
    return unicodedata.normalize("NFC", name if is_text(name) else _SURROGATE.sub("�", name))


def is_text(name: str) -> bool:
    """Whether a name can be written as text: names on disk may be any bytes."""
    return _SURROGATE.search(name) is None


_CONTROLS = {
    code: chr(code).encode("unicode_escape").decode("ascii")
    for code in (
        # C0 and C1, without tab and newline
        *(c for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) not in "\t\n"),
        # what turns the direction of the text that follows
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    )
}


def visible(text: str) -> str:
    r"""Write the control characters of a text as escapes (``\x1b``), for a terminal or a log.

    A name may be anything, and a terminal would carry out what is in it. Tabs and ends of lines
    stay.
    """
    return text.translate(_CONTROLS)


def default_channel_names(n_channels: int) -> tuple[str, ...]:
    """Name channels that came without: ``("channel 0", "channel 1", ...)``."""
    return tuple(f"channel {index}" for index in range(n_channels))


_COLORS = ("red", "green", "blue", "alpha")

MOST_COLORS = len(_COLORS)
"""Samples of a colour image. Where there are more, they are channels of some program."""


def color_names(n_samples: int) -> tuple[str, ...]:
    """Name the samples of a colour image."""
    return _COLORS[:n_samples]


def file_safe(name: str) -> str:
    """Replace what cannot be in the name of a file by ``-``."""
    return re.sub(r'[\\/:*?"<>|\x00-\x1f]+', "-", name).strip(" .") or "unnamed"


def check_file_name(name: str, what: str) -> None:
    """Refuse a name that cannot be the name of one file or folder.

    Parameters
    ----------
    name : str
        Name of an image or a condition, both of which become names of files.
    what : str
        What is named, for the message.

    Raises
    ------
    InputError
        If the name is empty, is ``.`` or ``..``, or contains a slash, backslash or NUL.
    """
    if not name.strip() or name in {".", ".."} or any(sign in name for sign in "/\\\0"):
        raise InputError(
            f'The {what} name "{name}" cannot be the name of a file: '
            "use a name that is not empty and has no slash or backslash."
        )


def count(number: int, noun: str) -> str:
    """Put a number and a noun into words: ``"1 channel"``, ``"2 channels"``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def some_of(number: int, total: int, noun: str) -> str:
    """Say how many of some things: ``"2 of the 3 wells"``, ``"all 3 wells"``, ``"the only well"``.

    At least one of them is meant.
    """
    if total == 1:
        return f"the only {noun}"
    return f"all {total} {noun}s" if number == total else f"{number} of the {total} {noun}s"


def quoted(names: Sequence[str], limit: int = 12) -> str:
    """List names for a message, only the first ones if there are many."""
    shown = ", ".join(f'"{name}"' for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def natural_order(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts w2 before w10."""
    pieces = re.findall(r"\d+|\D+", text)
    return tuple((0, int(p), "") if p.isdigit() else (1, 0, p.lower()) for p in pieces)
