"""Whether images can be translated with a run by now, in the words of the docks."""

from __future__ import annotations

from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import jobs
from napari_phenldiff.runs.folder import Run, is_run


def is_being_prepared(path: Path) -> bool:
    """Tell whether a training of this process is about to make a run in this folder."""
    return not is_run(path) and any(
        job.kind == "train" and job.path is not None and job.path == path for job in jobs.live()
    )


def why_unusable(path: Path | None) -> str | None:
    """Return why nothing can be translated with the run in a folder; None if it can be.

    A training writes its first result with its first checkpoint; until then it is told how far it
    has come.
    """
    if path is None:
        return "Choose a run: the folder that a fine-tuning has written."
    if is_being_prepared(path):
        return (
            f"{path.name} is being prepared: its images are read. It can be used from its first "
            "checkpoint on."
        )
    if not is_run(path):
        return f"{path.name} is not a run; choose a folder that a fine-tuning has written."
    try:
        run = Run.open(path)
    except InputError as error:
        return str(error)
    if run.has_adapter:
        return None
    if run.is_locked:
        done, _ = run.progress
        return (
            f"{run.path.name} is being trained, at step {done:,} of {run.config.steps:,}, and has "
            "no result yet. It can be used from its first checkpoint on."
        )
    return f"{run.path.name} has no result yet; let its fine-tuning go on first."
