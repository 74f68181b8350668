"""Make a base model of a fine-tuning."""

from __future__ import annotations

import os
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Loading
from napari_phenldiff.runs.folder import Run, check_output_folder


def merge(
    run: Run | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    on_event: OnEvent = ignore,
) -> Run:
    """Write a base model with the result of a run merged into its weights.

    The folder stands by itself: it takes the place of both the run and its base, and can be the
    base of another training.

    Parameters
    ----------
    run : Run or path-like
        A fine-tuning that has a result.
    out : path-like
        New folder, in the layout of diffusers, with the condition tokens beside the weights.
    on_event : callable
        Told what happens: see :mod:`napari_phenldiff.runs.events`.

    Returns
    -------
    Run
        The folder, as a run that translates as `run` does.

    Raises
    ------
    InputError
        If the run has no result, is one of a baseline, or the folder is not empty.

    Examples
    --------
    >>> from napari_phenldiff import TrainingConfig, merge, train
    >>> merged = merge("run", "merged")  # doctest: +SKIP
    >>> conditions = ("untreated", "treated")
    >>> config = TrainingConfig(conditions=conditions, base="merged", steps=1000)
    >>> run = train("data", config, "further")  # doctest: +SKIP
    """
    opened = run if isinstance(run, Run) else Run.open(run)
    if not isinstance(opened.config, TrainingConfig):
        raise InputError(
            f"{opened.path} was trained with {opened.config.method}, which has no base model to "
            "merge into; give a run of the method phenldiff."
        )
    check_output_folder(Path(out))
    on_event(Loading(f"Merging {os.fspath(opened.path)}"))
    from napari_phenldiff.diffusion.merging import merge as merge_weights

    return merge_weights(opened, Path(out))
