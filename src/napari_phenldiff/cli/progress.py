"""Events of a run, told to somebody at a terminal or to a log."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Any

from napari_phenldiff.images.naming import count, visible
from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Loading,
    Noted,
    Progress,
    Started,
    Step,
    Warned,
)

SECONDS_BETWEEN_LINES = 10.0


def say(line: str) -> None:
    """Write a line to standard output, at once, if it can be written.

    What nobody can read ends no computation: the reader may be gone, or the disk full.
    """
    try:
        sys.stdout.write(f"{visible(line)}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except (OSError, ValueError) as error:
        _complain_once(f"standard output cannot be written ({_why(error)}); the work goes on")


def complain(text: str) -> None:
    """Write what is wrong to standard error, at once, if it can be written."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"phenldiff: {visible(text)}\n")
        sys.stderr.flush()


@lru_cache(maxsize=1)
def _complain_once(text: str) -> None:
    complain(text)


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def duration(seconds: float) -> str:
    """Return a time span in words: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Reporter:
    """Show events as a progress bar on a terminal, as a line now and then elsewhere.

    Use it as a context and call it with each event.
    """

    def __init__(self) -> None:
        self._bar: Any = None
        self._what = ""
        self._trained = False
        self._last_line = -SECONDS_BETWEEN_LINES

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def __call__(self, event: Event) -> None:
        """Show one event. Failures are left to whoever ends the command."""
        match event:
            case Loading(message):
                self._write(f"{message} ...")
            case Noted(message):
                self._write(f"{message.removesuffix('.')}.")
            case Started(device, _, precision):
                self._write(f"Training on {device} in {precision}.")
            case Warned(message):
                self._write(f"warning: {message}")
            case Step(step, total, loss, left):
                self._trained = True
                self._advance("step", step, total, f"loss {loss:.4f}", left)
            case Progress(done, total, message, left, unit, part):
                self._advance(unit, done, total, message, left, part)
            case Finished(step, stopped):
                self._close()
                how = "Stopped" if stopped else "Finished"
                # What comes after the last step, such as trials of a guidance, is not counted.
                what = "step" if self._trained else self._what
                say(f"{how} after {count(step, what)}." if what else f"{how}.")
            case Failed():
                self._close()

    def _write(self, line: str) -> None:
        if self._bar is None:
            say(line)
        else:
            with suppress(OSError, ValueError):
                self._bar.write(visible(line))

    def _close(self) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()
            self._bar = None

    def _advance(
        self, what: str, done: int, total: int, note: str, left: float | None, part: float = 0.0
    ) -> None:
        if what != self._what:
            self._close()
        self._what = what
        remaining = "" if left is None else f"{duration(left)} left"
        if sys.stdout.isatty():
            with suppress(OSError, ValueError):
                if self._bar is None:
                    from tqdm import tqdm

                    # The estimate comes with the event: it knows about warm-up and resumed steps.
                    form = "{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}{postfix}"
                    self._bar = tqdm(total=total, desc=what, file=sys.stdout, bar_format=form)
                self._bar.n = round(done + part, 1) if part else done
                self._bar.set_postfix_str(visible(", ".join(filter(None, (note, remaining)))))
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES or done == total:
            self._last_line = now
            say(", ".join(filter(None, (f"{what} {done}/{total}", note, remaining))))
