"""Lock files: which process is working in a folder, also after it was killed."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import read_small

HEARTBEAT_SECONDS = 10.0
"""Interval at which the holder touches its lock file."""

SILENCE_SECONDS = 120.0
"""A holder on another machine is taken to be dead after this time without a heartbeat."""

_MOST_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that a lock file names.

    Attributes
    ----------
    pid : int
        Its id, or 0 if the file could not be read (it may be just being written).
    host : str
        The machine it runs on.
    started : float
        When it started, in seconds since the epoch.
    heard : float
        Time of its last heartbeat, in seconds since the epoch.
    token : str
        Unique identifier of this lock.
    namespace : str
        Namespace of its process id: containers on one machine have ids of their own, and may have
        the same host name.
    """

    pid: int
    host: str
    started: float
    heard: float
    token: str
    namespace: str = ""

    @property
    def can_be_looked_up(self) -> bool:
        """Whether its id can be looked up by this process."""
        return self.host == socket.gethostname() and self.namespace in ("", _namespace())

    @property
    def alive(self) -> bool:
        """Whether the process is still running.

        A process on this machine is looked up by its id. Ids are reused, so if the start time
        differs, it only counts as running if the heartbeat is recent. For processes on other
        machines or in other containers only the heartbeat counts.
        """
        heard_lately = abs(time.time() - self.heard) < SILENCE_SECONDS
        if not self.can_be_looked_up:
            return heard_lately
        try:
            process = psutil.Process(self.pid)
            # A dead child that has not been waited for keeps its id.
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            same = abs(process.create_time() - self.started) < 2.0
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True
        return same or heard_lately


def holder(path: Path) -> Holder | None:
    """Return the holder in the lock file `path`, dead or alive; None without a lock."""
    try:
        heard = path.stat().st_mtime
        text = read_small(path, most_bytes=_MOST_BYTES, errors="replace")
    except FileNotFoundError:
        return None
    except ValueError:
        text = ""  # nothing that this package wrote
    try:
        v = json.loads(text)
        return Holder(
            pid=int(v["pid"]),
            host=str(v["host"]),
            started=float(v["started"]),
            heard=heard,
            token=str(v["token"]),
            namespace=str(v.get("namespace", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return Holder(0, "", 0.0, heard, "")


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that this process holds.

    Attributes
    ----------
    path : Path
        The lock file.
    token : str
        Unique identifier in the file.
    what : str
        What the lock protects.
    """

    path: Path
    token: str
    what: str

    def check(self) -> None:
        """Check that this process still holds the lock, before something is written.

        A process without a recent heartbeat, because its machine slept or its clock was set, may
        have been taken for dead.

        Raises
        ------
        InputError
            If another process has taken the lock, or it was removed.
        """
        now = holder(self.path)
        if now is None:
            raise InputError(
                f"{self.path} was removed, alone or with its folder, while {self.what} was in use; "
                "this process ends without writing anything more."
            )
        if now.token != self.token:
            by = f"process {now.pid} on {now.host}" if now.pid else "another one"
            raise InputError(
                f"The lock of {self.what} is no longer held by this process but by {by}, which "
                "took it for dead; this one ends without writing anything more."
            )


@contextmanager
def hold(path: Path, *, what: str) -> Iterator[Held]:
    """Hold the lock file `path` for as long as the context lasts.

    Parameters
    ----------
    path : Path
        The lock file; its folder must exist.
    what : str
        What the lock protects, for the message: "run /data/run1".

    Yields
    ------
    Held
        The lock; call its `check` before each write.

    Raises
    ------
    InputError
        If another process that is still alive holds it.
    """
    found = holder(path)
    if found is not None:
        if found.alive or _heard_again(path, found):
            raise _taken(found, what)
        _remove_stale(path, found, what)
    token = uuid.uuid4().hex
    content = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": psutil.Process().create_time(),
        "token": token,
        "namespace": _namespace(),
    }
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(content))
    except FileExistsError:
        raise _taken(holder(path), what) from None
    except BaseException:
        path.unlink(missing_ok=True)  # an empty file would count as held for a while
        raise

    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):
                os.utime(path)

    heart = threading.Thread(target=beat, name="phenldiff-lock", daemon=True)
    heart.start()
    try:
        yield Held(path, token, what)
    finally:
        done.set()
        heart.join()
        now = holder(path)
        if now is not None and now.token == token:
            path.unlink(missing_ok=True)


def remove_if_dead(path: Path, *, what: str) -> None:
    """Remove a lock whose process is known to be gone, where nothing is to be held.

    Parameters
    ----------
    path, what
        As in `hold`.
    """
    found = holder(path)
    if found is not None and found.can_be_looked_up and not found.alive:
        with suppress(InputError, OSError):  # somebody holds it by now, or it cannot be removed
            _remove_stale(path, found, what)


def _heard_again(path: Path, silent: Holder) -> bool:
    """Wait for a heartbeat of a holder that cannot be looked up.

    The clocks of two machines differ, and a clock may just have been set, which looks like a long
    silence.
    """
    if silent.can_be_looked_up or not silent.pid:
        return False
    until = time.monotonic() + 1.5 * HEARTBEAT_SECONDS
    while time.monotonic() < until:
        time.sleep(HEARTBEAT_SECONDS / 20)
        now = holder(path)
        if now is None:
            return False
        if (now.heard, now.token) != (silent.heard, silent.token):
            return True
    return False


@lru_cache(maxsize=1)
def _namespace() -> str:
    """Return the namespace of process ids; "" if the system has none."""
    found = []
    for name in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        path = Path(name)
        try:
            found.append(str(path.readlink()) if path.is_symlink() else path.read_text().strip())
        except OSError:
            return ""
    return " ".join(found)


def _remove_stale(path: Path, stale: Holder, what: str) -> None:
    """Remove the lock of a dead process, and no other.

    Another process may have found the same stale lock and replaced it in the meantime. Moving the
    file is atomic, so the moved file can be checked and put back if it is a new lock.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    moved = holder(aside)
    if moved is not None and moved.token != stale.token:
        with suppress(OSError):
            aside.rename(path)
        raise _taken(moved, what)
    aside.unlink(missing_ok=True)


def _taken(by: Holder | None, what: str) -> InputError:
    who = f"process {by.pid} on {by.host}" if by is not None and by.pid else "another process"
    return InputError(f"{what} is in use by {who}; stop that one first, or wait until it ends.")
