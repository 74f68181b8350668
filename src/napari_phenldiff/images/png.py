"""PNG: grey values of 8 and 16 bit, and colours."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import without_equal_colors, without_opaque_alpha
from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.images.image import Image, as_storable
from napari_phenldiff.images.integrity import check_fits
from napari_phenldiff.images.naming import color_names, default_channel_names
from napari_phenldiff.images.peek import Peek

_END_OF_HEADER = 26
"""Where the size, the bits and the kind of colour end."""

_SAMPLES = {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}
"""By the kind of colour: grey, colours, a palette (of which colours are read), each with alpha."""


def is_png(path: Path) -> bool:
    """Whether a file is called like a PNG."""
    return path.suffix.lower() == ".png"


def read_png(path: Path) -> Image:
    """Read a PNG; an opaque alpha is left out, and three equal colours are one channel.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    data = read_pixels(path)
    fields = data[np.newaxis, np.newaxis]
    if data.ndim == 3:
        fields = without_opaque_alpha(np.moveaxis(data, -1, 0)[np.newaxis])
        fields = without_equal_colors(fields)
    channels = np.ascontiguousarray(as_storable(fields[0]))
    n = len(channels)
    names = color_names(n) if n > 1 else default_channel_names(n)
    return Image(channels, names, None, path.stem)


def peek_png(path: Path) -> Peek | None:
    """Look at a PNG; None if it cannot be read."""
    try:
        image = read_png(path)
    except InputError:
        return None
    return Peek(image.channel_names, image.shape, str(image.data.dtype), 1, 1)


def _check_claim(contents: bytes) -> None:
    """Refuse a PNG that claims more pixels than the memory holds."""
    if contents[12:16] == b"IHDR" and len(contents) >= _END_OF_HEADER:
        width, height, bits, kind = struct.unpack(">IIBB", contents[16:_END_OF_HEADER])
        samples = _SAMPLES.get(kind, 1)
        check_fits((height, width, samples), np.dtype(np.uint16 if bits == 16 else np.uint8))


def read_pixels(path: Path) -> np.ndarray:
    """Read the numbers of a PNG as they are stored: (Y, X), or (Y, X, S) in colours.

    Raises
    ------
    InputError
        If the file is missing or damaged.
    """
    from imagecodecs import png_decode

    if not path.exists():
        raise InputError(f"{path} does not exist: check the name.")
    if not is_regular_file(path):
        raise InputError(f"{path} is no file, but a device or a pipe: name a PNG.")
    try:
        contents = path.read_bytes()
        _check_claim(contents)
        return np.asarray(png_decode(contents))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    # A damaged file fails in any part of the decoder, with any kind of error.
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as a PNG ({' '.join(str(error).split())[:160]}): check that "
            "the file is complete."
        ) from error
