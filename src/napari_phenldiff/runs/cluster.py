"""The workers of a Dask cluster, wherever they run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.workers import AHEAD, Workers, local_workers

_SECONDS_TO_CONNECT = 30
_SECONDS_WITHOUT_WORKERS = 60.0
"""A worker that was ended may be started again meanwhile, by its nanny or the job queue."""
_ASK_SECONDS = 5.0
"""How often the scheduler is asked for its workers."""


def workers_at(number: int, scheduler: str | None) -> AbstractContextManager[Workers]:
    """Use processes of this machine, or a cluster where the address of one is given."""
    return local_workers(number) if scheduler is None else scheduler_workers(scheduler)


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
    gone = InputError(
        f"The scheduler at {address} is gone or cannot be reached any more: start the cluster "
        "again, and give the same command."
    )
    killed = InputError(
        f"The cluster at {address} lost the workers that did it, perhaps for want of memory: "
        "look at its logs, and start it with more for each worker."
    )

    def explained(error: BaseException) -> InputError | None:
        if isinstance(error, KilledWorker):
            return killed
        # Whose connection is lost, its jobs are cancelled, also where it comes back.
        return gone if isinstance(error, CancelledError) else None

    with _quiet():
        try:
            client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"No scheduler answers at {address}: check the address, such as "
                "tcp://10.0.0.1:8786."
            ) from error

        def lost() -> bool:
            return bool(client.status != "running")

        try:
            threads = sum(client.nthreads().values())
            if not threads:
                raise InputError(f"The scheduler at {address} has no workers: start some.")
            # Not pure: what was done before is looked up in our own journal, not in Dask's memory.
            executor = client.get_executor(pure=False)
            try:
                workers = Workers(
                    executor, AHEAD * threads, threads, explained=explained, ended=(KilledWorker,)
                )
                workers.check = _watch(client, workers, address, gone)
                yield workers
            finally:
                if not lost():
                    with suppress(OSError, CancelledError):
                        executor.shutdown(wait=False)
        finally:
            # A client that has lost its scheduler would wait for it.
            with suppress(OSError, TimeoutError, CancelledError):
                client.close(timeout=1 if lost() else 10)


def _watch(client: Any, workers: Workers, address: str, gone: InputError) -> Callable[[], None]:
    """Return what looks now and then whether the scheduler answers, and how many workers it has."""
    asked = seen = time.monotonic()

    def check() -> None:
        nonlocal asked, seen
        if client.status != "running":
            raise gone
        now = time.monotonic()
        if now - asked < _ASK_SECONDS:
            return
        asked = now
        try:
            found = client.nthreads()
        except (OSError, TimeoutError, CancelledError) as error:
            raise gone from error
        if found:
            seen = time.monotonic()
            # Those that a job queue starts come one after the other.
            workers.number = sum(found.values())
            workers.ahead = AHEAD * workers.number
        elif time.monotonic() - seen > _SECONDS_WITHOUT_WORKERS:
            raise InputError(
                f"The cluster at {address} has lost all its workers: look at its logs, start it "
                "again, and give the same command."
            )

    return check


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what Dask logs of lost connections from those who get a sentence about it."""
    # Those of Dask have levels of their own.
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]
    loggers = [logging.getLogger(name) for name in (*names, "tornado", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
