"""Places: whether there is something, and what speaks against writing there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from napari_phenldiff.errors import InputError

_LONGEST_NAME = 255
"""Bytes of a name, where the file system does not say how many it takes."""

_LONGEST_PATH = 3800
"""Bytes of a path: systems take 4,096 or more, and there are files in the folder."""

_LONGEST_SHOWN = 60
"""Characters of a name that are shown where it is too long."""


def is_there(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a file or folder, also of a name that no system takes.

    `Path.exists` raises for a name that is too long, which somebody may have written into a file.
    """
    return os.path.exists(path)  # noqa: PTH110


def is_regular_file(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a regular file, and no device or pipe; of any name, as `is_there`."""
    return os.path.isfile(path)  # noqa: PTH113


def why_no_folder(path: str | os.PathLike[str]) -> str | None:
    """Return why a folder cannot be made, None if nothing speaks against it.

    Only looks; making it may still fail, for example where the disk is full.

    Parameters
    ----------
    path : path-like
        The folder; it may exist, and its parents need not.
    """
    path = Path(path).absolute()
    for place in (path, *path.parents):
        try:
            found = place.stat()
        except PermissionError:
            continue  # the folder above it tells
        except (OSError, ValueError) as error:
            why = _why_not_there(place, error)
            if why is not None:
                return why
            continue
        if not stat.S_ISDIR(found.st_mode):
            return f"{place} is a file, so no folder can be made there; name another one."
        if not os.access(place, os.W_OK | os.X_OK):
            return f"There is no permission to write in {place}; name a folder in another place."
        return _why_too_long(path, place)
    return f"There is no {path.anchor or path}, so no folder can be made there; name another one."


def check_unused_folder(path: Path) -> None:
    """Refuse a folder with something in it, and a file.

    Raises
    ------
    InputError
        Naming which of the two it is.
    """
    kind = ""
    with suppress(OSError):  # which making the folder tells
        if path.is_dir():
            kind = "exists and is not empty" if any(path.iterdir()) else ""
        elif path.exists():
            kind = "is a file"
    if kind:
        raise InputError(f"{path} {kind}; name a new folder for the output.")


def why_no_file(path: str | os.PathLike[str], *endings: str) -> str | None:
    """Return why a file cannot be written, None if nothing speaks against it.

    Only looks, as `why_no_folder` does.

    Parameters
    ----------
    path : path-like
        The file; it is replaced if it exists, and its folders are made if they do not.
    *endings : str
        What its name without suffix ends with in the names of files that are written beside it.
    """
    path = Path(path).absolute()
    with suppress(OSError, ValueError):
        if path.is_dir():
            return f"{path} is a folder; name the file to write in it."
    why = why_no_folder(path.parent)
    if why is not None:
        return why
    named = [path, *(path.with_name(f"{path.stem}{ending}") for ending in endings)]
    longest = max(named, key=lambda one: len(os.fsencode(one.name)))
    return _why_too_long(longest, path.parent)


def check_output_file(path: str | os.PathLike[str], *endings: str) -> None:
    """Refuse a file that cannot be written; parameters as in `why_no_file`.

    Raises
    ------
    InputError
        With the reason.
    """
    why = why_no_file(path, *endings)
    if why is not None:
        raise InputError(why)


def check_nothing_is_lost(path: str | os.PathLike[str], what: str) -> None:
    """Refuse a file that exists, of which nothing tells that an earlier command made it.

    Parameters
    ----------
    path : path-like
        The file to write.
    what : str
        What will be written, for example ``the table``.

    Raises
    ------
    InputError
        If there is a file that is not empty, a folder or a link.
    """
    if os.path.lexists(path) and not _is_empty_file(Path(path)):
        raise InputError(
            f"{path} exists, and nothing beside it tells that it is from an earlier measurement; "
            f"name a new file for {what}, so that this one is not lost."
        )


def _is_empty_file(path: Path) -> bool:
    """Whether a file was only made, as workflow systems do before the command that fills it."""
    with suppress(OSError, ValueError):
        return not path.is_symlink() and path.is_file() and path.stat().st_size == 0
    return False


def check_apart(written: Mapping[str, Path]) -> None:
    """Refuse files to write of which one would take the place of another.

    Parameters
    ----------
    written : mapping of str to pathlib.Path
        By what they are, for example ``the table``, the files.

    Raises
    ------
    InputError
        If two are the same file.
    """
    seen: dict[object, str] = {}
    for what, path in written.items():
        places = [os.path.normcase(os.path.realpath(path)), _identity(path)]
        for place in filter(None, places):
            if place in seen:
                raise InputError(
                    f"{path} would be written as {seen[place]} and again as {what}; name another "
                    "file for one of them."
                )
        seen.update(dict.fromkeys(places, what))


def check_not_read(written: Mapping[str, Path], read: Iterable[Path]) -> None:
    """Refuse files to write that are read as well, and would be lost.

    Parameters
    ----------
    written : mapping of str to pathlib.Path
        By what they are, for example ``the table``, the files.
    read : iterable of pathlib.Path
        Files that are read. It is not gone through if there is none of the files to write yet.

    Raises
    ------
    InputError
        If a file to write is one of them.
    """
    there = {_identity(path): (what, path) for what, path in written.items()}
    there.pop(None, None)
    for one in read if there else ():
        found = there.get(_identity(one))
        if found is not None:
            what, path = found
            raise InputError(
                f"{path} is one of the files that are read; name another one for {what}, so that "
                "it is not lost."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what all names of a file have in common, None if there is no file."""
    with suppress(OSError, ValueError):
        found = path.stat()
        # network drives of Windows may know no numbers of files
        if not stat.S_ISDIR(found.st_mode) and found.st_ino:
            return found.st_dev, found.st_ino
    return None


def _why_not_there(place: Path, error: OSError | ValueError) -> str | None:
    """Return what the error tells of a place, None if it only is not there yet."""
    if isinstance(error, ValueError):
        return f"The folder {_shown(place.name)} cannot be made ({error}); name another one."
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        if not place.is_symlink():
            return None
        return f"{place} is a link that leads nowhere; name another place."
    if error.errno == errno.ELOOP:
        # Of a path through the loop, the link is what is to be named.
        return None if not place.is_symlink() else f"{place} is a link to itself; name another one."
    if error.errno == errno.ENAMETOOLONG:
        return None  # which name it is, is told at the end
    return f"{_shown(place.name)} cannot be made ({error.strerror}); choose another place."


def _why_too_long(path: Path, existing: Path) -> str | None:
    """Return which name the file system does not take."""
    longest = _LONGEST_NAME
    home = existing
    while not home.exists():
        home = home.parent
    if hasattr(os, "pathconf"):
        with suppress(OSError, ValueError):
            longest = os.pathconf(home, "PC_NAME_MAX")
    whole = len(os.fsencode(path))
    if whole > _LONGEST_PATH:
        return f"The path is too long ({whole} bytes, begins with {_shown(str(path))}); shorten it."
    for name in path.relative_to(home).parts:
        size = len(os.fsencode(name))
        if size > longest:
            return (
                f"The name {_shown(name)} is too long ({size} bytes, and {longest} are possible "
                f"in {home}); choose a shorter one."
            )
    return None


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…"
