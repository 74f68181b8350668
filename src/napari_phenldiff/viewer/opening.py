"""Open what napari hands over one by one as one experiment.

When many files or folders are dropped on the canvas, or chosen in the menu, napari gives a reader
one at a time. Each would be a condition of its own, with a contrast of its own. So the first one is
read with all others that napari is about to open, and those that follow add nothing. A file that is
opened later joins the files of its folder that are open already.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import napari
from napari.utils import progress
from napari.utils.notifications import show_error

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY, entry_in
from napari_phenldiff.images.spreadsheet import is_table
from napari_phenldiff.images.tiff import IMAGE_SUFFIXES
from napari_phenldiff.viewer import reader
from napari_phenldiff.viewer.first_shown import keep_something_shown
from napari_phenldiff.viewer.layer_data import LayerDataTuple
from napari_phenldiff.viewer.layer_info import LayerInfo
from napari_phenldiff.viewer.reader import PathOrPaths
from napari_phenldiff.viewer.shown_name import tell_names
from napari_phenldiff.viewer.turns import remove_layers

if TYPE_CHECKING:
    from napari.layers import Layer

_OPENED = "opened"
"""Key of a layer's metadata for the files that it was opened with."""

_NO_LAYERS: list[Any] = [(None,)]
"""What tells napari that a reader adds nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class _Go:
    """Paths that napari opens in one go, and the kinds of which all have been read."""

    entries: Mapping[str, None]
    done: set[str] = field(default_factory=set)


_GOES: WeakKeyDictionary[Any, _Go] = WeakKeyDictionary()
"""By the progress bar of what napari opens one by one."""


def get_reader(path: PathOrPaths) -> Callable[[PathOrPaths], list[LayerDataTuple]] | None:
    """Return the reader if all that was dropped are images, tables of images or folders with some.

    napari calls this (see ``napari.yaml``).
    """
    return None if reader.get_reader(path) is None else _read_or_tell


def _read_or_tell(path: PathOrPaths) -> list[LayerDataTuple]:
    """Read for napari: in a window, why something can't be read is told as a sentence.

    Of an exception napari would show the first words, and print hundreds of lines of its own code.
    """
    try:
        return read_layers(path)
    except InputError as error:
        if napari.current_viewer() is None:
            raise
        show_error(_file_first(str(error)))
        return _NO_LAYERS


_SUFFIXES = "|".join(map(re.escape, IMAGE_SUFFIXES))
_FILE_AT_START = re.compile(
    rf"(?P<folder>.+?[/\\])(?P<name>[^/\\]+?(?:{_SUFFIXES}))(?=:? )", re.IGNORECASE
)


def _file_first(text: str) -> str:
    """Begin with the name of a file and what is wrong, and end with the folder that it is in.

    Where there is little room, the beginning is what is read.
    """
    found = _FILE_AT_START.match(text)
    if found is None or not Path(found["folder"]).is_dir():
        return text
    return f"{found['name']}{text[found.end() :]} It is in {Path(found['folder'])}."


def read_layers(path: PathOrPaths) -> list[LayerDataTuple]:
    """Read files and folders as layers, see `napari_phenldiff.viewer.reader.read_layers`.

    What comes alone is put together with what napari opens in the same go, and a file with those of
    its folder that are open already.

    Raises
    ------
    InputError
        If something can't be read.
    """
    viewer = napari.current_viewer()
    if viewer is not None:
        keep_something_shown(viewer)
        tell_names(viewer)
    given = [path] if isinstance(path, (str, Path)) else list(path)
    if len(given) != 1:
        return reader.read_layers(path)
    paths = [Path(fspath(given[0]))]
    kind = _kind(paths[0])
    go = _go_of(paths[0])
    if go is not None:
        if kind in go.done:
            return _NO_LAYERS
        paths = [entry for entry in map(Path, go.entries) if _kind(entry) == kind]
        paths = [entry for entry in paths if reader.get_reader(entry) is not None]
    if go is not None:
        go.done.add(kind)  # also if it fails: once is enough to say why
    return _read_with_folder(paths, viewer) if _is_file(paths[0]) else _read(paths)


def _read(paths: Iterable[Path]) -> list[LayerDataTuple]:
    return reader.read_layers([str(path) for path in paths])


def _read_with_folder(files: list[Path], viewer: Any) -> list[LayerDataTuple]:
    """Read files together with those of their folders that are open, whose layers give way."""
    open_layers = [] if viewer is None else list(viewer.layers)
    before = _open_now(open_layers, {file.parent for file in files})
    known = [file for layers in before.values() for file in _files(layers[0])]
    wanted = list(dict.fromkeys([*known, *files]))
    made = _read(wanted)
    if viewer is not None:
        remove_layers(viewer, [layer for layers in before.values() for layer in layers])
    identity = uuid.uuid4().hex
    for data, arguments, _ in made:
        entry = arguments["metadata"][LAYER_METADATA_KEY]
        if entry.get("role", "real") == "real":
            told = {"identity": identity, "files": [str(file) for file in wanted]}
            entry[_OPENED] = told | {"shape": [int(length) for length in data.shape]}
    _show_alike(made, [layer for layer in open_layers if layer in viewer.layers])
    return made


def _show_alike(made: list[LayerDataTuple], open_layers: Iterable[Layer]) -> None:
    """Show files like those of their folder that stay open, which were opened with the folder.

    Else a difference in contrast would be seen between images of one condition.
    """
    known: dict[tuple[str, str], Any] = {}
    for layer in open_layers:
        if LAYER_METADATA_KEY in layer.metadata:
            info = LayerInfo.of(layer)
            if info.role == "real":
                for folder in {str(Path(path).parent) for path in info.paths if path}:
                    known.setdefault((folder, info.channel), layer)
    for _, arguments, _ in made:
        entry = arguments["metadata"][LAYER_METADATA_KEY]
        folders = {str(Path(path).parent) for path in entry.get("paths", ()) if path}
        like = [known.get((folder, entry.get("channel", ""))) for folder in folders]
        if len(like) == 1 and like[0] is not None:
            arguments["contrast_limits"] = list(like[0].contrast_limits)


def _open_now(layers: Iterable[Layer], folders: set[Path]) -> dict[str, list[Layer]]:
    """Return the layers of files from these folders that nothing has been done with since."""
    found: dict[str, list[Layer]] = {}
    used: set[str] = set()
    layers = list(layers)
    for layer in layers:
        opened = _opened(layer)
        if opened is not None:
            found.setdefault(opened["identity"], []).append(layer)
            if opened.get("shape") != [int(length) for length in layer.data.shape]:
                used.add(opened["identity"])
    real = {str(layer.unique_id): name for name, group in found.items() for layer in group}
    for layer in layers:
        if LAYER_METADATA_KEY in layer.metadata:
            used.add(real.get(LayerInfo.of(layer).real_layer or "", ""))
    return {
        name: group
        for name, group in found.items()
        if name not in used and folders & {file.parent for file in _files(group[0])}
    }


def _opened(layer: Layer) -> dict[str, Any] | None:
    found = (entry_in(layer.metadata) or {}).get(_OPENED)
    if not isinstance(found, dict) or not isinstance(found.get("identity"), str):
        return None
    files = found.get("files")
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        return None
    return found


def _files(layer: Layer) -> list[Path]:
    opened = _opened(layer)
    return [] if opened is None else [Path(file) for file in opened["files"]]


def _go_of(path: Path) -> _Go | None:
    """Return what napari opens in one go, if this path is one of several.

    Nothing but the progress bar tells a reader what comes with the path that it is given.
    """
    for bar in list(getattr(progress, "_all_instances", ())):
        go = _GOES.get(bar)
        if go is None:
            entries = getattr(bar, "iterable", None)
            paths = entries if isinstance(entries, list) and len(entries) > 1 else []
            whole = all(isinstance(entry, (str, Path)) for entry in paths)
            _GOES[bar] = go = _Go(dict.fromkeys(map(fspath, paths)) if whole else {})
        if str(path) in go.entries:
            return go
    return None


def _kind(path: Path) -> str:
    """Return what napari chooses a reader by."""
    return "folder" if path.is_dir() else path.suffix.lower()


def _is_file(path: Path) -> bool:
    return not path.is_dir() and not is_table(path)
