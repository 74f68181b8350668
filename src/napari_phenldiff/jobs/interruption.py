"""Ctrl-C and SIGTERM as a flag that is set, so that work can be saved before it ends."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Interruption:
    """While this context lasts, the first Ctrl-C or SIGTERM only sets a flag.

    A second one ends the process the usual way, for whoever cannot wait. Works in the main thread
    only, as signals do.

    Parameters
    ----------
    message : str
        What is said when it is set; empty for nothing.

    Attributes
    ----------
    signum : int or None
        The signal that came.
    """

    def __init__(self, message: str) -> None:
        self.signum: int | None = None
        self._message = message
        self._before: dict[int, Any] = {}

    def __bool__(self) -> bool:
        """Whether a signal came."""
        return self.signum is not None

    @property
    def exit_code(self) -> int:
        """What the process shall end with: 0, or 128 + signal, as shells do."""
        return 0 if self.signum is None else 128 + self.signum

    def __enter__(self) -> Interruption:
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            # A signal that is ignored (nohup) stays ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            raise KeyboardInterrupt if signum == signal.SIGINT else Ended(signum)
        self.signum = signum
        if self._message:
            with suppress(OSError, ValueError):  # of a terminal that is gone
                sys.stderr.write(f"\n{self._message}\n")


class Ended(KeyboardInterrupt):
    """The process was asked to end, by SIGTERM or because its terminal was closed.

    It is raised where the work is, so that what is half written is removed on the way out.

    Attributes
    ----------
    signum : int
        The signal that came.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """Exit code of a process that ended on this signal."""
        return 128 + self.signum


def end_cleanly_on_signals() -> None:
    """Let SIGTERM and SIGHUP raise `Ended`, for a process whose main thread this is.

    An `Interruption` takes precedence while it lasts. A signal that is ignored (nohup) stays
    ignored.
    """
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(signum: int, frame: FrameType | None) -> None:
    # The second one ends the process the usual way, for whoever cannot wait.
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_DFL)
    raise Ended(signum)
