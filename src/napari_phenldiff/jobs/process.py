"""Start, follow and stop a command of this package in a child process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from napari_phenldiff.jobs.requests import Request, write_request
from napari_phenldiff.runs.contents import LOCK_NAME, LOG_NAME
from napari_phenldiff.runs.events import Event, Failed, Finished, read_events
from napari_phenldiff.runs.lock import holder

_NICE = 10
"""Nice value of low priority on Unix, where 19 is the lowest priority."""

# Exit status of `phenldiff` for bad input; the last line of its output is the reason.
_REFUSED = 2
_PREFIX = "phenldiff: "

# Exit codes after SIGKILL, with which a system ends a large process when memory runs out; the
# second is that of a shell.
_KILLED = (-9, 137)


class ChildProcess:
    """A ``python -m napari_phenldiff ...`` process that outlives the program that started it.

    Use :meth:`start`. The widgets never train in their own process, because a crash of CUDA or a
    lack of memory would end the viewer too, and GPU memory would not be released.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    def start(
        cls,
        args: Sequence[str | os.PathLike[str]],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        reads_stdin: bool = False,
        low_priority: bool = False,
    ) -> ChildProcess:
        """Start a command.

        Parameters
        ----------
        args : sequence of str
            Command and options, for example ``["train", "--resume", run.path]``.
        log : Path
            File that the output of the process is appended to.
        environment : mapping of str, optional
            Environment variables in addition to those of this process.
        reads_stdin : bool
            Whether the process reads lines from its standard input, see `send`, and ends when that
            is closed.
        low_priority : bool
            Whether to run it at low priority, so that the viewer stays responsive if there are
            few cores.
        """
        command = [sys.executable, "-m", "napari_phenldiff", *(os.fspath(arg) for arg in args)]
        fixed = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        log = Path(log)
        # A process group of its own, so that Ctrl-C in the terminal that napari was started from,
        # or closing that terminal, does not end it.
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if reads_stdin else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                creationflags=flags,
                env={**os.environ, **(environment or {}), **fixed},
            )
        if low_priority:
            with suppress(psutil.Error):
                below = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", _NICE)  # on Windows
                psutil.Process(process.pid).nice(below)
        return cls(process, log)

    @classmethod
    def carry_out(
        cls,
        request: Request,
        path: Path,
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        reads_stdin: bool = False,
        low_priority: bool = False,
    ) -> ChildProcess:
        """Write a request down as `path`, and start the process that carries it out.

        The other parameters are those of `start`.
        """
        write_request(path, request)
        return cls.start(
            ["job", path],
            log=log,
            environment=environment,
            reads_stdin=reads_stdin,
            low_priority=low_priority,
        )

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def send(self, line: str) -> bool:
        """Write a line to the standard input of the process; returns False if it has ended.

        Only for a process that was started with `reads_stdin`.
        """
        pipe = self._process.stdin
        if pipe is None or pipe.closed or self.poll() is not None:
            return False
        try:
            pipe.write(line.encode() + b"\n")
            pipe.flush()
        except OSError:
            return False
        return True

    def close_stdin(self) -> None:
        """Close the standard input of the process."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with suppress(OSError):
                pipe.close()

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end and return its exit code.

        Raises
        ------
        TimeoutError
            If the process still runs after `timeout` seconds.
        """
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s") from None

    def terminate(self) -> None:
        """Ask the process to end; a training saves its state first."""
        self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def tail(self, lines: int = 10) -> str:
        """Return the last lines of the output of the process."""
        return tail(self.log, lines)


def tail(log: Path, lines: int = 10) -> str:
    """Return the last `lines` non-empty lines of a file, or "" if there is no file."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    kept = [line for line in text.splitlines() if line.strip()]
    return "\n".join(kept[-lines:])


def follow(
    path: Path,
    process: ChildProcess | None,
    *,
    interval: float = 0.2,
    should_stop: Callable[[], bool] = lambda: False,
    start: int = 0,
) -> Iterator[Event]:
    """Yield events as another process writes them.

    Parameters
    ----------
    path : Path
        The file of events, ``RUN/events.jsonl``, which may not exist yet.
    process : ChildProcess, optional
        The process that writes it. Without one, the holder of the lock next to the file is used,
        so that a run started elsewhere, here or on another machine, can be followed.
    interval : float
        Seconds between two reads.
    should_stop : callable
        Ends the iteration, not the process, when it returns True.
    start : int
        Offset to start at. When resuming a run, pass the offset that ``run.events()`` returned
        before the process was started, because the file still holds the end of the previous one.

    Yields
    ------
    Event
        Up to and including ``Finished`` or ``Failed``. If the process ends without writing either,
        the last event is a ``Failed`` made from its output.
    """
    path = Path(path)
    offset = start
    while not should_stop():
        # Checked before reading, so that everything the process wrote before its end is read.
        gone = _is_gone(path, process)
        events, offset = read_events(path, offset)
        yield from events
        if events and isinstance(events[-1], (Failed, Finished)):
            return
        if gone:
            yield Failed(_last_words(path, process))
            return
        time.sleep(interval)


def _is_gone(path: Path, process: ChildProcess | None) -> bool:
    if process is not None:
        return process.poll() is not None
    found = holder(path.with_name(LOCK_NAME))
    return found is None or not found.alive


def _last_words(path: Path, process: ChildProcess | None) -> str:
    log = process.log if process is not None else path.with_name(LOG_NAME)
    code = process.poll() if process is not None else None
    refusal = tail(log, 1)
    if code == _REFUSED and refusal.startswith(_PREFIX):
        return refusal.removeprefix(_PREFIX)
    said = tail(log)
    if code in _KILLED:
        message = (
            "The background process was ended from outside, most often because the memory of the "
            "computer ran out: use a smaller batch size or end other programs; what was saved "
            "can be resumed."
        )
    else:
        how = "" if code is None else f" (exit code {code})"
        message = f"The process ended without finishing{how}; what was saved can be resumed."
    return f"{message} Its last words:\n{said}" if said else message
