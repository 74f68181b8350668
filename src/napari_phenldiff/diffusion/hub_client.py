"""Talk to a hub: list files, fetch them in pieces, try again, and say in words what went wrong.

huggingface_hub gives addresses, headers, the cache and the exceptions. It deletes what it has of a
file when a download fails, so large files are fetched here, piece by piece, into the place where
huggingface_hub looks for them.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import TypeVar

from napari_phenldiff.diffusion.hub_reference import HubModel, endpoint
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.events import Event, Progress

Result = TypeVar("Result")

_DIGEST = re.compile(r"[0-9a-f]{64}")

_PIECE = 2**24
"""Bytes that are fetched at once; a cut loses at most so many."""

_TRIES = 3
_TRIES_OF_PIECE = 6
_TIMEOUT = 30.0
_PAUSE = 0.5
"""Seconds before something is asked for again; doubled each time."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository: its size in bytes, and the SHA-256 of one that is stored apart."""

    size: int
    sha256: str | None


def listing(model: HubModel) -> tuple[str, dict[str, RemoteFile]]:
    """Return the commit of a model's revision and its files, by name."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(model.name, revision=model.revision, files_metadata=True)
    files = {}
    for found in info.siblings or ():
        digest = "" if found.lfs is None else str(found.lfs.sha256)
        known = digest if _DIGEST.fullmatch(digest) else None
        files[found.rfilename] = RemoteFile(int(found.size or 0), known)
    return str(info.sha), files


def fetch_files(
    model: HubModel, files: Mapping[str, RemoteFile], should_stop: Callable[[], bool]
) -> Generator[Event, None, None]:
    """Fetch files one after the other, in pieces."""
    total = sum(file.size for file in files.values())
    before, start, resumed = 0, time.monotonic(), 0
    for name, file in files.items():
        if file.sha256 is not None:
            for done, had in _fetch_file(model, name, file):
                resumed += had
                seconds = time.monotonic() - start
                new = before + done - resumed
                left = seconds / new * (total - before - done) if new > 0 else None
                yield Progress(
                    round((before + done) / 1e6), round(total / 1e6), name, left, unit="MB"
                )
                if should_stop():
                    raise InputError(
                        f"The download of {model.name} was stopped; the same command goes on "
                        "where it was."
                    )
        # links what is there, and fetches what is not stored apart
        link = small_file(model, name)
        if file.sha256 is not None and not link.is_symlink():
            # a copy was made, where the file system has no links
            with suppress(OSError):
                _blob(model, file).unlink(missing_ok=True)
        before += file.size


def _fetch_file(
    model: HubModel, name: str, file: RemoteFile
) -> Generator[tuple[int, int], None, None]:
    """Fetch a file into the blobs of the cache; yields bytes that are there, and bytes that were.

    huggingface_hub deletes what it has of a file when a download fails, so it is fetched here, into
    the place where huggingface_hub looks for it.
    """
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import WeakFileLock

    blob = _blob(model, file)
    begun = _begun(model, file)
    lock = cache_folder() / ".locks" / blob.parents[1].name / f"{file.sha256}.lock"
    url = hf_hub_url(model.name, name, revision=model.revision)
    for folder in (blob.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            yield file.size, file.size
            return
        had = begun.stat().st_size if begun.exists() else 0
        if had > file.size:
            begun.unlink()
            had = 0
        with begun.open("ab") as opened:
            done = had
            yield done, had
            while done < file.size:
                end = min(done + _PIECE, file.size)
                piece = ask(partial(_piece, url, done, end), tries=_TRIES_OF_PIECE)
                opened.write(piece)
                done = end
                yield done, 0
        if _sha256(begun) != file.sha256:
            begun.unlink()
            raise InputError(
                f"{name} of {model.name} arrived damaged (its SHA-256 is not the one that the hub "
                "names) and was deleted; download it again."
            )
        begun.replace(blob)


def _piece(url: str, start: int, end: int) -> bytes:
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    headers = {
        **build_hf_headers(),
        "Range": f"bytes={start}-{end - 1}",
        "Accept-Encoding": "identity",
    }
    with get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=_TIMEOUT
    ) as answer:
        hf_raise_for_status(answer)
        content = bytearray()
        skipped = start if answer.status_code == 200 else 0  # the range was ignored
        for part in answer.iter_bytes():
            content += part
            if skipped:
                dropped = min(skipped, len(content))
                del content[:dropped]
                skipped -= dropped
            if len(content) >= end - start:
                break
    if len(content) < end - start:
        raise ConnectionError(f"{end - start - len(content):,} bytes are missing")
    return bytes(content[: end - start])


def small_file(model: HubModel, name: str) -> Path:
    """Fetch a file of a few kilobytes, or find one that is in the cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    quiet = are_progress_bars_disabled()
    if not quiet:
        disable_progress_bars()
    try:
        return Path(ask(partial(hf_hub_download, model.name, name, revision=model.revision)))
    finally:
        if not quiet:
            enable_progress_bars()


