"""What this package writes into the metadata of a layer, and reads again whatever became of it.

Under `LAYER_METADATA_KEY` are ``condition`` and ``channel`` (str), ``channel_index`` (int),
``images`` (names of the fields along the slider), ``paths`` (their files, each a str or None) and,
where any is known, ``sites`` (their plate, well and field, each a mapping or None). A layer of
several channels has their names as ``channels``; one that a model made has ``role``,
``translation``, ``real_layer`` and ``provenance``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np

LAYER_METADATA_KEY = "napari-phenldiff"

Role = Literal["real", "original", "reconstructed", "translated", "difference", "preview"]
"""What a layer shows: an image of a camera; a copy of it, channel by channel, beside what the model
made of it; that; or the translated less the reconstructed image."""

_MOST = 1_000_000
"""Channels, or lots of images: more are no number of them."""


def entry_in(metadata: object) -> dict[str, Any] | None:
    """Return what this package has written into the metadata of a layer.

    Metadata come with files, plugins and scripts of anybody. A value of another type than this
    package writes is left out, as if it were not there; but a role that there is not becomes
    ``"preview"``, which no measurement takes, and not that of a real image.

    Parameters
    ----------
    metadata : object
        Of a layer.

    Returns
    -------
    dict or None
        None if the layer is not one of this package. Keys that this module does not know are as
        they were.
    """
    entry = metadata.get(LAYER_METADATA_KEY) if isinstance(metadata, Mapping) else None
    if not isinstance(entry, Mapping):
        return None
    found: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "role":
            found[key] = value if isinstance(value, str) and value in get_args(Role) else "preview"
        elif key not in _KINDS or _KINDS[key](value):
            found[str(key)] = value
    if "provenance" in found:
        found["provenance"] = _told_of_provenance(found["provenance"])
    return found


def _is_text(value: object) -> bool:
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        os.fsencode(value)  # names become names of files
    except UnicodeEncodeError:
        return False
    return True


def _are_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_text, value))


def _is_index(value: object) -> bool:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        return False
    return 0 <= int(value) < _MOST


def _are_paths(value: object) -> bool:
    return isinstance(value, list | tuple) and all(one is None or _is_text(one) for one in value)


def _are_sites(value: object) -> bool:
    return isinstance(value, list | tuple) and all(
        one is None or isinstance(one, Mapping) for one in value
    )


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except (OverflowError, TypeError):  # too large, complex
        return False


def _are_numbers(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_number, value))


_KINDS: dict[str, Callable[[object], bool]] = {
    "condition": _is_text,
    "channel": _is_text,
    "channel_index": _is_index,
    "images": _are_texts,
    "paths": _are_paths,
    "part": _is_index,
    "translation": _is_text,
    "real_layer": _is_text,
    "provenance": _is_mapping,
    "channels": _are_texts,
    "sites": _are_sites,
}

_OF_PROVENANCE: dict[str, Callable[[object], bool]] = {
    "source": _is_text,
    "target": _is_text,
    "run": _is_text,
    "strength": _is_number,
    "strengths": _are_numbers,
}


def _told_of_provenance(value: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key): one
        for key, one in value.items()
        if key not in _OF_PROVENANCE or _OF_PROVENANCE[key](one)
    }
