"""Starts commands from a process that has loaded what takes long to load: torch, for the most part.

A line of JSON on standard input asks for a command; it is carried out in a fork of this process, as
``phenldiff`` would in a process of its own. The answers are the id of that process, and how it
ended. With the argument ``stand-in`` the stand-in for the method is in place.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import resource
import signal
import socket
import sys
import tempfile
from pathlib import Path

_REAL = ("diffusion.finetune", "diffusion.translate", "diffusion.merging", "diffusion.packaged")
_REAL += ("diffusion.pretrain", "diffusion.pretraining_data")
_ALL = ("evaluation.evaluate", "evaluation.document", "baselines.loading", "measurement.batch")
_ALL += ("measurement.figures.panel", "evaluation.benchmark.judging", "evaluation.appearance")
_ALL += ("evaluation.benchmark.pictures", "jobs.exporting", "jobs.measuring", "images.simulate")


def _load(stand_in: bool) -> None:
    if stand_in:
        sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
        import fake_diffusion

        sys.modules.update(fake_diffusion.modules())
    for name in (*_ALL, *(() if stand_in else _REAL)):
        importlib.import_module(f"napari_phenldiff.{name}")


def _carry_out(asked: dict) -> int:
    os.environ.update(asked["environment"])
    tempfile.tempdir = None
    for stream, place in ((1, os.devnull), (2, asked["errors"])):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    socket.socket.connect = _refuse  # type: ignore[method-assign]
    if asked["most_bytes"] is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["most_bytes"],) * 2)
    sys.argv = ["phenldiff", *asked["args"]]
    from napari_phenldiff.cli import main

    try:
        code = main()
    except SystemExit as error:
        code = error.code
    sys.stderr.flush()
    return code if isinstance(code, int) else 1


def _refuse(self: socket.socket, address: object) -> None:
    sys.stderr.write(f"Traceback: somebody asked the network for {address!r}\n")
    raise OSError(errno.ENETUNREACH, "there is no network here")


def _tell(**values: object) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def serve() -> None:
    """Do one command after the other."""
    _load("stand-in" in sys.argv[1:])
    _tell(ready=True)
    for line in sys.stdin:
        asked = json.loads(line)
        process = os.fork()
        if not process:
            code = 70
            try:
                code = _carry_out(asked)
            finally:
                os._exit(code)
        _tell(process=process)
        _tell(code=os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


if __name__ == "__main__":
    serve()
