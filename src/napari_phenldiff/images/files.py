"""Files that are whole or absent, and fingerprints of what is in them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np

from napari_phenldiff.images.destinations import check_unused_folder

_TOO_SHORT = re.compile(r"\d+ requested and \d+ written")
"""How numpy tells of a full disk: without the number of the error."""


def read_small(path: str | os.PathLike[str], *, most_bytes: int, errors: str = "strict") -> str:
    """Read a text file that may come from anyone: opening a pipe would wait for ever.

    Parameters
    ----------
    path : path-like
    most_bytes : int
        No such file is larger.
    errors : str
        What becomes of bytes that are no text, as for `open`.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no regular file, is larger, or is no text.
    """
    path = Path(path)
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a regular file")
    if found.st_size > most_bytes:
        raise ValueError(f"it has {found.st_size:,} bytes")
    return path.read_text(encoding="utf-8", errors=errors)


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Append a line to a file in a single unbuffered write.

    The line is in the file even if the process is killed right after this call. If an earlier
    writer was killed in the middle of a line, that line is ended first, so that only that one is
    lost.
    """
    with Path(path).open("ab+", buffering=0) as file:
        data = line.encode() + b"\n"
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                data = b"\n" + data
        file.write(data)


@contextmanager
def write_atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under a temporary name and give it its own name when it is complete.

    Whoever looks at `path` sees the old file, or none, or the complete new one. If the block
    raises, the temporary file is removed and the old one stays.

    Parameters
    ----------
    path : path-like
        File to write. Missing parent folders are made.

    Yields
    ------
    pathlib.Path
        Hidden name in the same folder with the same suffix, not existing yet: write to it and
        close it.

    Examples
    --------
    >>> with write_atomic("table.csv") as temporary:
    ...     temporary.write_text("a,b")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(path.parent.absolute())
    # The suffix stays, since some writers choose their format by it.
    temporary = path.with_name(f"{_hidden(path.stem)}{_token()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        # Whoever reads of a full disk looks for the file, and not for its hidden name or for none.
        # An error without a number has a message of its own, which a name would hide.
        if error.errno is None and _TOO_SHORT.search(str(error)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def make_folder_atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a new folder under a temporary name and give it its own name when it is complete.

    Parameters
    ----------
    path : path-like
        Folder to make, which does not exist or is empty. Missing parent folders are made.

    Yields
    ------
    pathlib.Path
        Hidden folder beside it, to be filled. If the block raises, it is removed.

    Raises
    ------
    InputError
        If another process has filled the folder meanwhile.
    """
    path = Path(os.path.realpath(path))  # which does not fail in a loop of links
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(path.parent.absolute())
    aside = path.with_name(f"{_hidden(path.name)}{_token()}.tmp")
    try:
        aside.mkdir()
        # Writers of files make folders that are missing, and so would hide that it was removed.
        (aside / _UNFINISHED).touch()
        yield aside
        (aside / _UNFINISHED).unlink()
        try:
            if path.exists():
                path.rmdir()
            aside.rename(path)
        except OSError:
            check_unused_folder(path)
            raise
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is not None:
            place = os.fspath(error.filename)
            if isinstance(place, str):
                place = place.replace(str(aside), str(path))
                error.filename = place.removesuffix(f"{os.sep}{_UNFINISHED}")
        raise


@contextmanager
def scratch_folder(
    parent: str | os.PathLike[str] | None = None, name: str = "phenldiff"
) -> Iterator[Path]:
    """Make a hidden folder for files that nobody needs afterwards.

    It is removed at the end of the context; if the process is killed, by the next one that makes a
    folder or writes a file there.

    Parameters
    ----------
    parent : path-like, optional
        Where, in a folder that exists; by default in that of the system for temporary files.
    name : str
        What its name begins with.

    Yields
    ------
    pathlib.Path
        The folder, empty.
    """
    home = Path(tempfile.gettempdir() if parent is None else parent).absolute()
    _remove_leftovers_once(home)
    folder = home / f"{_hidden(name)}{_token()}.tmp"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove files and folders that killed processes of this package have not completed.

    What a process writes that is still running, on whatever machine, stays: its temporary names
    say which process it is, and where that cannot be looked up, they must be old.

    Parameters
    ----------
    folder : path-like
        Where they lie; not the folders in it.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _TEMPORARY.fullmatch(entry.name)
            if found is None or not _is_abandoned(entry, found):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    Path(entry.path).unlink()


@lru_cache(maxsize=4096)
def _remove_leftovers_once(folder: Path) -> None:
    """Look for leftovers when a process writes into a folder for the first time."""
    remove_leftovers(folder)


_TEMPORARY = re.compile(
    r"\..+\.(?P<machine>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{8}\.(part(\.[^.]*)?|tmp)", re.S
)
_OLD_SECONDS = 24 * 3600.0
_UNFINISHED = ".unfinished"
"""File in a folder that is being filled."""

_LONGEST = 60
"""Bytes of a name that its temporary name begins with; file systems take 255 in all."""


def _hidden(name: str) -> str:
    """Return how temporary names of a file begin, which are not longer for a long one."""
    data = os.fsencode(name)
    if len(data) <= _LONGEST:
        return f".{name}."
    return f".{hashlib.sha256(data).hexdigest()[:16]}."


def _token() -> str:
    return f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"


def _is_abandoned(entry: os.DirEntry[str], found: re.Match[str]) -> bool:
    if found["machine"] == _machine():
        import psutil  # type: ignore[import-untyped]

        return not psutil.pid_exists(int(found["pid"]))
    try:
        return time.time() - entry.stat(follow_symlinks=False).st_mtime > _OLD_SECONDS
    except OSError:
        return False


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return what tells a set of process ids: the machine since it was started, or a container."""
    parts = [socket.gethostname()]
    for name in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            place = Path(name)
            parts.append(str(place.readlink()) if place.is_symlink() else place.read_text())
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:6]


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_array(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and values, as 64 hexadecimal digits.

    Byte order and memory layout make no difference.

    Parameters
    ----------
    array : numpy.ndarray
        Any shape, any numeric dtype.
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{little.dtype.str}{little.shape}".encode())
    digest.update(little.data)
    return digest.hexdigest()
