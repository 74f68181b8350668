from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs import workers as module
from napari_phenldiff.runs.workers import (
    Workers,
    as_done,
    in_order,
    local_workers,
    worker_number,
)


class Fragile(Executor):
    """Like a pool of processes that some jobs end: what was given out is lost with them."""

    def __init__(self, deadly: set[str], tried: Counter[str]) -> None:
        self.deadly, self.tried, self.broken = deadly, tried, False

    def submit(self, run, job):
        if self.broken:
            raise BrokenProcessPool
        self.tried[job] += 1
        future: Future = Future()
        if job in self.deadly:
            self.broken = True
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(run(job))
        return future


def fragile(deadly: set[str], number: int = 3) -> tuple[Workers, Counter[str]]:
    tried: Counter[str] = Counter()
    workers = Workers(Fragile(deadly, tried), number=number, renew=lambda: Fragile(deadly, tried))
    return workers, tried


def test_only_what_ends_its_worker_is_given_up():
    workers, tried = fragile({"c", "g"})
    found = list(as_done(str.upper, "abcdefghij", workers))
    assert {one.job: one.result for one in found if one.error is None} == {
        job: job.upper() for job in "abdefhij"
    }
    lost = [one for one in found if one.error is not None]
    assert [one.job for one in lost] == ["c", "g"]
    assert all("for want of memory" in str(one.error) for one in lost)
    # Together with others, once more, and alone.
    assert tried["c"] == tried["g"] == 3
    assert all(tried[job] == 1 for job in "abdefhij")


def test_results_come_as_they_are_done_and_no_more_is_given_out_than_is_worked_on():
    taken: list[int] = []

    def jobs():
        for number in range(8):
            taken.append(number)
            yield number

    def slow_first(number: int) -> int:
        time.sleep(0.5 if number == 0 else 0.01)
        return number

    with ThreadPoolExecutor(2) as pool:
        results = as_done(slow_first, jobs(), Workers(pool, number=2))
        first = next(results)
        assert first.job == 1
        assert len(taken) <= 4
        rest = [one.job for one in results]
    assert sorted(rest) == [0, *range(2, 8)]


def test_what_is_worked_on_is_waited_for_when_it_is_asked_to_stop():
    done: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.05)
        done.append(number)
        return number

    found = []
    with ThreadPoolExecutor(2) as pool:
        for one in as_done(work, range(100), Workers(pool, number=2), lambda: len(found) >= 3):
            found.append(one.result)
    assert len(found) < 8
    assert sorted(found) == sorted(done)


def test_errors_of_jobs_and_of_the_cluster():
    def fail(job: int) -> int:
        raise ZeroDivisionError

    def explained(error: BaseException) -> InputError | None:
        return InputError("gone") if isinstance(error, CancelledError) else None

    def gone() -> None:
        raise InputError("no answer")

    class Cancelling(Executor):
        def submit(self, run, job):
            future: Future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    class Silent(Executor):
        def submit(self, run, job):
            return Future()

    with ThreadPoolExecutor(1) as pool:
        workers = Workers(pool, explained=explained)
        for ways in (as_done, in_order):
            with pytest.raises(ZeroDivisionError):
                list(ways(fail, [1], workers))
    for ways in (as_done, in_order):
        with pytest.raises(InputError, match="gone"):
            list(ways(fail, [1], Workers(Cancelling(), explained=explained)))
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, "_LOOK_SECONDS", 0.01)
            with pytest.raises(InputError, match="no answer"):
                list(ways(fail, [1], Workers(Silent(), check=gone)))


def test_this_process_is_no_worker():
    assert worker_number() == 0


def test_an_end_while_the_first_processes_are_made_stays_what_it_is(monkeypatch):
    def ended(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "ProcessPoolExecutor", ended)
    with pytest.raises(KeyboardInterrupt), local_workers(2):
        pass
