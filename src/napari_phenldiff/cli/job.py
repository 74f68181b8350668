"""``phenldiff job``: do what a file asks for, in a process of its own (for the viewer)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from napari_phenldiff.cli import evaluate, train
from napari_phenldiff.jobs.requests import (
    EVENTS_NAME,
    EvaluateRequest,
    Request,
    ResumeRequest,
    SessionRequest,
    TrainRequest,
    read_request,
)
from napari_phenldiff.jobs.session_host import serve
from napari_phenldiff.runs.events import Event, Failed, append_event
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.scratch import join_scratch


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "job",
        help="do what a file asks for (used by napari)",
        description="Do what a request.json asks for, see napari_phenldiff.jobs.requests.",
    )
    parser.add_argument("request", type=Path, metavar="FILE", help="request.json")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    join_scratch(args.request.parent)  # napari may be closed before this ends
    return carry_out(read_request(args.request), args.request.parent)


def carry_out(request: Request, folder: Path) -> int:
    """Do what is asked for, with the output of the command that does the same.

    Parameters
    ----------
    request : Request
    folder : Path
        Of the request. An evaluation has no folder of its own while it goes on, so it writes its
        events there; a training writes them into its run.

    Returns
    -------
    int
        The exit code.
    """
    match request:
        case TrainRequest():
            return train.train(
                request.dataset(), request.config, request.out, z=request.z, wells=request.wells
            )
        case ResumeRequest():
            return train.resume(request.run, base_at=request.base_at)
        case EvaluateRequest():
            return _evaluate(request, folder / EVENTS_NAME)
        case SessionRequest():
            serve(request)
            return 0


def _evaluate(request: EvaluateRequest, events: Path) -> int:
    def write(event: Event) -> None:
        append_event(events, event)

    try:
        opened, shuffled, half_split = (
            [Run.open(path, base_at=request.base_at) for path in paths]
            for paths in ((request.run,), request.shuffled, request.half_split)
        )
        return evaluate.evaluate(
            opened[0],
            request.dataset(),
            request.out,
            request.profile,
            request.config,
            settings=request.profile_settings(),
            translation=request.translation,
            shuffled=shuffled,
            half_split=half_split,
            device=request.device,
            z=request.z,
            on_event=write,
        )
    except Exception as error:
        write(Failed(explain(error)))
        raise
