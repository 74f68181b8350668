"""Explain errors to the user."""

from __future__ import annotations

import errno
import re

from napari_phenldiff.errors import InputError

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

_NO_PLACE = {errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
"""Where nothing can be written, whatever is done about it there."""

_TOO_SHORT = re.compile(r"\d+ requested and \d+ written")


def explain(error: BaseException) -> str:
    """Return a sentence that explains `error` and, if possible, what to do."""
    if isinstance(error, InputError):
        return str(error)
    if is_out_of_memory(error):
        return (
            "There is not enough memory: use a smaller batch size (--batch-size), or the CPU if "
            "the GPU's memory is too small (--device cpu), or end other programs and try again."
        )
    if isinstance(error, OSError) and _is_disk_full(error):
        where = f" while writing {error.filename}" if error.filename else ""
        return (
            f"The disk is full or a size limit was reached{where}: make room and try again; what "
            "was saved before can be resumed."
        )
    if isinstance(error, PermissionError):
        return f"{error.filename}: no permission to read or write there; choose another place."
    if isinstance(error, OSError) and error.errno in _NO_PLACE and error.filename:
        return f"{error.filename} cannot be written ({error.strerror}); choose another place."
    return f"Unexpected failure: {type(error).__name__}: {error}"


def is_expected(error: BaseException) -> bool:
    """Whether `error` is explained well enough without a traceback."""
    return not explain(error).startswith("Unexpected")


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
