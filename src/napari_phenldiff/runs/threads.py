"""Share the cores with other processes; must be set up before torch is loaded.

OpenMP threads spin while they wait for each other, which occupies the very cores that they are
waiting for: next to one busy process, two threads on two cores take many times as long as one. So
threads are made to sleep while they wait, and their number is limited to the number of free cores.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, MutableMapping

import psutil  # type: ignore[import-untyped]

WAITING = {
    # for GNU OpenMP, which torch uses on Linux; for LLVM and Intel; for any implementation
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Environment variables that make threads sleep while they wait."""

_CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_THREAD_LIMIT")
_LOOK = 0.25
"""Seconds over which the load of the cores is measured."""


def share_cores(environment: MutableMapping[str, str] | None = None) -> int | None:
    """Let waiting threads sleep, and use as many threads as there are free cores.

    Variables that are set already are not changed. Has no effect once torch is loaded, since torch
    reads the environment at that time.

    Parameters
    ----------
    environment : mutable mapping, optional
        By default that of this process.

    Returns
    -------
    int or None
        The number of threads, if it was reduced because other processes keep cores busy.
    """
    if "torch" in sys.modules and environment is None:
        return None
    environment = os.environ if environment is None else environment
    if not any(name in environment for name in WAITING):
        environment.update(WAITING)
    # Processes that share batches would take each other for foreign load, and have their own
    # settings.
    if any(name in environment for name in (*_CHOICES, "WORLD_SIZE")):
        return None
    cores = usable_cores()
    free = max(1, cores - round(busy_cores()))
    if free >= cores:
        return None
    environment["OMP_NUM_THREADS"] = str(free)
    return free


def busy_cores() -> float:
    """Return how many of the cores that this process may use are busy.

    Processes of low priority do not count, unless this one has low priority too.
    """
    allowed, with_nice = _allowed(), _is_nice()
    # psutil's own percentages are too low for intervals of less than a second.
    before = psutil.cpu_times(percpu=True)
    time.sleep(_LOOK)
    after = psutil.cpu_times(percpu=True)
    return sum(
        _busy(first._asdict(), second._asdict(), with_nice=with_nice)
        for k, (first, second) in enumerate(zip(before, after, strict=True))
        if allowed is None or k in allowed
    )


def _busy(before: Mapping[str, float], after: Mapping[str, float], *, with_nice: bool) -> float:
    """Return the fraction of the time that a core was busy, with or without low-priority work."""
    # The time of guests is included in that of users.
    spent = {k: after[k] - before[k] for k in after if k not in ("guest", "guest_nice")}
    total = sum(spent.values())
    free = ("idle", "iowait") if with_nice else ("idle", "iowait", "nice")
    return 1 - sum(spent.get(k, 0.0) for k in free) / total if total > 0 else 0.0


def _is_nice() -> bool:
    try:
        return os.getpriority(os.PRIO_PROCESS, 0) > 0
    except (AttributeError, OSError):
        return False  # Windows does not report low-priority time


def _allowed() -> set[int] | None:
    try:
        return set(os.sched_getaffinity(0))  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, OSError):
        return None  # not available on this system


def usable_cores() -> int:
    """Return how many cores this process may use."""
    allowed = _allowed()
    return len(allowed) if allowed else psutil.cpu_count() or 1
