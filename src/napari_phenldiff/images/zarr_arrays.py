"""Arrays of Zarr that are numbers, packed in ways that run no code, and within their folder."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.integrity import check_fits
from napari_phenldiff.images.naming import quoted

_SMALL_CHUNK = 2**28
_MUCH_LARGER = 4
"""A chunk of more bytes than the first that is so many times larger than its array is refused."""

_CODECS = {
    *("adler32", "astype", "bitround", "blosc", "bytes", "bz2", "crc32", "crc32c", "delta"),
    *("endian", "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "lz4", "lzma"),
    *("packbits", "quantize", "sharding_indexed", "shuffle", "transpose", "zlib", "zstd"),
}
"""What numbers may be packed with. Others, such as pickle, run code that lies in the file."""

_CODECS_TO_INSTALL = {"pcodec", "zfpy"}
"""Such as need a package of their name."""

_OF_IMAGECODECS = "imagecodecs_"
"""What the names of its codecs begin with: all of them pack numbers."""


def open_group(path: Path) -> Any:
    """Open a group, from a folder alone.

    Raises
    ------
    InputError
        If the library is not installed. What it raises is raised here.
    """
    try:
        import zarr
        from zarr.storage import LocalStore
    except ImportError as error:  # it may have been left out of a frozen application
        missing = (error.name or "zarr").partition(".")[0]  # zarr, or what that needs itself
        raise InputError(
            f"It is an OME-Zarr, which needs the package {missing}: pip install {missing}."
        ) from error
    # Of a text, zarr would take "::" for the parts of an address.
    return zarr.open_group(LocalStore(path, read_only=True), mode="r")


def path_within(folder: Path, told: Any) -> str:
    """Return the path of a part of a folder, as zarr takes it: "/0" is not the root of the disk.

    Raises
    ------
    InputError
        If it leads out of the folder.
    """
    parts = [part for part in str(told).replace("\\", "/").split("/") if part not in ("", ".")]
    if ".." in parts or not folder.joinpath(*parts).is_relative_to(folder):
        raise InputError(
            f"It names {told} as a part of it, which is not within its folder: copy it again, with "
            "all its parts in it."
        )
    return "/".join(parts)


def check_values(array: Any) -> None:
    """Refuse an array of anything but numbers, or packed in a way that may run code."""
    if array.dtype.kind not in "buif":
        raise InputError(f"It holds {array.dtype} values where an image has numbers.")
    # From the metadata: unpacking a single chunk would be too late.
    _check_codecs(_codecs_told(array.metadata.to_dict()))


def open_array(group: Any, folder: Path, place: str) -> Any:
    """Open an array; tell what it is packed with if it is that which the library does not know."""
    try:
        return group[place]
    except Exception:
        codecs = _codecs_in(folder / place)
        _check_codecs(codecs)
        if any(name.startswith(_OF_IMAGECODECS) for name in codecs):
            from imagecodecs.numcodecs import register_codecs

            register_codecs(verbose=False)
    try:
        return group[place]
    except ValueError as error:
        others = sorted(codecs & _CODECS_TO_INSTALL)
        others += sorted(name for name in codecs if name.startswith(_OF_IMAGECODECS))
        if not others or "codec" not in str(error).lower():
            raise
        raise InputError(
            f"It is packed with {quoted(others)}, which cannot be unpacked here: install what "
            "does that, or save it with blosc, zstd or zlib."
        ) from error


def _codecs_in(folder: Path) -> set[str]:
    """Names of the codecs of an array by the file that tells of it; none if it tells nothing."""
    return _codecs_told(told_of_array(folder))


def told_of_array(folder: Path) -> Mapping[str, Any]:
    """Read the file that tells of an array, without opening it; empty if it tells nothing."""
    for name in (".zarray", "zarr.json"):
        try:
            told = json.loads((folder / name).read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(told, Mapping):
            return told
    return {}


def _codecs_told(metadata: Mapping[str, Any]) -> set[str]:
    several = [*(metadata.get("filters") or ()), *(metadata.get("codecs") or ())]
    return set(_names_of_codecs([*several, metadata.get("compressor")]))


def _check_codecs(names: Collection[str]) -> None:
    """Refuse codecs that may run code."""
    unknown = sorted(
        name
        for name in names
        if name not in _CODECS | _CODECS_TO_INSTALL and not name.startswith(_OF_IMAGECODECS)
    )
    if unknown:
        raise InputError(
            f"It is packed with {quoted(unknown)}, which is not read, since some ways of packing "
            "run code: save it with blosc, zstd or zlib."
        )


def check_chunk(array: Any) -> None:
    """Refuse an array whose chunks do not fit into memory, or are far larger than itself.

    A chunk is unpacked as a whole, whatever is read of it.
    """
    check_fits(array.chunks, array.dtype)
    chunk = math.prod(array.shards or array.chunks) * array.dtype.itemsize
    if chunk > max(_MUCH_LARGER * array.nbytes, _SMALL_CHUNK):
        raise InputError(
            f"A chunk of it takes {chunk / 2**20:,.0f} MiB, but all of it only "
            f"{array.nbytes / 2**20:,.1f} MiB: it is damaged, or must be saved in smaller chunks."
        )


def _names_of_codecs(codecs: Iterable[Any]) -> Iterator[str]:
    """Names of codecs, and of those within them, as either version of Zarr tells them."""
    for codec in codecs:
        if codec is None:
            continue
        if not isinstance(codec, Mapping):  # older versions of the library have made it already
            yield str(getattr(codec, "codec_id", type(codec).__name__))
            continue
        yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
        settings = codec.get("configuration")
        if isinstance(settings, Mapping):
            for inner in ("codecs", "index_codecs"):
                yield from _names_of_codecs(settings.get(inner) or ())