def ask(question: Callable[[], Result], *, tries: int = _TRIES) -> Result:
    """Ask the hub, again if it was busy or the connection was lost."""
    for attempt in range(tries - 1):
        try:
            return question()
        except Exception as error:
            if _is_offline(error) or not is_unreachable(error):
                raise
        time.sleep(_PAUSE * 2**attempt)
    return question()


def _causes(error: BaseException | None) -> Generator[BaseException, None, None]:
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int | None:
    """Return the status of the hub's answer that an error comes from."""
    for cause in _causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _is_offline(error: BaseException) -> bool:
    """Whether the user has forbidden to use the network."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    return any(isinstance(cause, OfflineModeIsEnabled) for cause in _causes(error))


def is_unreachable(error: BaseException) -> bool:
    """Whether the hub did not answer, or only to say that it cannot now."""
    status = _status(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    return any(
        isinstance(cause, ConnectionError | TimeoutError)
        # of the client's own exceptions, whichever library it uses
        or "TransportError" in {kind.__name__ for kind in type(cause).__mro__}
        for cause in _causes(error)
    )


def in_words(error: Exception, model: HubModel) -> InputError:
    """Return what to do about an error of the hub, in words."""
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    token = (
        f"make a token that may read at {endpoint()}/settings/tokens and set it as HF_TOKEN (or "
        "save it with `hf auth login`)"
    )
    status, what = _status(error), f"The base model {model}"
    if isinstance(error, GatedRepoError):
        if _token() is None:
            return InputError(
                f"{what} is only given to those who accept its licence: log in and accept it at "
                f"{model.address}, {token}, then try again."
            )
        return InputError(
            f"{what} is only given to those who accept its licence, and the account of your token "
            f"has not, or its access has not been granted yet: accept it at {model.address} with "
            "that account, then try again."
        )
    if isinstance(error, RevisionNotFoundError):
        return InputError(
            f"{model.name} has no revision {model.revision}; its branches and commits are listed "
            f"at {model.address}/commits/main."
        )
    if isinstance(error, RepositoryNotFoundError):
        private = (
            "your token may not read it"
            if _token() is not None
            else f"it is private, and needs a token: {token}"
        )
        return InputError(
            f"There is no base model at {model}: it is neither a folder here nor a model at "
            f"{model.address}; check the spelling, unless {private}."
        )
    if _is_offline(error):
        return InputError(
            f"{what} has not been downloaded on this computer, and HF_HUB_OFFLINE forbids to use "
            f"the network: unset it, or run `phenldiff fetch {model}` where there is a network and "
            "copy its cache."
        )
    if status in (401, 403):
        return InputError(
            f"{what} may not be read ({status}): your token is not valid or has too few rights; "
            f"{token}."
        )
    if is_unreachable(error):
        why = f"{status}" if status is not None else type(error.__cause__ or error).__name__
        return InputError(
            f"{what} could not be fetched from the hub {endpoint()} ({why}): the network or the "
            "hub is down; try again, and the download goes on where it was."
        )
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(
            f"{what} could not be written into {cache_folder()} ({error.strerror}); make room "
            "there, or set HF_HOME to a folder on another disk."
        )
    text = (str(error).splitlines() or [""])[0]
    return InputError(
        f"{what} could not be fetched from the hub ({type(error).__name__}: {text}); download it "
        "elsewhere and give its folder."
    )


def check_room(model: HubModel, files: Mapping[str, RemoteFile]) -> None:
    """Raise `InputError` if the disk of the cache has no room for files that are missing."""
    place = cache_folder()
    place.mkdir(parents=True, exist_ok=True)
    begun = (_begun(model, file) for file in files.values() if file.sha256 is not None)
    there = sum(path.stat().st_size for path in begun if path.exists())
    needed, free = sum(file.size for file in files.values()) - there, disk_usage(place).free
    if needed > free:
        raise InputError(
            f"The base model {model.name} needs {size_in_words(needed)}, and the disk of {place} "
            f"has {size_in_words(free)} left: make room there, or set HF_HOME to a folder on "
            "another disk."
        )


def cache_folder() -> Path:
    """Return the folder that models are kept in, which the user can choose by HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser()


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _blob(model: HubModel, file: RemoteFile) -> Path:
    """Return where huggingface_hub keeps the content of a file that is stored apart."""
    repository = f"models--{model.name.replace('/', '--')}"
    return cache_folder() / repository / "blobs" / str(file.sha256)


def _begun(model: HubModel, file: RemoteFile) -> Path:
    """Return where a file is kept while it is not complete."""
    blob = _blob(model, file)
    return blob.with_name(f"{blob.name}.incomplete")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_in_words(number: int) -> str:
    """Return a number of bytes in MB or GB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
