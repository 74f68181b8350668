"""Start the processes of a training on this machine, and end all of them when one ends."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from napari_phenldiff.errors import LostProcess
from napari_phenldiff.runs.threads import usable_cores

_MODULE = "napari_phenldiff"
_SECONDS_TO_SAVE = 600
"""Of processes that are asked to end: they end their step and save."""


def launch(processes: int, arguments: Sequence[str], *, resume: str, scratch: Path) -> int:
    """Carry out a command in several processes, which share its batches.

    Parameters
    ----------
    processes : int
        How many.
    arguments : sequence of str
        The command, without ``phenldiff``.
    resume : str
        The command that goes on with the training, for the message.
    scratch : Path
        Folder for logs that nobody reads.

    Returns
    -------
    int
        The exit code: that of the first process that ended with another one than 0.

    Raises
    ------
    LostProcess
        If one of them was ended by a signal. The others are ended then.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What it logs of processes that end is told in a sentence here.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL + 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=secrets.token_hex(8),
        max_restarts=0,
        monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(log_dir=str(scratch)),
        shutdown_timeout=_SECONDS_TO_SAVE,
    )
    try:
        elastic_launch(config, sys.executable)("-m", _MODULE, *arguments)
    except ChildFailedError as error:
        # Those that lost it end by themselves, or are asked to.
        ended = error.failures.values()
        killed = [one for one in ended if one.exitcode < 0 and one.exitcode != -signal.SIGTERM]
        if not killed:
            # Each has told why, or was asked to end before it could.
            codes = (one.exitcode for one in ended)
            return max(code if code >= 0 else 128 - code for code in codes) or 1
        first = killed[0]
        raise LostProcess(
            f"Process {first.local_rank + 1} of {processes} was ended (by signal "
            f"{-first.exitcode}), perhaps for want of memory, and with it the others: what was "
            f"saved before is kept; go on with `{resume}`."
        ) from None
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0
