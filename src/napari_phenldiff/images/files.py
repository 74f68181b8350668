"""Files that are whole or absent, and fingerprints of what is in them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

_TOO_SHORT = re.compile(r"\d+ requested and \d+ written")
"""How numpy tells of a full disk: without the number of the error."""


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
    # The suffix stays, since some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
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
        Hidden folder beside it, empty: fill it. If the block raises, it is removed.
    """
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    aside.mkdir()
    try:
        yield aside
        if path.exists():
            path.rmdir()
        aside.rename(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


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
