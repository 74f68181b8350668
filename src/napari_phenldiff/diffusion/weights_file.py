"""Open a safetensors file that anybody may have made, and tell in one wording why it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from napari_phenldiff.errors import InputError


@contextmanager
def open_weights(path: Path, what: str, instead: str = "convert it first") -> Iterator[Any]:
    """Open a safetensors file.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What it is, with its name; the subject of messages.
    instead : str
        What to do about a file of another format.

    Yields
    ------
    safetensors.safe_open
        The file, whose tensors are torch's. What is read of it belongs into the context.

    Raises
    ------
    InputError
        If it is of another format, or damaged.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            f"{what} is no safetensors file: other formats can run code and are not read, so "
            f"{instead}."
        )
    try:
        with safe_open(str(path), framework="pt") as opened:
            yield opened
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{what} cannot be read ({type(error).__name__}: {error}); download or copy it again."
        ) from error
