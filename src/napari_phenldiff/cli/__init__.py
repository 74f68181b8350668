"""The ``phenldiff`` command.

One module per sub-command. Each imports the rooms of the package inside its functions, so that
``--help`` answers at once and a wrong argument is refused before torch is loaded.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from napari_phenldiff import __version__
from napari_phenldiff.cli import (
    benchmark,
    demo,
    device,
    evaluate,
    export,
    fetch,
    figure,
    images,
    job,
    measure,
    merge,
    pretrain,
    simulate,
    train,
    translate,
)
from napari_phenldiff.cli.progress import complain
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import visible
from napari_phenldiff.jobs.interruption import Ended, end_cleanly_on_signals
from napari_phenldiff.runs.failures import explain, is_expected
from napari_phenldiff.runs.threads import share_cores

_DESCRIPTION = """\
See the same cells as they would look in another condition: fine-tune a latent diffusion model on
two sets of fluorescence images, translate images from one condition to the other, and measure what
changed.
"""

_EPILOG = """\
the usual steps:
  phenldiff train DATA --source untreated --target treated --images-per-condition 100 --out run
  phenldiff translate run DATA --source untreated --target treated --out result --held-out
  phenldiff measure translocation DATA result --out table.csv
  phenldiff evaluate run DATA --profile translocation --out evaluated

without images of your own:
  phenldiff demo

`phenldiff COMMAND --help` describes each command.

exit codes:
  0  done, or stopped on request with everything saved
  2  something that was given cannot be used; the message says what it is and what to do
  1  unexpected failure
  130, 143  ended by Ctrl-C or SIGTERM; what was done until then is saved
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``phenldiff`` command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the name of the command; by default those of the process.

    Returns
    -------
    int
        The exit code, see ``phenldiff --help``.
    """
    _open_what_is_closed()
    _take_any_text()
    try:
        return _carry_out(argv)
    finally:
        _leave_nothing_unwritten()


def _carry_out(argv: Sequence[str] | None) -> int:
    args = _parser().parse_args(argv)
    args.given = list(sys.argv[1:] if argv is None else argv)
    if argv is None and args.command not in (images.run, measure.run, simulate.run):
        # In a process of its own, and before anything loads torch.
        share_cores()
    if argv is None:
        end_cleanly_on_signals()
    try:
        return int(args.command(args))
    except InputError as error:
        complain(str(error))
        return 2
    except Ended as ended:
        complain(f"{ended}; what was complete before is kept")
        return ended.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except Exception as error:
        if not is_expected(error):
            with suppress(OSError, ValueError):
                sys.stderr.write(visible(traceback.format_exc()))
        complain(explain(error))
        return 1


def _open_what_is_closed() -> None:
    """Open standard input, output and error where they are closed, as a daemon may leave them.

    Otherwise the next files that are opened would take their places, and get what is said.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # for workers
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


def _leave_nothing_unwritten() -> None:
    """Drop what could not be written: Python would try again, and end with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def _take_any_text() -> None:
    """Let the console show what its encoding lacks by substitutes, in place of failing.

    A name may be Greek, and a path on disk may be no text at all; on Windows, output that goes to a
    file has the encoding of the country.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """Keeps its exit code where what it says cannot be written, as newer versions of Python do."""

    def print_usage(self, file: Any = None) -> None:
        with suppress(OSError, ValueError):
            super().print_usage(file)

    def print_help(self, file: Any = None) -> None:
        with suppress(OSError, ValueError):
            super().print_help(file)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        with suppress(OSError, ValueError):
            sys.stderr.write(message or "")
        sys.exit(status)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="phenldiff",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"phenldiff {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        *(images, train, translate, figure, measure, evaluate, benchmark, merge, export),
        *(simulate, pretrain, fetch, demo, device, job),
    ):
        module.add_parser(commands)
    return parser
