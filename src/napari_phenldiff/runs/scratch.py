"""Folders for files that are needed for a while, and deleted even if their process was killed.

Such a folder lies where the system keeps temporary files. Each process that uses it holds a lock on
a file in it, which the system lets go with the process, however that ends; the next folder that is
made removes those that nobody holds any more.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "phenldiff-"
_IN_USE = "in-use-"
_NEW = 60.0
"""Seconds during which a folder without a lock is left alone: whoever made it will hold one."""
_TAKEN = 5.0
"""Seconds from making the file of a lock to holding it, at most."""

_held: dict[Path, FileLock] = {}


def make_scratch(what: str) -> Path:
    """Make an empty folder, and remove those that killed processes have left.

    Parameters
    ----------
    what : str
        What it is for, a word: part of its name.

    Returns
    -------
    Path
        For `remove_scratch`.
    """
    remove_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{what}-"))
    _hold(folder)
    return folder


def join_scratch(folder: Path) -> None:
    """Keep the folder of another process, which may end before this one; others are left alone."""
    if any(folder.glob(f"{_IN_USE}*")):
        _hold(folder)


def _hold(folder: Path) -> None:
    lock = FileLock(folder / f"{_IN_USE}{os.getpid()}", thread_local=False)
    try:
        lock.acquire(timeout=10)
    except (NotImplementedError, OSError):
        return  # a file system without locks: the folder stays if this process is killed
    _held[folder] = lock


def remove_scratch(folder: Path) -> None:
    """Delete a folder with all that is in it, as far as the system allows."""
    lock = _held.pop(folder, None)
    if lock is not None:
        lock.release()
    shutil.rmtree(folder, ignore_errors=True)


def remove_own_scratch() -> None:
    """Delete all folders of this process, for an end after which nothing else is done."""
    for folder in list(_held):
        remove_scratch(folder)


@contextmanager
def scratch(what: str) -> Iterator[Path]:
    """Give an empty folder, see `make_scratch`, and delete it afterwards."""
    folder = make_scratch(what)
    try:
        yield folder
    finally:
        remove_scratch(folder)


def remove_abandoned() -> None:
    """Remove the folders that no process holds any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        try:
            if _is_ours(folder.lstat()) and not _is_held(folder):
                shutil.rmtree(folder, ignore_errors=True)
        except (NotImplementedError, OSError):
            continue  # without locks, or gone meanwhile


def _is_ours(told: os.stat_result) -> bool:
    """Tell whether a path is a folder of this user.

    Others may put what they like where temporary files are: a link, say, to a file to be emptied.
    """
    own = not hasattr(os, "getuid") or told.st_uid == os.getuid()
    return own and stat.S_ISDIR(told.st_mode)


def _is_held(folder: Path) -> bool:
    """Tell whether somebody holds a folder, or is about to; what was not made here counts as held.

    How long ago a lock was made counts, not how long ago the folder was changed: one that was in
    use a moment ago is nobody's as soon as its process has gone.
    """
    files = list(folder.glob(f"{_IN_USE}*"))
    if not files:
        return _is_younger(folder, _NEW) or any(folder.iterdir())
    return not all(map(_is_free, files))


def _is_younger(path: Path, seconds: float) -> bool:
    return time.time() - path.lstat().st_mtime <= seconds


def _is_free(file: Path) -> bool:
    if _is_younger(file, _TAKEN):
        return False
    try:
        with FileLock(file, timeout=0, thread_local=False):
            return True
    except Timeout:
        return False
