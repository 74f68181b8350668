"""Processes that measure: on this machine, or of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.batch import Workers

# So many files wait for each process that it need not wait for the writing of a table.
_AHEAD = 4
_SECONDS_TO_CONNECT = 30


@contextmanager
def local_workers(number: int) -> Iterator[Workers]:
    """Start processes on this machine, and end them again.

    Parameters
    ----------
    number : int
        How many; with 1 none is started and all is done in this one.

    Raises
    ------
    InputError
        If there are fewer than one, or one of them dies.
    """
    if number < 1:
        raise InputError(f"{number} workers measure nothing: give at least 1.")
    if number == 1:
        yield Workers()
        return
    # Started anew on every system: a copy of a process with threads may hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(number, context, _leave_interrupts_to_the_parent)
    try:
        with executor:
            try:
                yield Workers(executor, _AHEAD * number)
            except BaseException:
                executor.shutdown(cancel_futures=True)
                raise
    except BrokenProcessPool as error:
        raise InputError(
            "A worker was ended from outside, perhaps for want of memory: use fewer --workers."
        ) from error


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def scheduler_workers(address: str) -> Iterator[Workers]:
    """Use the workers of a Dask cluster, which read the same files and have this package.

    Parameters
    ----------
    address : str
        Of its scheduler, such as ``tcp://10.0.0.1:8786``.

    Raises
    ------
    InputError
        If `distributed` is not installed, nothing answers at the address, or the workers or the
        scheduler are ended.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise InputError(
            "A scheduler needs Dask's distributed: pip install 'napari-phenldiff[distributed]'."
        ) from error
    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"No scheduler answers at {address}: check the address, such as tcp://10.0.0.1:8786."
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise InputError(f"The scheduler at {address} has no workers: start some.")
        executor = client.get_executor()
        try:
            yield Workers(executor, _AHEAD * threads)
        except (KilledWorker, CancelledError) as error:
            raise InputError(
                f"The cluster at {address} lost the workers that measured, perhaps for want of "
                "memory: look at its logs, and start it with more for each worker."
            ) from error
        finally:
            executor.shutdown(wait=False)
