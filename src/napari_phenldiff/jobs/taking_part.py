"""Train as one of several processes, of which the first sees to everything but its share."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_phenldiff.diffusion.processes import are_several, check_batch_size, is_main_process
from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.telling import ShouldStop, never
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.scratch import remove_own_scratch, scratch

LAUNCHER = "PHENLDIFF_LAUNCHER"
"""Environment variable with the id of the process that has started this one, as one of several."""

SCRATCH = "PHENLDIFF_LAUNCHER_SCRATCH"
"""Environment variable with the temporary folder of that process."""

_COPIED = ("config.json", "images.json", "base_at.txt")
_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 10.0


def takes_part() -> bool:
    """Whether this process only does its share of a training that another one sees to."""
    return are_several() and not is_main_process()


def check_shared(config: AnyTrainingConfig) -> None:
    """Refuse what several processes cannot train, if this is one of several.

    Raises
    ------
    InputError
        For baselines, for a time in place of a number of steps, and for batches that cannot be
        shared.
    """
    if not are_several():
        return
    if config.method != "phenldiff":
        raise InputError(
            f"Several processes train the method phenldiff only, and not {config.method}: start "
            "one process."
        )
    if config.minutes is not None:
        raise InputError(
            "--minutes measures the speed of one process; several are told how long to train by "
            "--steps."
        )
    check_batch_size(config.batch_size)


def take_part(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    steps: int | None = None,
    should_stop: ShouldStop = never,
) -> Run:
    """Do this process's share of each batch of a training, and write nothing.

    Parameters
    ----------
    path : path-like
        The run, which the first process makes and trains meanwhile; waits until it begins.
    device : str
        ``"auto"`` or a torch device.
    steps : int, optional
        Steps in all, if the run is trained longer than it was.
    should_stop : callable
        Asked after every step; all processes stop when one of them is asked to.

    Returns
    -------
    Run
    """
    from napari_phenldiff.baselines.loading import train
    from napari_phenldiff.diffusion.processes import Processes

    processes = Processes.start(device)
    run = Run.open(path)
    with _own_copy(run) as own:
        if steps is not None:
            own.plan_steps(steps)
        for _ in train(
            run.load_experiment(),
            own,
            should_stop=should_stop,
            resume=own.latest_checkpoint() is not None,
            processes=processes,
        ):
            pass
    return run


@contextmanager
def _own_copy(run: Run) -> Iterator[Run]:
    """Give a copy of what a training reads of its run, into which it may write what it likes."""
    with scratch("copy") as aside:
        folder = aside / run.path.name
        folder.mkdir()
        for name in _COPIED:
            if (run.path / name).is_file():
                shutil.copy(run.path / name, folder / name)
        newest = run.latest_checkpoint()
        if newest is not None:
            shutil.copytree(newest[1], folder / newest[1].relative_to(run.path))
        # A merged run is its own base.
        yield Run.open(folder, base_at=run.base if Path(run.base).exists() else None)


def end_with_the_launcher() -> None:
    """Stop this process, as by SIGTERM, when the one that has started it is gone.

    What that one has left in its temporary folder is removed. A process that waits for another one
    within a step hears no signal: after some seconds it ends all the same, as if it were killed.
    """
    launcher = os.environ.get(LAUNCHER, "")
    if not launcher.isdecimal():
        return

    def watch() -> None:
        while os.getppid() == int(launcher):
            time.sleep(_LOOK_SECONDS)
        if SCRATCH in os.environ:
            shutil.rmtree(os.environ[SCRATCH], ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SECONDS)
        remove_own_scratch()
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="phenldiff-launcher", daemon=True).start()
