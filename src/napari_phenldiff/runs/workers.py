"""Work that is shared by processes: of this machine, or of a cluster (see `runs.cluster`)."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.threads import usable_cores

J = TypeVar("J")
R = TypeVar("R")

AHEAD = 4
"""Short jobs that are queued per process, so that none is idle while results are written."""

_LOOK_SECONDS = 1.0
"""How often it is looked whether the workers are still there, and whether to stop."""

_ENDED = "A worker was ended from outside, perhaps for want of memory: use fewer --workers."


def _all_is_well() -> None:
    """Stand for a look at workers that need none."""


def _no_sentence(error: BaseException) -> InputError | None:
    """Leave an error as it is."""
    return None


@dataclass(slots=True, eq=False)
class Workers:
    """Where jobs are carried out.

    Parameters
    ----------
    executor : concurrent.futures.Executor or None
        Processes or a cluster; None for this process.
    ahead : int
        How many short jobs are given out before the result of the first is needed.
    number : int
        How many jobs are worked on at the same time.
    check : callable
        Asked now and then while results are waited for; raises `InputError` if the workers are
        gone.
    explained : callable
        Turns an error of the executor into a sentence; None for errors of the jobs themselves.
    ended : tuple of type
        Errors that tell that the worker of this very job was ended, over and over.
    renew : callable, optional
        Starts new processes where one was ended and the others went with it.
    """

    executor: Executor | None = None
    ahead: int = 1
    number: int = 1
    check: Callable[[], None] = _all_is_well
    explained: Callable[[BaseException], InputError | None] = _no_sentence
    ended: tuple[type[BaseException], ...] = ()
    renew: Callable[[], Executor] | None = None

    def give(self, run: Callable[[J], R], job: J) -> Future[R]:
        """Have a job carried out."""
        assert self.executor is not None
        try:
            return self.executor.submit(run, job)
        except BrokenExecutor as error:
            raise self.explained(error) or error from error

    def result(self, future: Future[R]) -> R:
        """Return the result of a job as soon as there is one, or raise what went wrong."""
        while True:
            try:
                return future.result(timeout=_LOOK_SECONDS)
            # Whatever ends a job comes through here, a cancelled one too.
            except Exception as error:
                if isinstance(error, TimeoutError) and not future.done():
                    self.check()
                    continue
                told = self.explained(error)
                if told is None:
                    raise
                raise told from error


def in_order(run: Callable[[J], R], jobs: Iterable[J], workers: Workers) -> Iterator[R]:
    """Carry out jobs wherever there is room, and give the results in the order of the jobs.

    Jobs are taken from their iterable only when they are given out, and no more than
    `Workers.ahead` wait or are worked on: neither jobs nor results pile up.
    """
    if workers.executor is None:
        yield from map(run, jobs)
        return
    pending: deque[Future[R]] = deque()
    try:
        for job in jobs:
            pending.append(workers.give(run, job))
            if len(pending) >= workers.ahead:
                yield workers.result(pending.popleft())
        while pending:
            yield workers.result(pending.popleft())
    finally:
        for future in pending:
            future.cancel()


@dataclass(frozen=True, slots=True)
class Outcome(Generic[J, R]):
    """What became of a job.

    Attributes
    ----------
    job : object
        As it was given.
    result : object or None
        What it returned.
    error : InputError or None
        Why there is no result: it ended its worker each time that it was tried.
    """

    job: J
    result: R | None = None
    error: InputError | None = None


@dataclass(slots=True)
class _Given(Generic[J]):
    """A job, and how often its worker was ended."""

    job: J
    ended: int = 0
    alone: bool = False


def as_done(
    run: Callable[[J], R],
    jobs: Iterable[J],
    workers: Workers,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome[J, R]]:
    """Carry out long jobs wherever there is room, and give the results as they come.

    A job whose worker was ended is tried again: once together with others, and then alone, so
    that what it is that ends workers is known. Only that one is given up.

    Parameters
    ----------
    run : callable
        Carries out a job; a function of a module, or a `functools.partial` of one.
    jobs : iterable
        Taken when there is room for them.
    workers : Workers
        With an executor.
    should_stop : callable
        When it returns True, no job is begun any more, and those that are worked on are waited
        for.

    Yields
    ------
    Outcome
        One for each job, in any order.

    Raises
    ------
    InputError
        If the workers are gone. What a job raises is raised here.
    """
    executor = workers.executor
    assert executor is not None
    fresh = iter(jobs)
    again: deque[_Given[J]] = deque()
    running: dict[Future[R], _Given[J]] = {}
    try:
        while True:
            stopping = should_stop()
            if stopping:
                for future in [one for one in running if one.cancel()]:
                    del running[future]
            while not stopping and len(running) < workers.number + 1:
                given = _next(again, fresh, running.values())
                if given is None:
                    break
                try:
                    running[executor.submit(run, given.job)] = given
                except BrokenExecutor:
                    again.appendleft(given)
                    break
            if not running and not (again and not stopping):
                return
            done, _ = wait(running, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
            workers.check()
            lost: list[_Given[J]] = []
            for future in [one for one in running if one in done]:
                given = running.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor:
                    lost.append(given)
                except workers.ended as error:
                    yield Outcome(given.job, error=workers.explained(error))
                # Whatever ends a job comes through here, a cancelled one too.
                except Exception as error:
                    told = workers.explained(error)
                    if told is None:
                        raise
                    raise told from error
                else:
                    yield Outcome(given.job, result)
            if lost or (again and not running):
                # The others of a pool are lost with the one that was ended.
                lost += running.values()
                running.clear()
                if workers.renew is None:
                    raise InputError(_ENDED)
                executor = workers.renew()
                for given in lost:
                    if given.alone:
                        yield Outcome(given.job, error=InputError(_ENDED))
                        continue
                    given.ended += 1
                    given.alone = given.ended > 1
                    again.append(given)
    finally:
        for future in running:
            future.cancel()


def _next(
    again: deque[_Given[J]], fresh: Iterator[J], running: Collection[_Given[J]]
) -> _Given[J] | None:
    """Return the job to give out next, if there is one that may be given out now."""
    if any(given.alone for given in running):
        return None
    if again:
        # Who is tried alone waits until all others are done.
        return None if running and again[0].alone else again.popleft()
    for job in fresh:
        return _Given(job)
    return None


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
        raise InputError(f"{number} workers do nothing: give at least 1.")
    if number == 1:
        yield Workers()
        return
    # Spawned on every system, since a forked process with threads may hang.
    context = multiprocessing.get_context("spawn")
    threads = max(1, usable_cores() // number)
    pools: list[ProcessPoolExecutor] = []

    def renew() -> ProcessPoolExecutor:
        for pool in pools:
            _end(pool)
        pools[:] = [ProcessPoolExecutor(number, context, _begin, (threads,))]
        return pools[0]

    try:
        try:
            yield Workers(renew(), AHEAD * number, number, explained=_explained, renew=renew)
        except BaseException as error:
            for pool in pools:  # none, if it comes while the first one is made
                pool.shutdown(wait=False, cancel_futures=True)
                if not isinstance(error, Exception):
                    # Who ends the command does not wait for the jobs that are worked on.
                    _end_processes(pool)
            raise
    finally:
        for pool in pools:
            pool.shutdown()


def _explained(error: BaseException) -> InputError | None:
    return InputError(_ENDED) if isinstance(error, BrokenExecutor) else None


def worker_number() -> int:
    """Return which of the processes that its parent has started this one is, from 0.

    It is told by its name: a count that is shared would need a lock, and who is ended while it
    holds one leaves it locked for ever.
    """
    number = multiprocessing.current_process().name.rpartition("-")[2]
    return int(number) - 1 if number.isdecimal() else 0


def _begin(threads: int) -> None:
    """Share the cores, leave interrupts to the parent, and end when it is gone, however it ended.

    Torch reads the number of threads when it is loaded.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, name="phenldiff-parent", daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        # Nobody waits for what is being done, and the queue of jobs would never end.
        os._exit(1)


def _end(pool: ProcessPoolExecutor) -> None:
    processes = _processes(pool)
    _end_processes(pool)
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.join()


def _processes(executor: ProcessPoolExecutor) -> list[Any]:
    # There is no public way to end them before their job is done until Python 3.14.
    return list((getattr(executor, "_processes", None) or {}).values())


def _end_processes(executor: ProcessPoolExecutor) -> None:
    for process in _processes(executor):
        process.terminate()
