"""``phenldiff fetch``: download a base model, so that it is there when it is needed."""

from __future__ import annotations

import argparse
from typing import Any

from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.jobs.fetching import fetch
from napari_phenldiff.jobs.interruption import Interruption

_EPILOG = """\
BASE is a model of Stable Diffusion 1 or 2 on the Hugging Face hub:

  phenldiff fetch owner/name
  phenldiff fetch owner/name@revision
  phenldiff fetch https://huggingface.co/owner/name/tree/revision

Only the files that a training loads are downloaded, once, into the cache of huggingface_hub;
HF_HOME moves it. A download that was cut goes on where it was. `phenldiff train --base BASE` does
the same first; fetch is for computers that have a network before the training, and none during it.
A model whose licence has to be accepted needs a token (HF_TOKEN); the message says how to get one.
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "fetch",
        help="download a base model from a hub",
        description="Download a base model from a hub, unless it is on this computer already.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("base", metavar="BASE", help="owner/name, owner/name@revision, or address")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    message = "Ending after this piece ... (once more ends at once)"
    with Interruption(message) as interruption, Reporter() as report:
        place = fetch(args.base, should_stop=lambda: bool(interruption), on_event=report)
    say(f"The base model is in {place}.")
    return 0
