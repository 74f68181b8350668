"""What the user has set in napari's Preferences under PhenLDiff, as one value.

The page itself is made by napari from ``configurations`` in ``napari.yaml``. napari keeps what is
set there in a file of its own (``napari-phenldiff.yaml``) and gives it out without Qt.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from napari.settings import get_plugin_settings
from napari.utils.colormaps import AVAILABLE_COLORMAPS

from napari_phenldiff.viewer.differences import DIFFERENCE_COLORMAPS

_PLUGIN = "napari-phenldiff"
_logger = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "bfloat16"]

PRECISIONS: tuple[Precision, ...] = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a new dock and a new job start with, unless told otherwise there.

    Attributes
    ----------
    device : str
        ``"auto"`` or a torch device such as ``"cpu"`` or ``"cuda"``.
    precision : {"auto", "float32", "bfloat16"}
        Precision of the network's passes.
    runs_folder : Path
        Folder in which a new run folder is suggested. It need not exist yet.
    models_folder : Path, optional
        Folder that models from a hub are downloaded to; None leaves it to the hub's client.
    difference_colormap : str
        Colormap of differences: its middle is no difference.
    channel_colors : tuple of (str, str)
        A part of a channel's name and the colormap that such channels are shown in.
    """

    device: str = "auto"
    precision: Precision = "auto"
    runs_folder: Path = field(default_factory=lambda: _expanded("~/phenldiff-runs"))
    models_folder: Path | None = None
    difference_colormap: str = "blue-orange"
    channel_colors: tuple[tuple[str, str], ...] = ()

    def environment(self) -> dict[str, str]:
        """Return the environment variables that a child process needs to follow these."""
        if self.models_folder is None:
            return {}
        return {"HF_HUB_CACHE": str(self.models_folder)}


def preferences() -> Preferences:
    """Return what is set in napari's Preferences now.

    Returns
    -------
    Preferences
        A value that can't be used is replaced by its default, and a warning is logged. All are
        defaults where the plugin is not registered with napari, as in a script without a viewer.
    """
    try:
        settings: Any = get_plugin_settings(_PLUGIN)
    except KeyError:
        return Preferences()
    except Exception as error:  # the manifest of another plugin, or a damaged file
        _logger.warning("The preferences can't be read, so defaults are used: %s", error)
        return Preferences()
    values: dict[str, Any] = {}
    for group, readers in _READERS.items():
        for key, read in readers.items():
            try:
                values[key] = read(getattr(getattr(settings, group), key))
            except (AttributeError, RuntimeError, TypeError, ValueError) as error:
                _logger.warning("%s in the preferences is not used: %s", key, error)
    return Preferences(**values)


def _device(text: str) -> str:
    text = text.strip().lower()
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text) is None:
        raise ValueError(f"{text!r} is no device; use auto, cpu, cuda, cuda:1 or mps")
    return text


def _precision(text: str) -> Precision:
    if text not in PRECISIONS:
        raise ValueError(f"{text!r} is not one of {', '.join(PRECISIONS)}")
    return text


def _home() -> Path:
    return Path.home()


def _expanded(text: str) -> Path:
    path = Path(text)
    return _home().joinpath(*path.parts[1:]) if path.parts[:1] == ("~",) else path


def _folder(text: str) -> Path:
    path = _expanded(text.strip())
    if not path.is_absolute():
        raise ValueError(f"{text!r} is not a whole path")
    return path


def _folder_or_none(text: str) -> Path | None:
    return _folder(text) if text.strip() else None


def _difference_colormap(text: str) -> str:
    if text not in DIFFERENCE_COLORMAPS:
        raise ValueError(f"{text!r} is not one of {', '.join(DIFFERENCE_COLORMAPS)}")
    return text


def _channel_colors(text: str) -> tuple[tuple[str, str], ...]:
    """Read ``"actin = red, ER = cyan"``."""
    pairs = []
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        name, equals, colour = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise ValueError(f"{part!r} should look like actin = red")
        if colour not in AVAILABLE_COLORMAPS:
            raise ValueError(
                f"napari has no colormap {colour!r}; take green, magenta, cyan, yellow, red, gray"
            )
        pairs.append((name, colour))
    return tuple(pairs)


# By the keys of ``configurations`` in napari.yaml and of their properties.
_READERS: Mapping[str, Mapping[str, Callable[[str], Any]]] = {
    "computation": {"device": _device, "precision": _precision},
    "folders": {"runs_folder": _folder, "models_folder": _folder_or_none},
    "colors": {"difference_colormap": _difference_colormap, "channel_colors": _channel_colors},
}
