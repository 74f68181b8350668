"""Explain errors to the user."""

from __future__ import annotations

import errno
import os
import re

from napari_phenldiff.errors import InputError, LostProcess

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

_NO_PLACE = {
    *(errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.EEXIST, errno.ENOTEMPTY),
}
"""Where nothing can be written, whatever is done about it there."""

_LOOP = "Symlink loop from "

_CANNOT_WRITE = re.compile(
    # torch, at a full disk and where it closes the file after that
    r"failed writing file|inline_container\.cc.*unexpected pos \d+ vs \d+"
    # safetensors
    r"|I/O error: .*\(os error (" + "|".join(str(number) for number in sorted(_DISK_FULL)) + r")\)",
    re.S,
)
"""How libraries that raise no OSError tell of a full disk."""

_TOO_SHORT = re.compile(r"\d+ requested and \d+ written")


def explain(error: BaseException) -> str:
    """Return a sentence that explains `error` and, if possible, what to do."""
    if isinstance(error, InputError | LostProcess):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "There is not enough memory for images of this size: end other programs and try again, "
            "or give smaller images, or save them in pieces."
        )
    if is_out_of_memory(error):
        return (
            "There is not enough memory: use a smaller batch size (--batch-size), or the CPU if "
            "the GPU's memory is too small (--device cpu), or end other programs and try again."
        )
    if isinstance(error, OSError) and _is_disk_full(error):
        where = f" while writing {_name(error)}" if error.filename else ""
        return f"The disk is full or a size limit was reached{where}: make room and try again."
    if isinstance(error, PermissionError):
        return f"{_name(error)}: no permission to read or write there; choose another place."
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return f"{_name(error)} {_what_of_a_place(error.errno, error.strerror or str(error))}"
    if _CANNOT_WRITE.search(str(error)):
        return "The disk is full or a size limit was reached: make room and try again."
    if isinstance(error, RuntimeError) and str(error).startswith(_LOOP):  # pathlib's
        return f"{str(error).removeprefix(_LOOP)} is a link to itself; name another place."
    return f"Unexpected failure: {type(error).__name__}: {error}"


def is_expected(error: BaseException) -> bool:
    """Whether `error` is explained well enough without a traceback."""
    return not explain(error).startswith("Unexpected")


def _what_of_a_place(number: int, why: str) -> str:
    """Return what is the matter with a file or folder, and what to do."""
    if number in _NO_PLACE:
        return f"cannot be written ({why}); choose another place."
    if number == errno.ENOENT:
        return "is not there, or was removed meanwhile; check the place and try again."
    return f"cannot be read or written ({why}); check the disk, or choose another place."


def _name(error: OSError) -> str:
    """Return the file of an error, as text whatever bytes its name has."""
    return os.fsdecode(error.filename) if isinstance(error.filename, bytes) else str(error.filename)


def _is_disk_full(error: OSError) -> bool:
    # numpy sets no errno, but says "16384 requested and 4096 written".
    return error.errno in _DISK_FULL or bool(_TOO_SHORT.match("".join(map(str, error.args[:1]))))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or not; torch's errors are recognised by their name."""
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text
    )
